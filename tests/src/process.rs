//! Child processes: where they run, as whom, and what they said.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Cgroup, Netns};

/// An unprivileged user to run as.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// With `CAP_SYS_PTRACE` as an ambient capability: needed to read which executable another user's process runs.
    pub ptrace: bool,
}

impl User {
    /// `nobody`, with the one capability that the gateway can use.
    ///
    /// # Errors
    /// There is no such user.
    pub fn nobody() -> anyhow::Result<Self> {
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&"nobody"))
            .and_then(|fields| Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()?, ptrace: true }))
            .context("there is no user `nobody`")
    }
}

/// A program that is to be started: where, and as whom.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    removed: Vec<OsString>,
    directory: Option<PathBuf>,
    netns: Option<PathBuf>,
    hosts: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    user: Option<User>,
}

impl Launch {
    /// A program, by path or by name.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            removed: Vec::new(),
            directory: None,
            netns: None,
            hosts: None,
            cgroup: None,
            user: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With nothing of AWS's: neither what this process has in its environment, nor the files of whoever runs the test, nor the metadata
    /// service of the host. What a test sets after this counts.
    #[must_use]
    pub fn without_aws(mut self) -> Self {
        let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| name.as_encoded_bytes().starts_with(b"AWS_"));
        self.removed.extend(ours);
        self.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null").env("AWS_EC2_METADATA_DISABLED", "true")
    }

    /// The folder to start in.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// In this network namespace.
    #[must_use]
    pub fn inside(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.path());
        self
    }

    /// With this file as its /etc/hosts.
    #[must_use]
    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self
    }

    /// In this cgroup, from before the program's first instruction.
    #[must_use]
    pub fn under(mut self, cgroup: &Cgroup) -> Self {
        self.cgroup = Some(cgroup.path().to_owned());
        self
    }

    /// As this user.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// The words of the command: each step runs the next in its own place, so that the process is the program's in the end.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(cgroup) = &self.cgroup {
            words.extend(["sh", "-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#].map(OsString::from));
            words.push(cgroup.into());
        }
        if let Some(netns) = &self.netns {
            let mut net = OsString::from("--net=");
            net.push(netns);
            words.extend(["nsenter".into(), net, "--".into()]);
        }
        if let Some(hosts) = &self.hosts {
            words.extend(["unshare", "--mount", "--", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#].map(OsString::from));
            words.push(hosts.into());
        }
        // The program does not outlive a test that was killed.
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(OsString::from));
        if let Some(user) = self.user {
            words.extend([format!("--reuid={}", user.uid).into(), format!("--regid={}", user.gid).into(), "--clear-groups".into()]);
            if user.ptrace {
                words.extend(["--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"].map(OsString::from));
            }
        }
        words.push("--".into());
        words.push((&self.program).into());
        words.extend(self.arguments.iter().cloned());
        words
    }

    /// The program's name, for messages.
    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// Starts it. What it says goes into files.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> anyhow::Result<Proc> {
        self.start_with(Stdio::null())
    }

    /// Starts it with a pipe to its standard input: see [`Proc::stdin`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_piped(&self) -> anyhow::Result<Proc> {
        self.start_with(Stdio::piped())
    }

    fn start_with(&self, stdin: Stdio) -> anyhow::Result<Proc> {
        let said = tempfile::tempdir().context("no folder for the output")?;
        let (out, err) = (said.path().join("stdout"), said.path().join("stderr"));
        let words = self.words();
        let mut command = Command::new(&words[0]);
        for name in &self.removed {
            command.env_remove(name);
        }
        command
            .args(&words[1..])
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            // Ctrl-C is for the one who started it: it ends its processes in an order of its own.
            .process_group(0)
            .stdin(stdin)
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&err)?);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name()))?;
        Ok(Proc { name: self.name(), child, said, ended: None })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end within the limit: it is killed then.
    pub fn run(&self, limit: Duration) -> anyhow::Result<Finished> {
        self.start()?.finish(limit)
    }
}

/// A process that was started. Killed when dropped; what it said is printed when a test is failing.
#[derive(Debug)]
pub struct Proc {
    name: String,
    child: Child,
    said: tempfile::TempDir,
    ended: Option<ExitStatus>,
}

impl Proc {
    /// Its process id: the program's own, not a wrapper's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once, if it was [started so](Launch::start_piped). Dropping it closes it.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.text("stdout")
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    fn text(&self, which: &str) -> String {
        fs::read(self.said.path().join(which)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Where its standard output goes.
    #[must_use]
    pub fn stdout_path(&self) -> PathBuf {
        self.said.path().join("stdout")
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id is a positive number")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills it, and waits for its end.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_none() {
            self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
            self.ended = Some(self.child.wait()?);
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within the limit: it is killed then.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                self.kill()?;
                bail!("{} did not end within {limit:?}\n{}", self.name, self.report());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end, and gives what it said.
    ///
    /// # Errors
    /// As [`Proc::wait`].
    pub fn finish(mut self, limit: Duration) -> anyhow::Result<Finished> {
        let status = self.wait(limit)?;
        Ok(Finished { name: self.name.clone(), pid: self.pid(), status, stdout: self.stdout(), stderr: self.stderr() })
    }

    fn report(&self) -> String {
        format!("{} (pid {}) said:\n{}\n{}", self.name, self.pid(), tail(&self.stdout()), tail(&self.stderr()))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let told = self.ended.is_some();
        let _ = self.kill();
        if thread::panicking() && !told {
            let _ = writeln!(std::io::stderr(), "{}", self.report());
        }
    }
}

/// A process that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its program's name.
    pub name: String,
    /// The id it had.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself, if it ended well.
    ///
    /// # Errors
    /// It did not: the message has what it said.
    pub fn ok(self) -> anyhow::Result<Self> {
        ensure!(self.status.success(), "{} ended with {}\n{}\n{}", self.name, self.status, tail(&self.stdout), tail(&self.stderr));
        Ok(self)
    }

    /// Its exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its standard output, read as JSON.
    ///
    /// # Errors
    /// It ended badly, or it is none.
    pub fn json(self) -> anyhow::Result<serde_json::Value> {
        let done = self.ok()?;
        serde_json::from_str(&done.stdout).with_context(|| format!("{} did not print JSON:\n{}", done.name, tail(&done.stdout)))
    }
}

/// The last 60 lines.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
