//! The gateway under test: guard and service, over a cgroup of the test's own.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use crate::{
    Cgroup, Finished, Launch, Proc, Record, Slot, User, binaries,
    kinesis::{CREDENTIALS, Kinesis},
    needs, process, record,
    wait::wait_for,
};

/// One `[[server]]` of the configuration.
#[derive(Debug, Clone)]
pub struct ServerEntry {
    name: String,
    url: String,
    settings: Vec<(&'static str, String)>,
}

impl ServerEntry {
    /// A governed server.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self { name: name.into(), url: url.into(), settings: Vec::new() }
    }

    /// What becomes of what is not MCP: `deny` or `pass`.
    #[must_use]
    pub fn other(self, what: &str) -> Self {
        self.set("other", what)
    }

    /// When a record counts as written: `sync` or `os`.
    #[must_use]
    pub fn durability(self, when: &str) -> Self {
        self.set("durability", when)
    }

    fn set(mut self, key: &'static str, value: &str) -> Self {
        self.settings.push((key, value.into()));
        self
    }
}

/// A gateway that is to be started.
#[derive(Debug)]
pub struct Setup<'a> {
    cgroup: &'a Cgroup,
    servers: Vec<ServerEntry>,
    stream: Option<(String, String)>,
    heartbeat: &'static str,
    segment: &'static str,
    sections: String,
    program: Option<PathBuf>,
    hosts: Option<PathBuf>,
    resolve: &'static str,
}

impl Setup<'_> {
    /// Governs one more server.
    #[must_use]
    pub fn server(mut self, server: ServerEntry) -> Self {
        self.servers.push(server);
        self
    }

    /// Ships the log to this emulator.
    #[must_use]
    pub fn kinesis(mut self, kinesis: &Kinesis) -> Self {
        self.stream = Some((kinesis.endpoint.clone(), kinesis.stream.clone()));
        self
    }

    /// With names from this file, in the form of /etc/hosts, which is read anew each second.
    #[must_use]
    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self.resolve = "1s";
        self
    }

    /// After how long without a sign of life the kernel takes the gateway for hung, such as `500ms`.
    #[must_use]
    pub fn heartbeat(mut self, limit: &'static str) -> Self {
        self.heartbeat = limit;
        self
    }

    /// How large a file of the log is, such as `64KiB`.
    #[must_use]
    pub fn segment(mut self, size: &'static str) -> Self {
        self.segment = size;
        self
    }

    /// Another program than the one that was built: every user must be able to reach it.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// More of the configuration, as TOML: whole sections such as `[limits]`.
    #[must_use]
    pub fn section(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self.sections.push('\n');
        self
    }

    /// Writes the configuration, brings up the guard, starts the gateway as `nobody`, and waits until it is ready.
    ///
    /// # Errors
    /// The machine lacks something, by name; or one of these says no, in its own words.
    pub fn start(self) -> anyhow::Result<Gateway> {
        let mut gateway = self.prepare()?;
        gateway.guard_up()?;
        gateway.run()?;
        Ok(gateway)
    }

    /// Only writes the configuration: nothing is captured and nothing runs.
    ///
    /// # Errors
    /// The machine lacks something, by name.
    pub fn prepare(self) -> anyhow::Result<Gateway> {
        needs::require()?;
        let slot = Slot::take()?;
        let user = User::nobody()?;
        let dir = tempfile::Builder::new().prefix("mcp-gateway-test-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let audit = dir.path().join("audit");
        fs::create_dir(&audit)?;
        chown(&audit, Some(user.uid), Some(user.gid))?;
        let admin = SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 1), 9464));
        let pins = PathBuf::from(format!("/sys/fs/bpf/mcp-gateway-test-{}", slot.number()));

        let mut toml = String::new();
        writeln!(
            toml,
            "[capture]\ncgroup = {:?}\npins = {pins:?}\nuser = \"nobody\"\nheartbeat = {:?}\nresolve = {:?}\n",
            self.cgroup.path(),
            self.heartbeat,
            self.resolve
        )?;
        for server in &self.servers {
            writeln!(toml, "[[server]]\nname = {:?}\nurl = {:?}", server.name, server.url)?;
            for (key, value) in &server.settings {
                writeln!(toml, "{key} = {value:?}")?;
            }
            toml.push('\n');
        }
        let begin = format!("[audit]\ndir = {audit:?}\nsegment = {:?}", self.segment);
        // A test may bring an [audit] of its own, which then goes on from here.
        if self.sections.contains("[audit]") {
            toml.push_str(&self.sections.replace("[audit]", &begin));
        } else {
            writeln!(toml, "{begin}\n\n{}", self.sections)?;
        }
        if let Some((endpoint, stream)) = &self.stream {
            writeln!(toml, "\n[kinesis]\nstream = {stream:?}\nregion = \"eu-central-1\"\nendpoint_url = {endpoint:?}")?;
        }
        writeln!(toml, "\n[admin]\nlisten = \"{admin}\"")?;
        let config = dir.path().join("gateway.toml");
        fs::write(&config, toml)?;

        let program = self.program.map_or_else(|| binaries::reachable(&binaries::gateway()?), Ok)?;
        let gateway =
            Gateway { process: None, guarded: false, program, config, audit, admin, user, hosts: self.hosts, _dir: dir, _slot: slot };
        // What a test that was killed may have left at this slot.
        if pins.exists() {
            gateway.command(&["guard", "down", "--config"], true).run(Duration::from_secs(20))?;
        }
        Ok(gateway)
    }
}

