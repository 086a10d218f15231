//! Fields between separators, a row a line: CSV (RFC 4180), TSV, and what has `;` or `|` between (psql unaligned, SQLite's list mode).

use std::ops::Range;

use super::{
    Quoting,
    page::{Page, could_be, is_footer, is_header_like, is_pairs, is_tag, trimmed},
    pairs,
};

/// A line that is longer is no header of another table, in bytes.
const LONGEST_HEADER: usize = 8 << 10;
const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];

#[derive(Debug, Clone)]
struct Field {
    place: Range<usize>,
    quoted: bool,
}

#[derive(Debug)]
struct Row {
    fields: Vec<Field>,
    /// The line behind it.
    next: usize,
}

/// Reads the table whose header is this line.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> Option<usize> {
    let line = page.line(at);
    if !SEPARATORS.iter().any(|separator| memchr::memchr(*separator, line.as_bytes()).is_some()) {
        return page.name(line).map(|name| one_column(page, at + 1, name));
    }
    if page.has_name(line) {
        let headers = SEPARATORS.iter().filter_map(|separator| Some((*separator, header(page, at, *separator)?)));
        if let Some((separator, (header, wanted))) = headers.max_by_key(|(_, (header, _))| header.fields.len()) {
            return Some(Table { separator, header, wanted }.rows(page));
        }
    }
    SEPARATORS.iter().find_map(|separator| other_table(page, at, *separator))
}

/// Reads a table that has none of the columns: a name in one of its rows is no header.
fn other_table(page: &mut Page<'_>, at: usize, separator: u8) -> Option<usize> {
    let is_tight = |field: &str| field.len() <= 64 && field.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"');
    let header = page.line(at).split(char::from(separator));
    if page.line(at).len() > LONGEST_HEADER || !header.clone().all(is_tight) {
        return None;
    }
    let has_pairs = is_pairs(header.clone());
    let columns = header.count();
    let mut next = at + 1;
    let mut has_values = false;
    while columns > 1 && next < page.len() {
        let row = row(page, next, separator).filter(|row| row.fields.len() == columns);
        let Some(row) = row else { break };
        let field = |field: &Field| &page.text[field.place.clone()];
        let is_names = row.fields.iter().all(|one| is_header_like(field(one)));
        // Names below values: another table begins.
        if is_names && has_values && row.fields.iter().any(|one| page.name(field(one)).is_some()) {
            break;
        }
        has_values |= !is_names;
        if has_pairs && let Some(name) = page.name(field(&row.fields[0])) {
            let Field { place, quoted } = row.fields[1].clone();
            page.give(place, name, Quoting::Csv { separator: char::from(separator), quoted });
        }
        for line in next..row.next {
            pairs::read(page, line);
        }
        next = row.next;
    }
    (next > at + 1).then_some(next)
}

/// The line as a header, and which of its fields are looked for.
fn header(page: &mut Page<'_>, at: usize, separator: u8) -> Option<(Row, Vec<(usize, usize)>)> {
    let row = row(page, at, separator)?;
    let named = |(column, field): (usize, &Field)| Some((column, page.name(&page.text[field.place.clone()])?));
    let wanted: Vec<_> = row.fields.iter().enumerate().filter_map(named).collect();
    (row.fields.len() > 1 && !wanted.is_empty()).then_some((row, wanted))
}

/// A column of its own has no separators to tell it by: it goes on to a blank line.
fn one_column(page: &mut Page<'_>, mut at: usize, name: usize) -> usize {
    while at < page.len() && !page.is_blank(at) && !is_tag(page.line(at)) && !is_footer(page.line(at)) {
        // No line has this separator: the row is one field, in quotes or not.
        match row(page, at, 0).filter(|row| row.fields.len() == 1) {
            Some(row) => {
                let field = &row.fields[0];
                page.give(field.place.clone(), name, Quoting::Csv { separator: ',', quoted: field.quoted });
                at = row.next;
            }
            None => {
                let place = trimmed(page.line(at), page.start(at));
                page.give(place, name, Quoting::Csv { separator: ',', quoted: false });
                at += 1;
            }
        }
    }
    at
}

struct Table {
    separator: u8,
    header: Row,
    /// Columns, and the names they have.
    wanted: Vec<(usize, usize)>,
}

