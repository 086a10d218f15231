//! `mcp-gateway policy …`: are policies right, what do they decide, why was a call decided as it was, and what would another set change.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand};
use gateway_user::{
    config::Config,
    policy::{Labeller, PolicySet},
};
use serde_json::json;

use crate::{ConfigFile, load, login::table, say};

mod cases;
mod explain;
mod in_force;
mod what_if;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mcp-gateway policy check --dir policies      Are they right?
  mcp-gateway policy test cases.toml           Do they decide as they should?
  mcp-gateway policy explain 4711              Why was the call of record 4711 decided as it was?
  mcp-gateway policy what-if --dir new --since 7d
                                               Which calls of the week would come out otherwise?

Exit codes: 0 fine, 1 the answer is no, 2 used wrongly, 3 could not be done.";

const CONFIG: &str = "/etc/mcp-gateway/gateway.toml";

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Check policies against the schema, and list them
    Check {
        #[command(flatten)]
        policies: Policies,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run example decisions; exits 1 when one comes out otherwise than it should
    Test {
        /// Files of cases (TOML)
        #[arg(required = true, value_name = "CASES")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        policies: Policies,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell why a recorded call was decided as it was, and how today's policies would decide it
    Explain {
        /// The record: its number, or the log's id and its number: 0123…/4711
        #[arg(value_name = "RECORD")]
        record: String,
        #[command(flatten)]
        policies: Policies,
        #[command(flatten)]
        log: LogDir,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Decide the log's calls again by other policies; exits 1 when one comes out otherwise
    WhatIf {
        /// The directory of the other policies
        #[arg(long, value_name = "NEW")]
        dir: PathBuf,
        /// The configuration file [default: /etc/mcp-gateway/gateway.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        log: LogDir,
        /// Only calls from then on: `12h`, `7d`, or a time such as 2026-11-01T00:00:00Z
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which policies.
#[derive(Args)]
pub(crate) struct Policies {
    /// The configuration file [default: /etc/mcp-gateway/gateway.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policies' directory, instead of the one in the configuration
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Which log.
#[derive(Args)]
pub(crate) struct LogDir {
    /// The log's directory, instead of the one in the configuration
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

/// Ends a command whose answer is no; why has been printed.
#[derive(Debug, thiserror::Error)]
#[error("faults were found")]
struct Faulty;

/// Runs one of the commands.
///
/// # Errors
/// What could not be done.
pub(crate) fn run(command: Policy) -> anyhow::Result<ExitCode> {
    let done = match command {
        Policy::Check { policies, json } => check(&policies, json),
        Policy::Test { files, policies, json } => cases::run(&files, &policies, json),
        Policy::Explain { record, policies, log, json } => explain::run(&record, &policies, &log, json),
        Policy::WhatIf { dir, config, log, since, json } => {
            let log = log.dir(config.as_ref());
            log.and_then(|log| what_if::run(&read(&dir)?, &log, since.as_deref(), json))
        }
    };
    match done {
        Err(error) if error.is::<Faulty>() => Ok(ExitCode::FAILURE),
        done => done,
    }
}

fn check(policies: &Policies, json: bool) -> anyhow::Result<ExitCode> {
    let set = policies.set()?;
    if json {
        let list: Vec<_> = set.policies().collect();
        let shown = json!({ "set": set.hash(), "policies": list, "warnings": set.warnings() });
        say(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
    } else {
        let place = |file: &str, line: usize| if file.is_empty() { "the gateway's own".to_owned() } else { format!("{file}:{line}") };
        let rows = set.policies().map(|policy| [policy.id.to_owned(), policy.effect.to_string(), place(policy.file, policy.line)]);
        say(&table(["ID", "EFFECT", "PLACE"], rows.collect()))?;
    }
    for warning in set.warnings() {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}

impl Policies {
    /// The set; its faults are printed.
    fn set(&self) -> anyhow::Result<PolicySet> {
        match &self.dir {
            Some(dir) => read(dir),
            None => {
                let config = configured(self.config.as_ref())?;
                let policy = config
                    .policy
                    .as_ref()
                    .context("this configuration has no [policy]: add it, with `dir`, or name a directory with --dir")?;
                read(&policy.dir)
            }
        }
    }

    /// What labels arguments: as configured, where a configuration is named or policies are taken from it.
    fn labeller(&self) -> anyhow::Result<Labeller> {
        if self.dir.is_some() && self.config.is_none() {
            return Ok(Labeller::default());
        }
        Ok(Labeller::new(&configured(self.config.as_ref())?.labels)?)
    }
}

impl LogDir {
    fn dir(&self, config: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
        match &self.log {
            Some(dir) => Ok(dir.clone()),
            None => Ok(configured(config)?.audit.dir),
        }
    }
}

fn configured(file: Option<&PathBuf>) -> anyhow::Result<Config> {
    let file = ConfigFile { config: file.cloned().unwrap_or_else(|| CONFIG.into()) };
    load(&file)?.ok_or_else(|| Faulty.into())
}

fn read(dir: &PathBuf) -> anyhow::Result<PolicySet> {
    std::fs::metadata(dir).with_context(|| format!("{}: there is no such directory of policies", dir.display()))?;
    PolicySet::load(dir).map_err(|errors| {
        eprintln!("{errors}");
        Faulty.into()
    })
}
