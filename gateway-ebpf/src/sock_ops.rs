//! TCP events: ties the source port of a governed connect to its origin, before the SYN leaves. Linux 4.13; network namespace cookie 5.15.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_SOCK_OPS_TCP_CONNECT_CB,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use gateway_common::{Address, FlowKey, FlowValue, Reason};

use crate::{
    connect::PASS,
    maps::{FLOWS, ORIGINS, count},
    socket,
};

/// `AF_INET`.
const INET: u32 = 2;

/// Remembers whose the source port is. (Named so because the linker confuses a function with a section of the same name.)
#[sock_ops]
pub fn flow(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_TCP_CONNECT_CB {
        tie(&ctx);
    }
    PASS as u32
}

#[inline(always)]
fn tie(ctx: &SockOpsContext) {
    // SAFETY: the helper takes the context of this hook.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(origin) = ORIGINS.get_ptr_mut(cookie) else {
        return;
    };
    let source = source(ctx);
    let port = ctx.local_port() as u16;
    // SAFETY: the helper takes the context of this hook.
    let netns_cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // SAFETY: only the task that connects this socket writes its origin, and it is here.
    let origin = unsafe { &mut *origin };
    origin.source = source;
    origin.source_port = port;
    let connected_ns = origin.connected_ns;
    let key = FlowKey::new(netns_cookie, source, port);
    let value = FlowValue { cookie, connected_ns };
    if FLOWS.insert(key, value, 0).is_ok() {
        count(Reason::Tied);
    } else {
        count(Reason::FlowsFull);
    }
}

#[inline(always)]
fn source(ctx: &SockOpsContext) -> Address {
    if ctx.family() == INET {
        return Address::from_v4_word(ctx.local_ip4());
    }
    // SAFETY: the context lives as long as the program runs.
    socket::read_words(unsafe { &raw const (*ctx.ops).local_ip6 })
}
