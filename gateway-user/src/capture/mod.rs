//! The kernel programs, as the gateway sees them.
//!
//! The guard ([`guard`], root, short-lived) loads, pins and attaches them. The gateway is not privileged: it opens the pins that the guard gave
//! to its user ([`Capture`]), says where it listens and that it lives, and asks for the origin of each connection it accepts.
//!
//! ```no_run
//! use std::{net::TcpListener, os::fd::AsFd, path::Path};
//! use gateway_user::capture::Capture;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let capture = Capture::open(Path::new("/sys/fs/bpf/mcp-gateway"))?;
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! capture.register_listener(listener.as_fd())?;
//! capture.announce(listener.local_addr()?.port(), None)?; // from now on governed connects come here
//! let (_connection, peer) = listener.accept()?;
//! match capture.take_origin(peer)? {
//!     Some(origin) => println!("{} meant to go to {}", origin.comm, origin.original),
//!     None => println!("it dialled the gateway itself"),
//! }
//! # Ok(())
//! # }
//! ```

mod bpf;
mod error;
pub mod guard;
mod kernel_log;
mod mountinfo;
mod origin;
mod peer;
pub mod process;
mod sock_diag;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub use error::CaptureError;
pub use gateway_common::{CANARY_ADDRESS, CANARY_PORT, CANARY_SERVER, Reason};
use gateway_common::{FlowKey, FlowValue, GatewayState, Governed, GovernedKey, Origin, Plain, SocketMark};
pub use kernel_log::{KernelLog, KernelLogLine};
pub use origin::KernelOrigin;
pub use peer::{Peer, find as find_peer};

use bpf::{Map, PerCpu};

/// The names of the maps: in the object, and of their pins.
pub(crate) mod names {
    pub(crate) const GOVERNED: &str = "GOVERNED";
    pub(crate) const GATEWAYS: &str = "GATEWAYS";
    pub(crate) const ORIGINS: &str = "ORIGINS";
    pub(crate) const FLOWS: &str = "FLOWS";
    pub(crate) const PEERS: &str = "PEERS";
    pub(crate) const LISTENERS: &str = "LISTENERS";
    pub(crate) const EXEMPT: &str = "EXEMPT";
    pub(crate) const COUNTERS: &str = "COUNTERS";
    pub(crate) const SETTINGS: &str = "SETTINGS";
    pub(crate) const LOGS: &str = "AYA_LOGS";
}

/// The key of the trie of governed destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct GovernedPrefix {
    pub(crate) prefix_len: u32,
    pub(crate) key: GovernedKey,
}

// SAFETY: an integer and bytes, without a gap, as the size shows.
unsafe impl Plain for GovernedPrefix {}
const _: () = assert!(size_of::<GovernedPrefix>() == 24);

impl GovernedPrefix {
    /// Covers one destination whole.
    pub(crate) fn host(ip: IpAddr, port: u16) -> Self {
        Self::network(ip, 128, port)
    }

    /// Covers every address alike in its first `bits`, counted in the sixteen-byte form.
    pub(crate) fn network(ip: IpAddr, bits: u32, port: u16) -> Self {
        Self { prefix_len: GovernedKey::prefix_len(bits), key: GovernedKey::network(origin::address(ip), bits, port) }
    }
}

/// The gateway's hold on the kernel programs. Shared between workers as it is; nothing in it is locked on the path of a connection.
#[derive(Debug)]
pub struct Capture {
    pin_dir: PathBuf,
    netns_cookie: u64,
    governed: Map<GovernedPrefix, Governed>,
    gateways: Map<u64, GatewayState>,
    origins: Map<u64, Origin>,
    flows: Map<FlowKey, FlowValue>,
    listeners: Map<i32, SocketMark>,
    exempt: Map<i32, SocketMark>,
    counters: PerCpu,
    max_pending: usize,
    /// The ports last announced; a heartbeat repeats them.
    announced: Mutex<Option<(u16, u16)>>,
}

