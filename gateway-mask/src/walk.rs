//! The walk over the tokens of JSON, from places and hits to changes.

use std::collections::HashSet;

use crate::change::{Change, Value};
use crate::control::{Member, Place, in_schema};
use crate::detect::Found;
use crate::hits::Hits;
use crate::how::quoted;
use crate::json::{Tape, Token, Type, escape_into, unescape};
use crate::outcome::Failure;
use crate::parts::Parts;
use crate::pass::{Pass, Stands};
use crate::path::Selected;
use crate::rule::{How, first};
use crate::tables::{self, Cells};
use crate::trail::{Step, Trail};

/// Walks over a message or a batch.
pub(crate) fn message(pass: &mut Pass<'_>, text: &str, tape: &Tape, hits: Hits, out: &mut Vec<Change>) -> Result<(), Failure> {
    let mut walk = Walk::new(pass, text, tape, hits)?;
    let root = At { trail: &Trail::ROOT, name: None, hot: false, node: None, place: Place::Message, structured: false };
    let Some(first) = tape.tokens().first().copied() else { return Ok(()) };
    // A query of a path is about one message, in a batch as well.
    let messages = if first.kind == Type::Array { walk.items(0) } else { vec![0] };
    let item = Trail::ROOT.then(Step::Item);
    for message in messages {
        let trail = if first.kind == Type::Array { &item } else { &Trail::ROOT };
        let token = walk.token(message);
        let selected = if walk.pass.masker.paths.is_empty() { None } else { Some(walk.pass.selected(walk.raw(token))?) };
        walk.visit(message, At { trail, node: selected.as_ref(), ..root }, None, out)?;
    }
    Ok(())
}

/// Walks over the values of a text that is JSON, or JSON Lines.
pub(crate) fn text(
    pass: &mut Pass<'_>,
    text: &str,
    tape: &Tape,
    hits: Hits,
    stands: Stands<'_>,
    selected: Option<&Selected>,
    out: &mut Vec<Change>,
) -> Result<(), Failure> {
    let mut walk = Walk::new(pass, text, tape, hits)?;
    let Stands { trail, name, hot, .. } = stands;
    let line = trail.then(Step::Item);
    let mut at = 0;
    let one = walk.tokens.first().is_some_and(|first| first.next() == walk.tokens.len());
    while let Some(token) = walk.tokens.get(at).copied() {
        let trail = if one { trail } else { &line };
        let visited = At { trail, name, hot, node: selected, place: Place::Free, structured: false };
        if let Some(dropped) = walk.visit(at, visited, selected.and_then(|node| node.rule), out)? {
            // There is nothing around it that it could be taken out of.
            out.push(Change { start: token.start(), end: token.end(), with: "null".to_owned(), ..dropped });
        }
        at = token.next();
    }
    Ok(())
}

/// What is known of a value from where it stands.
#[derive(Clone, Copy)]
struct At<'c> {
    trail: &'c Trail<'c>,
    /// The member or column that it is of.
    name: Option<&'c str>,
    /// There is a hit in the name.
    hot: bool,
    node: Option<&'c Selected>,
    place: Place,
    /// In `structuredContent`, where an `outputSchema` may ask for types.
    structured: bool,
}

struct Walk<'w, 'p> {
    pass: &'w mut Pass<'p>,
    text: &'w str,
    tokens: &'w [Token],
    hits: Hits,
    cells: Cells,
}

/// A value that goes: the parent knows which bytes go with it.
type Dropped = Option<Change>;

impl<'w, 'p> Walk<'w, 'p> {
    fn new(pass: &'w mut Pass<'p>, text: &'w str, tape: &'w Tape, mut hits: Hits) -> Result<Walk<'w, 'p>, Failure> {
        let cells = tables::cells(pass, text, tape.tokens(), &mut hits)?;
        Ok(Walk { pass, text, tokens: tape.tokens(), hits, cells })
    }

    /// Whether queries of paths may hold for a copy of `structuredContent` in a content's text.
    fn seeks_copies(&self) -> bool {
        !self.pass.masker.paths.is_empty()
    }

    fn token(&self, at: usize) -> Token {
        self.tokens[at]
    }

