//! What takes the place of a value.

use crate::json::Type;
use crate::outcome::Mac;
use crate::rule::How;

/// A value to be masked.
pub(crate) struct Value<'a> {
    /// A text as it is meant, or a number, boolean, array or object as JSON.
    pub(crate) text: &'a str,
    /// The kind that was found, or the rule.
    pub(crate) label: &'a str,
    pub(crate) token: Mac<'a>,
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Value<'_> {
    /// The text that takes the place of a text. Empty for what is dropped.
    pub(crate) fn text(&self, how: How) -> String {
        match how {
            How::Redact => format!("[masked: {}]", self.label),
            How::Partial { keep } => partial(self.text, usize::from(keep)),
            How::Token => self.name(),
            How::Drop => String::new(),
            How::Format => self.alike(self.text, false).unwrap_or_else(|| self.text(How::Redact)),
        }
    }

    /// The JSON that takes the place of a number or boolean. `typed`: it should stay one, for a schema's sake.
    pub(crate) fn scalar(&self, how: How, kind: Type, typed: bool) -> String {
        match (kind, how) {
            (Type::Bool, _) if typed => "false".to_owned(),
            (Type::Number, How::Format) => self.alike_number(),
            (Type::Number, How::Partial { keep }) if typed => partial_number(self.text, usize::from(keep)),
            (Type::Number, How::Token) if typed => self.number(),
            (Type::Number, _) if typed => "0".to_owned(),
            (Type::Bool, How::Format) => "false".to_owned(),
            (Type::Bool, How::Partial { .. }) => quoted(&self.text(How::Redact)),
            _ => quoted(&self.text(how)),
        }
    }

    fn name(&self) -> String {
        let mac = (self.token)(&[self.label.as_bytes(), self.text.as_bytes()]);
        let mut bits = mac.iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut name = [0; 16];
        for place in name.iter_mut().rev() {
            *place = BASE32[usize::try_from(bits & 31).unwrap_or(0)];
            bits >>= 5;
        }
        format!("tok_{}", name.iter().map(|byte| char::from(*byte)).collect::<String>())
    }

    /// A number of 15 digits, which every reader can hold, in place of a name.
    fn number(&self) -> String {
        let mac = (self.token)(&[self.label.as_bytes(), self.text.as_bytes()]);
        let bits = mac.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (100_000_000_000_000 + bits % 900_000_000_000_000).to_string()
    }

    /// Another text of this shape; nothing if it has neither letter nor digit.
    fn alike(&self, text: &str, number: bool) -> Option<String> {
        if !text.chars().any(char::is_alphanumeric) {
            return None;
        }
        let mut stream = Stream { value: self, round: 0, block: [0; 32], used: 32 };
        // A short text may come out as itself: then the next one counts.
        (0..64).map(|_| shape(text, number, &mut stream)).find(|alike| alike != text)
    }

    /// A number with as many digits, its sign, its point and its exponent.
    fn alike_number(&self) -> String {
        let mantissa = self.text.find(['e', 'E']).unwrap_or(self.text.len());
        let (mantissa, exponent) = self.text.split_at(mantissa);
        self.alike(mantissa, true).map_or_else(|| "0".to_owned(), |alike| alike + exponent)
    }
}

/// Bytes derived from a value.
struct Stream<'a> {
    value: &'a Value<'a>,
    round: u32,
    block: [u8; 32],
    used: usize,
}

impl Stream<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        if self.used == self.block.len() {
            let round = self.round.to_be_bytes();
            self.block = (self.value.token)(&[self.value.label.as_bytes(), self.value.text.as_bytes(), b"format", &round]);
            self.round += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1] % bound
    }
}

fn shape(text: &str, number: bool, stream: &mut Stream<'_>) -> String {
    let mut first = true;
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(char) = rest.next() {
        out.push(match char {
            // A number does not begin with a zero that it did not begin with.
            '0'..='9' if number && first && rest.peek().is_some_and(char::is_ascii_digit) => char::from(b'1' + stream.below(9)),
            '0' if number && first && text.starts_with("-0") && rest.peek().is_none() => '0',
            char if char.is_numeric() => char::from(b'0' + stream.below(10)),
            char if char.is_uppercase() => char::from(b'A' + stream.below(26)),
            char if char.is_alphanumeric() => char::from(b'a' + stream.below(26)),
            other => other,
        });
        first &= !char.is_numeric();
    }
    out
}

/// What stands between the characters of a value, and tells nothing of it.
const SEPARATORS: &[char] = &[' ', '-', '.', '/', '_', ':', '@', '+', '(', ')', ','];

fn partial(text: &str, keep: usize) -> String {
    let count = text.chars().filter(|char| !SEPARATORS.contains(char)).count();
    let kept = if count > 2 * keep { keep } else { 0 };
    let mut at = 0;
    let masked = text.chars().map(|char| {
        if SEPARATORS.contains(&char) {
            return char;
        }
        at += 1;
        if at > count - kept { char } else { '*' }
    });
    masked.collect()
}

/// The last digits of a whole number, as a number; `0` if that is not possible.
fn partial_number(text: &str, keep: usize) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() <= 2 * keep || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return "0".to_owned();
    }
    let kept = digits.get(digits.len() - keep..).unwrap_or_default().trim_start_matches('0');
    if kept.is_empty() { "0".to_owned() } else { kept.to_owned() }
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    crate::json::escape_into(text, &mut out);
    out.push('"');
    out
}
