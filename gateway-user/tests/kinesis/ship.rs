use std::{
    collections::HashSet,
    fs,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{
    emulator::Emulator,
    proxy::{ALL, Fate, LATE, Proxy, Random},
};
use gateway_user::{
    audit::{Durability, Effect, Entry, Kind, Lines, Log, Options, format, segment},
    ship::{self, Ship, ShipError, ShipOptions},
};
use tempfile::TempDir;

const STREAM: &str = "mcp-audit";

fn dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(dir: &Path) -> Log {
    Log::open(Options { segment_size: 256 << 10, ..Options::new(dir) }).unwrap().0
}

async fn append(log: &Log, count: usize, pad: usize) {
    let appender = log.appender();
    let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(pad));
    let entry = || Entry { kind: Kind::Request, body: body.clone().into_bytes(), effect: Effect::None };
    let waiting: Vec<_> = (0..count).map(|_| appender.append(entry(), Durability::Sync)).collect();
    for result in futures_util::future::join_all(waiting).await {
        result.unwrap();
    }
}

fn options(log: &Log, dir: &Path, url: &str) -> ShipOptions {
    ShipOptions {
        region: Some("eu-central-1".into()),
        endpoint_url: Some(url.into()),
        linger: Duration::from_millis(10),
        timeout: LATE / 2,
        max_backoff: Duration::from_millis(200),
        ..ShipOptions::new(dir, log.log_id().clone(), STREAM)
    }
}

async fn shipped(ship: &Ship, log: &Log, dir: &Path) {
    let give_up = Instant::now() + Duration::from_secs(120);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = log.committed().borrow().next;
        if cursor(&dir.join("kinesis-cursor.json")) == next {
            return;
        }
        assert!(Instant::now() < give_up, "not shipped: {:?}", ship.metrics().last_error.load());
    }
}

fn cursor(path: &Path) -> u64 {
    let Ok(text) = fs::read(path) else { return 0 };
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["next"].as_u64().unwrap()
}

/// The log's lines, as they stand in its files.
fn lines(dir: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for segment in segment::list(dir).unwrap() {
        let mut lines = Lines::new(fs::File::open(segment.path).unwrap(), 0);
        while let Some(line) = lines.next().unwrap() {
            all.push(line.bytes.to_vec());
        }
    }
    all
}

