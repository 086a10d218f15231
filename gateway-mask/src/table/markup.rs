//! XML and HTML: elements and attributes that a name stands for, and the columns of HTML tables.
//!
//! Tolerant as browsers are: what is not closed ends with what is around it.

mod grid;
mod tags;

use std::{collections::HashMap, ops::Range};

use self::{
    grid::Grid,
    tags::{Kind, Tag, Tags},
};
use super::{Cell, Quoting, page::Page};
use crate::Names;

/// Attributes and elements that hold a name: `<column name="ssn">`, `<key>ssn</key>`.
const NAMING: [&str; 14] =
    ["name", "key", "field", "column", "col", "k", "id", "property", "label", "term", "title", "n", "header", "attribute"];
/// Attributes that hold the value beside such a name.
const VALUES: [&str; 9] = ["value", "val", "v", "content", "data", "text", "default", "string", "current"];

/// An element that is open.
struct Open<'a> {
    name: &'a str,
    /// Where its content begins.
    content: usize,
    /// The name that it stands for.
    wanted: Option<usize>,
    /// What the sibling before it named: `<key>ssn</key><string>…</string>`.
    named: Option<usize>,
    has_elements: bool,
}

/// Finds the cells of elements, attributes and HTML tables.
pub(super) fn read(page: &mut Page<'_>) {
    let text = page.text;
    if memchr::memchr(b'<', text.as_bytes()).is_none() {
        return;
    }
    let mut reader =
        Reader { open: Vec::new(), counts: HashMap::new(), grids: Vec::new(), cells: Vec::new(), names: page.names, text, named: None };
    for tag in Tags::new(text) {
        reader.tag(&tag);
    }
    reader.finish();
    for cell in reader.cells {
        page.give(cell.start..cell.end, cell.name, cell.quoting);
    }
}

struct Reader<'a> {
    text: &'a str,
    names: &'a Names,
    open: Vec<Open<'a>>,
    /// How many elements of each name are open.
    counts: HashMap<&'a str, usize>,
    grids: Vec<Grid>,
    cells: Vec<Cell>,
    /// What was named on the outermost level.
    named: Option<usize>,
}

impl<'a> Reader<'a> {
    fn tag(&mut self, tag: &Tag<'a>) {
        match tag.kind {
            Kind::Open | Kind::Alone => {
                self.imply_ends(tag);
                self.attributes(tag);
                self.begin(tag);
                if tag.kind == Kind::Alone {
                    self.end(tag.place.end);
                }
            }
            Kind::Close if self.counts.get(tag.name).is_some_and(|count| *count > 0) => {
                while let Some(open) = self.open.last() {
                    let is_last = open.name == tag.name;
                    self.end(tag.place.start);
                    if is_last {
                        break;
                    }
                }
            }
            Kind::Close => {}
        }
    }

    /// HTML lets the end tags of these be left out.
    fn imply_ends(&mut self, tag: &Tag<'_>) {
        let (ends, stops): (&[&str], &[&str]) = match local(tag.name).to_ascii_lowercase().as_str() {
            "td" | "th" => (&["td", "th"], &["tr", "table"]),
            "tr" => (&["td", "th", "tr"], &["table"]),
            "thead" | "tbody" | "tfoot" => (&["td", "th", "tr", "thead", "tbody", "tfoot"], &["table"]),
            "dt" | "dd" => (&["dt", "dd"], &["dl"]),
            _ => return,
        };
        let mut keep = self.open.len();
        for (at, open) in self.open.iter().enumerate().rev().take(8) {
            if stops.iter().any(|stop| open.name.eq_ignore_ascii_case(stop)) {
                break;
            }
            if ends.iter().any(|end| open.name.eq_ignore_ascii_case(end)) {
                keep = at;
            }
        }
        while self.open.len() > keep {
            self.end(tag.place.start);
        }
    }

    fn begin(&mut self, tag: &Tag<'a>) {
        let name = local(tag.name);
        let is_table = name.eq_ignore_ascii_case("table");
        // Rows without a table around them.
        if name.eq_ignore_ascii_case("tr") && self.grids.is_empty() {
            self.grids.push(Grid::default());
        }
        if let Some(grid) = self.grids.last_mut() {
            match name.to_ascii_lowercase().as_str() {
                "tr" => grid.begin_row(),
                "thead" => grid.is_head = true,
                "tbody" | "tfoot" => grid.is_head = false,
                _ => {}
            }
        }
        if is_table && tag.kind == Kind::Open {
            self.grids.push(Grid::default());
        }
        let named = match self.open.last_mut() {
            Some(outer) => {
                outer.has_elements = true;
                outer.named
            }
            None => self.named,
        };
        // What a sibling named: all `dd` behind a `dt`; else the next element only.
        let is_value = !NAMING.contains(&name.to_ascii_lowercase().as_str()) && !name.eq_ignore_ascii_case("dt");
        let wanted = self.names.find(name).or_else(|| self.by_attribute(tag)).or(named.filter(|_| is_value));
        let is_dd = name.eq_ignore_ascii_case("dd");
        if !is_dd {
            *self.named_here() = None;
        }
        *self.counts.entry(tag.name).or_default() += 1;
        self.open.push(Open { name: tag.name, content: tag.place.end, wanted, named: None, has_elements: false });
        if let Some(grid) = self.grids.last_mut().filter(|_| is_cell(name)) {
            let span = |name: &str| tag.attribute(name).and_then(|place| self.text[place].trim().parse().ok()).unwrap_or(1);
            grid.begin_cell(name.eq_ignore_ascii_case("th"), span("colspan"), span("rowspan"));
        }
    }

