//! What detectors cost: the pass that every byte pays, and the search near what it found. In one thread.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_benches::corpus::{self, Random};
use gateway_mask::{Detectors, Hit, Kind, Wanted};

/// Rows as a database's server sends them, without a value of any kind: names, numbers, UUIDs, hashes, timestamps, prose.
fn row(random: &mut Random) -> String {
    format!(
        r#"{{"id":{},"uuid":"{}-{}-{}-{}-{}","title":"A report on the state of the northern stores","status":"open","created_at":"2026-0{}-1{}T0{}:15:30.123Z","updated":17{},"score":0.{},"sha":"{}","note":"The lines were checked twice, and nothing was missing from them.","tags":["alpha","beta"],"size":{}}}"#,
        random.digits(6),
        random.signs("0123456789abcdef", 8),
        random.digits(4),
        random.signs("0123456789abcdef", 4),
        random.signs("0123456789abcdef", 4),
        random.signs("0123456789abcdef", 12),
        random.within(1, 9),
        random.below(9),
        random.below(9),
        random.digits(8),
        random.digits(6),
        random.signs("0123456789abcdef", 40),
        random.digits(5),
    )
}

/// A string with a value in it.
fn match_row(random: &mut Random) -> String {
    let kinds = [Kind::Card, Kind::Email, Kind::Iban, Kind::GithubToken, Kind::Ip, Kind::Phone, Kind::UsSsn, Kind::Jwt];
    let value = corpus::value(kinds[random.below(kinds.len())], random);
    format!(r#"{{"contact":"see {} there"}}"#, value.value)
}

/// JSON of about this size, with one value in every so many bytes.
fn json(size: usize, every: Option<usize>) -> String {
    let mut random = Random::new(1);
    let mut rows = String::from("[");
    let mut next = every.unwrap_or(usize::MAX).min(size / 2 + usize::from(every.is_none()) * size);
    while rows.len() < size {
        if rows.len() >= next {
            rows += &match_row(&mut random);
            next += every.unwrap_or(usize::MAX);
        } else {
            rows += &row(&mut random);
        }
        rows.push(',');
    }
    rows.push_str("0]");
    rows
}

/// As the masker does: reads the string around each candidate once.
fn search(detectors: &Detectors, json: &str, hits: &mut Vec<Hit>) {
    hits.clear();
    let mut over = 0;
    for at in detectors.candidates(json.as_bytes()) {
        if at < over {
            continue;
        }
        let start = memchr::memrchr(b'"', &json.as_bytes()[..at]).map_or(0, |quote| quote + 1);
        let end = memchr::memchr(b'"', &json.as_bytes()[at..]).map_or(json.len(), |quote| at + quote);
        detectors.find(&json[start..end], None, Wanted::all(), hits);
        over = end;
    }
}

fn detect(criterion: &mut Criterion) {
    let detectors = Detectors::new(Vec::new()).unwrap();
    for (size, name) in [(1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")] {
        let mut group = criterion.benchmark_group(format!("detect/{name}"));
        for (every, what) in [(None, "nothing"), (Some(16 << 10), "a value every 16 KiB"), (Some(1 << 10), "a value every KiB")] {
            let json = json(size, every);
            let mut hits = Vec::new();
            group.throughput(Throughput::Bytes(json.len() as u64));
            group.bench_function(what, |bencher| bencher.iter(|| search(&detectors, black_box(&json), &mut hits)));
        }
        group.finish();
    }
}

criterion_group!(benches, detect);
criterion_main!(benches);