/// A gateway of a test. When dropped: killed, and its guard taken down.
#[derive(Debug)]
pub struct Gateway {
    process: Option<Proc>,
    guarded: bool,
    program: PathBuf,
    config: PathBuf,
    audit: PathBuf,
    admin: SocketAddr,
    user: User,
    hosts: Option<PathBuf>,
    _dir: tempfile::TempDir,
    _slot: Slot,
}

impl Gateway {
    /// A gateway for the connections of one cgroup.
    #[must_use]
    pub fn over(cgroup: &Cgroup) -> Setup<'_> {
        // A segment is written whole when it is begun: small ones let a gateway start at once.
        Setup {
            cgroup,
            servers: Vec::new(),
            stream: None,
            heartbeat: "2s",
            segment: "4MiB",
            sections: String::new(),
            program: None,
            hosts: None,
            resolve: "30s",
        }
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder of its log.
    #[must_use]
    pub fn audit_dir(&self) -> &Path {
        &self.audit
    }

    /// Its program, where every user can reach it.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, words: &[&str], with_config: bool) -> Launch {
        let mut launch = Launch::new(&self.program).args(words);
        if let Some(hosts) = &self.hosts {
            launch = launch.hosts(hosts);
        }
        if with_config { launch.arg(&self.config) } else { launch }
    }

    /// `mcp-gateway guard up`, as root.
    ///
    /// # Errors
    /// The guard says no.
    pub fn guard_up(&mut self) -> anyhow::Result<Finished> {
        self.guarded = true;
        // The guard proves itself at one address that is the same for the whole host: one test at a time.
        let turn = fs::File::open("/sys/fs/bpf")?;
        flock(&turn, FlockOperation::LockExclusive)?;
        self.command(&["guard", "up", "--config"], true).run(Duration::from_secs(30))?.ok()
    }

    /// `mcp-gateway guard status`.
    ///
    /// # Errors
    /// It does not end.
    pub fn guard_status(&self) -> anyhow::Result<Finished> {
        self.command(&["guard", "status", "--config"], true).run(Duration::from_secs(20))
    }

    /// `mcp-gateway guard down`, as root.
    ///
    /// # Errors
    /// The guard says no.
    pub fn guard_down(&mut self) -> anyhow::Result<Finished> {
        let done = self.command(&["guard", "down", "--config"], true).run(Duration::from_secs(20))?.ok()?;
        self.guarded = false;
        Ok(done)
    }

    /// Starts `mcp-gateway run` as `nobody`, and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready within half a minute: the message has what it said.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.until_ready()
    }

    /// Starts `mcp-gateway run` and does not wait.
    ///
    /// # Errors
    /// It cannot be started, or runs already.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the gateway runs already");
        let mut launch = self.command(&["run", "--config"], true).user(self.user);
        for (name, value) in CREDENTIALS {
            launch = launch.env(name, value);
        }
        self.process = Some(launch.start()?);
        Ok(())
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// As [`Gateway::run`].
    pub fn until_ready(&mut self) -> anyhow::Result<()> {
        let admin = self.admin;
        let process = self.process_mut()?;
        wait_for("the gateway to be ready", Duration::from_secs(30), || {
            if let Some(status) = process.ended()? {
                bail!("the gateway ended with {status}\n{}\n{}", process.stdout(), process.stderr());
            }
            Ok(matches!(get(admin, "/readyz"), Ok((200, _))).then_some(()))
        })
        .with_context(|| self.said())
    }

    /// What it has said since it was last started.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.as_ref().map(|p| format!("{}{}", p.stdout(), p.stderr())).unwrap_or_default()
    }

    fn process_mut(&mut self) -> anyhow::Result<&mut Proc> {
        self.process.as_mut().context("the gateway does not run")
    }

    /// Its process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the gateway does not run")?.pid())
    }

    /// SIGKILL, and its end.
    ///
    /// # Errors
    /// It does not run, or had ended by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let ended = self.process_mut()?.ended()?;
        ensure!(ended.is_none(), "the gateway had ended by itself ({ended:?}) before it was killed\n{}", self.said());
        self.process_mut()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// How it ended, if it has by itself: it can then be started again.
    ///
    /// # Errors
    /// It was not running.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.process_mut()?.ended()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// SIGSTOP: it hangs.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process_mut()?.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// It does not run.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process_mut()?.signal(Signal::CONT)
    }

    /// SIGTERM, and its end in good order.
    ///
    /// # Errors
    /// As [`Gateway::terminate`] and [`Gateway::finish`].
    pub fn drain(&mut self) -> anyhow::Result<Finished> {
        self.terminate()?;
        self.finish()
    }

    /// SIGTERM: calls in flight may end.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        self.process_mut()?.signal(Signal::TERM)
    }

    /// Its end in good order.
    ///
    /// # Errors
    /// It does not run, does not end within half a minute, or ends with an error.
    pub fn finish(&mut self) -> anyhow::Result<Finished> {
        let process = self.process.take().context("the gateway does not run")?;
        process.finish(Duration::from_secs(30))?.ok()
    }

    /// A page of its admin address: status and body.
    ///
    /// # Errors
    /// It does not answer.
    pub fn admin(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get(self.admin, path)
    }

    /// One value of its metrics. Labelled series are named with their labels, as on the page.
    ///
    /// # Errors
    /// It does not answer, or has no such metric.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, page) = self.admin("/metrics")?;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
            .with_context(|| format!("no metric {name} in:\n{page}"))
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// It does not run.
    pub fn memory(&self) -> anyhow::Result<u64> {
        process::resident_memory(self.pid()?)
    }

    /// The records of its log.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        record::read(&self.audit)
    }

    /// Waits until a record is there that `wanted` accepts.
    ///
    /// # Errors
    /// None came within ten seconds, or the log cannot be read.
    pub fn record(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> anyhow::Result<Record> {
        wait_for(what, Duration::from_secs(10), || Ok(self.records()?.into_iter().find(|record| wanted(record))))
            .with_context(|| self.records().map_or_else(|e| e.to_string(), |all| all.iter().map(|r| format!("{}\n", r.line)).collect()))
    }

    /// `mcp-gateway audit verify` of its log.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn verify(&self) -> anyhow::Result<Finished> {
        self.command(&["audit", "verify"], false).arg(&self.audit).run(Duration::from_secs(60))
    }

    /// `mcp-gateway audit tail` of its log, with more arguments.
    #[must_use]
    pub fn tail(&self, arguments: &[&str]) -> Launch {
        self.command(&["audit", "tail", "--dir"], false).arg(&self.audit).args(arguments)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The process first: while it lives, the guard's removal would let its clients past it.
        self.process = None;
        if self.guarded
            && let Err(error) = self.guard_down()
        {
            eprintln!("the guard stays behind: {error:#}");
        }
    }
}

/// A GET without a library: these pages are small.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("not an HTTP answer")?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
