//! Reading and rebuilding HTTP/1.1 heads.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway_user::wire::http1::{Framing, Method, Rewrite, parse_request, parse_response, write_request_head};

const REQUEST: &[u8] = b"POST /mcp HTTP/1.1\r\nHost: mcp.clinic.internal\r\nAccept: application/json, text/event-stream\r\n\
Content-Type: application/json\r\nContent-Length: 512\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
Mcp-Name: query\r\nMcp-Session-Id: 6f1f8e7a-1c1c-4b1f-9d7e-0a8f4a1b2c3d\r\nUser-Agent: python-httpx/0.28.1\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n\
Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UifQ.c2ln\r\n\
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 02:00:00 GMT\r\nServer: uvicorn\r\n\
Content-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\nConnection: keep-alive\r\n\
X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n";

fn heads(c: &mut Criterion) {
    let mut group = c.benchmark_group("http_head");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("parse_request", |b| {
        b.iter_batched(|| BytesMut::from(REQUEST), |mut buf| parse_request(&mut buf, 65536).unwrap().unwrap(), BatchSize::SmallInput);
    });
    let head = parse_request(&mut BytesMut::from(REQUEST), 65536).unwrap().unwrap();
    let mut out = BytesMut::with_capacity(2048);
    let rewrite =
        Rewrite { target: None, framing: Framing::Length(512), set: &[("Accept-Encoding", b"identity")], remove: &[], keep_alive: true };
    group.bench_function("write_request_head", |b| {
        b.iter(|| {
            out.clear();
            write_request_head(&mut out, black_box(&head), &rewrite).unwrap();
        });
    });
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("parse_response", |b| {
        b.iter_batched(
            || BytesMut::from(RESPONSE),
            |mut buf| parse_response(&mut buf, &Method::Post, 65536).unwrap().unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
