//! AWS's keys and signatures against a real emulator (moto), and against a server that checks signatures with botocore.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod aws;
mod emulator;
mod ends;
mod relay;
mod signed;
mod stores;
