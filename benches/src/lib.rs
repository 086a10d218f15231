//! What it costs: the criterion benches beside this folder measure parts, [`comparison`] a whole call.
//!
//! A `tools/call` of 1 KiB ([`exchange`]) goes from one process ([`load`]) to another ([`upstream`]): past all proxies, through the
//! gateway, and through others ([`contestants`]). [`loads`] says how many at a time and what comes back. `cargo xtask bench` builds and
//! runs all of it.

pub mod comparison;
pub mod connection;
pub mod contestants;
pub mod corpus;
pub mod exchange;
pub mod figures;
pub mod load;
pub mod loads;
pub mod machine;
pub mod masking;
pub mod peers;
pub mod processes;
pub mod reading;
pub mod stats;
mod table;
pub mod upstream;
