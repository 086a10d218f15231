//! Telephone numbers, as libphonenumber knows them.

use regex_automata::{Anchored, Input, meta::Regex};
use rlibphonenumber::{PHONE_NUMBER_UTIL, Region};

pub(super) struct Phones {
    international: Regex,
    told: Regex,
}

/// Whose numbers are tried where nothing says the country: those written with a 0 first, and the others.
const WITH_ZERO: &[Region] = &[
    Region::GB,
    Region::DE,
    Region::FR,
    Region::IN,
    Region::JP,
    Region::AU,
    Region::NL,
    Region::KR,
    Region::ZA,
    Region::TR,
    Region::NG,
    Region::PK,
    Region::ID,
    Region::CN,
];
const OTHERS: &[Region] = &[
    Region::US,
    Region::IN,
    Region::CN,
    Region::BR,
    Region::ES,
    Region::IT,
    Region::PL,
    Region::MX,
    Region::RU,
    Region::GB,
    Region::DE,
    Region::FR,
    Region::KR,
];

/// How often a number is cut at its end, where more than the number stands there.
const CUTS: usize = 4;

impl Phones {
    #[expect(clippy::unwrap_used, reason = "the patterns are constants, which every test builds")]
    pub(super) fn new() -> Phones {
        Phones {
            international: Regex::new(r"\+[0-9](?:[ .\-/]?\(?[0-9]{1,13}\)?){1,8}").unwrap(),
            told: Regex::new(r"(?:\+|\b|\()[0-9](?:[ .\-/]{0,2}\(?[0-9]{1,13}\)?){1,8}").unwrap(),
        }
    }

    /// The number that begins with the plus here.
    pub(super) fn international(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        if at > 0 && (text.as_bytes()[at - 1].is_ascii_alphanumeric() || matches!(text.as_bytes()[at - 1], b'+' | b'_')) {
            return None;
        }
        let found = self.international.find(Input::new(text).range(at..).anchored(Anchored::Yes))?;
        valid(text, at, found.end(), &[])
    }

    /// The numbers in the part of a text that a word tells of.
    pub(super) fn told(&self, text: &str, from: usize, to: usize, mut number: impl FnMut(usize, usize)) {
        // What begins in this part may go on after it.
        let end = (to + 24).min(text.len());
        let end = (end..=text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
        // Not past the line that a number stands on.
        let digit = text[from..end].find(|char: char| char.is_ascii_digit()).map_or(end, |at| from + at);
        let end = text[digit..end].find('\n').map_or(end, |at| digit + at);
        for found in self.told.find_iter(Input::new(text).range(from..end)).take_while(|found| found.start() < to).take(2) {
            let digits = text[found.range()].bytes().filter(u8::is_ascii_digit).count();
            let is_zero = text[found.range()].trim_start_matches('(').starts_with('0');
            if digits >= 7
                && !is_date_or_address(&text[found.range()])
                && let Some((start, end)) = valid(text, found.start(), found.end(), if is_zero { WITH_ZERO } else { OTHERS })
            {
                number(start, end);
            }
        }
    }
}

/// `2026-03-12`, `10.0.0.1`: what words of a telephone stand near without telling of it.
fn is_date_or_address(text: &str) -> bool {
    let is_dashed = |text: &[u8]| matches!(text, [b'1' | b'2', b'0' | b'9', _, _, b'-' | b'/', _, _, b'-' | b'/', ..]);
    is_dashed(text.as_bytes()) || text.parse::<std::net::Ipv4Addr>().is_ok()
}

/// Whether a number may begin with this plus: at least seven digits, each within two bytes of the one before.
pub(super) fn may_begin(bytes: &[u8], at: usize) -> bool {
    let (mut digits, mut gap) = (0, 0);
    for &byte in bytes.iter().skip(at + 1).take(32) {
        (digits, gap) = if byte.is_ascii_digit() { (digits + 1, 0) } else { (digits, gap + 1) };
        if digits == 7 || gap > 2 || !matches!(byte, b'0'..=b'9' | b' ' | b'-' | b'.' | b'/' | b'(' | b')') {
            break;
        }
    }
    digits == 7
}

/// The longest part from the start that is a number: of any country if it begins with a plus, else of one of these.
fn valid(text: &str, start: usize, end: usize, regions: &[Region]) -> Option<(usize, usize)> {
    let mut end = end;
    for _ in 0..CUTS {
        let number = &text[start..end];
        let goes_on = text[end..].bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_valid =
            |region: Option<Region>| PHONE_NUMBER_UTIL.parse(number, region).is_ok_and(|number| PHONE_NUMBER_UTIL.is_valid_number(&number));
        let is_one = if number.starts_with('+') { is_valid(None) } else { regions.iter().any(|&region| is_valid(Some(region))) };
        if is_one && !goes_on {
            return Some((start, end));
        }
        let cut = number.rfind([' ', '-', '.', '/'])?;
        end = start + number[..cut].trim_end_matches([' ', '-', '.', '/']).len();
        if text[start..end].bytes().filter(u8::is_ascii_digit).count() < 7 {
            return None;
        }
    }
    None
}
