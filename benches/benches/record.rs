//! Building a record: its payload, its body's hash, its line and its leaf; and reading a line back.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateway_user::audit::{Digest, Effect, Payload, Sha256, format};

/// A `tools/call` whose argument makes it about this long.
fn message(size: usize) -> Vec<u8> {
    let sql = "select name from patients where ward = 'B' ".repeat(size.div_ceil(43).max(1));
    serde_json::json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "query", "arguments": { "sql": sql.get(..size).unwrap_or(&sql) } },
    })
    .to_string()
    .into_bytes()
}

fn head(body: &[u8]) -> format::Head<'static> {
    format::Head {
        log: "00112233445566778899aabbccddeeff",
        seq: 1_234_567,
        at: "2026-11-24T00:15:00.123456789Z",
        boot: "0d0c9a5e-5a5e-4f06-8d2a-0123456789ab",
        mono: 81_000_000_123,
        durable: 1_234_560,
        kind: "request",
        effect: Effect::Opens,
        prev: Sha256::ZERO,
        body_sha256: Digest::of(body),
    }
}

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for size in [512, 16 << 10, 256 << 10] {
        let message = message(size);
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_with_input(BenchmarkId::new("payload", size), &message, |b, message| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                Payload::new(black_box(message), 1 << 20).write(&mut out);
            });
        });
        group.bench_with_input(BenchmarkId::new("line", size), &message, |b, message| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                format::write_line(&mut out, &head(black_box(message)), message)
            });
        });
        let mut line = Vec::new();
        format::write_line(&mut line, &head(&message), &message);
        line.pop();
        group.bench_with_input(BenchmarkId::new("parse", size), &line, |b, line| {
            b.iter(|| format::parse(black_box(line)).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
