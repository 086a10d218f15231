//! Checking a log: every line in itself, and each against the one before.
//!
//! What this cannot see, because nothing away from the host says otherwise: a log rewritten
//! from some record on by someone who may write its files, and whole records missing at its end.

use std::{
    fmt,
    fs::File,
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::FlockOperation;
use serde::Serialize;

use super::{
    entry::Sha256,
    format::{Fault, Head, Line, LogId, parse},
    lines::Lines,
    log::{Identity, OpenError},
    segment::{self, Segment},
};

/// A log that is being written can look torn for a moment: it is read again this often.
const SECOND_LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// One record, to tell where something begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its number.
    pub seq: u64,
    /// When it was written.
    pub at: String,
    /// Its leaf.
    pub leaf: Sha256,
}

/// What is true of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every record is there and as it was written.
    Verified {
        /// How many there are.
        records: u64,
        /// The oldest; `None` in a log without records.
        first: Option<Mark>,
        /// The newest.
        last: Option<Mark>,
    },
    /// What is there is as it was written, and some of it is missing.
    Incomplete {
        /// How many records are there.
        records: u64,
        /// The seqs that are missing.
        missing: Vec<RangeInclusive<u64>>,
    },
    /// A record is not as it was written, or not where it was written.
    Tampered {
        /// The first bad one.
        seq: u64,
        /// In which file.
        file: String,
        /// At which byte of it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// All is well but for the last write, which was cut short: what a crash leaves, and what the
    /// next start cuts off and records.
    Torn {
        /// How many whole records stand before it.
        records: u64,
        /// The first seq of the unfinished write.
        seq: u64,
        /// In which file.
        file: String,
        /// At which byte of it.
        offset: u64,
        /// How many bytes are left of the unfinished write.
        bytes: u64,
    },
}

impl Verdict {
    /// Whether every record is there and as it was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Verdict::Verified { .. })
    }

    /// 0 only for a whole log, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_whole())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Verified { first: Some(first), last: Some(last), records } => {
                write!(f, "verified: {records} records, {} ({}) to {} ({}), leaf {}", first.seq, first.at, last.seq, last.at, last.leaf)
            }
            Verdict::Verified { .. } => f.write_str("verified: a log without records"),
            Verdict::Incomplete { records, missing } => {
                write!(f, "INCOMPLETE: {records} records are whole, and these are missing:")?;
                for range in missing {
                    match (range.start(), range.end()) {
                        (a, b) if a == b => write!(f, " {a}")?,
                        (a, b) => write!(f, " {a}-{b}")?,
                    }
                }
                Ok(())
            }
            Verdict::Tampered { seq, file, offset, what } => write!(f, "TAMPERED: record {seq} ({file}, byte {offset}): {what}"),
            Verdict::Torn { records, seq, file, offset, bytes } => {
                write!(
                    f,
                    "TORN: {records} records are whole; the write of record {seq} was cut short ({bytes} bytes at byte {offset} of {file}). The next start of the gateway cuts them off and records that"
                )
            }
        }
    }
}

/// Why a log cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no log there.
    #[error("{dir} holds no audit log: no file is named like 00000000000000000000.jsonl")]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// `log.json` cannot be used.
    #[error(transparent)]
    Identity(#[from] OpenError),
}

/// Checks the log in `dir`: form, hashes, chain, numbers and file names of every record. Reads
/// each file once, in pieces; a log may be checked while it is written.
///
/// # Errors
/// [`VerifyError`] if there is nothing that could be checked.
pub fn verify(dir: &Path) -> Result<Verdict, VerifyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| VerifyError::Io { path, source }
    };
    let segments = segment::list(dir).map_err(failed(dir))?;
    let mut check = Check { id: Identity::read(dir)?.map(|identity| identity.id), ..Check::default() };
    for (index, segment) in segments.iter().enumerate() {
        let following = segments.get(index + 1).map(|segment| segment.first);
        let before = check.clone();
        let mut result = check.segment(segment, following);
        for _ in 0..SECOND_LOOKS {
            let calm = check.hole.is_none() && check.missing == before.missing;
            if following.is_some() || matches!(result, Ok(()) if calm) || !is_being_written(dir) {
                break;
            }
            thread::sleep(BETWEEN_LOOKS);
            check = before.clone();
            result = check.segment(segment, following);
        }
        match result {
            Ok(()) => {}
            Err(Stop::Tampered(verdict)) => return Ok(*verdict),
            Err(Stop::Io(source)) => return Err(failed(&segment.path)(source)),
        }
    }
    if segments.is_empty() {
        return Err(VerifyError::NoLog { dir: dir.to_owned() });
    }
    let Check { records, missing, hole, first, last, .. } = check;
    Ok(match hole {
        _ if !missing.is_empty() => Verdict::Incomplete { records, missing },
        Some(hole) => Verdict::Torn { records, seq: hole.seq, file: hole.file, offset: hole.offset, bytes: hole.bytes },
        None => Verdict::Verified { records, first, last },
    })
}

