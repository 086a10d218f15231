//! From a call's arguments to its labels: 1 KiB with an SQL statement, with prose, with a shell command.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_user::policy::{Arguments, Labeller};
use serde_json::{Value, json};

const SQL: &str =
    "SELECT p.id, p.name, count(*) FROM public.patients p JOIN visits v ON v.patient = p.id WHERE v.day > '2026-01-01' GROUP BY 1, 2";
const UPDATE: &str = "UPDATE public.patients SET name = 'x', changed = now() WHERE id = 17 AND clinic = 'north'";
const SHELL: &str = "cd /srv/app && grep -rn 'pattern' src | head -20 > /tmp/found.txt";

/// Prose that fills the arguments up to 1 KiB.
fn arguments(name: &str, text: &str) -> Vec<u8> {
    let prose = "The patient's record was read on behalf of the clinic; see https://example.com/notes for what was agreed. ".repeat(10);
    let length = 1024 - text.len() - 40;
    let value: Value = json!({ name: text, "limit": 20, "reason": prose[..length] });
    value.to_string().into_bytes()
}

fn labels(c: &mut Criterion) {
    let mut group = c.benchmark_group("labels");
    let labeller = Labeller::default();
    let cases = [
        ("select", "sql", SQL, "sql:table:visits"),
        ("update", "sql", UPDATE, "sql:write"),
        ("prose", "text", "Dear all,", "url:host:example.com"),
        ("shell", "command", SHELL, "shell:command:grep"),
    ];
    for (case, name, text, label) in cases {
        let json = arguments(name, text);
        let read = Arguments::read(&json);
        assert!(labeller.labels("tool", &read).contains(label) && json.len() > 1000, "{case}");
        group.bench_function(format!("read/{case}"), |b| b.iter(|| Arguments::read(black_box(&json))));
        group.bench_function(case, |b| b.iter(|| labeller.labels("tool", black_box(&read))));
    }
    group.finish();
}

criterion_group!(benches, labels);
criterion_main!(benches);
