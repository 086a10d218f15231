//! Rules: what is masked, and how.

use crate::detect::Wanted;

/// One rule of those that hold for a call and an audience. Where two select the same bytes, the earlier one's `how` is applied to all of them.
#[derive(Debug, Clone)]
pub struct Rule {
    /// For people: in the record, and in the text that takes a value's place.
    pub name: String,
    /// What it selects.
    pub what: What,
    /// What takes the place of a value.
    pub how: How,
}

/// What a rule selects: at least one of these.
#[derive(Debug, Clone, Default)]
pub struct What {
    /// JSONPath queries (RFC 9535) over a JSON-RPC message, or over a text that is JSON.
    pub paths: Vec<String>,
    /// Names of members, at any depth.
    pub fields: Vec<String>,
    /// Names of columns, in whatever shape a table comes.
    pub columns: Vec<String>,
    /// Kinds of values, wherever they stand.
    pub detect: Wanted,
}

/// What takes the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A text that says what was here. A number or boolean in `structuredContent` becomes `0` or `false`.
    Redact,
    /// Asterisks, but for the last characters; all asterisks where that would leave more than half.
    Partial {
        /// How many letters and digits stay.
        keep: u8,
    },
    /// A name for the value that is the same wherever the value stands, so that joins hold.
    Token,
    /// Nothing: the member or item goes.
    Drop,
    /// A value of the same shape: digits for digits, letters for letters.
    Format,
}

/// The first of the rules that select a value. No iterator: one over an array of four made the walk wait for its own stores.
#[inline(always)]
pub(crate) fn first([one, two, three, four]: [Option<usize>; 4]) -> Option<usize> {
    let earlier = |one: Option<usize>, other: Option<usize>| match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    };
    earlier(earlier(one, two), earlier(three, four))
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// It selects nothing.
    #[error("the mask rule `{rule}` selects nothing; give it a path, a field, a column or a kind")]
    Empty {
        /// The rule.
        rule: String,
    },
    /// A path is not JSONPath.
    #[error("the mask rule `{rule}` has the path `{path}`, which is not JSONPath (RFC 9535): {why}")]
    Path {
        /// The rule.
        rule: String,
        /// As written.
        path: String,
        /// What is wrong with it, and where.
        why: String,
    },
    /// A name has no letter or digit that could be looked for.
    #[error("the mask rule `{rule}` looks for the name `{name}`, which is empty; write the name of a field or column")]
    Name {
        /// The rule.
        rule: String,
        /// As written.
        name: String,
    },
}
