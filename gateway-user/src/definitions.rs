//! `mcp-gateway tools`: what servers say their tools are, and what of it is accepted.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use gateway_user::{config::Config, tools::Tools};

use crate::{ConfigFile, load, say};

pub(crate) const EXAMPLES: &str = "\
Examples:
  mcp-gateway tools list                  Which tools were seen, and which of them have changed
  mcp-gateway tools accept clinic query   What the server says of `query` now is right
  mcp-gateway tools accept clinic         All that it says now is right";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the tools that servers were seen to have; exits 1 when one has changed and is not accepted
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// Only those of this server
        #[arg(long)]
        server: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Accept what a server says of its tools now; exits 1 when nothing had changed. The running gateway takes it up, and records it
    Accept {
        #[command(flatten)]
        config: ConfigFile,
        /// The server
        server: String,
        /// One of its tools; all of them when absent
        tool: Option<String>,
    },
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let (Command::List { config: file, .. } | Command::Accept { config: file, .. }) = &command;
    let Some(config) = load(file)? else { return Ok(ExitCode::FAILURE) };
    let tools = Tools::open(&config.tools.dir)?;
    match command {
        Command::List { server, json, .. } => list(&tools, server.as_deref(), json),
        Command::Accept { server, tool, .. } => accept(&config, &tools, &server, tool.as_deref()),
    }
}

fn list(tools: &Tools, server: Option<&str>, as_json: bool) -> anyhow::Result<ExitCode> {
    let listed: Vec<_> = tools.all().into_iter().filter(|(of, ..)| server.is_none_or(|server| server == of)).collect();
    let changed = listed.iter().any(|(.., known)| known.is_changed());
    if as_json {
        let listed = listed.iter().map(|(server, tool, known)| {
            json!({
                "server": server, "tool": tool, "changed": known.is_changed(), "definition": known.current.to_string(),
                "accepted": known.accepted.to_string(), "annotations": known.annotations,
            })
        });
        say(&format!("{}\n", serde_json::to_string_pretty(&listed.collect::<Vec<_>>())?))?;
    } else {
        let mut table = format!("{:20} {:28} {:10} DEFINITION\n", "SERVER", "TOOL", "STATE");
        for (server, tool, known) in &listed {
            let state = if known.is_changed() { "changed" } else { "accepted" };
            // A name came from the server: what could steer the terminal is shown, and not obeyed.
            table.push_str(&format!(
                "{:20} {:28} {state:10} {:.16}\n",
                server.escape_debug(),
                tool.escape_debug(),
                known.current.to_string()
            ));
        }
        say(&table)?;
    }
    Ok(if changed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn accept(config: &Config, tools: &Tools, server: &str, tool: Option<&str>) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(config.servers.iter().any(|known| known.name == server), "there is no server `{server}` in the configuration");
    let accepted = tools.accept(server, tool, rustix::process::getuid().as_raw())?;
    if accepted.is_empty() {
        say("nothing to accept: no definition has changed\n")?;
        return Ok(ExitCode::FAILURE);
    }
    for tool in accepted {
        say(&format!("accepted: {} of {server}\n", tool.escape_debug()))?;
    }
    Ok(ExitCode::SUCCESS)
}
