//! Reading a log at start: where it ends, what a crash left unfinished, what was in flight.
//!
//! The rule for what may be cut: bytes of a write that nobody can have been answered for. Every
//! head says which records were on disk when it was written (`durable`). So a hole may be cut,
//! with all that follows it, if no record behind it says that the hole was on disk; and a line
//! that is whole in form but wrong in content is never the work of a crash.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    entry::{Effect, Kind, Sha256},
    format::{Fault, Line, LogId, parse},
    lines::Lines,
    log::{Doing, OpenError},
    payload::Digest,
    pen::Position,
    segment::{self, Segment},
};

/// What was cut off the end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Name of the file.
    pub segment: String,
    /// Where the cut was made.
    pub offset: u64,
    /// Bytes that stood there.
    pub bytes: u64,
    /// Whole records among them: parts of the write that was cut short. Nobody was told that
    /// they are durable.
    pub whole_records: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

pub(super) struct Found {
    pub(super) id: LogId,
    pub(super) position: Position,
    pub(super) cut: Option<Cut>,
}

#[derive(Deserialize)]
struct SegmentBody {
    open: BTreeSet<u64>,
}

/// `None` if the directory holds no segment.
pub(super) fn recover(dir: &Path, named: Option<&LogId>) -> Result<Option<Found>, OpenError> {
    let mut segments = segment::list(dir).doing("read", dir)?;
    let mut cut_before = None;
    loop {
        let Some(last) = segments.pop() else {
            return Ok(None);
        };
        let mut scan = Scan { id: named.cloned(), ..Scan::new(dir, &last) };
        if let Some(previous) = segments.last() {
            (scan.id, scan.prev) = last_leaf(dir, previous, &last, named)?;
        } else if last.first > 0 {
            tracing::warn!(oldest = %last.path.display(), "earlier segments of the audit log are not here: it is checked from this one on");
            scan.prev = None;
        }
        scan.read()?;
        if scan.records == 0 && !segments.is_empty() {
            // The crash came between naming this segment and its first record.
            cut_before = scan.cut()?.or(cut_before);
            fs::remove_file(&last.path).doing("removed", &last.path)?;
            segment::sync_dir(dir).doing("flushed", dir)?;
            continue;
        }
        if scan.records == 0 && last.first > 0 {
            return Err(scan.damaged(0, "no record is left in the log's only segment"));
        }
        let cut = scan.cut()?.or(cut_before);
        let Some(id) = scan.id.clone() else {
            // Nothing was ever written: a first start that went no further than its first file.
            fs::remove_file(&last.path).doing("removed", &last.path)?;
            return Ok(None);
        };
        let capacity = fs::metadata(&last.path).doing("read", &last.path)?.len();
        let position = Position {
            segment: last.first,
            path: last.path.clone(),
            offset: scan.end,
            capacity,
            next: scan.next,
            prev: scan.prev.unwrap_or(Sha256::ZERO),
            open: scan.open,
            full_recorded: scan.last_is_full,
        };
        return Ok(Some(Found { id, position, cut }));
    }
}

/// Reading one segment.
struct Scan<'a> {
    dir: &'a Path,
    segment: &'a Segment,
    id: Option<LogId>,
    /// Leaf that the next record must name; `None` where it cannot be known.
    prev: Option<Sha256>,
    next: u64,
    records: u64,
    /// End of the last good line.
    end: u64,
    open: BTreeSet<u64>,
    last_is_full: bool,
    /// Where the first hole begins.
    hole: Option<u64>,
    behind_hole: u64,
}