    fn raw(&self, token: Token) -> &'w str {
        self.text.get(token.start()..token.end()).unwrap_or_default()
    }

    /// What is between the quotes.
    fn inner(&self, token: Token) -> &'w str {
        self.text.get(token.start() + 1..token.end() - 1).unwrap_or_default()
    }

    /// The tokens of the items of an array.
    fn items(&self, array: usize) -> Vec<usize> {
        let end = self.token(array).next();
        let mut items = Vec::new();
        let mut item = array + 1;
        while item < end {
            items.push(item);
            item = self.token(item).next();
        }
        items
    }

    /// Masks what is selected in a value, or all of it if a rule selects it.
    fn visit(&mut self, at: usize, stands: At<'_>, rule: Option<usize>, out: &mut Vec<Change>) -> Result<Dropped, Failure> {
        let token = self.token(at);
        match rule {
            Some(rule) if !(token.is_container() && stands.place.is_skeleton()) => self.masked(at, stands, rule, None, out),
            // A number is masked as a whole: there is no number in which a part is.
            None if token.kind == Type::Number => match self.number(token, stands) {
                Some((found, rule)) => self.masked(at, stands, rule, Some(found), out),
                None => Ok(None),
            },
            _ => {
                self.value(at, stands, rule, out)?;
                Ok(None)
            }
        }
    }

    /// Masks what is selected in a value. `rule` selects all that is in it, but for what others steer by.
    fn value(&mut self, at: usize, stands: At<'_>, rule: Option<usize>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let token = self.token(at);
        let on_the_way = self.seeks_copies() && token.is_container() && stands.place.is_skeleton();
        let looked_for = stands.hot || stands.node.is_some() || rule.is_some() || on_the_way || self.hits.any(token.start(), token.end());
        if !looked_for {
            return Ok(());
        }
        match token.kind {
            Type::Object => self.deeper(token, |walk| walk.object(at, stands, rule, out)),
            Type::Array => self.deeper(token, |walk| walk.array(at, stands, rule, out)),
            Type::String => self.string(token, stands, out),
            Type::Number | Type::Key | Type::Bool | Type::Null => Ok(()),
        }
    }

    fn deeper(&mut self, token: Token, inner: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        self.pass.deeper(token.start())?;
        let done = inner(self);
        self.pass.levels -= 1;
        done
    }

    fn object(&mut self, at: usize, stands: At<'_>, all: Option<usize>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let end = self.token(at).next();
        let mut parts = Parts::new(out.len());
        let mut keys = None;
        let mut member = at + 1;
        while member < end {
            let (key, value) = (self.token(member), self.token(member + 1));
            let here = (member, member + 1);
            member = value.next();
            let on_the_way = self.seeks_copies() && stands.place.is_skeleton();
            let idle = stands.node.is_none() && all.is_none() && !on_the_way && !matches!(stands.place, Place::SchemaOf(_));
            if idle && !self.hits.any(key.start(), value.end()) {
                continue;
            }
            let decoded = unescape(self.inner(key));
            let place = match stands.place.member(decoded.text(), self.pass.masker.controls) {
                Member::Control => continue,
                Member::Name => {
                    // No rule means a tool by `name`: whoever reads the record has to know which it was.
                    let trail = stands.trail.then(Step::Key(decoded.text()));
                    let below = At { trail: &trail, name: None, hot: false, node: None, place: Place::Free, structured: false };
                    self.value(here.1, below, None, out)?;
                    continue;
                }
                Member::Value(place) => place,
            };
            let hot = self.hits.any(key.start(), key.end());
            let before = out.len();
            let masked = if hot { self.key(at, here.0, decoded.text(), stands, &mut keys, out) } else { None };
            let shown = masked.as_deref().unwrap_or(decoded.text());
            let trail = stands.trail.then(Step::Key(shown));
            let node = stands.node.and_then(|node| node.member(decoded.text()));
            let cell = self.cells.get(&here.1);
            let name = cell.and_then(|cell| cell.name.clone());
            let named = if hot { self.pass.named(decoded.text()) } else { None };
            let rule = first([all, named, node.and_then(|node| node.rule), cell.and_then(|cell| cell.rule)]);
            let (place, rule) = in_schema(stands.place, place, decoded.text(), rule, value);
            let structured = stands.structured || (stands.place == Place::Result && decoded.text() == "structuredContent");
            let copy = on_the_way && stands.place == Place::Content && decoded.text() == "text";
            let hot = hot || name.is_some() || copy;
            let below = At { trail: &trail, name: Some(name.as_deref().unwrap_or(decoded.text())), hot, node, place, structured };
            if rule.is_some() && value.kind == Type::Array && self.pass.column(decoded.text()) == rule {
                // A column of values: each is masked, and their number stays.
                self.deeper(value, |walk| walk.column(here.1, below, rule, out))?;
            } else if let Some(dropped) = self.visit(here.1, below, rule, out)? {
                // A key that was masked goes with its member.
                out.truncate(before);
                parts.drop(here.0, dropped);
            }
        }
        parts.finish(self.tokens, at, out);
        Ok(())
    }

    fn array(&mut self, at: usize, stands: At<'_>, all: Option<usize>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let trail = stands.trail.then(Step::Item);
        let mut parts = Parts::new(out.len());
        let on_the_way = self.seeks_copies() && stands.place.is_skeleton();
        let end = self.token(at).next();
        let mut item = at + 1;
        let mut index = 0;
        while item < end {
            let token = self.token(item);
            let idle = stands.node.is_none() && all.is_none() && !stands.hot && !on_the_way;
            if idle && !self.hits.any(token.start(), token.end()) {
                item = token.next();
                continue;
            }
            let node = stands.node.and_then(|node| node.item(index));
            let cell = self.cells.get(&item);
            let name = cell.and_then(|cell| cell.name.clone());
            let column = cell.and_then(|cell| cell.rule);
            let rule = first([all, None, node.and_then(|node| node.rule), column]);
            let below = At { trail: &trail, name: name.as_deref().or(stands.name), hot: stands.hot || name.is_some(), node, ..stands };
            if let Some(dropped) = self.visit(item, below, rule, out)? {
                if column.is_some() {
                    out.push(Change { start: token.start(), end: token.end(), with: "null".to_owned(), ..dropped });
                } else {
                    parts.drop(item, dropped);
                }
            }
            item = token.next();
            index += 1;
        }
        parts.finish(self.tokens, at, out);
        Ok(())
    }

    /// The values of a column that is an array.
    fn column(&mut self, at: usize, stands: At<'_>, rule: Option<usize>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let trail = stands.trail.then(Step::Item);
        for item in self.items(at) {
            let token = self.token(item);
            if let Some(dropped) = self.visit(item, At { trail: &trail, node: None, ..stands }, rule, out)? {
                out.push(Change { start: token.start(), end: token.end(), with: "null".to_owned(), ..dropped });
            }
        }
        Ok(())
    }

    /// Masks a key as a text; what it is called then.
    fn key(
        &mut self,
        object: usize,
        at: usize,
        key: &str,
        stands: At<'_>,
        keys: &mut Option<HashSet<String>>,
        out: &mut Vec<Change>,
    ) -> Option<String> {
        let found = self.pass.masker.found(key, None);
        let (hit, rule) = found.first()?;
        let rule = found.iter().map(|(_, rule)| *rule).min().unwrap_or(*rule);
        let masked = if found.len() == 1 && self.pass.masker.how(rule) != How::Drop {
            let value = key.get(hit.start..hit.end).unwrap_or_default();
            let (before, after) = (key.get(..hit.start).unwrap_or_default(), key.get(hit.end..).unwrap_or_default());
            format!("{before}{}{after}", self.pass.replace(value, rule, Some(hit.what)))
        } else {
            self.pass.redacted(rule, Some(hit.what))
        };
        let taken = keys.get_or_insert_with(|| self.keys(object));
        let mut unique = masked.clone();
        let mut number = 2;
        while !taken.insert(unique.clone()) {
            unique = format!("{masked} {number}");
            number += 1;
        }
        let token = self.token(at);
        let values = vec![self.pass.mark(stands.trail, "key", key, rule, Some(hit.what))];
        out.push(Change { start: token.start(), end: token.end(), with: quoted(&unique), rule, values });
        Some(unique)
    }

    fn keys(&self, object: usize) -> HashSet<String> {
        let end = self.token(object).next();
        let mut keys = HashSet::new();
        let mut member = object + 1;
        while member < end {
            keys.insert(unescape(self.inner(self.token(member))).into_text().into_owned());
            member = self.token(member + 1).next();
        }
        keys
    }

    fn string(&mut self, token: Token, stands: At<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let decoded = unescape(self.inner(token));
        let copy = !self.pass.masker.paths.is_empty() && stands.trail.is_copy();
        let text = Stands { trail: stands.trail, name: stands.name, hot: stands.hot, copy };
        self.pass.spend(decoded.text().len(), stands.trail)?;
        let mut inner = Vec::new();
        if decoded.is_plain() {
            let hits = self.hits.within(token.start() + 1, token.end());
            self.pass.text_with(decoded.text(), hits, text, &mut inner)?;
        } else {
            self.pass.text(decoded.text(), text, &mut inner)?;
        }
        for change in inner {
            let start = token.start() + 1 + decoded.raw(change.start);
            let end = token.start() + 1 + decoded.raw(change.end);
            let mut with = String::with_capacity(change.with.len());
            escape_into(&change.with, &mut with);
            out.push(Change { start, end, with, ..change });
        }
        Ok(())
    }

    /// What a number is by its digits, and the first rule for that.
    fn number(&self, token: Token, stands: At<'_>) -> Option<(Found, usize)> {
        if !stands.hot && !self.hits.any(token.start(), token.end()) {
            return None;
        }
        let found = self.pass.masker.found(self.raw(token), stands.name);
        found.into_iter().min_by_key(|(_, rule)| *rule).map(|(hit, rule)| (hit.what, rule))
    }

    /// Masks all of a value.
    fn masked(&mut self, at: usize, stands: At<'_>, rule: usize, found: Option<Found>, out: &mut Vec<Change>) -> Result<Dropped, Failure> {
        let token = self.token(at);
        if token.kind == Type::Null {
            return Ok(None);
        }
        let (rule, found) = if found.is_some() { (rule, found) } else { self.earliest(at, stands, rule)? };
        match self.pass.masker.how(rule) {
            How::Drop => {
                let values = vec![self.mark(token, stands, rule, found)];
                return Ok(Some(Change { start: token.start(), end: token.end(), with: String::new(), rule, values }));
            }
            How::Redact if token.is_container() => {
                let values = vec![self.mark(token, stands, rule, found)];
                let with = quoted(&self.pass.redacted(rule, found));
                out.push(Change { start: token.start(), end: token.end(), with, rule, values });
            }
            _ => self.deeper(token, |walk| walk.scalars(at, stands, rule, found, out))?,
        }
        Ok(None)
    }

    /// The first rule that selects a value or something in it.
    fn earliest(&mut self, at: usize, stands: At<'_>, rule: usize) -> Result<(usize, Option<Found>), Failure> {
        if rule == 0 {
            return Ok((rule, None));
        }
        let mut inside = Vec::new();
        match self.token(at).kind {
            Type::Number => {
                let earlier = self.number(self.token(at), stands).filter(|(_, earlier)| *earlier < rule);
                return Ok(earlier.map_or((rule, None), |(found, earlier)| (earlier, Some(found))));
            }
            _ => self.value(at, stands, None, &mut inside)?,
        }
        let first = inside.iter().flat_map(|change| &change.values).min_by_key(|value: &&Value| value.rule);
        Ok(first.filter(|value| value.rule < rule).map_or((rule, None), |value| (value.rule, value.found)))
    }

    /// Masks every string, number and boolean in a value.
    fn scalars(&mut self, at: usize, stands: At<'_>, rule: usize, found: Option<Found>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let token = self.token(at);
        match token.kind {
            Type::Object => {
                let mut keys = None;
                let mut member = at + 1;
                while member < token.next() {
                    let key = self.token(member);
                    let decoded = unescape(self.inner(key));
                    let masked = self.key(at, member, decoded.text(), stands, &mut keys, out);
                    let trail = stands.trail.then(Step::Key(masked.as_deref().unwrap_or(decoded.text())));
                    let below = At { trail: &trail, ..stands };
                    self.deeper(key, |walk| walk.scalars(member + 1, below, rule, found, out))?;
                    member = self.token(member + 1).next();
                }
            }
            Type::Array => {
                let trail = stands.trail.then(Step::Item);
                for item in self.items(at) {
                    self.deeper(token, |walk| walk.scalars(item, At { trail: &trail, ..stands }, rule, found, out))?;
                }
            }
            Type::String | Type::Number | Type::Bool => self.scalar(token, stands, rule, found, out),
            Type::Key | Type::Null => {}
        }
        Ok(())
    }

    fn scalar(&mut self, token: Token, stands: At<'_>, rule: usize, found: Option<Found>, out: &mut Vec<Change>) {
        let with = match token.kind {
            Type::String => quoted(&self.pass.replace(unescape(self.inner(token)).text(), rule, found)),
            kind => self.pass.replace_scalar(self.raw(token), kind, stands.structured, rule, found),
        };
        let values = vec![self.mark(token, stands, rule, found)];
        out.push(Change { start: token.start(), end: token.end(), with, rule, values });
    }

    fn mark(&self, token: Token, stands: At<'_>, rule: usize, found: Option<Found>) -> Value {
        let (kind, value) = match token.kind {
            Type::String | Type::Key => {
                return self.pass.mark(stands.trail, "string", unescape(self.inner(token)).text(), rule, found);
            }
            Type::Object => ("object", self.raw(token)),
            Type::Array => ("array", self.raw(token)),
            Type::Number => ("number", self.raw(token)),
            Type::Bool => ("boolean", self.raw(token)),
            Type::Null => ("null", self.raw(token)),
        };
        self.pass.mark(stands.trail, kind, value, rule, found)
    }
}
