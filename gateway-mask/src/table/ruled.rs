//! Tables with bars between the fields and a rule under the header: psql, Markdown, mysql, box drawing, and what looks like them.

use std::ops::Range;

use super::{
    Quoting,
    columns::{Metric, offsets},
    page::{Page, could_be, is_footer, is_pairs},
};

/// A header may be wrapped over as many lines.
const HEADER_LINES: usize = 8;
/// How far the end of a table is looked for behind a blank line within a cell.
const BLANK_LINES: usize = 200;

/// A line of dashes and what joins them.
#[derive(Debug, PartialEq)]
struct Rule {
    /// Columns in which bars stand.
    joints: Vec<usize>,
    has_left: bool,
    has_right: bool,
    is_markdown: bool,
    /// There are no spaces in it.
    is_solid: bool,
}

impl Rule {
    fn of(line: &str) -> Option<Rule> {
        let is_first = |c: char| is_dash(c) || is_joint(c) || c == ':';
        if !line.trim_start().starts_with(is_first) {
            return None;
        }
        let line = line.trim_end();
        let (mut joints, mut width, mut dashes) = (Vec::new(), 0, 0_usize);
        let mut is_markdown = true;
        for c in line.chars() {
            match c {
                ' ' | ':' => {}
                c if is_joint(c) => {
                    joints.push(width);
                    is_markdown &= c == '|';
                }
                c if is_dash(c) => {
                    dashes += 1;
                    is_markdown &= c == '-';
                }
                _ => return None,
            }
            width += 1;
        }
        let indent = line.len() - line.trim_start().len();
        let has_left = joints.first() == Some(&indent);
        let has_right = joints.last().is_some_and(|last| *last + 1 == width);
        (dashes > 0 && !joints.is_empty()).then(|| {
            let is_solid = dashes + joints.len() == width;
            Rule { joints, has_left, has_right, is_markdown, is_solid }
        })
    }

    fn fields(&self) -> usize {
        self.joints.len() + 1 - usize::from(self.has_left) - usize::from(self.has_right)
    }
}

fn is_dash(c: char) -> bool {
    "-=─━═╌╍┄┅".contains(c)
}

fn is_joint(c: char) -> bool {
    c == '+' || c == '|' || ('\u{250c}'..='\u{257f}').contains(&c) && !is_dash(c)
}

fn is_bar(c: char) -> bool {
    "|│┃║┆┊".contains(c)
}

/// Reads the table that begins with this line: its upper border, or its header.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> Option<usize> {
    if let Some(top) = Rule::of(page.line(at)) {
        let rest = at + 1..page.len().min(at + 2 + HEADER_LINES);
        let below = rest.clone().find(|line| Rule::of(page.line(*line)).is_some());
        let bars = |line: usize| page.line(line).contains(is_bar);
        if !top.has_left || !bars(at + 1) {
            return None;
        }
        return Some(match below {
            Some(below) if (at + 1..below).all(bars) => Table::new(page, at + 1..below, top, true).rows(page, below + 1),
            _ => Table::new(page, at + 1..at + 2, top, true).rows(page, at + 2),
        });
    }
    let rule = (at + 1 < page.len() && page.line(at).contains(is_bar)).then(|| Rule::of(page.line(at + 1)))??;
    let (has_left, fields) = (rule.has_left, rule.fields());
    let table = Table::new(page, at..at + 1, rule, false);
    // `|-` may be a row below `a|b`.
    let is_rule = table.columns == fields || has_left == page.line(at).trim_start().starts_with(is_bar);
    is_rule.then(|| table.rows(page, at + 2))
}

struct Table {
    rule: Rule,
    columns: usize,
    /// Columns, and the names they have.
    wanted: Vec<(usize, usize)>,
    quoting: Quoting,
    /// It has borders above and below.
    is_grid: bool,
    /// Its rows are names and values.
    is_pairs: bool,
}

