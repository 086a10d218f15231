//! Values of letters and digits with a check: account numbers and codes of persons.

use super::{checks::mod_97, dates::is_date, words::is_escape};
use crate::Kind;

/// Countries and the lengths of their IBANs, as the registry of ISO 13616 has them.
const IBAN: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// For each first letter of a country, a bit for each second one: most letters before digits are none.
const COUNTRIES: [u32; 32] = {
    let mut countries = [0; 32];
    let mut at = 0;
    while at < IBAN.len() {
        let [first, second] = *IBAN[at].0;
        countries[(first & 31) as usize] |= 1 << (second & 31);
        at += 1;
    }
    countries
};

/// The length of the code that begins with these bytes.
type Read = fn(&[u8]) -> Option<usize>;

/// Hands over the codes that have two letters and two digits up to `at` in them.
pub(super) fn each(bytes: &[u8], at: usize, mut found: impl FnMut(Kind, usize, usize)) {
    let tries: [(usize, Kind, Read); 3] = [(3, Kind::Iban, iban), (7, Kind::ItalyFiscalCode, fiscal_code), (5, Kind::MexicoCurp, curp)];
    for (back, kind, read) in tries {
        let Some(start) = at.checked_sub(back) else { continue };
        if (start == 0 || !is_word(bytes[start - 1]) || is_escape(bytes, start))
            && let Some(length) = read(&bytes[start..])
            && bytes.get(start + length).is_none_or(|&byte| !is_word(byte))
        {
            found(kind, start, start + length);
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the IBAN that begins here, with the single spaces or dashes in it.
fn iban(bytes: &[u8]) -> Option<usize> {
    if COUNTRIES[usize::from(bytes[0] & 31)] >> (bytes[1] & 31) & 1 == 0 {
        return None;
    }
    let country = [bytes[0].to_ascii_uppercase(), bytes[1].to_ascii_uppercase()];
    let at = IBAN.binary_search_by(|(other, _)| (*other).cmp(&country)).ok()?;
    let length = usize::from(IBAN[at].1);
    let mut signs = [0; 34];
    let (mut many, mut end) = (0, 0);
    while many < length {
        match *bytes.get(end)? {
            byte if byte.is_ascii_alphanumeric() => {
                signs[many] = byte;
                many += 1;
            }
            b' ' | b'-' if bytes[end - 1].is_ascii_alphanumeric() => {}
            _ => return None,
        }
        end += 1;
    }
    (mod_97(signs[4..length].iter().chain(&signs[..4]).copied()) == Some(1)).then_some(end)
}

/// Decreto ministeriale 23/12/1976: surname, name, year, month letter, day (women: and 40), place, check letter. Digits may be replaced by
/// letters where two persons would have the same code.
fn fiscal_code(bytes: &[u8]) -> Option<usize> {
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let code = bytes.first_chunk::<16>()?.map(|byte| byte.to_ascii_uppercase());
    let digit = |at: usize| match code[at] {
        byte @ b'0'..=b'9' => Some(u32::from(byte - b'0')),
        byte => b"LMNPQRSTUV".iter().position(|&other| other == byte).and_then(|value| u32::try_from(value).ok()),
    };
    let month = b"ABCDEHLMPRST".iter().position(|&letter| letter == code[8])?;
    let (day, place) = (digit(9)? * 10 + digit(10)?, [12, 13, 14].iter().all(|&at| digit(at).is_some()));
    let day = if day > 40 { day - 40 } else { day };
    let letters = code[..6].iter().chain([&code[11], &code[15]]).all(u8::is_ascii_uppercase);
    if !letters || !place || !is_date(2000, u32::try_from(month).ok()? + 1, day) {
        return None;
    }
    let value = |byte: u8| if byte.is_ascii_digit() { usize::from(byte - b'0') } else { usize::from(byte - b'A') };
    let sum: u32 = code[..15]
        .iter()
        .enumerate()
        .map(|(at, &byte)| if at % 2 == 0 { ODD[value(byte)] } else { u32::from(byte - if byte.is_ascii_digit() { b'0' } else { b'A' }) })
        .sum();
    (sum % 26 == u32::from(code[15] - b'A')).then_some(16)
}

/// RENAPO: names, date of birth, sex, state, consonants, century, check digit.
fn curp(bytes: &[u8]) -> Option<usize> {
    const STATES: &[u8] = b"ASBCBSCCCLCMCSCHDFDGGTGRHGJCMCMNMSNTNLOCPLQTQRSPSLSRTCTSTLVZYNZSNE";
    const SIGNS: &[u8] = b"0123456789ABCDEFGHIJKLMN\0OPQRSTUVWXYZ";
    let code = bytes.first_chunk::<18>()?.map(|byte| byte.to_ascii_uppercase());
    let letters = code[..4].iter().chain(&code[10..16]).all(u8::is_ascii_uppercase);
    let digits = code[4..10].iter().chain(&code[17..]).all(u8::is_ascii_digit) && code[16].is_ascii_alphanumeric();
    if !letters || !digits || !matches!(code[10], b'H' | b'M' | b'X') || !STATES.chunks(2).any(|state| state == &code[11..13]) {
        return None;
    }
    let two = |at: usize| u32::from(code[at] - b'0') * 10 + u32::from(code[at + 1] - b'0');
    // N with a tilde has the value between N and O.
    let value = |byte: u8| SIGNS.iter().position(|&sign| sign == byte);
    let sum: usize = code[..17].iter().zip((2..=18).rev()).map(|(&byte, weight)| value(byte).unwrap_or(0) * weight).sum();
    (is_date(2000 + two(4), two(6), two(8)) && (10 - sum % 10) % 10 == usize::from(code[17] - b'0')).then_some(18)
}
