//! Bytes that others sent, inside a record: exact where possible, and always safe to read.
//!
//! A payload is written as one of
//!
//! ```json
//! {"json":{"any":"value"},"size":15,"sha256":"…"}
//! {"text":"not JSON","size":8,"sha256":"…"}
//! {"base64":"AP8=","size":2,"sha256":"…"}
//! {"text":"{\"cut\":\"he","truncated":true,"size":4096,"sha256":"…"}
//! {"json":{"ssn":"[masked: us-ssn]"},"size":21,"hmac_sha256":"…"}
//! {"withheld":"why","size":21,"hmac_sha256":"…"}
//! ```
//!
//! `size` and `sha256` are always those of the bytes as they were received, all of them. Where something is masked, that hash would let
//! short values be guessed: instead stands its MAC under a key that only the gateway has.

use std::borrow::Cow;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::entry::Sha256;

/// JSON nested deeper than this is kept as text: common readers give up at 128 levels, and a
/// record adds some of its own.
pub const MAX_DEPTH: usize = 100;

/// SHA-256 over bytes that arrive in pieces.
#[derive(Clone)]
pub struct Digest {
    context: Context,
    size: u64,
}

impl Digest {
    /// Of nothing, yet.
    #[must_use]
    pub fn new() -> Digest {
        Digest { context: Context::new(&SHA256), size: 0 }
    }

    /// Of these bytes, whole.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Sha256 {
        to_array(digest(&SHA256, bytes).as_ref())
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.context.update(piece);
        self.size += piece.len() as u64;
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        to_array(self.context.finish().as_ref())
    }
}

impl std::io::Write for Digest {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

fn to_array(bytes: &[u8]) -> Sha256 {
    let mut out = Sha256::ZERO;
    for (to, from) in out.0.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// Bytes as received, ready to stand in a record's body (see the module's page).
pub struct Payload<'a> {
    kept: Cow<'a, [u8]>,
    /// More than is kept was received.
    truncated: bool,
    size: u64,
    sha256: Sha256,
    /// In place of the hash.
    mac: Option<Sha256>,
    /// Why nothing is kept.
    withheld: Option<String>,
    strict: bool,
}

impl<'a> Payload<'a> {
    /// Of a whole body; no more than `max_body` bytes of it are kept.
    #[must_use]
    pub fn new(bytes: &'a [u8], max_body: usize) -> Payload<'a> {
        let mut digest = Digest::new();
        digest.update(bytes);
        Payload::from_parts(bytes, digest, max_body)
    }

    /// As [`Payload::new`], of a body that [`crate::mcp::read`] has accepted, with a limit of [`MAX_DEPTH`] levels at most: it need not be
    /// read once more.
    #[must_use]
    pub fn of_message(bytes: &'a [u8], max_body: usize) -> Payload<'a> {
        Payload { strict: true, ..Payload::new(bytes, max_body) }
    }

    /// Of a body that went by in pieces: its first bytes, and the digest of all of it.
    #[must_use]
    pub fn from_parts(first: &'a [u8], digest: Digest, max_body: usize) -> Payload<'a> {
        let kept = &first[..first.len().min(max_body)];
        let size = digest.size();
        Payload {
            kept: kept.into(),
            truncated: size > kept.len() as u64,
            size,
            sha256: digest.finish(),
            mac: None,
            withheld: None,
            strict: false,
        }
    }

    /// With this in place of what was received. `mac` is over the hash of that: see [`Payload::sha256`].
    #[must_use]
    pub fn masked(self, mut shown: Vec<u8>, max_body: usize, mac: Sha256) -> Payload<'a> {
        let truncated = self.truncated || shown.len() > max_body;
        shown.truncate(max_body);
        Payload { kept: shown.into(), truncated, mac: Some(mac), ..self }
    }

    /// With nothing in place of what was received, because of this.
    #[must_use]
    pub fn withheld(self, why: String, mac: Sha256) -> Payload<'a> {
        Payload { kept: Cow::Borrowed(&[]), mac: Some(mac), withheld: Some(why), ..self }
    }
}

impl Payload<'_> {
    /// Bytes that were received.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    /// Of what was received, all of it.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// No fewer bytes than it takes, but for text that must be escaped.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        const AROUND: usize = 160;
        self.kept.len() + AROUND
    }

