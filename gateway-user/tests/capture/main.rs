//! Capture, through real eBPF. Each test has a cgroup, a network namespace and pins of its own; see `stage`.
//!
//! Every test needs root. One that cannot run fails, and says what is missing.

#![expect(clippy::panic, reason = "a test that cannot go on says why")]

mod crowd;
mod gateway;
mod guard;
mod redirect;
mod refuse;
mod stage;
