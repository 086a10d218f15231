//! Plain `SELECT`s, told by their words: most of the SQL that agents send, for which a parser takes many times as long.
//!
//! Whatever is not surely in this grammar is left to the parser, which would make the same of what is: a test compares them. A name is no
//! keyword of the parser's, but for [`NAMES`] and what stands behind a dot.
//!
//! ```text
//! select    = SELECT [DISTINCT] item {"," item} [FROM table {"," table} [WHERE tests] [GROUP BY value {"," value}]
//!             [ORDER BY value [ASC | DESC] {"," …}] [LIMIT number [OFFSET number]]]
//! item      = "*" | column ".*" | value [[AS] name]
//! table     = source {[INNER | (LEFT | RIGHT | FULL) [OUTER]] JOIN source ON tests}
//! source    = column [[AS] name]
//! tests     = test {(AND | OR) test}
//! test      = value ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") value | value IS [NOT] NULL | value [NOT] LIKE text
//!           | value [NOT] IN "(" value {"," value} ")"
//! value     = column | number | text | name "(" ["*" | simple {"," simple}] ")"
//! simple    = column | number | text
//! column    = name {"." word}
//! ```

use std::sync::LazyLock;

use sqlparser::keywords::ALL_KEYWORDS;

use super::{
    super::words::Words,
    lexer::{RULES, Reading, What},
    scan::Span,
};

/// What a parser may see more in than a name.
static KEYWORDS: LazyLock<Words> = LazyLock::new(|| Words::new(ALL_KEYWORDS.iter().copied().filter(|word| !NAMES.contains(word))));

/// Keywords that PostgreSQL's grammar takes for names wherever this one has a name. A test tries each of them.
const NAMES: [&str; 56] = [
    "ACCOUNT",
    "ACTION",
    "AVG",
    "CATEGORY",
    "CLASS",
    "COMMENT",
    "COST",
    "COUNT",
    "DATA",
    "DATE",
    "DATETIME",
    "DAY",
    "EVENT",
    "HOUR",
    "ID",
    "INDEX",
    "KEY",
    "LANGUAGE",
    "LEVEL",
    "LOCATION",
    "LOWER",
    "MAX",
    "METHOD",
    "MIN",
    "MINUTE",
    "MONTH",
    "NAME",
    "NUMBER",
    "OBJECT",
    "OWNER",
    "POSITION",
    "PUBLIC",
    "RANK",
    "REGION",
    "RESULT",
    "ROLE",
    "SESSION",
    "SIZE",
    "SOURCE",
    "START",
    "STATUS",
    "SUM",
    "TAG",
    "TARGET",
    "TEXT",
    "TIME",
    "TIMESTAMP",
    "TYPE",
    "UPPER",
    "URL",
    "UUID",
    "VALUE",
    "VERSION",
    "WEEK",
    "YEAR",
    "ZONE",
];

/// The tables of a plain `SELECT`, as they are spelt; `None` if it is not surely one.
pub(super) fn tables<'a>(reading: &Reading<'a>, span: Span) -> Option<Vec<&'a str>> {
    // Servers that cut it in other ways may read more in it.
    if reading.of.len() != RULES.len() {
        return None;
    }
    let mut walk = Walk { reading, at: span.from, to: span.to, tables: Vec::new() };
    walk.select()?;
    (walk.at == span.to).then_some(walk.tables)
}

struct Walk<'r, 'a> {
    reading: &'r Reading<'a>,
    at: usize,
    to: usize,
    tables: Vec<&'a str>,
}

