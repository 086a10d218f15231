//! Finds connections, and aborts those that were open before the guard: `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` over netlink
//! (sock_diag(7)).
//!
//! Messages are built and read as bytes: linux/netlink.h, linux/inet_diag.h. Numbers in a `inet_diag_sockid` are in network byte order, all
//! others in the machine's.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// Bit for each TCP state that has a peer: all but TIME_WAIT, CLOSE and LISTEN (net/tcp_states.h); NEW_SYN_RECV has no socket yet.
const STATES_WITH_PEER: u32 = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 9) | (1 << 11);
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const INET_DIAG_CGROUP_ID: u16 = 21;
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// Where the user stands in an answer, and after it the inode.
const OWNER: usize = 64;

/// A connection that a socket has.
#[derive(Debug)]
struct Connection {
    family: u8,
    protocol: u8,
    /// `struct inet_diag_sockid`, as the kernel gave it.
    id: [u8; 48],
    peer: SocketAddr,
    cgroup: Option<u64>,
    /// Whether the socket carries the mark that was asked about.
    marked: bool,
}

/// Why connections could not be aborted.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    /// The kernel cannot abort connections.
    #[error("the kernel lacks CONFIG_INET_DIAG_DESTROY: connections that were open before the guard would go on unseen")]
    NoDestroy,
    /// The kernel cannot list connections.
    #[error(
        "the kernel lacks CONFIG_INET_DIAG (or its modules inet_diag, tcp_diag, udp_diag): connections that were open before the guard cannot be found"
    )]
    NoDiag,
    /// A netlink exchange failed.
    #[error("cannot {what} by sock_diag: {source}")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> SockDiagError {
    move |source| match source.raw_os_error() {
        Some(libc::EOPNOTSUPP) => SockDiagError::NoDestroy,
        Some(libc::ENOENT | libc::EINVAL) if what == "list connections" => SockDiagError::NoDiag,
        _ => SockDiagError::Netlink { what, source },
    }
}

/// Which connections are to go.
pub(crate) struct Selection<'a> {
    /// The remote ends.
    pub(crate) governed: &'a dyn Fn(SocketAddr) -> bool,
    /// The cgroups whose sockets are meant; `None` for all.
    pub(crate) cgroups: Option<&'a HashSet<u64>>,
    /// The map of marked sockets: those with a mark stay.
    pub(crate) exempt: BorrowedFd<'a>,
}

/// Whether this kernel can abort connections: asks it to abort one that there is not.
pub(crate) fn probe() -> Result<(), SockDiagError> {
    let socket = open().map_err(failed("open a socket"))?;
    let nobody = Connection {
        family: family(libc::AF_INET),
        protocol: protocol(libc::IPPROTO_TCP),
        id: [0; 48],
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        cgroup: None,
        marked: false,
    };
    destroy(&socket, &nobody).map(drop)
}

/// Aborts every selected connection, in every network namespace that a process is in; returns how many.
pub(crate) fn abort_everywhere(selection: &Selection<'_>) -> Result<usize, SockDiagError> {
    let mut aborted = 0;
    for namespace in namespaces() {
        // Entering a namespace changes the thread that does it; so that thread is made for it, and ends.
        let socket = std::thread::scope(|scope| scope.spawn(|| open_in(&namespace)).join());
        let socket = match socket {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(failed("enter a network namespace")(error)),
            Err(_) => {
                return Err(failed("enter a network namespace")(io::Error::other("thread")));
            }
        };
        aborted += abort(&socket, selection)?;
    }
    Ok(aborted)
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The user who made it.
    pub(super) uid: u32,
    /// Its inode; 0 once no process has it open any more.
    pub(super) inode: u32,
}

/// Whose the socket is that is connected from `local` to `remote`, in this network namespace; needs no privilege.
pub(super) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Owner>> {
    let socket = open()?;
    let kind = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let of = (family(kind), protocol(libc::IPPROTO_TCP));
    send(&socket, &request(SOCK_DIAG_BY_FAMILY, 0, of, &between(local, remote), &[]))?;
    let mut buffer = [0; 1024];
    let (len, _) = rustix::net::recv(&socket, &mut buffer, rustix::net::RecvFlags::empty())?;
    match message(&buffer[..len]) {
        Some((kind, body, _)) if i32::from(kind) == libc::NLMSG_ERROR => match code(body) {
            Some(code) if code == -libc::ENOENT => Ok(None),
            code => Err(io::Error::from_raw_os_error(-code.unwrap_or(-libc::EIO))),
        },
        // Where there is no such connection the kernel may answer with a listener on that port.
        Some((_, body, _)) if connection(body, of.1).is_some_and(|found| found.peer.port() == remote.port()) => {
            Ok(u32_at(body, OWNER).zip(u32_at(body, OWNER + 4)).map(|(uid, inode)| Owner { uid, inode }))
        }
        _ => Ok(None),
    }
}

