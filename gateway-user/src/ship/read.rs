//! Takes lines from the segment files and makes entries of them. Blocking file I/O, no network.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{ShipError, ShipOptions, cursor::Place};
use crate::audit::{
    Committed, Lines,
    format::{parse, without_body},
    segment::{self, Segment},
};

/// About how long an entry becomes: a shard takes 1 MB a second, and Firehose writes plain lines.
const ENTRY: usize = 256 << 10;

/// Lines to be sent in one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) data: Vec<u8>,
    pub(super) records: u64,
    /// Records whose body was left out.
    pub(super) oversize: u64,
    /// When the first of them was written.
    pub(super) at: String,
    /// Where the next entry begins.
    pub(super) next: Place,
    /// More would not have fitted.
    pub(super) full: bool,
}

#[derive(Clone)]
pub(super) struct Reader {
    dir: PathBuf,
    log: String,
    max_data: usize,
    pub(super) place: Place,
}

impl Reader {
    /// Reads from `place` on; `log_next` is the seq that the log gives next.
    pub(super) fn new(options: &ShipOptions, place: Place, log_next: u64) -> Result<Reader, ShipError> {
        if place.next > log_next {
            return Err(ShipError::Ahead { shipped: place.next - 1, log_next });
        }
        let log = options.log.as_str().to_owned();
        let reader = Reader { dir: options.dir.clone(), max_data: options.max_entry.saturating_sub(log.len()), log, place };
        reader.segments()?;
        Ok(reader)
    }

    /// The next entry of what is committed; `None` if all of it has been read.
    pub(super) fn batch(&self, committed: Committed) -> Result<Option<Batch>, ShipError> {
        if self.place.next >= committed.next {
            return Ok(None);
        }
        let mut batch = Batch { data: Vec::new(), records: 0, oversize: 0, at: String::new(), next: self.place, full: false };
        for segment in self.segments()? {
            self.fill(&mut batch, &segment, committed)?;
            if batch.full || batch.next.next >= committed.next {
                return Ok(Some(batch));
            }
        }
        let what = format!("record {} is on disk, and not found", batch.next.next);
        Err(ShipError::Log { path: self.dir.clone(), what })
    }

    /// Bytes between the place and the end of what is committed, about.
    pub(super) fn backlog(&self, committed: Committed) -> Result<u64, ShipError> {
        let mut bytes = 0;
        for segment in self.segments()? {
            let length = if segment.first == committed.segment {
                committed.offset
            } else {
                fs::metadata(&segment.path).map_or(0, |file| file.len())
            };
            let from = if segment.first == self.place.segment { self.place.offset } else { 0 };
            bytes += length.saturating_sub(from);
        }
        Ok(bytes)
    }

    /// Those from the place on.
    fn segments(&self) -> Result<Vec<Segment>, ShipError> {
        let failed = |error: std::io::Error| ShipError::Log { path: self.dir.clone(), what: error.to_string() };
        let mut segments = segment::list(&self.dir).map_err(failed)?;
        match segments.iter().rposition(|segment| segment.first <= self.place.next) {
            Some(at) => Ok(segments.split_off(at)),
            None => {
                let oldest = segments.first().map_or(0, |segment| segment.first);
                Err(ShipError::Removed { next: self.place.next, oldest, dir: self.dir.clone() })
            }
        }
    }

    fn fill(&self, batch: &mut Batch, segment: &Segment, committed: Committed) -> Result<(), ShipError> {
        let path: &Path = &segment.path;
        let failed = |what: String| ShipError::Log { path: path.to_owned(), what };
        let io = |error: std::io::Error| failed(error.to_string());
        let from = if segment.first == batch.next.segment { batch.next.offset } else { 0 };
        let to = if segment.first == committed.segment { committed.offset } else { u64::MAX };
        let mut file = File::open(path).map_err(io)?;
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut lines = Lines::new(file.take(to.saturating_sub(from)), from);
        while batch.next.next < committed.next {
            let Some(raw) = lines.next().map_err(io)? else {
                break;
            };
            let wanted = batch.next.next;
            let line = parse(raw.bytes).map_err(|fault| failed(format!("record {wanted} at byte {}: {fault}", raw.offset)))?;
            let (seq, log) = (line.head.seq, line.head.log);
            if seq < wanted && log == self.log {
                continue;
            }
            if seq != wanted || log != self.log {
                return Err(failed(format!("record {wanted} is wanted at byte {}, and record {seq} of log {log} is there", raw.offset)));
            }
            let short;
            let mut bytes = raw.bytes;
            let oversize = bytes.len() + 1 > self.max_data;
            if oversize {
                short = without_body(&line);
                bytes = &short;
            }
            if batch.records > 0 && batch.data.len() + bytes.len() + 1 > ENTRY.min(self.max_data) {
                batch.full = true;
                return Ok(());
            }
            if batch.records == 0 {
                batch.at = line.head.at.to_owned();
            }
            batch.data.extend_from_slice(bytes);
            batch.data.push(b'\n');
            batch.records += 1;
            batch.oversize += u64::from(oversize);
            let offset = raw.offset + raw.bytes.len() as u64 + 1;
            batch.next = Place { next: wanted + 1, segment: segment.first, offset };
        }
        Ok(())
    }
}
