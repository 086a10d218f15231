//! `sendto` and `sendmsg` of datagrams: nothing goes to a governed destination, so that QUIC falls back to TCP at once. Linux 4.18.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use gateway_common::{Address, Reason};

use crate::{
    connect::{PASS, governed},
    refuse, socket,
};

/// Refuses IPv4 datagrams to governed destinations; also those of IPv6 sockets to mapped addresses.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    decide(&ctx, socket::address4(&ctx))
}

/// Refuses IPv6 datagrams to governed destinations.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    decide(&ctx, socket::address6(&ctx))
}

#[inline(always)]
fn decide(ctx: &SockAddrContext, asked: Address) -> i32 {
    let port = socket::port(ctx);
    if governed(asked, port).is_some() { refuse::destination(ctx, Reason::Datagram, asked.dialled(), port) } else { PASS }
}
