//! A decoded text that knows where its characters come from.

use std::borrow::Cow;

/// A text decoded from a raw one, character for character.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    text: Cow<'a, str>,
    /// From each of these decoded positions on, the raw position is this, and both go on alike up to the next.
    runs: Vec<(usize, usize)>,
}

impl<'a> Decoded<'a> {
    /// A text that is spelt as it is meant.
    pub(crate) fn plain(text: &'a str) -> Decoded<'a> {
        Decoded { text: Cow::Borrowed(text), runs: Vec::new() }
    }

    pub(crate) fn with_capacity(bytes: usize) -> Decoded<'a> {
        Decoded { text: Cow::Owned(String::with_capacity(bytes)), runs: Vec::new() }
    }

    /// Whether the text is spelt as it is meant, in the buffer that it came in.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Text that is spelt at `raw` as it is meant.
    pub(crate) fn push_str(&mut self, text: &str, raw: usize) {
        if !text.is_empty() {
            self.runs.push((self.text.len(), raw));
            self.text.to_mut().push_str(text);
        }
    }

    /// A character whose spelling begins at `raw`.
    pub(crate) fn push(&mut self, char: char, raw: usize) {
        self.runs.push((self.text.len(), raw));
        self.text.to_mut().push(char);
    }

    /// The raw text ends at `raw`.
    pub(crate) fn end(&mut self, raw: usize) {
        self.runs.push((self.text.len(), raw));
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> Cow<'a, str> {
        self.text
    }

    /// Where the character at this decoded position is spelt.
    pub(crate) fn raw(&self, at: usize) -> usize {
        let run = self.runs.partition_point(|(decoded, _)| *decoded <= at);
        match run.checked_sub(1).and_then(|run| self.runs.get(run)) {
            Some((decoded, raw)) => raw + (at - decoded),
            None => at,
        }
    }
}

/// Bytes that are not UTF-8, as ISO 8859-1: a character for each byte.
pub(crate) fn latin1(bytes: &[u8]) -> Decoded<'static> {
    let mut out = Decoded::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        out.push(char::from(*byte), at);
    }
    out.end(bytes.len());
    out
}
