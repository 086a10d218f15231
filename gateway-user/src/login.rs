//! `mcp-gateway login`, `logout`, `whoami` and `sessions`: what a person of the host says to the running gateway.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use gateway_user::{
    audit::tail::shown,
    config::Config,
    control::{Ask, Say, Way},
    identity::login::Shown,
};

use serde_json::json;

use crate::say;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mcp-gateway login                 Your agents on this host count as you from now on
  mcp-gateway login --session       Only those that you start in this terminal's login session
  mcp-gateway login --idp corp --browser
  mcp-gateway whoami                Whose would a call from here be?
  mcp-gateway logout";

/// How long a browser may take to come back.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Args)]
#[group(skip)]
pub(crate) struct Login {
    /// The identity provider, where there are several
    #[arg(long, value_name = "NAME")]
    idp: Option<String>,
    /// With a code that you type in a browser on any device
    #[arg(long, conflicts_with = "browser")]
    device: bool,
    /// With a browser on this host
    #[arg(long)]
    browser: bool,
    /// Only for what runs in this login session, not for all of your user's processes
    #[arg(long)]
    session: bool,
}

/// Logs in, and says as whom.
///
/// # Errors
/// The gateway cannot be spoken to.
pub(crate) fn login(config: &Config, login: Login) -> anyhow::Result<ExitCode> {
    // Where a browser on this host can come back to (RFC 8252 section 7.3).
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port of the loopback is free for a browser to come back to")?;
    let way = match (login.device, login.browser) {
        (true, _) => Some(Way::Device),
        (_, true) => Some(Way::Browser),
        _ => None,
    };
    let mut gateway = Gateway::connect(&config.identity.socket)?;
    gateway.ask(&Ask::Login { idp: login.idp, way, session: login.session, port: listener.local_addr()?.port() })?;
    loop {
        match gateway.answer()? {
            Say::Code { url, complete, code, lasts } => {
                let direct = complete.map(|url| format!("or open {url}, and compare the code\n")).unwrap_or_default();
                say(&format!(
                    "Open, on any device:\n\n    {url}\n\nand type the code\n\n    {code}\n\n{direct}Waiting, for {} minutes at most …\n",
                    lasts.div_ceil(60)
                ))?;
            }
            Say::Go { url } => {
                say(&format!("Open, in a browser on this host:\n\n    {url}\n\nWaiting until it comes back …\n"))?;
                gateway.browser(&listener, &url)?;
            }
            Say::LoggedIn { login } => {
                say(&format!("Logged in: {}\n", told(&login)))?;
                return Ok(ExitCode::SUCCESS);
            }
            other => return end(other),
        }
    }
}

/// Logs out.
///
/// # Errors
/// The gateway cannot be spoken to.
pub(crate) fn logout(config: &Config, session: bool) -> anyhow::Result<ExitCode> {
    match Gateway::one(config, &Ask::Logout { session })? {
        Say::Ended { logins } if logins.is_empty() => {
            say("You were not logged in.\n")?;
            Ok(ExitCode::SUCCESS)
        }
        other => end(other),
    }
}

