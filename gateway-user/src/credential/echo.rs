//! What a server says of a credential that it was sent, masked on its way back.
//!
//! A secret is found as it is; with any of its characters escaped as in JSON (`\/`, `\u002f`, and both in JSON that stands in JSON; a
//! backslash only as `\\`); with any of them percent-encoded as in a URL; and in base64 with whatever stands before and after it, in both
//! alphabets, escaped or percent-encoded likewise. This is for servers that echo without malice: one that means to tell has other ways.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Backslashes before one character: JSON in JSON in JSON.
const BACKSLASHES: usize = 7;
/// The longest form of one character: those, and `u002f`.
const LONGEST: usize = BACKSLASHES + 5;
const MASK: u8 = b'*';

/// What must not come back in an answer. A copy costs nothing.
#[derive(Clone, Default)]
pub struct Echoes(Option<Arc<Patterns>>);

struct Patterns {
    /// Those that were made together, each shared by all that it is merged into.
    all: Vec<Arc<[Pattern]>>,
    /// Whether one of them can begin with this byte.
    begins: [bool; 256],
    longest: usize,
}

/// Characters that are looked for, each in any of its forms.
struct Pattern {
    text: Zeroizing<Vec<u8>>,
    /// `-` and `_` are the same as `+` and `/`.
    is_base64: bool,
    escapes: Escapes,
}

/// How a character stands in a text if not as it is. A text has one of the two: else `%` and `\` would mean this or that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// After backslashes, as itself or as `u` and four digits (RFC 8259 section 7).
    Json,
    /// `%` and two digits (RFC 3986 section 2.1).
    Url,
}

/// Whether a pattern is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    No,
    /// It could be, if the text went on.
    Perhaps,
    /// So many bytes.
    Yes(usize),
}

impl Echoes {
    /// The echoes of these secrets; of empty ones there are none.
    #[must_use]
    pub fn of(secrets: &[&str]) -> Self {
        let secrets = secrets.iter().filter(|secret| !secret.is_empty());
        let all: Vec<Pattern> = secrets.flat_map(|secret| patterns(secret.as_bytes())).collect();
        let longest = all.iter().map(|pattern| pattern.text.len() * LONGEST).max().unwrap_or(0);
        let mut begins = [false; 256];
        for pattern in &all {
            for byte in 0..=u8::MAX {
                begins[usize::from(byte)] |= pattern.one(0, &[byte], false) != Found::No;
            }
        }
        Echoes((!all.is_empty()).then(|| Arc::new(Patterns { all: vec![all.into()], begins, longest })))
    }

    /// These and those. Costs no more than a copy of a small table: what took time to make is shared.
    #[must_use]
    pub fn and(&self, other: &Echoes) -> Echoes {
        let (Some(these), Some(those)) = (&self.0, &other.0) else {
            return if self.is_empty() { other.clone() } else { self.clone() };
        };
        let all = [&these.all[..], &those.all[..]].concat();
        let begins = std::array::from_fn(|byte| these.begins[byte] || those.begins[byte]);
        Echoes(Some(Arc::new(Patterns { all, begins, longest: these.longest.max(those.longest) })))
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that the longest echo can have.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, |patterns| patterns.longest)
    }

    /// Overwrites every echo in a whole text, and says how many there were. Nothing changes its length.
    pub fn mask(&self, bytes: &mut [u8]) -> usize {
        let Some(patterns) = &self.0 else { return 0 };
        let mut masking = Masking::default();
        masking.go_on(patterns, bytes, true);
        masking.found
    }
}

impl fmt::Debug for Echoes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Echoes(none)" } else { "Echoes([withheld])" })
    }
}

/// The echoes in a text that comes in pieces.
pub struct EchoStream {
    echoes: Echoes,
    masking: Masking,
    /// What could be the beginning of an echo.
    held: Zeroizing<Vec<u8>>,
}

impl EchoStream {
    /// At the beginning of a text.
    #[must_use]
    pub fn new(echoes: Echoes) -> Self {
        EchoStream { echoes, masking: Masking::default(), held: Zeroizing::default() }
    }

