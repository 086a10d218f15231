//! Members and items that are taken out of their object or array, with their commas.

use std::collections::HashMap;

use crate::change::Change;
use crate::json::{Token, Type};

/// Members or items that go.
pub(crate) struct Parts {
    /// How many changes there were before.
    before: usize,
    /// By the first token of each.
    dropped: HashMap<usize, Change>,
}

impl Parts {
    pub(crate) fn new(before: usize) -> Parts {
        Parts { before, dropped: HashMap::new() }
    }

    pub(crate) fn drop(&mut self, part: usize, change: Change) {
        self.dropped.insert(part, change);
    }

    /// Takes the dropped ones out of their container, each run of them with as many commas.
    pub(crate) fn finish(mut self, tokens: &[Token], container: usize, out: &mut Vec<Change>) {
        if self.dropped.is_empty() {
            return;
        }
        let parts = parts(tokens, container);
        let mut at = 0;
        while at < parts.len() {
            let Some(mut change) = self.dropped.remove(&parts[at].0) else {
                at += 1;
                continue;
            };
            let first = at;
            at += 1;
            while let Some(next) = parts.get(at).and_then(|part| self.dropped.remove(&part.0)) {
                change.rule = change.rule.min(next.rule);
                change.values.extend(next.values);
                at += 1;
            }
            let (start, end) = match (parts.get(at), first.checked_sub(1)) {
                (Some((_, next, _)), _) => (parts[first].1, *next),
                (None, Some(kept)) => (parts[kept].2, parts[at - 1].2),
                (None, None) => (parts[first].1, parts[at - 1].2),
            };
            out.push(Change { start, end, ..change });
        }
        if let Some(new) = out.get_mut(self.before..) {
            new.sort_by_key(|change| change.start);
        }
    }
}

/// The first token of each member or item, and where it begins and ends.
fn parts(tokens: &[Token], container: usize) -> Vec<(usize, usize, usize)> {
    let mut parts = Vec::new();
    let mut at = container + 1;
    while at < tokens[container].next() {
        let value = if tokens[at].kind == Type::Key { at + 1 } else { at };
        parts.push((at, tokens[at].start(), tokens[value].end()));
        at = tokens[value].next();
    }
    parts
}
