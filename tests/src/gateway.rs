//! The gateway under test: guard and service, over a cgroup of the test's own.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use crate::{Cgroup, Finished, Launch, Proc, Record, Slot, User, record, setup::Setup, wait::wait_for};

/// A gateway of a test. When dropped: killed, and its guard taken down.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) process: Option<Proc>,
    pub(crate) guarded: bool,
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) audit: PathBuf,
    pub(crate) admin: SocketAddr,
    pub(crate) endpoint: Option<String>,
    pub(crate) user: Option<User>,
    pub(crate) hosts: Option<PathBuf>,
    pub(crate) variables: Vec<(&'static str, OsString)>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) _slot: Slot,
}

impl Gateway {
    /// A gateway for the connections of one cgroup.
    #[must_use]
    pub fn over(cgroup: &Cgroup) -> Setup<'_> {
        Setup::new(Some(cgroup))
    }

    /// A gateway that captures nothing, for callers of its endpoint. It takes no root.
    #[must_use]
    pub fn at_an_endpoint() -> Setup<'static> {
        Setup::new(None).endpoint("")
    }

    /// The URL of a path at its endpoint.
    ///
    /// # Errors
    /// It has none.
    pub fn url(&self, path: &str) -> anyhow::Result<String> {
        Ok(format!("{}/{path}", self.endpoint.as_ref().context("the gateway has no endpoint")?))
    }

    /// The file of its policies, which is read anew when it changes.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.dir.path().join("policies/site.cedar")
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

    /// What its clients are to trust for servers of `https` URLs, as PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Its authority's key and certificates, which only its user may read.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.dir.path().join("ca/authority.pem")
    }

    /// `mcp-gateway ca …` with its configuration, as root.
    ///
    /// # Errors
    /// It says no.
    pub fn ca(&self, words: &[&str]) -> anyhow::Result<Finished> {
        self.command(&["ca"], false).args(words).arg("--config").arg(&self.config).run(Duration::from_secs(20))?.ok()
    }

    pub(crate) fn make_authority(&self) -> anyhow::Result<()> {
        self.ca(&["init"])?;
        Ok(fs::write(self.ca_file(), self.ca(&["show", "--pem"])?.stdout)?)
    }

    pub(crate) fn command(&self, words: &[&str], with_config: bool) -> Launch {
        let mut launch = Launch::new(&self.program).args(words);
        if let Some(hosts) = &self.hosts {
            launch = launch.hosts(hosts);
        }
        if with_config { launch.arg(&self.config) } else { launch }
    }

    /// A command of the gateway's, with its configuration.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Launch {
        self.command(&[words, &["--config"]].concat(), true)
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
        // Where a core dump would go: its user may write there.
        let mut launch = self.command(&["run", "--config"], true).directory(&self.audit).without_aws();
        if let Some(user) = self.user {
            launch = launch.user(user);
        }
        for (name, value) in &self.variables {
            launch = launch.env(name, value);
        }
        self.process = Some(launch.start()?);
        Ok(())
    }

    /// A variable of its environment when it is next started.
    pub fn env(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
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

    /// SIGHUP: it reads its certificates and authorities anew.
    ///
    /// # Errors
    /// It does not run.
    pub fn hang_up(&mut self) -> anyhow::Result<()> {
        self.process_mut()?.signal(Signal::HUP)
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
        resident_memory(self.pid()?)
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

/// The resident memory of a process in bytes (`VmRSS`, proc_pid_status(5)).
fn resident_memory(pid: u32) -> anyhow::Result<u64> {
    let path = Path::new("/proc").join(pid.to_string()).join("status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}
