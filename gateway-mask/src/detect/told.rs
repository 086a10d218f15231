//! Values that only a word beside them tells: what follows a telling word, or stands under a telling name.

use base64::{Engine, prelude::BASE64_STANDARD};
use regex_automata::{Anchored, Input, meta::Regex, util::captures::Captures};

use super::{Found, Hit, Wanted, checks::entropy, dates::Dates, mail::is_placeholder, phones::Phones};
use crate::Kind;

/// How far after a word its value may begin, in bytes.
const AFTER: usize = 48;

pub(super) struct Told {
    dates: Dates,
    phones: Phones,
    /// `="…"`, `: …`, ` is …` after the name of a secret.
    secret: Regex,
    /// What follows `Bearer` and the like.
    bearer: Regex,
    /// `=…;` after the name of a password.
    password: Regex,
    nino: Regex,
    pan: Regex,
    nir: Regex,
}

impl Told {
    #[expect(clippy::unwrap_used, reason = "the patterns are constants, which every test builds")]
    pub(super) fn new() -> Told {
        let regex = |pattern: &str| Regex::new(pattern).unwrap();
        Told {
            dates: Dates::new(),
            phones: Phones::new(),
            secret: regex(
                r#"[0-9A-Za-z_-]{0,24}["'`\])]{0,2}\s{0,4}(?::=|=>|[:=]|is\b|was\b|\()\s{0,4}(?:(?i:bearer|basic|token|apikey)\s{1,4})?["'`]?([!-~]{12,512})"#,
            ),
            bearer: regex(r"\s{1,4}([0-9A-Za-z._~+/-]{12,4096}={0,2})"),
            password: regex(r#"["']?\s{0,2}=\s{0,2}(?:'([^'\r\n]{1,128})'|"([^"\r\n]{1,128})"|([^\s;&"'<>,]{1,128}))"#),
            nino: regex(r"(?i)\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-D])\b"),
            pan: regex(r"(?i)\b([A-Z]{3}[PCHFATBLJG][A-Z][0-9]{4}[A-Z])\b"),
            nir: regex(r"(?i)\b([1-478] ?[0-9]{2} ?[0-9]{2} ?2[AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2})\b"),
        }
    }

    /// What follows the word that ends at `at` and tells of these kinds.
    pub(super) fn after(&self, text: &str, at: usize, told: Wanted, wanted: Wanted, out: &mut Vec<Hit>) {
        let is_one = |kind: Kind| told.has(kind) && wanted.has(kind);
        if is_one(Kind::Secret) || (told.has(Kind::Secret) && wanted.has(Kind::AwsKey)) {
            self.secret_after(text, at, wanted, out);
        }
        if is_one(Kind::Password) {
            let value = group(&self.password, text, at);
            out.extend(
                value
                    .filter(|&(start, end)| !is_placeholder(&text.as_bytes()[start..end]))
                    .map(|(start, end)| hit(start, end, Kind::Password)),
            );
        }
        let to = up_to(text, at + AFTER);
        if is_one(Kind::BirthDate) {
            out.extend(self.dates.first(text, at, to).map(|(start, end)| hit(start, end, Kind::BirthDate)));
        }
        if is_one(Kind::Phone) {
            self.phones.told(text, at, to, |start, end| out.push(hit(start, end, Kind::Phone)));
        }
        for (kind, regex) in self.codes() {
            if is_one(kind) {
                out.extend(
                    first(regex, text, at, to)
                        .filter(|&(start, end)| code(kind, &text[start..end]))
                        .map(|(start, end)| hit(start, end, kind)),
                );
            }
        }
    }

    fn codes(&self) -> [(Kind, &Regex); 3] {
        [(Kind::UkNino, &self.nino), (Kind::IndiaPan, &self.pan), (Kind::FranceNir, &self.nir)]
    }

    /// What stands in a text under a name that tells of these kinds; `last`: of these by its last word.
    pub(super) fn under(&self, text: &str, name: Wanted, last: Wanted, wanted: Wanted, out: &mut Vec<Hit>) {
        let is_one = |kind: Kind| name.has(kind) && wanted.has(kind);
        let (start, end) = trimmed(text);
        let value = &text[start..end];
        let is_one_word = !value.is_empty() && !value.bytes().any(|byte| byte.is_ascii_whitespace());
        if last.has(Kind::Password) && wanted.has(Kind::Password) && is_one_word && is_password(value) {
            out.push(hit(start, end, Kind::Password));
        } else if name.has(Kind::Secret) {
            if is_one_word {
                out.extend(secret_kind(value, wanted).map(|kind| hit(start, end, kind)));
            } else if let Some((scheme, rest)) = value.split_once(' ')
                && ["bearer", "basic", "token", "apikey"].iter().any(|other| scheme.eq_ignore_ascii_case(other))
                && wanted.has(Kind::Secret)
                && is_bearer(rest.trim_start())
            {
                out.push(hit(end - rest.trim_start().len(), end, Kind::Secret));
            }
        }
        let to = up_to(text, 4 * AFTER);
        if is_one(Kind::BirthDate) {
            out.extend(self.dates.first(text, 0, to).map(|(start, end)| hit(start, end, Kind::BirthDate)));
        }
        if is_one(Kind::Phone) {
            self.phones.told(text, 0, to, |start, end| out.push(hit(start, end, Kind::Phone)));
        }
        for (kind, regex) in self.codes() {
            if is_one(kind) {
                out.extend(
                    first(regex, text, 0, to)
                        .filter(|&(start, end)| code(kind, &text[start..end]))
                        .map(|(start, end)| hit(start, end, kind)),
                );
            }
        }
    }

    /// The number that begins with this plus.
    pub(super) fn plus(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        self.phones.international(text, at)
    }

    fn secret_after(&self, text: &str, at: usize, wanted: Wanted, out: &mut Vec<Hit>) {
        let Some((start, end)) = group(&self.secret, text, at) else {
            let word = &text.as_bytes()[..at];
            let schemes: [&[u8]; 2] = [b"bearer", b"basic"];
            if schemes.iter().any(|scheme| word.len() >= scheme.len() && word[word.len() - scheme.len()..].eq_ignore_ascii_case(scheme))
                && wanted.has(Kind::Secret)
                && let Some((start, end)) = group(&self.bearer, text, at)
                && let end = start + text[start..end].trim_end_matches('.').len()
                && is_bearer(&text[start..end])
            {
                out.push(hit(start, end, Kind::Secret));
            }
            return;
        };
        // What the value stands in is none of it.
        let ends = |byte: u8| {
            matches!(byte, b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'\\' | b'&' | b'|')
        };
        let value = &text[start..end];
        let value = &value[..value.bytes().position(ends).unwrap_or(value.len())];
        let value = value.trim_end_matches(['.', ':', '!', '?']);
        out.extend(secret_kind(value, wanted).map(|kind| hit(start, start + value.len(), kind)));
    }
}

fn hit(start: usize, end: usize, kind: Kind) -> Hit {
    Hit { start, end, what: Found::Kind(kind) }
}

/// Where the first group stands that took part, of a pattern that begins here.
fn group(regex: &Regex, text: &str, at: usize) -> Option<(usize, usize)> {
    let mut captures: Captures = regex.create_captures();
    regex.captures(Input::new(text).range(at..).anchored(Anchored::Yes), &mut captures);
    (1..captures.group_len()).find_map(|group| captures.get_group(group)).map(|span| (span.start, span.end))
}

fn first(regex: &Regex, text: &str, from: usize, to: usize) -> Option<(usize, usize)> {
    regex.find(Input::new(text).range(from..to)).map(|found| (found.start(), found.end()))
}

/// The end of a part of a text, between characters.
fn up_to(text: &str, at: usize) -> usize {
    if at >= text.len() { text.len() } else { (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len()) }
}

fn trimmed(text: &str) -> (usize, usize) {
    let start = text.len() - text.trim_start().len();
    (start, start + text.trim().len())
}

/// HMRC, NIM39110: some prefixes are given to nobody.
fn code(kind: Kind, value: &str) -> bool {
    let prefix = value.as_bytes()[..2].to_ascii_uppercase();
    match kind {
        Kind::UkNino => ![b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"].iter().any(|&other| prefix == other),
        Kind::FranceNir => corsican(value),
        _ => true,
    }
}

/// The key of a NIR of Corsica: 2A counts as 19, 2B as 18 (INSEE).
fn corsican(value: &str) -> bool {
    let digits: String = value.to_ascii_uppercase().replace(' ', "").replace("2A", "19").replace("2B", "18");
    let parsed =
        digits.get(..13).and_then(|number| number.parse::<u64>().ok()).zip(digits.get(13..).and_then(|key| key.parse::<u64>().ok()));
    parsed.is_some_and(|(number, key)| 97 - number % 97 == key)
}

/// Whether a value under the name of a password is one: no placeholder, and no word about it.
fn is_password(value: &str) -> bool {
    const WORDS: &[&str] = &[
        "true", "false", "null", "none", "string", "password", "required", "optional", "hidden", "masked", "changed", "unset", "empty",
        "text", "n/a", "yes", "no", "bcrypt", "invalid", "expired",
    ];
    (4..=128).contains(&value.len()) && !is_placeholder(value.as_bytes()) && !WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Which kind of secret this is; none, if it is no random string.
fn secret_kind(value: &str, wanted: Wanted) -> Option<Kind> {
    let bytes = value.as_bytes();
    // A secret access key of AWS: forty of base64.
    let is_aws = bytes.len() == 40
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'))
        && bytes.iter().any(u8::is_ascii_uppercase)
        && bytes.iter().any(u8::is_ascii_lowercase)
        && entropy(bytes) > 4.0;
    if is_aws && wanted.has(Kind::AwsKey) {
        return Some(Kind::AwsKey);
    }
    (wanted.has(Kind::Secret) && is_random(bytes)).then_some(Kind::Secret)
}

/// Letters and digits mixed, of high entropy for their length; no URL, path, date or placeholder.
fn is_random(bytes: &[u8]) -> bool {
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-.~!@#$%^*".contains(byte);
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = bytes.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let is_url = bytes.starts_with(b"/") || bytes.windows(3).any(|part| part == b"://");
    (16..=512).contains(&bytes.len())
        && bytes.iter().all(is_sign)
        && digits > 0
        && letters > 1
        && 4 * (digits + letters) > 3 * bytes.len()
        && !is_url
        && !is_placeholder(bytes)
        && entropy(bytes) > 2.9
}

/// Whether a value after a scheme of HTTP authentication is one.
fn is_bearer(value: &str) -> bool {
    let is_basic = || BASE64_STANDARD.decode(value).is_ok_and(|decoded| decoded.contains(&b':') && decoded.is_ascii());
    is_random(value.as_bytes()) || is_basic()
}
