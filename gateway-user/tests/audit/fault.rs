use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::support::*;
use gateway_user::audit::{AppendError, Durability, Effect, Log, LogState, Options, verify};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::{Resource, Rlimit, setrlimit},
};

const PAD: usize = 2000;

fn padded() -> String {
    format!("{{\"pad\":\"{}\"}}", "x".repeat(PAD))
}

/// Appends until the log is full; the number of records that went in.
fn fill(log: &Log) -> u64 {
    for n in 0..10_000 {
        match append(&log.appender(), &padded(), Effect::None, Durability::Sync) {
            Ok(_) => {}
            Err(AppendError::Full { .. }) => return n,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("never full")
}

fn goes_on(log: &Log) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while log.state() != LogState::Ok {
        assert!(Instant::now() < give_up, "{:?}", log.state());
        thread::sleep(Duration::from_millis(20));
    }
    append(&log.appender(), &padded(), Effect::None, Durability::Sync).unwrap();
}

#[test]
fn a_full_disk_denies_says_so_in_the_log_and_goes_on_when_there_is_room() {
    let dir = dir();
    let path = dir.path().to_owned();
    // A file system of 512 KiB, in a mount namespace that ends with this thread and the log's.
    let test = thread::spawn(move || {
        // SAFETY: the new namespace concerns this thread and those it starts; no descriptor table is unshared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .expect("this test mounts a file system: run it as root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("none", &path, "tmpfs", MountFlags::empty(), Some(c"size=512k")).unwrap();
        fs::write(path.join("ballast"), vec![0; 128 << 10]).unwrap();

        let dir = path.join("log");
        let options = Options { retry_full: Duration::from_millis(100), ..options(&dir) };
        let (log, _) = Log::open(options.clone()).unwrap();
        assert!(fill(&log) > 50);
        let LogState::Full(cause) = log.state() else { panic!("{:?}", log.state()) };
        assert!(cause.contains("No space left"), "{cause}");
        let (kind, body) = records(&dir).pop().unwrap();
        assert_eq!((kind.as_str(), body["cause"].as_str()), ("log_full", Some(&*cause)));
        assert!(verify(&dir).unwrap().is_whole());

        // A restart in this state changes nothing.
        log.close().unwrap();
        let (log, recovered) = Log::open(options).unwrap();
        assert!(recovered.cut.is_none());
        assert_eq!(fill(&log), 0);
        assert_eq!(records(&dir).iter().filter(|(kind, _)| kind == "log_full").count(), 1);

        fs::remove_file(path.join("ballast")).unwrap();
        goes_on(&log);
        log.close().unwrap();
        assert!(verify(&dir).unwrap().is_whole());
    });
    test.join().unwrap();
}

#[test]
fn the_limit_on_the_whole_log_holds_and_old_segments_may_be_moved_away() {
    let dir = dir();
    let options = Options { max_total_bytes: Some(200 << 10), retry_full: Duration::from_millis(50), ..options(dir.path()) };
    let (log, _) = Log::open(options).unwrap();
    fill(&log);
    let LogState::Full(cause) = log.state() else { panic!("{:?}", log.state()) };
    assert!(cause.contains("audit.max_total"), "{cause}");
    let total: u64 = segments(dir.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(total <= 200 << 10, "{total}");
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    goes_on(&log);
}

#[test]
fn after_a_write_error_nothing_is_taken_any_more_until_a_restart_has_checked_the_log() {
    const CHILD: &str = "AUDIT_TEST_WRITE_ERROR";
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_error(dir.as_ref());
    }
    let dir = dir();
    // The limit that makes the write fail is one of the whole process: it gets one of its own.
    let name = "fault::after_a_write_error_nothing_is_taken_any_more_until_a_restart_has_checked_the_log";
    let child =
        Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(CHILD, dir.path()).output().unwrap();
    assert!(child.status.success(), "{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));

    let (log, recovered) = Log::open(options(dir.path())).unwrap();
    assert_eq!(recovered.records, 2);
    append(&log.appender(), "{}", Effect::None, Durability::Sync).unwrap();
    log.close().unwrap();
    assert!(verify(dir.path()).unwrap().is_whole());
}

fn write_error(dir: &std::path::Path) {
    // SAFETY: no handler is set that could run anything.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let (log, _) = Log::open(options(dir)).unwrap();
    let appender = log.appender();
    for _ in 0..2 {
        append(&appender, "{\"n\":\"fine\"}", Effect::None, Durability::Sync).unwrap();
    }
    setrlimit(Resource::Fsize, Rlimit { current: Some(1), maximum: None }).unwrap();
    let waiting: Vec<_> = (0..20).map(|_| appender.append(entry("{}", Effect::None), Durability::Sync)).collect();
    for result in block_on(futures_util::future::join_all(waiting)) {
        let Err(AppendError::Latched { cause }) = result else { panic!("{result:?}") };
        assert!(cause.contains("00000000000000000000.jsonl cannot be written: File too large"), "{cause}");
    }
    // The disk is well again: that changes nothing.
    setrlimit(Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    assert!(matches!(append(&appender, "{}", Effect::None, Durability::Os), Err(AppendError::Latched { .. })));
    assert!(matches!(log.state(), LogState::Latched(_)));
    assert_eq!(appender.queued_bytes(), 0);
    assert!(matches!(log.close(), Err(AppendError::Latched { .. })));
}

#[test]
fn a_next_segment_that_vanishes_latches() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    append(&log.appender(), "{}", Effect::None, Durability::Sync).unwrap();
    let next = dir.path().join("next-segment");
    let failed = (0..1000).find_map(|_| {
        let _ = fs::remove_file(&next);
        append(&log.appender(), &padded(), Effect::None, Durability::Sync).err()
    });
    assert!(matches!(failed, Some(AppendError::Latched { .. })), "{failed:?}");
}
