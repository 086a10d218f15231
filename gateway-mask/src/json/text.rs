//! Strings: where they end, what they mean, and how a text is spelt in one.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x16};

use crate::layer::Decoded;

/// What may follow a backslash, but for `u`.
pub(super) fn is_short_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')
}

/// The first byte from `from` on that is a quote, a backslash or a control character.
#[inline]
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    let mut i = from;
    while let Some(lane) = bytes.get(i..).and_then(<[u8]>::first_chunk::<16>) {
        let ends = dispatch!(Level::baseline(), simd => ends(simd, lane));
        if ends != 0 {
            return i + ends.trailing_zeros() as usize;
        }
        i += 16;
    }
    while bytes.get(i).is_some_and(|b| *b != b'"' && *b != b'\\' && *b >= 0x20) {
        i += 1;
    }
    i
}

#[inline(always)]
fn ends<S: Simd>(simd: S, lane: &[u8; 16]) -> u64 {
    let lane = u8x16::simd_from(simd, *lane);
    (lane.simd_eq(b'"') | lane.simd_eq(b'\\') | lane.simd_lt(0x20)).to_bitmask()
}

pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, d| Some(n << 4 | char::from(*d).to_digit(16)?))
}

/// What a string means, from its spelling between the quotes, which the tape has checked. Half a surrogate pair, which has no meaning, is U+FFFD.
pub(crate) fn unescape(raw: &str) -> Decoded<'_> {
    let bytes = raw.as_bytes();
    let Some(first) = memchr::memchr(b'\\', bytes) else { return Decoded::plain(raw) };
    let mut out = Decoded::with_capacity(raw.len());
    let mut plain = 0;
    let mut next = Some(first);
    while let Some(at) = next {
        out.push_str(raw.get(plain..at).unwrap_or_default(), plain);
        let (char, len) = escaped(bytes, at);
        out.push(char, at);
        plain = at + len;
        next = bytes.get(plain..).and_then(|rest| memchr::memchr(b'\\', rest)).map(|found| plain + found);
    }
    out.push_str(raw.get(plain..).unwrap_or_default(), plain);
    out.end(raw.len());
    out
}

/// The character of the escape at `at`, and how long its spelling is.
fn escaped(bytes: &[u8], at: usize) -> (char, usize) {
    let short = match bytes.get(at + 1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = hex4(bytes, at + 2).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&first)
                && bytes.get(at + 6..at + 8) == Some(b"\\u")
                && let Some(second @ 0xDC00..=0xDFFF) = hex4(bytes, at + 8)
            {
                let pair = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return (char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
            }
            return (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
        }
        Some(other) => char::from(*other),
        None => char::REPLACEMENT_CHARACTER,
    };
    (short, 2)
}

/// Spells a text as the inside of a JSON string, with no more escapes than needed.
pub(crate) fn escape_into(text: &str, out: &mut String) {
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
}
