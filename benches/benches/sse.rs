//! Splitting server-sent events.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_user::wire::sse::Splitter;

fn stream(event: usize, total: usize) -> Bytes {
    let data = "x".repeat(event);
    let mut stream = String::new();
    let mut id = 0;
    while stream.len() < total {
        id += 1;
        stream.push_str(&format!("event: message\r\nid: {id}\r\ndata: {data}\r\n\r\n"));
    }
    stream.into()
}

fn split(stream: &Bytes, piece: usize) -> usize {
    let mut splitter = Splitter::new(16 << 20);
    let mut events = 0;
    let mut rest = stream.clone();
    while !rest.is_empty() {
        splitter.push(rest.split_to(piece.min(rest.len())));
        while splitter.next().unwrap().is_some() {
            events += 1;
        }
    }
    events
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("sse");
    for (name, event, total, piece) in [
        ("one event of 512 bytes", 512, 1, usize::MAX),
        ("1 MiB of events of 512 bytes, read by 64 KiB", 512, 1 << 20, 64 << 10),
        ("1 MiB in one event, read by 16 KiB", 1 << 20, 1, 16 << 10),
    ] {
        let stream = stream(event, total);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |b| b.iter(|| split(&stream, piece)));
    }
    group.finish();
}

criterion_group!(benches, events);
criterion_main!(benches);