/// `struct inet_diag_sockid` of a connection, of any cookie.
fn between(local: SocketAddr, remote: SocketAddr) -> [u8; 48] {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (source, destination) = (octets(local.ip()), octets(remote.ip()));
    let interface = if let SocketAddr::V6(v6) = local { v6.scope_id() } else { 0 };
    let mut id = [0; 48];
    id[..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&remote.port().to_be_bytes());
    id[4..4 + source.len()].copy_from_slice(&source);
    id[20..20 + destination.len()].copy_from_slice(&destination);
    id[36..40].copy_from_slice(&interface.to_ne_bytes());
    id[40..].copy_from_slice(&[0xff; 8]);
    id
}

/// The network namespaces of all threads, each once.
fn namespaces() -> Vec<OwnedFd> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let entries = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    for process in entries("/proc") {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        for thread in entries(&format!("/proc/{pid}/task")) {
            // A thread that has ended meanwhile is in no namespace.
            let path = thread.path().join("ns/net");
            let Ok(link) = fs::metadata(&path) else {
                continue;
            };
            if seen.insert((link.dev(), link.ino()))
                && let Ok(file) = fs::File::open(&path)
            {
                found.push(file.into());
            }
        }
    }
    found
}

fn open_in(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))?;
    open()
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn abort(socket: &OwnedFd, selection: &Selection<'_>) -> Result<usize, SockDiagError> {
    let mut aborted = 0;
    for kind in [libc::AF_INET, libc::AF_INET6] {
        for transport in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
            let connections = list(socket, family(kind), protocol(transport), selection.exempt).map_err(failed("list connections"))?;
            for connection in connections {
                // What has no cgroup is no living socket, but what TCP keeps of one that was closed.
                let Some(cgroup) = connection.cgroup else {
                    continue;
                };
                let meant = selection.cgroups.is_none_or(|all| all.contains(&cgroup));
                if meant && !connection.marked && (selection.governed)(connection.peer) && destroy(socket, &connection)? {
                    aborted += 1;
                }
            }
        }
    }
    Ok(aborted)
}

fn family(value: libc::c_int) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

fn protocol(value: libc::c_int) -> u8 {
    u8::try_from(value).unwrap_or(0)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: libc::c_int, of: (u8, u8), id: &[u8; 48], extra: &[u8]) -> Vec<u8> {
    let len = HEADER + REQUEST + extra.len();
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or(0);
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&[0; 8]); // sequence and port numbers
    out.extend_from_slice(&[of.0, of.1, 0, 0]);
    let states = if kind == SOCK_DESTROY { u32::MAX } else { STATES_WITH_PEER };
    out.extend_from_slice(&states.to_ne_bytes());
    out.extend_from_slice(id);
    out.extend_from_slice(extra);
    out
}

/// Asks that the answers say which sockets carry a mark in `map`; Linux 5.7.
fn storage_request(map: BorrowedFd<'_>) -> [u8; 12] {
    let mut out = [0; 12];
    out[..2].copy_from_slice(&12_u16.to_ne_bytes());
    out[2..4].copy_from_slice(&INET_DIAG_REQ_SK_BPF_STORAGES.to_ne_bytes());
    out[4..6].copy_from_slice(&8_u16.to_ne_bytes());
    out[6..8].copy_from_slice(&SK_DIAG_BPF_STORAGE_REQ_MAP_FD.to_ne_bytes());
    out[8..].copy_from_slice(&map.as_raw_fd().to_ne_bytes());
    out
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, message, rustix::net::SendFlags::empty())?;
    Ok(())
}