    /// Takes the next piece, and writes what is certain by now. Held back is only what could be the beginning of an echo, fewer bytes than
    /// [`Echoes::longest`]: nothing of most texts.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.go_on(piece, out, false);
    }

    /// The text ends here: writes what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.go_on(&[], out, true);
    }

    /// How many echoes there were.
    #[must_use]
    pub fn found(&self) -> usize {
        self.masking.found
    }

    /// How many bytes are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn go_on(&mut self, piece: &[u8], out: &mut Vec<u8>, ends: bool) {
        let start = out.len();
        out.extend_from_slice(&self.held);
        out.extend_from_slice(piece);
        self.held.clear();
        if let Some(patterns) = &self.echoes.0 {
            let certain = start + self.masking.go_on(patterns, &mut out[start..], ends);
            self.held.extend_from_slice(&out[certain..]);
            out.truncate(certain);
        }
    }
}

/// How far a text is masked.
#[derive(Default)]
struct Masking {
    /// Bytes from here on that belong to echoes that have begun.
    left: usize,
    found: usize,
}

impl Masking {
    /// Masks as far as that is certain, and says how far. Echoes may overlap: a byte is masked if it belongs to any. Each is looked for only
    /// in what follows it, so that what is masked already hides none.
    fn go_on(&mut self, patterns: &Patterns, bytes: &mut [u8], ends: bool) -> usize {
        for at in 0..bytes.len() {
            if patterns.begins[usize::from(bytes[at])] {
                match patterns.at(&bytes[at..], ends) {
                    Found::Perhaps => return at,
                    Found::No => {}
                    Found::Yes(length) => {
                        self.found += usize::from(self.left == 0);
                        self.left = self.left.max(length);
                    }
                }
            }
            if self.left > 0 {
                bytes[at] = MASK;
                self.left -= 1;
            }
        }
        bytes.len()
    }
}

impl Found {
    /// Of two ways to read the same text.
    fn or(self, other: Found) -> Found {
        match (self, other) {
            (Found::Perhaps, _) | (_, Found::Perhaps) => Found::Perhaps,
            (Found::Yes(one), Found::Yes(other)) => Found::Yes(one.max(other)),
            (Found::Yes(length), Found::No) | (Found::No, Found::Yes(length)) => Found::Yes(length),
            (Found::No, Found::No) => Found::No,
        }
    }
}

impl Patterns {
    /// The longest that is at the beginning of a text; `Perhaps` while it could be another.
    fn at(&self, text: &[u8], ends: bool) -> Found {
        self.all.iter().flat_map(|made| made.iter()).fold(Found::No, |found, pattern| found.or(pattern.at(0, text, 0, ends)))
    }
}

impl Pattern {
    /// Whether the pattern, from this character on, is at this place of a text. So many bytes, from the beginning of the text.
    fn at(&self, from: usize, text: &[u8], mut end: usize, ends: bool) -> Found {
        for index in from..self.text.len() {
            let rest = &text[end..];
            let (plain, escaped) = (self.one(index, rest, ends), self.one_after_backslash(index, rest));
            let found = match (plain, escaped) {
                (found, Found::No) | (Found::No, found) => found,
                // A `u` is the pattern's own or part of an escape: what follows decides.
                _ => {
                    let on = |found| match found {
                        Found::Yes(length) => self.at(index + 1, text, end + length, ends),
                        Found::Perhaps if ends => Found::No,
                        other => other,
                    };
                    return on(plain).or(on(escaped));
                }
            };
            match found {
                Found::Yes(length) => end += length,
                Found::Perhaps if ends => return Found::No,
                other => return other,
            }
        }
        Found::Yes(end)
    }

    /// After backslashes of the pattern's own, which take up those of the text: the one that escapes this character is among them.
    fn one_after_backslash(&self, index: usize, text: &[u8]) -> Found {
        match (self.escapes, text) {
            (Escapes::Json, [b'u', digits @ ..]) if index > 0 && self.text[index - 1] == b'\\' => self.unicode(index, digits, 1),
            _ => Found::No,
        }
    }

