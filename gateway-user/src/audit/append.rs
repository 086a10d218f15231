//! The callers' side of the log. What need only reach the kernel's cache is written where it is appended, if the pen lies there;
//! all else is queued for the writer, and waited for.

use std::{
    future::Future,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use futures_channel::oneshot;
use tokio::sync::{Notify, watch};

use super::{
    entry::{Durability, Effect, Entry, Kind, Sha256},
    format::LogId,
    log::Committed,
    payload::Digest,
    pen::Pen,
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
    pub(super) shared: Arc<Shared>,
}

/// How the one who appends goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Waits,
    Alone,
    Behind,
}

/// What has come of it at once, or will.
enum Soon<T> {
    Now(T),
    Later(oneshot::Receiver<Result<T, AppendError>>),
}

impl<T> Soon<T> {
    async fn wait(self) -> Result<T, AppendError> {
        match self {
            Soon::Now(done) => Ok(done),
            Soon::Later(answer) => answer.await.unwrap_or(Err(AppendError::Closed)),
        }
    }
}

impl Appender {
    /// Appends a record. It has its place when this is called, in the order of the calls on this
    /// thread; the future resolves with its seq once it is as durable as asked.
    ///
    /// # Errors
    /// [`AppendError`]: what the record stands for must then not happen.
    pub fn append(&self, entry: Entry, durability: Durability) -> impl Future<Output = Result<u64, AppendError>> + Send + 'static + use<> {
        let placed = self.place(entry, durability, Manner::Waits);
        async move { placed?.wait().await }
    }

    /// As [`Appender::append`], by a thread that has nothing else to do: if nobody else writes, it waits for the disk itself, which spares
    /// two changes of threads. It may block for as long as the disk takes.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_alone(
        &self,
        entry: Entry,
        durability: Durability,
    ) -> impl Future<Output = Result<u64, AppendError>> + Send + 'static + use<> {
        let placed = self.place(entry, durability, Manner::Alone);
        async move { placed?.wait().await }
    }

    /// Appends a record that nothing waits for. It stands before every record that is appended later, and is written with the next one,
    /// by [`Appender::settle`], or within about a second.
    ///
    /// # Errors
    /// [`AppendError`]: it was not even queued, and what it stands for must not happen.
    pub fn append_behind(&self, entry: Entry) -> Result<(), AppendError> {
        self.place(entry, Durability::Os, Manner::Behind).map(drop)
    }

    /// Waits until what [`Appender::append_behind`] has left is written.
    ///
    /// # Errors
    /// [`AppendError`]: what those records stand for must not happen.
    pub fn settle(&self) -> impl Future<Output = Result<(), AppendError>> + Send + 'static + use<> {
        let settled = self.shared.settle();
        async move { settled?.wait().await }
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

    fn place(&self, entry: Entry, durability: Durability, manner: Manner) -> Result<Soon<u64>, AppendError> {
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
        let body_sha256 = Digest::of(&entry.body);
        let mut desk = shared.desk();
        if desk.closed {
            return Err(AppendError::Closed);
        }
        if let Some(pen) = desk.free_pen().filter(|pen| pen.has_room(entry.body.len())) {
            // Whoever had the pen before may have found the disk broken.
            shared.denied()?;
            match (durability, manner) {
                (Durability::Os, Manner::Behind) => return shared.note_here(pen, &entry, body_sha256).map(Soon::Now),
                (Durability::Os, _) => return shared.write_here(pen, &entry, body_sha256).map(Soon::Now),
                (Durability::Sync, Manner::Alone) => {
                    if let Some(pen) = desk.pen.take() {
                        drop(desk);
                        return shared.write_through(pen, &entry, body_sha256).map(Soon::Now);
                    }
                }
                (Durability::Sync, _) => {}
            }
        }
        // What an ended call did has happened: its record has room when new calls have none.
        let limit = if matches!(entry.effect, Effect::Closes(_)) { shared.max_queued * 2 } else { shared.max_queued };
        let queued = shared.queued.fetch_add(size, Ordering::Relaxed) + size;
        if queued > limit {
            shared.queued.fetch_sub(size, Ordering::Relaxed);
            return Err(AppendError::Overloaded { queued, limit });
        }
        let (done, answer) = oneshot::channel();
        desk.queue.push(Job::Append(Pending { entry, body_sha256, durability, done }));
        drop(desk);
        shared.wanted.notify_one();
        Ok(Soon::Later(answer))
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
    /// Tells the writer that there is something for it.
    pub(super) wanted: Notify,
    pub(super) committed: watch::Sender<Committed>,
    desk: Mutex<Desk>,
}

/// Where the pen lies while nobody writes, and what waits for the writer.
struct Desk {
    /// Away while somebody writes without holding up those who only queue.
    pen: Option<Pen>,
    /// The writer came for it and found it away.
    missed: bool,
    queue: Vec<Job>,
    closed: bool,
}

impl Desk {
    /// The pen, if it lies there and nobody waits for it.
    fn free_pen(&mut self) -> Option<&mut Pen> {
        if self.queue.is_empty() { self.pen.as_mut() } else { None }
    }
}

impl Shared {
    pub(super) fn new(id: LogId, committed: watch::Sender<Committed>, max_queued: u64, max_body: u64) -> Shared {
        Shared {
            id,
            state: ArcSwap::from_pointee(LogState::Ok),
            queued: AtomicU64::new(0),
            max_queued,
            max_body,
            wanted: Notify::new(),
            committed,
            desk: Mutex::new(Desk { pen: None, missed: false, queue: Vec::new(), closed: false }),
        }
    }