impl Capture {
    /// Opens what the guard has pinned under `pin_dir`. Needs no privilege but the pins' owner's.
    ///
    /// # Errors
    ///
    /// [`CaptureError::NoGuard`] if nothing is pinned there, [`CaptureError::NotOurs`] if the pins are another user's,
    /// [`CaptureError::Pin`] if they are of another version.
    pub fn open(pin_dir: &Path) -> Result<Self, CaptureError> {
        let origins: Map<u64, Origin> = open(pin_dir, names::ORIGINS)?;
        let info = bpf::map_info(std::os::fd::AsFd::as_fd(&origins)).map_err(CaptureError::map("describe the map of origins"))?;
        let counters = pin_dir.join(names::COUNTERS);
        Ok(Self {
            netns_cookie: netns_cookie().map_err(CaptureError::NetnsCookie)?,
            governed: open(pin_dir, names::GOVERNED)?,
            gateways: open(pin_dir, names::GATEWAYS)?,
            flows: open(pin_dir, names::FLOWS)?,
            listeners: open(pin_dir, names::LISTENERS)?,
            exempt: open(pin_dir, names::EXEMPT)?,
            counters: PerCpu::open(&counters).map_err(|source| CaptureError::pin(counters, source))?,
            max_pending: usize::try_from(info.max_entries).unwrap_or(usize::MAX),
            origins,
            announced: Mutex::new(None),
            pin_dir: pin_dir.to_owned(),
        })
    }

    /// The kernel programs' own messages: what they refused, and why.
    ///
    /// # Errors
    ///
    /// As [`Capture::open`].
    pub fn kernel_log(&self) -> Result<KernelLog, CaptureError> {
        KernelLog::open(&self.pin_dir)
    }

    /// Marks a listening socket as the gateway's. Every listener is marked, before [`Capture::announce`]: a connect that would reach one without the
    /// mark is refused, because the port might have been taken by another process.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if `fd` is not a socket, or the kernel has no memory for the mark.
    pub fn register_listener(&self, fd: BorrowedFd<'_>) -> Result<(), CaptureError> {
        self.listeners.set(&fd.as_raw_fd(), &SocketMark { set: 1 }).map_err(CaptureError::map("mark a listener as the gateway's"))
    }

    /// Exempts an upstream socket, before it is connected: its connects are not redirected. The mark sits on the socket in the kernel; it cannot be
    /// copied by a process that cannot open the pin.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if `fd` is not a socket, or the kernel has no memory for the mark.
    pub fn exempt(&self, fd: BorrowedFd<'_>) -> Result<(), CaptureError> {
        self.exempt.set(&fd.as_raw_fd(), &SocketMark { set: 1 }).map_err(CaptureError::map("exempt an upstream socket"))
    }