impl<'a> Scan<'a> {
    fn new(dir: &'a Path, segment: &'a Segment) -> Scan<'a> {
        Scan {
            dir,
            segment,
            id: None,
            prev: Some(Sha256::ZERO),
            next: segment.first,
            records: 0,
            end: 0,
            open: BTreeSet::new(),
            last_is_full: false,
            hole: None,
            behind_hole: 0,
        }
    }

    fn damaged(&self, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Damaged {
            dir: self.dir.display().to_string(),
            file: segment::file_name(self.segment.first),
            seq: self.next,
            offset,
            what: what.into(),
        }
    }

    fn read(&mut self) -> Result<(), OpenError> {
        let path = &self.segment.path;
        let mut lines = Lines::new(File::open(path).doing("opened", path)?, 0);
        while let Some(raw) = lines.next().doing("read", path)? {
            let end = raw.offset + raw.bytes.len() as u64 + 1;
            match parse(raw.bytes) {
                Ok(line) if raw.ended => self.line(&line, raw.offset, end)?,
                Ok(_) | Err(Fault::Fragment) => _ = self.hole.get_or_insert(raw.offset),
                Err(Fault::Altered(what)) => return Err(self.damaged(raw.offset, what)),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line<'_>, offset: u64, end: u64) -> Result<(), OpenError> {
        let head = &line.head;
        let id = self.id.get_or_insert_with(|| LogId::from_head(head.log));
        if id.as_str() != head.log {
            let what = format!("it belongs to log {}, and this is log {id}", head.log);
            return Err(self.damaged(offset, what));
        }
        if head.seq < self.next {
            return Err(self.damaged(offset, format!("record {} stands here, which comes before it", head.seq)));
        }
        if let Some(hole) = self.hole.filter(|_| head.seq == self.next) {
            return Err(self.damaged(hole, "something that is no record stands before it"));
        }
        if self.hole.is_some() || head.seq > self.next {
            if head.durable > self.next {
                let what = format!("it is not there or not whole, and record {}, which follows, says that it was on disk", head.seq);
                return Err(self.damaged(self.hole.unwrap_or(offset), what));
            }
            self.hole.get_or_insert(self.end);
            self.behind_hole += 1;
            return Ok(());
        }
        if self.prev.is_some_and(|prev| prev != head.prev) {
            return Err(self.damaged(offset, "it does not follow the record before it: one of the two was replaced"));
        }
        let Some(body) = line.body else {
            return Err(self.damaged(offset, "its body is missing"));
        };
        if self.records == 0 && head.kind == Kind::Segment.name() {
            let body: SegmentBody = serde_json::from_slice(body).map_err(|error| self.damaged(offset, error.to_string()))?;
            self.open = body.open;
        }
        match head.effect {
            Effect::None => {}
            Effect::Opens => _ = self.open.insert(head.seq),
            Effect::Closes(seq) => _ = self.open.remove(&seq),
        }
        self.last_is_full = head.kind == Kind::LogFull.name();
        self.prev = Some(line.leaf);
        self.next += 1;
        self.records += 1;
        self.end = end;
        Ok(())
    }

    /// Blanks everything from the hole on.
    fn cut(&self) -> Result<Option<Cut>, OpenError> {
        let Some(from) = self.hole else {
            return Ok(None);
        };
        let path: &PathBuf = &self.segment.path;
        let mut lines = Lines::new(File::open(path).doing("opened", path)?, 0);
        let (mut to, mut digest) = (from, Digest::new());
        while let Some(raw) = lines.next().doing("read", path)? {
            to = raw.offset + raw.bytes.len() as u64;
        }
        let bytes = fs::read(path).doing("read", path)?;
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok()).and_then(|(from, to)| bytes.get(from..to));
        digest.update(range.unwrap_or_default());
        let file = segment::open_for_writing(path, 0).doing("opened for writing", path)?;
        segment::blank(&file, from, to).doing("written", path)?;
        Ok(Some(Cut {
            segment: segment::file_name(self.segment.first),
            offset: from,
            bytes: to - from,
            whole_records: self.behind_hole,
            sha256: digest.finish(),
        }))
    }
}

/// The leaf of a finished segment's last record, which must be the one before `following`.
fn last_leaf(
    dir: &Path,
    segment: &Segment,
    following: &Segment,
    named: Option<&LogId>,
) -> Result<(Option<LogId>, Option<Sha256>), OpenError> {
    let mut scan = Scan { id: named.cloned(), ..Scan::new(dir, segment) };
    let path = &segment.path;
    let mut lines = Lines::new(File::open(path).doing("opened", path)?, 0);
    let (mut last, mut at) = (Vec::new(), 0);
    while let Some(raw) = lines.next().doing("read", path)? {
        last.clear();
        last.extend_from_slice(raw.bytes);
        at = raw.offset;
    }
    scan.next = following.first.saturating_sub(1);
    let line = parse(&last).map_err(|fault| scan.damaged(at, format!("{fault}, and a segment follows")))?;
    if line.head.seq != scan.next {
        return Err(scan
            .damaged(at, format!("record {} is the last one here, and the next segment begins with {}", line.head.seq, following.first)));
    }
    let id = scan.id.get_or_insert_with(|| LogId::from_head(line.head.log));
    if id.as_str() != line.head.log {
        let what = format!("it belongs to log {}, and this is log {id}", line.head.log);
        return Err(scan.damaged(at, what));
    }
    Ok((scan.id, Some(line.leaf)))
}
