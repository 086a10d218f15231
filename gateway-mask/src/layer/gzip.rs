//! gzip (RFC 1952), bounded.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// What gzip became of: the data, or why there is none.
pub(crate) enum Gunzip {
    Data(Vec<u8>),
    /// More than the limit.
    TooLarge,
    /// It only looked like gzip.
    NotGzip,
}

/// Decompresses what begins like gzip, to no more than `limit` bytes.
pub(crate) fn gunzip(data: &[u8], limit: usize) -> Option<Gunzip> {
    // Magic, and the one method there is.
    if !data.starts_with(&[0x1F, 0x8B, 8]) {
        return None;
    }
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    Some(match MultiGzDecoder::new(data).take(most).read_to_end(&mut out) {
        Ok(_) if out.len() > limit => Gunzip::TooLarge,
        Ok(_) => Gunzip::Data(out),
        Err(_) => Gunzip::NotGzip,
    })
}

/// Compresses again. A sink in memory takes everything: what it may return as an error never comes.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).and_then(|()| encoder.finish()).unwrap_or_default()
}
