//! Bodies in chunks (RFC 9112 section 7.1): finding the data, and framing it.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{hint::black_box, num::NonZeroUsize};

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway_user::wire::http1::{BodyDecoder, CHUNK_END, Decoded, Framing, LAST_CHUNK, write_chunk_head};

const TOTAL: usize = 1 << 20;

fn write(out: &mut BytesMut, data: &[u8]) {
    for _ in 0..TOTAL / data.len() {
        write_chunk_head(out, NonZeroUsize::new(data.len()).unwrap());
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_END);
    }
    out.extend_from_slice(LAST_CHUNK);
}

fn read(mut wire: BytesMut) -> usize {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut len = 0;
    while let Decoded::Data(data) = decoder.decode(&mut wire).unwrap() {
        len += data.len();
    }
    len
}

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("http_chunked");
    for size in [512, 16 << 10] {
        let data = vec![b'x'; size];
        let mut wire = BytesMut::new();
        write(&mut wire, &data);
        assert_eq!(read(wire.clone()), TOTAL);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_function(format!("read 1 MiB in chunks of {size}"), |b| {
            b.iter_batched(|| wire.clone(), read, BatchSize::LargeInput);
        });
        let mut out = BytesMut::with_capacity(wire.len());
        group.bench_function(format!("write 1 MiB in chunks of {size}"), |b| {
            b.iter(|| {
                out.clear();
                write(&mut out, black_box(&data));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunks);
criterion_main!(benches);
