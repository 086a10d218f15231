//! `cargo xtask`: the commands of this repository.

mod install;
mod run;
mod test;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, and run all of them
    Test {
        /// How often the crash test kills the gateway
        #[arg(long, default_value_t = 100)]
        crashes: u32,
        /// Only tests whose names contain one of these
        filter: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let root = run::root();
    match Arguments::parse().command {
        Command::Test { crashes, filter } => test::all(&root, crashes, &filter),
    }
}
