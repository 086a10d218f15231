//! Texts in base64 and base64url (RFC 4648), within other text.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};

use super::charset::Charset;

/// Letters of the shortest text in base64 that is read: eleven bytes, such as `123-45-6789`.
pub(crate) const SHORTEST: usize = 15;
/// Letters that are decoded to see whether a run is a text.
const PROBE: usize = 16;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true)
    .with_encode_padding(false);
const ENGINES: [GeneralPurpose; 2] = [GeneralPurpose::new(&STANDARD, LENIENT), GeneralPurpose::new(&URL_SAFE, LENIENT)];

/// A part of a text that is data in base64.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) start: usize,
    /// Behind the padding, if there is any.
    pub(crate) end: usize,
    pub(crate) data: Vec<u8>,
    url: bool,
    /// As many `=` as stood behind it, where those are not told by the length.
    padded: bool,
    /// Letters a line, and what ends one.
    lines: Option<(usize, &'static str)>,
}

impl Piece {
    /// Other data, spelt in the same way.
    pub(crate) fn encode(&self, data: &[u8]) -> String {
        let mut letters = ENGINES[usize::from(self.url)].encode(data);
        if self.padded {
            letters.extend(std::iter::repeat_n('=', (4 - letters.len() % 4) % 4));
        }
        let Some((width, end)) = self.lines else { return letters };
        let mut out = String::with_capacity(letters.len() + letters.len() / width.max(1) * 2);
        for (at, letter) in letters.chars().enumerate() {
            if at > 0 && at % width == 0 {
                out.push_str(end);
            }
            out.push(letter);
        }
        out
    }
}

#[inline]
pub(crate) fn is_letter(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte.wrapping_sub(b'0') < 10)
        | (byte == b'+')
        | (byte == b'/')
        | (byte == b'-')
        | (byte == b'_')
}

/// Whether some piece of the run of letters that the text begins with begins like a text or like gzip.
pub(crate) fn may_be_text(text: &[u8]) -> bool {
    let lengths = text.first_chunk::<64>().map(|lane| dispatch!(Level::baseline(), simd => lengths(simd, lane)));
    match lengths {
        // Most are told by this much: hashes, UUIDs, words with dashes.
        Some((length @ ..64, separated)) => {
            let run = text.get(..length).unwrap_or(text);
            probe(run).is_some() || (separated && is_any_text(run))
        }
        _ => is_any_text(text.get(..text.iter().take_while(|byte| is_letter(**byte)).count()).unwrap_or(text)),
    }
}

fn is_any_text(run: &[u8]) -> bool {
    parts(run).any(|(start, end)| run.get(start..end).is_some_and(|part| probe(part).is_some()))
}

/// How many letters sixty-four bytes begin with, and whether there are parts between separators in them that are long enough.
#[inline(always)]
fn lengths<S: Simd>(simd: S, bytes: &[u8; 64]) -> (usize, bool) {
    let lane = u8x64::simd_from(simd, *bytes);
    let is = |byte: u8| lane.simd_eq(byte).to_bitmask();
    let within = |lane: u8x64<S>, from: u8, many: u8| (lane - from).simd_le(many - 1).to_bitmask();
    let separators = [is(b'/'), is(b'-'), is(b'_'), is(b'+')];
    let all = separators.iter().fold(0, |all, one| all | one);
    let letters = within(lane | 0x20, b'a', 26) | within(lane, b'0', 10) | all;
    let length = letters.trailing_ones();
    let run = if length < 64 { (1_u64 << length) - 1 } else { u64::MAX };
    // A part of fifteen, between separators of one kind that are there.
    let parted = separators.iter().any(|one| {
        let two = run & !one & (run & !one) >> 1;
        let four = two & two >> 2;
        let eight = four & four >> 4;
        run & one != 0 && eight & eight >> 7 != 0
    });
    (length as usize, parted)
}

/// A run as a whole, and then what stands between the letters of it that separate words elsewhere.
fn parts(run: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let split = |separator: u8| {
        let mut start = 0;
        run.split(move |byte| *byte == separator).map(move |part| {
            let from = start;
            start += part.len() + 1;
            (from, from + part.len())
        })
    };
    std::iter::once((0, run.len()))
        .chain([b'/', b'-', b'_', b'+'].into_iter().filter(|separator| run.contains(separator)).flat_map(split))
        .filter(|(start, end)| end - start >= SHORTEST)
}

