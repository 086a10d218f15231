//! Strings of the input: where they end, and what they mean.

use std::borrow::Cow;

use crate::wire::set_of;

/// A string of the input, without its quotes.
///
/// Two words without padding: a `bool` beside them made copies stall on the padding, a third of the scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    pub(super) start: usize,
    /// Twice the end, and one more if there are escapes.
    end_and_escaped: usize,
}

impl Text {
    pub(super) fn new(start: usize, end: usize, escaped: bool) -> Self {
        Self { start, end_and_escaped: end << 1 | usize::from(escaped) }
    }

    pub(super) fn end(self) -> usize {
        self.end_and_escaped >> 1
    }

    /// Whether there is an escape in it.
    pub(super) fn escaped(self) -> bool {
        self.end_and_escaped & 1 == 1
    }

    /// As spelt.
    pub(super) fn raw(self, input: &str) -> &str {
        input.get(self.start..self.end()).unwrap_or_default()
    }

    /// As meant: escapes decoded. Allocates only if there are any.
    pub(super) fn decode(self, input: &str) -> Cow<'_, str> {
        let raw = self.raw(input);
        if self.escaped() { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }
}

/// A key for people: escaped, and cut when long.
pub(super) fn shown(key: &str) -> String {
    let mut shown = String::from("`");
    for c in key.chars().take(64) {
        shown.extend(c.escape_default());
    }
    shown.push_str(if key.chars().nth(64).is_some() { "…`" } else { "`" });
    shown
}

/// What may follow a backslash, but for `u`.
pub(super) const SIMPLE_ESCAPE: [bool; 256] = set_of(b"\"\\/bfnrt");

/// The first byte from `from` on that is a quote, a backslash or a control character.
#[inline]
pub(super) fn end_of_plain(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut i = from;
    let mut short = 3;
    while let Some(chunk) = bytes.get(i..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5C);
        // The lowest marked byte is exact; a borrow can only mark bytes above it.
        let found =
            (quote.wrapping_sub(ONES) & !quote | backslash.wrapping_sub(ONES) & !backslash | word.wrapping_sub(ONES * 0x20) & !word) & HIGH;
        if found != 0 {
            let byte = usize::try_from(found.trailing_zeros() / 8).unwrap_or(0);
            return i + byte;
        }
        i += 8;
        if short == 0 {
            break;
        }
        short -= 1;
    }
    // Long strings: 32 bytes at once, in a form that compiles to vector instructions.
    while let Some(chunk) = bytes.get(i..).and_then(<[u8]>::first_chunk::<32>) {
        let special = chunk.iter().fold(false, |any, b| any | (*b == b'"') | (*b == b'\\') | (*b < 0x20));
        if special {
            break;
        }
        i += 32;
    }
    while bytes.get(i).is_some_and(|b| *b != b'"' && *b != b'\\' && *b >= 0x20) {
        i += 1;
    }
    i
}

pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, d| Some(n << 4 | char::from(*d).to_digit(16)?))
}

/// Decodes a string whose escapes were checked before.
fn unescape(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = String::with_capacity(raw.len());
    let mut plain = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[plain..]) {
        let at = plain + found;
        out.push_str(&raw[plain..at]);
        plain = at + 2;
        out.push(match bytes.get(at + 1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = hex4(bytes, at + 2).unwrap_or(0);
                plain = at + 6;
                if (0xD800..0xDC00).contains(&first) {
                    let second = hex4(bytes, at + 8).unwrap_or(0);
                    plain = at + 12;
                    let pair = 0x10000 + ((first - 0xD800) << 10) + (second & 0x3FF);
                    char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
                } else {
                    char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            }
            Some(other) => char::from(*other),
            None => break,
        });
    }
    out.push_str(raw.get(plain..).unwrap_or_default());
    out
}
