//! What happens when something is refused: it is counted, logged, and gets its errno.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_set_retval};
use aya_log_ebpf::warn;
use core::net::Ipv6Addr;
use gateway_common::{Address, Reason};

use crate::maps::count;

/// `ECONNREFUSED`, asm-generic/errno.h.
const ECONNREFUSED: i32 = 111;

/// What a program returns to forbid.
pub const FORBID: i32 = 0;

/// Refuses a connect the way a closed port does.
#[inline(always)]
pub fn connection<C: EbpfContext>(ctx: &C, reason: Reason, address: Address, port: u16) -> i32 {
    // SAFETY: a helper without pointers. Where it is missing the verifier refuses the program, and the guard says so.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    destination(ctx, reason, address, port)
}

/// Refuses what is sent to a destination; the caller sees `EPERM` unless another errno was set.
#[inline(always)]
pub fn destination<C: EbpfContext>(ctx: &C, reason: Reason, address: Address, port: u16) -> i32 {
    count(reason);
    // The gateway puts the name of the reason in the place of its number.
    warn!(ctx, "reason {} to [{}]:{} pid {} uid {}", reason.index(), Ipv6Addr::from(address.octets()), port, ctx.tgid(), ctx.uid());
    FORBID
}

/// Refuses a socket; the caller sees `EPERM`.
#[inline(always)]
pub fn socket<C: EbpfContext>(ctx: &C, reason: Reason, protocol: u32) -> i32 {
    count(reason);
    warn!(ctx, "reason {} protocol {} pid {} uid {}", reason.index(), protocol, ctx.tgid(), ctx.uid());
    FORBID
}
