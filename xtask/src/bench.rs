//! `cargo xtask bench`

use std::{
    path::{Path, PathBuf, absolute},
    process::Command,
};

use crate::run;

/// What chooses the comparison alone.
const COMPARISON: &str = "comparison";

/// What chooses the precision and recall of the detectors.
const MASK: &str = "mask";

/// What is to be measured, and how.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds: a first look, not figures to compare
    #[arg(long)]
    quick: bool,
    /// Also write every figure of the comparison into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The comparison alone, under these loads alone, such as `calls-1,calls-16`
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',')]
    load: Vec<String>,
    /// The comparison alone, between these contestants alone, such as `nginx,gateway-os`
    #[arg(long, value_name = "CONTESTANT,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Compare with this peer's program too: `envoy=…`, or another nginx or haproxy than is on the path
    #[arg(long, value_name = "PEER=PATH")]
    with: Vec<String>,
    /// Only criterion benches whose names contain this; `comparison` for the comparison alone, `mask` for the precision
    /// and recall of the detectors
    filter: Option<String>,
}

/// Builds what is measured, runs the criterion benches, then the comparison.
///
/// # Errors
/// Something could not be built, or failed.
pub(crate) fn all(root: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let cargo = || {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root);
        cargo
    };
    if arguments.filter.as_deref() == Some(MASK) {
        run::step("precision and recall of the detectors");
        return run::shown(cargo().args(["run", "--locked", "--quiet", "--release", "-p", "gateway-benches", "--bin", "masking"]));
    }
    run::step("building, for release");
    run::shown(cargo().args(["build", "--locked", "--quiet", "--release", "-p", "gateway-user", "--bin", "mcp-gateway"]))?;
    run::shown(cargo().args(["build", "--locked", "--quiet", "--release", "-p", "gateway-benches", "--bin", "compare"]))?;
    let quick = arguments.quick.then_some("--quick");
    let is_comparison = arguments.filter.as_deref() == Some(COMPARISON) || !arguments.load.is_empty() || !arguments.only.is_empty();
    if !is_comparison {
        run::step("the criterion benches");
        run::shown(cargo().args(["bench", "--locked", "--quiet", "-p", "gateway-benches", "--"]).args(quick).args(&arguments.filter))?;
    }
    if is_comparison || arguments.filter.is_none() {
        run::step("the comparison: no proxy, the gateway, and the peers that are there");
        let mut compare = cargo();
        compare.args(["run", "--locked", "--quiet", "--release", "-p", "gateway-benches", "--bin", "compare", "--"]).args(quick);
        for (option, names) in [("--load", &arguments.load), ("--only", &arguments.only)] {
            if !names.is_empty() {
                compare.args([option, &names.join(",")]);
            }
        }
        for with in &arguments.with {
            // The comparison runs at the root, whose paths these are not.
            let (peer, path) = with.split_once('=').unwrap_or((with, ""));
            compare.arg("--with").arg(format!("{peer}={}", if path.is_empty() { PathBuf::new() } else { absolute(path)? }.display()));
        }
        if let Some(json) = &arguments.json {
            compare.arg("--json").arg(absolute(json)?);
        }
        run::shown(&mut compare)?;
    }
    Ok(())
}