    /// Appends it, as a JSON object. Bytes that are JSON already are copied as they lie.
    pub fn write(&self, out: &mut Vec<u8>) {
        match read(&self.kept, self.truncated, self.strict) {
            _ if self.withheld.is_some() => {
                out.extend_from_slice(br#"{"withheld":"#);
                string(self.withheld.as_deref().unwrap_or_default(), out);
            }
            Kept::Json(json) => {
                out.extend_from_slice(br#"{"json":"#);
                let start = out.len();
                out.extend_from_slice(json.as_bytes());
                // Raw line ends cannot stand inside a JSON string: what is valid as it came has them as white space between tokens only.
                if memchr::memchr2(b'\r', b'\n', json.as_bytes()).is_some() {
                    out[start..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
                }
            }
            Kept::Text(text) => {
                out.extend_from_slice(br#"{"text":"#);
                string(text, out);
            }
            Kept::Binary(bytes) => {
                out.extend_from_slice(br#"{"base64":""#);
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
        }
        if self.truncated && self.withheld.is_none() {
            out.extend_from_slice(br#","truncated":true"#);
        }
        out.extend_from_slice(br#","size":"#);
        out.extend_from_slice(itoa::Buffer::new().format(self.size).as_bytes());
        let (name, hash) = match &self.mac {
            None => (&br#","sha256":""#[..], &self.sha256),
            Some(mac) => (&br#","hmac_sha256":""#[..], mac),
        };
        out.extend_from_slice(name);
        out.extend_from_slice(&hash.hex());
        out.extend_from_slice(br#""}"#);
    }
}

/// A JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    // Writing text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

enum Kept<'a> {
    Json(&'a str),
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Embedded is what every reader of the record can read. Half a surrogate pair and a number beyond a double are JSON by its grammar,
/// and not to many readers.
fn read(bytes: &[u8], truncated: bool, strict: bool) -> Kept<'_> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // An unfinished character at the cut belongs to what was left out.
        Err(error) if truncated && error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        Err(_) => return Kept::Binary(bytes),
    };
    if truncated || !strict && (too_deep(bytes) || serde_json::from_str::<Value>(text).is_err()) {
        return Kept::Text(text);
    }
    Kept::Json(text.trim_matches([' ', '\t', '\r', '\n']))
}

fn too_deep(json: &[u8]) -> bool {
    if memchr::memchr2_iter(b'{', b'[', json).nth(MAX_DEPTH).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(bytes: &[u8], max_body: usize) -> String {
        shown(&Payload::new(bytes, max_body))
    }

    fn shown(payload: &Payload<'_>) -> String {
        let mut out = Vec::new();
        payload.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_embedded_as_it_was_spelled() {
        let shown = show(b"{\"n\":9007199254740993.10,\r\n \"a\":1, \"a\":2,\"s\":\"\\u0041\"}", 1024);
        assert!(shown.starts_with(r#"{"json":{"n":9007199254740993.10,   "a":1, "a":2,"s":"\u0041"},"size":54,"#), "{shown}");
        assert!(!shown.contains('\n'));
    }

    #[test]
    fn what_is_not_json_is_text_or_base64() {
        assert!(show(b"a\nb\x1b[31m", 99).starts_with(r#"{"text":"a\nb\u001b[31m","size":8,"#));
        assert!(show(&[0, 255], 99).starts_with(r#"{"base64":"AP8=","size":2,"#));
        assert!(show(b"", 99).starts_with(r#"{"text":"","size":0,"#));
    }

    #[test]
    fn long_bodies_are_cut_between_characters_and_keep_their_hash() {
        let body = "ää".as_bytes();
        let shown = show(body, 3);
        assert_eq!(shown, format!(r#"{{"text":"ä","truncated":true,"size":4,"sha256":"{}"}}"#, Digest::of(body)));
    }

    #[test]
    fn what_is_masked_has_no_plain_hash() {
        let body = br#"{"ssn":"078-05-1120"}"#;
        let masked = |max| shown(&Payload::of_message(body, max).masked(br#"{"ssn":"[masked]"}"#.to_vec(), max, Sha256([7; 32])));
        assert_eq!(masked(1024), format!(r#"{{"json":{{"ssn":"[masked]"}},"size":21,"hmac_sha256":"{}"}}"#, Sha256([7; 32])));
        assert!(masked(6).starts_with(r#"{"text":"{\"ssn\"","truncated":true,"size":21,"hmac_sha256":"#), "{}", masked(6));
        let withheld = shown(&Payload::new(body, 1024).withheld("it was too deep".into(), Sha256([7; 32])));
        assert_eq!(withheld, format!(r#"{{"withheld":"it was too deep","size":21,"hmac_sha256":"{}"}}"#, Sha256([7; 32])));
    }

    #[test]
    fn nesting_beyond_what_readers_take_is_text() {
        let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
        assert!(show(deep.as_bytes(), 4096).starts_with(r#"{"text":"[[["#));
        let flat = format!("[{}]", vec!["[\"[\"]"; 500].join(","));
        assert!(show(flat.as_bytes(), 1 << 20).starts_with(r#"{"json":[["["]"#));
    }

    #[test]
    fn what_only_some_can_read_is_text() {
        for body in [r#"{"x":"\ud800"}"#, r#"{"\udc00":1}"#, r#"{"x":1e999}"#] {
            let shown = show(body.as_bytes(), 1024);
            assert!(shown.starts_with(r#"{"text":"{"#), "{shown}");
            let value: Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(value["text"], body);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_one_line_of_json_with_the_hash_of_all(bytes in prop::collection::vec(any::<u8>(), 0..300), max in 0_usize..320, split in 0_usize..300) {
            let mut digest = Digest::new();
            let (a, b) = bytes.split_at(split.min(bytes.len()));
            digest.update(a);
            digest.update(b);
            let whole = show(&bytes, max);
            prop_assert_eq!(&whole, &shown(&Payload::from_parts(&bytes, digest, max)));
            prop_assert!(!whole.contains(['\n', '\r']));
            let value: Value = serde_json::from_str(&whole).unwrap();
            prop_assert_eq!(value["sha256"].as_str().unwrap(), Digest::of(&bytes).to_string());
            prop_assert_eq!(value["size"].as_u64().unwrap(), bytes.len() as u64);
        }
    }
}
