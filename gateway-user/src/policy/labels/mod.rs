//! Facts about a call's arguments, for policies to decide on: what SQL and shell commands in them do, which paths and URLs they name.
//!
//! What is seen is read with the field's own parsers where they can, and by its words where they cannot: of two readings both count. A
//! label that is there too often costs a question; one that is missing, data.

mod custom;
mod path;
mod shell;
mod sql;
#[cfg(test)]
mod tests;
mod url;
mod words;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Arguments;

pub use custom::{CustomLabel, LabelError};

/// More labels than any honest call has.
const LIMIT: usize = 1024;
/// How deep SQL or shell commands inside others are followed.
const DEPTH: usize = 4;

/// Facts about a call's arguments, sorted, without duplicates: `sql:select`, `path:secrets`, an operator's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Vec<Cow<'static, str>>);

impl Labels {
    /// All of them, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The same with others in place of some; nothing when all stay.
    #[must_use]
    pub fn changed(&self, mut change: impl FnMut(&str) -> String) -> Option<Labels> {
        let changed: Vec<String> = self.iter().map(&mut change).collect();
        (!self.iter().eq(changed.iter().map(String::as_str))).then(|| Labels(changed.into_iter().map(Cow::Owned).collect()))
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, label: &str) -> bool {
        self.0.iter().any(|found| found == label)
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    labels: Vec<Cow<'static, str>>,
    more: bool,
}

impl Found {
    fn add(&mut self, label: &'static str) {
        self.push(Cow::Borrowed(label));
    }

    /// A label that ends in a name out of the arguments.
    fn name(&mut self, family: &str, name: &str) {
        self.push(Cow::Owned(format!("{family}{name}")));
    }

    fn push(&mut self, label: Cow<'static, str>) {
        if self.labels.contains(&label) {
            return;
        }
        if self.labels.len() == LIMIT {
            self.more = true;
        } else {
            self.labels.push(label);
        }
    }

    fn finish(mut self, partial: bool) -> Labels {
        if partial || self.more {
            self.labels.push(Cow::Borrowed("arguments:partial"));
        }
        self.labels.sort_unstable();
        Labels(self.labels)
    }
}

/// Computes labels. Made once for a configuration.
#[derive(Debug, Default)]
pub struct Labeller {
    custom: Vec<custom::Custom>,
}

impl Labeller {
    /// With the operator's own labels beside the built-in ones.
    ///
    /// # Errors
    ///
    /// A label that is not as it should be, or whose pattern does not do what its examples say.
    pub fn new(custom: &[CustomLabel]) -> Result<Self, LabelError> {
        Ok(Self { custom: custom.iter().map(CustomLabel::compile).collect::<Result<_, _>>()? })
    }

    /// The labels of a call. Pure, and linear in the arguments but for what parsers do with the first 64 KiB of a text.
    #[must_use]
    pub fn labels(&self, tool: &str, arguments: &Arguments) -> Labels {
        let mut found = Found::default();
        for (path, text) in arguments.strings() {
            sql::label(last_name(path), text, &mut found);
            shell::label(path, text, arguments, &mut found);
            path::label(text, &mut found);
            url::label(text, &mut found);
        }
        for (path, items) in arguments.lists() {
            shell::label_list(path, items, arguments, &mut found);
        }
        for custom in self.custom.iter().filter(|custom| custom.is_for(tool)) {
            if arguments.texts().any(|(path, text)| custom.fits(path, text)) {
                found.name("", &custom.name);
            }
        }
        found.finish(arguments.is_partial())
    }
}

/// The last part of a path that names something: places in arrays do not.
fn last_name(path: &str) -> &str {
    path.rsplit('.').find(|part| !part.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or_default()
}

/// Whether an argument's name has one of these words in it: `sqlQuery`, `sql_query` and `SQL` have `sql`.
fn name_has(name: &str, words: &[&str]) -> bool {
    let mut start = 0;
    let bytes = name.as_bytes();
    for end in 1..=bytes.len() {
        let ends = end == bytes.len()
            || !bytes[end].is_ascii_alphanumeric()
            || (bytes[end].is_ascii_uppercase() && bytes[end - 1].is_ascii_lowercase());
        if ends {
            let word = name[start..end].trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            if words.iter().any(|wanted| word.eq_ignore_ascii_case(wanted)) {
                return true;
            }
            start = end;
        }
    }
    false
}

/// Runs `work` with at least so many bytes of stack: parsers and the trees they make recurse.
fn with_stack<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(bytes, bytes + (64 << 10), work)
}
