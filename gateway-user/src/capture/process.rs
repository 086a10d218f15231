//! Which process made a connection: what /proc says of it, at accept.
//!
//! The kernel told us the process's number at connect. Numbers are used again: a pidfd holds the process that has the number now, and its start
//! time shows whether it is the one that connected. What cannot be read is a named reason in its place, never a guess.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Serialize;

use super::KernelOrigin;

/// Something read of a process, or why it could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact<T> {
    /// It was read.
    Known(T),
    /// It could not be read.
    Unknown {
        /// Why.
        unknown: Unknown,
    },
}

impl<T> Fact<T> {
    /// It could not be read.
    pub(super) const fn unknown(unknown: Unknown) -> Self {
        Self::Unknown { unknown }
    }

    /// The value, if it was read.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }
}

/// Why something of a process is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// The process had ended.
    Ended,
    /// The number belongs to a younger process now.
    PidReused,
    /// Another user's process: the gateway lacks `CAP_SYS_PTRACE`.
    NeedsCapSysPtrace,
    /// /proc is mounted with `hidepid`, a security module forbids it, or the process is in a pid namespace that cannot be seen from here.
    Forbidden,
    /// The gateway is not in the first pid namespace: its numbers are not the kernel's.
    OtherPidNamespace,
    /// It is on no socket of this network namespace: on another host, or in a container with a network of its own.
    Remote,
    /// /proc holds something unexpected.
    Unreadable,
}

/// A process's number and name; of a parent, nothing more is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parent {
    /// Its number.
    pub pid: u32,
    /// The name of its first thread.
    pub comm: Fact<String>,
    /// Its executable.
    pub exe: Fact<PathBuf>,
}

/// A process, as it was when its connection was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number, in the first pid namespace; of a process that called the endpoint, in the gateway's own.
    pub pid: u32,
    /// When it started, on `CLOCK_BOOTTIME`, in nanoseconds; whole clock ticks (a hundredth of a second).
    pub start_time: Fact<u64>,
    /// Its executable. ` (deleted)` at the end means that the file has gone.
    pub exe: Fact<PathBuf>,
    /// The executable's inode and device: they tell two files of one path apart.
    pub exe_inode: Fact<Inode>,
    /// The process that started it, or took it over.
    pub parent: Fact<Parent>,
    /// Its cgroup's path (version 2; on a host without processes there, that of systemd's own hierarchy).
    pub cgroup: Fact<String>,
    /// The systemd unit in that path.
    pub unit: Option<String>,
    /// The container's id in that path.
    pub container: Option<String>,
    /// The number was used again: what is in /proc is not the process that connected.
    pub reused: bool,
}

/// A file's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Inode {
    /// The device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
}

/// `PROC_PID_INIT_INO`, include/linux/proc_ns.h: the inode of the first pid namespace.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Reads what /proc says of the process that made a connect.
#[must_use]
pub fn describe(origin: &KernelOrigin) -> Process {
    let pid = origin.tgid;
    if fs::metadata("/proc/self/ns/pid").is_ok_and(|m| m.ino() != FIRST_PID_NAMESPACE) {
        return unknown(pid, Unknown::OtherPidNamespace);
    }
    read_of(pid, origin.connected_boot_ns)
}

/// Reads what /proc says of the process that has this number now.
#[must_use]
pub fn current(pid: u32) -> Process {
    read_of(pid, u64::MAX)
}

/// Reads what /proc says of the process that had this number then, on `CLOCK_BOOTTIME`.
pub(super) fn read_of(pid: u32, then_boot_ns: u64) -> Process {
    // Held while /proc is read: if it lives at the end, everything read was of one process.
    let Some(pidfd) = open(pid) else {
        return unknown(pid, Unknown::Ended);
    };
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let stat = read(&proc.join("stat")).map(|text| Stat::parse(&text));
    let stat = match stat {
        Ok(Some(stat)) => stat,
        Ok(None) => return unknown(pid, Unknown::Unreadable),
        Err(reason) => return unknown(pid, reason),
    };
    let start_ns = stat.start_ns(ticks_per_second());
    if is_younger(start_ns, then_boot_ns) {
        return Process { reused: true, ..unknown(pid, Unknown::PidReused) };
    }
    let place = Place::read(&proc);
    let process = Process {
        pid,
        start_time: Fact::Known(start_ns),
        exe: exe(&proc),
        exe_inode: exe_inode(&proc),
        parent: parent(stat.parent),
        unit: place.as_ref().ok().and_then(|p| p.unit.clone()),
        container: place.as_ref().ok().and_then(|p| p.container.clone()),
        cgroup: place.map_or_else(Fact::unknown, |p| Fact::Known(p.path)),
        reused: false,
    };
    if has_ended(&pidfd) {
        return unknown(pid, Unknown::Ended);
    }
    process
}

