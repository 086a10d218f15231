//! A text as lines, with the names that are looked for in it.

use std::ops::Range;

use super::{Cell, Quoting};
use crate::Names;

/// Fields longer than this name no column, in bytes.
const LONGEST_NAME: usize = 256;

/// A text as the readers see it, and what they found.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) text: &'a str,
    pub(super) names: &'a Names,
    pub(super) cells: Vec<Cell>,
    lines: Vec<Range<usize>>,
    /// The first words of the names, as they are looked for.
    firsts: Vec<Vec<char>>,
    /// No name is longer, in characters, however it is spelt.
    longest: usize,
    /// Which bytes such a word may begin with.
    begins: [bool; 256],
    /// No quote that is opened from here on is closed.
    pub(super) unclosed_from: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(text: &'a str, names: &'a Names) -> Page<'a> {
        let firsts: Vec<Vec<char>> = names.first_words().map(|word| word.chars().collect()).collect();
        let mut begins = [false; 256];
        for first in firsts.iter().filter_map(|word| word.first()) {
            if let Ok(byte) = u8::try_from(*first) {
                begins[usize::from(byte.to_ascii_lowercase())] = true;
                begins[usize::from(byte.to_ascii_uppercase())] = true;
            }
        }
        // Some capitals of ASCII letters are no ASCII themselves.
        begins[0x80..].fill(true);
        let longest = (0..names.len()).map(|at| 2 * names.spelt(at).chars().count() + 1).max().unwrap_or(0);
        Page { text, names, longest, cells: Vec::new(), lines: lines(text), firsts, begins, unclosed_from: usize::MAX }
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line without its break.
    pub(super) fn line(&self, at: usize) -> &'a str {
        self.lines.get(at).map_or("", |line| &self.text[line.clone()])
    }

    /// Where a line begins.
    pub(super) fn start(&self, at: usize) -> usize {
        self.lines.get(at).map_or(self.text.len(), |line| line.start)
    }

    /// Where a line ends, before its break.
    pub(super) fn end(&self, at: usize) -> usize {
        self.lines.get(at).map_or(self.text.len(), |line| line.end)
    }

    pub(super) fn is_blank(&self, at: usize) -> bool {
        self.line(at).trim().is_empty()
    }

    /// The first line behind this place of the text, from line `at` on.
    pub(super) fn line_after(&self, mut at: usize, place: usize) -> usize {
        while at < self.lines.len() && self.start(at) <= place {
            at += 1;
        }
        at
    }

    /// Which column a field is, if it is the name of one that is looked for.
    pub(super) fn name(&self, field: &str) -> Option<usize> {
        let field = field.trim_start_matches('\u{feff}').trim().trim_matches('*').trim();
        let is_part = field.starts_with('[') != field.ends_with(']');
        if field.is_empty() || field.len() > LONGEST_NAME || is_part { None } else { self.names.find(field) }
    }

    /// Places in a line where a name may begin, in bytes of the line.
    pub(super) fn hits(&self, line: &str) -> Vec<usize> {
        let mut hits = Vec::new();
        // Most lines have none.
        if !self.has_name(line) {
            return hits;
        }
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            let is_start = !(before.is_alphanumeric() || before == '_');
            if is_start && self.begins[usize::from(line.as_bytes()[at])] && self.begins_name(&line[at..]) {
                hits.push(at);
            }
            before = c;
        }
        hits
    }

    /// The name that begins at this place of a line, and where it ends; the longest, if there are more.
    pub(super) fn name_at(&self, line: &str, hit: usize) -> Option<(usize, usize)> {
        let rest = &line[hit..];
        let mut found = None;
        for (at, c) in rest.char_indices().take(self.longest) {
            if "\n\t:=<>{}|\"'`,".contains(c) {
                break;
            }
            let end = at + c.len_utf8();
            let is_end = !rest[end..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if is_end
                && !c.is_whitespace()
                && let Some(name) = self.names.find(&rest[..end])
            {
                found = Some((name, hit + end));
            }
        }
        found
    }

    /// Whether one of the names may be in a line.
    pub(super) fn has_name(&self, line: &str) -> bool {
        let bytes = line.as_bytes();
        (0..bytes.len()).any(|at| self.begins[usize::from(bytes[at])] && line.is_char_boundary(at) && self.begins_name(&line[at..]))
    }

    fn begins_name(&self, text: &str) -> bool {
        self.firsts.iter().any(|word| {
            let mut chars = text.chars();
            word.iter().all(|wanted| chars.next().is_some_and(|found| found == *wanted || found.to_lowercase().eq([*wanted])))
        })
    }

    /// Gives a cell, unless it is empty.
    pub(super) fn give(&mut self, place: Range<usize>, name: usize, quoting: Quoting) {
        let cell = Cell { start: place.start, end: place.end, name, quoting };
        if place.start < place.end && !cell.value(self.text).is_empty() {
            self.cells.push(cell);
        }
    }
}

fn lines(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]) {
        let line = &text[start..end];
        lines.push(start..start + line.strip_suffix('\r').unwrap_or(line).len());
        start = end + 1;
    }
    lines
}

/// Which fields of a row may be in the wanted columns, where a row has more or fewer fields than the header: fields, and the names they have.
///
/// Where fields are missing, any may be; where there are too many, any cell may have been cut.
pub(super) fn could_be(wanted: &[(usize, usize)], columns: usize, fields: usize) -> Vec<(usize, usize)> {
    let mut given = Vec::new();
    let mut from = 0;
    for &(column, name) in wanted {
        let first = column.saturating_sub(columns.saturating_sub(fields));
        let last = (column + fields.saturating_sub(columns)).min(fields.saturating_sub(1));
        given.extend((first.max(from)..=last).map(|field| (field, name)));
        from = from.max(last + 1);
    }
    given
}

/// Whether a field looks like the name of a column rather than like a value.
pub(super) fn is_header_like(field: &str) -> bool {
    let field = field.trim().trim_start_matches(['"', '\'', '`', '[', '*']);
    field.len() <= 64 && field.starts_with(|c: char| c.is_alphabetic() || "_?#($@".contains(c))
}

/// Whether a table is names and their values: `Field`, `Value`.
pub(super) fn is_pairs<'a>(header: impl IntoIterator<Item = &'a str>) -> bool {
    let mut header = header.into_iter();
    let second = header.nth(1).map(|field| field.trim().trim_matches(['*', '"', '`']).to_ascii_lowercase());
    header.next().is_none() && second.is_some_and(|second| ["value", "values", "val", "content", "answer"].contains(&second.as_str()))
}

/// Whether a line is a tag and nothing else: no table goes on over it.
pub(super) fn is_tag(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('<') && line.ends_with('>') && line[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
}

/// How many rows there were: `(3 rows)`, `2 rows in set`, `(1 row affected)`.
pub(super) fn is_footer(line: &str) -> bool {
    let line = line.trim();
    let inner = line.strip_prefix('(').and_then(|line| line.strip_suffix(')')).unwrap_or(line);
    let after = inner.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_counted = after.len() < inner.len() && (after.starts_with(" row") || after.starts_with(" record"));
    is_counted && (inner.len() < line.len() || after.contains("in set") || after.trim_end_matches('s').trim_end().len() <= 7)
}

/// The part of a text without the spaces around it, as a place behind `from`.
pub(super) fn trimmed(text: &str, from: usize) -> Range<usize> {
    let start = from + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}
