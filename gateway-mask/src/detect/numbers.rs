//! Values written in digits: runs of digits with single separators, cut into groups, beside the shapes that numbers of persons have.

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x32};

use super::{
    network,
    shapes::{self, Need, Shape},
    words::is_escape,
};
use crate::Kind;

/// Where a number of some kind stands.
pub(super) struct Number {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

/// A group of digits.
#[derive(Clone, Copy, Default)]
struct Group {
    start: usize,
    end: usize,
}

/// The most groups that a shape has.
const MOST: usize = 8;
/// The most digits that a shape has.
const DIGITS: usize = 20;

/// Whether the run of digits whose cue is at `at` may hold a number that needs no word: the lengths of its groups tell of most that they do not.
pub(super) fn may_be_free(bytes: &[u8], at: usize) -> bool {
    let start = at - 6;
    // What is near the end of the text is looked at in the long way.
    let Some(window) = bytes[start..].first_chunk::<32>() else { return true };
    let (digits, separators, dots) = dispatch!(Level::baseline(), simd => classes(simd, window));
    let run = (digits | separators & digits << 1).trailing_ones();
    if run > 30 {
        return true;
    }
    let within = (1 << run) - 1;
    // Four groups with dots between may be an address.
    if (dots & within).count_ones() > 2 {
        return true;
    }
    let mut rest = digits & within;
    let mut first = rest.trailing_ones();
    while rest != 0 {
        // A separator is one byte.
        rest = rest >> first >> 1;
        let second = rest.trailing_ones();
        if shapes::may_begin(first as usize, second as usize, false) {
            return true;
        }
        first = second;
    }
    false
}

/// Which bytes are digits, separators and, of these, dots.
#[inline(always)]
fn classes<S: Simd>(simd: S, window: &[u8; 32]) -> (u32, u32, u32) {
    let window = u8x32::simd_from(simd, *window);
    let is = |byte: u8| window.simd_eq(byte);
    let digits = (window - b'0').simd_le(9);
    let separators = is(b' ') | is(b'-') | is(b'.') | is(b'/');
    (bits(digits.to_bitmask()), bits(separators.to_bitmask()), bits(is(b'.').to_bitmask()))
}

/// A mask of thirty-two bits.
fn bits(mask: u64) -> u32 {
    u32::try_from(mask).unwrap_or(u32::MAX)
}

/// Hands over all the numbers in the run of digits whose cue is at `at`, those that need a word only if `told`. What overlaps is for the caller to
/// choose from.
pub(super) fn each(bytes: &[u8], at: usize, wanted: impl Fn(&Shape) -> bool, told: bool, mut found: impl FnMut(Number)) {
    // The cue stands at the seventh byte of the run.
    let start = at - 6;
    // A run of digits deep inside a word, as in a hash, is none of a value's.
    let deep = matches!(bytes[..start], [.., b, a] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() && !is_escape(bytes, start));
    let mut groups = [Group::default(); MOST];
    let mut many = 0;
    let mut next = start;
    loop {
        // The groups seen so far that nothing was tried on yet: as many as a shape may have, then one more at a time.
        while many < MOST && bytes.get(next).is_some_and(u8::is_ascii_digit) {
            let end = next + bytes[next..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            groups[many] = Group { start: next, end };
            many += 1;
            next = end + usize::from(bytes.get(end).is_some_and(|&byte| is_separator(byte)));
        }
        if many == 0 {
            return;
        }
        if deep && many == 1 {
            return;
        }
        if let Some(four) = groups[..many].first_chunk::<4>()
            && network::is_v4(bytes, four.map(|group| (group.start, group.end)))
        {
            found(Number { start: four[0].start, end: four[3].end, kind: Kind::Ip, need: Need::Nothing });
        }
        let [first, second] = [groups[0], if many > 1 { groups[1] } else { Group::default() }].map(|group| group.end - group.start);
        let shapes = if shapes::may_begin(first, second, told) { shapes::starting(first) } else { &[] };
        for shape in shapes {
            // Those that need a word come last.
            if shape.need == Need::Word && !told {
                break;
            }
            if wanted(shape)
                && let Some((start, end)) = fits(bytes, &groups[..many], shape)
            {
                found(Number { start, end, kind: shape.kind, need: shape.need });
            }
        }
        groups.copy_within(1..many, 0);
        many -= 1;
    }
}

/// Where a number of this shape stands, if the first groups are one.
fn fits(bytes: &[u8], groups: &[Group], shape: &Shape) -> Option<(usize, usize)> {
    let groups = groups.get(..shape.groups.len())?;
    if groups.iter().zip(shape.groups).any(|(group, &wanted)| group.end - group.start != usize::from(wanted)) {
        return None;
    }
    let separators = groups.windows(2).map(|pair| bytes[pair[0].end]);
    if !shape.separators.is_empty() && !shape.separators.iter().any(|allowed| separators.clone().eq(allowed.bytes())) {
        return None;
    }
    let (first, last) = (groups.first()?, groups.last()?);
    let mut digits = [0; DIGITS];
    let mut many = 0;
    for byte in groups.iter().flat_map(|group| &bytes[group.start..group.end]) {
        *digits.get_mut(many)? = byte - b'0';
        many += 1;
    }
    let (mut start, mut end) = (first.start, last.end);
    let letters = match shape.ends {
        shapes::Ends::Digits => [0, 0],
        shapes::Ends::LetterAfter => {
            end += usize::from(matches!(bytes.get(end), Some(b'-' | b' ')));
            end += 1;
            [0, *bytes.get(end - 1)?]
        }
        shapes::Ends::LettersAround => {
            start -= usize::from(start > 0 && matches!(bytes[start - 1], b'-' | b' '));
            start = start.checked_sub(1)?;
            end += usize::from(matches!(bytes.get(end), Some(b'-' | b' ')));
            end += 1;
            [bytes[start], *bytes.get(end - 1)?]
        }
    };
    let spaced = separators.clone().next_back() == Some(b' ');
    let row = spaced.then(|| [first, last].map(|group| group.end - group.start));
    let alone = is_alone(bytes, start, end, row);
    (alone && (shape.check)(&digits[..many], letters.map(|letter| letter.to_ascii_uppercase()))).then_some((start, end))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/')
}

/// Whether a value is no part of something longer: of a word, a number with a fraction, a version, a row of groups (`row`: the lengths of its
/// first and last, where spaces are between) that goes on.
fn is_alone(bytes: &[u8], start: usize, end: usize, row: Option<[usize; 2]>) -> bool {
    let (before, after) = (&bytes[..start], &bytes[end..]);
    let is_digit = |byte: &&u8| byte.is_ascii_digit();
    let before = match *before {
        [] => true,
        [.., byte] if byte.is_ascii_alphanumeric() || byte == b'_' => is_escape(bytes, start),
        [.., byte, b'-' | b'.'] => !byte.is_ascii_alphanumeric(),
        [ref rest @ .., b' '] => row.is_none_or(|[first, _]| rest.iter().rev().take_while(is_digit).count() != first),
        [.., b'+'] => false,
        _ => true,
    };
    let after = match *after {
        [byte, ..] if byte.is_ascii_alphanumeric() || byte == b'_' => false,
        [b'-' | b'.', byte, ..] => !byte.is_ascii_alphanumeric(),
        [b' ', ref rest @ ..] => row.is_none_or(|[_, last]| rest.iter().take_while(is_digit).count() != last),
        _ => true,
    };
    before && after
}
