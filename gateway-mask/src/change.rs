//! Changes of one layer's text, before they become edits of the body.

use crate::detect::Found;
use crate::table::Cell;

/// Bytes of a layer's text that others take the place of.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// As the layer spells it.
    pub(crate) with: String,
    /// The first rule that has a part in it.
    pub(crate) rule: usize,
    pub(crate) values: Vec<Value>,
}

/// A value that was masked.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) path: String,
    pub(crate) rule: usize,
    pub(crate) found: Option<Found>,
    pub(crate) commitment: [u8; 16],
}

/// A part of a text that a rule selects.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) rule: usize,
    /// The detector that found it.
    pub(crate) found: Option<Found>,
    /// It is the cell of a table.
    pub(crate) cell: Option<Cell>,
    /// It was masked already, where it is decoded.
    pub(crate) inside: Option<Inside>,
}

/// What became of an encoded part.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) with: String,
    pub(crate) values: Vec<Value>,
    /// All of it was masked, and not only something in it.
    pub(crate) whole: bool,
}

impl Pick {
    /// Takes in another part, which begins no earlier and overlaps.
    fn join(&mut self, other: Pick) {
        let end = self.end.max(other.end);
        let rule = self.rule.min(other.rule);
        let found = if other.rule < self.rule { other.found } else { self.found };
        let covers = |pick: &Pick, start: usize| pick.start == start && pick.end == end;
        let (one, two) = (covers(self, self.start), covers(&other, self.start));
        let stands = |pick: &Pick| pick.rule == rule && pick.inside.as_ref().is_some_and(|inside| inside.whole);
        let inside = match (one && stands(self), two && stands(&other)) {
            (true, _) => self.inside.take(),
            (_, true) => other.inside,
            _ => None,
        };
        let cell = self.cell.filter(|_| one).or(other.cell.filter(|_| two));
        *self = Pick { start: self.start, end, rule, found, cell, inside };
    }
}

/// Joins what overlaps, so that each part is masked once and by the earliest rule: the ones that stay, ascending.
pub(crate) fn joined(mut picks: Vec<Pick>) -> Vec<Pick> {
    picks.sort_by_key(|pick| (pick.start, std::cmp::Reverse(pick.end)));
    let mut out: Vec<Pick> = Vec::with_capacity(picks.len());
    for pick in picks {
        match out.last_mut() {
            Some(last) if pick.start < last.end => last.join(pick),
            _ => out.push(pick),
        }
    }
    out
}
