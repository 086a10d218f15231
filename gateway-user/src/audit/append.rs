//! The callers' side of the log: hash, queue, wait.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures_channel::oneshot;
use tokio::sync::mpsc;

use super::{
    entry::{Durability, Effect, Entry, Kind, Sha256},
    format::LogId,
    payload::Digest,
};

/// Whether the log takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Ok,
    /// A write or a flush failed, for this reason. Nothing is taken until the gateway is started
    /// anew, which verifies the log.
    Latched(Arc<str>),
    /// There is no room for further records, for this reason; it goes on by itself once there is.
    Full(Arc<str>),
}

/// Why a record is not in the log. What it stood for must not happen.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// A write or a flush failed earlier, or now.
    #[error("the audit log failed and takes no more records: {cause}; repair the disk and restart the gateway, which checks the log first")]
    Latched {
        /// The first error, with the file.
        cause: Arc<str>,
    },
    /// No room on the disk, or the limit on the whole log reached.
    #[error("the audit log is full: {cause}; make room, and the gateway goes on by itself")]
    Full {
        /// What has run out.
        cause: Arc<str>,
    },
    /// More is waiting to be written than the queue may hold.
    #[error(
        "the audit log cannot keep up: {queued} bytes are waiting to be written, and no more than {limit} may; the disk is too slow for this load"
    )]
    Overloaded {
        /// Bytes waiting.
        queued: u64,
        /// The limit that they exceed.
        limit: u64,
    },
    /// The record is longer than any segment may hold.
    #[error("a record of {size} bytes is longer than the {limit} that a segment holds; lower `max_body` or raise the segment size")]
    TooLarge {
        /// Bytes of the body.
        size: u64,
        /// Bytes that would have been taken.
        limit: u64,
    },
    /// The body is not one JSON object on one line: a fault of the gateway itself.
    #[error("a record of kind {kind} has a body that is not one JSON object on one line; please report this")]
    Malformed {
        /// The record's kind.
        kind: Kind,
    },
    /// The log has been closed.
    #[error("the audit log is closed: the gateway is stopping")]
    Closed,
}

/// A way to append to the log; clone it freely. Works from any thread and any runtime.
#[derive(Clone)]
pub struct Appender {
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) shared: Arc<Shared>,
}

impl Appender {
    /// Appends a record. It is queued when this is called, in the order of the calls on this
    /// thread; the future resolves with its seq once it is as durable as asked.
    ///
    /// # Errors
    /// [`AppendError`]: what the record stands for must then not happen.
    pub fn append(&self, entry: Entry, durability: Durability) -> impl Future<Output = Result<u64, AppendError>> + Send + 'static + use<> {
        let queued = self.queue(entry, durability);
        async move { queued?.await.unwrap_or(Err(AppendError::Closed)) }
    }

    /// Appends a record that nothing waits for. It stands before every record that is appended later.
    ///
    /// # Errors
    /// [`AppendError`]: it was not even queued, and what it stands for must not happen.
    pub fn append_behind(&self, entry: Entry, durability: Durability) -> Result<(), AppendError> {
        self.queue(entry, durability).map(drop)
    }

    /// Whether so much is waiting to be written that a caller who need not wait should.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.queued_bytes() > self.shared.max_queued / 4
    }

    /// Whether the log takes records.
    #[must_use]
    pub fn state(&self) -> LogState {
        LogState::clone(&self.shared.state.load())
    }

    /// Which log this is.
    #[must_use]
    pub fn log_id(&self) -> &LogId {
        &self.shared.id
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.shared.queued.load(Ordering::Relaxed)
    }

    fn queue(&self, entry: Entry, durability: Durability) -> Result<oneshot::Receiver<Answer>, AppendError> {
        let shared = &self.shared;
        shared.denied()?;
        let size = entry.body.len() as u64;
        if size > shared.max_body {
            return Err(AppendError::TooLarge { size, limit: shared.max_body });
        }
        let one_object = entry.body.starts_with(b"{") && entry.body.ends_with(b"}");
        if !one_object || memchr::memchr3(b'\n', b'\r', 0, &entry.body).is_some() {
            return Err(AppendError::Malformed { kind: entry.kind });
        }
        // What an ended call did has happened: its record has room when new calls have none.
        let limit = if matches!(entry.effect, Effect::Closes(_)) { shared.max_queued * 2 } else { shared.max_queued };
        let queued = shared.queued.fetch_add(size, Ordering::Relaxed) + size;
        if queued > limit {
            shared.queued.fetch_sub(size, Ordering::Relaxed);
            return Err(AppendError::Overloaded { queued, limit });
        }
        let (done, answer) = oneshot::channel();
        let body_sha256 = Digest::of(&entry.body);
        let pending = Pending { entry, body_sha256, durability, done };
        if self.jobs.send(Job::Append(pending)).is_err() {
            shared.queued.fetch_sub(size, Ordering::Relaxed);
            return Err(AppendError::Closed);
        }
        Ok(answer)
    }
}

pub(super) type Answer = Result<u64, AppendError>;

/// What the appenders and the writer both see.
pub(super) struct Shared {
    pub(super) id: LogId,
    pub(super) state: ArcSwap<LogState>,
    pub(super) queued: AtomicU64,
    pub(super) max_queued: u64,
    pub(super) max_body: u64,
}

impl Shared {
    pub(super) fn denied(&self) -> Result<(), AppendError> {
        match &**self.state.load() {
            LogState::Ok => Ok(()),
            LogState::Latched(cause) => Err(AppendError::Latched { cause: cause.clone() }),
            LogState::Full(cause) => Err(AppendError::Full { cause: cause.clone() }),
        }
    }
}

pub(super) struct Pending {
    pub(super) entry: Entry,
    pub(super) body_sha256: Sha256,
    pub(super) durability: Durability,
    pub(super) done: oneshot::Sender<Answer>,
}

/// What the writer is told.
pub(super) enum Job {
    Append(Pending),
    /// The preparing thread has tried to make the next segment.
    Prepared(std::io::Result<()>),
    Close,
}
