//! Opening, owning and closing a log.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc as std_mpsc},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::{
    append::{AppendError, Appender, Job, LogState, Shared},
    disk::Runtime,
    entry::{Effect, Entry, Kind, Sha256},
    format::{HEAD_MAX, LogId},
    pen::{Pen, Position, RESERVE},
    recover::{self, Cut},
    segment::{self, Preparer},
    writer::Writer,
};

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory; made if it is not there.
    pub dir: PathBuf,
    /// Bytes of a segment; 64 MiB unless told, 64 KiB at least. No record is longer.
    pub segment_size: u64,
    /// Bytes that all segments together may take; `None`: what the disk has.
    pub max_total_bytes: Option<u64>,
    /// Bytes of bodies that may wait to be written; 64 MiB unless told. Records that close a call
    /// may take as much again.
    pub max_queued_bytes: u64,
    /// After how long making room is tried again when the log is full; one second unless told.
    pub retry_full: Duration,
    /// Whether io_uring is used where the kernel allows it.
    pub io_uring: bool,
}

impl Options {
    /// The usual ones, in this directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            segment_size: 64 << 20,
            max_total_bytes: None,
            max_queued_bytes: 64 << 20,
            retry_full: Duration::from_secs(1),
            io_uring: true,
        }
    }
}

/// Up to where the log is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// First seq of the segment that is being written.
    pub segment: u64,
    /// Bytes of it that are on disk.
    pub offset: u64,
    /// Every record with a lower seq is on disk.
    pub next: u64,
}

/// What [`Log::open`] found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Records that the log held.
    pub records: u64,
    /// What was cut off its end; a `recovery` record says so too.
    pub cut: Option<Cut>,
    /// Calls that were in flight when the gateway ended; each got an `outcome_unknown` record.
    pub unknown: Vec<u64>,
}

/// Why a log cannot be opened. The gateway does not start without one.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused something.
    #[error("audit log: {path} cannot be {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another gateway writes this log.
    #[error(
        "the audit log in {dir} is being written by another gateway (pid {pid}); stop that one, or give this one a directory of its own (`audit.dir`)"
    )]
    InUse {
        /// The log's directory.
        dir: PathBuf,
        /// The other's process id, as it wrote it down.
        pid: String,
    },
    /// A record that was on disk is not as it was written.
    #[error(
        "the audit log is damaged: {file}, record {seq} (at byte {offset}): {what}. The gateway does not add to a log that it cannot vouch for: keep {dir} as evidence (`mcp-gateway audit verify {dir}` tells more), and set `audit.dir` to a new directory"
    )]
    Damaged {
        /// The log's directory.
        dir: String,
        /// The file's name.
        file: String,
        /// The first record that is bad.
        seq: u64,
        /// Where it begins in the file.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// `log.json` and the segments do not belong together.
    #[error("{path}: {what}")]
    Identity {
        /// The file that says which log this is.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An option that cannot be.
    #[error("audit log: a segment of {size} bytes is too small; {least} is the least (`segment_size`)")]
    SegmentTooSmall {
        /// What was asked for.
        size: u64,
        /// What is possible.
        least: u64,
    },
}

pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OpenError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OpenError> {
        self.map_err(|source| OpenError::Io { doing, path: path.to_owned(), source })
    }
}

const SMALLEST_SEGMENT: u64 = 64 << 10;

/// An open log. It owns the thread that writes; closing or dropping it flushes and ends that.
pub struct Log {
    appender: Appender,
    committed: watch::Receiver<Committed>,
    driver: String,
    writer: Option<thread::JoinHandle<Result<(), AppendError>>>,
    /// Held for as long as this log is open.
    _lock: File,
}

