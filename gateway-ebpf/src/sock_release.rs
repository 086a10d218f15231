//! `close`: forgets the origin of a connect that came to nothing. Linux 5.9.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_socket_cookie, macros::cgroup_sock, programs::SockContext};
use gateway_common::{FlowKey, Reason};

use crate::{
    connect::PASS,
    maps::{FLOWS, ORIGINS, count},
};

/// `TCP_SYN_SENT`, linux/bpf.h.
const SYN_SENT: u32 = 2;
/// `TCP_CLOSE`, linux/bpf.h.
const CLOSE: u32 = 7;

/// Forgets, unless the handshake was done: then the gateway has the connection in its queue, and may take it after its client has gone.
#[cgroup_sock(sock_release)]
pub fn socket_release(ctx: SockContext) -> i32 {
    // SAFETY: a word of the context.
    let state = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock).state) };
    if state == SYN_SENT || state == CLOSE {
        // SAFETY: the helper takes the context of this hook.
        forget(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) });
    }
    PASS
}

/// Drops what is kept for a socket that the gateway has not taken.
#[inline(always)]
pub fn forget(cookie: u64) {
    // SAFETY: only the socket's own task writes its origin, and it is here; the gateway may remove it meanwhile, and then the
    // flow that is read here is gone too, or is another socket's and is compared below.
    let Some(origin) = (unsafe { ORIGINS.get(cookie) }) else {
        return;
    };
    if origin.source_port != 0 {
        let key = FlowKey::new(origin.netns_cookie, origin.source, origin.source_port);
        // SAFETY: a copy.
        if unsafe { FLOWS.get(key) }.is_some_and(|flow| flow.cookie == cookie) {
            // Its absence is what is wanted.
            let _ = FLOWS.remove(key);
        }
    }
    if ORIGINS.remove(cookie).is_ok() {
        count(Reason::Forgotten);
    }
}
