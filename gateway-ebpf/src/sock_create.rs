//! `socket`: what could go around the other hooks is not made. Linux 4.10.

use aya_ebpf::{EbpfContext as _, macros::cgroup_sock, programs::SockContext};
use gateway_common::Reason;

use crate::{connect::PASS, refuse, socket};

/// `SOCK_RAW`.
const RAW: u32 = 3;
/// `IPPROTO_ICMP`, linux/in.h.
const ICMP: u32 = 1;
/// `IPPROTO_UDP`, linux/in.h.
const UDP: u32 = 17;
/// `IPPROTO_ICMPV6`, linux/in6.h.
const ICMPV6: u32 = 58;
/// `IPPROTO_SCTP`, linux/in.h.
const SCTP: u32 = 132;
/// `IPPROTO_UDPLITE`, linux/in.h.
const UDPLITE: u32 = 136;
/// `IPPROTO_MPTCP`, linux/in.h.
const MPTCP: u32 = 262;

/// Lets everyone make TCP, UDP and ping sockets; other kinds only root.
///
/// MPTCP: its later subflows are connected by the kernel, and `getpeername` would show the gateway. SCTP, DCCP and L2TP: their connects reach no
/// hook. Raw sockets: neither connect nor sendmsg hooks see them.
#[cgroup_sock(sock_create)]
pub fn socket_create(ctx: SockContext) -> i32 {
    // SAFETY: a word of the context.
    let kind = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock).type_) };
    // SAFETY: a word of the context.
    let protocol = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock).protocol) };
    let reason = if kind == RAW {
        Reason::Raw
    } else {
        match protocol {
            socket::TCP | UDP | UDPLITE | ICMP | ICMPV6 => return PASS,
            MPTCP => Reason::Mptcp,
            SCTP => Reason::Sctp,
            _ => Reason::OtherProtocol,
        }
    };
    if ctx.uid() == 0 {
        return PASS;
    }
    refuse::socket(&ctx, reason, protocol)
}
