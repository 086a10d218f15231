//! Waiting for something to become true, with a deadline and never longer than it takes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Asks every few milliseconds until `ask` has an answer, or `limit` has passed.
///
/// # Errors
/// The limit passed: the message says for what was waited, and for how long. An error of `ask` ends the waiting.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        anyhow::ensure!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// As [`wait_for`], for a yes.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, limit: Duration, mut ask: impl FnMut() -> bool) -> anyhow::Result<()> {
    wait_for(what, limit, || Ok(ask().then_some(())))
}
