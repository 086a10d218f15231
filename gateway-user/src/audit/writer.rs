//! The one thread that writes the log: it drains the queue, numbers and chains what is there,
//! writes it in one go, and wakes everyone. One write is in flight at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_channel::oneshot;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    append::{Answer, AppendError, Job, LogState, Pending, Shared},
    disk::{Mode, Output},
    entry::{Durability, Effect, Entry, Kind, Sha256},
    format::{HEAD_MAX, Head, write_line},
    log::Committed,
    payload::Digest,
    segment::{self, Preparer},
};

/// Kept free at the end of a segment, so that "full" can be written into a full log.
pub(super) const RESERVE: u64 = 4096;

/// A write is sent off when it has grown to this many bytes.
const MAX_WRITE: usize = 4 << 20;

/// How long records of [`Durability::Os`] may stay unflushed.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// Where the log stands.
pub(super) struct Position {
    /// First seq of the segment that is written to.
    pub(super) segment: u64,
    pub(super) path: PathBuf,
    /// Where the next line goes.
    pub(super) offset: u64,
    /// The segment's length on disk: bytes up to here have their room already.
    pub(super) capacity: u64,
    /// Seq of the next record.
    pub(super) next: u64,
    /// Leaf of the last.
    pub(super) prev: Sha256,
    /// Records that opened calls which nothing has closed.
    pub(super) open: BTreeSet<u64>,
    /// The segment's last record says that the log is full.
    pub(super) full_recorded: bool,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) committed: watch::Sender<Committed>,
    pub(super) preparer: Preparer,
    pub(super) dir: PathBuf,
    pub(super) boot: String,
    pub(super) at: Position,
    /// Records of the log's own that wait for room.
    pub(super) owed: VecDeque<Entry>,
}

enum Next {
    Preparing,
    Ready,
    Failed(String),
}

struct Stamp {
    at: String,
    mono: u64,
}

/// The writer at work: what it was given, and what it holds between two writes.
struct Work {
    w: Writer,
    mode: Mode,
    output: Output,
    next: Next,
    backlog: VecDeque<Job>,
    closing: bool,
    /// The bytes of the next write, who waits for them, and whether they must reach the disk.
    buffer: Vec<u8>,
    waiting: Vec<(oneshot::Sender<Answer>, u64, u64)>,
    sync: bool,
    stamp: Option<Stamp>,
    /// Since when bytes are in the cache only.
    unflushed: Option<Instant>,
    /// All records below this seq are on disk.
    durable: u64,
    /// The segment holds nothing but its own first record.
    fresh: bool,
}

impl Writer {
    /// Runs until [`Job::Close`].
    pub(super) async fn run(self, mode: Mode) -> Result<(), AppendError> {
        let output = match Output::open(&self.at.path, mode) {
            Ok(output) => output,
            Err(error) => {
                latch(&self.shared, &self.at.path, "cannot be opened for writing", &error);
                return self.shared.denied();
            }
        };
        self.preparer.prepare();
        let (durable, fresh) = (self.at.next, self.at.next == self.at.segment);
        let mut work = Work {
            w: self,
            mode,
            output,
            next: Next::Preparing,
            backlog: VecDeque::new(),
            closing: false,
            buffer: Vec::new(),
            waiting: Vec::new(),
            sync: false,
            stamp: None,
            unflushed: None,
            durable,
            fresh,
        };
        work.run().await
    }
}