fn unknown(pid: u32, reason: Unknown) -> Process {
    Process {
        pid,
        start_time: Fact::unknown(reason),
        exe: Fact::unknown(reason),
        exe_inode: Fact::unknown(reason),
        parent: Fact::unknown(reason),
        cgroup: Fact::unknown(reason),
        unit: None,
        container: None,
        reused: false,
    }
}

/// Whether a process that started then is not the one that connected then. Start times are cut to whole ticks, so an equal one is the same.
const fn is_younger(start_ns: u64, connected_boot_ns: u64) -> bool {
    start_ns > connected_boot_ns
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// A pidfd is readable once its process has ended.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

fn reason(error: &io::Error, guarded: bool) -> Unknown {
    match error.kind() {
        io::ErrorKind::NotFound => Unknown::Ended,
        io::ErrorKind::PermissionDenied if guarded => Unknown::NeedsCapSysPtrace,
        io::ErrorKind::PermissionDenied => Unknown::Forbidden,
        _ if error.raw_os_error() == Some(libc::ESRCH) => Unknown::Ended,
        _ => Unknown::Unreadable,
    }
}

fn read(path: &Path) -> Result<String, Unknown> {
    // A thread's name need not be UTF-8.
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(reason(&error, false)),
    }
}

fn exe(proc: &Path) -> Fact<PathBuf> {
    match fs::read_link(proc.join("exe")) {
        Ok(path) => Fact::Known(path),
        Err(error) => Fact::unknown(reason(&error, true)),
    }
}

fn exe_inode(proc: &Path) -> Fact<Inode> {
    match fs::metadata(proc.join("exe")) {
        Ok(file) => Fact::Known(Inode { device: file.dev(), inode: file.ino() }),
        Err(error) => Fact::unknown(reason(&error, true)),
    }
}

fn parent(pid: u32) -> Fact<Parent> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    Fact::Known(Parent {
        pid,
        comm: read(&proc.join("comm")).map_or_else(Fact::unknown, |name| Fact::Known(name.trim_end_matches('\n').to_owned())),
        exe: exe(&proc),
    })
}

fn ticks_per_second() -> u64 {
    // SAFETY: reads a constant.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100)
}

/// What is needed of /proc/PID/stat, proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses and may itself hold parentheses and spaces; the last one ends it.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        // Fields are numbered from 1; the one after the name is the third.
        let parent = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(22 - 5)?.parse().ok()?;
        Some(Self { parent, start_ticks })
    }

    fn start_ns(&self, ticks_per_second: u64) -> u64 {
        let tick = 1_000_000_000 / ticks_per_second.max(1);
        self.start_ticks.saturating_mul(tick)
    }
}

/// Where a process runs.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: String,
    unit: Option<String>,
    container: Option<String>,
}

impl Place {
    fn read(proc: &Path) -> Result<Self, Unknown> {
        Self::parse(&read(&proc.join("cgroup"))?).ok_or(Unknown::Unreadable)
    }

    /// From the lines of /proc/PID/cgroup, cgroups(7).
    fn parse(text: &str) -> Option<Self> {
        let line = |wanted: &str| {
            text.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                (controllers == wanted).then_some(path)
            })
        };
        let unified = line("");
        // On hybrid hosts processes may all stand in the root of version 2; then systemd's own hierarchy says more.
        let path = unified
            .filter(|path| *path != "/")
            .or_else(|| line("name=systemd").filter(|path| *path != "/"))
            .or(unified)
            .or_else(|| line("name=systemd"))?;
        let container = container(path).or_else(|| text.lines().find_map(|line| container(line.rsplit(':').next()?)));
        Some(Self { path: path.to_owned(), unit: unit(path), container })
    }
}

/// The innermost systemd unit of a path; slices only group.
fn unit(path: &str) -> Option<String> {
    path.split('/').rfind(|part| part.ends_with(".service") || part.ends_with(".scope")).map(str::to_owned)
}

