//! The kernel programs of MCP Gateway: one file each.
//!
//! They run at the root cgroup, for every socket of the host; so each begins with the test that most sockets fail.

#![no_std]
#![no_main]

mod connect;
mod getpeername;
mod maps;
mod refuse;
mod sendmsg;
mod sock_create;
mod sock_ops;
mod sock_release;
mod socket;

// The helpers that these programs call are open to GPL-compatible programs only (Documentation/bpf/libbpf/program_types.rst).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