impl<'a> Walk<'_, 'a> {
    fn select(&mut self) -> Option<()> {
        self.word("SELECT").then_some(())?;
        self.word("DISTINCT");
        self.list(Self::item)?;
        if !self.word("FROM") {
            return Some(());
        }
        self.list(Self::table)?;
        if self.word("WHERE") {
            self.tests()?;
        }
        if self.word("GROUP") {
            self.word("BY").then_some(())?;
            self.list(Self::value)?;
        }
        if self.word("ORDER") {
            self.word("BY").then_some(())?;
            self.list(|walk| {
                walk.value()?;
                let _ = walk.word("ASC") || walk.word("DESC");
                Some(())
            })?;
        }
        if self.word("LIMIT") {
            self.number()?;
            if self.word("OFFSET") {
                self.number()?;
            }
        }
        Some(())
    }

    fn list(&mut self, one: fn(&mut Self) -> Option<()>) -> Option<()> {
        one(self)?;
        while self.mark(b',') {
            one(self)?;
        }
        Some(())
    }

    fn item(&mut self) -> Option<()> {
        if self.mark(b'*') {
            return Some(());
        }
        let begin = self.at;
        self.value()?;
        if self.is_word(begin) && self.is_word(self.at - 1) && self.touches(b'.') {
            return self.touches(b'*').then_some(());
        }
        self.alias()
    }

    fn table(&mut self) -> Option<()> {
        self.source()?;
        loop {
            if self.word("INNER") {
                self.word("JOIN").then_some(())?;
            } else if self.word("LEFT") || self.word("RIGHT") || self.word("FULL") {
                self.word("OUTER");
                self.word("JOIN").then_some(())?;
            } else if !self.word("JOIN") {
                return Some(());
            }
            self.source()?;
            self.word("ON").then_some(())?;
            self.tests()?;
        }
    }

    fn source(&mut self) -> Option<()> {
        let begin = self.at;
        self.column()?;
        let (first, last) = (self.reading.tokens.get(begin)?, self.reading.tokens.get(self.at - 1)?);
        self.tables.push(self.reading.text.get(first.start..last.end)?);
        self.alias()
    }

    fn alias(&mut self) -> Option<()> {
        let must = self.word("AS");
        (self.name().is_some() || !must).then_some(())
    }

    fn tests(&mut self) -> Option<()> {
        self.test()?;
        while self.word("AND") || self.word("OR") {
            self.test()?;
        }
        Some(())
    }

    fn test(&mut self) -> Option<()> {
        self.value()?;
        if self.word("IS") {
            self.word("NOT");
            return self.word("NULL").then_some(());
        }
        let negated = self.word("NOT");
        if self.word("IN") {
            self.mark(b'(').then_some(())?;
            self.list(Self::value)?;
            return self.mark(b')').then_some(());
        }
        if self.word("LIKE") {
            return self.text();
        }
        (!negated && self.relation()).then_some(())?;
        self.value()
    }

    fn relation(&mut self) -> bool {
        if self.mark(b'!') {
            return self.touches(b'=');
        }
        if self.mark(b'<') {
            let _ = self.touches(b'=') || self.touches(b'>');
            return true;
        }
        if self.mark(b'>') {
            self.touches(b'=');
            return true;
        }
        self.mark(b'=')
    }

    fn value(&mut self) -> Option<()> {
        if !self.reading.mark(self.at + 1, b'(') {
            return self.simple();
        }
        self.name()?;
        self.mark(b'(').then_some(())?;
        if !self.mark(b'*') && !self.reading.mark(self.at, b')') {
            self.list(Self::simple)?;
        }
        self.mark(b')').then_some(())
    }

    fn simple(&mut self) -> Option<()> {
        if self.is_word(self.at) { self.column() } else { self.text().or_else(|| self.number()) }
    }

    fn column(&mut self) -> Option<()> {
        self.name()?;
        while self.reading.mark(self.at, b'.') && self.is_word(self.at + 1) {
            // With white space around it, a dot may begin a number.
            (self.touches(b'.') && self.is_close(self.at)).then_some(())?;
            self.at += 1;
        }
        Some(())
    }

    fn name(&mut self) -> Option<()> {
        let is_name = self.is_word(self.at) && !KEYWORDS.has(self.reading.spelt(self.at));
        is_name.then(|| self.at += 1)
    }

    /// What every server reads as one word.
    fn is_word(&self, at: usize) -> bool {
        let bytes = self.reading.spelt(at).as_bytes();
        at < self.to
            && self.reading.tokens[at].kind == What::Word
            && bytes.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    }

    fn number(&mut self) -> Option<()> {
        let (whole, part) = self.reading.spelt(self.at).split_once('.').unwrap_or((self.reading.spelt(self.at), "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = self.at < self.to && self.reading.tokens[self.at].kind == What::Word && is_digits(whole) && is_digits(part);
        is_number.then(|| self.at += 1)
    }

    /// A string without a letter before it, and without what is escaped.
    fn text(&mut self) -> Option<()> {
        let inner = self.reading.spelt(self.at).strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let is_text = self.at < self.to
            && self.reading.tokens[self.at].kind == What::Text
            && inner?.bytes().all(|byte| byte != b'\'' && byte != b'\\');
        is_text.then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> bool {
        let is_there = self.at < self.to && self.reading.is(self.at, word);
        self.at += usize::from(is_there);
        is_there
    }

    fn mark(&mut self, mark: u8) -> bool {
        let is_there = self.at < self.to && self.reading.mark(self.at, mark);
        self.at += usize::from(is_there);
        is_there
    }

    /// A mark with nothing between it and what is before it.
    fn touches(&mut self, mark: u8) -> bool {
        self.is_close(self.at) && self.mark(mark)
    }

    fn is_close(&self, at: usize) -> bool {
        at.checked_sub(1).and_then(|before| self.reading.tokens.get(before)).map(|before| before.end)
            == self.reading.tokens.get(at).map(|token| token.start)
    }
}

#[cfg(test)]
mod tests;
