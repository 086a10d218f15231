//! The maps. The guard pins them, the gateway opens the pins.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, SkStorage},
    macros::btf_map,
};
use gateway_common::{
    FlowKey, FlowValue, GatewayState, Governed, GovernedKey, MAX_GATEWAYS, MAX_GOVERNED, Origin, Reason, SLOTS, Settings, SocketMark,
    SocketPeer,
};

/// Which destinations are governed.
#[btf_map]
pub static GOVERNED: LpmTrie<GovernedKey, Governed, { MAX_GOVERNED as usize }> = LpmTrie::new();

/// Where the gateway of a network namespace listens, by the namespace's cookie.
#[btf_map]
pub static GATEWAYS: HashMap<u64, GatewayState, { MAX_GATEWAYS as usize }> = HashMap::new();

/// Governed connects that the gateway has not taken yet, by socket cookie. Preallocated: a full map refuses, an allocation never fails.
#[btf_map]
pub static ORIGINS: HashMap<u64, Origin, 65_536> = HashMap::new();

/// Whose a source port is. Twice as large as `ORIGINS` (the guard sets both), so that it is never the one that is full.
#[btf_map]
pub static FLOWS: HashMap<FlowKey, FlowValue, 131_072> = HashMap::new();

/// The true peer of a redirected socket.
#[btf_map]
pub static PEERS: SkStorage<SocketPeer> = SkStorage::new();

/// Marks the gateway's listeners; set by the gateway, through its own file descriptor.
#[btf_map]
pub static LISTENERS: SkStorage<SocketMark> = SkStorage::new();

/// Marks the gateway's upstream sockets; set by the gateway, through its own file descriptor.
#[btf_map]
pub static EXEMPT: SkStorage<SocketMark> = SkStorage::new();

/// How often each thing happened.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { SLOTS as usize }> = PerCpuArray::new();

/// What the guard tells these programs.
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

/// Counts one occurrence, on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(slot) = COUNTERS.get_ptr_mut(reason.index()) {
        // SAFETY: the slot is this CPU's own, and the helper has just shown it to exist.
        unsafe { *slot += 1 };
    }
}