    /// A thread that panicked with the lock has left what it numbered in the pen: whoever writes next writes that too.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one record into the kernel's cache: no thread is woken for it, and none waits.
    fn write_here(&self, pen: &mut Pen, entry: &Entry, body_sha256: Sha256) -> Answer {
        let seq = pen.put(entry, body_sha256);
        self.write_out(pen)?;
        Ok(seq)
    }

    /// Leaves one record with the pen. Whoever has the pen next writes it with what has come by then.
    fn note_here(&self, pen: &mut Pen, entry: &Entry, body_sha256: Sha256) -> Answer {
        const ENOUGH: usize = 64 << 10;
        let seq = pen.put(entry, body_sha256);
        if pen.waiting() >= ENOUGH {
            self.write_out(pen)?;
        } else if pen.is_ahead() {
            self.wanted.notify_one();
        }
        Ok(seq)
    }

    fn settle(&self) -> Result<Soon<()>, AppendError> {
        let mut desk = self.desk();
        if desk.closed {
            return Err(AppendError::Closed);
        }
        if let Some(pen) = desk.free_pen() {
            return if pen.waiting() > 0 { self.write_out(pen) } else { Ok(()) }.map(Soon::Now);
        }
        let (done, answer) = oneshot::channel();
        desk.queue.push(Job::Settle(done));
        drop(desk);
        self.wanted.notify_one();
        Ok(Soon::Later(answer))
    }

    pub(super) fn write_out(&self, pen: &mut Pen) -> Result<(), AppendError> {
        self.latched()?;
        let lines = pen.take();
        if let Err(error) = pen.cache(&lines) {
            self.latch(&pen.at.path, "cannot be written", &error);
            return self.denied();
        }
        pen.written(lines);
        if pen.is_ahead() {
            self.wanted.notify_one();
        }
        Ok(())
    }

    /// Writes one record onto the disk, while others may queue.
    fn write_through(&self, mut pen: Pen, entry: &Entry, body_sha256: Sha256) -> Answer {
        let seq = pen.put(entry, body_sha256);
        match pen.write_through() {
            Ok(()) => _ = self.committed.send_replace(pen.committed()),
            Err(error) => self.latch(&pen.at.path, "cannot be written", &error),
        }
        self.put_back(pen);
        self.denied().map(|()| seq)
    }

    /// The pen, for the writer. If it is away, [`Shared::wanted`] says when it is back.
    pub(super) fn take_pen(&self) -> Option<Pen> {
        let mut desk = self.desk();
        desk.missed |= desk.pen.is_none();
        desk.pen.take()
    }

    pub(super) fn put_back(&self, pen: Pen) {
        let wanted = {
            let mut desk = self.desk();
            desk.pen = Some(pen);
            std::mem::take(&mut desk.missed) || !desk.queue.is_empty()
        };
        if wanted {
            self.wanted.notify_one();
        }
    }

    /// Does something quick with the pen, for the writer. If it is away, [`Shared::wanted`] says when it is back.
    pub(super) fn with_pen<T>(&self, quick: impl FnOnce(&mut Pen) -> T) -> Option<T> {
        let mut desk = self.desk();
        desk.missed |= desk.pen.is_none();
        desk.pen.as_mut().map(quick)
    }

    /// Since when written bytes wait for a flush.
    pub(super) fn unflushed(&self) -> Option<Instant> {
        self.desk().pen.as_ref().and_then(|pen| pen.unflushed)
    }

    pub(super) fn tell(&self, job: Job) {
        self.desk().queue.push(job);
        self.wanted.notify_one();
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.desk().queue.is_empty()
    }

    pub(super) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut self.desk().queue)
    }

    /// News of the next segment, ahead of what else is queued.
    pub(super) fn take_news(&self) -> Option<io::Result<()>> {
        let queue = &mut self.desk().queue;
        let at = queue.iter().position(|job| matches!(job, Job::Prepared(_)))?;
        match queue.remove(at) {
            Job::Prepared(made) => Some(made),
            _ => None,
        }
    }

    /// From now on nothing is taken.
    pub(super) fn close(&self) {
        let left = {
            let mut desk = self.desk();
            (desk.closed, desk.pen) = (true, None);
            std::mem::take(&mut desk.queue)
        };
        for job in left {
            match job {
                Job::Append(pending) => self.answer(pending, Err(AppendError::Closed)),
                Job::Settle(done) => _ = done.send(Err(AppendError::Closed)),
                Job::Prepared(_) | Job::Close => {}
            }
        }
    }

    pub(super) fn answer(&self, pending: Pending, answer: Answer) {
        self.queued.fetch_sub(pending.entry.body.len() as u64, Ordering::Relaxed);
        // A caller that has gone away needs no answer.
        let _ = pending.done.send(answer);
    }

    pub(super) fn latch(&self, path: &Path, what: &str, error: &io::Error) {
        let cause = format!("{} {what}: {error}", path.display());
        tracing::error!(%cause, "the audit log failed: nothing is forwarded until the gateway is restarted");
        self.state.store(Arc::new(LogState::Latched(cause.into())));
    }

    /// Whether the disk failed.
    pub(super) fn latched(&self) -> Result<(), AppendError> {
        self.denied().or_else(|denied| if matches!(denied, AppendError::Latched { .. }) { Err(denied) } else { Ok(()) })
    }

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
    /// Everything before it is to be written.
    Settle(oneshot::Sender<Result<(), AppendError>>),
    /// The preparing thread has tried to make the next segment.
    Prepared(io::Result<()>),
    Close,
}
