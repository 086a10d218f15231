//! What aya-ebpf has no wrapper for: reading and writing the context of a socket address hook, storage of any socket, and looking a socket up.
//!
//! The verifier allows loads and stores in a context only at fixed offsets and whole words: volatile access keeps the compiler from
//! joining or splitting them.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_tuple},
    btf_maps::SkStorage,
    helpers::generated,
    programs::SockAddrContext,
};
use gateway_common::Address;

/// `IPPROTO_TCP`, linux/in.h.
pub const TCP: u32 = 6;
/// `TCP_LISTEN`, linux/bpf.h.
pub const LISTEN: u32 = 10;

/// The socket that a hook is about.
#[inline(always)]
pub fn of(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the context lives as long as the program runs; the union has this one reading for a socket address hook.
    unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).__bindgen_anon_1.sk) }
}

/// The port asked for, in host byte order.
#[inline(always)]
pub fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: a word of the context.
    let word = unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_port) };
    // The kernel keeps the port in network byte order in the first two bytes of the word.
    u16::from_be(word as u16)
}

/// The IPv4 address asked for.
#[inline(always)]
pub fn address4(ctx: &SockAddrContext) -> Address {
    // SAFETY: a word of the context.
    Address::from_v4_word(unsafe { ptr::read_volatile(&raw const (*ctx.sock_addr).user_ip4) })
}

/// The IPv6 address asked for.
///
/// A connect to `::` goes to `::ffff:127.0.0.1` if the socket is bound to a mapped address, else to `::1` (`tcp_v6_connect`).
#[inline(always)]
pub fn address6(ctx: &SockAddrContext) -> Address {
    // SAFETY: the context lives as long as the program runs.
    let words = unsafe { &raw const (*ctx.sock_addr).user_ip6 };
    let asked = read_words(words);
    if !asked.is_unspecified_v6() {
        return asked;
    }
    let sk = of(ctx);
    if sk.is_null() {
        return asked;
    }
    // SAFETY: the socket is held by the hook's caller.
    let bound = read_words(unsafe { &raw const (*sk).src_ip6 });
    if bound.is_v4() { Address::LOOPBACK_V4 } else { asked }
}

/// Four words of a context or a socket.
#[inline(always)]
pub fn read_words(words: *const [u32; 4]) -> Address {
    let word = |index: usize| {
        // SAFETY: four words follow each other here.
        unsafe { ptr::read_volatile(words.cast::<u32>().wrapping_add(index)) }
    };
    Address::from_words([word(0), word(1), word(2), word(3)])
}

/// Puts another IPv4 address in the place of the one asked for.
#[inline(always)]
pub fn set_address4(ctx: &SockAddrContext, address: Address) {
    // SAFETY: a word of the context that the hook may write.
    unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_ip4, address.words()[3]) };
}

/// Puts another IPv6 address in the place of the one asked for.
#[inline(always)]
pub fn set_address6(ctx: &SockAddrContext, address: Address) {
    // SAFETY: the context lives as long as the program runs.
    let words = unsafe { &raw mut (*ctx.sock_addr).user_ip6 }.cast::<u32>();
    let put = |index: usize, word: u32| {
        // SAFETY: four words of the context that the hook may write.
        unsafe { ptr::write_volatile(words.wrapping_add(index), word) };
    };
    let [a, b, c, d] = address.words();
    put(0, a);
    put(1, b);
    put(2, c);
    put(3, d);
}

/// Puts another port in the place of the one asked for.
#[inline(always)]
pub fn set_port(ctx: &SockAddrContext, port: u16) {
    let word = u32::from(port.to_be());
    // SAFETY: a word of the context that the hook may write.
    unsafe { ptr::write_volatile(&raw mut (*ctx.sock_addr).user_port, word) };
}

/// Whether `map` holds something for the socket.
#[inline(always)]
pub fn has<T>(map: &SkStorage<T>, sk: *mut bpf_sock) -> bool {
    !get(map, sk).is_null()
}

/// What `map` holds for the socket, or null.
#[inline(always)]
pub fn get<T>(map: &SkStorage<T>, sk: *mut bpf_sock) -> *mut T {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: the loader puts the map in place of the pointer; the verifier has seen that the socket is held.
    unsafe { generated::bpf_sk_storage_get(map, sk.cast(), ptr::null_mut(), 0) }.cast()
}

/// Makes `map` hold `value` for the socket. False if the kernel has no memory for it.
#[inline(always)]
pub fn put<T: Copy>(map: &SkStorage<T>, sk: *mut bpf_sock, mut value: T) -> bool {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: as in `get`; the helper copies the value before it returns.
    let slot = unsafe { generated::bpf_sk_storage_get(map, sk.cast(), (&raw mut value).cast(), flags) };
    if slot.is_null() {
        return false;
    }
    // A slot that was there before keeps its old value unless written.
    // SAFETY: the helper returned room for a `T`.
    unsafe { ptr::write(slot.cast::<T>(), value) };
    true
}

/// Drops what `map` holds for the socket; true if there was something.
#[inline(always)]
pub fn clear<T>(map: &SkStorage<T>, sk: *mut bpf_sock) -> bool {
    let map = ptr::from_ref(map).cast_mut().cast::<c_void>();
    // SAFETY: as in `get`.
    unsafe { generated::bpf_sk_storage_delete(map, sk.cast()) == 0 }
}

/// The socket that would get a connect to loopback at this port.
///
/// What is found is held until it is released: every path must end in `release`.
#[inline(always)]
pub fn find_listener(ctx: &SockAddrContext, v4: bool, port: u16) -> *mut bpf_sock {
    // SAFETY: integers only.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if v4 {
        tuple.__bindgen_anon_1.ipv4.daddr = Address::LOOPBACK_V4.words()[3];
        tuple.__bindgen_anon_1.ipv4.saddr = Address::LOOPBACK_V4.words()[3];
        tuple.__bindgen_anon_1.ipv4.dport = port.to_be();
        12
    } else {
        tuple.__bindgen_anon_1.ipv6.daddr = Address::LOOPBACK_V6.words();
        tuple.__bindgen_anon_1.ipv6.saddr = Address::LOOPBACK_V6.words();
        tuple.__bindgen_anon_1.ipv6.dport = port.to_be();
        36
    };
    // `BPF_F_CURRENT_NETNS`: where the socket is.
    let netns = u64::MAX;
    // SAFETY: the tuple is whole for its family.
    unsafe { generated::bpf_sk_lookup_tcp(ctx.as_ptr(), &raw mut tuple, size, netns, 0) }
}

/// Lets go of what `find_listener` found.
#[inline(always)]
pub fn release(sk: *mut bpf_sock) {
    // SAFETY: found and not released before; the verifier checks both.
    unsafe { generated::bpf_sk_release(sk.cast()) };
}