/// First arrivals only; how many lines came more than once.
fn without_duplicates(entries: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
    let (mut seen, mut first, mut again) = (HashSet::new(), Vec::new(), 0);
    for entry in entries {
        assert!(entry.ends_with(b"\n"), "an entry is whole lines");
        for line in entry.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n') {
            let head = format::parse(line).unwrap().head;
            if seen.insert((head.log.to_owned(), head.seq)) {
                first.push(line.to_vec());
            } else {
                again += 1;
            }
        }
    }
    (first, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_arrives_as_it_stands_in_the_log() {
    let emulator = Emulator::start();
    emulator.stream(STREAM).await;
    let dir = dir();
    let log = open(dir.path());
    append(&log, 300, 2000).await;
    let options = options(&log, dir.path(), &format!("http://127.0.0.1:{}", emulator.port));
    let ship = ship::start(options, log.committed()).await.unwrap();
    append(&log, 300, 2000).await;
    let metrics = ship.metrics();
    log.close().unwrap();
    ship.stop(Duration::from_secs(30)).await;

    let entries = emulator.entries(STREAM).await;
    assert!(entries.len() < 20, "{} entries for 1.5 MB", entries.len());
    assert!(entries.iter().all(|entry| entry.len() <= 256 << 10));
    let sent = lines(dir.path());
    assert_eq!(without_duplicates(&entries), (sent.clone(), 0));
    assert_eq!(metrics.shipped_records.load(Ordering::Relaxed), sent.len() as u64);
    assert_eq!(metrics.backlog_records.load(Ordering::Relaxed), 0);
    assert_eq!(metrics.retries.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_too_long_for_the_stream_is_shipped_by_its_head_and_counted() {
    let emulator = Emulator::start();
    emulator.stream(STREAM).await;
    let dir = dir();
    let log = Log::open(Options { segment_size: 4 << 20, ..Options::new(dir.path()) }).unwrap().0;
    for pad in [10, 900 << 10, 1100 << 10, 300 << 10, 10] {
        append(&log, 1, pad).await;
    }
    let options =
        ShipOptions { timeout: Duration::from_secs(20), ..options(&log, dir.path(), &format!("http://127.0.0.1:{}", emulator.port)) };
    let ship = ship::start(options, log.committed()).await.unwrap();
    let metrics = ship.metrics();
    ship.stop(Duration::from_secs(60)).await;

    let (arrived, _) = without_duplicates(&emulator.entries(STREAM).await);
    let sent = lines(dir.path());
    assert_eq!(arrived.len(), 5, "{:?}", metrics.last_error.load());
    for (seq, (arrived, sent)) in arrived.iter().zip(&sent).enumerate() {
        let (short, whole) = (format::parse(arrived).unwrap(), format::parse(sent).unwrap());
        assert_eq!((short.leaf, short.head), (whole.leaf, whole.head));
        assert_eq!(short.body.is_none(), seq == 2);
    }
    assert_eq!(metrics.oversize.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_network_does_the_stream_is_complete_and_in_order() {
    for seed in [1, 2] {
        let emulator = Emulator::start();
        emulator.stream(STREAM).await;
        let dir = dir();
        let log = open(dir.path());
        let (mut random, seen) = (Random(seed), Arc::new(Mutex::new(HashSet::new())));
        let seeing = seen.clone();
        let proxy = Proxy::start(emulator.port, move || {
            let fate = ALL[random.below(ALL.len())];
            seeing.lock().unwrap().insert(fate);
            fate
        });
        let options = options(&log, dir.path(), &proxy.url);
        let ship = ship::start(options, log.committed()).await.unwrap();
        for _ in 0..60 {
            append(&log, 10, 500).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shipped(&ship, &log, dir.path()).await;
        let metrics = ship.metrics();
        ship.stop(Duration::ZERO).await;
        arrived(&proxy).await;

        let (arrived, again) = without_duplicates(&emulator.entries(STREAM).await);
        assert_eq!(arrived, lines(dir.path()), "seed {seed}");
        assert!(again > 0, "no duplicate: the network was too kind");
        assert!(metrics.retries.load(Ordering::Relaxed) > 10);
        assert!(seen.lock().unwrap().len() >= 12, "seed {seed}: {:?}", seen.lock().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_killed_and_started_again_at_random_it_loses_nothing() {
    let emulator = Emulator::start();
    emulator.stream(STREAM).await;
    let dir = dir();
    let log = open(dir.path());
    let mut random = Random(7);
    let mut fates = Random(8);
    let proxy = Proxy::start(emulator.port, move || if fates.below(2) == 0 { Fate::Pass } else { ALL[fates.below(ALL.len())] });
    let options = options(&log, dir.path(), &proxy.url);
    for round in 0..25 {
        let ship = ship::start(options.clone(), log.committed()).await.unwrap();
        append(&log, 20, 500).await;
        tokio::time::sleep(Duration::from_millis(random.below(300) as u64)).await;
        match round % 2 {
            0 => drop(ship),
            _ => ship.stop(Duration::from_millis(random.below(200) as u64)).await,
        }
    }
    let ship = ship::start(options, log.committed()).await.unwrap();
    shipped(&ship, &log, dir.path()).await;
    arrived(&proxy).await;
    let (arrived, again) = without_duplicates(&emulator.entries(STREAM).await);
    assert_eq!(arrived, lines(dir.path()));
    assert!(again > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_named_and_waited_for() {
    let emulator = Emulator::start();
    let dir = dir();
    let log = open(dir.path());
    append(&log, 5, 10).await;
    let ship = ship::start(options(&log, dir.path(), &format!("http://127.0.0.1:{}", emulator.port)), log.committed()).await.unwrap();
    let metrics = ship.metrics();
    error(&ship, "stream mcp-audit does not exist in eu-central-1").await;
    assert_eq!(metrics.backlog_records.load(Ordering::Relaxed), 5);
    assert!(metrics.backlog_bytes.load(Ordering::Relaxed) > 5 * 400);
    assert!(metrics.lag() > Duration::ZERO);

    emulator.stream(STREAM).await;
    shipped(&ship, &log, dir.path()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(metrics.last_error.load().is_none());
    assert_eq!((metrics.lag(), metrics.backlog_records.load(Ordering::Relaxed)), (Duration::ZERO, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_called_nonsense() {
    let emulator = Emulator::start();
    emulator.stream(STREAM).await;
    for (fate, said) in [
        (Fate::Garbage, "is the endpoint really Kinesis?"),
        (Fate::EmptyObject, "about 0 entries, and one was sent"),
        (Fate::NoEntries, "without saying what became of the entry"),
        (Fate::FailureInside, "did not take the entry: ProvisionedThroughputExceededException: Rate exceeded"),
        (Fate::Throttled, "ProvisionedThroughputExceededException: Rate exceeded"),
        (Fate::NotHttp, "could not be asked"),
        (Fate::ArriveLate, "no answer from Kinesis in time"),
    ] {
        let dir = dir();
        let log = open(dir.path());
        append(&log, 1, 10).await;
        let proxy = Proxy::start(emulator.port, move || fate);
        let ship = ship::start(options(&log, dir.path(), &proxy.url), log.committed()).await.unwrap();
        error(&ship, said).await;
        assert!(proxy.requests.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_stream_is_not_in_the_way_of_the_log() {
    let emulator = Emulator::start();
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = dir();
    let log = open(dir.path());
    let url = format!("http://{}", hole.local_addr().unwrap());
    let ship =
        ship::start(ShipOptions { timeout: Duration::from_secs(60), ..options(&log, dir.path(), &url) }, log.committed()).await.unwrap();
    append(&log, 1, 10).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    append(&log, 2000, 100).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(ship);
    drop(emulator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_does_not_fit_stops_the_start() {
    let emulator = Emulator::start();
    let dir = dir();
    let log = open(dir.path());
    append(&log, 400, 1000).await;
    let options = options(&log, dir.path(), &format!("http://127.0.0.1:{}", emulator.port));
    let refused = async |text: &str| {
        fs::write(&options.cursor, text).unwrap();
        ship::start(options.clone(), log.committed()).await.err().unwrap()
    };
    let id = log.log_id();
    let of = |log: &str, stream: &str, next: u64| {
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"next\":{next},\"segment\":0,\"offset\":0}}")
    };

    assert!(matches!(refused("rubbish").await, ShipError::Cursor { .. }));
    let error = refused(&of("00", STREAM, 1)).await;
    assert!(error.to_string().contains("remove that file"), "{error}");
    assert!(matches!(refused(&of(id.as_str(), "other", 1)).await, ShipError::OtherCursor { .. }));
    let error = refused(&of(id.as_str(), STREAM, 1_000)).await;
    assert!(matches!(error, ShipError::Ahead { shipped: 999, .. }), "{error}");

    let first = segment::list(dir.path()).unwrap().remove(0);
    fs::remove_file(first.path).unwrap();
    let error = refused(&of(id.as_str(), STREAM, 3)).await;
    assert!(matches!(error, ShipError::Removed { next: 3, .. }), "{error}");
}

/// Waits for an error that says this. On a busy machine a request may be given up first.
async fn error(ship: &Ship, said: &str) {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let error = ship.metrics().last_error.load();
        if error.as_ref().is_some_and(|error| error.contains(said)) {
            return;
        }
        assert!(Instant::now() < give_up, "{error:?} instead of: {said}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for what is still under way: a request that was given up long ago may yet arrive.
async fn arrived(proxy: &Proxy) {
    while proxy.under_way.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
