//! `demo [--once]`: what the gateway does, shown on this machine. `cargo xtask demo` builds and runs it.
//!
//! Each step is checked as it is told: what is printed behind a ✓ was seen to be so, and the first thing that is not so ends the demo.
//! Exit codes: 0 all held and nothing is left behind, 1 something did not hold, 2 used wrongly, 3 it could not be shown here,
//! 130 interrupted.

mod calls;
mod page;
mod people;
mod scene;
mod stay;
mod stop;
mod story;
mod traces;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use gateway_tests::{
    needs::{self, Missing},
    oidc,
};

use crate::{
    page::{NotHeld, Page},
    stop::{Interrupted, Stop},
    traces::Traces,
};

/// Shows what MCP Gateway does, on this machine, and removes all of it again.
#[derive(Parser)]
struct Arguments {
    /// Ask nothing and do not stay: end after the last step. So it is too when standard input is no terminal
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    let Arguments { once } = Arguments::parse();
    let needed = [needs::missing_for_an_endpoint(), oidc::missing()].concat();
    if !needed.is_empty() {
        eprintln!("This is missing here for the demo:");
        name(&needed);
        return ExitCode::from(3);
    }
    let missing = needs::missing();
    if !missing.is_empty() {
        eprintln!("Connections are captured with eBPF, and this is missing for it here:");
        name(&missing);
        eprintln!("So the demo shows the other way in, the endpoint: clients are given the gateway's URL, and nothing is captured.");
        if !rustix::process::geteuid().is_root()
            && let Ok(own) = std::env::current_exe()
        {
            eprintln!("To see connections captured:\n  sudo {}{}", own.display(), if once { " --once" } else { "" });
        }
        eprintln!();
    }
    let stay = !once && io::stdin().is_terminal();
    show(missing.is_empty(), stay).unwrap_or_else(|error| {
        eprintln!("demo: {error:#}");
        ExitCode::from(3)
    })
}

fn name(missing: &[Missing]) {
    for missing in missing {
        eprintln!("  - {}\n      {}", missing.what, missing.how);
    }
}

fn show(captures: bool, stay: bool) -> anyhow::Result<ExitCode> {
    let mut page = Page::new();
    let mut traces = Traces::default();
    let stop = Stop::watch()?;
    let told = story::tell(&mut page, &stop, &mut traces, captures, stay);
    // All that the story made has been dropped by now, however it ended.
    let code = match &told {
        Ok(()) => 0,
        Err(error) => {
            page.ended_early(error)?;
            match error {
                error if error.is::<NotHeld>() => 1,
                error if error.is::<Interrupted>() => 130,
                _ => 3,
            }
        }
    };
    let gone = traces.tell(&page)?;
    if code == 0 && gone {
        page.say("Every step held.")?;
    }
    Ok(ExitCode::from(if code == 0 && !gone { 1 } else { code }))
}
