//! What is a word, a string and a comment in SQL: servers do not agree, and where they do not, each reading is kept.

use std::borrow::Cow;

use memchr::memmem;
use sqlparser::dialect::{Dialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};

/// How one kind of server cuts a text into words.
#[derive(Debug)]
pub(super) struct Rules {
    /// Its grammar.
    pub(super) dialect: &'static (dyn Dialect + Sync),
    /// `\'` does not end a string.
    backslash: bool,
    /// `/* /* */ */` is one comment.
    nested_comments: bool,
    /// `[a b]` is a name.
    brackets: bool,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    Postgres,
    MySql,
    Other,
}

pub(super) static RULES: [Rules; 4] = [
    Rules { dialect: &PostgreSqlDialect {}, backslash: false, nested_comments: true, brackets: false, kind: Kind::Postgres },
    Rules { dialect: &MySqlDialect {}, backslash: true, nested_comments: false, brackets: false, kind: Kind::MySql },
    Rules { dialect: &MsSqlDialect {}, backslash: false, nested_comments: true, brackets: true, kind: Kind::Other },
    Rules { dialect: &SQLiteDialect {}, backslash: false, nested_comments: false, brackets: true, kind: Kind::Other },
];

/// A piece of a statement. Places are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: What,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A keyword, a name, or a number.
    Word,
    /// A name in quotes; in MySQL, `"…"` is a string.
    Quoted,
    /// A string.
    Text,
    /// One character of punctuation.
    Mark(u8),
}

/// A text as some servers read it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Token>,
    /// Whether something was left out between tokens that is no white space.
    pub(super) has_comments: bool,
    /// Whose reading it is, by place in [`RULES`]; more than one where they agree.
    pub(super) of: Vec<usize>,
}

impl<'a> Reading<'a> {
    /// A token as it is spelt.
    pub(super) fn spelt(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| &self.text[token.start..token.end])
    }

    /// Whether there is this word, which is not a quoted name. `word` is in capitals.
    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == What::Word) && self.spelt(at).eq_ignore_ascii_case(word)
    }

    pub(super) fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    pub(super) fn mark(&self, at: usize, mark: u8) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == What::Mark(mark))
    }

    /// Whether there is a name or a keyword.
    pub(super) fn is_name(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| matches!(token.kind, What::Word | What::Quoted))
    }

    /// What a token holds, without its quotes.
    pub(super) fn content(&self, at: usize) -> Cow<'a, str> {
        let spelt = self.spelt(at);
        match self.tokens.get(at).map(|token| token.kind) {
            Some(What::Text | What::Quoted) => unquoted(spelt),
            _ => Cow::Borrowed(spelt),
        }
    }

    /// The text of some tokens without the comments between them.
    pub(super) fn without_comments(&self, from: usize, to: usize) -> Cow<'a, str> {
        let Some(tokens) = self.tokens.get(from..to).filter(|tokens| !tokens.is_empty()) else { return Cow::Borrowed("") };
        if !self.has_comments {
            return Cow::Borrowed(&self.text[tokens[0].start..tokens[tokens.len() - 1].end]);
        }
        let mut text = String::with_capacity(self.text.len());
        let mut end = tokens[0].start;
        for token in tokens {
            if token.start > end {
                text.push(' ');
            }
            text.push_str(&self.text[token.start..token.end]);
            end = token.end;
        }
        Cow::Owned(text)
    }
}

fn unquoted(spelt: &str) -> Cow<'_, str> {
    if let Some(rest) = spelt.strip_prefix('$') {
        let tag = rest.find('$').map_or(0, |at| at + 2);
        let body = spelt.get(tag..spelt.len().saturating_sub(tag)).unwrap_or_default();
        return Cow::Borrowed(body);
    }
    let from = spelt.find(['\'', '"', '`', '[']).map_or(0, |at| at + 1);
    let to = if spelt.ends_with(['\'', '"', '`', ']']) { spelt.len() - 1 } else { spelt.len() };
    let inner = spelt.get(from..to).unwrap_or_default();
    let Some(quote) = spelt[..from].chars().next_back().filter(|quote| *quote != '[') else { return Cow::Borrowed(inner) };
    if !inner.contains([quote, '\\']) {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(c);
        if c == quote {
            chars.next();
        } else if c == '\\' {
            text.pop();
            text.extend(chars.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped }));
        }
    }
    Cow::Owned(text)
}

/// The readings of a text, the same ones once.
pub(super) fn readings(text: &str) -> Vec<Reading<'_>> {
    let mut readings = vec![read(text, 0)];
    if !is_plain(text) {
        for of in 1..RULES.len() {
            let other = read(text, of);
            match readings.iter_mut().find(|reading| reading.tokens == other.tokens) {
                Some(same) => same.of.push(of),
                None => readings.push(other),
            }
        }
    } else if let Some(one) = readings.first_mut() {
        one.of = (0..RULES.len()).collect();
    }
    readings
}

