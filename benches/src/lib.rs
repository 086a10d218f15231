//! What it costs: the criterion benches beside this folder measure parts, [`comparison`] a whole call.
//!
//! One `tools/call` of 1 KiB ([`exchange`]) goes from one process ([`load`]) to another ([`upstream`]): past all proxies, through
//! the gateway, and through others ([`contestants`]). `cargo xtask bench` builds and runs all of it.

pub mod comparison;
pub mod contestants;
pub mod exchange;
pub mod load;
pub mod machine;
pub mod stats;
pub mod upstream;
