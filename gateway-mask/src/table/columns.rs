//! Columns told by their place in the line: under dashes (sqlcmd, SQLite's column mode, psql without borders, reStructuredText), or under the
//! words of a header alone (pandas, kubectl).

use std::{cmp::Ordering, ops::Range};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    Quoting,
    page::{Page, could_be, is_footer, is_header_like, is_tag, trimmed},
};

/// How a program counts columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Metric {
    /// One a character.
    Chars,
    /// As many as a terminal shows.
    Width,
}

impl Metric {
    fn width(self, line: &str) -> usize {
        match self {
            Metric::Chars => line.chars().count(),
            Metric::Width => line.width(),
        }
    }
}

/// Where these columns, which ascend, are in a line, in bytes.
pub(super) fn offsets(line: &str, columns: &[usize], metric: Metric) -> Vec<usize> {
    if line.is_ascii() {
        return columns.iter().map(|column| *column.min(&line.len())).collect();
    }
    let mut offsets = Vec::with_capacity(columns.len());
    let mut chars = line.char_indices();
    let (mut place, mut column) = (0, 0);
    for wanted in columns {
        while column < *wanted {
            match chars.next() {
                Some((at, c)) => {
                    column += if metric == Metric::Chars { 1 } else { c.width().unwrap_or(0) };
                    place = at + c.len_utf8();
                }
                None => {
                    place = line.len();
                    break;
                }
            }
        }
        offsets.push(place);
    }
    offsets
}

/// Reads the table whose header is this line.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> Option<usize> {
    if page.is_blank(at) {
        return None;
    }
    if let Some(spans) = dashes(page.line(at + 1)).filter(|_| dashes(page.line(at)).is_none()) {
        return under_dashes(page, at, spans);
    }
    if page.has_name(page.line(at)) { under_words(page, at) } else { None }
}

/// The columns of a line that is dashes and spaces.
fn dashes(line: &str) -> Option<Vec<Range<usize>>> {
    let bytes = line.trim_end().as_bytes();
    let mark = *bytes.iter().find(|byte| **byte != b' ')?;
    if !matches!(mark, b'-' | b'=') || bytes.len() < 2 {
        return None;
    }
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        match spans.last_mut() {
            _ if *byte == b' ' => {}
            _ if *byte != mark => return None,
            Some(last) if last.end == at => last.end = at + 1,
            _ => spans.push(at..at + 1),
        }
    }
    Some(spans)
}

fn under_dashes(page: &mut Page<'_>, at: usize, spans: Vec<Range<usize>>) -> Option<usize> {
    let columns = Columns {
        begin: spans.iter().map(|span| span.start).collect(),
        ends: spans.iter().map(|span| span.end).collect(),
        is_right: false,
        metrics: METRICS,
    };
    let header = columns.fields(page.line(at)).unwrap_or_default();
    let mut wanted = columns.wanted(page, at, &header);
    if header.is_empty() {
        let words: Vec<&str> = page.line(at).split_whitespace().collect();
        let names = words.iter().enumerate().filter(|_| words.len() == spans.len());
        wanted = names.filter_map(|(column, word)| Some((column, page.name(word)?))).collect();
    }
    // One line of dashes under a text is a heading.
    if spans.len() == 1 && wanted.is_empty() {
        return None;
    }
    Some(columns.rows(page, at + 2, &wanted, true))
}

