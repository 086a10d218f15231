//! Addresses of networks.

use std::net::Ipv6Addr;

use super::words::is_escape;

/// Words before four numbers that make them a version.
const VERSIONS: &[&str] = &["version", "ver.", "ver ", "ver:", "firmware", "release", "build", "driver", "revision", "chrome", "assembly"];
/// How far before it such a word may stand, in bytes.
const BEFORE: usize = 24;

/// Whether these four groups, with dots between, are an IPv4 address: no part of a longer version, path or name.
pub(super) fn is_v4(bytes: &[u8], groups: [(usize, usize); 4]) -> bool {
    let is_octet = |&(start, end): &(usize, usize)| {
        let digits = &bytes[start..end];
        let value = digits.iter().take(3).fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
        digits.len() <= 3 && value <= 255 && (digits[0] != b'0' || digits.len() == 1)
    };
    if !groups.iter().all(is_octet) || !groups.windows(2).all(|pair| bytes[pair[0].1] == b'.') {
        return false;
    }
    let (start, end) = (groups[0].0, groups[3].1);
    let before = match bytes[..start] {
        [] => true,
        [.., byte] if byte.is_ascii_alphanumeric() || byte == b'_' => is_escape(bytes, start),
        [.., byte, b'.' | b'/'] => !byte.is_ascii_alphanumeric(),
        [.., byte, b'-'] => !byte.is_ascii_alphabetic(),
        _ => true,
    };
    let after = match bytes[end..] {
        [byte, ..] if byte.is_ascii_alphanumeric() || byte == b'_' => false,
        [b'.', byte, ..] => !byte.is_ascii_alphanumeric(),
        [b'-', byte, ..] => !byte.is_ascii_alphabetic(),
        _ => true,
    };
    before && after && bytes[start] != b'0'
}

/// Whether a word shortly before, or in the name, makes four numbers a version.
pub(super) fn is_version(text: &str, start: usize, name: Option<&str>) -> bool {
    let before = &text.as_bytes()[start.saturating_sub(BEFORE)..start];
    let tells = |text: &[u8]| VERSIONS.iter().any(|word| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())));
    tells(before) || name.is_some_and(|name| tells(name.as_bytes()))
}

/// The longest row of such bytes around `at`, and where it is; none, if it is part of a word.
fn token(bytes: &[u8], at: usize, most: usize, is: impl Fn(u8) -> bool) -> Option<(usize, usize)> {
    let mut start = at;
    while start > 0 && at - start <= most && is(bytes[start - 1]) {
        start -= 1;
    }
    // `\b` and `\f` in JSON: the letter is none of the address.
    if is_escape(bytes, start + 1) {
        start += 1;
    }
    let mut end = at;
    while end < bytes.len() && end - at <= most && is(bytes[end]) {
        end += 1;
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let part = (start > 0 && is_word(bytes[start - 1]) && !is_escape(bytes, start)) || bytes.get(end).is_some_and(|&byte| is_word(byte));
    (start <= at && at < end && !part && end - start <= most).then_some((start, end))
}

/// The IPv6 address around this colon.
pub(super) fn v6(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut start, mut end) = token(bytes, at, 48, |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')?;
    if bytes[start] == b':' && bytes.get(start + 1) != Some(&b':') {
        start += 1;
    }
    while matches!(bytes[start..end], [.., b'.']) || matches!(bytes[start..end], [.., before, b':'] if before != b':') {
        end -= 1;
    }
    let text = str::from_utf8(&bytes[start..end]).ok()?;
    // `a::b` is a path in several languages.
    (text.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<Ipv6Addr>().is_ok()).then_some((start, end))
}

/// The MAC address around this separator: six pairs, or three groups of four with dots.
pub(super) fn mac(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let separator = *bytes.get(at)?;
    let (start, end) = token(bytes, at, 20, |byte| byte.is_ascii_hexdigit() || byte == separator)?;
    let (length, group) = if separator == b'.' { (14, 5) } else { (17, 3) };
    // The end of a sentence is none of it.
    let end = if bytes[..end].ends_with(&[separator]) { end - 1 } else { end };
    let token = bytes.get(start..end)?;
    let fits = token.iter().enumerate().all(|(at, &byte)| (byte == separator) == (at % group == group - 1));
    (token.len() == length && fits).then_some((start, end))
}