    /// [`Capture::exempt`], to be kept by whoever opens connections of the gateway's own. It holds the map by itself.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if no descriptor is left.
    pub fn exempter(&self) -> Result<impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static, CaptureError> {
        let exempt = self.exempt.try_clone().map_err(CaptureError::map("hold the map of exempt sockets twice"))?;
        Ok(move |fd: BorrowedFd<'_>| exempt.set(&fd.as_raw_fd(), &SocketMark { set: 1 }))
    }

    /// Says where the gateway of this network namespace listens: a port on 127.0.0.1, and one on ::1. Counts as a heartbeat.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses, for instance because too many namespaces have a gateway.
    pub fn announce(&self, v4: u16, v6: Option<u16>) -> Result<(), CaptureError> {
        let ports = (v4, v6.unwrap_or(0));
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        self.beat(ports)?;
        *announced = Some(ports);
        Ok(())
    }

    /// Takes the announcement back: from now on governed connects in this network namespace are refused.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses.
    pub fn withdraw(&self) -> Result<(), CaptureError> {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        *announced = None;
        self.gateways.remove(&self.netns_cookie).map(drop).map_err(CaptureError::map("withdraw the gateway's address"))
    }

    /// Shows that the gateway lives. To be called several times within the guard's limit, by something that stops when the data plane does; does
    /// nothing unless announced.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses.
    pub fn heartbeat(&self) -> Result<(), CaptureError> {
        // The lock is held over the write, so that a heartbeat cannot undo a withdrawal.
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        match *announced {
            Some(ports) => self.beat(ports),
            None => Ok(()),
        }
    }

    fn beat(&self, (port_v4, port_v6): (u16, u16)) -> Result<(), CaptureError> {
        let state = GatewayState { heartbeat_ns: monotonic_ns(), port_v4, port_v6, pad: [0; 4] };
        self.gateways.set(&self.netns_cookie, &state).map_err(CaptureError::map("announce the gateway"))
    }

    /// The origin of an accepted connection; it is handed out once. `None`: the kernel redirected no such connection, so someone dialled the gateway
    /// itself, or the origin was swept.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses.
    pub fn take_origin(&self, peer: SocketAddr) -> Result<Option<KernelOrigin>, CaptureError> {
        let source = origin::address(peer.ip());
        let key = FlowKey::new(self.netns_cookie, source, peer.port());
        let Some(flow) = self.flows.take(&key).map_err(CaptureError::map("take a flow"))? else {
            return Ok(None);
        };
        let Some(origin) = self.origins.take(&flow.cookie).map_err(CaptureError::map("take an origin"))? else {
            return Ok(None);
        };
        // A socket that was disconnected and connected elsewhere has the origin of its last connect, which is not this one's.
        let same = origin.connected_ns == flow.connected_ns
            && origin.source == source
            && origin.source_port == peer.port()
            && origin.netns_cookie == self.netns_cookie;
        Ok(same.then(|| origin.into()))
    }

    /// Governs one more destination, from now until the guard goes down.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses, for instance because too many are governed.
    pub fn govern(&self, ip: IpAddr, port: u16, server: u32) -> Result<(), CaptureError> {
        self.governed.set(&GovernedPrefix::host(ip, port), &Governed { server }).map_err(CaptureError::map("govern an address"))
    }

    /// How often the kernel programs did each thing, since the guard first came up.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses.
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>, CaptureError> {
        counts(&self.counters).map_err(CaptureError::map("read the counters"))
    }

    /// Drops origins that were noted more than `older_than` ago and never taken; returns how many.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Map`] if the kernel refuses.
    pub fn sweep(&self, older_than: Duration) -> Result<usize, CaptureError> {
        let now = monotonic_ns();
        let age = u64::try_from(older_than.as_nanos()).unwrap_or(u64::MAX);
        let old = |connected_ns: u64| now.saturating_sub(connected_ns) > age;
        let failed = || CaptureError::map("sweep origins");
        let mut swept = 0;
        let cookies = self.origins.keys(self.max_pending).map_err(failed())?;
        for cookie in cookies {
            // A copy torn by a removal has at worst a newer time: it is then left for the next sweep.
            let origin = self.origins.get(&cookie).map_err(failed())?;
            if origin.is_some_and(|o| old(o.connected_ns)) && self.origins.remove(&cookie).map_err(failed())? {
                swept += 1;
            }
        }
        let keys = self.flows.keys(self.max_pending.saturating_mul(2)).map_err(failed())?;
        for key in keys {
            let flow = self.flows.get(&key).map_err(failed())?;
            if flow.is_some_and(|f| old(f.connected_ns)) {
                self.flows.remove(&key).map_err(failed())?;
            }
        }
        Ok(swept)
    }
}

fn open<K: Plain, V: Plain>(pin_dir: &Path, name: &str) -> Result<Map<K, V>, CaptureError> {
    let path = pin_dir.join(name);
    Map::open(&path).map_err(|source| CaptureError::pin(path, source))
}

pub(crate) fn counts(counters: &PerCpu) -> io::Result<Vec<(Reason, u64)>> {
    Reason::ALL.iter().map(|reason| Ok((*reason, counters.sum(reason.index())?))).collect()
}

/// The clock of `bpf_ktime_get_ns`.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The cookie of the network namespace of this thread.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::]:0"))?;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `len` bytes to the cookie.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut len) };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
