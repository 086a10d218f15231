//! The command line of MCP Gateway.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use gateway_user::{audit, capture::guard, config, policy::PolicySet};

mod admin;
mod ca;
mod definitions;
mod doctor;
mod login;
mod masks;
mod policies;
mod records;
mod service;

/// Many small blocks and read buffers of 16 KiB come and go with each call: that is what it is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts every MCP request of an agent host on the record, before it has an effect.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-gateway check --config gateway.toml          Is the configuration right?
  sudo mcp-gateway guard up --config gateway.toml  Capture connections to the governed servers
  mcp-gateway run --config gateway.toml            Serve them (not as root)
  mcp-gateway audit tail --follow                  Watch who does what
  mcp-gateway audit verify DIR                     Is the record whole and unchanged?

A configuration with [endpoint] and without [capture] takes no guard: callers use the URL that `check` prints.

Exit codes: 0 fine, 1 the answer is no, 2 used wrongly, 3 could not be done.";

const GUARD_EXAMPLES: &str = "\
Examples:
  sudo mcp-gateway guard up        With /etc/mcp-gateway/gateway.toml; again after an upgrade or a change
  sudo mcp-gateway guard status    Exits 0 when all of it is up, 1 when it is not
  sudo mcp-gateway guard down      From then on nothing is captured";

