use std::{
    collections::HashSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::support::*;
use gateway_user::audit::{AppendError, Durability, Effect, Kind, Log, OpenError, Options, verify};

#[test]
fn records_are_numbered_in_the_order_of_the_calls_and_verify() {
    let dir = dir();
    let (log, recovered) = Log::open(options(dir.path())).unwrap();
    assert_eq!((recovered.records, recovered.cut, recovered.unknown), (0, None, vec![]));
    let appender = log.appender();
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let durability = if n % 3 == 0 { Durability::Sync } else { Durability::Os };
            appender.append(entry(&format!("{{\"n\":{n}}}"), Effect::None), durability)
        })
        .collect();
    let seqs: Vec<u64> = block_on(futures_util::future::join_all(waiting)).into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs, (0..100).collect::<Vec<_>>());
    log.close().unwrap();
    assert_whole(dir.path(), 100);
    for (n, (kind, body)) in records(dir.path()).iter().enumerate() {
        assert_eq!((kind.as_str(), body["n"].as_u64()), ("request", Some(n as u64)));
    }
    assert_eq!(append(&appender, "{}", Effect::None, Durability::Sync), Err(AppendError::Closed));
}

#[test]
fn it_works_the_same_without_io_uring() {
    let dir = dir();
    for count in [50, 100] {
        let (log, _) = Log::open(Options { io_uring: false, ..options(dir.path()) }).unwrap();
        assert!(log.driver().contains("switched off"), "{}", log.driver());
        append_all(&log.appender(), &vec!["{}".to_owned(); 50], Durability::Sync);
        log.close().unwrap();
        assert_whole(dir.path(), count);
    }
}

#[test]
fn io_uring_is_used_where_the_kernel_has_it() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    assert_eq!(log.driver(), "io_uring");
}

#[test]
fn fifty_thousand_records_from_sixty_four_tasks_on_two_runtimes_verify_over_many_segments() {
    const TASKS: u64 = 64;
    const EACH: u64 = 782;
    let dir = dir();
    let (log, _) = Log::open(Options { segment_size: 1 << 20, ..Options::new(dir.path()) }).unwrap();
    let appender = log.appender();
    let task = move |task: u64| {
        let appender = appender.clone();
        async move {
            let (mut seqs, mut last) = (Vec::new(), None);
            for n in 0..EACH {
                let durability = if (n + task).is_multiple_of(2) { Durability::Sync } else { Durability::Os };
                let body = format!("{{\"task\":{task},\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(200));
                let seq = appender.append(entry(&body, Effect::None), durability).await.unwrap();
                assert!(last.is_none_or(|last| last < seq), "answered out of order");
                last = Some(seq);
                seqs.push(seq);
            }
            seqs
        }
    };
    let on_compio = std::thread::spawn({
        let task = task.clone();
        move || {
            let runtime = compio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let tasks: Vec<_> = (0..TASKS / 2).map(|n| compio::runtime::spawn(task(n))).collect();
                let mut all = Vec::new();
                for (n, task) in tasks.into_iter().enumerate() {
                    all.push((n as u64, task.await.unwrap()));
                }
                all
            })
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let mut all = runtime.block_on(async {
        let tasks: Vec<_> = (TASKS / 2..TASKS).map(|n| (n, tokio::spawn(task(n)))).collect();
        let mut all = Vec::new();
        for (n, task) in tasks {
            all.push((n, task.await.unwrap()));
        }
        all
    });
    all.extend(on_compio.join().unwrap());
    log.close().unwrap();

    let records = records(dir.path());
    let mut seen = HashSet::new();
    for (task, seqs) in all {
        for (n, seq) in seqs.into_iter().enumerate() {
            let (_, body) = &records[usize::try_from(seq).unwrap()];
            assert_eq!((body["task"].as_u64(), body["n"].as_u64()), (Some(task), Some(n as u64)));
            assert!(seen.insert(seq));
        }
    }
    let segments = segments(dir.path()).len();
    assert!(segments > 10, "{segments}");
    assert_whole(dir.path(), TASKS * EACH + segments as u64 - 1);
}

#[test]
fn finished_segments_are_cut_to_their_length_and_the_next_is_named_by_its_first_record() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    append_all(&log.appender(), &vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(1000)); 150], Durability::Sync);
    log.close().unwrap();
    let segments = segments(dir.path());
    assert!(segments.len() >= 3);
    for (index, path) in segments.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let last = index == segments.len() - 1;
        assert_eq!(bytes.ends_with(b"\n\n"), last, "{}", path.display());
        if last {
            assert_eq!(bytes.len(), 64 << 10);
        }
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), segments.len() + 2, "only the segments, log.json and lock are left: {names:?}");
}