impl Table {
    fn new(page: &Page<'_>, header: Range<usize>, rule: Rule, is_grid: bool) -> Table {
        let quoting = if rule.is_markdown && !is_grid { Quoting::Markdown } else { Quoting::Padded };
        let mut table = Table { columns: rule.fields(), rule, wanted: Vec::new(), quoting, is_grid, is_pairs: false };
        for line in header.clone() {
            let fields = table.aligned(page.line(line)).unwrap_or_else(|| table.split(page.line(line)));
            if header.len() == 1 {
                // What is above the rule says how many columns there are, if both do not agree.
                table.columns = fields.len();
            }
            table.is_pairs |= is_pairs(fields.iter().map(|field| &page.line(line)[field.clone()]));
            let named = |(column, field): (usize, &Range<usize>)| Some((column, page.name(unmarked(&page.line(line)[field.clone()]))?));
            table.wanted.extend(fields.iter().enumerate().filter_map(named));
        }
        table.wanted.sort_unstable();
        table.wanted.dedup_by_key(|(column, _)| *column);
        table
    }

    /// Reads the rows from this line on.
    fn rows(self, page: &mut Page<'_>, mut at: usize) -> usize {
        let mut broken = None;
        let mut after_rule = true;
        while at < page.len() {
            let line = page.line(at);
            if line.trim().is_empty() {
                if !(broken.is_some() && self.goes_on(page, at)) {
                    break;
                }
            } else if Rule::of(line).is_some_and(|rule| rule.is_solid && rule.joints == self.rule.joints) {
                broken = None;
                // Two rules: one table ends, the next one begins.
                if after_rule && self.is_grid && at + 1 < page.len() {
                    break;
                }
                after_rule = true;
                at += 1;
                continue;
            } else if let Some(fields) = self.aligned(line) {
                broken = None;
                for (column, name) in &self.wanted {
                    self.give(page, at, fields[*column].clone(), *name);
                }
                if self.is_pairs
                    && let Some(name) = page.name(unmarked(&line[fields[0].clone()]))
                {
                    self.give(page, at, fields[1].clone(), name);
                }
            } else if self.is_grid && line.trim_start().starts_with(is_bar) && !line.trim_end().ends_with(is_bar) {
                broken = Some(self.begin_broken(page, at));
            } else if let Some(open) = broken {
                // A line break within a cell.
                if let Some(name) = open {
                    self.give(page, at, 0..line.len(), name);
                }
            } else if line.contains(is_bar) {
                let fields = self.split(line);
                for (field, name) in could_be(&self.wanted, self.columns, fields.len()) {
                    self.give(page, at, fields[field].clone(), name);
                }
            } else if !after_rule && !is_footer(line) && self.aligned(page.line(at + 1)).is_some() {
                for (_, name) in self.wanted.iter().take(1) {
                    self.give(page, at, 0..line.len(), *name);
                }
            } else {
                break;
            }
            after_rule = false;
            at += 1;
        }
        at
    }

    /// Reads a row that is cut off by a line break: gives the name that the cut cell, or one behind it, has.
    fn begin_broken(&self, page: &mut Page<'_>, at: usize) -> Option<usize> {
        let line = page.line(at);
        let prefix = |metric: &Metric| {
            let places = offsets(line, &self.rule.joints, *metric);
            places.into_iter().take_while(|place| line[*place..].starts_with(is_bar)).collect::<Vec<_>>()
        };
        let bars = [Metric::Width, Metric::Chars].iter().map(prefix).max_by_key(Vec::len).unwrap_or_default();
        let mut open = None;
        for (column, name) in &self.wanted {
            let start = |bar: usize| bar + line[bar..].chars().next().map_or(0, char::len_utf8);
            match (bars.get(*column), bars.get(column + 1)) {
                (Some(from), Some(to)) => self.give(page, at, start(*from)..*to, *name),
                _ => {
                    if open.is_none() {
                        self.give(page, at, bars.last().map_or(0, |last| start(*last))..line.len(), *name);
                    }
                    open = open.or(Some(*name));
                }
            }
        }
        open
    }

