//! `cargo xtask demo`

use std::{os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::Context;

use crate::{install, run};

/// Builds the demo, and becomes it.
///
/// # Errors
/// It could not be built or started. What the machine lacks is for the demo itself to say.
pub(crate) fn run(root: &Path, once: bool) -> anyhow::Result<()> {
    install::for_demo(root);
    if !rustix::process::geteuid().is_root() {
        run::step("without root nothing can be captured: the demo will show the endpoint");
    }
    run::step("building the gateway and the demo; the first time, this takes some minutes");
    run::shown(Command::new("cargo").current_dir(root).args(["build", "--locked", "-p", "gateway-user", "-p", "gateway-tests", "--bins"]))?;
    // Cargo puts it beside this program. It takes this one's place, so that Ctrl-C is for one program only.
    let demo = std::env::current_exe().context("this program does not know where it is")?.with_file_name("demo");
    let failed = Command::new(&demo).args(once.then_some("--once")).exec();
    Err(failed).with_context(|| format!("{} cannot be started", demo.display()))
}
