//! `cargo xtask bench`

use std::{
    path::{Path, absolute},
    process::Command,
};

use crate::run;

/// What chooses the comparison alone.
const COMPARISON: &str = "comparison";

/// Builds what is measured, runs the criterion benches, then the comparison.
///
/// # Errors
/// Something could not be built, or failed.
pub(crate) fn all(root: &Path, quick: bool, json: Option<&Path>, filter: Option<&str>) -> anyhow::Result<()> {
    let cargo = || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root);
        cargo
    };
    run::step("building, for release");
    run::shown(cargo().args(["build", "--locked", "--quiet", "--release", "-p", "gateway-user", "--bin", "mcp-gateway"]))?;
    run::shown(cargo().args(["build", "--locked", "--quiet", "--release", "-p", "gateway-benches", "--bin", "compare"]))?;
    let quick = quick.then_some("--quick");
    if filter != Some(COMPARISON) {
        run::step("the criterion benches");
        run::shown(cargo().args(["bench", "--locked", "--quiet", "-p", "gateway-benches", "--"]).args(quick).args(filter))?;
    }
    if filter.is_none_or(|filter| filter == COMPARISON) {
        run::step("the comparison: no proxy, the gateway, and nginx where it is");
        let mut compare = cargo();
        compare.args(["run", "--locked", "--quiet", "--release", "-p", "gateway-benches", "--bin", "compare", "--"]).args(quick);
        if let Some(json) = json {
            compare.arg("--json").arg(absolute(json)?);
        }
        run::shown(&mut compare)?;
    }
    Ok(())
}