    /// Whether the lower border is still to come.
    fn goes_on(&self, page: &Page<'_>, at: usize) -> bool {
        (at..page.len().min(at + BLANK_LINES)).any(|line| Rule::of(page.line(line)).is_some_and(|rule| rule.joints == self.rule.joints))
    }

    fn give(&self, page: &mut Page<'_>, line: usize, field: Range<usize>, name: usize) {
        let text = &page.line(line)[field.clone()];
        // One space on either side is the table's.
        let left = usize::from(text.starts_with(' '));
        let right = usize::from(text.len() > left && text.ends_with(' '));
        let start = page.start(line) + field.start;
        page.give(start + left..start + text.len() - right, name, self.quoting);
    }

    /// The fields of a line that has bars where the table has them, or as many fields.
    fn aligned(&self, line: &str) -> Option<Vec<Range<usize>>> {
        let by_count =
            || Some(self.split(line)).filter(|fields| fields.len() == self.columns && line.contains(is_bar) && self.is_whole(line));
        let by_place = || {
            let fits = self.columns == self.rule.fields();
            fits.then(|| [Metric::Width, Metric::Chars].iter().find_map(|metric| self.by_place(line, *metric)))?
        };
        // psql and mysql write bars within cells as they are: only their place tells. Markdown writes `\|`.
        if self.rule.is_markdown { by_count().or_else(by_place) } else { by_place().or_else(by_count) }
    }

    /// Whether a line has the borders that the table has.
    fn is_whole(&self, line: &str) -> bool {
        !self.is_grid || (line.trim_start().starts_with(is_bar) && line.trim_end().ends_with(is_bar))
    }

    fn by_place(&self, line: &str, metric: Metric) -> Option<Vec<Range<usize>>> {
        let places = offsets(line, &self.rule.joints, metric);
        let mut ends = Vec::with_capacity(places.len());
        for (place, joint) in places.iter().zip(&self.rule.joints) {
            let bar = line[*place..].chars().next()?;
            let is_outer = (self.rule.has_left && ends.is_empty()) || (self.rule.has_right && Some(joint) == self.rule.joints.last());
            // psql's old style has other bars where a cell goes on.
            let is_joint = is_bar(bar) || (!is_outer && !self.is_grid && !self.rule.is_markdown && matches!(bar, ':' | ';'));
            if !is_joint || line[..*place].ends_with('\\') && self.rule.is_markdown {
                return None;
            }
            ends.push(*place..*place + bar.len_utf8());
        }
        if self.rule.has_right && !line[ends.last()?.end..].trim().is_empty() {
            return None;
        }
        let mut fields = Vec::with_capacity(self.columns);
        let mut start = if self.rule.has_left { ends.first()?.end } else { 0 };
        for end in ends.iter().skip(usize::from(self.rule.has_left)) {
            fields.push(start..end.start);
            start = end.end;
        }
        if !self.rule.has_right {
            fields.push(start..line.len());
        }
        Some(fields)
    }

    /// The fields between all bars of a line.
    fn split(&self, line: &str) -> Vec<Range<usize>> {
        let indent = line.len() - line.trim_start().len();
        let end = line.trim_end().len();
        let mut start = if line[indent..].starts_with(is_bar) && self.rule.has_left { indent } else { 0 };
        let mut fields = Vec::new();
        let mut before = ' ';
        let mut is_first = self.rule.has_left && start == indent && line[indent..].starts_with(is_bar);
        for (at, c) in line[start..end].char_indices().map(|(at, c)| (at + start, c)).collect::<Vec<_>>() {
            if is_bar(c) && !(before == '\\' && self.rule.is_markdown) {
                if !is_first {
                    fields.push(start..at);
                }
                start = at + c.len_utf8();
            }
            is_first = false;
            before = c;
        }
        if start < end || !(self.rule.has_right || fields.is_empty()) {
            fields.push(start.min(line.len())..line.len());
        }
        fields
    }
}

/// A header without the marks of `**ssn**` and `` `ssn` ``, and of psql for one that goes on.
fn unmarked(field: &str) -> &str {
    field.trim().trim_matches(['*', '`', '+']).trim()
}
