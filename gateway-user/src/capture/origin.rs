//! Where an accepted connection comes from, and where it was meant to go.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use gateway_common::{Address, COMM_LEN, Origin};
use serde::Serialize;

/// What the kernel saw when the connection was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelOrigin {
    /// Where the client meant to go. A v4-mapped address is given as the IPv4 address that it is; a NAT64 address as it was dialled.
    pub original: SocketAddr,
    /// The gateway's number of the server.
    pub server: u32,
    /// The process, in the first pid namespace.
    pub tgid: u32,
    /// The thread; for connects through `io_uring` a kernel worker's.
    pub tid: u32,
    /// The user, in the first user namespace.
    pub uid: u32,
    /// The group, in the first user namespace.
    pub gid: u32,
    /// The cgroup (version 2).
    pub cgroup_id: u64,
    /// The network namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// The thread's name: for display only, anyone can choose theirs.
    pub comm: String,
    /// When, on `CLOCK_BOOTTIME`, in nanoseconds.
    pub connected_boot_ns: u64,
}

impl KernelOrigin {
    /// Whether this is the guard's own test, and no call.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.server == gateway_common::CANARY_SERVER
    }
}

impl From<Origin> for KernelOrigin {
    fn from(origin: Origin) -> Self {
        Self {
            original: SocketAddr::new(ip(origin.original), origin.port),
            server: origin.server,
            tgid: origin.tgid,
            tid: origin.tid,
            uid: origin.uid,
            gid: origin.gid,
            cgroup_id: origin.cgroup_id,
            netns_cookie: origin.netns_cookie,
            comm: comm(&origin.comm),
            connected_boot_ns: origin.connected_boot_ns,
        }
    }
}

/// The sixteen-byte form of an address, not yet canonical.
#[must_use]
pub(crate) fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::from_v4(v4.octets()),
        IpAddr::V6(v6) => Address::from_octets(v6.octets()),
    }
}

/// The address as the standard library has it; mapped ones as IPv4.
#[must_use]
pub(crate) fn ip(address: Address) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address.octets())).to_canonical()
}

/// The name up to its first zero. It need not be UTF-8.
fn comm(bytes: &[u8; COMM_LEN]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(COMM_LEN);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{address, comm, ip};
    use std::net::IpAddr;

    #[test]
    fn a_mapped_address_is_shown_as_ipv4_and_nat64_as_dialled() {
        for (asked, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("64:ff9b::192.0.2.7", "64:ff9b::c000:207"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let asked: IpAddr = asked.parse().expect("an address");
            assert_eq!(ip(address(asked)).to_string(), shown);
        }
    }

    #[test]
    fn a_name_ends_at_its_first_zero() {
        assert_eq!(comm(b"curl\0\0\0\0\0\0\0\0\0\0\0\0"), "curl");
        assert_eq!(comm(b"sixteen-bytes-xx"), "sixteen-bytes-xx");
        assert_eq!(comm(b"\xff\0xxxxxxxxxxxxxx"), "\u{fffd}");
    }
}
