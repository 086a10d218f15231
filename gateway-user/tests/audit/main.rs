//! What the audit log promises, seen from outside: through its API and its files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod append;
mod crash;
mod fault;
mod support;
mod tail;
mod tamper;