/// Whether nothing is in a text that servers read differently.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr3(b'\\', b'#', b'$', bytes).is_none()
        && memchr::memchr3(b'[', b'`', b'"', bytes).is_none()
        && memmem::find(bytes, b"--").is_none()
        && memmem::find(bytes, b"/*").is_none()
}

fn read(text: &str, of: usize) -> Reading<'_> {
    let rules = &RULES[of];
    let bytes = text.as_bytes();
    let mut reading = Reading { text, tokens: Vec::with_capacity(text.len() / 4), has_comments: false, of: vec![of] };
    let mut at = 0;
    // Inside MySQL's `/*! … */`, which it runs.
    let mut executable = false;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let (what, length) = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => {
                at += 1;
                continue;
            }
            b'-' if is_line_comment(rest, rules) => {
                reading.has_comments = true;
                at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                continue;
            }
            b'#' if rules.kind == Kind::MySql => {
                reading.has_comments = true;
                at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                continue;
            }
            b'/' if rest.starts_with(b"/*") => {
                reading.has_comments = true;
                match (rules.kind == Kind::MySql).then(|| executable_start(rest)).flatten() {
                    Some(length) => {
                        executable = true;
                        at += length;
                    }
                    None => at += comment_length(rest, rules.nested_comments),
                }
                continue;
            }
            b'*' if executable && rest.starts_with(b"*/") => {
                executable = false;
                at += 2;
                continue;
            }
            b'\'' => (What::Text, string_length(rest, b'\'', rules.backslash)),
            b'"' => (What::Quoted, string_length(rest, b'"', rules.backslash)),
            b'`' => (What::Quoted, string_length(rest, b'`', false)),
            b'[' if rules.brackets => (What::Quoted, string_length(rest, b']', false)),
            b'$' if rules.kind == Kind::Postgres => dollar(rest),
            _ if is_word(byte) => word(rest, rules),
            mark => (What::Mark(mark), 1),
        };
        reading.tokens.push(Token { kind: what, start: at, end: at + length });
        at += length;
    }
    reading
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte == b'@' || byte >= 0x80
}

/// MySQL wants white space or the end behind `--`.
fn is_line_comment(rest: &[u8], rules: &Rules) -> bool {
    rest.starts_with(b"--") && (rules.kind != Kind::MySql || rest.get(2).is_none_or(|byte| *byte <= b' '))
}

/// The length of `/*!`, `/*M!` (MariaDB) and the version behind it.
fn executable_start(rest: &[u8]) -> Option<usize> {
    let mark = if rest.starts_with(b"/*!") { 3 } else { rest.starts_with(b"/*M!").then_some(4)? };
    let digits = rest[mark..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    Some(mark + if digits >= 5 { digits } else { 0 })
}

fn comment_length(rest: &[u8], nested: bool) -> usize {
    let mut depth = 1_usize;
    let mut at = 2;
    while depth > 0 {
        let Some(next) = memchr::memchr2(b'*', b'/', &rest[at..]) else { return rest.len() };
        at += next;
        if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else if nested && rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else {
            at += 1;
        }
    }
    at
}

/// The length of what begins with a quote and goes on to `quote`, which stands for itself when it is doubled.
fn string_length(rest: &[u8], quote: u8, backslash: bool) -> usize {
    let mut at = 1;
    loop {
        let Some(next) = memchr::memchr2(quote, if backslash { b'\\' } else { quote }, rest.get(at..).unwrap_or_default()) else {
            return rest.len();
        };
        at += next;
        if rest[at] == quote && rest.get(at + 1) != Some(&quote) {
            return at + 1;
        }
        at += 2;
        if at >= rest.len() {
            return rest.len();
        }
    }
}

/// A word, or a string with a letter before it: `N'…'`, `E'…'`.
fn word(rest: &[u8], rules: &Rules) -> (What, usize) {
    if let [letter, b'\'', ..] = rest
        && b"nNeExXbBqQ".contains(letter)
    {
        let backslash = rules.backslash || (rules.kind == Kind::Postgres && letter.eq_ignore_ascii_case(&b'e'));
        return (What::Text, 1 + string_length(&rest[1..], b'\'', backslash));
    }
    let mut length = rest.iter().take_while(|byte| is_word(**byte)).count();
    // `1.5` is one number, `a.b` three tokens.
    if rest[0].is_ascii_digit() && rest.get(length) == Some(&b'.') {
        length += 1 + rest[length + 1..].iter().take_while(|byte| is_word(**byte)).count();
    }
    (What::Word, length)
}

/// `$tag$…$tag$`, or a parameter.
fn dollar(rest: &[u8]) -> (What, usize) {
    let tag = rest[1..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte >= 0x80).count();
    if rest.get(tag + 1) == Some(&b'$') && !rest[1].is_ascii_digit() {
        let quote = &rest[..tag + 2];
        let end = memmem::find(&rest[quote.len()..], quote);
        return (What::Text, end.map_or(rest.len(), |end| end + 2 * quote.len()));
    }
    (What::Word, tag + 1)
}
