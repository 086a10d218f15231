//! A stage for one test: a cgroup, a network namespace and a directory of pins of its own, in a process of its own.
//!
//! A thread cannot enter a cgroup alone, so the test binary runs itself again for the one test, inside. The outer process cleans up, whatever
//! became of the inner one.

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use gateway_user::capture::{
    Capture, Reason,
    guard::{self, GovernedAddress, GuardConfig},
};

/// Set for the inner process: the stage's name.
const INSIDE: &str = "MCP_GATEWAY_TEST_STAGE";
/// An object file to test in place of the committed one.
const OBJECT: &str = "MCP_GATEWAY_TEST_OBJECT";

/// A governed server, number 1.
pub(crate) const GOVERNED_V4: &str = "192.0.2.7:443";
/// A governed server, number 2.
pub(crate) const GOVERNED_V6: &str = "[2001:db8::7]:443";
/// A server that is not governed.
pub(crate) const PLAIN_V4: &str = "192.0.2.8:80";

/// Uids and gids that own nothing.
pub(crate) const NOBODY: u32 = 65_534;
pub(crate) const SOMEBODY_ELSE: u32 = 65_533;

pub(crate) struct Stage {
    name: String,
}

impl Stage {
    /// Runs `body` on a stage. `test` is the name of the calling test function.
    pub(crate) fn run(test: &str, body: impl FnOnce(&Self)) {
        if let Ok(name) = std::env::var(INSIDE) {
            Self::inside(name, body);
        } else {
            Self::outside(test);
        }
    }

    fn outside(test: &str) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: no arguments.
        let uid = unsafe { libc::geteuid() };
        assert_eq!(uid, 0, "this test needs root, to load eBPF programs and make namespaces; run it with sudo");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let stage = Self { name: format!("mcp-gateway-test-{}-{number}", std::process::id()) };
        let cgroup = stage.cgroup();
        fs::create_dir(&cgroup).unwrap_or_else(|error| panic!("cannot make {}: {error}", cgroup.display()));
        let _strike = Strike(&stage);
        let procs = fs::OpenOptions::new().write(true).open(cgroup.join("cgroup.procs")).expect("cgroup.procs");
        let mut command = Command::new(std::env::current_exe().expect("this test's binary"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, &stage.name);
        let enter = move || {
            (&procs).write_all(b"0")?;
            // SAFETY: no pointers.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: writes to a descriptor, and one system call.
        unsafe { command.pre_exec(enter) };
        let output = command.output().expect("this test's binary to run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        print!("{}", text(&output.stdout));
        eprint!("{}", text(&output.stderr));
        assert!(output.status.success(), "the test failed on its stage: {}", output.status);
        assert!(text(&output.stdout).contains("1 passed"), "no test is named {test}");
    }

    fn inside(name: String, body: impl FnOnce(&Self)) {
        for arguments in [
            "link set lo up",
            "addr add 192.0.2.7/32 dev lo",
            "addr add 192.0.2.8/32 dev lo",
            "addr add 2001:db8::7/128 dev lo nodad",
            // The kernel makes and remakes its own route to an IPv6 address some time after the address.
            "-6 route add local 2001:db8::7 dev lo table local metric 5",
        ] {
            ip(arguments);
        }
        body(&Self { name });
    }

    pub(crate) fn cgroup(&self) -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                Some((fields.next()?, fields.next()?))
            })
            .find_map(|(point, kind)| (kind == "cgroup2").then_some(point))
            .expect("this test needs a mount of cgroup version 2");
        Path::new(root).join(&self.name)
    }

    pub(crate) fn pin_dir(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.name)
    }

    /// The guard's configuration for this stage, with the usual two servers.
    pub(crate) fn config(&self) -> GuardConfig {
        let mut config = GuardConfig::new(0, 0);
        config.cgroup = Some(self.cgroup());
        config.pin_dir = self.pin_dir();
        config.object = std::env::var_os(OBJECT).map(PathBuf::from);
        for (server, address) in [(1, GOVERNED_V4), (2, GOVERNED_V6)] {
            let address: SocketAddr = address.parse().expect("an address");
            config.governed.push(GovernedAddress::host(address.ip(), address.port(), server));
        }
        config
    }

    /// Brings the guard up.
    pub(crate) fn guard(&self) -> guard::Report {
        guard::up(&self.config()).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn capture(&self) -> Capture {
        Capture::open(&self.pin_dir()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Counts what `body` makes the kernel programs do: all of it, so that an unexpected count shows.
    pub(crate) fn counting(&self, body: impl FnOnce()) -> Vec<(Reason, u64)> {
        let capture = self.capture();
        let before = capture.counters().expect("counters");
        body();
        let after = capture.counters().expect("counters");
        before
            .into_iter()
            .zip(after)
            .map(|((reason, before), (_, after))| (reason, after - before))
            .filter(|(_, moved)| *moved > 0)
            .collect()
    }
}

/// Takes the stage down.
struct Strike<'a>(&'a Stage);

impl Drop for Strike<'_> {
    fn drop(&mut self) {
        let cgroup = self.0.cgroup();
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        if let Err(error) = guard::down(&self.0.pin_dir()) {
            eprintln!("the guard could not be taken down: {error}");
        }
        for _ in 0..100 {
            for entry in fs::read_dir(&cgroup).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            if fs::remove_dir(&cgroup).is_ok() || !cgroup.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("{} could not be removed", cgroup.display());
    }
}

/// Runs iproute2.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("this test needs `ip` (iproute2)");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// Forks; the child runs `body` and ends with its answer.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> Child {
    // SAFETY: glibc keeps its own locks in order over a fork, and the child touches no lock of the parent's other threads.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    if pid == 0 {
        let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the child, and nothing of the parent's.
        unsafe { libc::_exit(code) }
    }
    Child(pid)
}

pub(crate) struct Child(pub(crate) libc::pid_t);

impl Child {
    /// What `body` answered.
    pub(crate) fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: our own child.
        let pid = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(pid, self.0);
        assert!(libc::WIFEXITED(status), "the child was killed");
        libc::WEXITSTATUS(status)
    }
}

/// Gives up root, for good.
pub(crate) fn become_user(uid: u32, gid: u32) {
    // SAFETY: of no groups nothing is read.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: no pointers.
    let group = unsafe { libc::setresgid(gid, gid, gid) };
    // SAFETY: no pointers.
    let user = unsafe { libc::setresuid(uid, uid, uid) };
    assert_eq!((groups, group, user), (0, 0, 0));
}

/// Sends a signal to one process.
pub(crate) fn kill(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// Sets a socket option that takes an integer.
pub(crate) fn set_option(socket: &impl std::os::fd::AsFd, level: i32, name: i32, value: i32) {
    let fd = socket.as_fd().as_raw_fd();
    let len = libc::socklen_t::try_from(size_of::<i32>()).expect("small");
    // SAFETY: an integer of four bytes.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