/// A header without a rule: the rows must stand under it.
fn under_words(page: &mut Page<'_>, at: usize) -> Option<usize> {
    let line = page.line(at);
    if line.contains('\t') || at + 1 >= page.len() || page.is_blank(at + 1) {
        return None;
    }
    let by_gaps = words(line, 2);
    let has_names = |words: &[Range<usize>]| words.iter().any(|word| page.name(&line[word.clone()]).is_some());
    for words in [by_gaps, words(line, 1)] {
        let words: Vec<_> = words.into_iter().filter(|word| &line[word.clone()] != "\\").collect();
        let is_header = words.iter().all(|word| is_header_like(&line[word.clone()])) && has_names(&words);
        if !is_header || (words.len() == 1 && words[0].start == 0) {
            continue;
        }
        let chars = |place: usize| line[..place].chars().count();
        let begin: Vec<usize> = words.iter().map(|word| chars(word.start)).collect();
        let ends: Vec<usize> = words.iter().map(|word| chars(word.end)).collect();
        for is_right in [true, false] {
            let columns = Columns { begin: begin.clone(), ends: ends.clone(), is_right, metrics: METRICS };
            let wanted: Vec<_> =
                words.iter().enumerate().filter_map(|(column, word)| Some((column, page.name(&line[word.clone()])?))).collect();
            let stands = |row: usize| row < page.len() && !page.is_blank(row) && columns.stands_under(page.line(row), &wanted);
            if stands(at + 1) || stands(at + 2) {
                return Some(columns.rows(page, at + 1, &wanted, false));
            }
        }
    }
    None
}

/// The parts of a line with at least so many spaces between.
fn words(line: &str, gap: usize) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    for (at, c) in line.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        match words.last_mut() {
            Some(last) if at < last.end + gap => last.end = at + c.len_utf8(),
            _ => words.push(at..at + c.len_utf8()),
        }
    }
    words
}

/// Columns in which cells begin and end.
struct Columns {
    begin: Vec<usize>,
    ends: Vec<usize>,
    /// Cells end under the end of their header; else they begin under its beginning.
    is_right: bool,
    /// How the columns may be counted.
    metrics: &'static [Metric],
}

const METRICS: &[Metric] = &[Metric::Chars, Metric::Width];

impl Columns {
    fn wanted(&self, page: &Page<'_>, at: usize, fields: &[Range<usize>]) -> Vec<(usize, usize)> {
        let line = page.line(at);
        fields.iter().enumerate().filter_map(|(column, field)| Some((column, page.name(&line[field.clone()])?))).collect()
    }

    /// The fields of a line, if no word stands where one column ends and the next begins.
    fn fields(&self, line: &str) -> Option<Vec<Range<usize>>> {
        let metrics = if line.is_ascii() { &self.metrics[..1] } else { self.metrics };
        let mut readings = metrics.iter().filter_map(|metric| self.fields_by(line, *metric));
        let first = readings.next()?;
        match readings.next() {
            // It can be read either way: what is in the column in one of them.
            Some(other) => Some(first.iter().zip(&other).map(|(a, b)| a.start.min(b.start)..a.end.max(b.end)).collect()),
            None => Some(first),
        }
    }

    /// How the program counts, if the rows tell: all of them are as wide as the table, or fit below the header, in one of the ways only.
    fn count_as_rows_do(&mut self, page: &Page<'_>, from: usize) {
        let wide = self.ends.last().copied().unwrap_or(0);
        let mut votes = [(0_usize, 0_usize); 2];
        let rows = (from..page.len()).map(|at| page.line(at)).take_while(|line| !line.trim().is_empty() && !self.is_end(line));
        for line in rows.filter(|line| !line.is_ascii()) {
            for (metric, (whole, fit)) in METRICS.iter().zip(&mut votes) {
                *whole += usize::from(metric.width(line) == wide);
                *fit += usize::from(self.fields_by(line, *metric).is_some());
            }
        }
        match votes[0].cmp(&votes[1]) {
            Ordering::Greater => self.metrics = &METRICS[..1],
            Ordering::Less => self.metrics = &METRICS[1..],
            Ordering::Equal => {}
        }
    }

