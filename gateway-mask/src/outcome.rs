//! What goes into a masker and what comes out of it.

use crate::detect::Found;
use crate::edit::Edit;
use crate::follow::Followed;

/// What the bytes are.
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    /// A JSON-RPC message or a batch of them, which a strict reader has accepted.
    Message(&'a Followed),
    /// Any other text: a header's value, a page, a line.
    Text {
        /// The name that it stands under.
        name: Option<&'a str>,
    },
    /// A request target or a URL: path segments and query values are decoded, query names are names of fields.
    Url,
}

/// Which fields of a message never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// Whatever client and server need to understand each other: for what one of them receives.
    Keep,
    /// `jsonrpc`, `id`, `method` and `error.code`: for a record, where cursors, states and URIs may hold secrets. Of the names of tools and
    /// prompts only what detectors find changes.
    Record,
}

/// A keyed function over the parts of a value, such as an HMAC that tells `["ab", "c"]` from `["a", "bc"]`.
pub type Mac<'a> = &'a dyn Fn(&[&[u8]]) -> [u8; 32];

/// The caller's keys.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// For the commitments in a record.
    pub commit: Mac<'a>,
    /// For what takes the place of values.
    pub token: Mac<'a>,
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

/// What masking does to a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masked {
    /// Ascending, not overlapping.
    pub edits: Vec<Edit>,
    /// What was masked, for the record.
    pub marks: Vec<Mark>,
}

/// Values that were masked at one place, by one rule, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where: `$.result.structuredContent.rows[*].ssn`. What a text is decoded from is appended: `#json`, `#base64`, `#percent`, `#gzip`.
    pub path: String,
    /// Which of the masker's rules.
    pub rule: usize,
    /// The detector that found it; none if its place did.
    pub kind: Option<Found>,
    /// One for each value: the first half of a MAC over path, JSON type and value.
    pub commitments: Vec<[u8; 16]>,
}

/// A body that cannot be masked, and so must not be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A message must be JSON.
    #[error("the message cannot be masked: it is not JSON from byte {at} on; withhold it")]
    NotJson {
        /// Where.
        at: usize,
    },
    /// Nested beyond what is followed.
    #[error(
        "the message cannot be masked: its JSON is nested deeper than {limit} levels at byte {at}; withhold it, or have the server flatten it"
    )]
    Nested {
        /// Levels of arrays and objects.
        limit: usize,
        /// Where in the text of that layer.
        at: usize,
    },
    /// Encodings within encodings.
    #[error("the message cannot be masked: text is encoded within encoded text more than {limit} times at {path}; withhold it")]
    Layers {
        /// Layers that are read.
        limit: usize,
        /// Where.
        path: String,
    },
    /// Decoding it would cost too much.
    #[error(
        "the message cannot be masked: what it decodes to is larger than {limit} bytes at {path}; withhold it, or have the server send less"
    )]
    Work {
        /// Bytes.
        limit: usize,
        /// Where.
        path: String,
    },
    /// Larger than what positions can tell.
    #[error("the message cannot be masked: it has {size} bytes, and more than {limit} are not read; withhold it")]
    Large {
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: usize,
    },
}

/// Adds marks to others, together where path, rule and kind are the same.
pub(crate) fn add(marks: &mut Vec<Mark>, more: Vec<Mark>) {
    for mark in more {
        match marks.iter_mut().find(|known| known.path == mark.path && known.rule == mark.rule && known.kind == mark.kind) {
            Some(known) => known.commitments.extend(mark.commitments),
            None => marks.push(mark),
        }
    }
}
