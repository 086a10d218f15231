//! How shipping goes, for whoever exports it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

/// Plain numbers; read them whenever.
#[derive(Default)]
pub struct Metrics {
    /// Records on disk that the stream has not acknowledged.
    pub backlog_records: AtomicU64,
    /// Bytes of them, about.
    pub backlog_bytes: AtomicU64,
    /// Records acknowledged since the start.
    pub shipped_records: AtomicU64,
    /// Bytes acknowledged since the start.
    pub shipped_bytes: AtomicU64,
    /// Requests sent again since the start.
    pub retries: AtomicU64,
    /// Records shipped without their body since the start, as they were too long for the stream.
    pub oversize: AtomicU64,
    /// Why the last request failed; `None` once one was acknowledged.
    pub last_error: ArcSwapOption<String>,
    /// When the oldest record that is not acknowledged was written, in milliseconds of Unix time;
    /// 0: there is none.
    pub(super) oldest: AtomicI64,
}

impl Metrics {
    /// Age of the oldest record that the stream has not acknowledged.
    #[must_use]
    pub fn lag(&self) -> Duration {
        match self.oldest.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            oldest => Duration::from_millis(u64::try_from(jiff::Timestamp::now().as_millisecond() - oldest).unwrap_or(0)),
        }
    }

    pub(super) fn failed(&self, why: &str) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(Some(Arc::new(why.to_owned())));
    }
}
