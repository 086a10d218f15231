//! The tape: one token for each value and key, in the order of the text.

use super::text::{end_of_plain, hex4, is_short_escape};

/// Levels of arrays and objects that are read.
pub(crate) const MAX_DEPTH: usize = 128;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    Key,
    String,
    Number,
    Bool,
    Null,
}

/// A value or a key. Its span takes in the quotes or brackets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: Type,
    start: u32,
    end: u32,
    /// The token after this one and all that is in it.
    next: u32,
}

impl Token {
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn end(self) -> usize {
        self.end as usize
    }

    /// The index of the token after this value and all that is in it.
    pub(crate) fn next(self) -> usize {
        self.next as usize
    }

    pub(crate) fn is_container(self) -> bool {
        matches!(self.kind, Type::Object | Type::Array)
    }
}

/// Why a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Not as RFC 8259 says, at this byte.
    Syntax(usize),
    /// Nested too deep, at this byte.
    Depth(usize),
}

/// The tokens of JSON values.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    tokens: Vec<Token>,
}

impl Tape {
    /// Reads the values of a text that holds nothing else: one, or several with white space between (JSON Lines).
    pub(crate) fn read(text: &str) -> Result<Tape, Flaw> {
        // A token for every ten bytes or so.
        let mut reader = Reader::new(text, text.len() / 10);
        reader.space();
        while reader.at < reader.bytes.len() {
            reader.value()?;
            reader.space();
        }
        if reader.tokens.is_empty() { Err(Flaw::Syntax(reader.at)) } else { Ok(Tape { tokens: reader.tokens }) }
    }

    /// Reads the one value that begins at `at`, and says where it ends.
    pub(crate) fn read_at(text: &str, at: usize) -> Result<(Tape, usize), Flaw> {
        let mut reader = Reader::new(text, 0);
        reader.at = at;
        reader.value()?;
        Ok((Tape { tokens: reader.tokens }, reader.at))
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    /// The tokens of the containers that are open.
    open: Vec<u32>,
    /// A bit for each of them, the innermost lowest: whether it is an object.
    objects: u128,
}

const _: () = assert!(MAX_DEPTH <= 128);

impl<'a> Reader<'a> {
    fn new(text: &'a str, tokens: usize) -> Reader<'a> {
        Reader { bytes: text.as_bytes(), at: 0, tokens: Vec::with_capacity(tokens), open: Vec::new(), objects: 0 }
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

    fn flaw<T>(&self) -> Result<T, Flaw> {
        Err(Flaw::Syntax(self.at))
    }

    /// Texts are shorter than 4 GiB: whoever reads a tape has seen to that.
    #[inline]
    fn push(&mut self, kind: Type, start: usize) {
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let next = position(self.tokens.len() + 1);
        self.tokens.push(Token { kind, start: position(start), end: position(self.at), next });
    }

    fn enter(&mut self, kind: Type) -> Result<(), Flaw> {
        if self.open.len() == MAX_DEPTH {
            return Err(Flaw::Depth(self.at));
        }
        self.open.push(u32::try_from(self.tokens.len()).unwrap_or(u32::MAX));
        self.objects = self.objects << 1 | u128::from(kind == Type::Object);
        let start = self.at;
        self.at += 1;
        self.push(kind, start);
        Ok(())
    }

    fn leave(&mut self) {
        self.at += 1;
        self.objects >>= 1;
        let next = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let end = u32::try_from(self.at).unwrap_or(u32::MAX);
        if let Some(token) = self.open.pop().and_then(|open| self.tokens.get_mut(open as usize)) {
            token.next = next;
            token.end = end;
        }
    }

    fn value(&mut self) -> Result<(), Flaw> {
        'value: loop {
            match self.space() {
                Some(b'"') => self.string(Type::String)?,
                Some(b'{') => {
                    self.enter(Type::Object)?;
                    if self.space() == Some(b'}') {
                        self.leave();
                    } else {
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.enter(Type::Array)?;
                    if self.space() == Some(b']') {
                        self.leave();
                    } else {
                        continue 'value;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true", Type::Bool)?,
                Some(b'f') => self.literal("false", Type::Bool)?,
                Some(b'n') => self.literal("null", Type::Null)?,
                _ => return self.flaw(),
            }
            loop {
                if self.open.is_empty() {
                    return Ok(());
                }
                let is_object = self.objects & 1 != 0;
                match self.space() {
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        continue 'value;
                    }
                    Some(b'}') if is_object => self.leave(),
                    Some(b']') if !is_object => self.leave(),
                    _ => return self.flaw(),
                }
            }
        }
    }

    #[inline]
    fn key(&mut self) -> Result<(), Flaw> {
        if self.space() != Some(b'"') {
            return self.flaw();
        }
        self.string(Type::Key)?;
        if self.space() != Some(b':') {
            return self.flaw();
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn string(&mut self, kind: Type) -> Result<(), Flaw> {
        let start = self.at;
        let mut i = start + 1;
        loop {
            i = end_of_plain(self.bytes, i);
            match (self.bytes.get(i), self.bytes.get(i + 1)) {
                (Some(b'"'), _) => {
                    self.at = i + 1;
                    self.push(kind, start);
                    return Ok(());
                }
                (Some(b'\\'), Some(b'u')) if hex4(self.bytes, i + 2).is_some() => i += 6,
                (Some(b'\\'), Some(next)) if is_short_escape(*next) => i += 2,
                _ => {
                    self.at = i;
                    return self.flaw();
                }
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits()?;
        if zero && whole > 1 {
            return self.flaw();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(Type::Number, start);
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, Flaw> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.flaw() } else { Ok(self.at - start) }
    }

    fn literal(&mut self, word: &str, kind: Type) -> Result<(), Flaw> {
        let start = self.at;
        if self.bytes.get(start..start + word.len()) != Some(word.as_bytes()) {
            return self.flaw();
        }
        self.at += word.len();
        self.push(kind, start);
        Ok(())
    }
}
