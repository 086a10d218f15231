//! Shipping against a real emulator (moto), with a network in between that fails in every way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod emulator;
mod proxy;
mod ship;