    fn named_here(&mut self) -> &mut Option<usize> {
        match self.open.last_mut() {
            Some(outer) => &mut outer.named,
            None => &mut self.named,
        }
    }

    /// Ends the innermost element, whose end tag is here.
    fn end(&mut self, at: usize) {
        let Some(open) = self.open.pop() else { return };
        if let Some(count) = self.counts.get_mut(open.name) {
            *count -= 1;
        }
        let place = open.content.min(at)..at;
        if let Some(name) = open.wanted {
            self.give(place.clone(), name);
        }
        let name = local(open.name);
        if !open.has_elements || is_cell(name) || name.eq_ignore_ascii_case("dt") {
            let says = NAMING.contains(&name.to_ascii_lowercase().as_str()) || name.eq_ignore_ascii_case("dt");
            if says || is_cell(name) {
                let text = Quoting::Xml.value(&self.text[place.clone()]);
                let found = if text.len() > 256 { None } else { self.names.find(text.trim_end_matches(':')) };
                if says {
                    *self.named_here() = found;
                } else if let Some(grid) = self.grids.last_mut() {
                    grid.is_pairs |= name.eq_ignore_ascii_case("th") && super::page::is_pairs(["", &text]);
                    grid.name_cell(found, super::page::is_header_like(&text));
                }
            }
        }
        if is_cell(name) {
            if let Some(grid) = self.grids.last_mut() {
                grid.end_cell(place);
            }
        } else if name.eq_ignore_ascii_case("tr") {
            if let Some(grid) = self.grids.last_mut() {
                grid.end_row(&mut |place, name| self.cells.push(cell(self.text, place, name)));
            }
        } else if name.eq_ignore_ascii_case("table")
            && let Some(mut grid) = self.grids.pop()
        {
            grid.end_row(&mut |place, name| self.cells.push(cell(self.text, place, name)));
        }
    }

    fn give(&mut self, place: Range<usize>, name: usize) {
        self.cells.push(cell(self.text, place, name));
    }

    /// `ssn="…"`, and the value beside `name="ssn"`.
    fn attributes(&mut self, tag: &Tag<'a>) {
        let is_named = self.by_attribute(tag);
        for (name, place) in &tag.attributes {
            let own = self.names.find(local(name));
            let beside = is_named.filter(|_| VALUES.iter().any(|value| local(name).eq_ignore_ascii_case(value)));
            if let Some(name) = own.or(beside) {
                self.cells.push(Cell { start: place.start, end: place.end, name, quoting: Quoting::XmlAttribute });
            }
        }
    }

    fn by_attribute(&self, tag: &Tag<'a>) -> Option<usize> {
        // What heads a column of an HTML table is no value.
        if is_cell(local(tag.name)) && local(tag.name).eq_ignore_ascii_case("th") {
            return None;
        }
        let naming = |name: &str| NAMING.iter().any(|naming| local(name).eq_ignore_ascii_case(naming));
        tag.attributes
            .iter()
            .filter(|(name, _)| naming(name))
            .find_map(|(_, place)| self.names.find(&Quoting::XmlAttribute.value(&self.text[place.clone()])))
    }

    /// What is open at the end of the text.
    fn finish(&mut self) {
        while let Some(open) = self.open.last() {
            // A word in angle brackets that is no element: the rest of its line, up to the next tag.
            let rest = &self.text[open.content..];
            let end = open.content + rest.find(['<', '\n']).unwrap_or(rest.len());
            self.end(end);
        }
    }
}

/// A cell without the white space around its content.
fn cell(text: &str, place: Range<usize>, name: usize) -> Cell {
    let place = super::page::trimmed(&text[place.clone()], place.start);
    Cell { start: place.start, end: place.end, name, quoting: Quoting::Xml }
}

fn is_cell(name: &str) -> bool {
    name.eq_ignore_ascii_case("td") || name.eq_ignore_ascii_case("th")
}

/// A name without its namespace.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}