#[test]
fn what_no_log_could_hold_is_refused_by_name() {
    let dir = dir();
    let (log, _) = Log::open(Options { max_queued_bytes: 20_000, ..options(dir.path()) }).unwrap();
    let appender = log.appender();
    for body in ["", "[]", "{\"a\":\n1}", "{\"a\":1}\n", "{\"a\":1}\r"] {
        let refused = append(&appender, body, Effect::None, Durability::Sync);
        assert_eq!(refused, Err(AppendError::Malformed { kind: Kind::Request }), "{body:?}");
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(64 << 10));
    let refused = append(&appender, &long, Effect::None, Durability::Sync).unwrap_err();
    assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");

    let half = format!("{{\"a\":\"{}\"}}", "x".repeat(30_000));
    let refused = append(&appender, &half, Effect::None, Durability::Sync).unwrap_err();
    assert!(matches!(refused, AppendError::Overloaded { limit: 20_000, .. }), "{refused}");
    append(&appender, &half, Effect::Closes(0), Durability::Sync).unwrap();
    assert_eq!(appender.queued_bytes(), 0);

    let refused = Log::open(Options { segment_size: 10, ..Options::new(dir.path()) }).err().unwrap();
    assert!(matches!(refused, OpenError::SegmentTooSmall { .. }));
}

#[test]
fn two_gateways_cannot_write_one_log() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let refused = Log::open(options(dir.path())).err().unwrap().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    log.close().unwrap();
    Log::open(options(dir.path())).unwrap();
}

#[test]
fn what_was_only_cached_is_flushed_within_a_second_or_so() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let mut committed = log.committed();
    append(&log.appender(), "{}", Effect::None, Durability::Os).unwrap();
    assert_eq!(committed.borrow_and_update().next, 0, "not on disk, and not said to be");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), committed.changed()).await.unwrap().unwrap() });
    assert_eq!(committed.borrow().next, 1);
}

#[test]
fn what_nothing_waits_for_is_written_with_what_follows_and_soon_without() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let appender = log.appender();
    let note = |n: u64| appender.append_behind(entry(&format!("{{\"n\":{n}}}"), Effect::None)).unwrap();
    (0..50).for_each(note);
    assert_eq!(append(&appender, "{\"n\":50}", Effect::None, Durability::Os), Ok(50));
    assert_eq!(records(dir.path()).len(), 51, "they stand before what was appended later");
    (51..55).for_each(note);
    block_on(appender.settle()).unwrap();
    assert_eq!(records(dir.path()).len(), 55, "they are settled");
    (55..60).for_each(note);
    let give_up = std::time::Instant::now() + Duration::from_secs(10);
    while records(dir.path()).len() < 60 {
        assert!(std::time::Instant::now() < give_up, "nothing followed, and they were not written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut committed = log.committed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), committed.wait_for(|committed| committed.next == 60)).await.unwrap().unwrap();
    });
    (60..70).for_each(note);
    log.close().unwrap();
    assert_whole(dir.path(), 70);
    assert!(records(dir.path()).iter().enumerate().all(|(n, (_, body))| body["n"].as_u64() == Some(n as u64)));
}

#[test]
fn who_is_alone_waits_for_the_disk_itself_and_everyone_else_is_served() {
    const EACH: usize = 300;
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let alone = log.appender();
    assert_eq!(block_on(alone.append_alone(entry("{}", Effect::None), Durability::Sync)), Ok(0));
    assert_eq!(log.committed().borrow().next, 1, "it is on disk");
    append(&alone, "{}", Effect::None, Durability::Os).unwrap();
    assert_eq!(block_on(alone.append_alone(entry("{}", Effect::None), Durability::Sync)), Ok(2));
    assert_eq!(log.committed().borrow().next, 3, "and so is what was only cached before");

    let others = [Durability::Sync, Durability::Os].map(|durability| {
        let appender = log.appender();
        std::thread::spawn(move || {
            for _ in 0..EACH {
                append(&appender, "{}", Effect::None, durability).unwrap();
            }
        })
    });
    for _ in 0..EACH {
        block_on(alone.append_alone(entry("{}", Effect::None), Durability::Sync)).unwrap();
    }
    for other in others {
        other.join().unwrap();
    }
    log.close().unwrap();
    let records = records(dir.path()).len() as u64;
    let segments = segments(dir.path()).len() as u64 - 1;
    assert_eq!(records, 3 + 3 * EACH as u64 + segments);
    assert_whole(dir.path(), records);
    assert_eq!(block_on(alone.append_alone(entry("{}", Effect::None), Durability::Sync)), Err(AppendError::Closed));
}

#[test]
fn a_log_verifies_while_it_is_written() {
    let dir = dir();
    let (log, _) = Log::open(Options { segment_size: 2 << 20, ..Options::new(dir.path()) }).unwrap();
    let appender = log.appender();
    let done = Arc::new(AtomicBool::new(false));
    let enough = done.clone();
    let writer = std::thread::spawn(move || {
        let bodies = vec![format!("{{\"pad\":\"{}\"}}", "x".repeat(300)); 40];
        let mut written = 0;
        while !enough.load(Ordering::Relaxed) {
            append_all(&appender, &bodies, Durability::Os);
            written += bodies.len();
            std::thread::sleep(Duration::from_millis(3));
        }
        written
    });
    for _ in 0..12 {
        let verdict = verify(dir.path()).unwrap();
        assert!(verdict.is_whole(), "{verdict}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 40, "it was not written while it was verified");
}
