//! The pass that every byte pays: where something might stand, told by the shape of the bytes alone.
//!
//! Sixty-four bytes become masks of classes; shapes are shifts of masks. A cue stands at the last byte of its shape, and each block begins with
//! the last bytes of the one before: so a shape over the edge of two blocks is seen in the second, and almost nothing is carried over.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};

use super::words::Words;

/// What a place looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cue {
    /// Seven digits, each with at most one separator after it.
    Number,
    /// A word ends before here (or goes on with a capital), and its last three letters may be those of a telling one.
    Word,
    /// A word begins with two, four or six letters, then two digits.
    LettersDigits,
    /// Colons close to each other.
    Colons,
    /// Dashes or dots where those of a MAC address stand.
    Mac,
    /// An `@`.
    At,
    /// A digit after a `+`.
    Plus,
    /// A `%`, or the letter of an escape that may hide others.
    Escape,
    /// The fifteenth of a run of letters of base64.
    Run,
}

const BLOCK: usize = 64;
/// Bytes of a block that were looked at with the one before: as far as a shape reaches back.
const AGAIN: usize = 9;
/// The others.
const NEW: u64 = u64::MAX << AGAIN;

/// Which of the bytes are of a class.
struct Classes {
    digit: u64,
    letter: u64,
    high: u64,
    capital: u64,
    colon: u64,
    dash: u64,
    dot: u64,
    plus: u64,
    at: u64,
    backslash: u64,
    percent: u64,
    u: u64,
    low: u64,
    space: u64,
    slash: u64,
}

impl Classes {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Classes {
        let block = u8x64::simd_from(simd, *block);
        let is = |byte: u8| block.simd_eq(byte).to_bitmask();
        let within = |block: u8x64<S>, from: u8, many: u8| (block - from).simd_le(many - 1).to_bitmask();
        Classes {
            digit: within(block, b'0', 10),
            letter: within(block | 0x20, b'a', 26),
            high: block.simd_ge(0x80).to_bitmask(),
            capital: within(block, b'A', 26),
            colon: is(b':'),
            dash: is(b'-'),
            dot: is(b'.'),
            plus: is(b'+'),
            at: is(b'@'),
            backslash: is(b'\\'),
            percent: is(b'%'),
            u: is(b'u'),
            low: is(b'_'),
            space: is(b' '),
            slash: is(b'/'),
        }
    }
}

/// The pass, with the widest vectors that this processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scan {
    level: Level,
}

impl Scan {
    pub(super) fn new() -> Scan {
        Scan { level: Level::new() }
    }

    /// Hands over the cues of a text: block by block ascending, those of a block by what they are. `ENCODINGS`: also those of encoded text.
    ///
    /// After the text is something that is of no class, so that a word at its end ends too.
    #[inline]
    pub(super) fn each<const ENCODINGS: bool>(self, bytes: &[u8], words: &Words, mut found: impl FnMut(Cue, usize)) {
        dispatch!(self.level, simd => scan::<_, ENCODINGS>(simd, bytes, words, &mut found));
    }
}

// Inlined always, into what is compiled for the level: a call would hand vectors over in memory.
#[inline(always)]
fn scan<S: Simd, const ENCODINGS: bool>(simd: S, bytes: &[u8], words: &Words, found: &mut impl FnMut(Cue, usize)) {
    // Shapes that reach further back than a block does: colons near others, eight letters of base64.
    let (mut colons_before, mut eight_before) = (0, 0);
    let mut from = 0;
    while from <= bytes.len() {
        let block = block(bytes, from);
        let Classes { digit, letter: ascii, high, capital, colon, dash, dot, plus, at, backslash, percent, u, low, space, slash } =
            Classes::of(simd, &block);
        let letter = ascii | high;
        let word = digit | ascii | low;
        let parted = letter | low | space | dash | dot;
        let separator = space | slash | dash | dot;

        // Runs of digits with single separators: one byte, then two, four, seven of them in a row.
        let one = digit | separator & digit << 1;
        let two = one & one << 1;
        let four = two & two << 2;
        let seven = four & four << 3;
        // One colon is nothing rare, two this close to each other are.
        let near = |mask: u64| (1..6).fold(0, |near, by| near | mask << by);
        let colons = colon & near(colon) | colons_before;
        let third = if colons == 0 { 0 } else { near(colons) };
        colons_before = colons >> (BLOCK - AGAIN);
        // Two, four or six letters that begin a word: of an IBAN, a CURP and a codice fiscale, each with two digits behind.
        let begun = |by: u32| !(word << by) | backslash << (by + 1);
        let two_letters = ascii & ascii << 1;
        let four_letters = two_letters & two_letters << 2;
        let six_letters = four_letters & two_letters << 4;
        let letters = two_letters & begun(2) | four_letters & begun(4) | six_letters & begun(6);
        // Before the end of a word: three letters, or two after a separator.
        let ends = letter << 1 & letter << 2 & parted << 3 & (!letter | (letter & !capital) << 1 & capital);
        let mut cues = [
            (Cue::Number, seven & !(seven << 1)),
            (Cue::Word, telling(&block, words, ends & NEW)),
            (Cue::LettersDigits, letters << 2 & digit << 1 & digit),
            (Cue::Colons, colon & (colon << 1 | third)),
            (Cue::Mac, dash & dash << 3 & dash << 6 | dot & dot << 5),
            (Cue::At, at),
            (Cue::Plus, digit & plus << 1),
            (Cue::Escape, 0),
            (Cue::Run, 0),
        ];
        if ENCODINGS {
            let base64 = ascii | digit | plus | slash | dash | low;
            let two = base64 & base64 << 1;
            let four = two & two << 2;
            let eight = four & four << 4 & NEW | eight_before;
            let fifteen = eight & eight << 7;
            eight_before = eight >> (BLOCK - AGAIN);
            cues[7].1 = percent | backslash << 1 & (u | slash);
            cues[8].1 = fifteen & !(fifteen << 1);
        }
        if cues.iter().fold(0, |any, (_, mask)| any | mask) & NEW != 0 {
            for &(cue, mask) in &cues {
                let mut mask = mask & NEW;
                while mask != 0 {
                    found(cue, from + mask.trailing_zeros() as usize - AGAIN);
                    mask &= mask - 1;
                }
            }
        }
        from += BLOCK - AGAIN;
    }
}

/// The bytes from `from` on, after the last ones before it; zeros where there are none.
#[inline(always)]
fn block(bytes: &[u8], from: usize) -> [u8; BLOCK] {
    if let Some(block) = from.checked_sub(AGAIN).and_then(|start| bytes.get(start..)?.first_chunk::<BLOCK>()) {
        return *block;
    }
    let mut block = [0; BLOCK];
    let start = from.saturating_sub(AGAIN);
    let rest = bytes[start..].iter();
    block[AGAIN + start - from..].iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    block
}

/// Of the ends of words, those whose last three letters may be those of a telling one.
#[inline(always)]
fn telling(block: &[u8; BLOCK], words: &Words, mut ends: u64) -> u64 {
    let mut telling = 0;
    while ends != 0 {
        let bit = ends.trailing_zeros();
        ends &= ends - 1;
        let last = block.get(bit as usize - 4..bit as usize).and_then(<[u8]>::first_chunk::<4>);
        telling |= u64::from(last.is_some_and(|last| words.may_be(u32::from_le_bytes(*last)))) << bit;
    }
    telling
}
