//! `sql:…`: what SQL in an argument does.
//!
//! Which server will read it is not known, and servers do not agree on what is a string or a comment: a text is cut into words as each of
//! them would ([`lexer`]), what the words say counts in any reading ([`scan`]), and what parsers make of them is added ([`tree`]). A plain `SELECT` that all cut alike
//! needs no parser ([`plain`]).

mod lexer;
mod plain;
mod scan;
mod tree;

use std::borrow::Cow;

use sqlparser::{
    ast::Statement,
    dialect::{Dialect, GenericDialect},
    parser::{Parser, ParserOptions},
    tokenizer::Tokenizer,
};

use self::{
    lexer::{RULES, Reading, Token, What},
    scan::{Seen, Span},
};
use super::{DEPTH, Found, name_has, with_stack};

/// What is longer is not parsed, in bytes and tokens: its words are looked at all the same.
const LONGEST: usize = 64 << 10;
const TOKENS: usize = 8192;
/// How deep expressions and queries may nest.
const NESTING: usize = 50;
/// More joins than people write: the parser's time grows with the square of their number, and more.
const JOINS: usize = 64;
/// Stack for parsing, and what a token may take while its tree is made, walked and dropped, in bytes.
const STACK: usize = 512 << 10;
const STACK_PER_TOKEN: usize = if cfg!(debug_assertions) { 64 << 10 } else { 16 << 10 };
const STACK_AT_MOST: usize = if cfg!(debug_assertions) { 256 << 20 } else { 64 << 20 };

/// Labels `text`, the argument called `name`, if it is SQL.
pub(super) fn label(name: &str, text: &str, found: &mut Found) {
    let is_named = name_has(name, &["sql", "query", "queries", "statement", "statements", "stmt", "stmts"]);
    let is_sql = is_named && name_has(name, &["sql", "statement", "statements", "stmt", "stmts"]);
    let begins = begins_like_sql(text);
    if !begins && !is_named {
        return;
    }
    let text = plain(text);
    let mut own = Found::default();
    let heard = look(&text, 0, &mut own);
    // By its name it is SQL; else it must be SQL by its form, and no sentence.
    let is_taken = if is_named {
        heard.is_evident || (begins && !heard.is_empty) || (is_sql && !heard.is_empty)
    } else {
        heard.is_evident || (heard.is_parsed && !heard.is_prose)
    };
    if !is_taken {
        return;
    }
    if !heard.is_parsed {
        own.add("sql:unparsed");
    }
    found.more |= own.more;
    own.labels.into_iter().for_each(|label| found.push(label));
}

/// What was made of a text.
#[derive(Debug, Default)]
struct Heard {
    /// There is nothing in it.
    is_empty: bool,
    /// Each statement was parsed, in some reading.
    is_parsed: bool,
    /// No sentence of a language looks like it.
    is_evident: bool,
    /// It may be a sentence.
    is_prose: bool,
}

/// Labels a text that may be SQL.
fn look(text: &str, depth: usize, found: &mut Found) -> Heard {
    let readings = lexer::readings(text);
    let mut heard = Heard { is_empty: true, ..Heard::default() };
    for reading in &readings {
        let spans = scan::statements(reading);
        heard.is_empty &= spans.is_empty();
        heard.is_evident |= spans.iter().any(|span| is_evident(reading, *span));
        heard.is_prose |= is_prose(reading);
        if spans.len() > 1 {
            found.add("sql:multi");
        }
        let mut all_parsed = !spans.is_empty();
        let mut runs_strings = false;
        for span in &spans {
            let seen = scan::scan(reading, *span, found);
            runs_strings |= seen.runs_strings;
            all_parsed &= parse_span(reading, *span, &seen, found);
        }
        // Blocks and bodies of procedures hold semicolons of their own.
        let all = Span { from: 0, to: reading.tokens.len() };
        heard.is_parsed |= all_parsed || (spans.len() > 1 && parse(reading, all, true, found));
        if runs_strings && depth < DEPTH {
            for at in 0..reading.tokens.len() {
                let content = if matches!(reading.tokens[at].kind, What::Text | What::Quoted) { reading.content(at) } else { continue };
                if begins_like_sql(&content) && !look(&content, depth + 1, found).is_parsed {
                    found.add("sql:unparsed");
                }
            }
        }
    }
    heard
}

