//! The guard: loads, pins and attaches the kernel programs, and proves that they capture. Root, and short-lived.
//!
//! ```no_run
//! use gateway_user::capture::guard::{self, GovernedAddress, GuardConfig};
//!
//! let mut config = GuardConfig::new(1000, 1000); // the user and group that the gateway runs as
//! config.governed.push(GovernedAddress::host([192, 0, 2, 7].into(), 443, 0));
//! println!("{}", guard::up(&config)?);
//! # Ok::<(), guard::GuardError>(())
//! ```
//!
//! What is attached stays when the guard has ended, and while the gateway is down: then governed connects are refused.

mod canary;
mod error;
mod host;
mod programs;
mod status;

use std::{
    borrow::Cow,
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway_common::{
    CANARY_ADDRESS, CANARY_PORT, CANARY_SERVER, DEFAULT_HEARTBEAT_LIMIT_NS, DEFAULT_MAX_PENDING, Governed, Settings, SocketMark,
};
use rustix::fs::{FlockOperation, Gid, Uid, flock};
use serde::Serialize;

pub use canary::Canary;
pub use error::GuardError;
pub use status::{GatewayStatus, ProgramStatus, Status, status};

use super::{
    Capture, CaptureError, GovernedPrefix,
    bpf::{self, Map, PerCpu},
    names, sock_diag,
};
use host::Cgroup;

/// Where the pins are unless another place is given.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/mcp-gateway";

/// A destination, or a network of them, that is governed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GovernedAddress {
    /// The address, or the network's.
    pub ip: IpAddr,
    /// How many bits of it count: up to 32 for IPv4, up to 128 for IPv6.
    pub prefix_len: u8,
    /// The port.
    pub port: u16,
    /// The gateway's number of the server.
    pub server: u32,
}

impl GovernedAddress {
    /// One address.
    #[must_use]
    pub const fn host(ip: IpAddr, port: u16, server: u32) -> Self {
        let prefix_len = if ip.is_ipv4() { 32 } else { 128 };
        Self { ip, prefix_len, port, server }
    }

    fn prefix(&self) -> GovernedPrefix {
        let before = if self.ip.is_ipv4() { 96 } else { 0 };
        GovernedPrefix::network(self.ip, before + u32::from(self.prefix_len), self.port)
    }
}

/// What the guard is to set up.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Whose connections: a directory of cgroup version 2. By default its root, wherever it is mounted.
    ///
    /// Hooks see a socket by the cgroup in which it was made: what is made outside and carried in is not seen.
    pub cgroup: Option<PathBuf>,
    /// Where the pins go; on a bpffs.
    pub pin_dir: PathBuf,
    /// What is governed. An address that was governed before stays so until the guard goes down.
    pub governed: Vec<GovernedAddress>,
    /// The user that the gateway runs as: the pins become that user's.
    pub owner_uid: u32,
    /// That user's group.
    pub owner_gid: u32,
    /// How old the gateway's last sign of life may be.
    pub heartbeat_limit: Duration,
    /// How many connects may wait for the gateway at once. Fixed when the guard first comes up.
    pub max_pending: u32,
    /// An object file to load in place of the one in this binary; for those who have rebuilt it.
    pub object: Option<PathBuf>,
}

impl GuardConfig {
    /// The defaults, with pins for this user and group.
    #[must_use]
    pub fn new(owner_uid: u32, owner_gid: u32) -> Self {
        Self {
            cgroup: None,
            pin_dir: DEFAULT_PIN_DIR.into(),
            governed: Vec::new(),
            owner_uid,
            owner_gid,
            heartbeat_limit: Duration::from_nanos(DEFAULT_HEARTBEAT_LIMIT_NS),
            max_pending: DEFAULT_MAX_PENDING,
            object: None,
        }
    }
}

