//! Tables in JSON whose columns are named apart from their values: a header row, or a list of columns beside rows.

use std::collections::HashMap;

use crate::hits::Hits;
use crate::json::{Token, Type, unescape};
use crate::outcome::Failure;
use crate::pass::Pass;
use crate::sql::Positions;
use crate::trail::Trail;

/// What the header of a table says of a value. By its token.
pub(crate) type Cells = HashMap<usize, Cell>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    /// The rule that selects the column.
    pub(crate) rule: Option<usize>,
    /// What the column is called.
    pub(crate) name: Option<String>,
}

/// Levels below an object in which its columns and its rows are looked for.
const NEAR: usize = 3;

/// What a member is called that holds the value of the one that a member beside it names.
const VALUES: &[&str] = &["value", "values", "val", "data", "text", "content", "stringValue", "string_value"];
const NAMES: &[&str] = &["name", "key", "field", "column", "label", "property", "attribute", "header", "title"];

/// Finds the tables: which values are of which column. Their places are added to the hits.
pub(crate) fn cells(pass: &mut Pass<'_>, text: &str, tokens: &[Token], hits: &mut Hits) -> Result<Cells, Failure> {
    let mut search = Search { pass, text, tokens, hits, cells: Cells::new(), open: Vec::new() };
    if !search.hits.is_empty() {
        search.run()?;
    }
    let Search { cells, .. } = search;
    hits.add(cells.keys().map(|cell| tokens[*cell].start()));
    Ok(cells)
}

/// Whether a text reads like the name of a column, and not like a value.
fn is_name(text: &str) -> bool {
    text.len() <= 64 && text.chars().all(|char| char.is_alphabetic() || matches!(char, '_' | '-' | ' ' | '.'))
}

struct Search<'s, 'p> {
    pass: &'s mut Pass<'p>,
    text: &'s str,
    tokens: &'s [Token],
    hits: &'s Hits,
    cells: Cells,
    /// The containers around the token that is looked at.
    open: Vec<usize>,
}

/// A list of the names of columns: position, rule, name.
type Header = Vec<(usize, Cell)>;

