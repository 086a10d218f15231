//! `mcp-gateway mask …`: what do masks do to a message, what do they cover, and what was a masked value.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use gateway_user::config::{self, Config, MaskingConfig};

use crate::{ConfigFile, load};

mod coverage;
mod prove;
mod trial;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mcp-gateway mask try --rules gateway.toml < answer.json      What is masked of it, and by which rule?
  mcp-gateway mask try --rules rules.toml --to client --group dba --tool query < answer.json
  mcp-gateway mask coverage --since 1d                         Rules that never matched, values that no rule masks
  mcp-gateway mask prove 4711 --path '$.params.arguments.ssn'  Was it this value? It is read from standard input

Exit codes: 0 fine, 1 the answer is no, 2 used wrongly, 3 could not be done.";

#[derive(Subcommand)]
pub(crate) enum Mask {
    /// Show a message, read from standard input, before and after
    Try(Try),
    /// Tell from the log which rules never matched, and which fields hold what no rule masks; exits 1 when there are such
    Coverage {
        #[command(flatten)]
        log: Log,
        /// Only records from then on: `12h`, `7d`, or a time such as 2026-11-01T00:00:00Z
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell whether a masked value of a record was the one on standard input; exits 1 when it was not
    Prove {
        /// The record: its number, or the log's id and its number: 0123…/4711
        #[arg(value_name = "RECORD")]
        record: String,
        /// Where the value stood, as the record's `masked` says
        #[arg(long, value_name = "PATH")]
        path: String,
        #[command(flatten)]
        log: Log,
    },
}

/// What is masked, for whom, and by which rules.
#[derive(Args)]
pub(crate) struct Try {
    /// A configuration, or a file that has nothing but its tables `mask`, `detector` and `masking`
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// Whose view
    #[arg(long, value_enum, default_value_t = To::Record)]
    to: To,
    /// The server's name; rules for any server apply when absent
    #[arg(long)]
    server: Option<String>,
    /// The tool of the call; rules for any tool apply when absent, unless the message itself says
    #[arg(long)]
    tool: Option<String>,
    /// A group of the caller's; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The request that the message answers: what its SQL calls the columns
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    Record,
    Client,
    Server,
}

/// Which log, and by which configuration.
#[derive(Args)]
pub(crate) struct Log {
    #[command(flatten)]
    config: ConfigFile,
    /// The log's directory, instead of the one in the configuration
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Log {
    /// The configuration, and the log's directory; nothing when the configuration has faults, which are printed.
    fn read(&self) -> anyhow::Result<Option<(Config, PathBuf)>> {
        Ok(load(&self.config)?.map(|config| {
            let dir = self.log.clone().unwrap_or_else(|| config.audit.dir.clone());
            (config, dir)
        }))
    }
}

/// Runs one of the commands.
///
/// # Errors
/// What could not be done.
pub(crate) fn run(command: Mask) -> anyhow::Result<ExitCode> {
    match command {
        Mask::Try(options) => match rules(&options)? {
            Some(config) => trial::run(&options, &config),
            None => Ok(ExitCode::FAILURE),
        },
        Mask::Coverage { log, since, json } => match log.read()? {
            Some((config, dir)) => coverage::run(&config.masking, &dir, since.as_deref(), json),
            None => Ok(ExitCode::FAILURE),
        },
        Mask::Prove { record, path, log } => match log.read()? {
            Some((config, dir)) => prove::run(&record, &path, &config.masking, &dir),
            None => Ok(ExitCode::FAILURE),
        },
    }
}

fn rules(options: &Try) -> anyhow::Result<Option<MaskingConfig>> {
    let file = &options.rules;
    std::fs::metadata(file).with_context(|| format!("{}: there is no such file of rules", file.display()))?;
    match config::load_masks(file) {
        Ok(config) => Ok(Some(config)),
        Err(errors) => {
            eprintln!("{errors}");
            Ok(None)
        }
    }
}