impl Work {
    async fn run(&mut self) -> Result<(), AppendError> {
        let mut received = Vec::new();
        while !self.closing {
            self.pay_owed().await;
            match self.unflushed {
                None => _ = self.w.jobs.recv_many(&mut received, 1024).await,
                Some(since) => match timeout_at(since + FLUSH_AFTER, self.w.jobs.recv_many(&mut received, 1024)).await {
                    Ok(_) => {}
                    Err(_) => self.flush_to_disk().await,
                },
            }
            for job in received.drain(..) {
                self.sort_in(job);
            }
            while let Some(job) = self.backlog.pop_front() {
                match job {
                    Job::Append(pending) if self.closing => self.answer(pending, Err(AppendError::Closed)),
                    Job::Append(pending) => self.take(pending).await,
                    Job::Prepared(_) => {}
                    Job::Close => self.closing = true,
                }
            }
            self.write().await;
            if self.unflushed.is_some_and(|since| since.elapsed() >= FLUSH_AFTER) {
                self.flush_to_disk().await;
            }
        }
        self.flush_to_disk().await;
        self.w.jobs.close();
        while let Some(job) = self.w.jobs.recv().await {
            if let Job::Append(pending) = job {
                self.answer(pending, Err(AppendError::Closed));
            }
        }
        segment::forget_prepared(&self.w.dir);
        match self.w.shared.denied() {
            Err(error @ AppendError::Latched { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// News of the next segment counts at once; all else waits its turn.
    fn sort_in(&mut self, job: Job) {
        match job {
            Job::Prepared(Ok(())) => {
                self.next = Next::Ready;
                if matches!(&**self.w.shared.state.load(), LogState::Full(_)) {
                    tracing::info!("the audit log has room again");
                    self.w.shared.state.store(Arc::new(LogState::Ok));
                }
            }
            Job::Prepared(Err(error)) => {
                if !matches!(self.next, Next::Failed(_)) {
                    tracing::warn!(%error, dir = %self.w.dir.display(), "the next audit segment cannot be made yet");
                }
                self.next = Next::Failed(error.to_string());
            }
            job => self.backlog.push_back(job),
        }
    }

    fn answer(&self, pending: Pending, answer: Answer) {
        self.w.shared.queued.fetch_sub(pending.entry.body.len() as u64, Ordering::Relaxed);
        // A caller that has gone away needs no answer.
        let _ = pending.done.send(answer);
    }

    async fn take(&mut self, pending: Pending) {
        if let Err(denied) = self.make_room(pending.entry.body.len()).await {
            return self.answer(pending, Err(denied));
        }
        let Pending { entry, body_sha256, durability, done } = pending;
        let seq = self.encode(&entry, body_sha256);
        self.waiting.push((done, seq, entry.body.len() as u64));
        self.sync |= durability == Durability::Sync;
        self.fresh = false;
        if self.buffer.len() >= MAX_WRITE {
            self.write().await;
        }
    }

    /// Writes what the log has to say itself, as far as there is room.
    async fn pay_owed(&mut self) {
        while let Some(entry) = self.w.owed.pop_front() {
            if self.make_room(entry.body.len()).await.is_err() {
                self.w.owed.push_front(entry);
                break;
            }
            self.encode(&entry, Digest::of(&entry.body));
            self.sync = true;
        }
        self.write().await;
    }

    async fn make_room(&mut self, body: usize) -> Result<(), AppendError> {
        self.w.shared.denied()?;
        let needed = (HEAD_MAX + body) as u64;
        let end = self.w.at.offset + self.buffer.len() as u64;
        if self.fresh || end + needed + RESERVE <= self.w.at.capacity {
            return Ok(());
        }
        self.write().await;
        self.rotate().await;
        self.w.shared.denied()
    }

    fn encode(&mut self, entry: &Entry, body_sha256: Sha256) -> u64 {
        let stamp = self.stamp.get_or_insert_with(Stamp::now);
        let at = &mut self.w.at;
        let seq = at.next;
        let head = Head {
            log: self.w.shared.id.as_str(),
            seq,
            at: &stamp.at,
            boot: &self.w.boot,
            mono: stamp.mono,
            durable: self.durable,
            kind: entry.kind.name(),
            effect: entry.effect,
            prev: at.prev,
            body_sha256,
        };
        at.prev = write_line(&mut self.buffer, &head, &entry.body);
        at.next = seq + 1;
        match entry.effect {
            Effect::None => {}
            Effect::Opens => _ = at.open.insert(seq),
            Effect::Closes(opened) => _ = at.open.remove(&opened),
        }
        seq
    }

    /// The write: everything encoded so far, and then everyone who waits for it.
    async fn write(&mut self) {
        self.stamp = None;
        if self.buffer.is_empty() || self.w.shared.denied().is_err_and(|e| matches!(e, AppendError::Latched { .. })) {
            return;
        }
        let bytes = mem::take(&mut self.buffer);
        let sync = mem::take(&mut self.sync);
        let in_one = sync && self.unflushed.is_none();
        let (mut result, mut bytes) = self.output.write(bytes, self.w.at.offset, in_one).await;
        if result.is_ok() && sync && !in_one {
            result = self.output.sync().await;
        }
        if let Err(error) = result {
            return self.latch("cannot be written", &error);
        }
        self.w.at.offset += bytes.len() as u64;
        bytes.clear();
        self.buffer = bytes;
        if sync {
            self.now_durable();
        } else {
            self.unflushed.get_or_insert_with(Instant::now);
        }
        for (done, seq, size) in self.waiting.drain(..) {
            self.w.shared.queued.fetch_sub(size, Ordering::Relaxed);
            let _ = done.send(Ok(seq));
        }
    }

    async fn flush_to_disk(&mut self) {
        if self.unflushed.is_none() || matches!(&**self.w.shared.state.load(), LogState::Latched(_)) {
            return;
        }
        match self.output.sync().await {
            Ok(()) => self.now_durable(),
            Err(error) => self.latch("cannot be flushed", &error),
        }
    }

    fn now_durable(&mut self) {
        self.unflushed = None;
        self.durable = self.w.at.next;
        let at = &self.w.at;
        self.w.committed.send_replace(Committed { segment: at.segment, offset: at.offset, next: at.next });
    }

    /// Nothing is pending in `buffer`. Afterwards there is room, or the state says why not.
    async fn rotate(&mut self) {
        while matches!(self.next, Next::Preparing) {
            match self.w.jobs.recv().await {
                Some(job) => self.sort_in(job),
                None => return,
            }
        }
        if let Next::Failed(why) = &self.next {
            let cause = Arc::from(format!("no further segment can be made in {}: {why}", self.w.dir.display()));
            return self.full(cause).await;
        }
        self.flush_to_disk().await;
        if self.w.shared.denied().is_err() {
            return;
        }
        if let Err(error) = self.switch() {
            self.latch("cannot be followed by the next segment", &error);
        }
    }

    fn switch(&mut self) -> io::Result<()> {
        let at = &mut self.w.at;
        let finished = segment::open_for_writing(&at.path, 0)?;
        let path = segment::adopt(&self.w.dir, at.next)?;
        self.output = Output::open(&path, self.mode)?;
        self.w.preparer.truncate(finished, at.offset);
        self.next = Next::Preparing;
        self.w.preparer.prepare();
        let previous = segment::file_name(at.segment);
        at.capacity = std::fs::metadata(&path)?.len();
        (at.segment, at.path, at.offset, at.full_recorded) = (at.next, path, 0, false);
        let body = json!({ "previous": previous, "open": at.open }).to_string().into_bytes();
        let entry = Entry { kind: Kind::Segment, body, effect: Effect::None };
        self.encode(&entry, Digest::of(&entry.body));
        self.fresh = true;
        Ok(())
    }

    async fn full(&mut self, cause: Arc<str>) {
        tracing::error!(%cause, "the audit log is full: nothing is forwarded until there is room");
        let body = json!({ "cause": &*cause }).to_string().into_bytes();
        let entry = Entry { kind: Kind::LogFull, body, effect: Effect::None };
        let fits = self.w.at.offset + (HEAD_MAX + entry.body.len()) as u64 <= self.w.at.capacity;
        if fits && !self.w.at.full_recorded {
            self.encode(&entry, Digest::of(&entry.body));
            self.sync = true;
            self.w.at.full_recorded = true;
            self.write().await;
        }
        if self.w.shared.denied().is_ok() {
            self.w.shared.state.store(Arc::new(LogState::Full(cause)));
        }
    }

    fn latch(&mut self, what: &str, error: &io::Error) {
        latch(&self.w.shared, &self.w.at.path, what, error);
        if let Err(denied) = self.w.shared.denied() {
            for (done, _, size) in self.waiting.drain(..) {
                self.w.shared.queued.fetch_sub(size, Ordering::Relaxed);
                let _ = done.send(Err(denied.clone()));
            }
        }
    }
}

fn latch(shared: &Shared, path: &Path, what: &str, error: &io::Error) {
    let cause = format!("{} {what}: {error}", path.display());
    tracing::error!(%cause, "the audit log failed: nothing is forwarded until the gateway is restarted");
    shared.state.store(Arc::new(LogState::Latched(cause.into())));
}

impl Stamp {
    fn now() -> Stamp {
        let mono = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanos = |part: i64| u64::try_from(part).unwrap_or_default();
        Stamp { at: format!("{:.9}", jiff::Timestamp::now()), mono: nanos(mono.tv_sec) * 1_000_000_000 + nanos(mono.tv_nsec) }
    }
}
