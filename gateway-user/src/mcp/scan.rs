//! The JSON scanner: RFC 8259 over bytes that are known to be UTF-8, without a tree.

use super::Flaw;
use super::keys::{Keys, variant_of};
use super::message::Span;
use super::text::{SIMPLE_ESCAPE, Text, end_of_plain, hex4, shown};

/// A fault at a place of the input.
///
/// Boxed, so that what goes well is returned in registers.
#[derive(Debug)]
pub(super) struct Fault(Box<(Flaw, String)>);

impl Fault {
    pub(super) fn new(flaw: Flaw, message: impl Into<String>) -> Self {
        Self(Box::new((flaw, message.into())))
    }

    pub(super) fn into_parts(self) -> (Flaw, String) {
        *self.0
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// A number of the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) span: Span,
    /// Spelt without fraction and exponent.
    pub(super) integer: bool,
}

/// An object that is being read key by key.
#[derive(Debug)]
pub(super) struct Object {
    mark: usize,
    empty_so_far: bool,
    folded: bool,
}

/// What a value begins like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Null,
    Bool,
}

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub(super) input: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
    keys: Keys,
    /// Containers that [`Scanner::skip`] is in: where the keys of an object begin, or nothing for an array.
    stack: Vec<Option<usize>>,
    /// The first fault that does not stop the reading.
    noted: Option<Fault>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a str, max_depth: usize) -> Self {
        Self { input, bytes: input.as_bytes(), at: 0, depth: 0, max_depth, keys: Keys::new(), stack: Vec::new(), noted: None }
    }

    /// Keeps the first fault that leaves the rest readable: so that the id may still be found.
    pub(super) fn note(&mut self, flaw: Flaw, message: impl FnOnce() -> String) {
        if self.noted.is_none() {
            self.noted = Some(Fault::new(flaw, message()));
        }
    }

    pub(super) fn take_noted(&mut self) -> Option<Fault> {
        self.noted.take()
    }

    #[cold]
    fn fault<T>(&self, flaw: Flaw, what: &str) -> Result<T> {
        Err(Fault::new(flaw, format!("the JSON is malformed at byte {}: {what}", self.at)))
    }

    #[cold]
    fn unexpected<T>(&self, expected: &str) -> Result<T> {
        match self.bytes.get(self.at) {
            None => self.fault(Flaw::Syntax, &format!("it ends where {expected} should be")),
            Some(byte) => {
                let found = char::from(*byte).escape_default();
                self.fault(Flaw::Syntax, &format!("`{found}` stands where {expected} should be"))
            }
        }
    }

    #[inline]
    fn space(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// After white space: where the next token begins.
    pub(super) fn here(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Where the last token ended.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn kind(&mut self) -> Result<Kind> {
        Ok(match self.space() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            _ => return self.unexpected("a value"),
        })
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.space() {
            None => Ok(()),
            Some(_) => self.fault(Flaw::Trailing, "something follows the message; send one message only"),
        }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth <= self.max_depth {
            return Ok(());
        }
        let max = self.max_depth;
        let message = format!("the JSON is nested deeper than {max} levels at byte {}; flatten it", self.at);
        Err(Fault::new(Flaw::Depth, message))
    }

    /// Enters an object, which must come next. `folded`: keys that differ in case only count as the same.
    pub(super) fn open(&mut self, folded: bool) -> Result<Object> {
        if self.space() != Some(b'{') {
            return self.unexpected("an object");
        }
        self.deeper()?;
        self.at += 1;
        Ok(Object { mark: self.keys.mark(), empty_so_far: true, folded })
    }

    /// The next key of an object, its colon consumed; `None` at the end of the object.
    pub(super) fn key(&mut self, object: &mut Object) -> Result<Option<Text>> {
        match self.space() {
            Some(b'}') => {
                self.at += 1;
                self.depth -= 1;
                self.close_keys(object.mark, object.folded);
                return Ok(None);
            }
            Some(b',') if !object.empty_so_far => self.at += 1,
            Some(b'"') if object.empty_so_far => {}
            _ => {
                return self.unexpected(if object.empty_so_far { "a key or `}`" } else { "`,` or `}`" });
            }
        }
        object.empty_so_far = false;
        self.one_key().map(Some)
    }

    #[inline]
    fn one_key(&mut self) -> Result<Text> {
        if self.space() != Some(b'"') {
            return self.unexpected("a key");
        }
        let text = self.string()?;
        if self.space() != Some(b':') {
            return self.unexpected("`:`");
        }
        self.at += 1;
        self.keys.add(self.input, text);
        Ok(text)
    }

    #[inline]
    fn close_keys(&mut self, mark: usize, folded: bool) {
        if let Some((one, other)) = self.keys.close(self.input, mark, folded) {
            let (a, b) = (one.decode(self.input), other.decode(self.input));
            let at = one.start.max(other.start);
            if a == b {
                self.note(Flaw::DuplicateKey, || {
                    format!("the key {} stands twice in one object (byte {at}); which value counts is not certain: send it once", shown(&a))
                });
            } else {
                self.note(Flaw::KeyVariant, || {
                    format!(
                        "the keys {} and {} differ in case only (byte {at}), and some readers take them for one; send one of them",
                        shown(&a),
                        shown(&b)
                    )
                });
            }
        }
    }

    /// Notes a key that is nearly, but not exactly, one of `control`.
    pub(super) fn check_variant(&mut self, key: &str, control: &[&str]) {
        if let Some(meant) = variant_of(key, control) {
            self.note(Flaw::KeyVariant, || {
                format!("the key {} is not `{meant}`, but some readers take it for that; spell it exactly or leave it out", shown(key))
            });
        }
    }

    /// Reads a string, which must come next.
    pub(super) fn string(&mut self) -> Result<Text> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return self.unexpected("a string");
        }
        let start = self.at + 1;
        let mut escaped = false;
        let mut i = start;
        loop {
            i = end_of_plain(self.bytes, i);
            match self.bytes.get(i) {
                Some(b'"') => {
                    self.at = i + 1;
                    return Ok(Text::new(start, i, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    // Text that holds JSON is full of `\"`: a look into a table costs less than a jump that is guessed wrong.
                    i = match self.bytes.get(i + 1) {
                        Some(next) if SIMPLE_ESCAPE[usize::from(*next)] => i + 2,
                        _ => {
                            self.at = i;
                            self.escape()?
                        }
                    };
                }
                Some(_) => {
                    self.at = i;
                    return self.fault(Flaw::Syntax, "a control character stands in a string unescaped");
                }
                None => {
                    self.at = i;
                    return self.fault(Flaw::Syntax, "it ends within a string");
                }
            }
        }
    }

    /// Checks the escape at the current place and returns where it ends.
    fn escape(&self) -> Result<usize> {
        let at = self.at;
        match self.bytes.get(at + 1) {
            Some(next) if SIMPLE_ESCAPE[usize::from(*next)] => Ok(at + 2),
            Some(b'u') => match hex4(self.bytes, at + 2) {
                None => self.fault(Flaw::Syntax, "`\\u` is not followed by four hexadecimal digits"),
                Some(0xD800..=0xDBFF) => {
                    let second = self.bytes.get(at + 6..at + 8) == Some(b"\\u");
                    match hex4(self.bytes, at + 8) {
                        Some(0xDC00..=0xDFFF) if second => Ok(at + 12),
                        _ => self.fault(Flaw::Surrogate, "half of a surrogate pair stands alone"),
                    }
                }
                Some(0xDC00..=0xDFFF) => self.fault(Flaw::Surrogate, "half of a surrogate pair stands alone"),
                Some(_) => Ok(at + 6),
            },
            _ => self.fault(Flaw::Syntax, "a backslash is not followed by an escape that JSON has"),
        }
    }

    /// Reads a number, which must come next.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let digit = |i: usize| self.bytes.get(i).is_some_and(u8::is_ascii_digit);
        let mut i = start;
        if self.bytes.get(i) == Some(&b'-') {
            i += 1;
        }
        if !digit(i) {
            self.at = i;
            return self.unexpected("a digit");
        }
        if self.bytes[i] == b'0' {
            i += 1;
        } else {
            while digit(i) {
                i += 1;
            }
        }
        let mut integer = true;
        let mut exponent = false;
        if self.bytes.get(i) == Some(&b'.') {
            integer = false;
            i += 1;
            if !digit(i) {
                self.at = i;
                return self.unexpected("a digit after the decimal point");
            }
            while digit(i) {
                i += 1;
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(i) {
            integer = false;
            exponent = true;
            i += 1;
            if let Some(b'+' | b'-') = self.bytes.get(i) {
                i += 1;
            }
            if !digit(i) {
                self.at = i;
                return self.unexpected("a digit in the exponent");
            }
            while digit(i) {
                i += 1;
            }
        }
        self.at = i;
        let span = Span { start, end: i };
        if exponent || i - start > 300 {
            self.check_double(span);
        }
        Ok(Number { span, integer })
    }

    fn check_double(&mut self, span: Span) {
        let spelling = self.input.get(span.start..span.end).unwrap_or_default();
        if !spelling.parse::<f64>().is_ok_and(f64::is_finite) {
            self.note(Flaw::Number, || format!("the number at byte {} is beyond what a double holds; readers differ on it", span.start));
        }
    }

    #[inline]
    fn literal(&mut self, word: &str) -> Result<()> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.unexpected(word)
        }
    }

    /// A string as meant, or nothing when another value comes next, which is then skipped.
    pub(super) fn optional_string(&mut self) -> Result<Option<String>> {
        if self.kind()? == Kind::String {
            let text = self.string()?;
            return Ok(Some(text.decode(self.input).into_owned()));
        }
        self.skip(0)?;
        Ok(None)
    }

    /// `true` when that comes next; any value is consumed.
    pub(super) fn is_true(&mut self) -> Result<bool> {
        let start = self.here();
        self.skip(0)?;
        Ok(self.bytes.get(start..self.at) == Some(b"true"))
    }

    /// Checks and skips any value. In the outermost `folded_levels` levels of objects, keys that differ in case
    /// only count as the same.
    pub(super) fn skip(&mut self, folded_levels: usize) -> Result<Span> {
        let start = self.here();
        let outside = self.depth;
        'value: loop {
            match self.space() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    self.deeper()?;
                    self.at += 1;
                    let mark = self.keys.mark();
                    if self.space() == Some(b'}') {
                        self.at += 1;
                        self.depth -= 1;
                    } else {
                        self.stack.push(Some(mark));
                        self.one_key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.deeper()?;
                    self.at += 1;
                    if self.space() == Some(b']') {
                        self.at += 1;
                        self.depth -= 1;
                    } else {
                        self.stack.push(None);
                        continue 'value;
                    }
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                }
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                _ => return self.unexpected("a value"),
            }
            loop {
                if self.depth == outside {
                    return Ok(Span { start, end: self.at });
                }
                let container = self.stack.last().copied().flatten();
                match (self.space(), container) {
                    (Some(b','), Some(_)) => {
                        self.at += 1;
                        self.one_key()?;
                        continue 'value;
                    }
                    (Some(b','), None) => {
                        self.at += 1;
                        continue 'value;
                    }
                    (Some(b'}'), Some(mark)) => {
                        self.at += 1;
                        self.stack.pop();
                        self.close_keys(mark, self.depth - outside <= folded_levels);
                        self.depth -= 1;
                    }
                    (Some(b']'), None) => {
                        self.at += 1;
                        self.stack.pop();
                        self.depth -= 1;
                    }
                    (_, Some(_)) => return self.unexpected("`,` or `}`"),
                    (_, None) => return self.unexpected("`,` or `]`"),
                }
            }
        }
    }

    /// Enters an array, which must come next.
    pub(super) fn open_array(&mut self) -> Result<()> {
        if self.space() != Some(b'[') {
            return self.unexpected("an array");
        }
        self.deeper()?;
        self.at += 1;
        Ok(())
    }

    /// Whether another item follows in the array.
    pub(super) fn item(&mut self, first: bool) -> Result<bool> {
        match self.space() {
            Some(b']') => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => self.unexpected("`,` or `]`"),
        }
    }
}
