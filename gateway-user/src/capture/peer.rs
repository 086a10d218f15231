//! Who is at the other end of a connection that the kernel programs did not redirect.
//!
//! The kernel knows the other socket, if it is in this network namespace: whose it is, and its inode. Which process has it open, /proc
//! tells: `fdinfo`, and not `fd`, because that takes `CAP_SYS_PTRACE` alone (proc_pid_fdinfo(5), Linux 5.14).

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
};

use super::{
    process::{self, Fact, Process, Unknown},
    sock_diag::{self, Owner},
};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user who made its socket, if that is in this network namespace.
    pub uid: Option<u32>,
    /// The process that has its socket open; the one with the lowest number where a socket is shared.
    pub process: Fact<Process>,
}

/// Looks for who is at the other end of a connection from here, `local`, to `remote`.
///
/// It reads /proc of as many processes as it takes: not for a thread that others wait for.
#[must_use]
pub fn find(remote: SocketAddr, local: SocketAddr) -> Peer {
    // A process that is younger than this has the number of one that has ended since.
    let now = boot_ns();
    let nobody = |uid, unknown| Peer { uid, process: Fact::unknown(unknown) };
    let owner = match sock_diag::owner(remote, local) {
        Ok(Some(owner)) => owner,
        Ok(None) if is_ours(remote.ip()) => return nobody(None, Unknown::Ended),
        Err(_) if is_ours(remote.ip()) => return nobody(None, Unknown::Unreadable),
        Ok(None) | Err(_) => return nobody(None, Unknown::Remote),
    };
    let uid = Some(owner.uid);
    match holder(owner) {
        Ok(pid) => Peer { uid, process: Fact::Known(process::read_of(pid, now)) },
        Err(_) if is_closed(remote, local) => nobody(uid, Unknown::Ended),
        Err(why) => nobody(uid, why),
    }
}

/// Whether an address is one of this network namespace.
fn is_ours(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether no process has the socket open any more.
fn is_closed(remote: SocketAddr, local: SocketAddr) -> bool {
    sock_diag::owner(remote, local).is_ok_and(|owner| owner.is_none_or(|owner| owner.inode == 0))
}

/// The process that has a socket open.
fn holder(socket: Owner) -> Result<u32, Unknown> {
    if socket.inode == 0 {
        return Err(Unknown::Ended);
    }
    let mount = mount();
    let numbers = fs::read_dir("/proc").map_err(|_| Unknown::Unreadable)?.flatten();
    let mut processes: Vec<(bool, u32)> = numbers
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((entry.metadata().ok()?.uid() != socket.uid, pid))
        })
        .collect();
    // Those of the socket's user first: it is nearly always among them.
    processes.sort_unstable();
    let mut withheld = false;
    for (_, pid) in processes {
        match fs::read_dir(format!("/proc/{pid}/fdinfo")) {
            Ok(open) => {
                let is_it =
                    |info: String| field(&info, "ino:") == Some(socket.inode) && (mount.is_none() || field(&info, "mnt_id:") == mount);
                if open.flatten().any(|entry| fs::read_to_string(entry.path()).is_ok_and(is_it)) {
                    return Ok(pid);
                }
            }
            Err(error) => withheld |= error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    Err(if withheld { Unknown::NeedsCapSysPtrace } else { Unknown::Forbidden })
}

/// The mount that all sockets are on: files elsewhere may have the same inode number.
fn mount() -> Option<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0")).ok()?;
    field(&fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd())).ok()?, "mnt_id:")
}

fn field(info: &str, name: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn boot_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process::{Command, Stdio},
    };

    use super::*;

    fn ends(listen: &str, dial: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(listen).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect((dial, port)).expect("connected");
        (client, listener.accept().expect("accepted").0)
    }

    fn found(server: &TcpStream) -> Peer {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (peer, local) = (server.peer_addr().expect("a peer"), server.local_addr().expect("bound"));
        find(canonical(peer), canonical(local))
    }

    #[test]
    fn a_process_of_this_host_is_found_over_both_families() {
        for (listen, dial) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let (_client, server) = ends(listen, dial);
            let peer = found(&server);
            assert_eq!(peer.uid, Some(rustix::process::getuid().as_raw()));
            let process = peer.process.known().expect("this process");
            assert_eq!((process.pid, process.reused), (std::process::id(), false));
            assert_eq!(process.exe.known(), std::env::current_exe().ok().as_ref());
        }
    }

    #[test]
    fn a_socket_is_told_from_others() {
        let (client, server) = ends("127.0.0.1:0", "127.0.0.1");
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(std::os::fd::OwnedFd::from(client))).spawn().expect("sleep");
        let (_other, second) = ends("127.0.0.1:0", "127.0.0.1");
        let peers = [found(&server), found(&second)].map(|peer| peer.process.known().map(|process| process.pid));
        child.kill().expect("killed");
        child.wait().expect("its end");
        assert_eq!(peers, [Some(child.id()), Some(std::process::id())]);
    }

    #[test]
    fn a_client_that_has_left_is_said_to_have() {
        let (client, server) = ends("127.0.0.1:0", "127.0.0.1");
        drop(client);
        assert_eq!(found(&server).process, Fact::unknown(Unknown::Ended));
    }

    #[test]
    fn an_address_of_elsewhere_is_remote() {
        let (_client, server) = ends("127.0.0.1:0", "127.0.0.1");
        let remote = "192.0.2.7:4000".parse().expect("an address");
        let peer = find(remote, server.local_addr().expect("bound"));
        assert_eq!(peer, Peer { uid: None, process: Fact::unknown(Unknown::Remote) });
    }
}
