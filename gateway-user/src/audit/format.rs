//! A line of the log: how it is spelled and how it is read back. `docs/audit-format.md` as code.
//!
//! ```text
//! {"head":{"v":1,"log":"…","seq":7,"at":"…","boot":"…","mono":N,"durable":7,"kind":"request","opens":true,"prev":"…","body_sha256":"…"},"body":{…},"leaf":"…"}
//! ```
//!
//! The evidence is the bytes: [`parse`] takes the head apart where it lies and hashes what is
//! there. There is one way to spell a head, so what is spelled otherwise was not written by us.

use std::{fmt, str};

use super::{
    entry::{Effect, Sha256},
    payload::Digest,
};

/// The version of the format that this code writes and reads.
pub const VERSION: u64 = 1;

/// More than any head and the fixed parts around it take, in bytes.
pub const HEAD_MAX: usize = 768;

const START: &[u8] = br#"{"head":"#;
const BODY: &[u8] = br#","body":"#;
const LEAF: &[u8] = br#","leaf":""#;
const END: &[u8] = br#""}"#;

/// Which log: 32 hexadecimal digits, chosen at random when the log is made.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LogId(String);

impl LogId {
    /// From random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> LogId {
        LogId(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads an id; `None` if it is not 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<LogId> {
        let good = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| LogId(text.to_owned()))
    }

