//! Appending to the log on the disk that the target directory is on, as a caller sees it: one
//! alone, and 64 that wait together (group commit); `sync` waits for the disk, `os` does not. Both also as they are where the
//! kernel does not allow io_uring.
//!
//! `1` is the time of one append from call to answer. `64` is that of 64 appends: divide the
//! elements by it for records a second.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use gateway_user::audit::{Appender, Durability, Effect, Entry, Kind, Log, Options};

fn entry() -> Entry {
    let body =
        format!("{{\"server\":\"clinic-db\",\"call\":{{\"method\":\"tools/call\",\"name\":\"query\"}},\"pad\":\"{}\"}}", "x".repeat(430));
    Entry { kind: Kind::Request, body: body.into_bytes(), effect: Effect::None }
}

async fn append(to: &Appender, count: u64, durability: Durability) {
    let waiting = (0..count).map(|_| to.append(entry(), durability));
    assert!(join_all(waiting).await.iter().all(Result::is_ok), "the log takes records");
}

fn log_append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("log_append");
    group.sample_size(30);
    for (name, durability, io_uring) in [
        ("sync", Durability::Sync, true),
        ("os", Durability::Os, true),
        ("sync, no io_uring", Durability::Sync, false),
        ("os, no io_uring", Durability::Os, false),
    ] {
        for count in [1, 64] {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
            let (log, _) = Log::open(Options { io_uring, ..Options::new(dir.path()) }).expect("a log");
            let appender = log.appender();
            group.throughput(Throughput::Elements(count));
            group.bench_with_input(BenchmarkId::new(name, count), &count, |b, count| {
                b.iter(|| runtime.block_on(append(&appender, *count, durability)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, log_append);
criterion_main!(benches);
