//! Types that cross the boundary between the kernel programs and the gateway.
//!
//! Both sides are compiled from this one source, for different machines, so every type here is `repr(C)` without padding and its
//! size and offsets are asserted at compile time: a layout that drifts does not build on either side.

#![no_std]

mod address;
mod count;
mod layout;

pub use address::Address;
pub use count::{Reason, SLOTS};
pub use layout::{FlowKey, FlowValue, GatewayState, Governed, GovernedKey, Origin, Plain, Settings, SocketMark, SocketPeer};

/// How old the gateway's last sign of life may be before governed connects are refused, in nanoseconds.
pub const DEFAULT_HEARTBEAT_LIMIT_NS: u64 = 3_000_000_000;

/// How many connects may wait for the gateway at once, unless the operator says otherwise.
pub const DEFAULT_MAX_PENDING: u32 = 65_536;

/// How many governed prefixes fit.
pub const MAX_GOVERNED: u32 = 65_536;

/// How many network namespaces may have a gateway of their own.
pub const MAX_GATEWAYS: u32 = 1_024;

/// The address on which the guard proves to itself that capture works.
///
/// It is in 127.0.0.0/8 (RFC 1122, 3.2.1.3), so a connect to it never leaves the host even if nothing redirects it.
pub const CANARY_ADDRESS: [u8; 4] = [127, 71, 87, 1];

/// The port of the canary.
pub const CANARY_PORT: u16 = 7_187;

/// The server number that canary connections carry; the gateway closes them without a word.
pub const CANARY_SERVER: u32 = u32::MAX;

/// The length of a process's name in the kernel, with its terminating zero (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// The bits of a governed key that are always compared: the port.
pub const PORT_BITS: u32 = 16;

/// The bits of a whole key: port and address.
pub const KEY_BITS: u32 = PORT_BITS + 128;