fn list(socket: &OwnedFd, family: u8, protocol: u8, marks: BorrowedFd<'_>) -> io::Result<Vec<Connection>> {
    let extra = storage_request(marks);
    let flags = libc::NLM_F_DUMP;
    let of = (family, protocol);
    send(socket, &request(SOCK_DIAG_BY_FAMILY, flags, of, &[0; 48], &extra))?;
    let mut connections = Vec::new();
    loop {
        let mut buffer = vec![0; 64 * 1024];
        let (len, _) = rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::empty())?;
        let mut rest = &buffer[..len];
        while let Some((kind, body, after)) = message(rest) {
            rest = after;
            match i32::from(kind) {
                libc::NLMSG_DONE => {
                    return match code(body) {
                        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
                        _ => Ok(connections),
                    };
                }
                libc::NLMSG_ERROR => {
                    return Err(io::Error::from_raw_os_error(-code(body).unwrap_or(-libc::EIO)));
                }
                _ => connections.extend(connection(body, protocol)),
            }
        }
    }
}

/// False if the connection had gone by itself.
fn destroy(socket: &OwnedFd, connection: &Connection) -> Result<bool, SockDiagError> {
    let abort = || -> io::Result<()> {
        let of = (connection.family, connection.protocol);
        let flags = libc::NLM_F_ACK;
        send(socket, &request(SOCK_DESTROY, flags, of, &connection.id, &[]))?;
        let mut buffer = [0; 1024];
        let (len, _) = rustix::net::recv(socket, &mut buffer, rustix::net::RecvFlags::empty())?;
        let body = message(&buffer[..len]).map(|(_, body, _)| body);
        match body.and_then(code) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::Error::other("the answer was cut short")),
        }
    };
    match abort() {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(failed("abort a connection")(error)),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The first message: its type, its body, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(HEADER..len)?;
    let next = len.next_multiple_of(4).min(bytes.len());
    Some((kind, body, &bytes[next..]))
}

/// The error number that begins an error or the end of a list; zero or less.
fn code(body: &[u8]) -> Option<i32> {
    u32_at(body, 0).map(u32::cast_signed)
}

/// Reads `struct inet_diag_msg` and its attributes.
fn connection(body: &[u8], protocol: u8) -> Option<Connection> {
    let family = *body.first()?;
    let id: [u8; 48] = body.get(4..52)?.try_into().ok()?;
    let port = u16::from_be_bytes([id[2], id[3]]);
    let ip = if i32::from(family) == libc::AF_INET {
        let octets: [u8; 4] = id.get(20..24)?.try_into().ok()?;
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        let octets: [u8; 16] = id.get(20..36)?.try_into().ok()?;
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut connection = Connection { family, protocol, id, peer: SocketAddr::new(ip, port), cgroup: None, marked: false };
    let mut rest = body.get(ANSWER..)?;
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else { break };
        // The highest bits only say how to read the value.
        match kind & 0x3fff {
            INET_DIAG_CGROUP_ID => {
                connection.cgroup = value.try_into().ok().map(u64::from_ne_bytes);
            }
            INET_DIAG_SK_BPF_STORAGES => connection.marked = !value.is_empty(),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(connection)
}

#[cfg(test)]
mod tests {
    use super::{ANSWER, INET_DIAG_CGROUP_ID, INET_DIAG_SK_BPF_STORAGES, connection, message};

    fn answer() -> Vec<u8> {
        let mut body = vec![0; ANSWER];
        body[0] = 2;
        body[6..8].copy_from_slice(&443_u16.to_be_bytes());
        body[24..28].copy_from_slice(&[192, 0, 2, 7]);
        for (kind, value) in [(INET_DIAG_SK_BPF_STORAGES | 0x8000, &[][..]), (INET_DIAG_CGROUP_ID, &77_u64.to_ne_bytes()[..])] {
            let len = u16::try_from(4 + value.len()).expect("short");
            body.extend_from_slice(&len.to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
        }
        body
    }

    #[test]
    fn an_answer_is_read() {
        let read = connection(&answer(), 6).expect("a connection");
        assert_eq!(read.peer.to_string(), "192.0.2.7:443");
        assert_eq!(read.cgroup, Some(77));
        assert!(!read.marked, "an empty list of marks is no mark");
    }

    #[test]
    fn what_is_cut_short_is_no_panic() {
        let whole = answer();
        for cut in 0..whole.len() {
            let _ = connection(&whole[..cut], 6);
            let _ = message(&whole[..cut]);
        }
    }
}
