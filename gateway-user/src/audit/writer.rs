//! The one thread that writes what must be durable, turns to the next segment, and flushes. It takes the pen with all that is
//! queued, numbers and chains it, writes it in one go, wakes everyone, and puts the pen back. One write is in flight at a time.

use std::{
    collections::VecDeque,
    io, mem,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_channel::oneshot;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    append::{Answer, AppendError, Job, LogState, Pending, Shared},
    disk::{Mode, Output},
    entry::{Durability, Effect, Entry, Kind},
    payload::Digest,
    pen::Pen,
    segment::{self, Preparer},
};

/// A write is sent off when it has grown to this many bytes.
const MAX_WRITE: usize = 4 << 20;

/// How long records of [`Durability::Os`] may stay unflushed.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) preparer: Preparer,
    pub(super) dir: PathBuf,
    /// Records of the log's own that wait for room.
    pub(super) owed: VecDeque<Entry>,
}

enum Next {
    Preparing,
    Ready,
    Failed(String),
}

/// The writer at work.
struct Work {
    w: Writer,
    mode: Mode,
    output: Output,
    next: Next,
    closing: bool,
    /// Who waits for the next write, and whether it must reach the disk.
    waiting: Vec<(oneshot::Sender<Answer>, u64, u64)>,
    sync: bool,
}

impl Writer {
    /// Runs until [`Job::Close`].
    ///
    /// The pen is on the desk only after what the log itself owes is written.
    pub(super) async fn run(self, mut pen: Pen, mode: Mode) -> Result<(), AppendError> {
        let shared = self.shared.clone();
        let output = match Output::open(&pen.at.path, mode) {
            Ok(output) => output,
            Err(error) => {
                shared.latch(&pen.at.path, "cannot be opened for writing", &error);
                return shared.denied();
            }
        };
        self.preparer.prepare();
        let mut work = Work { w: self, mode, output, next: Next::Preparing, closing: false, waiting: Vec::new(), sync: false };
        work.pay_owed(&mut pen).await;
        shared.put_back(pen);
        work.run().await
    }
}

impl Work {
    async fn run(&mut self) -> Result<(), AppendError> {
        let shared = self.w.shared.clone();
        loop {
            let due = shared.unflushed().map(|since| Instant::from_std(since) + FLUSH_AFTER);
            if !shared.is_wanted() {
                match due {
                    None => shared.wanted.notified().await,
                    Some(due) => match timeout_at(due, shared.wanted.notified()).await {
                        Ok(()) => {}
                        Err(_) => self.flush().await,
                    },
                }
                continue;
            }
            let Some(mut pen) = shared.take_pen() else {
                shared.wanted.notified().await;
                continue;
            };
            self.work_off(&mut pen).await;
            if self.closing || due.is_some_and(|due| due <= Instant::now()) {
                self.flush_to_disk(&mut pen).await;
            }
            if self.closing {
                // The pen stays away: what would be written now would not be flushed.
                break;
            }
            shared.put_back(pen);
        }
        shared.close();
        segment::forget_prepared(&self.w.dir);
        shared.latched()
    }

    /// Everything that is queued, in one write.
    async fn work_off(&mut self, pen: &mut Pen) {
        let mut jobs: VecDeque<Job> = self.w.shared.take_jobs().into();
        // News of the next segment counts at once; all else waits its turn.
        jobs.retain(|job| match job {
            Job::Prepared(made) => {
                self.prepared(made);
                false
            }
            _ => true,
        });
        self.pay_owed(pen).await;
        for job in jobs {
            match job {
                Job::Append(pending) if self.closing => self.w.shared.answer(pending, Err(AppendError::Closed)),
                Job::Append(pending) => self.append(pending, pen).await,
                Job::Settle(done) => {
                    self.write(pen).await;
                    let _ = done.send(self.w.shared.denied());
                }
                Job::Prepared(_) => {}
                Job::Close => self.closing = true,
            }
        }
        self.write(pen).await;
    }

    fn prepared(&mut self, made: &io::Result<()>) {
        match made {
            Ok(()) => {
                self.next = Next::Ready;
                if matches!(&**self.w.shared.state.load(), LogState::Full(_)) {
                    tracing::info!("the audit log has room again");
                    self.w.shared.state.store(Arc::new(LogState::Ok));
                }
            }
            Err(error) => {
                if !matches!(self.next, Next::Failed(_)) {
                    tracing::warn!(%error, dir = %self.w.dir.display(), "the next audit segment cannot be made yet");
                }
                self.next = Next::Failed(error.to_string());
            }
        }
    }

    async fn append(&mut self, pending: Pending, pen: &mut Pen) {
        if let Err(denied) = self.make_room(pending.entry.body.len(), pen).await {
            return self.w.shared.answer(pending, Err(denied));
        }
        let Pending { entry, body_sha256, durability, done } = pending;
        let seq = pen.put(&entry, body_sha256);
        self.waiting.push((done, seq, entry.body.len() as u64));
        self.sync |= durability == Durability::Sync;
        if pen.waiting() >= MAX_WRITE {
            self.write(pen).await;
        }
    }

    /// Writes what the log has to say itself, as far as there is room.
    async fn pay_owed(&mut self, pen: &mut Pen) {
        while let Some(entry) = self.w.owed.pop_front() {
            if self.make_room(entry.body.len(), pen).await.is_err() {
                self.w.owed.push_front(entry);
                break;
            }
            pen.put(&entry, Digest::of(&entry.body));
            self.sync = true;
        }
        self.write(pen).await;
    }

