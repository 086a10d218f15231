//! Load: many cheap calls, each with a marker of its own, and a note of what became of each.
//!
//! The calls come from a process of their own (`load`), so that they can be put into a cgroup. They go on while the gateway is away:
//! a connection that is refused or cut is made anew.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Cgroup, Launch, Proc, binaries, clients::tool_call};

/// Before a connection is made anew.
const PAUSE: Duration = Duration::from_millis(5);
/// An answer that takes longer will not come: the connection then counts as cut.
const PATIENCE: Duration = Duration::from_secs(20);

/// One call that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What stood in the `marker` argument: no other call has it.
    pub marker: String,
    /// What became of it.
    pub answer: Answer,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The client has its result, whole.
    Whole,
    /// The connection ended before.
    Cut,
    /// The client has an answer without the result: its HTTP status and body.
    Other(String),
}

/// Load under way. Killed when dropped.
#[derive(Debug)]
pub struct Load(Proc);

impl Load {
    /// Starts `connections` clients in a cgroup, which call the clinics at `urls` in turn, without a pause.
    ///
    /// # Errors
    /// The program is not built, or cannot be started.
    pub fn start(cgroup: &Cgroup, urls: &[&str], connections: usize) -> anyhow::Result<Self> {
        let launch = Launch::new(binaries::own("load")?).args(["--connections", &connections.to_string()]).args(urls);
        Ok(Self(launch.under(cgroup).start_piped()?))
    }

    /// What it has noted so far, as it stands: one JSON line a call.
    #[must_use]
    pub fn noted(&self) -> String {
        self.0.stdout()
    }

    /// Lets the calls in flight end, and gives all that were sent.
    ///
    /// # Errors
    /// The program does not end, or ends badly.
    pub fn stop(&mut self) -> anyhow::Result<Vec<Sent>> {
        drop(self.0.stdin());
        let status = self.0.wait(PATIENCE * 2)?;
        ensure!(status.success(), "the load ended with {status}\n{}", self.0.stderr());
        self.noted().lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a call: {line}"))).collect()
    }
}

/// The program's own part: calls until its standard input ends, and prints a line for each call.
///
/// # Errors
/// A URL is not `http://ADDRESS:PORT/PATH`, or standard input cannot be read.
pub fn call_until_stdin_ends(urls: &[String], connections: usize) -> anyhow::Result<()> {
    let targets = urls.iter().map(|url| Target::parse(url)).collect::<anyhow::Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (number, target) in targets.iter().cycle().take(connections).enumerate() {
            let stop = &stop;
            scope.spawn(move || client(target, number, stop));
        }
        let ended = io::copy(&mut io::stdin(), &mut io::sink());
        stop.store(true, Ordering::Relaxed);
        ended.map(drop).context("standard input cannot be read")
    })
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    path: String,
}

impl Target {
    fn parse(url: &str) -> anyhow::Result<Self> {
        let Some((address, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
            bail!("`{url}` is not http://ADDRESS:PORT/PATH");
        };
        let address = address.parse().with_context(|| format!("`{address}` is not ADDRESS:PORT"))?;
        Ok(Self { address, path: format!("/{path}") })
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }

    /// One call in the revision that needs no session; its answer has the marker in it.
    fn request(&self, marker: &str) -> Vec<u8> {
        let body = tool_call(marker, "query", &json!({ "sql": format!("SELECT '{marker}' AS marker"), "marker": marker })).to_string();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            body.len()
        )
        .into_bytes()
    }
}

fn client(target: &Target, number: usize, stop: &AtomicBool) {
    let mut markers = (0_u64..).map(|call| format!("{}-{number}-{call}", process::id()));
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = target.connect() else {
            thread::sleep(PAUSE);
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let Some(marker) = markers.next() else { return };
            let mut body = Vec::new();
            let status = exchange(&mut connection, &target.request(&marker), &mut body);
            let answer = match &status {
                // What counts is what the client could act on: the connection may well have ended after that.
                _ if has_result(&body, &marker) => Answer::Whole,
                Ok(status) => Answer::Other(format!("{status}: {}", String::from_utf8_lossy(&body))),
                Err(_) => Answer::Cut,
            };
            let line = json!(Sent { marker, answer });
            println!("{line}");
            if status.is_err() {
                break;
            }
        }
    }
}

/// Sends one request and reads its answer into `body`, which has what came also when that fails. Gives the status.
fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8], body: &mut Vec<u8>) -> io::Result<u16> {
    connection.get_mut().write_all(request)?;
    let status = line(connection)?.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(connection)?.to_ascii_lowercase();
        match header.split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
            None => break,
        }
    }
    if !chunked {
        return take(connection, length, body).map(|()| status);
    }
    loop {
        let size = u64::from_str_radix(line(connection)?.trim(), 16).map_err(io::Error::other)?;
        take(connection, size, body)?;
        line(connection)?;
        if size == 0 {
            return Ok(status);
        }
    }
}

fn line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn take(connection: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let taken = connection.take(length).read_to_end(body)?;
    if u64::try_from(taken).is_ok_and(|taken| taken == length) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Whether the call's result is there, in JSON or in an event that is complete.
fn has_result(body: &[u8], marker: &str) -> bool {
    let text = String::from_utf8_lossy(body);
    let is_result = |text: &str| {
        serde_json::from_str::<Value>(text).is_ok_and(|json| json["id"] == marker && json["result"].to_string().contains(marker))
    };
    let complete = text.rfind("\n\n").map_or("", |end| &text[..end]);
    is_result(&text) || complete.lines().filter_map(|line| line.strip_prefix("data:")).any(is_result)
}
