//! `connect`: a governed connect goes to the gateway, or nowhere. Linux 6.1 (`bpf_set_retval` in these hooks).

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock,
    btf_maps::lpm_trie::Key,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_ktime_get_ns},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use gateway_common::{Address, COMM_LEN, GatewayState, Governed, GovernedKey, KEY_BITS, Origin, Reason, SocketPeer};

use crate::{
    maps::{EXEMPT, GATEWAYS, GOVERNED, LISTENERS, ORIGINS, PEERS, SETTINGS, count},
    refuse, sock_release, socket,
};

/// What a program returns to let the call go on.
pub const PASS: i32 = 1;

/// Redirects governed IPv4 connects.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    let asked = socket::address4(&ctx);
    let Some(found) = admit(&ctx, asked) else {
        return PASS;
    };
    match redirect(&ctx, &found, true) {
        Ok(port) => {
            socket::set_address4(&ctx, Address::LOOPBACK_V4);
            socket::set_port(&ctx, port);
            PASS
        }
        Err(reason) => turn_away(&ctx, &found, reason),
    }
}

/// Redirects governed IPv6 connects, and those to IPv4 in its mapped form.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    let asked = socket::address6(&ctx);
    let Some(found) = admit(&ctx, asked) else {
        return PASS;
    };
    // A mapped address must stay one: the socket may be bound to IPv4.
    let v4 = asked.is_v4();
    match redirect(&ctx, &found, v4) {
        Ok(port) => {
            let gateway = if v4 { Address::LOOPBACK_V4 } else { Address::LOOPBACK_V6 };
            socket::set_address6(&ctx, gateway);
            socket::set_port(&ctx, port);
            PASS
        }
        Err(reason) => turn_away(&ctx, &found, reason),
    }
}

/// A governed destination, and the socket that asks for it.
struct Found {
    governed: Governed,
    /// Where the client means to go.
    original: Address,
    port: u16,
    sk: *mut bpf_sock,
}

/// The server of a destination, if it is governed.
#[inline(always)]
pub fn governed(address: Address, port: u16) -> Option<Governed> {
    GOVERNED.get(&Key::new(KEY_BITS, GovernedKey::new(address, port))).copied()
}

/// Whether the connect concerns us at all. What does not is left as it is.
#[inline(always)]
fn admit(ctx: &SockAddrContext, asked: Address) -> Option<Found> {
    let sk = socket::of(ctx);
    // A socket may be disconnected and connected elsewhere: what was kept of its last connect would be a lie.
    if socket::clear(&PEERS, sk) {
        sock_release::forget(cookie(ctx));
    }
    let port = socket::port(ctx);
    let Some(governed) = governed(asked, port) else {
        count(Reason::NotGoverned);
        return None;
    };
    if socket::has(&EXEMPT, sk) {
        count(Reason::Exempt);
        return None;
    }
    Some(Found { governed, original: asked.dialled(), port, sk })
}

#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the context of this hook.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn turn_away(ctx: &SockAddrContext, found: &Found, reason: Reason) -> i32 {
    if matches!(reason, Reason::Datagram) {
        refuse::destination(ctx, reason, found.original, found.port)
    } else {
        refuse::connection(ctx, reason, found.original, found.port)
    }
}

/// Notes the origin; returns the gateway's port.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, found: &Found, v4: bool) -> Result<u16, Reason> {
    // SAFETY: a word of the context.
    let protocol = unsafe { core::ptr::read_volatile(&raw const (*ctx.sock_addr).protocol) };
    if protocol != socket::TCP {
        return Err(Reason::Datagram);
    }
    // Loopback is not reached from a socket that is bound to another interface: it would wait for nothing.
    // SAFETY: the hook's caller holds the socket.
    if unsafe { core::ptr::read_volatile(&raw const (*found.sk).bound_dev_if) } != 0 {
        return Err(Reason::BoundInterface);
    }
    // SAFETY: the helper takes the context of this hook.
    let netns_cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // SAFETY: a copy; a slot that is reused meanwhile is at worst another gateway's, and its port is checked below.
    let state: GatewayState = *unsafe { GATEWAYS.get(netns_cookie) }.ok_or(Reason::NoGateway)?;
    let port = if v4 { state.port_v4 } else { state.port_v6 };
    if port == 0 {
        return Err(Reason::NoGateway);
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let limit = SETTINGS.get(0).map_or(0, |s| s.heartbeat_limit_ns);
    if now.saturating_sub(state.heartbeat_ns) > limit {
        return Err(Reason::Stale);
    }
    check_listener(ctx, v4, port)?;

    let original = SocketPeer { address: found.original, port: u32::from(found.port) };
    if !socket::put(&PEERS, found.sk, original) {
        return Err(Reason::NoStorage);
    }
    let origin = Origin {
        netns_cookie,
        // SAFETY: a helper without arguments.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        connected_ns: now,
        // SAFETY: a helper without arguments.
        connected_boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        original: found.original,
        source: Address::default(),
        server: found.governed.server,
        tgid: ctx.tgid(),
        tid: ctx.pid(),
        uid: ctx.uid(),
        gid: ctx.gid(),
        port: found.port,
        source_port: 0,
        comm: ctx.command().unwrap_or([0; COMM_LEN]),
    };
    if ORIGINS.insert(cookie(ctx), origin, 0).is_err() {
        socket::clear(&PEERS, found.sk);
        return Err(Reason::Full);
    }
    count(Reason::Redirected);
    Ok(port)
}

/// Whether it is the gateway that listens there, and not a process that took the port of a dead one.
#[inline(always)]
fn check_listener(ctx: &SockAddrContext, v4: bool, port: u16) -> Result<(), Reason> {
    let listener = socket::find_listener(ctx, v4, port);
    if listener.is_null() {
        return Err(Reason::NotListening);
    }
    // SAFETY: found, and held until it is released below.
    let state = unsafe { core::ptr::read_volatile(&raw const (*listener).state) };
    let ours = socket::has(&LISTENERS, listener);
    socket::release(listener);
    if state != socket::LISTEN {
        Err(Reason::NotListening)
    } else if ours {
        Ok(())
    } else {
        Err(Reason::PortTaken)
    }
}