/// Parses a statement, and the parts of it that T-SQL takes for statements of their own.
fn parse_span(reading: &Reading<'_>, span: Span, seen: &Seen, found: &mut Found) -> bool {
    let is_parsed = parse(reading, span, seen.is_risky, found);
    if !is_parsed {
        by_words(reading, span, found);
    }
    let first = scan::first_word(reading, span);
    let begins_many = reading
        .is_any(first, &["WITH", "EXPLAIN", "DESCRIBE", "DESC", "CREATE", "ALTER", "PREPARE", "MERGE", "ANALYZE", "DO", "BEGIN", "COPY"]);
    let mut from = span.from;
    for &to in seen.starts.iter().chain(&[span.to]).filter(|_| !seen.starts.is_empty()) {
        let part = Span { from, to };
        if to > from && !parse(reading, part, true, found) {
            by_words(reading, part, found);
        } else if !begins_many && from == span.from {
            found.add("sql:multi");
        }
        from = to;
    }
    is_parsed
}

/// Parses some tokens; in all the grammars of a reading's servers if they may do more than one thing, else in the first that fits.
fn parse(reading: &Reading<'_>, span: Span, in_all: bool, found: &mut Found) -> bool {
    let text = reading.without_comments(span.from, span.to);
    let tokens = span.to - span.from;
    let joins = (span.from..span.to).filter(|at| reading.is(*at, "JOIN")).count();
    if text.len() > LONGEST || tokens > TOKENS || joins > JOINS {
        return false;
    }
    if !in_all && let Some(tables) = plain::tables(reading, span) {
        found.add("sql:select");
        tables.iter().for_each(|name| tree::table(&name.to_ascii_lowercase(), found));
        return true;
    }
    parse_text(reading, &text, tokens, in_all, found)
}

fn parse_text(reading: &Reading<'_>, text: &str, tokens: usize, in_all: bool, found: &mut Found) -> bool {
    let mut is_parsed = false;
    let own = reading.of.iter().map(|of| RULES[*of].dialect as &dyn Dialect);
    for dialect in own.chain([&GenericDialect {} as &dyn Dialect]) {
        is_parsed |= with_stack((STACK + tokens * STACK_PER_TOKEN).min(STACK_AT_MOST), || match statements(dialect, text) {
            Some(statements) => {
                statements.iter().for_each(|statement| tree::label(statement, found));
                if statements.len() > 1 {
                    found.add("sql:multi");
                }
                !statements.is_empty()
            }
            None => false,
        });
        if is_parsed && !in_all {
            break;
        }
    }
    is_parsed
}

fn statements(dialect: &dyn Dialect, text: &str) -> Option<Vec<Statement>> {
    let tokens = Tokenizer::new(dialect, text).tokenize().ok()?;
    let options = ParserOptions::new().with_trailing_commas(false);
    let parser = Parser::new(dialect).with_options(options).with_recursion_limit(NESTING);
    parser.with_tokens(tokens).parse_statements().ok()
}

/// What a parser would have told of a statement that none reads.
fn by_words(reading: &Reading<'_>, span: Span, found: &mut Found) {
    let first = scan::first_word(reading, span);
    let has = |word: &str| (span.from..span.to).any(|at| reading.is(at, word));
    let writes = reading.is(first, "DELETE") || (reading.is(first, "UPDATE") && has("SET"));
    if writes && !has("WHERE") {
        found.add("sql:unbounded-write");
    }
    for at in span.from..span.to {
        let before = reading.is_any(at, &["FROM", "JOIN", "INTO", "UPDATE", "TABLE"]);
        if before && at + 1 < span.to && reading.is_name(at + 1) && !reading.is_any(at + 1, &["SELECT", "IF", "ONLY", "SET", "WHERE"]) {
            let mut name = reading.content(at + 1).to_lowercase();
            let mut next = at + 2;
            while reading.mark(next, b'.') && reading.is_name(next + 1) {
                name = format!("{name}.{}", reading.content(next + 1).to_lowercase());
                next += 2;
            }
            tree::table(&name, found);
        }
    }
}

