//! The pen: where the log stands, and the lines that come next. There is one, and whoever has it may number records.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    entry::{Effect, Entry, Sha256},
    format::{HEAD_MAX, Head, LogId, write_line},
    log::Committed,
    segment,
};

/// Kept free at the end of a segment, so that "full" can be written into a full log.
pub(super) const RESERVE: u64 = 4096;

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

pub(super) struct Pen {
    id: LogId,
    boot: String,
    pub(super) at: Position,
    /// The segment, written through the kernel's cache: a copy, which a system call does faster than a ring that hands buffered
    /// writes of most file systems to a thread of its own.
    cached: File,
    /// The segment, so opened that what is written is on disk when the write returns.
    through: File,
    /// Numbered and chained, and not yet written.
    lines: Vec<u8>,
    stamp: Option<Stamp>,
    clock: Clock,
    /// All records below this seq are on disk.
    durable: u64,
    /// Since when bytes are in the cache only.
    pub(super) unflushed: Option<Instant>,
    /// The segment holds nothing but its own first record.
    fresh: bool,
}

struct Stamp {
    at: String,
    mono: u64,
}

impl Pen {
    /// All that `at` says is there is taken to be on disk.
    pub(super) fn new(id: LogId, boot: String, at: Position) -> io::Result<Pen> {
        let (cached, through) = open(&at.path)?;
        let (durable, fresh) = (at.next, at.next == at.segment);
        Ok(Pen { id, boot, at, cached, through, lines: Vec::new(), stamp: None, clock: Clock::default(), durable, unflushed: None, fresh })
    }

    /// Whether a body of so many bytes has its place in this segment. Any that the log takes has it in a fresh one.
    pub(super) fn has_room(&self, body: usize) -> bool {
        let end = self.at.offset + self.lines.len() as u64 + (HEAD_MAX + body) as u64;
        self.fresh || end + RESERVE <= self.at.capacity
    }

    /// As [`Pen::has_room`], of the reserve too.
    pub(super) fn has_last_room(&self, body: usize) -> bool {
        self.at.offset + (HEAD_MAX + body) as u64 <= self.at.capacity
    }

    /// Numbers and chains a record; its seq.
    pub(super) fn put(&mut self, entry: &Entry, body_sha256: Sha256) -> u64 {
        let stamp = self.stamp.get_or_insert_with(|| self.clock.now());
        let at = &mut self.at;
        let seq = at.next;
        let head = Head {
            log: self.id.as_str(),
            seq,
            at: &stamp.at,
            boot: &self.boot,
            mono: stamp.mono,
            durable: self.durable,
            kind: entry.kind.name(),
            effect: entry.effect,
            prev: at.prev,
            body_sha256,
        };
        at.prev = write_line(&mut self.lines, &head, &entry.body);
        at.next = seq + 1;
        match entry.effect {
            Effect::None => {}
            Effect::Opens => _ = at.open.insert(seq),
            Effect::Closes(opened) => _ = at.open.remove(&opened),
        }
        self.fresh = false;
        seq
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.lines.len()
    }

    /// What waits to be written, for a write at `at.offset`. The buffer comes back by [`Pen::written`].
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.stamp = None;
        std::mem::take(&mut self.lines)
    }

    /// These lines stand in the segment now.
    pub(super) fn written(&mut self, mut lines: Vec<u8>) {
        self.at.offset += lines.len() as u64;
        lines.clear();
        self.lines = lines;
    }

    /// Writes lines into the kernel's cache.
    pub(super) fn cache(&self, lines: &[u8]) -> io::Result<()> {
        self.cached.write_all_at(lines, self.at.offset)
    }

    /// Writes what waits, and returns when it and all before it is on disk.
    pub(super) fn write_through(&mut self) -> io::Result<()> {
        let lines = self.take();
        match self.unflushed {
            None => self.through.write_all_at(&lines, self.at.offset)?,
            Some(_) => self.cache(&lines).and_then(|()| self.cached.sync_data())?,
        }
        self.written(lines);
        self.all_durable();
        Ok(())
    }

    /// Lines are not on disk yet. True when all before were: somebody must see to the flush.
    pub(super) fn is_ahead(&mut self) -> bool {
        let clean = self.unflushed.is_none();
        self.unflushed.get_or_insert_with(Instant::now);
        clean
    }

    /// Everything that was written is on disk.
    pub(super) fn all_durable(&mut self) {
        self.unflushed = None;
        self.durable = self.at.next;
    }

    /// A flush that began at this place and moment has ended well. What came meanwhile waits for the next one, and until then it counts as
    /// unflushed, like all that stood before: a write that only makes itself durable must not speak for it. False when another write has
    /// made all of it durable already.
    pub(super) fn flushed(&mut self, to: Committed, begun: Instant) -> bool {
        if self.durable >= to.next {
            return false;
        }
        self.durable = to.next;
        self.unflushed = (self.at.next > to.next).then_some(begun);
        true
    }

    /// Where it stands.
    pub(super) fn committed(&self) -> Committed {
        Committed { segment: self.at.segment, offset: self.at.offset, next: self.at.next }
    }

    /// Goes on in an empty segment, whose first record is still to be put.
    pub(super) fn turn_to(&mut self, path: &Path) -> io::Result<()> {
        (self.cached, self.through) = open(path)?;
        self.at.capacity = self.cached.metadata()?.len();
        (self.at.segment, self.at.path, self.at.offset, self.at.full_recorded) = (self.at.next, path.to_owned(), 0, false);
        Ok(())
    }

    /// What was put so far is the segment's own first record.
    pub(super) fn is_fresh(&mut self) {
        self.fresh = true;
    }
}

