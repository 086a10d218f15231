use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::future::join_all;
use gateway_user::audit::{AppendError, Appender, Durability, Effect, Entry, Kind, Log, Options, Verdict, format, segment, verify};
use tempfile::TempDir;

pub(crate) fn dir() -> TempDir {
    // In memory: these tests are about bytes and order; what a flush costs is for the benches.
    tempfile::tempdir_in("/dev/shm").unwrap()
}

pub(crate) fn options(dir: &Path) -> Options {
    Options { segment_size: 64 << 10, ..Options::new(dir) }
}

pub(crate) fn entry(body: &str, effect: Effect) -> Entry {
    Entry { kind: Kind::Request, body: body.as_bytes().to_vec(), effect }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(crate) fn append(to: &Appender, body: &str, effect: Effect, durability: Durability) -> Result<u64, AppendError> {
    block_on(to.append(entry(body, effect), durability))
}

/// Queues all of them before any is awaited, so that they share a write or two.
pub(crate) fn append_all(to: &Appender, bodies: &[String], durability: Durability) {
    let queued: Vec<_> = bodies.iter().map(|body| to.append(entry(body, Effect::None), durability)).collect();
    for result in block_on(join_all(queued)) {
        result.unwrap();
    }
}

/// A log of `count` records, each written and flushed on its own.
pub(crate) fn small_log(dir: &Path, count: u64) {
    let (log, _) = Log::open(options(dir)).unwrap();
    for n in 0..count {
        append(&log.appender(), &format!("{{\"n\":{n}}}"), Effect::None, Durability::Sync).unwrap();
    }
    log.close().unwrap();
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).unwrap().into_iter().map(|segment| segment.path).collect()
}

/// All lines of the log, with their newlines; blank ones left out.
pub(crate) fn lines(dir: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for path in segments(dir) {
        let bytes = fs::read(path).unwrap();
        all.extend(bytes.split_inclusive(|b| *b == b'\n').filter(|line| *line != b"\n").map(<[u8]>::to_vec));
    }
    all
}

/// Writes the first segment anew, of these lines.
pub(crate) fn rewrite(dir: &Path, lines: &[Vec<u8>]) {
    fs::write(&segments(dir)[0], lines.concat()).unwrap();
}

/// Kind and body of each record.
pub(crate) fn records(dir: &Path) -> Vec<(String, serde_json::Value)> {
    let read = |line: Vec<u8>| {
        let line = format::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        (line.head.kind.to_owned(), serde_json::from_slice(line.body.unwrap()).unwrap())
    };
    lines(dir).into_iter().map(read).collect()
}

pub(crate) fn copy(from: &Path) -> TempDir {
    let to = dir();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[track_caller]
pub(crate) fn assert_whole(dir: &Path, count: u64) {
    match verify(dir).unwrap() {
        Verdict::Verified { records, .. } => assert_eq!(records, count),
        other => panic!("{other}"),
    }
}