    /// Whether a text begins with one of the pattern's characters, in any of its forms.
    fn one(&self, index: usize, text: &[u8], ends: bool) -> Found {
        let Some((&first, rest)) = text.split_first() else { return Found::Perhaps };
        match (self.escapes, first) {
            (Escapes::Json, b'\\') => self.escaped(index, text, ends),
            (Escapes::Url, b'%') => self.hex(index, rest, 1),
            _ if self.fits(index, first) => Found::Yes(1),
            _ => Found::No,
        }
    }

    /// After backslashes.
    fn escaped(&self, index: usize, text: &[u8], ends: bool) -> Found {
        let run_of = |most: usize| text.iter().take(most).take_while(|byte| **byte == b'\\').count();
        if self.text[index] == b'\\' {
            // The first of several takes what is escape, so that one is left for each of the others.
            let others = self.text[index + 1..].iter().take_while(|byte| **byte == b'\\').count();
            let most = (others + 1) * (BACKSLASHES + 1);
            let run = run_of(most);
            return if !ends && run == text.len() && run < most { Found::Perhaps } else { Found::Yes(run.saturating_sub(others).max(1)) };
        }
        let run = run_of(BACKSLASHES);
        match text.get(run) {
            None => Found::Perhaps,
            Some(b'u') => match (self.unicode(index, &text[run + 1..], run + 1), self.fits(index, b'u')) {
                (Found::No, true) => Found::Yes(run + 1),
                (found, _) => found,
            },
            Some(byte) if self.fits(index, *byte) => Found::Yes(run + 1),
            Some(_) => Found::No,
        }
    }

    fn unicode(&self, index: usize, digits: &[u8], before: usize) -> Found {
        match digits {
            [] | [b'0'] => Found::Perhaps,
            [b'0', b'0', rest @ ..] => self.hex(index, rest, before + 2),
            _ => Found::No,
        }
    }

    /// Two hexadecimal digits, of a form that has so many bytes before them.
    fn hex(&self, index: usize, digits: &[u8], before: usize) -> Found {
        let digit = |at: usize| digits.get(at).map(|digit| char::from(*digit).to_digit(16));
        match (digit(0), digit(1)) {
            (Some(None), _) | (_, Some(None)) => Found::No,
            (Some(Some(high)), Some(Some(low))) => match u8::try_from(high * 16 + low) {
                Ok(byte) if self.fits(index, byte) => Found::Yes(before + 2),
                _ => Found::No,
            },
            _ => Found::Perhaps,
        }
    }

    fn fits(&self, index: usize, byte: u8) -> bool {
        let wanted = self.text[index];
        wanted == byte
            || match (wanted, byte) {
                (b' ', b'+') => self.escapes == Escapes::Url && !self.is_base64,
                (b'+', b'-') | (b'/', b'_') => self.is_base64,
                _ => false,
            }
    }
}

/// A secret as it is, and its base64 in each of the three places that it can have in a longer text: only the characters that are made of
/// nothing but the secret.
fn patterns(secret: &[u8]) -> Vec<Pattern> {
    let mut texts = vec![(Zeroizing::new(secret.to_vec()), false)];
    for before in 0..3 {
        let mut shifted = Zeroizing::new(Vec::with_capacity(before + secret.len()));
        shifted.resize(before, 0);
        shifted.extend_from_slice(secret);
        let encoded = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*shifted).into_bytes());
        let (from, to) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        if from < to {
            texts.push((Zeroizing::new(encoded[from..to].to_vec()), true));
        }
    }
    let escapes = [Escapes::Json, Escapes::Url];
    let both = |(text, is_base64): (Zeroizing<Vec<u8>>, bool)| escapes.map(|escapes| Pattern { text: text.clone(), is_base64, escapes });
    texts.into_iter().flat_map(both).collect()
}