/// Whether it is SQL by its form, whether it can be parsed or not.
fn is_evident(reading: &Reading<'_>, span: Span) -> bool {
    let at = scan::first_word(reading, span);
    let has = |word: &str| (at..span.to).any(|at| reading.is(at, word));
    let is_mark = |token: &Token| matches!(token.kind, What::Text | What::Mark(b'=' | b'*' | b'(' | b'<' | b'>' | b';'));
    let has_marks = reading.tokens[at..span.to].iter().any(is_mark);
    let named = |at: usize| reading.is_name(at) && !reading.is_any(at, &ARTICLES);
    let begins = (reading.is(at, "DELETE") && reading.is(at + 1, "FROM") && named(at + 2))
        || (reading.is_any(at, &["INSERT", "REPLACE", "MERGE"]) && reading.is(at + 1, "INTO") && named(at + 2))
        || (reading.is(at, "UPDATE") && named(at + 1) && has("SET"))
        || (reading.is_any(at, &["DROP", "CREATE", "ALTER", "TRUNCATE"])
            && reading.is_any(at + 1, &["TABLE", "DATABASE", "SCHEMA", "VIEW", "USER"])
            && named(at + 2))
        || (reading.is_any(at, &["SELECT", "WITH"]) && has("FROM"))
        || (reading.is_any(at, &["EXEC", "EXECUTE"]) && reading.is_name(at + 1));
    begins && has_marks
}

const ARTICLES: [&str; 16] =
    ["A", "AN", "THE", "MY", "YOUR", "OUR", "HIS", "HER", "ITS", "THEIR", "THIS", "THAT", "THESE", "THOSE", "ALL", "ANY"];

/// Words only, and an article where a table's name would be; or words behind one that only shows.
fn is_prose(reading: &Reading<'_>) -> bool {
    let is_sentence = |token: &Token| matches!(token.kind, What::Word | What::Mark(b'.' | b',' | b'!' | b'?'));
    if !reading.tokens.iter().all(is_sentence) {
        return false;
    }
    let has = |words: &[&str]| (0..reading.tokens.len()).any(|at| reading.is_any(at, words));
    let mut tables = (0..reading.tokens.len()).filter(|at| reading.is_any(*at, &["FROM", "INTO", "UPDATE", "TABLE", "JOIN"])).peekable();
    (reading.is_any(0, &["SHOW", "EXPLAIN", "DESCRIBE", "DESC"]) && reading.tokens.len() > 3 && !has(&["SELECT", "INSERT", "DELETE"]))
        || (tables.peek().is_some() && tables.all(|at| reading.is_any(at + 1, &ARTICLES)))
}

/// Whether the first word, behind comments and parentheses, begins a statement. Ordinary text ends here.
fn begins_like_sql(text: &str) -> bool {
    let mut chars = text.chars().filter_map(fold).skip_while(|c| c.is_ascii_whitespace() || *c == '(' || *c == ';');
    let Some(first) = chars.next() else { return false };
    if matches!(first, '/' | '-' | '#') {
        // A comment comes first: the whole is looked at.
        let text = plain(text);
        return lexer::readings(&text).iter().any(|reading| {
            (0..reading.tokens.len())
                .find(|at| reading.tokens[*at].kind == What::Word || !(reading.mark(*at, b'(') || reading.mark(*at, b';')))
                .is_some_and(|at| scan::verb(reading.spelt(at)).is_some())
        });
    }
    let mut word = [0_u8; 24];
    let mut length = 0;
    for c in [first].into_iter().chain(chars) {
        if !(c.is_ascii_alphanumeric() || c == '_') {
            break;
        }
        let Some(slot) = word.get_mut(length) else { return false };
        *slot = u8::try_from(c).unwrap_or_default();
        length += 1;
    }
    str::from_utf8(&word[..length])
        .is_ok_and(|word| scan::verb(word).is_some() || ["xp_", "sp_"].iter().any(|start| word.to_ascii_lowercase().starts_with(start)))
}

/// What characters are that only look like others, or like nothing: full-width forms are ASCII, white space is a blank, marks of no width are
/// left out.
fn fold(c: char) -> Option<char> {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{2018}' | '\u{2019}' | '\u{2bc}' => Some('\''),
        '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{ad}' | '\u{202a}'..='\u{202e}' => None,
        '\n' | '\r' | '\t' => Some(c),
        c if c.is_whitespace() || c.is_control() => Some(' '),
        c => Some(c),
    }
}

fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && (byte >= b' ' || matches!(byte, b'\n' | b'\r' | b'\t'))) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter_map(fold).collect())
    }
}
