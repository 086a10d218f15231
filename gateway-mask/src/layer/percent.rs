//! Percent-encoded text (RFC 3986 section 2.1).

use super::Decoded;

/// Decodes `%XX` and, in the values of queries, `+`. Escapes that are not those of UTF-8 stay as they are.
pub(crate) fn decode(raw: &str, plus: bool) -> Decoded<'_> {
    let bytes = raw.as_bytes();
    if !bytes.iter().any(|byte| *byte == b'%' || (plus && *byte == b'+')) {
        return Decoded::plain(raw);
    }
    let mut out = Decoded::with_capacity(raw.len());
    let mut at = 0;
    let mut plain = 0;
    while at < bytes.len() {
        let decoded = match bytes[at] {
            b'+' if plus => Some((' ', 1)),
            b'%' => char_at(bytes, at),
            _ => None,
        };
        let Some((char, len)) = decoded else {
            at += 1;
            continue;
        };
        out.push_str(raw.get(plain..at).unwrap_or_default(), plain);
        out.push(char, at);
        at += len;
        plain = at;
    }
    out.push_str(raw.get(plain..).unwrap_or_default(), plain);
    out.end(raw.len());
    out
}

/// The character that the escapes at `at` spell, and how long they are.
pub(crate) fn char_at(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let mut utf8 = [0; 4];
    let mut len = 0;
    while len < 4 {
        let place = at + 3 * len;
        let (high, low) = match bytes.get(place..place + 3) {
            Some([b'%', high, low]) => (char::from(*high).to_digit(16)?, char::from(*low).to_digit(16)?),
            _ => return None,
        };
        utf8[len] = u8::try_from(high << 4 | low).ok()?;
        len += 1;
        match std::str::from_utf8(utf8.get(..len)?) {
            Ok(text) => return text.chars().next().map(|char| (char, 3 * len)),
            Err(error) if error.error_len().is_none() => {}
            Err(_) => return None,
        }
    }
    None
}

/// Whether an escape begins here.
pub(crate) fn is_escape(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at..at + 3), Some([b'%', high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// Spells a text so that it stands for itself in any part of a URL.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
