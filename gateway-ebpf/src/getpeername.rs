//! `getpeername`: the client sees the peer that it asked for. Linux 5.8.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

use crate::{connect::PASS, maps::PEERS, socket};

/// Answers with the original IPv4 peer.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    let peer = socket::get(&PEERS, socket::of(&ctx));
    if !peer.is_null() {
        // SAFETY: not null, so it is this socket's.
        let peer = unsafe { *peer };
        socket::set_address4(&ctx, peer.address);
        socket::set_port(&ctx, peer.port as u16);
    }
    PASS
}

/// Answers with the original IPv6 peer.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    let peer = socket::get(&PEERS, socket::of(&ctx));
    if !peer.is_null() {
        // SAFETY: not null, so it is this socket's.
        let peer = unsafe { *peer };
        socket::set_address6(&ctx, peer.address);
        socket::set_port(&ctx, peer.port as u16);
    }
    PASS
}
