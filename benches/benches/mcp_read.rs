//! Reading MCP strictly: calls of 1 KiB, results with rows, long texts; beside what `serde_json` takes only to
//! validate (`IgnoredAny`, which does not see keys that stand twice) and to build a tree.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_user::mcp::{self, Limits, error_body};
use serde_json::json;

fn call(size: usize) -> Vec<u8> {
    let sql = "SELECT id, name, ward, admitted FROM patients WHERE ward = 'B2' AND note LIKE '%x%' ";
    let mut body = json!({"jsonrpc": "2.0", "id": 17, "method": "tools/call", "params": {
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": 17,
            "io.modelcontextprotocol/clientInfo": {"name": "ExampleClient", "version": "1.0.0"},
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {}},
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        "name": "query",
        "arguments": {"sql": "", "limit": 50, "dry_run": false, "tags": ["a", "b"], "page": {"from": 0, "size": 50}}}});
    let rest = size.saturating_sub(body.to_string().len());
    body["params"]["arguments"]["sql"] = sql.repeat(rest / sql.len() + 1)[..rest].into();
    body.to_string().into_bytes()
}

fn rows(size: usize) -> Vec<u8> {
    let mut rows = Vec::new();
    let mut len = 0;
    for n in 0.. {
        let row = json!({"id": n, "name": "Ada Example", "ssn": "123-45-6789", "ward": "B2", "weight": 61.25,
            "discharged": null, "note": "no known allergies; \"penicillin\" tolerated"});
        len += row.to_string().len() + 1;
        rows.push(row);
        if len >= size {
            break;
        }
    }
    json!({"jsonrpc": "2.0", "id": 17, "result": {"structuredContent": {"rows": rows}, "content": []}}).to_string().into_bytes()
}

fn pretty(size: usize) -> Vec<u8> {
    let tree: serde_json::Value = serde_json::from_slice(&rows(size)).unwrap();
    serde_json::to_vec_pretty(&tree).unwrap()
}

fn text(size: usize) -> Vec<u8> {
    let text = "Der Patient ist wach und ansprechbar. ".repeat(size / 38);
    json!({"jsonrpc": "2.0", "id": 17, "result": {"content": [{"type": "text", "text": text}]}}).to_string().into_bytes()
}

fn read(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("mcp_read");
    for (name, body) in [
        ("call 1 KiB", call(1024)),
        ("rows 64 KiB", rows(64 << 10)),
        ("rows 1 MiB", rows(1 << 20)),
        ("rows 1 MiB pretty", pretty(700 << 10)),
        ("text 1 MiB", text(1 << 20)),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| mcp::read(black_box(&body), &limits).unwrap()));
        group.bench_function(format!("{name}, serde_json validates"), |b| {
            b.iter(|| serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&body)).unwrap());
        });
    }
    let body = call(1024);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("call 1 KiB, serde_json tree", |b| {
        b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)).unwrap());
    });
    group.finish();

    let data = mcp::ErrorData { reason: "policy", record: Some("01J/17"), help: "Ask the owner of clinic-db for access." };
    c.bench_function("mcp_error_body", |b| {
        b.iter(|| error_body(None, -32000, black_box("The call was not allowed."), &data));
    });
}

criterion_group!(benches, read);
criterion_main!(benches);
