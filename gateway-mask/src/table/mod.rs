//! Named columns in text: whatever table a server wrote, the cells of a column are found in it.
//!
//! Each shape of table has a reader. A reader that is not sure which cells of a row are the column's gives all that could be.

mod columns;
mod literals;
mod markup;
mod page;
mod pairs;
mod quoting;
mod records;
mod ruled;
mod separated;
mod value;

use std::borrow::Cow;

use self::page::Page;
pub use self::quoting::Quoting;
use crate::Names;

/// A value of a named column in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// Whose column it is, by place in the [`Names`].
    pub name: usize,
    /// How it is written.
    pub quoting: Quoting,
}

impl Cell {
    /// The value, without what the table's form adds to it. `text` is the text in which it was found.
    #[must_use]
    pub fn value<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.quoting.value(text.get(self.start..self.end).unwrap_or_default())
    }

    /// `value` as it is to be written in place of the cell.
    #[must_use]
    pub fn with(&self, text: &str, value: &str) -> String {
        self.quoting.quote(value, quoting::width(text.get(self.start..self.end).unwrap_or_default()))
    }
}

/// The cells of these columns in a text, whatever table it is: ascending, not overlapping, none empty.
///
/// JSON is not read here. The time is linear in the text.
#[must_use]
pub fn cells(text: &str, names: &Names) -> Vec<Cell> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut page = Page::new(text, names);
    markup::read(&mut page);
    let mut at = 0;
    while at < page.len() {
        at = table(&mut page, at).unwrap_or_else(|| pairs::read(&mut page, at));
    }
    disjoint(page.cells)
}

/// Reads the table that begins with this line, if one does: gives the line behind it.
fn table(page: &mut Page<'_>, at: usize) -> Option<usize> {
    if page.is_blank(at) {
        return Some(at + 1);
    }
    let readers = [records::read, ruled::read, columns::read, literals::read, separated::read];
    readers.iter().find_map(|read| read(page, at))
}

/// The cells in order; of two that overlap, both as one.
fn disjoint(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut kept: Vec<Cell> = Vec::with_capacity(cells.len());
    for cell in cells {
        match kept.last_mut() {
            Some(last) if cell.start < last.end => {
                if cell.end > last.end {
                    last.end = cell.end;
                    last.quoting = Quoting::Plain;
                }
            }
            _ => kept.push(cell),
        }
    }
    kept
}
