//! Records of an open TLS connection: sealing and opening as the gateway does it, beside a plain copy of the same bytes.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{hint::black_box, sync::Arc};

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gateway_tests::{pki::Pki, tls};
use gateway_user::tls::Session;
use rustls::pki_types::ServerName;

const HOST: &str = "mcp.bench.test";

/// A client and a server whose handshake is over.
fn open() -> (Session, Session) {
    let pki = Pki::new().unwrap();
    let config = tls::server(&pki.server(&[HOST]).unwrap()).unwrap();
    let mut server = Session::server(Arc::new(config)).unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let mut client = Session::client(Arc::new(tls::client(&pki.ca_file()).unwrap()), name).unwrap();
    let mut plain = BytesMut::new();
    loop {
        let (to_server, to_client) = (client.take_outgoing(), server.take_outgoing());
        if to_server.is_none() && to_client.is_none() {
            break;
        }
        server.feed(&to_server.unwrap_or_default(), &mut plain).unwrap();
        client.feed(&to_client.unwrap_or_default(), &mut plain).unwrap();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking() && plain.is_empty());
    (client, server)
}

fn sealed(by: &mut Session, data: &[u8]) -> BytesMut {
    let mut records = BytesMut::new();
    by.seal(data, &mut records).unwrap();
    records
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls_record");
    for (name, size) in [("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", 1 << 20)] {
        let data: Vec<u8> = (0..=255).cycle().take(size).collect();
        group.throughput(Throughput::Bytes(size as u64));
        let mut out = BytesMut::with_capacity(2 * size + 1024);
        group.bench_with_input(BenchmarkId::new("copy", name), &data, |b, data| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(data));
            });
        });
        group.bench_with_input(BenchmarkId::new("seal", name), &data, |b, data| {
            let (mut client, _) = open();
            b.iter(|| {
                out.clear();
                client.seal(black_box(data), &mut out).unwrap();
            });
        });
        group.bench_with_input(BenchmarkId::new("open", name), &data, |b, data| {
            let (mut client, mut server) = open();
            // Each record can be opened once, and in order.
            b.iter_batched(
                || sealed(&mut client, data),
                |records| {
                    out.clear();
                    server.feed(&records, &mut out).unwrap();
                    assert_eq!(out.len(), data.len());
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