const AUDIT_EXAMPLES: &str = "\
Examples:
  mcp-gateway audit tail -n 20 --server clinic --method tools/call
  mcp-gateway audit tail --follow --json | jq .body.caller.process.exe
  mcp-gateway audit verify /var/lib/mcp-gateway/audit && echo whole";

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/mcp-gateway/gateway.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Serve captured connections, and those to the endpoint, until SIGTERM or SIGINT
    Run(ConfigFile),
    /// Check a configuration file; every fault is printed with file, line, key and what was expected
    Check(ConfigFile),
    /// Log in: your agents on this host then count as you, with no change to any of them
    #[command(after_help = login::EXAMPLES)]
    Login {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        login: login::Login,
    },
    /// End your logins on this host
    Logout {
        #[command(flatten)]
        config: ConfigFile,
        /// Only that of this login session
        #[arg(long)]
        session: bool,
    },
    /// Tell whose a call from here would be; exits 1 when nobody's
    Whoami {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the logins on this host, or end one; those of others only as root
    Sessions {
        #[command(flatten)]
        config: ConfigFile,
        /// End the login of this id
        #[arg(long, value_name = "ID", conflicts_with = "json")]
        end: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what is wrong with how callers are identified: clock, identity providers, keys, workloads
    #[command(after_help = doctor::EXAMPLES)]
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
        /// Read a token from standard input, and tell what would become of it; it is shown without its signature
        #[arg(long)]
        token: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Load, show or remove the kernel programs that capture connections
    #[command(subcommand, after_help = GUARD_EXAMPLES)]
    Guard(Guard),
    /// Make, replace and show the gateway's certificate authority, and let this host trust it
    #[command(subcommand, after_help = ca::EXAMPLES)]
    Ca(ca::Ca),
    /// List what servers say their tools are, and accept what has changed
    #[command(subcommand, after_help = definitions::EXAMPLES)]
    Tools(definitions::Command),
    /// Check and try policies, and tell why calls were decided as they were
    #[command(subcommand, after_help = policies::EXAMPLES)]
    Policy(policies::Policy),
    /// Try masks on a message, and tell what they cover
    #[command(subcommand, after_help = masks::EXAMPLES)]
    Mask(masks::Mask),
    /// Read and check the audit log
    #[command(subcommand, after_help = AUDIT_EXAMPLES)]
    Audit(Audit),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum Guard {
    /// Load, pin and attach the kernel programs, or upgrade those that are there (root)
    Up(ConfigFile),
    /// Detach and remove everything: connections are then no longer captured (root)
    Down(ConfigFile),
    /// Show programs, governed addresses, counters, and what this kernel lacks; exits 0 only when all of it is up
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Print records, one line each
    Tail {
        #[command(flatten)]
        config: ConfigFile,
        /// The log's directory, instead of the one in the configuration
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Only the last so many of the records that are there
        #[arg(long, short = 'n', value_name = "COUNT")]
        last: Option<usize>,
        /// Go on with records as they are written
        #[arg(long, short)]
        follow: bool,
        /// Only records of this server
        #[arg(long)]
        server: Option<String>,
        /// Only records of this JSON-RPC method
        #[arg(long)]
        method: Option<String>,
        /// Print the records as they stand in the log
        #[arg(long)]
        json: bool,
    },
    /// Check a log's chain and bodies; exits 0 only when it is whole
    Verify {
        /// The log's directory
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mcp-gateway: {}", told(&error));
            ExitCode::from(3)
        }
    }
}

/// An error and its causes, but for those that the error before has told already.
fn told(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Writes to standard output. That its reader has seen enough and left is no fault.
fn say(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(file) => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            service::logs();
            service::run(config)?;
        }
        Command::Check(file) => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            if let Some(Err(errors)) = config.policy.as_ref().map(|policy| PolicySet::load(&policy.dir)) {
                eprintln!("{errors}");
                return Ok(ExitCode::FAILURE);
            }
            let servers = config.servers.iter().map(|server| format!("  {:20} {}\n", server.name, server.url));
            let servers: String = servers.collect();
            let ways = service::ways(&config, None);
            say(&format!("{}: fine; {} server(s) {ways}\n{servers}", file.config.display(), config.servers.len()))?;
        }
        Command::Login { config: file, login } => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            return login::login(&config, login);
        }
        Command::Logout { config: file, session } => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            return login::logout(&config, session);
        }
        Command::Whoami { config: file, json } => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            return login::whoami(&config, json);
        }
        Command::Sessions { config: file, end, json } => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            return login::sessions(&config, end, json);
        }
        Command::Doctor { config: file, token, json } => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            return doctor::run(&config, token, json);
        }
        Command::Guard(Guard::Up(file)) => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            say(&format!("{}\n", guard::up(&service::guard_config(&config)?)?))?;
        }
        Command::Guard(Guard::Down(file)) => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            say(&format!("{}\n", guard::down(&config.captured()?.pins)?))?;
        }
        Command::Guard(Guard::Status { config: file, json }) => {
            let Some(config) = load(&file)? else { return Ok(ExitCode::FAILURE) };
            let names = config.servers.iter().map(|server| (server.id(), server.name.clone())).collect();
            let status = guard::status(&config.captured()?.pins).named(names);
            say(&if json { format!("{}\n", serde_json::to_string_pretty(&status)?) } else { status.to_string() })?;
            return Ok(if status.up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Ca(command) => return ca::run(command),
        Command::Tools(command) => return definitions::run(command),
        Command::Policy(command) => return policies::run(command),
        Command::Mask(command) => return masks::run(command),
        Command::Audit(Audit::Tail { config: file, dir, last, follow, server, method, json }) => {
            let dir = match dir {
                Some(dir) => dir,
                None => match load(&file)? {
                    Some(config) => config.audit.dir,
                    None => return Ok(ExitCode::FAILURE),
                },
            };
            let options = audit::tail::TailOptions { dir, last, follow, server, method, json };
            audit::tail::run(&options, &mut io::stdout().lock())?;
        }
        Command::Audit(Audit::Verify { dir, json }) => {
            let verdict = audit::verify(&dir)?;
            say(&if json { format!("{}\n", serde_json::to_string(&verdict)?) } else { format!("{verdict}\n") })?;
            return Ok(ExitCode::from(verdict.exit_code()));
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "mcp-gateway", &mut script);
            say(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration; `None` when it has faults, which were printed.
fn load(file: &ConfigFile) -> anyhow::Result<Option<config::Config>> {
    std::fs::metadata(&file.config)
        .with_context(|| format!("{}: there is no such configuration file; name one with --config", file.config.display()))?;
    match config::load(&file.config) {
        Ok(config) => Ok(Some(config)),
        Err(errors) => {
            eprintln!("{errors}");
            Ok(None)
        }
    }
}
