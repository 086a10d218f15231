//! Masking of whole results: what nothing costs, and what a match costs.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::hmac;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateway_mask::{Detectors, Followed, Form, How, Keys, Masker, Rule, Wanted, What};

/// How often a value stands in a result that is to be masked.
#[derive(Clone, Copy)]
enum Matches {
    None,
    /// One.
    Few,
    /// One a kilobyte.
    Many,
}

/// A result of rows with names, amounts, times, ids and prose, of about `size` bytes.
fn result(size: usize, matches: Matches) -> String {
    let mut body =
        String::from(r#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"see rows"}],"structuredContent":{"rows":["#);
    let mut next = if matches!(matches, Matches::Many) { 0 } else { size / 2 };
    let mut row = 0_u64;
    while body.len() + 200 < size {
        if row > 0 {
            body.push(',');
        }
        let due = !matches!(matches, Matches::None) && body.len() >= next;
        let contact = if due { "ada@example.com" } else { "front desk" };
        if due {
            next = if matches!(matches, Matches::Few) { usize::MAX } else { body.len() + 1024 };
        }
        let uuid = row.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        write!(
            body,
            r#"{{"id":{row},"ref":"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}","name":"Visit {row}","amount":{}.{:02},"at":"2026-03-{:02}T08:{:02}:00Z","note":"seen by the team, stable and in good spirits","contact":"{contact}"}}"#,
            uuid >> 32,
            uuid & 0xFFFF,
            uuid >> 16 & 0xFFF,
            uuid >> 4 & 0xFFF,
            uuid >> 16,
            row * 7 % 1000,
            row % 100,
            row % 28 + 1,
            row % 60,
        )
        .unwrap();
        row += 1;
    }
    body.push_str("]}}}");
    body
}

fn masker() -> Masker {
    let detectors = Arc::new(Detectors::new(Vec::new()).unwrap());
    let rule = |name: &str, what, how| Rule { name: name.to_owned(), what, how };
    let rules = vec![
        rule("columns", What { columns: vec!["ssn".to_owned(), "birth_date".to_owned()], ..What::default() }, How::Partial { keep: 4 }),
        rule("kinds", What { detect: Wanted::all(), ..What::default() }, How::Redact),
    ];
    Masker::new(detectors, rules).unwrap()
}

fn mask(c: &mut Criterion) {
    let masker = masker();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a key for the bench");
    let mac = |parts: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        <[u8; 32]>::try_from(context.sign().as_ref()).unwrap()
    };
    let keys = Keys { commit: &mac, token: &mac };
    let followed = Followed::nothing();
    let mut group = c.benchmark_group("mask");
    for (size, size_name) in [(1 << 10, "1KiB"), (64 << 10, "64KiB"), (1 << 20, "1MiB")] {
        for (matches, name) in [(Matches::None, "none"), (Matches::Few, "few"), (Matches::Many, "many")] {
            let body = result(size, matches);
            let edits = masker.mask(body.as_bytes(), Form::Message(&followed), &keys).unwrap().edits.len();
            let wanted = match matches {
                Matches::None => 0..1,
                Matches::Few => 1..2,
                Matches::Many => 1..usize::MAX,
            };
            assert!(wanted.contains(&edits), "{size_name} with {name} has {edits}");
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, size_name), &body, |b, body| {
                b.iter(|| masker.mask(black_box(body.as_bytes()), Form::Message(&followed), &keys).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, mask);
criterion_main!(benches);