fn open(path: &Path) -> io::Result<(File, File)> {
    Ok((segment::open_for_writing(path, 0)?, segment::open_for_writing(path, libc::O_DSYNC)?))
}

/// Spells the time. All but the fraction stays the same for a second.
#[derive(Default)]
struct Clock {
    second: i64,
    spelled: String,
}

impl Clock {
    fn now(&mut self) -> Stamp {
        let now = jiff::Timestamp::now();
        if self.spelled.is_empty() || now.as_second() != self.second {
            self.second = now.as_second();
            self.spelled = format!("{:.0}", jiff::Timestamp::from_second(self.second).unwrap_or(now));
        }
        let whole = self.spelled.trim_end_matches('Z');
        let mono = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanos = |part: i64| u64::try_from(part).unwrap_or_default();
        Stamp { at: format!("{whole}.{:09}Z", now.subsec_nanosecond()), mono: nanos(mono.tv_sec) * 1_000_000_000 + nanos(mono.tv_nsec) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use crate::audit::{Digest, Kind};

    fn pen(dir: &Path) -> Pen {
        segment::prepare(dir, 64 << 10, None).unwrap();
        let path = segment::adopt(dir, 0).unwrap();
        let at = Position {
            segment: 0,
            path,
            offset: 0,
            capacity: 64 << 10,
            next: 0,
            prev: Sha256::ZERO,
            open: BTreeSet::new(),
            full_recorded: false,
        };
        Pen::new(LogId::from_random([0; 16]), String::new(), at).unwrap()
    }

    fn put(pen: &mut Pen) {
        let entry = Entry { kind: Kind::Message, body: b"{}".to_vec(), effect: Effect::None };
        pen.put(&entry, Digest::of(&entry.body));
    }

    fn put_into_the_cache(pen: &mut Pen) {
        put(pen);
        let lines = pen.take();
        pen.cache(&lines).unwrap();
        pen.written(lines);
        pen.is_ahead();
    }

    #[test]
    fn while_a_flush_is_under_way_what_it_flushes_is_not_taken_to_be_on_disk() {
        let (dir, begun) = (tempfile::tempdir().unwrap(), Instant::now());
        let mut pen = pen(dir.path());
        put_into_the_cache(&mut pen);
        let to = pen.committed();
        assert!(pen.unflushed.is_some(), "a write in between must flush it too");
        put_into_the_cache(&mut pen);
        assert!(pen.flushed(to, begun));
        assert_eq!((pen.durable, pen.unflushed), (1, Some(begun)), "what came meanwhile waits for the next flush");
        let to = pen.committed();
        assert!(pen.flushed(to, begun));
        assert_eq!((pen.durable, pen.unflushed), (2, None));
    }

    #[test]
    fn a_flush_that_was_overtaken_takes_nothing_back() {
        let (dir, begun) = (tempfile::tempdir().unwrap(), Instant::now());
        let mut pen = pen(dir.path());
        put_into_the_cache(&mut pen);
        let to = pen.committed();
        put(&mut pen);
        pen.write_through().unwrap();
        put_into_the_cache(&mut pen);
        let waits = pen.unflushed;
        assert!(!pen.flushed(to, begun), "nobody is told of less than before");
        assert_eq!((pen.durable, pen.unflushed), (2, waits));
    }
}