/// Which alphabet the beginning of a part decodes in, to a text or to gzip.
fn probe(part: &[u8]) -> Option<bool> {
    // The first byte of a character: its six upper bits are neither those of a later byte, nor beyond Unicode.
    if matches!(part.first(), Some(b'g'..=b'v' | b'+' | b'/' | b'-' | b'_')) && !begins_utf16(part) {
        return None;
    }
    let cut = part.len() > PROBE;
    let begin = part.get(..PROBE).unwrap_or(part);
    let url = begin.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let mut data = [0; PROBE];
    let Some(begin) = begin.first_chunk::<PROBE>() else {
        let len = ENGINES[usize::from(url)].decode_slice(begin, &mut data).ok()?;
        return is_text(data.get(..len)?, cut).then_some(url);
    };
    // Sixteen letters are what most of all runs are told by: the engine is dearer than they are.
    if url && begin.iter().any(|byte| matches!(byte, b'+' | b'/')) {
        return None;
    }
    for (four, three) in begin.as_chunks::<4>().0.iter().zip(data.as_chunks_mut::<3>().0) {
        let bits = four.iter().fold(0, |bits, letter| bits << 6 | u32::from(VALUES[usize::from(*letter)]));
        let [_, bytes @ ..] = bits.to_be_bytes();
        *three = bytes;
    }
    is_text(data.get(..PROBE / 4 * 3)?, cut).then_some(url)
}

/// The byte order marks of UTF-16: `FF FE` and `FE FF`.
fn begins_utf16(part: &[u8]) -> bool {
    matches!(part, [b'/' | b'_', b'/' | b'_', b'4'..=b'7', ..] | [b'/' | b'_', b'v', b'8' | b'9' | b'+' | b'-' | b'/' | b'_', ..])
}

/// The values of letters, of both alphabets.
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let mut value = 0;
    while value < 62 {
        values[b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[value as usize] as usize] = value;
        value += 1;
    }
    (values[b'+' as usize], values[b'-' as usize], values[b'/' as usize], values[b'_' as usize]) = (62, 62, 63, 63);
    values
};

fn is_text(data: &[u8], cut: bool) -> bool {
    match std::str::from_utf8(data) {
        Ok(_) => true,
        Err(error) => (cut && error.error_len().is_none()) || data.starts_with(&[0x1F, 0x8B, 8]) || Charset::of(data).is_some(),
    }
}

/// The parts of a text that are texts (or gzip) in base64. Ascending, not overlapping.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let bytes = text.as_bytes();
    let mut out: Vec<Piece> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_letter(bytes[at]) {
            at += 1;
            continue;
        }
        let run = bytes.get(at..).unwrap_or_default().iter().take_while(|byte| is_letter(**byte)).count();
        if run >= SHORTEST {
            if let Some(piece) = lines(text, at, run) {
                at = piece.end;
                out.push(piece);
                continue;
            }
            in_run(text, at, at + run, &mut out);
        }
        at += run;
    }
    out
}

fn in_run(text: &str, start: usize, end: usize, out: &mut Vec<Piece>) {
    let first = out.len();
    let run = text.as_bytes().get(start..end).unwrap_or_default();
    for (from, to) in parts(run) {
        let overlaps = out.get(first..).unwrap_or_default().iter().any(|piece| start + from < piece.end && piece.start < start + to);
        if !overlaps && let Some(piece) = piece(text, start + from, start + to) {
            out.push(piece);
        }
    }
    if let Some(new) = out.get_mut(first..) {
        new.sort_by_key(|piece| piece.start);
    }
}

fn piece(text: &str, start: usize, end: usize) -> Option<Piece> {
    let letters = text.as_bytes().get(start..end)?;
    let url = probe(letters)? || letters.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let data = ENGINES[usize::from(url)].decode(letters).ok()?;
    if !is_text(&data, false) {
        return None;
    }
    let padding = (4 - letters.len() % 4) % 4;
    let padded = padding > 0 && text.as_bytes().get(end..end + padding).is_some_and(|after| after.iter().all(|byte| *byte == b'='));
    // Without padding where none was needed: then there is none to be had, and none is missed.
    let needs_none = padding == 0 && !url;
    let end = if padded { end + padding } else { end };
    Some(Piece { start, end, data, url, padded: padded || needs_none, lines: None })
}

/// Base64 in lines of one width, as in mail (RFC 2045) and PEM.
fn lines(text: &str, start: usize, width: usize) -> Option<Piece> {
    let bytes = text.as_bytes();
    let ending = ["\n", "\r\n"].into_iter().find(|ending| text.get(start + width..).is_some_and(|rest| rest.starts_with(ending)))?;
    if width < 60 || !width.is_multiple_of(4) {
        return None;
    }
    let mut letters = text.get(start..start + width)?.to_owned();
    let mut end = start + width;
    while text.get(end..).is_some_and(|rest| rest.starts_with(ending)) {
        let from = end + ending.len();
        let line = bytes.get(from..)?.iter().take(width).take_while(|byte| is_letter(**byte)).count();
        if line == 0 {
            break;
        }
        letters.push_str(text.get(from..from + line)?);
        end = from + line;
        if line < width {
            break;
        }
    }
    let whole = piece(&letters, 0, letters.len())?;
    let padding = (4 - letters.len() % 4) % 4;
    let padded = bytes.get(end..end + padding).is_some_and(|after| after.iter().all(|byte| *byte == b'='));
    let end = if padded { end + padding } else { end };
    Some(Piece { start, end, padded, lines: Some((width, ending)), ..whole })
}
