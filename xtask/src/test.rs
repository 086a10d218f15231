//! `cargo xtask test`

use std::{path::Path, process::Command};

use crate::{install, run};

/// Installs what the tests need, builds, and runs every test.
///
/// # Errors
/// Something could not be installed or built, or a test failed.
pub(crate) fn all(root: &Path, crashes: u32, filter: &[String]) -> anyhow::Result<()> {
    install::all(root)?;
    let cargo = || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root).env("GATEWAY_CRASHES", crashes.to_string());
        if std::env::var_os("CI").is_some() {
            cargo.env("CARGO_INCREMENTAL", "0");
        }
        cargo
    };
    run::step("building");
    run::shown(cargo().args(["build", "--locked", "--quiet", "--workspace", "--all-targets"]))?;
    let nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    run::step(if nextest { "testing, with nextest" } else { "testing (faster where cargo-nextest is installed)" });
    if nextest {
        let fail_fast = if std::env::var_os("CI").is_some() { "--no-fail-fast" } else { "--fail-fast" };
        run::shown(cargo().args(["nextest", "run", "--locked", "--workspace", fail_fast]).args(filter))?;
        run::shown(cargo().args(["test", "--locked", "--quiet", "--workspace", "--doc"]))?;
    } else {
        run::shown(cargo().args(["test", "--locked", "--workspace"]).args(filter))?;
    }
    run::step("all tests passed");
    Ok(())
}
