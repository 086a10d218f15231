//! What a query calls the columns of its result.
//!
//! Which server will read it is not known: the text is read in the grammars of several, and what any of them makes of it counts.

mod expression;
mod follow;
mod relation;
mod text;

use std::collections::BTreeSet;

use sqlparser::{
    ast::Statement,
    dialect::{Dialect, GenericDialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect},
    parser::{Parser, ParserOptions},
    tokenizer::{Token, Tokenizer},
};

use self::follow::Follow;
use crate::Names;

/// What is longer is not read, in bytes and tokens.
const LONGEST: usize = 64 << 10;
const TOKENS: usize = 8192;
/// How deep expressions and queries may nest.
const NESTING: usize = 50;
/// More joins than people write: the parser's time grows with the square of their number, and more.
const JOINS: usize = 64;
/// Stack for reading, and what a token may take while its tree is made, walked and dropped, in bytes.
const STACK: usize = 512 << 10;
const STACK_PER_TOKEN: usize = if cfg!(debug_assertions) { 64 << 10 } else { 16 << 10 };
const STACK_AT_MOST: usize = if cfg!(debug_assertions) { 256 << 20 } else { 64 << 20 };

/// What SQL calls some columns in its result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renamed {
    /// More names of result columns that carry a wanted column's value.
    pub names: Vec<String>,
    /// Whether a column of the result surely carries one, under any name.
    pub carries: bool,
    /// Where in a row those that do stand, and how many columns it has: for rows whose columns have no names.
    pub positions: Vec<Positions>,
    /// Why it cannot be told which columns of the result carry one, for people.
    pub unfollowed: Option<String>,
}

/// Some columns of a result, by where they stand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Positions {
    /// Columns of the result.
    pub width: usize,
    /// From 0.
    pub at: Vec<usize>,
}

/// Which columns of the result of `sql` carry the value of one of these columns under another name.
///
/// A text that is no SQL gives nothing; SQL that cannot be read or followed says why in `unfollowed`.
#[must_use]
pub fn renamed(sql: &str, names: &Names) -> Renamed {
    if names.is_empty() || !text::begins_like_sql(sql) {
        return Renamed::default();
    }
    let unfollowed = |why: &str| Renamed { unfollowed: Some(why.to_owned()), ..Renamed::default() };
    if sql.len() > LONGEST {
        return unfollowed("the SQL is too long to be read");
    }
    let plain = text::without_placeholders(sql);
    let readings = [Some(sql), plain.as_deref()].into_iter().flatten();
    let renamed = readings.map(|sql| read(sql, names)).find_map(Result::transpose);
    match renamed {
        Some(Ok(renamed)) => renamed,
        Some(Err(why)) => unfollowed(why),
        None if text::is_evident(sql) => unfollowed("the SQL does not parse"),
        None => Renamed::default(),
    }
}

/// Reads SQL in the grammars of several servers; none, if it is not SQL in any.
fn read(sql: &str, names: &Names) -> Result<Option<Renamed>, &'static str> {
    let mut found = BTreeSet::new();
    let mut why = None;
    let mut positions = BTreeSet::new();
    let (mut is_read, mut carries) = (false, false);
    let dialects: [&dyn Dialect; 5] = [&PostgreSqlDialect {}, &MySqlDialect {}, &MsSqlDialect {}, &SQLiteDialect {}, &GenericDialect {}];
    for dialect in dialects {
        let Ok(tokens) = Tokenizer::new(dialect, sql).with_unescape(false).tokenize() else { continue };
        let joins = tokens.iter().filter(|token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case("join"))).count();
        if tokens.len() > TOKENS || joins > JOINS {
            return Err("the SQL is too long to be read");
        }
        let bytes = (STACK + tokens.len() * STACK_PER_TOKEN).min(STACK_AT_MOST);
        stacker::maybe_grow(bytes, bytes + (64 << 10), || {
            let Some(statements) = statements(dialect, sql) else { return };
            is_read |= !statements.is_empty();
            let mut follow = Follow::new(names, text::items(&tokens));
            statements.iter().for_each(|statement| follow.statement(statement));
            found.extend(follow.found);
            positions.extend(follow.positions);
            carries |= follow.carries;
            why = why.take().or(follow.unfollowed);
        });
    }
    let (names, positions) = (found.into_iter().collect(), positions.into_iter().collect());
    Ok(is_read.then_some(Renamed { names, carries, positions, unfollowed: why }))
}

fn statements(dialect: &dyn Dialect, sql: &str) -> Option<Vec<Statement>> {
    let tokens = Tokenizer::new(dialect, sql).tokenize_with_location().ok()?;
    let options = ParserOptions::new().with_trailing_commas(false);
    let parser = Parser::new(dialect).with_options(options).with_recursion_limit(NESTING);
    parser.with_tokens_with_locations(tokens).parse_statements().ok()
}
