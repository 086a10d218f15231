//! Ships the audit log to a Kinesis stream: every line, in order, never in the way of a call.
//!
//! It reads what is durable from the segment files, as anyone could, and sends it on: the log's
//! writer does not know that it is there. One entry a request and one request in flight, and
//! nothing is sent before what comes before it has been acknowledged: so the first arrivals of
//! all lines are in the log's order (`docs/decisions/0002-kinesis-order.md`). A request whose
//! answer is lost is sent again: consumers drop duplicates by log id and seq.
//!
//! An entry is a number of consecutive lines, each with its newline, about 256 KiB of them or
//! one longer line. A line longer than an entry of the stream may be is shipped without its body
//! ([`crate::audit::format::without_body`]): it still verifies by its head; it is counted, and
//! the log keeps the body.

mod cursor;
mod kinesis;
mod metrics;
mod read;
mod run;

use std::{path::PathBuf, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    audit::{Committed, LogId},
    outbound::Outbound,
};

pub use metrics::Metrics;

use std::sync::Arc;

/// What to ship, and where to.
#[derive(Clone, Debug)]
pub struct ShipOptions {
    /// The log's directory.
    pub dir: PathBuf,
    /// Which log that is.
    pub log: LogId,
    /// Where it is noted how far the stream has come.
    pub cursor: PathBuf,
    /// Name of the stream.
    pub stream: String,
    /// Its region; `None`: as the AWS environment says.
    pub region: Option<String>,
    /// Another address than AWS's, for emulators and private endpoints.
    pub endpoint_url: Option<String>,
    /// Longest entry that the stream takes, in bytes, partition key included: 1 MiB unless the
    /// stream was configured for more (10 MiB at most).
    pub max_entry: usize,
    /// How long an entry that is not full waits for more lines.
    pub linger: Duration,
    /// How long an answer is waited for before the request is taken for lost.
    pub timeout: Duration,
    /// The longest pause before a request is sent again.
    pub max_backoff: Duration,
    /// How it is reached.
    pub outbound: Outbound,
}

impl ShipOptions {
    /// The usual ones, for the log in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, log: LogId, stream: impl Into<String>) -> ShipOptions {
        let dir = dir.into();
        ShipOptions {
            cursor: dir.join("kinesis-cursor.json"),
            dir,
            log,
            stream: stream.into(),
            region: None,
            endpoint_url: None,
            max_entry: 1 << 20,
            linger: Duration::from_millis(200),
            timeout: Duration::from_secs(15),
            max_backoff: Duration::from_secs(30),
            outbound: Outbound::default(),
        }
    }
}

/// Why shipping cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The cursor cannot be read or written.
    #[error("{path}, which says how far the log has been shipped, cannot be used: {source}")]
    Cursor {
        /// The cursor's file.
        path: PathBuf,
        /// The system's answer, or what is wrong in it.
        source: std::io::Error,
    },
    /// The cursor speaks of another log or stream.
    #[error("{path} is about {is}, and this is {wanted}; to ship this log from its beginning, remove that file")]
    OtherCursor {
        /// The cursor's file.
        path: PathBuf,
        /// What it is about.
        is: String,
        /// What is to be shipped.
        wanted: String,
    },
    /// More was shipped than the log holds.
    #[error(
        "record {shipped} has been shipped, and the log ends before record {log_next}: the log was set back, and what is shipped from now on would contradict the stream. Keep its directory as evidence, and set `audit.dir` to a new one"
    )]
    Ahead {
        /// The newest record that the stream has.
        shipped: u64,
        /// The seq that the log would give next.
        log_next: u64,
    },
    /// What is to be shipped next has been removed.
    #[error(
        "record {next} is to be shipped next, and {dir} begins with record {oldest}: segments were removed before they were shipped; put them back"
    )]
    Removed {
        /// What is to be shipped next.
        next: u64,
        /// The oldest record that is left.
        oldest: u64,
        /// The log's directory.
        dir: PathBuf,
    },
    /// The log cannot be read.
    #[error("the audit log cannot be read for shipping: {path}: {what}")]
    Log {
        /// File or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No region.
    #[error("it is not known in which AWS region the stream {stream} is; set `kinesis.region` or AWS_REGION")]
    NoRegion {
        /// Name of the stream.
        stream: String,
    },
}

/// Shipping under way. Dropping it ends it without waiting for what is in flight.
pub struct Ship {
    metrics: Arc<Metrics>,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// Begins to ship on the calling tokio runtime; `committed` is [`crate::audit::Log::committed`].
///
/// # Errors
/// [`ShipError`] if what is on this host does not allow it. A stream that cannot be reached or
/// does not exist is no such error: that is tried for ever, and told by [`Metrics`].
pub async fn start(options: ShipOptions, committed: watch::Receiver<Committed>) -> Result<Ship, ShipError> {
    let from = cursor::load(&options)?;
    let reader = read::Reader::new(&options, from, committed.borrow().next)?;
    let client = kinesis::Client::new(&options).await?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopping) = watch::channel(None);
    let shipper = run::Shipper { options, client, reader, committed, stopping, metrics: metrics.clone() };
    let task = tokio::spawn(shipper.run());
    Ok(Ship { metrics, stop, task })
}

impl Ship {
    /// How it goes; stays valid after the end.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Ends: ships what is durable by now, for `grace` at most, waits for the request in flight,
    /// and notes how far it came.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.send_replace(Some(Instant::now() + grace));
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "shipping ended badly; it goes on from its cursor at the next start");
        }
    }
}

impl Drop for Ship {
    fn drop(&mut self) {
        self.task.abort();
    }
}
