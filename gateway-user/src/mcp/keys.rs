//! Keys that stand twice, exactly or nearly.
//!
//! The keys of all open objects lie in one vector, innermost last, each with a 64-bit tag that is equal for
//! equal keys. Few keys are compared tag by tag; many are sorted, so that no choice of keys costs more than
//! `n log n` comparisons: there is no hash to flood. Nothing is allocated but that vector.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::text::Text;

/// Up to here, all pairs of tags are compared.
const FEW: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Key {
    tag: u64,
    text: Text,
}

#[derive(Debug)]
pub(super) struct Keys {
    open: Vec<Key>,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { open: Vec::with_capacity(2 * FEW) }
    }

    /// How many keys the objects that are open now have: given back to [`Keys::close`].
    pub(super) fn mark(&self) -> usize {
        self.open.len()
    }

    #[inline]
    pub(super) fn add(&mut self, input: &str, text: Text) {
        let tag = if text.escaped() {
            let key = text.decode(input);
            tag(key.as_bytes(), 0, key.len())
        } else {
            tag(input.as_bytes(), text.start, text.end())
        };
        self.open.push(Key { tag, text });
    }

    /// Forgets the keys since `mark`, and returns two of them that are the same, or that only differ in case
    /// when `folded`.
    pub(super) fn close(&mut self, input: &str, mark: usize, folded: bool) -> Option<(Text, Text)> {
        let keys = self.open.get_mut(mark..).unwrap_or_default();
        let twice = match keys.len() {
            0 | 1 => None,
            n if folded && (n > FEW || keys.iter().any(|k| is_odd(input, k.text))) => folded_twins(input, keys),
            n if n <= FEW => few_twins(input, keys, folded),
            _ => {
                keys.sort_unstable_by(|a, b| a.tag.cmp(&b.tag).then_with(|| compare(input, a.text, b.text)));
                let same = |w: &&[Key]| w[0].tag == w[1].tag && compare(input, w[0].text, w[1].text).is_eq();
                keys.windows(2).find(same).map(|w| (w[0].text, w[1].text))
            }
        };
        self.open.truncate(mark);
        twice
    }
}

fn few_twins(input: &str, keys: &[Key], folded: bool) -> Option<(Text, Text)> {
    for (i, later) in keys.iter().enumerate() {
        for earlier in &keys[..i] {
            if earlier.tag != later.tag {
                continue;
            }
            let same = if folded {
                earlier.text.decode(input).eq_ignore_ascii_case(&later.text.decode(input))
            } else {
                compare(input, earlier.text, later.text).is_eq()
            };
            if same {
                return Some((earlier.text, later.text));
            }
        }
    }
    None
}

fn folded_twins(input: &str, keys: &[Key]) -> Option<(Text, Text)> {
    let mut folded: Vec<(String, Text)> = keys.iter().map(|k| (fold(&k.text.decode(input)), k.text)).collect();
    folded.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    folded.windows(2).find(|w| w[0].0 == w[1].0).map(|w| (w[0].1, w[1].1))
}

fn compare(input: &str, a: Text, b: Text) -> Ordering {
    if a.escaped() || b.escaped() { a.decode(input).cmp(&b.decode(input)) } else { a.raw(input).cmp(b.raw(input)) }
}

/// Whether ASCII case is not all that may vary in the key. Without an escape there is no NUL: JSON has no raw
/// control characters in strings.
fn is_odd(input: &str, text: Text) -> bool {
    if text.escaped() { is_odd_key(&text.decode(input)) } else { !text.raw(input).is_ascii() }
}

fn is_odd_key(key: &str) -> bool {
    !key.is_ascii() || memchr::memchr(0, key.as_bytes()).is_some()
}

/// Of the key at `start..end`: equal for keys that are equal but for ASCII case, different for most others.
/// Reads the first and last eight bytes, so that a long key costs no more than a short one.
#[inline]
fn tag(bytes: &[u8], start: usize, end: usize) -> u64 {
    const CASE: u64 = 0x2020_2020_2020_2020;
    let len = end - start;
    // What follows a short key is read with it and masked out: it is the rest of the input.
    let first = match bytes.get(start..).and_then(<[u8]>::first_chunk::<8>) {
        Some(first) => u64::from_le_bytes(*first),
        None => bytes[start..].iter().rev().fold(0, |word, b| word << 8 | u64::from(*b)),
    };
    let (first, last) = match bytes.get(..end).and_then(<[u8]>::last_chunk::<8>) {
        Some(last) if len > 8 => (first, u64::from_le_bytes(*last)),
        _ if len >= 8 => (first, 0),
        _ => (first & !(u64::MAX << (8 * len)), 0),
    };
    let length = u64::try_from(len).unwrap_or(u64::MAX);
    ((first | CASE) ^ (last | CASE).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ length
}

/// One spelling for all keys that some parser takes for the same: simple Unicode case folding (as Go's
/// `encoding/json`), the Turkish i's (as Java's `equalsIgnoreCase`), and no NULs at the end (as C strings).
pub(super) fn fold(key: &str) -> String {
    key.trim_end_matches('\0').chars().map(fold_char).collect()
}

fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    if c == '\u{130}' {
        return 'i';
    }
    let upper = only(c.to_uppercase()).unwrap_or(c);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// The key of `control` that `key` is nearly, but not exactly, if any.
pub(super) fn variant_of<'c>(key: &str, control: &[&'c str]) -> Option<&'c str> {
    let spelling: Cow<'_, str> = if is_odd_key(key) { fold(key).into() } else { key.into() };
    control.iter().find(|c| **c != key && c.eq_ignore_ascii_case(&spelling)).copied()
}
