//! JSON as tokens with spans, without a tree of values.

mod tape;
mod text;

pub(crate) use tape::{Flaw, MAX_DEPTH, Tape, Token, Type};
pub(crate) use text::{escape_into, unescape};