/// What the guard did to come up.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whose connections are captured.
    pub cgroup: PathBuf,
    /// Whether a guard was up before, and was replaced without a gap.
    pub upgraded: bool,
    /// The programs attached.
    pub programs: Vec<&'static str>,
    /// How many destinations are governed, those from before among them.
    pub governed: usize,
    /// How many connections, open before, were aborted.
    pub aborted: usize,
    /// How the proof went.
    pub canary: Canary,
    /// What was changed on the host besides.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let how = if self.upgraded { "replaced, without a gap," } else { "attached" };
        let (programs, cgroup) = (self.programs.len(), self.cgroup.display());
        writeln!(f, "{programs} kernel programs {how} at {cgroup}")?;
        writeln!(f, "{} governed", counted(self.governed, "destination"))?;
        if self.aborted > 0 {
            writeln!(f, "{} aborted that stood open before", counted(self.aborted, "connection"))?;
        }
        match self.canary {
            Canary::Redirected => write!(f, "ready: a test connect went to the gateway"),
            Canary::Refused => write!(f, "ready: a test connect was refused, because no gateway runs here yet"),
        }
    }
}

/// `1 connection`, `2 connections`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Brings the guard up, or replaces the one that is up without a moment of no capture.
///
/// When it fails for the first time nothing stays behind; when it fails to replace a guard, that one goes on.
///
/// # Errors
///
/// [`GuardError::Missing`] names what kernel or user lack; each of the others says what could not be done.
pub fn up(config: &GuardConfig) -> Result<Report, GuardError> {
    let missing = host::missing();
    if !missing.is_empty() {
        return Err(GuardError::Missing(missing));
    }
    let object: Cow<'_, [u8]> = match &config.object {
        Some(path) => fs::read(path).map_err(GuardError::file("read", path))?.into(),
        None => programs::OBJECT.into(),
    };
    let cgroup = Cgroup::find(config.cgroup.as_deref())?;
    let (uid, gid) = (Uid::from_raw(config.owner_uid), Gid::from_raw(config.owner_gid));
    let notes = host::prepare_pin_dir(&config.pin_dir, gid)?;
    let _lock = lock(&config.pin_dir)?;
    let upgraded = programs::link_pin(&config.pin_dir, "connect4").exists();
    let mut rollback = Rollback { pin_dir: &config.pin_dir, armed: !upgraded };
    if upgraded {
        // Taken over as they are; so they must be what this version expects.
        Capture::open(&config.pin_dir).map_err(|source| GuardError::OtherVersion { source })?;
    }

    let mut loaded = programs::load(&object, &config.pin_dir, config.max_pending)?;
    let governed = fill(config)?;
    loaded.attach(&cgroup, &config.pin_dir)?;
    for name in programs::MAPS {
        host::hand_over(&config.pin_dir.join(name), uid, gid)?;
    }
    let aborted = abort_older(config, &cgroup)?;
    let counters: PerCpu = pinned(&config.pin_dir, names::COUNTERS, PerCpu::open)?;
    let canary = canary::fly(&cgroup.path, &counters)?;
    rollback.armed = false;
    Ok(Report {
        cgroup: cgroup.path,
        upgraded,
        programs: programs::HOOKS.iter().map(|hook| hook.name).collect(),
        governed,
        aborted,
        canary,
        notes,
    })
}

fn pinned<T>(pin_dir: &Path, name: &str, open: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, CaptureError> {
    let path = pin_dir.join(name);
    open(&path).map_err(|source| CaptureError::pin(path, source))
}

/// One guard at a time works on a directory of pins.
fn lock(pin_dir: &Path) -> Result<fs::File, GuardError> {
    let directory = fs::File::open(pin_dir).map_err(GuardError::file("open", pin_dir))?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| GuardError::file("lock", pin_dir)(error.into()))?;
    Ok(directory)
}

/// Tells the kernel programs what is governed; returns how many destinations are.
fn fill(config: &GuardConfig) -> Result<usize, GuardError> {
    let settings: Map<u32, Settings> = pinned(&config.pin_dir, names::SETTINGS, Map::open)?;
    let limit = u64::try_from(config.heartbeat_limit.as_nanos()).unwrap_or(u64::MAX);
    settings.set(&0, &Settings { heartbeat_limit_ns: limit }).map_err(CaptureError::map("set the heartbeat's limit"))?;
    let map: Map<GovernedPrefix, Governed> = pinned(&config.pin_dir, names::GOVERNED, Map::open)?;
    let set = |prefix: GovernedPrefix, server: u32| map.set(&prefix, &Governed { server }).map_err(CaptureError::map("govern an address"));
    set(GovernedPrefix::host(CANARY_ADDRESS.into(), CANARY_PORT), CANARY_SERVER)?;
    for governed in &config.governed {
        set(governed.prefix(), governed.server)?;
    }
    let all = map.keys(status::MAX_LISTED).map_err(CaptureError::map("list what is governed"))?;
    // The canary is no one's destination.
    Ok(all.len() - 1)
}