    fn fields_by(&self, line: &str, metric: Metric) -> Option<Vec<Range<usize>>> {
        let cuts = if self.is_right { &self.ends[..self.ends.len() - 1] } else { &self.begin[1..] };
        let cuts = offsets(line, cuts, metric);
        let is_cut = |cut: usize| {
            let (before, after) = (line[..cut].chars().next_back(), line[cut..].chars().next());
            let space = if self.is_right { after } else { before };
            space.is_none_or(char::is_whitespace)
        };
        if !cuts.iter().all(|cut| is_cut(*cut)) {
            return None;
        }
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let mut fields: Vec<Range<usize>> = starts.zip(cuts.iter().copied().chain([line.len()])).map(|(start, end)| start..end).collect();
        // The index of a pandas table stands before its first column, and has no name.
        if let Some(first) = fields.first_mut().filter(|_| self.is_right && self.begin[0] > 0) {
            match &words(&line[first.clone()], 2)[..] {
                [index, _, ..] => first.start = index.end,
                [index] if index.start == 0 && index.end < first.end => first.start = index.end,
                _ => {}
            }
        }
        Some(fields)
    }

    /// Whether a line is a row below this header.
    fn stands_under(&self, line: &str, wanted: &[(usize, usize)]) -> bool {
        let Some(fields) = self.fields(line) else { return false };
        let filled = |field: &Range<usize>| !line[field.clone()].trim().is_empty();
        let edges = if self.is_right { &self.ends } else { &self.begin };
        let last = edges.last().is_some_and(|last| {
            let fits = |metric: &Metric| {
                let place = offsets(line, &[*last], *metric)[0];
                if self.is_right {
                    metric.width(line) == *last && !line.ends_with(' ')
                } else {
                    place < line.len() && !line[place..].starts_with(' ')
                }
            };
            METRICS.iter().any(fits)
        });
        last && wanted.iter().any(|(column, _)| fields.get(*column).is_some_and(filled))
    }

    fn rows(mut self, page: &mut Page<'_>, mut at: usize, wanted: &[(usize, usize)], has_rule: bool) -> usize {
        self.count_as_rows_do(page, at);
        while at < page.len() {
            let line = page.line(at);
            if line.is_empty() || (page.is_blank(at) && self.begin.len() > 1) {
                // SQLite leaves a line blank between rows of which one is wrapped.
                let goes_on = has_rule && self.begin.len() > 1 && dashes(page.line(at + 2)).is_none() && self.is_row(page.line(at + 1));
                if !goes_on {
                    break;
                }
                at += 1;
                continue;
            }
            if self.is_end(line) {
                break;
            }
            self.row(page, at, wanted);
            at += 1;
        }
        at
    }

    /// Whether a line stands behind the rows.
    fn is_end(&self, line: &str) -> bool {
        dashes(line).is_some() || is_footer(line) || (is_tag(line) && !(self.begin.len() > 1 && self.is_row(line)))
    }

    fn is_row(&self, line: &str) -> bool {
        let is_wide = self.begin.last().is_some_and(|last| line.chars().count() > *last);
        self.fields(line)
            .is_some_and(|fields| is_wide || fields.iter().filter(|field| !line[(*field).clone()].trim().is_empty()).count() > 1)
    }

    fn row(&self, page: &mut Page<'_>, at: usize, wanted: &[(usize, usize)]) {
        let (line, start) = (page.line(at), page.start(at));
        if let Some(fields) = self.fields(line) {
            for (column, name) in wanted {
                let field = fields[*column].clone();
                page.give(self.place(line, field, start), *name, Quoting::Padded);
            }
            return;
        }
        let words = [2, 1].map(|gap| words(line, gap));
        let words = words.iter().find(|words| words.len() == self.begin.len()).unwrap_or(&words[1]);
        for (word, name) in could_be(wanted, self.begin.len(), words.len()) {
            let place = words[word].clone();
            page.give(start + place.start..start + place.end, name, Quoting::Padded);
        }
    }

    /// A field with its padding, but for the space before the next.
    fn place(&self, line: &str, field: Range<usize>, start: usize) -> Range<usize> {
        let text = &line[field.clone()];
        if self.is_right {
            // What stands at the right edge keeps to it.
            return trimmed(text, start + field.start);
        }
        let is_last = field.end == line.len();
        let end = if is_last { text.len() } else { text.strip_suffix(' ').unwrap_or(text).len() };
        let begin = trimmed(text, 0).start.min(end);
        start + field.start + begin..start + field.start + end
    }
}