impl Log {
    /// Opens the log in `options.dir`, or makes one. Checks its last segment and the link to the
    /// one before, cuts what a crash left unfinished, and notes the calls that it interrupted.
    ///
    /// # Errors
    /// [`OpenError`]: the gateway must not start.
    pub fn open(options: Options) -> Result<(Log, Recovered), OpenError> {
        if options.segment_size < SMALLEST_SEGMENT {
            return Err(OpenError::SegmentTooSmall { size: options.segment_size, least: SMALLEST_SEGMENT });
        }
        let dir = &options.dir;
        segment::make_dir(dir).doing("made", dir)?;
        let lock = lock(dir)?;
        let boot_path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(boot_path).doing("read", boot_path)?.trim().to_owned();

        let named = Identity::read(dir)?;
        let (id, position, cut) = match recover::recover(dir, named.as_ref().map(|n| &n.id))? {
            Some(found) => {
                if named.is_none() {
                    Identity::write(dir, &found.id)?;
                }
                (found.id, found.position, found.cut)
            }
            None => begin(&options, named)?,
        };

        let recovered = Recovered { records: position.next, cut, unknown: position.open.iter().copied().collect() };
        let owed = owed(&recovered);
        let at = Committed { segment: position.segment, offset: position.offset, next: position.next };
        let (committed_to, committed) = watch::channel(at);
        let segment_path = position.path.clone();
        let pen = Pen::new(id.clone(), boot, position).doing("opened for writing", &segment_path)?;
        let shared = Arc::new(Shared::new(id, committed_to, options.max_queued_bytes, options.segment_size - RESERVE - HEAD_MAX as u64));
        let told = shared.clone();
        let tell = move |made| told.tell(Job::Prepared(made));
        let preparer = Preparer::start(dir.clone(), options.segment_size, options.max_total_bytes, options.retry_full, tell)
            .doing("given a thread that prepares segments", dir)?;
        let writer = Writer { shared: shared.clone(), preparer, dir: dir.clone(), owed };
        let closing = shared.clone();
        let (ready, driver) = std_mpsc::channel();
        let thread = thread::Builder::new()
            .name("audit-writer".into())
            .spawn(move || {
                // However this thread ends, nobody waits for it.
                let _close = Close(closing);
                let (runtime, driver) = match Runtime::new(options.io_uring) {
                    Ok(made) => made,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return Err(AppendError::Closed);
                    }
                };
                let _ = ready.send(Ok(driver));
                runtime.block_on(writer.run(pen, runtime.mode()))
            })
            .doing("given a thread that writes", dir)?;
        let driver =
            driver.recv().unwrap_or_else(|_| Err(io::Error::other("its thread ended"))).doing("given a runtime that writes", dir)?;
        Ok((Log { appender: Appender { shared }, committed, driver, writer: Some(thread), _lock: lock }, recovered))
    }

    /// A way to append; clone it freely.
    #[must_use]
    pub fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// Which log this is.
    #[must_use]
    pub fn log_id(&self) -> &LogId {
        self.appender.log_id()
    }

    /// Whether it takes records.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.appender.state()
    }

    /// Up to where it is on disk, now and from now on. Never ahead of the disk: what follows it
    /// (the shipper) never sees a record that a power failure could take back.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.clone()
    }

    /// How the log is written, for the start-up line: `io_uring`, or why not.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Writes and flushes what is queued, and ends. Blocks; later appends get
    /// [`AppendError::Closed`].
    ///
    /// # Errors
    /// [`AppendError::Latched`] if not everything that was appended is on disk.
    pub fn close(mut self) -> Result<(), AppendError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), AppendError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        // A writer that has ended has said why in its state.
        self.appender.shared.tell(Job::Close);
        writer.join().unwrap_or(Err(AppendError::Latched { cause: "the thread that writes it died".into() }))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the audit log was not closed well");
        }
    }
}

struct Close(Arc<Shared>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn owed(recovered: &Recovered) -> VecDeque<Entry> {
    let recovery = recovered.cut.iter().map(|cut| Entry {
        kind: Kind::Recovery,
        body: json!({ "cut": cut }).to_string().into_bytes(),
        effect: Effect::None,
    });
    let unknown = recovered.unknown.iter().map(|seq| Entry {
        kind: Kind::OutcomeUnknown,
        body: json!({ "request": seq }).to_string().into_bytes(),
        effect: Effect::Closes(*seq),
    });
    recovery.chain(unknown).collect()
}

fn begin(options: &Options, named: Option<Identity>) -> Result<(LogId, Position, Option<Cut>), OpenError> {
    let dir = &options.dir;
    if let Some(named) = named {
        let what = format!(
            "it names log {}, of which no segment is left: records were removed. To begin a new log, move this file away or set `audit.dir` to a new directory",
            named.id
        );
        return Err(OpenError::Identity { path: dir.join(Identity::FILE), what });
    }
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes")).doing("given an id", dir)?;
    let id = LogId::from_random(random);
    segment::prepare(dir, options.segment_size, options.max_total_bytes).doing("given a first segment", dir)?;
    let path = segment::adopt(dir, 0).doing("given a first segment", dir)?;
    Identity::write(dir, &id)?;
    let position = Position {
        segment: 0,
        path,
        offset: 0,
        capacity: options.segment_size,
        next: 0,
        prev: Sha256::ZERO,
        open: Default::default(),
        full_recorded: false,
    };
    Ok((id, position, None))
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path).doing("opened", &path)?;
    let mut tries = 0;
    let locked = loop {
        tries += 1;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            // `verify` takes it for a moment, to see whether the log is being written.
            Err(rustix::io::Errno::WOULDBLOCK) if tries < 10 => thread::sleep(Duration::from_millis(20)),
            other => break other,
        }
    };
    match locked {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // The pid only makes the message better.
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".into() } else { pid.trim().to_owned() };
            return Err(OpenError::InUse { dir: dir.to_owned(), pid });
        }
        Err(error) => return Err(io::Error::from(error)).doing("locked", &path),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).doing("written", &path)?;
    Ok(file)
}

/// `log.json`: which log a directory holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Identity {
    #[serde(with = "as_text")]
    pub(super) id: LogId,
    created: String,
}

impl Identity {
    pub(super) const FILE: &str = "log.json";

    /// `None` if there is no such file.
    pub(super) fn read(dir: &Path) -> Result<Option<Identity>, OpenError> {
        let path = dir.join(Self::FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing("read", &path),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| OpenError::Identity {
            path,
            what: format!(
                "it does not say which log this is ({error}); if the segments are whole, remove this file: it is made again from them"
            ),
        })
    }

    fn write(dir: &Path, id: &LogId) -> Result<(), OpenError> {
        let path = dir.join(Self::FILE);
        let identity = Identity { id: id.clone(), created: format!("{:.9}", jiff::Timestamp::now()) };
        let text = serde_json::to_vec(&identity).map_err(io::Error::other).doing("written", &path)?;
        segment::replace_file(&path, &text).doing("written", &path)
    }
}

mod as_text {
    use super::LogId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &LogId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogId, D::Error> {
        let text = String::deserialize(deserializer)?;
        LogId::parse(&text).ok_or_else(|| D::Error::custom("the id is not 32 hexadecimal digits"))
    }
}