impl Search<'_, '_> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut at = 0;
        while let Some(token) = self.tokens.get(at).copied() {
            while self.open.last().is_some_and(|open| self.tokens[*open].next() <= at) {
                self.open.pop();
            }
            if token.is_container() {
                if !self.hits.any(token.start(), token.end()) {
                    at = token.next();
                    continue;
                }
                match token.kind {
                    Type::Object => self.pair(at),
                    _ => {
                        self.header(at)?;
                        self.nameless(at)?;
                    }
                }
                self.open.push(at);
            }
            at += 1;
        }
        Ok(())
    }

    /// An object that names something in one member and gives its value in another.
    fn pair(&mut self, object: usize) {
        let end = self.tokens[object].next();
        let mut member = object + 1;
        let mut name = None;
        while member < end && name.is_none() {
            let value = member + 1;
            let names = self.tokens[value].kind == Type::String && self.is_hit(value) && NAMES.contains(&self.raw(member));
            name = names.then_some(value);
            member = self.tokens[value].next();
        }
        let Some(name) = name.map(|name| self.string(name)) else { return };
        let cell = Cell { rule: self.pass.column(&name), name: Some(name) };
        for (key, value) in self.members(object) {
            if VALUES.contains(&self.raw(key)) {
                self.cells.insert(value, cell.clone());
            }
        }
    }

    /// An array that may list columns: then the rows behind or beside it are theirs.
    fn header(&mut self, array: usize) -> Result<(), Failure> {
        let Some(wanted) = self.columns(array).filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
        // The first row of an array, which may be wrapped in an object: the other rows follow it.
        for up in self.open.iter().rev().take(2).copied().collect::<Vec<_>>() {
            let token = self.tokens[up];
            if token.kind == Type::Array {
                let rows = self.items(up);
                if rows.first().is_some_and(|first| *first <= array && array < self.tokens[*first].next()) {
                    self.spend(rows.len())?;
                    rows.into_iter().skip(1).for_each(|row| self.row(row, &wanted));
                }
                break;
            }
        }
        if self.open.is_empty() {
            // JSON Lines: the first line names the columns.
            let mut line = self.tokens[array].next();
            while array == 0 && line < self.tokens.len() {
                self.row(line, &wanted);
                line = self.tokens[line].next();
            }
        }
        // A list of columns beside the rows, in an object that holds both.
        let length = self.items(array).len();
        for up in self.open.iter().rev().take(NEAR).copied().collect::<Vec<_>>() {
            let known = self.cells.len();
            if self.tokens[up].kind == Type::Object {
                self.rows(up, array, length, &wanted, NEAR)?;
            }
            // The nearest ones: those further away are other tables.
            if self.cells.len() > known {
                break;
            }
        }
        Ok(())
    }

    /// An array of rows without names, whose columns the query tells by where they stand.
    fn nameless(&mut self, array: usize) -> Result<(), Failure> {
        let positions = self.pass.followed.positions();
        if positions.is_empty() {
            return Ok(());
        }
        let items = self.items(array);
        self.spend(items.len())?;
        let rows: Vec<Vec<usize>> = items.iter().filter_map(|item| self.as_row(*item)).map(|row| self.items(row)).collect();
        if rows.is_empty() || rows.len() < items.len() {
            return Ok(());
        }
        for (Positions { width, at }, rule) in positions {
            let names = |row: &Vec<usize>| {
                at.iter().any(|at| self.tokens[row[*at]].kind == Type::String && self.pass.column(&self.string(row[*at])).is_some())
            };
            // Below a row of names it is told by those.
            if rows.iter().any(|row| row.len() != *width) || rows.first().is_some_and(names) {
                continue;
            }
            for item in rows.iter().flat_map(|row| at.iter().map(|at| row[*at])) {
                self.cells.entry(item).or_insert_with(|| Cell { rule: Some(*rule), name: None });
            }
        }
        Ok(())
    }

    /// The rows in an object or array, no more than so many levels down.
    fn rows(&mut self, within: usize, header: usize, length: usize, wanted: &Header, levels: usize) -> Result<(), Failure> {
        let token = self.tokens[within];
        let inside: Vec<usize> = match token.kind {
            Type::Object => self.members(within).into_iter().map(|(_, value)| value).collect(),
            _ => self.items(within),
        };
        self.spend(inside.len())?;
        if token.kind == Type::Array {
            let is_row = |row: &usize| self.as_row(*row).is_some();
            let rows: Vec<usize> = inside.iter().copied().filter(is_row).filter(|row| !self.holds(*row, header)).collect();
            if rows.is_empty() && inside.len() == length && inside.iter().all(|item| !self.tokens[*item].is_container()) {
                self.row(within, wanted);
            }
            rows.into_iter().for_each(|row| self.row(row, wanted));
            return Ok(());
        }
        for value in inside.into_iter().filter(|value| self.tokens[*value].is_container() && *value != header) {
            if levels > 1 && !(self.holds(value, header) && self.tokens[value].kind == Type::Array) {
                self.rows(value, header, length, wanted, levels - 1)?;
            }
        }
        Ok(())
    }

    fn holds(&self, container: usize, inner: usize) -> bool {
        container <= inner && inner < self.tokens[container].next()
    }

    /// The values of a row at the positions of these columns.
    fn row(&mut self, row: usize, wanted: &Header) {
        let Some(row) = self.as_row(row) else { return };
        let items = self.items(row);
        for (position, cell) in wanted {
            if let Some(item) = items.get(*position) {
                self.cells.entry(*item).or_insert_with(|| cell.clone());
            }
        }
    }

    /// A row is an array, or an object that holds but one.
    fn as_row(&self, at: usize) -> Option<usize> {
        match self.tokens.get(at)?.kind {
            Type::Array => Some(at),
            Type::Object => match self.members(at).as_slice() {
                [(_, value)] if self.tokens[*value].kind == Type::Array => Some(*value),
                _ => None,
            },
            _ => None,
        }
    }

    /// The columns that an array names, if that is what it does: with a rule, or with a name that means something to a detector.
    fn columns(&self, array: usize) -> Option<Header> {
        let mut header = Header::new();
        let end = self.tokens[array].next();
        let (mut item, mut position) = (array + 1, 0);
        while item < end {
            let token = self.tokens[item];
            if !matches!(token.kind, Type::String | Type::Object) {
                return None;
            }
            if self.is_hit(item) {
                let cell = self.column(item);
                header.extend(cell.name.is_some().then_some((position, cell)));
            }
            item = token.next();
            position += 1;
        }
        Some(header)
    }

    /// What an item of a list of columns names: itself, or in one of its members.
    fn column(&self, item: usize) -> Cell {
        let names: Vec<usize> = match self.tokens[item].kind {
            Type::String => vec![item],
            _ => self.members(item).into_iter().map(|(_, value)| value).filter(|value| self.tokens[*value].kind == Type::String).collect(),
        };
        let hot: Vec<String> = names.iter().filter(|name| self.is_hit(**name)).map(|name| self.string(*name)).collect();
        let rule = hot.iter().filter_map(|name| self.pass.column(name)).min();
        let told = |name: &&String| if rule.is_none() { is_name(name) } else { self.pass.column(name) == rule };
        let name = hot.iter().find(told).cloned();
        Cell { rule, name }
    }

    /// What is between the quotes.
    fn raw(&self, at: usize) -> &str {
        let token = self.tokens[at];
        self.text.get(token.start() + 1..token.end() - 1).unwrap_or_default()
    }

    fn is_hit(&self, at: usize) -> bool {
        self.hits.any(self.tokens[at].start(), self.tokens[at].end())
    }

    fn string(&self, at: usize) -> String {
        unescape(self.raw(at)).into_text().into_owned()
    }

    fn items(&self, array: usize) -> Vec<usize> {
        let end = self.tokens[array].next();
        let mut items = Vec::new();
        let mut item = array + 1;
        while item < end {
            items.push(item);
            item = self.tokens[item].next();
        }
        items
    }

    fn members(&self, object: usize) -> Vec<(usize, usize)> {
        let end = self.tokens[object].next();
        let mut members = Vec::new();
        let mut member = object + 1;
        while member < end {
            members.push((member, member + 1));
            member = self.tokens[member + 1].next();
        }
        members
    }

    fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        self.pass.spend(steps, &Trail::ROOT)
    }
}
