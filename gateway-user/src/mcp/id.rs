use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::ser::Error as _;
use serde_json::value::RawValue;

/// A JSON-RPC id, or a progress token: what an answer is matched to its request by.
///
/// It keeps its exact spelling for sending, and compares by value: a text with a text, a number with a number.
/// `1` and `1.0` are the same number, because a JavaScript server that is sent `1.0` answers `1`; only numbers
/// that survive a double are ids at all. `"1"` and `1` differ.
#[derive(Debug, Clone)]
pub struct Id {
    raw: Box<str>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    /// As spelt between the quotes.
    PlainText,
    /// Decoded, where the spelling has escapes.
    Text(Box<str>),
    Integer(i64),
    /// Of a number that is no integer of 64 bits.
    Double(u64),
}

/// How an id is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// A JSON string.
    String,
    /// A number without fraction and exponent.
    Integer,
    /// Any other number.
    Float,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Comparable<'a> {
    Text(&'a str),
    Integer(i64),
    Double(u64),
}

impl Id {
    /// Of a string of the input: `raw` with its quotes, `decoded` when it has escapes.
    pub(super) fn text(raw: &str, decoded: Option<String>) -> Self {
        let value = decoded.map_or(Value::PlainText, |text| Value::Text(text.into()));
        Self { raw: raw.into(), value }
    }

    /// Of a JSON number; `None` when a reader that uses doubles would take it for another number.
    pub(super) fn number(raw: &str) -> Option<Self> {
        // 15 digits always survive a double.
        if raw.len() <= 15
            && let Ok(n) = raw.parse::<i64>()
        {
            return Some(Self { raw: raw.into(), value: Value::Integer(n) });
        }
        let double: f64 = raw.parse().ok()?;
        if !double.is_finite() || decimal(raw)? != decimal(&format!("{double:e}"))? {
            return None;
        }
        let printed = format!("{double}");
        let value = match printed.parse::<i64>() {
            Ok(n) => Value::Integer(n),
            Err(_) => Value::Double(double.to_bits()),
        };
        Some(Self { raw: raw.into(), value })
    }

    /// The JSON as received.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// How it is spelt.
    pub fn kind(&self) -> IdKind {
        match self.value {
            Value::PlainText | Value::Text(_) => IdKind::String,
            _ if self.raw.bytes().all(|b| b == b'-' || b.is_ascii_digit()) => IdKind::Integer,
            _ => IdKind::Float,
        }
    }

    fn comparable(&self) -> Comparable<'_> {
        match &self.value {
            Value::PlainText => Comparable::Text(self.raw.get(1..self.raw.len() - 1).unwrap_or_default()),
            Value::Text(text) => Comparable::Text(text),
            Value::Integer(n) => Comparable::Integer(*n),
            Value::Double(bits) => Comparable::Double(*bits),
        }
    }
}

/// The digits of a decimal number without zeros at either end, and where its point is: equal for spellings of
/// one number.
fn decimal(spelling: &str) -> Option<(bool, String, i64)> {
    let (negative, unsigned) = match spelling.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, spelling),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return Some((false, String::new(), 0));
    }
    let scale = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    Some((negative, significant.to_owned(), scale.checked_add(zeros)?))
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.comparable() == other.comparable()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.comparable().hash(state);
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.comparable().cmp(&other.comparable())
    }
}

/// Writes the JSON as received.
impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.raw)
    }
}

/// With `serde_json`: the JSON as received.
impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.raw).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}
