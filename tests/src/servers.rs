//! Real MCP servers, each in a network namespace that the test made.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::{
    Launch, Netns, Proc, Slot, binaries,
    clinic::{Seen, SeenFile},
    needs::on_path,
    pki::Issued,
    wait::wait_for,
};

/// The clinic, running.
#[derive(Debug)]
pub struct ClinicServer {
    /// Its endpoint.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    /// The file with the calls that reached it.
    pub seen: PathBuf,
    _files: tempfile::TempDir,
    process: Proc,
    _slot: Option<Slot>,
}

impl ClinicServer {
    /// The calls that reached it.
    ///
    /// # Errors
    /// The file with them cannot be read.
    pub fn seen(&self) -> anyhow::Result<Vec<Seen>> {
        SeenFile::read(&self.seen)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGSTOP: it takes connections and requests, and answers none.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }
}

/// Starts the clinic in a namespace, on its IPv4 and IPv6 address.
///
/// # Errors
/// It does not come up.
pub fn clinic(netns: &Netns) -> anyhow::Result<ClinicServer> {
    start_clinic(Some(netns), None)
}

/// Starts the clinic in a namespace, or else on loopback, and has it ask for the key in this file.
///
/// # Errors
/// It does not come up.
pub fn clinic_with_key(netns: Option<&Netns>, key: &Path) -> anyhow::Result<ClinicServer> {
    start_clinic(netns, Some(key))
}

/// Starts the clinic on a loopback address of its own; that takes no root.
///
/// # Errors
/// It does not come up.
pub fn clinic_on_loopback() -> anyhow::Result<ClinicServer> {
    start_clinic(None, None)
}

fn start_clinic(netns: Option<&Netns>, key: Option<&Path>) -> anyhow::Result<ClinicServer> {
    let slot = if netns.is_none() { Some(Slot::take()?) } else { None };
    let own = |slot: &Slot| SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 2), 8000));
    let address = netns.map(|netns| netns.at(8000)).or(slot.as_ref().map(own)).context("the clinic has no address")?;
    // In a namespace, on its IPv4 and IPv6 address.
    let listen = netns.map_or_else(|| address.to_string(), |_| "[::]:8000".into());
    let files = tempfile::tempdir()?;
    let seen = files.path().join("seen.jsonl");
    let mut launch = Launch::new(binaries::own("clinic")?).args(["--listen", &listen, "--db"]).arg(files.path().join("clinic.db"));
    if let Some(key) = key {
        launch = launch.arg("--key").arg(key);
    }
    let launch = launch.arg("--seen").arg(&seen);
    let mut process = if let Some(netns) = netns { launch.inside(netns) } else { launch }.start()?;
    listening(&mut process, address)?;
    Ok(ClinicServer { url: format!("http://{address}/mcp"), address, seen, _files: files, process, _slot: slot })
}

/// A transport of the reference server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, from 2025-03-26 on.
    StreamableHttp,
    /// HTTP with server-sent events, 2024-11-05.
    Sse,
}

/// `@modelcontextprotocol/server-everything`, running.
#[derive(Debug)]
pub struct EverythingServer {
    /// Its endpoint.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    _process: Proc,
}

/// Starts the reference server in a namespace. It binds all interfaces: of the namespace.
///
/// # Errors
/// It is not installed, or does not come up.
pub fn everything(netns: &Netns, transport: Transport) -> anyhow::Result<EverythingServer> {
    let script = binaries::cache().join("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    ensure!(script.is_file(), "server-everything is not installed: `cargo xtask test` does that");
    let (name, port, path) = match transport {
        Transport::StreamableHttp => ("streamableHttp", 3001, "mcp"),
        Transport::Sse => ("sse", 3002, "sse"),
    };
    let address = netns.at(port);
    let mut process = Launch::new("node").arg(script).arg(name).env("PORT", port.to_string()).inside(netns).start()?;
    listening(&mut process, address)?;
    Ok(EverythingServer { url: format!("http://{address}/{path}"), address, _process: process })
}

/// nginx, which ends TLS in front of another server.
#[derive(Debug)]
pub struct NginxServer {
    /// Its address.
    pub address: SocketAddr,
    files: tempfile::TempDir,
    _process: Proc,
}

impl NginxServer {
    /// The requests that reached it, one line each.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        Ok(fs::read_to_string(self.files.path().join("requests"))?.lines().map(str::to_owned).collect())
    }
}

/// Starts nginx in a namespace, on port 443, in front of the server at `to`; `settings` are more of its own.
///
/// # Errors
/// It is not installed, or does not come up.
pub fn nginx(netns: &Netns, issued: &Issued, to: SocketAddr, settings: &str) -> anyhow::Result<NginxServer> {
    ensure!(on_path("nginx"), "nginx is not installed: `cargo xtask test` does that");
    let address = netns.at(443);
    let files = tempfile::tempdir()?;
    let config = files.path().join("nginx.conf");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {what};\n")).concat();
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    fs::write(
        &config,
        // One process: the workers of a master that is killed would outlive it.
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;
             events {{ }}
             http {{
                 {temporary}
                 access_log requests;
                 server {{
                     listen 443 ssl;
                     ssl_certificate {certificate};
                     ssl_certificate_key {key};
                     {settings}
                     location / {{
                         proxy_pass http://{to};
                         proxy_http_version 1.1;
                         proxy_set_header Connection \"\";
                         proxy_buffering off;
                     }}
                 }}
             }}"
        ),
    )?;
    let mut process = Launch::new("nginx").arg("-p").arg(files.path()).arg("-c").arg(&config).inside(netns).start()?;
    listening(&mut process, address)?;
    Ok(NginxServer { address, files, _process: process })
}

/// Waits until something takes connections at an address, for as long as the process that should lives.
///
/// # Errors
/// The process ended, or half a minute has passed.
pub fn listening(process: &mut Proc, address: SocketAddr) -> anyhow::Result<()> {
    wait_for(&format!("{address} to take connections"), Duration::from_secs(30), || {
        if let Some(status) = process.ended()? {
            anyhow::bail!("the server ended with {status}\n{}\n{}", process.stdout(), process.stderr());
        }
        Ok(TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
    })
    .map(drop)
    .context("a server of the test did not come up")
}