/// The innermost container id of a path: 64 hexadecimal digits, alone (`docker/ID`, `kubepods/…/ID`) or in a scope (`docker-ID.scope`,
/// `cri-containerd-ID.scope`, `libpod-ID.scope`, `crio-ID.scope`), or a task's part on ECS (`ecs/TASK/ID-NUMBER`).
fn container(path: &str) -> Option<String> {
    let hex = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    path.split('/').rev().find_map(|part| {
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        let last = bare.rsplit(['-', ':']).next().unwrap_or(bare);
        if hex(last, 64) {
            return Some(last.to_owned());
        }
        let (task, number) = bare.split_once('-')?;
        (hex(task, 32) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| bare.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::{Fact, Place, Stat, Unknown, describe, is_younger};
    use crate::capture::KernelOrigin;

    const ID: &str = "4f3c1dd5a8b94dd0a4c6a1b0f7b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1";

    fn origin(tgid: u32, connected_boot_ns: u64) -> KernelOrigin {
        KernelOrigin {
            original: "192.0.2.1:443".parse().expect("an address"),
            server: 0,
            tgid,
            tid: tgid,
            uid: 0,
            gid: 0,
            cgroup_id: 1,
            netns_cookie: 1,
            comm: "test".to_owned(),
            connected_boot_ns,
        }
    }

    fn boot_ns() -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(now.tv_sec).expect("positive") * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("positive")
    }

    #[test]
    fn a_name_cannot_forge_the_fields_after_it() {
        let text = "77 (a) S 1 (b) R 42 77 77 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 900 1 2";
        let expected = Stat { parent: 42, start_ticks: 900 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("77 (a) S"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_process_younger_than_the_connect_is_another() {
        let stat = Stat { parent: 1, start_ticks: 900 };
        let start = stat.start_ns(100);
        assert_eq!(start, 9_000_000_000);
        assert!(is_younger(start, 8_999_999_999));
        assert!(!is_younger(start, 9_000_000_000));
    }

    #[test]
    fn this_process_is_described() {
        let process = describe(&origin(std::process::id(), boot_ns()));
        assert!(!process.reused);
        assert_eq!(process.exe.known(), std::env::current_exe().ok().as_ref());
        assert!(process.exe_inode.known().is_some());
        let parent = process.parent.known().expect("a parent");
        assert_eq!(parent.pid, std::os::unix::process::parent_id());
    }

    #[test]
    fn a_number_used_again_tells_nothing_of_its_new_holder() {
        let process = describe(&origin(std::process::id(), 1));
        assert!(process.reused);
        assert_eq!(process.exe, Fact::unknown(Unknown::PidReused));
        let json = serde_json::to_string(&process).expect("JSON");
        assert!(json.contains(r#""exe":{"unknown":"pid-reused"}"#), "{json}");
    }

    #[test]
    fn a_process_that_ended_is_said_to_have() {
        let mut child = std::process::Command::new("true").spawn().expect("true");
        child.wait().expect("its end");
        let process = describe(&origin(child.id(), boot_ns()));
        assert_eq!(process.cgroup, Fact::unknown(Unknown::Ended));
    }

    #[test]
    fn the_place_is_read_on_pure_and_hybrid_hosts() {
        let unified = Place::parse("0::/system.slice/agent.service\n").expect("a place");
        assert_eq!(unified.unit.as_deref(), Some("agent.service"));
        assert_eq!(unified.container, None);

        let hybrid = Place::parse("4:memory:/\n1:name=systemd:/user.slice/session-2.scope\n0::/\n").expect("a place");
        assert_eq!(hybrid.path, "/user.slice/session-2.scope");

        let bare = Place::parse("0::/\n").expect("a place");
        assert_eq!((bare.path.as_str(), bare.unit), ("/", None));
        assert_eq!(Place::parse(""), None);
    }

    #[test]
    fn containers_are_found_wherever_their_runtime_puts_them() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/docker/{ID}/init.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods/besteffort/pod1/{ID}"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"),
        ] {
            let place = Place::parse(&format!("0::{path}\n")).expect("a place");
            assert_eq!(place.container.as_deref(), Some(ID), "{path}");
        }
        let on_v1 = Place::parse(&format!("5:pids:/docker/{ID}\n0::/\n")).expect("a place");
        assert_eq!(on_v1.container.as_deref(), Some(ID));
        let ecs = Place::parse("0::/ecs/t/0123456789abcdef0123456789abcdef-1234567890\n").expect("a place");
        let expected = "0123456789abcdef0123456789abcdef-1234567890";
        assert_eq!(ecs.container.as_deref(), Some(expected));
    }
}
