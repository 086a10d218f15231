//! The files of a log: `<20 digits of the first seq>.jsonl`, filled with newlines before use, so
//! that a flush has no metadata to write. The next one is made ahead of need, on a thread of its
//! own.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The seq of its first record.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// Name of the segment that begins with this seq.
#[must_use]
pub fn file_name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

/// The segments in a directory, by seq. Other files are none of the log's business.
///
/// # Errors
/// Those of reading the directory.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let digits = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(first) = digits.filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok()) {
            segments.push(Segment { first, path });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

const NEXT: &str = "next-segment";

/// Makes the directory and those above it, for the service and its group.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

pub(super) fn open_for_writing(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a small file so that a crash leaves either the old one or the new one.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&fresh)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Overwrites a part of a file with newlines, durably.
///
/// In small pieces: a piece is a folio of the page cache, and ext4 looks at every block of a folio whenever a record is written into it.
/// With pieces of 1 MiB a record of 2.5 KB costs twice the time.
pub(super) fn blank(file: &File, from: u64, to: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let newlines = vec![b'\n'; 16 << 10];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(newlines.len(), |left| left.min(newlines.len()));
        file.write_all_at(&newlines[..length], at)?;
        at += length as u64;
    }
    file.sync_all()
}

/// Makes an empty segment that waits for its name. What a crash left of an earlier one goes.
pub(super) fn prepare(dir: &Path, size: u64, max_total: Option<u64>) -> io::Result<()> {
    let path = dir.join(NEXT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(max) = max_total {
        let mut total = size;
        for segment in list(dir)? {
            total += fs::metadata(segment.path)?.len();
        }
        if total > max {
            let what = format!("the log may take {max} bytes (`audit.max_total`), and another segment would make it {total}");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path)?;
    blank(&file, 0, size).inspect_err(|_| {
        // What was written of it is in the way of everyone else on that disk.
        let _ = fs::remove_file(&path);
    })
}

/// Gives the prepared segment its name.
pub(super) fn adopt(dir: &Path, first: u64) -> io::Result<PathBuf> {
    let path = dir.join(file_name(first));
    fs::rename(dir.join(NEXT), &path)?;
    sync_dir(dir)?;
    Ok(path)
}

pub(super) fn forget_prepared(dir: &Path) {
    // If it stays, the next start replaces it.
    let _ = fs::remove_file(dir.join(NEXT));
}

enum Order {
    Prepare,
    Truncate(File, u64),
}

/// The thread that makes segments ahead of need, and cuts finished ones to their real length.
pub(super) struct Preparer {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Preparer {
    /// `report` is told of each attempt to prepare; after a failure another follows in `retry`.
    pub(super) fn start(
        dir: PathBuf,
        size: u64,
        max_total: Option<u64>,
        retry: Duration,
        report: impl Fn(io::Result<()>) + Send + 'static,
    ) -> io::Result<Preparer> {
        let (orders, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("audit-prepare".into()).spawn(move || {
            let mut wanted = false;
            loop {
                let order = if wanted { inbox.recv_timeout(retry) } else { inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected) };
                match order {
                    Ok(Order::Truncate(file, length)) => {
                        // Blank lines at its end are valid: a failure costs space, and nothing else.
                        if let Err(error) = file.set_len(length).and_then(|()| file.sync_all()) {
                            tracing::warn!(%error, "a finished audit segment could not be cut to its length");
                        }
                        // The host's memory is for others: a finished segment is read seldom. It is only advice.
                        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                        continue;
                    }
                    Ok(Order::Prepare) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                let made = prepare(&dir, size, max_total);
                wanted = made.is_err();
                report(made);
            }
        })?;
        Ok(Preparer { orders: Some(orders), thread: Some(thread) })
    }

    pub(super) fn prepare(&self) {
        self.order(Order::Prepare);
    }

    pub(super) fn truncate(&self, file: File, length: u64) {
        self.order(Order::Truncate(file, length));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only with this value.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