    /// From a head's `log`, whose spelling [`parse`] has checked.
    pub(super) fn from_head(log: &str) -> LogId {
        LogId(log.to_owned())
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the log says about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Which log.
    pub log: &'a str,
    /// Number of the record: 0, 1, 2, …
    pub seq: u64,
    /// Wall clock when it was numbered: RFC 3339, nanoseconds, UTC. Records written in one go share it.
    pub at: &'a str,
    /// The kernel's boot id.
    pub boot: &'a str,
    /// `CLOCK_BOOTTIME` in nanoseconds, at the same moment as `at`.
    pub mono: u64,
    /// Every record with a lower seq than this was on disk when this one was written.
    pub durable: u64,
    /// [`super::Kind::name`].
    pub kind: &'a str,
    /// What it does to the calls in flight.
    pub effect: Effect,
    /// The leaf of the record before; zeros for the first.
    pub prev: Sha256,
    /// SHA-256 of the body's bytes.
    pub body_sha256: Sha256,
}

/// Leaf = SHA-256(0x00 ‖ bytes of the head's value).
#[must_use]
pub fn leaf(head: &[u8]) -> Sha256 {
    let mut digest = Digest::new();
    digest.update(&[0]);
    digest.update(head);
    digest.finish()
}

/// Appends the record's line, with its newline, to `out`; returns its leaf.
pub fn write_line(out: &mut Vec<u8>, head: &Head<'_>, body: &[u8]) -> Sha256 {
    let mut number = itoa::Buffer::new();
    out.reserve(HEAD_MAX + body.len());
    out.extend_from_slice(START);
    let head_start = out.len();
    out.extend_from_slice(br#"{"v":1,"log":""#);
    out.extend_from_slice(head.log.as_bytes());
    out.extend_from_slice(br#"","seq":"#);
    out.extend_from_slice(number.format(head.seq).as_bytes());
    out.extend_from_slice(br#","at":""#);
    out.extend_from_slice(head.at.as_bytes());
    out.extend_from_slice(br#"","boot":""#);
    out.extend_from_slice(head.boot.as_bytes());
    out.extend_from_slice(br#"","mono":"#);
    out.extend_from_slice(number.format(head.mono).as_bytes());
    out.extend_from_slice(br#","durable":"#);
    out.extend_from_slice(number.format(head.durable).as_bytes());
    out.extend_from_slice(br#","kind":""#);
    out.extend_from_slice(head.kind.as_bytes());
    match head.effect {
        Effect::None => out.extend_from_slice(br#"","#),
        Effect::Opens => out.extend_from_slice(br#"","opens":true,"#),
        Effect::Closes(seq) => {
            out.extend_from_slice(br#"","closes":"#);
            out.extend_from_slice(number.format(seq).as_bytes());
            out.push(b',');
        }
    }
    out.extend_from_slice(br#""prev":""#);
    out.extend_from_slice(&head.prev.hex());
    out.extend_from_slice(br#"","body_sha256":""#);
    out.extend_from_slice(&head.body_sha256.hex());
    out.extend_from_slice(br#""}"#);
    let leaf = leaf(&out[head_start..]);
    out.extend_from_slice(BODY);
    out.extend_from_slice(body);
    out.extend_from_slice(LEAF);
    out.extend_from_slice(&leaf.hex());
    out.extend_from_slice(END);
    out.push(b'\n');
    leaf
}

/// A whole line, checked in itself: its leaf is that of its head, its body that of `body_sha256`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The head, field by field.
    pub head: Head<'a>,
    /// Bytes of the head's value.
    pub head_bytes: &'a [u8],
    /// The body's bytes; `None` where it was left out (see [`without_body`]).
    pub body: Option<&'a [u8]>,
    /// The record's leaf.
    pub leaf: Sha256,
}

/// Why a line is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin and end as a record does: what a write that was cut short leaves.
    Fragment,
    /// It begins and ends as a record does, and is none: somebody or something changed it.
    Altered(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Fragment => f.write_str("not a whole record"),
            Fault::Altered(what) => f.write_str(what),
        }
    }
}

/// Reads one line, without its newline, and checks all that can be checked from the line alone.
///
/// # Errors
/// [`Fault`] if it is not a record exactly as [`write_line`] or [`without_body`] spells it.
pub fn parse(line: &[u8]) -> Result<Line<'_>, Fault> {
    let tail = LEAF.len() + 64 + END.len();
    let (rest, claimed) = line
        .split_at_checked(line.len().wrapping_sub(tail))
        .filter(|_| !line.contains(&0))
        .and_then(|(rest, end)| Some((rest, end.strip_prefix(LEAF)?.strip_suffix(END)?)))
        .ok_or(Fault::Fragment)?;
    let rest = rest.strip_prefix(START).ok_or(Fault::Fragment)?;
    let altered = |what: &str| Fault::Altered(what.to_owned());

    let mut at = Cursor { rest };
    let head = at.head().ok_or_else(|| match version(rest) {
        Some(v) if v != VERSION => Fault::Altered(format!("it is written in format version {v}, and this program reads version {VERSION}")),
        _ => altered("its head is not spelled as the gateway spells it"),
    })?;
    let head_bytes = &rest[..rest.len() - at.rest.len()];
    let leaf = leaf(head_bytes);
    if Sha256::from_hex(claimed) != Some(leaf) {
        return Err(altered("its head or its leaf was changed: they do not belong together"));
    }
    let body = match at.rest {
        [] => None,
        rest => Some(rest.strip_prefix(BODY).ok_or_else(|| altered("something stands between its head and its body"))?),
    };
    if body.is_some_and(|body| Digest::of(body) != head.body_sha256) {
        return Err(altered("its body was changed: it does not have the SHA-256 that its head names"));
    }
    Ok(Line { head, head_bytes, body, leaf })
}

/// The same record with its body left out: it still verifies, by its head.
#[must_use]
pub fn without_body(line: &Line<'_>) -> Vec<u8> {
    [START, line.head_bytes, LEAF, &line.leaf.hex(), END].concat()
}

fn version(head: &[u8]) -> Option<u64> {
    let mut at = Cursor { rest: head };
    at.literal(br#"{"v":"#)?;
    at.number()
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn head(&mut self) -> Option<Head<'a>> {
        self.literal(br#"{"v":1,"log":""#)?;
        let log = self.word(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))?;
        self.literal(br#"","seq":"#)?;
        let seq = self.number()?;
        self.literal(br#","at":""#)?;
        let at = self.word(|b| b.is_ascii_digit() || b"-:.TZ".contains(&b))?;
        self.literal(br#"","boot":""#)?;
        let boot = self.word(|b| b.is_ascii_hexdigit() || b == b'-')?;
        self.literal(br#"","mono":"#)?;
        let mono = self.number()?;
        self.literal(br#","durable":"#)?;
        let durable = self.number()?;
        self.literal(br#","kind":""#)?;
        let kind = self.word(|b| b.is_ascii_lowercase() || b == b'_')?;
        self.literal(br#"","#)?;
        let effect = if self.literal(br#""opens":true,"#).is_some() {
            Effect::Opens
        } else if self.literal(br#""closes":"#).is_some() {
            let seq = self.number()?;
            self.literal(b",")?;
            Effect::Closes(seq)
        } else {
            Effect::None
        };
        self.literal(br#""prev":""#)?;
        let prev = self.hash()?;
        self.literal(br#"","body_sha256":""#)?;
        let body_sha256 = self.hash()?;
        self.literal(br#""}"#)?;
        Some(Head { log, seq, at, boot, mono, durable, kind, effect, prev, body_sha256 })
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    fn word(&mut self, allowed: impl Fn(u8) -> bool) -> Option<&'a str> {
        let end = self.rest.iter().position(|b| !allowed(*b))?;
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        str::from_utf8(word).ok().filter(|word| !word.is_empty())
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.word(|b| b.is_ascii_digit())?;
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        digits.parse().ok()
    }

    fn hash(&mut self) -> Option<Sha256> {
        let (hex, rest) = self.rest.split_at_checked(64)?;
        self.rest = rest;
        Sha256::from_hex(hex)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(effect: Effect, body: &[u8]) -> Head<'static> {
        Head {
            log: "00112233445566778899aabbccddeeff",
            seq: 7,
            at: "2026-11-24T00:15:00.123456789Z",
            boot: "0d0c9a5e-5a5e-4f06-8d2a-0123456789ab",
            mono: 81_000_000_123,
            durable: 5,
            kind: "request",
            effect,
            prev: Sha256([9; 32]),
            body_sha256: Digest::of(body),
        }
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        for effect in [Effect::None, Effect::Opens, Effect::Closes(3)] {
            let body = br#"{"a":[1,{"b":"}"}],"leaf":"x"}"#;
            let mut out = Vec::new();
            let leaf = write_line(&mut out, &head(effect, body), body);
            let line = parse(out.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!(line.head, head(effect, body));
            assert_eq!((line.body, line.leaf), (Some(&body[..]), leaf));
            assert!(out.len() - body.len() < HEAD_MAX);

            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value["head"]["seq"], 7);
            let short = without_body(&line);
            let short = parse(&short).unwrap();
            assert_eq!((short.body, short.leaf), (None, leaf));
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut out = Vec::new();
        write_line(&mut out, &head(Effect::None, b"{}"), b"{}");
        let text = String::from_utf8(out).unwrap().replace(r#"{"v":1"#, r#"{"v":2"#);
        let fault = parse(text.trim_end().as_bytes()).unwrap_err();
        assert!(fault.to_string().contains("version 2"), "{fault}");
    }

    #[test]
    fn a_changed_line_is_altered_and_a_cut_one_a_fragment() {
        let mut out = Vec::new();
        write_line(&mut out, &head(Effect::Opens, b"{}"), b"{}");
        out.pop();
        for cut in 0..out.len() {
            assert_eq!(parse(&out[..cut]).unwrap_err(), Fault::Fragment);
        }
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut changed = out.clone();
                changed[at] ^= 1 << bit;
                assert!(parse(&changed).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_a_record(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&bytes).is_err());
        }
    }
}
