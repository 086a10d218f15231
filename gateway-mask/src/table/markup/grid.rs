//! An HTML table: which cell of a row is in which column.

use std::ops::Range;

/// Spans that are wider are cut (HTML, section 4.9.11).
const WIDEST: usize = 1000;
const HIGHEST: usize = 65534;

/// A table that is being read.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// Within `thead`.
    pub(super) is_head: bool,
    /// The names of the columns that are looked for.
    columns: Vec<Option<usize>>,
    has_header: bool,
    /// The header is marked as one.
    has_marked: bool,
    /// The header says that rows are names and values.
    pub(super) is_pairs: bool,
    /// Cells of rows above that reach down: how many rows further, a column.
    below: Vec<usize>,
    row: Vec<GridCell>,
    /// The column behind the last cell of the row.
    next: usize,
}

#[derive(Debug)]
struct GridCell {
    is_header: bool,
    columns: Range<usize>,
    rows: usize,
    place: Range<usize>,
    name: Option<usize>,
    /// Its text looks like a column's name.
    is_header_like: bool,
}

impl Grid {
    pub(super) fn begin_row(&mut self) {
        self.row.clear();
        self.next = 0;
    }

    pub(super) fn begin_cell(&mut self, is_header: bool, width: usize, height: usize) {
        while self.below.get(self.next).is_some_and(|rows| *rows > 0) {
            self.next += 1;
        }
        let columns = self.next..self.next + width.clamp(1, WIDEST);
        self.next = columns.end;
        self.row.push(GridCell { is_header, columns, rows: height.clamp(1, HIGHEST), place: 0..0, name: None, is_header_like: false });
    }

    /// The name that the last cell's text is.
    pub(super) fn name_cell(&mut self, name: Option<usize>, is_header_like: bool) {
        if let Some(cell) = self.row.last_mut() {
            (cell.name, cell.is_header_like) = (name, is_header_like);
        }
    }

    pub(super) fn end_cell(&mut self, place: Range<usize>) {
        if let Some(cell) = self.row.last_mut() {
            cell.place = place;
        }
    }

    /// Gives the row's cells in wanted columns.
    pub(super) fn end_row(&mut self, give: &mut impl FnMut(Range<usize>, usize)) {
        let row = std::mem::take(&mut self.row);
        self.next = 0;
        if row.is_empty() {
            return;
        }
        let all_headers = row.iter().all(|cell| cell.is_header);
        // Without `th`, the first row is the header.
        let is_header = all_headers || self.is_head || (!self.has_header && !row.iter().any(|cell| cell.is_header));
        let width = row.iter().map(|cell| cell.columns.end).max().unwrap_or(0);
        if is_header {
            self.has_header = true;
            self.has_marked |= all_headers || self.is_head;
            self.columns.resize(self.columns.len().max(width), None);
            for cell in &row {
                if let Some(name) = cell.name {
                    self.columns[cell.columns.clone()].fill(Some(name));
                }
            }
        } else {
            self.values(&row, width, give);
        }
        // Headers of rows: `<th>ssn</th><td>…</td>`.
        let is_first = is_header && row.iter().all(|cell| cell.is_header_like);
        if !all_headers && !self.is_head && !is_first {
            let is_pair = row.len() == 2 && (!self.has_marked || self.is_pairs);
            let mut name = None;
            for cell in &row {
                match cell.name.filter(|_| cell.is_header || is_pair && cell.columns.start == 0) {
                    Some(found) => name = Some(found),
                    None if cell.is_header => name = None,
                    None => name.into_iter().for_each(|name| give(cell.place.clone(), name)),
                }
            }
        }
        self.reach_down(&row, width);
    }

    fn values(&self, row: &[GridCell], width: usize, give: &mut impl FnMut(Range<usize>, usize)) {
        let columns = self.columns.len();
        let name_in = |from: usize, to: usize| self.columns.get(from..to.min(columns)).and_then(|names| names.iter().flatten().next());
        for cell in row {
            let (mut from, mut to) = (cell.columns.start, cell.columns.end);
            // A row that has more or fewer cells than the header: each may stand for those that are missing or too many.
            let covered = self.below.iter().rposition(|rows| *rows > 0).map_or(0, |last| last + 1).max(width);
            if covered < columns {
                to += columns - covered;
            } else {
                from = from.saturating_sub(covered - columns);
            }
            if let Some(name) = name_in(from, to) {
                give(cell.place.clone(), *name);
            }
        }
    }

    fn reach_down(&mut self, row: &[GridCell], width: usize) {
        self.below.iter_mut().for_each(|rows| *rows = rows.saturating_sub(1));
        for cell in row.iter().filter(|cell| cell.rows > 1) {
            if self.below.len() < width {
                self.below.resize(width, 0);
            }
            self.below[cell.columns.clone()].fill(cell.rows - 1);
        }
    }
}
