//! Where a connection comes from, and whose it is.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::capture::{
    KernelOrigin,
    process::{Fact, Process},
};

/// Where a connection comes from, and how it came in.
#[derive(Serialize)]
#[serde(tag = "via", rename_all = "lowercase")]
pub(super) enum Origin {
    /// The kernel redirected it: it was meant for a governed address.
    Capture(KernelOrigin),
    /// It was made to the gateway's endpoint.
    Endpoint {
        /// The caller's address.
        peer: SocketAddr,
        /// The address that it dialled.
        local: SocketAddr,
        /// The user, if the caller is on this host.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
}

/// Whose a connection is. Shown, it stands in sessions' names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A process of this host.
    Process {
        uid: Option<u32>,
        pid: u32,
        /// Nanoseconds since boot: tells two processes with one pid apart.
        started: Option<u64>,
    },
    /// A caller of whom only the address is known, and of this host's also the user. Several may be behind it.
    Address { ip: IpAddr, uid: Option<u32> },
}

impl Who {
    pub(super) fn of(origin: &Origin, process: &Fact<Process>) -> Self {
        let process = process.known();
        let started = process.and_then(|process| process.start_time.known().copied());
        match (origin, process) {
            (Origin::Capture(origin), _) => Who::Process { uid: Some(origin.uid), pid: origin.tgid, started },
            (Origin::Endpoint { uid, .. }, Some(process)) => Who::Process { uid: *uid, pid: process.pid, started },
            (Origin::Endpoint { peer, uid, .. }, None) => Who::Address { ip: peer.ip(), uid: *uid },
        }
    }

    /// The process's number, if the process is known.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Who::Process { pid, .. } => Some(*pid),
            Who::Address { .. } => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Process { pid, started: Some(since), .. } => write!(f, "process:{pid}:{since}"),
            Who::Process { pid, started: None, .. } => write!(f, "process:{pid}"),
            Who::Address { ip, uid: Some(uid) } => write!(f, "address:{ip}:uid:{uid}"),
            Who::Address { ip, uid: None } => write!(f, "address:{ip}"),
        }
    }
}