/// Says whose a call of this very process would be. Exits 1 when nobody's.
///
/// # Errors
/// The gateway cannot be spoken to.
pub(crate) fn whoami(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let answer = Gateway::one(config, &Ask::Whoami)?;
    let Say::You { identity, name, nobody, login } = answer else { return end(answer) };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&json!({ "identity": identity, "login": login }))?))?;
    } else if nobody {
        say("Nobody: no login on this host and no declared workload fits this process. Log in with `mcp-gateway login`.\n")?;
    } else if let Some(login) = login {
        say(&format!("{}\n", told(&login)))?;
    } else {
        let list = |value: &serde_json::Value| {
            value.as_array().into_iter().flatten().filter_map(|one| one.as_str()).collect::<Vec<_>>().join(", ")
        };
        say(&format!(
            "{}, in {}, known by its {}\n",
            shown(&name, 100),
            in_groups(&list(&identity["groups"])),
            list(&identity["how"]["by"])
        ))?;
    }
    Ok(if nobody { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Lists the logins of this host; those of others only for an administrator.
///
/// # Errors
/// The gateway cannot be spoken to.
pub(crate) fn sessions(config: &Config, ended: Option<String>, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(id) = ended {
        return end(Gateway::one(config, &Ask::End { id })?);
    }
    let answer = Gateway::one(config, &Ask::Sessions)?;
    let Say::Sessions { logins } = answer else { return end(answer) };
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&logins)?))?;
    } else if logins.is_empty() {
        say("Nobody is logged in.\n")?;
    } else {
        let rows = logins.iter().map(|login| {
            [
                login.id.clone(),
                login.uid.to_string(),
                who(login),
                login.idp.clone(),
                time(login.since),
                time(login.ends),
                login.cgroup.clone().unwrap_or_else(|| "all of the user's".into()),
            ]
        });
        say(&table(["ID", "UID", "PERSON", "IDP", "SINCE", "UNTIL", "PROCESSES"], rows.collect()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows in columns, under their names.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let all: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let line = |row: &[String; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:width$}", width = width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(|row| line(row) + "\n").collect()
}

fn who(login: &Shown) -> String {
    shown(login.person.name.as_ref().unwrap_or(&login.person.subject), 60)
}

fn told(login: &Shown) -> String {
    let whose = match &login.cgroup {
        Some(cgroup) => format!("calls of what user {} runs in {cgroup} count", login.uid),
        None => format!("calls of all processes of user {} count", login.uid),
    };
    let renewed = if login.renews { ", and is renewed until you log out or the operator's limit is over" } else { "" };
    let groups = in_groups(&shown(&login.person.groups.join(", "), 400));
    format!("{whose} as {} ({}, {groups}). The login lasts until {}{renewed}.", who(login), login.idp, time(login.ends))
}

fn in_groups(groups: &str) -> String {
    if groups.is_empty() { "no groups".into() } else { format!("groups {groups}") }
}

fn time(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(|| "?".into(), |timestamp| timestamp.to_string())
}

/// Prints an answer that ends a command.
fn end(answer: Say) -> anyhow::Result<ExitCode> {
    match answer {
        Say::Ended { logins } => {
            for login in logins {
                say(&format!("Ended: login {} of {}. Calls that begin from now on do not count as theirs.\n", login.id, who(&login)))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Say::No { message } => {
            eprintln!("mcp-gateway: {}", shown(&message, 2000));
            Ok(ExitCode::FAILURE)
        }
        other => anyhow::bail!("the gateway said something unexpected ({}): are both of one version?", serde_json::to_string(&other)?),
    }
}

/// The running gateway, at the other end of its socket.
struct Gateway {
    lines: BufReader<UnixStream>,
}

impl Gateway {
    fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket);
        let stream =
            stream.with_context(|| format!("no gateway answers at {}: is it running, and is this its configuration?", socket.display()))?;
        Ok(Gateway { lines: BufReader::new(stream) })
    }

    fn one(config: &Config, ask: &Ask) -> anyhow::Result<Say> {
        let mut gateway = Gateway::connect(&config.identity.socket)?;
        gateway.ask(ask)?;
        gateway.answer()
    }

    fn ask(&mut self, ask: &Ask) -> anyhow::Result<()> {
        let line = serde_json::to_string(ask)? + "\n";
        self.lines.get_mut().write_all(line.as_bytes()).context("the gateway has hung up")
    }

    fn answer(&mut self) -> anyhow::Result<Say> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("the gateway has hung up")?;
        anyhow::ensure!(
            !line.is_empty(),
            "the gateway has hung up without an answer: is it stopping, or do you have too many commands open?"
        );
        serde_json::from_str(&line).context("the gateway said something unexpected: are both of one version?")
    }

    /// Waits for the browser that was sent to `url`, and gives on what it brings; whatever else knocks at the port is sent away.
    fn browser(&mut self, listener: &TcpListener, url: &str) -> anyhow::Result<()> {
        let state = parameter(url.split_once('?').map_or("", |(_, query)| query), "state");
        listener.set_nonblocking(true)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let query = came_back(&mut stream).filter(|query| parameter(query, "state") == state);
            let (status, page) = match query {
                Some(_) => ("200 OK", "Back to the terminal: it says whether you are logged in. This window can be closed."),
                None => ("404 Not Found", "There is nothing here."),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nReferrer-Policy: no-referrer\r\n\
                 Cache-Control: no-store\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
            // Who has left needs no page.
            let _ = stream.write_all(answer.as_bytes());
            if let Some(query) = query {
                return self.ask(&Ask::Callback { query });
            }
        }
        anyhow::bail!("no browser has come back within {} minutes: begin again", PATIENCE.as_secs() / 60)
    }
}

/// The query with which a browser comes back; `None` if something else is asked for.
fn came_back(stream: &mut TcpStream) -> Option<String> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(16 << 10)).read_line(&mut line).ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    target.strip_prefix("/callback?").map(str::to_owned)
}

/// A parameter of a query, as it is written there.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|part| part.split_once('=').filter(|(found, _)| *found == name).map(|(_, value)| value))
}
