//! What lies in the maps.

use crate::{Address, COMM_LEN, KEY_BITS, PORT_BITS};

/// A value that may be copied across the kernel boundary byte by byte.
///
/// # Safety
///
/// The type has no padding, and every pattern of bits is a valid value of it.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($type:ty = $size:literal, $($field:ident @ $offset:literal)*;)*) => {
        $(
            // SAFETY: made of integers and arrays of them only; that they fill the size without a gap is what the offsets below show.
            unsafe impl Plain for $type {}
            const _: () = {
                assert!(size_of::<$type>() == $size);
                $(assert!(core::mem::offset_of!($type, $field) == $offset);)*
            };
        )*
    };
}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}

/// What a governed destination is looked up by; the key of a longest-prefix-match trie without its prefix length.
///
/// The port stands first, because it is always compared whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct GovernedKey {
    /// The port, in network byte order.
    pub port: [u8; 2],
    /// The canonical address ([`Address::canonical`]).
    pub address: [u8; 16],
    /// Keeps the value that follows it in the kernel's memory aligned; never compared, always zero.
    pub pad: [u8; 2],
}

impl GovernedKey {
    /// The key of one destination. `port` is in host byte order.
    #[must_use]
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        Self { port: port.to_be_bytes(), address: address.canonical().octets(), pad: [0; 2] }
    }

    /// The key of a network of which `bits` of 128 are compared. `port` is in host byte order.
    ///
    /// What is special about a single address (loopback for the unspecified one) is not about a network; NAT64's prefix is the same as all of IPv4.
    #[must_use]
    pub const fn network(address: Address, bits: u32, port: u16) -> Self {
        let whole = bits >= 128;
        let nat64 = bits >= 96 && address.is_nat64();
        Self {
            port: port.to_be_bytes(),
            address: if whole || nat64 { address.canonical().octets() } else { address.octets() },
            pad: [0; 2],
        }
    }

    /// The prefix length of a key that covers addresses alike in their first `bits` of 128.
    #[must_use]
    pub const fn prefix_len(bits: u32) -> u32 {
        let whole = PORT_BITS + bits;
        if whole > KEY_BITS { KEY_BITS } else { whole }
    }
}

/// That a destination is governed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Governed {
    /// The gateway's number of the server.
    pub server: u32,
}

/// One end of a connection: where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The network namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// The source address.
    pub address: Address,
    /// The source port, in host byte order.
    pub port: u16,
    /// Always zero.
    pub pad: [u8; 6],
}

impl FlowKey {
    /// The key of a source address and port (host byte order) in a network namespace.
    #[must_use]
    #[inline(always)]
    pub const fn new(netns_cookie: u64, address: Address, port: u16) -> Self {
        Self { netns_cookie, address, port, pad: [0; 6] }
    }
}

/// Which connect a source port belongs to.
///
/// The time tells two connects of one socket apart: a socket may be disconnected (`AF_UNSPEC`) and connected elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowValue {
    /// The socket (`SO_COOKIE`).
    pub cookie: u64,
    /// When it was connected, as in [`Origin::connected_ns`].
    pub connected_ns: u64,
}

/// What the kernel saw at a governed connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Origin {
    /// The network namespace of the socket.
    pub netns_cookie: u64,
    /// The cgroup (version 2) of the task.
    pub cgroup_id: u64,
    /// When, on `CLOCK_MONOTONIC`, in nanoseconds.
    pub connected_ns: u64,
    /// When, on `CLOCK_BOOTTIME`, in nanoseconds: the clock of process start times.
    pub connected_boot_ns: u64,
    /// Where the client meant to go, as it spelled it (but unspecified is loopback).
    pub original: Address,
    /// The source address, once it is known.
    pub source: Address,
    /// The gateway's number of the server.
    pub server: u32,
    /// The process, in the first pid namespace.
    pub tgid: u32,
    /// The thread; for connects through `io_uring` a worker's.
    pub tid: u32,
    /// The user, in the first user namespace.
    pub uid: u32,
    /// The group, in the first user namespace.
    pub gid: u32,
    /// The port that the client meant, in host byte order.
    pub port: u16,
    /// The source port in host byte order, once it is known; else zero.
    pub source_port: u16,
    /// The name of the thread; anyone can choose theirs.
    pub comm: [u8; COMM_LEN],
}

/// Where the gateway of a network namespace listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GatewayState {
    /// Its last sign of life, on `CLOCK_MONOTONIC`, in nanoseconds.
    pub heartbeat_ns: u64,
    /// Its port on 127.0.0.1, in host byte order; zero if none.
    pub port_v4: u16,
    /// Its port on ::1, in host byte order; zero if none.
    pub port_v6: u16,
    /// Always zero.
    pub pad: [u8; 4],
}

/// What `getpeername` answers for a redirected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SocketPeer {
    /// Where the client meant to go.
    pub address: Address,
    /// The port, in host byte order.
    pub port: u32,
}

/// A mark on a socket of the gateway's; that it is there is what counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketMark {
    /// Always one.
    pub set: u32,
}

/// What the guard tells the kernel programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// How old a heartbeat may be, in nanoseconds.
    pub heartbeat_limit_ns: u64,
}

plain! {
    Address = 16, ;
    GovernedKey = 20, port @ 0 address @ 2 pad @ 18;
    Governed = 4, server @ 0;
    FlowKey = 32, netns_cookie @ 0 address @ 8 port @ 24 pad @ 26;
    FlowValue = 16, cookie @ 0 connected_ns @ 8;
    Origin = 104, netns_cookie @ 0 cgroup_id @ 8 connected_ns @ 16 connected_boot_ns @ 24 original @ 32 source @ 48
        server @ 64 tgid @ 68 tid @ 72 uid @ 76 gid @ 80 port @ 84 source_port @ 86 comm @ 88;
    GatewayState = 16, heartbeat_ns @ 0 port_v4 @ 8 port_v6 @ 10 pad @ 12;
    SocketPeer = 20, address @ 0 port @ 16;
    SocketMark = 4, set @ 0;
    Settings = 8, heartbeat_limit_ns @ 0;
}

#[cfg(test)]
mod tests {
    use super::GovernedKey;
    use crate::{Address, KEY_BITS};

    #[test]
    fn a_prefix_counts_the_port_first_and_is_never_longer_than_the_key() {
        assert_eq!(GovernedKey::prefix_len(0), 16);
        assert_eq!(GovernedKey::prefix_len(96 + 24), 136);
        assert_eq!(GovernedKey::prefix_len(128), KEY_BITS);
        assert_eq!(GovernedKey::prefix_len(4000), KEY_BITS);
    }

    #[test]
    fn a_network_keeps_its_own_bits() {
        let any = GovernedKey::network(Address::from_v4([0; 4]), 96 + 8, 443);
        assert_eq!(any.address[10..], [0xff, 0xff, 0, 0, 0, 0]);
        let host = GovernedKey::network(Address::from_v4([0; 4]), 128, 443);
        assert_eq!(host.address[10..], [0xff, 0xff, 127, 0, 0, 1]);
    }

    #[test]
    fn a_key_is_made_of_network_bytes() {
        let key = GovernedKey::new(Address::from_v4([192, 0, 2, 7]), 443);
        assert_eq!(key.port, [1, 187]);
        assert_eq!(key.address[10..], [0xff, 0xff, 192, 0, 2, 7]);
    }
}