impl Table {
    fn rows(self, page: &mut Page<'_>) -> usize {
        let columns = self.header.fields.len();
        // `ssn,123` may as well be a name and its value; in psql's output, the value may have bars in it.
        if let ([(0, name)], [_, values @ ..]) = (&self.wanted[..], &self.header.fields[..])
            && (values.len() == 1 || self.separator == b'|')
            && !values.iter().all(|value| is_header_like(&page.text[value.place.clone()]))
        {
            values.iter().for_each(|value| self.give(page, value, *name));
        }
        let mut at = self.header.next;
        let mut is_short = false;
        // A line of tabs is a row of empty fields.
        while at < page.len() && (!page.is_blank(at) || page.line(at).contains(char::from(self.separator))) {
            if let Some(row) = row(page, at, self.separator).filter(|row| row.fields.len() == columns) {
                at = row.next;
                is_short = false;
                if !self.is_header_again(page, &row) && !is_rule(page, &row) {
                    for (column, name) in &self.wanted {
                        self.give(page, &row.fields[*column], *name);
                    }
                }
                continue;
            }
            let fields = split(page, at, self.separator);
            if fields.len() == 1 {
                let goes_on = is_short || (!is_tag(page.line(at)) && self.is_aligned(page, at + 1));
                if !goes_on || is_footer(page.line(at)) {
                    break;
                }
            } else if fields.iter().all(|field| is_header_like(&page.text[field.place.clone()]))
                && fields.iter().any(|field| page.name(&page.text[field.place.clone()]).is_some())
            {
                break;
            }
            is_short = fields.len() < columns;
            for (field, name) in could_be(&self.wanted, columns, fields.len()) {
                self.give(page, &fields[field], name);
            }
            at += 1;
        }
        at
    }

    fn give(&self, page: &mut Page<'_>, field: &Field, name: usize) {
        page.give(field.place.clone(), name, Quoting::Csv { separator: char::from(self.separator), quoted: field.quoted });
    }

    fn is_aligned(&self, page: &Page<'_>, at: usize) -> bool {
        at < page.len() && split(page, at, self.separator).len() == self.header.fields.len()
    }

    fn is_header_again(&self, page: &Page<'_>, row: &Row) -> bool {
        row.fields.iter().zip(&self.header.fields).all(|(a, b)| page.text[a.place.clone()] == page.text[b.place.clone()])
    }
}

/// A row of dashes under a header.
fn is_rule(page: &Page<'_>, row: &Row) -> bool {
    let texts = row.fields.iter().map(|field| &page.text[field.place.clone()]);
    let is_dashes = |text: &str| !text.is_empty() && text.bytes().all(|byte| b"-=:".contains(&byte));
    // Markdown may be quoted: `> |---|---|`.
    let is_quoted = page.text[row.fields[0].place.clone()] == *">";
    let texts: Vec<&str> = texts.skip(usize::from(is_quoted)).collect();
    texts.iter().any(|text| is_dashes(text)) && texts.iter().all(|text| is_dashes(text) || (is_quoted && text.is_empty()))
}

/// The row that begins with this line, which may go on over more lines within quotes; none if its quotes are not well-formed.
fn row(page: &mut Page<'_>, line: usize, separator: u8) -> Option<Row> {
    let bytes = page.text.as_bytes();
    let mut fields = Vec::new();
    let mut at = page.start(line);
    loop {
        let start = at + spaces(&bytes[at..], separator);
        if bytes.get(start) == Some(&b'"') {
            let end = quoted(page, start)?;
            fields.push(Field { place: start..end, quoted: true });
            at = end + spaces(&bytes[end..], separator);
            if !matches!(bytes.get(at), None | Some(b'\n' | b'\r')) && bytes[at] != separator {
                return None;
            }
        } else {
            at += memchr::memchr3(separator, b'\n', b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
            let begin = start.min(at);
            fields.push(Field { place: trimmed(&page.text[begin..at], begin), quoted: false });
        }
        match bytes.get(at) {
            Some(byte) if *byte == separator => at += 1,
            _ => break,
        }
    }
    let next = page.line_after(line, at.min(bytes.len()));
    Some(Row { fields, next })
}

fn spaces(bytes: &[u8], separator: u8) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t') && **byte != separator).count()
}

/// Where what begins with a quote ends, behind the closing one.
fn quoted(page: &mut Page<'_>, start: usize) -> Option<usize> {
    if start >= page.unclosed_from {
        return None;
    }
    let bytes = page.text.as_bytes();
    let mut at = start + 1;
    loop {
        match memchr::memchr(b'"', &bytes[at..]) {
            Some(next) if bytes.get(at + next + 1) == Some(&b'"') => at += next + 2,
            Some(next) => return Some(at + next + 1),
            None => {
                page.unclosed_from = start;
                return None;
            }
        }
    }
}

/// The fields of one line by itself, quotes or not.
fn split(page: &Page<'_>, line: usize, separator: u8) -> Vec<Field> {
    let mut start = page.start(line);
    let mut fields = Vec::new();
    for part in page.line(line).split(char::from(separator)) {
        fields.push(Field { place: trimmed(part, start), quoted: false });
        start += part.len() + 1;
    }
    fields
}