/// Aborts connections to governed destinations that no hook has seen. The gateway's own, which are exempt, go on.
fn abort_older(config: &GuardConfig, cgroup: &Cgroup) -> Result<usize, GuardError> {
    let map: Map<GovernedPrefix, Governed> = pinned(&config.pin_dir, names::GOVERNED, Map::open)?;
    let exempt: Map<i32, SocketMark> = pinned(&config.pin_dir, names::EXEMPT, Map::open)?;
    let cgroups = cgroup.subtree();
    let governed = |peer: SocketAddr| {
        map.get(&GovernedPrefix::host(peer.ip(), peer.port())).is_ok_and(|found| found.is_some_and(|g| g.server != CANARY_SERVER))
    };
    Ok(sock_diag::abort_everywhere(&sock_diag::Selection { governed: &governed, cgroups: cgroups.as_ref(), exempt: exempt.as_fd() })?)
}

/// Removes what a failed first `up` has made.
struct Rollback<'a> {
    pin_dir: &'a Path,
    armed: bool,
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = remove(self.pin_dir)
        {
            tracing::error!("what was set up could not be removed: {error}");
        }
    }
}

/// What `down` removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The pins, by path; empty if no guard was up.
    pub pins: Vec<PathBuf>,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pins.is_empty() {
            return write!(f, "no guard was up; nothing to remove");
        }
        for pin in &self.pins {
            writeln!(f, "removed {}", pin.display())?;
        }
        write!(f, "governed destinations are reached directly again")
    }
}

/// Takes the guard down: detaches the programs and removes every pin. Doing it twice does no harm.
///
/// # Errors
///
/// [`GuardError::File`] if a pin cannot be removed.
pub fn down(pin_dir: &Path) -> Result<Removed, GuardError> {
    if !pin_dir.exists() {
        return Ok(Removed::default());
    }
    let _lock = lock(pin_dir)?;
    remove(pin_dir)
}

fn remove(pin_dir: &Path) -> Result<Removed, GuardError> {
    let mut pins = Vec::new();
    // In the reverse order: nothing is redirected any more when the rest goes.
    let links = programs::HOOKS.iter().rev().map(|hook| programs::link_pin(pin_dir, hook.name));
    let maps = programs::MAPS.iter().map(|name| pin_dir.join(name));
    for pin in links.chain(maps) {
        if pin.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"link-"))
            && let Ok(link) = bpf::open_pin(&pin)
        {
            // Unpinning alone would detach too, but some time later.
            bpf::link_detach(link.as_fd()).map_err(GuardError::file("detach", &pin))?;
        }
        match fs::remove_file(&pin) {
            Ok(()) => pins.push(pin),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(GuardError::file("remove", pin)(error)),
        }
    }
    match fs::remove_dir(pin_dir) {
        Ok(()) => Ok(Removed { pins }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Removed { pins }),
        Err(error) => Err(GuardError::file("remove", pin_dir)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{GovernedAddress, down};

    #[test]
    fn a_network_of_either_family_counts_its_bits_in_the_long_form() {
        let v4 = GovernedAddress { ip: [192, 0, 2, 0].into(), prefix_len: 24, port: 443, server: 1 };
        assert_eq!(v4.prefix().prefix_len, 16 + 96 + 24);
        let v6 = GovernedAddress::host("2001:db8::1".parse().expect("an address"), 443, 1);
        assert_eq!(v6.prefix().prefix_len, 16 + 128);
    }

    #[test]
    fn taking_down_what_is_not_up_does_no_harm() {
        let nowhere = std::path::Path::new("/sys/fs/bpf/no-guard-was-ever-here");
        let removed = down(nowhere).expect("nothing to do");
        assert!(removed.pins.is_empty());
        assert!(removed.to_string().contains("nothing to remove"));
    }
}
