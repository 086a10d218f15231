//! A record a block, a column a line: psql's expanded output, and `\G` of mysql.

use super::{
    Quoting,
    columns::{Metric, offsets},
    page::{Page, is_footer, trimmed},
};

/// What stands between a column's name and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// psql: a bar, in the same column in each line; the name is blank where a value goes on.
    Bars,
    /// mysql: a colon, in the same column in each line; values go on as they are.
    Colons,
    /// psql without borders: spaces only.
    Spaces,
}

/// Reads the records whose first begins with this line.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> Option<usize> {
    let form = marker(page.line(at))?;
    let mut records = Records { form, edge: None, current: None, waiting: Vec::new() };
    Some(records.read(page, at))
}

/// Whether a line begins a record: `-[ RECORD 1 ]-+---`, `* Record 1`, `*** 1. row ***`.
fn marker(line: &str) -> Option<Form> {
    let inner = line.trim();
    let first = inner.chars().next()?;
    if !"*-─━═+╔┌╭├╠[".contains(first) {
        return None;
    }
    let inner = inner.trim_matches(|c: char| "*-+[]|= ".contains(c) || ('\u{2500}'..='\u{257f}').contains(&c));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(number) = inner.strip_suffix(". row") {
        return (first == '*' && is_number(number)).then_some(Form::Colons);
    }
    let number = inner.strip_prefix("RECORD ").or_else(|| inner.strip_prefix("Record "))?;
    let form = if first == '*' { Form::Spaces } else { Form::Bars };
    is_number(number).then_some(form)
}

struct Records {
    form: Form,
    /// The column of the bar or colon.
    edge: Option<usize>,
    /// The name that the last column has.
    current: Option<usize>,
    /// Lines behind a blank one that are the last value's, if a record goes on behind them.
    waiting: Vec<usize>,
}

impl Records {
    fn read(&mut self, page: &mut Page<'_>, from: usize) -> usize {
        let mut blank = None;
        for at in from..page.len() {
            let line = page.line(at);
            if marker(line) == Some(self.form) {
                self.confirm(page);
                (blank, self.current, self.edge) = (None, None, None);
            } else if line.trim().is_empty() && (self.form != Form::Colons || blank.is_none()) {
                if self.form != Form::Colons {
                    // psql leaves a line blank behind the last record only.
                    return at;
                }
                blank = Some(at);
            } else if is_footer(line) || self.is_border(line) {
                return at + 1;
            } else if self.form == Form::Spaces {
                self.spaced(page, at);
            } else if let Some((key, value)) = self.split(line) {
                self.confirm(page);
                blank = None;
                if !key.is_empty() || self.form == Form::Colons {
                    self.current = page.name(key);
                }
                self.give(page, at, value);
            } else if blank.is_some() {
                self.waiting.push(at);
            } else {
                self.give(page, at, 0);
            }
        }
        blank.unwrap_or(page.len())
    }

    /// Whether a line is the border below the last record.
    fn is_border(&self, line: &str) -> bool {
        let is_mark = |c: char| "+-= ".contains(c) || ('\u{2500}'..='\u{257f}').contains(&c);
        self.form == Form::Bars && line.starts_with(['+', '└', '╚', '╰', '┗']) && line.chars().all(is_mark)
    }

    /// Reads a line that is a name and a value, or, behind spaces, more of a value.
    fn spaced(&mut self, page: &mut Page<'_>, at: usize) {
        let line = page.line(at);
        if line.starts_with(' ') {
            return self.give(page, at, 0);
        }
        let key = page.name_at(line, 0).filter(|(_, end)| line[*end..].is_empty() || line[*end..].starts_with(' '));
        self.current = key.map(|(name, _)| name);
        self.give(page, at, key.map_or(0, |(_, end)| end));
    }

    /// The last value went on over the lines that waited.
    fn confirm(&mut self, page: &mut Page<'_>) {
        for at in std::mem::take(&mut self.waiting) {
            self.give(page, at, 0);
        }
    }

    /// The name in a line, and where its value begins.
    fn split<'a>(&mut self, line: &'a str) -> Option<(&'a str, usize)> {
        let body = line.trim_end().strip_suffix(is_bar).filter(|_| line.starts_with(is_bar)).unwrap_or(line);
        let outer = body.chars().next().filter(|c| is_bar(*c)).map_or(0, char::len_utf8);
        let is_edge = |c: char| if self.form == Form::Bars { is_bar(c) } else { c == ':' };
        let first = outer + body[outer..].find(is_edge)?;
        let edge = *self.edge.get_or_insert_with(|| line[..first].chars().count());
        let place = [Metric::Chars, Metric::Width].iter().map(|metric| offsets(line, &[edge], *metric)[0]).find(|place| {
            let only_first = self.form == Form::Bars || *place == first;
            only_first && line[*place..].starts_with(is_edge)
        })?;
        let key = line[outer..place].trim();
        let mark = line[place..].chars().next().map_or(1, char::len_utf8);
        let has_key = self.form == Form::Bars || !key.is_empty();
        has_key.then_some((key, place + mark))
    }

    fn give(&self, page: &mut Page<'_>, at: usize, from: usize) {
        let Some(name) = self.current else { return };
        let line = page.line(at);
        let body = if self.form == Form::Bars && line.starts_with(is_bar) { line.trim_end().trim_end_matches(is_bar) } else { line };
        let quoting = if self.form == Form::Bars { Quoting::Padded } else { Quoting::Plain };
        let text = body.get(from..).unwrap_or_default();
        let place = trimmed(text, page.start(at) + from);
        // The padding before a right border belongs to the cell.
        let end = if body.len() < line.len() { (page.start(at) + body.len()).saturating_sub(1).max(place.end) } else { place.end };
        page.give(place.start..end, name, quoting);
    }
}

fn is_bar(c: char) -> bool {
    "|│║┃".contains(c)
}
