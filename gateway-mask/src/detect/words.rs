//! Words that tell what stands beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Wanted, phrases::PHRASES};
use crate::Kind;

/// How far before a value a word may stand that tells what it is, in bytes; and how far after.
const BEFORE: usize = 48;
const AFTER: usize = 24;
/// How far the name of a field counts as standing; and what no word tells of.
pub(super) const NAMED: usize = 128;
pub(super) const UNTOLD: usize = usize::MAX;

/// The telling words, by their last three letters.
pub(super) struct Words {
    /// One bit for each ending, and how many bits are set before each sixty-four of them.
    endings: Box<[u64; 512]>,
    before: Box<[u16; 512]>,
    /// One bit for each [`hash`] of an ending: what every word pays.
    hashes: Box<[u64; 512]>,
    /// The phrases with each ending that is set, in their order.
    phrases: Vec<Vec<(&'static str, Wanted)>>,
}

impl Words {
    pub(super) fn new() -> Words {
        let mut by_ending: BTreeMap<u16, Vec<(&'static str, Wanted)>> = BTreeMap::new();
        for (spelt, kinds) in PHRASES {
            for phrase in spelt.split('|') {
                // A last word of two letters: what is before it is part of the ending.
                let endings = [" ", "_", "-", ".", ""].map(|separator| phrase.replace(' ', separator));
                let endings: BTreeSet<u16> = endings.iter().filter_map(|spelt| ending(spelt.as_bytes(), spelt.len())).collect();
                endings.into_iter().for_each(|ending| by_ending.entry(ending).or_default().push((phrase, Wanted::kinds(kinds))));
            }
        }
        let (mut endings, mut before) = (Box::new([0; 512]), Box::new([0; 512]));
        for (many, &ending) in (1..).zip(by_ending.keys()) {
            endings[usize::from(ending / 64)] |= 1 << (ending % 64);
            before[usize::from(ending / 64) + 1..].fill(many);
        }
        let mut hashes = Box::new([0; 512]);
        for &ending in by_ending.keys() {
            let letter = |place: u32| u32::from(ending) >> (5 * place) & 0x1f;
            let hash = hash(letter(0) << 8 | letter(1) << 16 | letter(2) << 24);
            hashes[hash / 64] |= 1 << (hash % 64);
        }
        Words { endings, before, hashes, phrases: by_ending.into_values().collect() }
    }

    /// Whether the three bytes before here are an ending of a telling word.
    pub(super) fn may_end(&self, bytes: &[u8], at: usize) -> bool {
        ending(bytes, at).is_some_and(|ending| self.endings[usize::from(ending / 64) & 511] >> (ending % 64) & 1 != 0)
    }

    /// Whether the last three of four bytes may be an ending of a telling word. The first byte is the lowest.
    #[inline(always)]
    pub(super) fn may_be(&self, last: u32) -> bool {
        let hash = hash(last);
        (self.hashes[(hash / 64) & 511] >> (hash % 64)) & 1 != 0
    }

    /// What the word that ends here tells of.
    pub(super) fn ends(&self, bytes: &[u8], at: usize) -> Wanted {
        let Some(ending) = ending(bytes, at) else { return Wanted::NONE };
        let (at_bits, bit) = (usize::from(ending / 64) & 511, ending % 64);
        let bits = self.endings[at_bits];
        if bits >> bit & 1 == 0 {
            return Wanted::NONE;
        }
        let place = usize::from(self.before[at_bits]) + (bits & ((1 << bit) - 1)).count_ones() as usize;
        let phrases = self.phrases.get(place).into_iter().flatten();
        phrases.filter(|(phrase, _)| stands(bytes, at, phrase)).fold(Wanted::NONE, |told, (_, kinds)| told.union(*kinds))
    }

    /// What all the words that end in this part of a text tell of.
    pub(super) fn all(&self, bytes: &[u8], from: usize, to: usize) -> Wanted {
        (from + 1..=to.min(bytes.len()))
            .filter(|&at| self.may_end(bytes, at) && is_end(bytes, at))
            .fold(Wanted::NONE, |told, at| told.union(self.ends(bytes, at)))
    }

    /// What the last word of a name tells of, digits after it aside.
    pub(super) fn last(&self, name: &str) -> Wanted {
        let name = name.trim_end_matches(|char: char| !char.is_alphabetic());
        self.ends(name.as_bytes(), name.len())
    }

    /// How far the nearest word stands that tells of this kind: before the value on its line, or on the line before if the value begins its own;
    /// else after it.
    pub(super) fn near(&self, text: &str, start: usize, end: usize, kind: Kind) -> Option<usize> {
        let bytes = text.as_bytes();
        let line = memchr::memrchr(b'\n', &bytes[..start]).map_or(0, |at| at + 1);
        let is_first = !bytes[line..start].iter().any(|&byte| is_letter(byte));
        let from = start.saturating_sub(BEFORE).max(if is_first { 0 } else { line });
        let tells = |at: &usize| self.may_end(bytes, *at) && is_end(bytes, *at) && self.ends(bytes, *at).has(kind);
        let before = (from + 1..=start).rev().find(tells).map(|at| start - at);
        before.or_else(|| (end + 1..=(end + AFTER).min(bytes.len())).find(tells).map(|at| at - start.min(end) + BEFORE))
    }
}

/// Fifteen bits of the upper three of four letters, case aside: fewer steps than [`ending`], and now and then the same for two endings.
#[inline(always)]
fn hash(last: u32) -> usize {
    ((last & 0x1f1f_1f00).wrapping_mul(0x9E37_79B1) >> 17) as usize
}

/// The last three letters before here as a number, case aside.
fn ending(bytes: &[u8], at: usize) -> Option<u16> {
    // Four bytes are one load.
    let three = match at.checked_sub(4).and_then(|from| bytes.get(from..at)?.first_chunk::<4>()) {
        Some(four) => u32::from_le_bytes(*four) >> 8,
        None => {
            let &[a, b, c] = bytes.get(at.checked_sub(3)?..at)?.first_chunk::<3>()?;
            u32::from_le_bytes([a, b, c, 0])
        }
    };
    u16::try_from(three & 0x1f | three >> 3 & 0x3e0 | three >> 6 & 0x7c00).ok()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

/// Whether a word ends before here: as the pass over the bytes has it.
fn is_end(bytes: &[u8], at: usize) -> bool {
    let before = bytes[at - 1];
    is_letter(before) && bytes.get(at).is_none_or(|&byte| !is_letter(byte) || (byte.is_ascii_uppercase() && !before.is_ascii_uppercase()))
}

/// Whether the phrase ends here: in any case, its words with one separator or none between them, and not as the end of a longer word.
fn stands(bytes: &[u8], end: usize, phrase: &str) -> bool {
    let mut at = end;
    for &wanted in phrase.as_bytes().iter().rev() {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        match (wanted, before) {
            (b' ', Some(b' ' | b'_' | b'-' | b'.')) => at -= 1,
            (b' ', _) => {}
            (_, Some(byte)) if byte.eq_ignore_ascii_case(&wanted) => at -= 1,
            _ => return false,
        }
    }
    let first = bytes[at];
    match at.checked_sub(1).map(|before| bytes[before]) {
        None => true,
        // Scripts that write no spaces between words, or bend the beginnings of words.
        Some(_) if !first.is_ascii() => true,
        Some(before) if !is_letter(before) => true,
        Some(before) => (first.is_ascii_uppercase() && before.is_ascii_lowercase()) || is_escape(bytes, at),
    }
}

/// Whether the byte before here is the letter of an escape: `\n` as JSON has it.
pub(super) fn is_escape(bytes: &[u8], at: usize) -> bool {
    at >= 2 && bytes[at - 2] == b'\\' && matches!(bytes[at - 1], b'n' | b'r' | b't' | b'b' | b'f')
}
