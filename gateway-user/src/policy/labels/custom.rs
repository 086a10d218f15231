//! Labels that an operator defines: `[[label]]`.

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::glob::Glob;

/// No pattern's program is larger than this, in bytes.
const SIZE: usize = 1 << 20;
/// The families that are the gateway's own.
const FAMILIES: [&str; 5] = ["sql", "shell", "path", "url", "arguments"];

/// A label that an operator defines: `[[label]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomLabel {
    /// Lower-case words, with `-` in and `:` between them.
    pub name: String,
    /// A regular expression of the `regex` crate: its time is linear in the text.
    pub pattern: String,
    /// Which tools it is for, with `*` and `?`; all when absent.
    pub tool: Option<String>,
    /// Which arguments it looks at, by path, with `*` and `?`; all when absent.
    pub argument: Option<String>,
    /// Texts that must get it.
    pub matches: Vec<String>,
    /// Texts that must not.
    pub misses: Vec<String>,
}

/// Why a `[[label]]` cannot be used.
#[derive(Debug, Error)]
pub enum LabelError {
    /// Its name is none.
    #[error(
        "label {0:?}: a name is lower-case words like \"customer-data\" or \"finance:iban\": letters, digits and \"-\", with \":\" between"
    )]
    Name(String),
    /// Its name belongs to the gateway.
    #[error("label {name:?}: labels that begin with \"{family}\" are the gateway's own; choose another first word")]
    BuiltIn {
        /// The name.
        name: String,
        /// Its first word.
        family: &'static str,
    },
    /// Its pattern cannot be compiled, or is too large.
    #[error("label {name:?}: its pattern cannot be used: {source}")]
    Pattern {
        /// The label's name.
        name: String,
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// One of its examples does not come out as it should.
    #[error("label {name:?}: the pattern {pattern:?} {} {example:?}, which stands in its {:?}; correct one of them",
        if *.should { "does not match" } else { "matches" }, if *.should { "matches" } else { "misses" })]
    Example {
        /// The label's name.
        name: String,
        /// Its pattern.
        pattern: String,
        /// The example.
        example: String,
        /// Whether it should have matched.
        should: bool,
    },
}

impl CustomLabel {
    pub(super) fn compile(&self) -> Result<Custom, LabelError> {
        let name = self.name.clone();
        let is_word =
            |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !name.split(':').all(is_word) {
            return Err(LabelError::Name(name));
        }
        if let Some(family) = FAMILIES.into_iter().find(|family| name.split(':').next() == Some(family)) {
            return Err(LabelError::BuiltIn { name, family });
        }
        let compile = |pattern: &str| {
            let built = RegexBuilder::new(pattern).size_limit(SIZE).dfa_size_limit(SIZE).build();
            built.map_err(|source| LabelError::Pattern { name: self.name.clone(), source: Box::new(source) })
        };
        let glob = |glob: &Option<String>| {
            let read = glob.as_deref().map(Glob::new).transpose();
            read.map_err(|source| LabelError::Pattern { name: self.name.clone(), source: Box::new(source) })
        };
        let pattern = compile(&self.pattern)?;
        for (examples, should) in [(&self.matches, true), (&self.misses, false)] {
            if let Some(example) = examples.iter().find(|example| pattern.is_match(example) != should) {
                return Err(LabelError::Example { name, pattern: self.pattern.clone(), example: example.clone(), should });
            }
        }
        Ok(Custom { name, pattern, tool: glob(&self.tool)?, argument: glob(&self.argument)? })
    }
}

/// One that was checked.
#[derive(Debug)]
pub(super) struct Custom {
    pub(super) name: String,
    pattern: Regex,
    tool: Option<Glob>,
    argument: Option<Glob>,
}

impl Custom {
    pub(super) fn is_for(&self, tool: &str) -> bool {
        self.tool.as_ref().is_none_or(|glob| glob.fits(tool))
    }

    pub(super) fn fits(&self, path: &str, text: &str) -> bool {
        self.argument.as_ref().is_none_or(|glob| glob.fits(path)) && self.pattern.is_match(text)
    }
}
