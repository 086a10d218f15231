//! Names with `*` and `?` in them.

use regex::{Regex, RegexBuilder};

/// A pattern in which `*` stands for any characters and `?` for one. It fits a name as a whole.
#[derive(Debug, Clone)]
pub struct Glob {
    text: String,
    regex: Regex,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is longer than can be compiled.
    pub fn new(text: &str) -> Result<Glob, regex::Error> {
        const SIZE: usize = 1 << 20;
        let parts = text.chars().map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            other => regex::escape(other.encode_utf8(&mut [0; 4])),
        });
        let pattern = format!("(?s)^{}$", parts.collect::<String>());
        let regex = RegexBuilder::new(&pattern).size_limit(SIZE).dfa_size_limit(SIZE).build()?;
        Ok(Glob { text: text.to_owned(), regex })
    }

    /// Whether a name fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