    async fn make_room(&mut self, body: usize, pen: &mut Pen) -> Result<(), AppendError> {
        self.w.shared.denied()?;
        if pen.has_room(body) {
            return Ok(());
        }
        self.write(pen).await;
        self.rotate(pen).await;
        self.w.shared.denied()
    }

    /// The write: everything numbered so far, and then everyone who waits for it.
    async fn write(&mut self, pen: &mut Pen) {
        let lines = pen.take();
        if lines.is_empty() || self.w.shared.latched().is_err() {
            return;
        }
        let sync = mem::take(&mut self.sync);
        let in_one = sync && pen.unflushed.is_none();
        let (mut result, lines) = if in_one { self.output.write(lines, pen.at.offset).await } else { (pen.cache(&lines), lines) };
        if result.is_ok() && sync && !in_one {
            result = self.output.sync().await;
        }
        if let Err(error) = result {
            return self.latch(&pen.at.path, "cannot be written", &error);
        }
        pen.written(lines);
        if sync {
            self.now_durable(pen);
        } else {
            pen.is_ahead();
        }
        for (done, seq, size) in self.waiting.drain(..) {
            self.w.shared.queued.fetch_sub(size, Ordering::Relaxed);
            let _ = done.send(Ok(seq));
        }
    }

    async fn flush_to_disk(&mut self, pen: &mut Pen) {
        if pen.unflushed.take().is_none() || self.w.shared.latched().is_err() {
            return;
        }
        match self.output.sync().await {
            Ok(()) => self.now_durable(pen),
            Err(error) => self.latch(&pen.at.path, "cannot be flushed", &error),
        }
    }

    fn now_durable(&mut self, pen: &mut Pen) {
        pen.all_durable();
        self.w.shared.committed.send_replace(pen.committed());
    }

    /// Flushes what was written up to now, while others go on writing.
    async fn flush(&mut self) {
        let (shared, began) = (self.w.shared.clone(), std::time::Instant::now());
        let begun = shared.with_pen(|pen| {
            let written = if pen.waiting() > 0 { shared.write_out(pen) } else { shared.latched() };
            if written.is_err() {
                pen.unflushed = None;
            }
            written.map(|()| (pen.committed(), pen.at.path.clone()))
        });
        let (committed, path) = match begun {
            Some(Ok(begun)) => begun,
            Some(Err(_)) => return,
            // Somebody writes through, which flushes too.
            None => return shared.wanted.notified().await,
        };
        match self.output.sync().await {
            Ok(()) => {
                // Told while the pen lies there: whoever writes through tells of more only after that. Where it is away, it is told of more.
                shared.with_pen(|pen| {
                    if pen.flushed(committed, began) {
                        shared.committed.send_replace(committed);
                    }
                });
            }
            Err(error) => self.latch(&path, "cannot be flushed", &error),
        }
    }

    /// Nothing waits to be written. Afterwards there is room, or the state says why not.
    async fn rotate(&mut self, pen: &mut Pen) {
        while matches!(self.next, Next::Preparing) {
            match self.w.shared.take_news() {
                Some(made) => self.prepared(&made),
                None => self.w.shared.wanted.notified().await,
            }
        }
        if let Next::Failed(why) = &self.next {
            let cause = Arc::from(format!("no further segment can be made in {}: {why}", self.w.dir.display()));
            return self.full(cause, pen).await;
        }
        self.flush_to_disk(pen).await;
        if self.w.shared.denied().is_err() {
            return;
        }
        let path = pen.at.path.clone();
        if let Err(error) = self.switch(pen) {
            self.latch(&path, "cannot be followed by the next segment", &error);
        }
    }

    fn switch(&mut self, pen: &mut Pen) -> io::Result<()> {
        let finished = segment::open_for_writing(&pen.at.path, 0)?;
        let (previous, length) = (segment::file_name(pen.at.segment), pen.at.offset);
        let path = segment::adopt(&self.w.dir, pen.at.next)?;
        self.output = Output::open(&path, self.mode)?;
        pen.turn_to(&path)?;
        self.w.preparer.truncate(finished, length);
        self.next = Next::Preparing;
        self.w.preparer.prepare();
        let body = json!({ "previous": previous, "open": pen.at.open }).to_string().into_bytes();
        let entry = Entry { kind: Kind::Segment, body, effect: Effect::None };
        pen.put(&entry, Digest::of(&entry.body));
        pen.is_fresh();
        Ok(())
    }

    async fn full(&mut self, cause: Arc<str>, pen: &mut Pen) {
        tracing::error!(%cause, "the audit log is full: nothing is forwarded until there is room");
        let body = json!({ "cause": &*cause }).to_string().into_bytes();
        let entry = Entry { kind: Kind::LogFull, body, effect: Effect::None };
        if pen.has_last_room(entry.body.len()) && !pen.at.full_recorded {
            pen.put(&entry, Digest::of(&entry.body));
            self.sync = true;
            pen.at.full_recorded = true;
            self.write(pen).await;
        }
        if self.w.shared.denied().is_ok() {
            self.w.shared.state.store(Arc::new(LogState::Full(cause)));
        }
    }

    fn latch(&mut self, path: &Path, what: &str, error: &io::Error) {
        self.w.shared.latch(path, what, error);
        if let Err(denied) = self.w.shared.denied() {
            for (done, _, size) in self.waiting.drain(..) {
                self.w.shared.queued.fetch_sub(size, Ordering::Relaxed);
                let _ = done.send(Err(denied.clone()));
            }
        }
    }
}