/// Whether a gateway holds the log's lock. Taking it for a moment to find out is harmless: a
/// gateway that starts asks more than once.
fn is_being_written(dir: &Path) -> bool {
    let lock = File::open(dir.join("lock"));
    lock.is_ok_and(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

enum Stop {
    Tampered(Box<Verdict>),
    Io(io::Error),
}

#[derive(Clone)]
struct Hole {
    seq: u64,
    file: String,
    offset: u64,
    bytes: u64,
}

/// What is known after the records read so far.
#[derive(Clone, Default)]
struct Check {
    id: Option<LogId>,
    next: u64,
    prev: Option<Sha256>,
    records: u64,
    missing: Vec<RangeInclusive<u64>>,
    hole: Option<Hole>,
    first: Option<Mark>,
    last: Option<Mark>,
}

impl Check {
    fn segment(&mut self, segment: &Segment, following: Option<u64>) -> Result<(), Stop> {
        let file = segment::file_name(segment.first);
        let tampered = |seq, offset, what: String| Stop::Tampered(Box::new(Verdict::Tampered { seq, file: file.clone(), offset, what }));
        let mut lines = Lines::new(File::open(&segment.path).map_err(Stop::Io)?, 0);
        while let Some(raw) = lines.next().map_err(Stop::Io)? {
            let length = raw.bytes.len() as u64;
            match parse(raw.bytes) {
                Ok(line) if raw.ended => {
                    let seq = line.head.seq;
                    if seq < segment.first || following.is_some_and(|first| seq >= first) {
                        return Err(tampered(seq, raw.offset, "it stands in another record's file".into()));
                    }
                    self.line(&line, length).map_err(|(seq, what)| tampered(seq, raw.offset, what))?;
                }
                Ok(_) | Err(Fault::Fragment) => {
                    let hole = self.hole.get_or_insert(Hole { seq: self.next, file: file.clone(), offset: raw.offset, bytes: 0 });
                    hole.bytes += length;
                }
                Err(Fault::Altered(what)) => return Err(tampered(self.next, raw.offset, what)),
            }
        }
        match &self.hole {
            Some(hole) if following.is_some() => Err(tampered(hole.seq, hole.offset, Fault::Fragment.to_string())),
            _ => Ok(()),
        }
    }

    fn line(&mut self, line: &Line<'_>, length: u64) -> Result<(), (u64, String)> {
        let Head { seq, log, .. } = line.head;
        let id = self.id.get_or_insert_with(|| LogId::from_head(log));
        if id.as_str() != log {
            return Err((seq, format!("it belongs to log {log}, and this is log {id}")));
        }
        if let Some(hole) = &mut self.hole {
            if line.head.durable > hole.seq || seq <= hole.seq {
                return Err((hole.seq, Fault::Fragment.to_string()));
            }
            hole.bytes += length;
            return Ok(());
        }
        if seq < self.next {
            let before = self.next - 1;
            let what = if self.last.as_ref().is_some_and(|last| last.leaf == line.leaf) {
                "it stands there twice".to_owned()
            } else {
                format!("it stands behind record {before}: the order was changed, or a record was put in twice")
            };
            return Err((seq, what));
        }
        if seq > self.next {
            self.missing.push(self.next..=seq - 1);
        } else if line.head.prev != self.prev.unwrap_or(Sha256::ZERO) {
            return Err((seq, "it does not follow the record before it: one of the two was replaced".into()));
        }
        if line.body.is_none() {
            return Err((seq, "its body is missing".into()));
        }
        if line.head.durable > seq {
            return Err((seq, format!("it claims that record {} was on disk before it", line.head.durable - 1)));
        }
        let mark = Mark { seq, at: line.head.at.to_owned(), leaf: line.leaf };
        self.first.get_or_insert_with(|| mark.clone());
        self.last = Some(mark);
        self.prev = Some(line.leaf);
        self.next = seq + 1;
        self.records += 1;
        Ok(())
    }
}
