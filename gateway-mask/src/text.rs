//! What is in a text: JSON, tables, values of a kind, and texts encoded in it.

use std::borrow::Cow;

use crate::change::{Change, Inside, Pick, joined};
use crate::hits::Hits;
use crate::json::{Flaw, Tape};
use crate::layer::{Charset, Gunzip, base64, gunzip, gzip, percent};
use crate::outcome::Failure;
use crate::pass::{Around, Pass, Stands};
use crate::path::Selected;
use crate::table;
use crate::trail::{Step, Trail};
use crate::walk;

impl Pass<'_> {
    /// Masks what the rules select in a text: its changes, ascending.
    pub(crate) fn text(&mut self, text: &str, stands: Stands<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let hits = Hits::of(text, self.masker, self.followed);
        self.text_with(text, hits, stands, out)
    }

    /// As [`Pass::text`], where the hits in the text are known.
    pub(crate) fn text_with(&mut self, text: &str, hits: Hits, stands: Stands<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
        if hits.is_empty() && !stands.hot && !self.seeks_paths(stands) {
            return Ok(());
        }
        let mut picks = Vec::new();
        let mut gaps = Vec::new();
        if text.trim_start().starts_with(['{', '[', '"']) {
            match Tape::read(text) {
                Ok(tape) => return self.json(text, &tape, hits, stands, out),
                Err(Flaw::Depth(at)) => return Err(self.unread(Flaw::Depth(at))),
                Err(Flaw::Syntax(_)) => {}
            }
        }
        self.json_parts(text, &hits, stands, &mut picks, &mut gaps)?;
        self.cells(text, &mut picks);
        for (start, end) in gaps {
            let gap = text.get(start..end).unwrap_or_default();
            let from = picks.len();
            self.kinds(gap, stands.name, &mut picks);
            self.members(gap, &mut picks);
            self.base64(gap, stands, &mut picks)?;
            self.percent(gap, stands, &mut picks)?;
            for pick in picks.iter_mut().skip(from) {
                pick.start += start;
                pick.end += start;
            }
        }
        for pick in joined(picks) {
            let change = self.made(text, pick, stands);
            out.push(change);
        }
        Ok(())
    }

    /// The changes of a segment of a text that streams.
    pub(crate) fn in_segment(&mut self, around: Around<'_>) -> Result<Vec<Change>, Failure> {
        let Around { text, start, end, quiet } = around;
        let segment = text.get(start..end).unwrap_or_default();
        let stands = Stands { trail: &Trail::ROOT, name: None, hot: false, copy: false };
        let mut picks = Vec::new();
        if !quiet {
            self.kinds(text, stands.name, &mut picks);
            picks.retain(|pick| pick.start < end && start < pick.end);
            for pick in &mut picks {
                (pick.start, pick.end) = (pick.start.max(start) - start, pick.end.min(end) - start);
            }
        }
        self.base64(segment, stands, &mut picks)?;
        self.percent(segment, stands, &mut picks)?;
        Ok(joined(picks).into_iter().map(|pick| self.made(segment, pick, stands)).collect())
    }

    /// Whether queries of paths may hold for this text, whatever is in it.
    fn seeks_paths(&self, stands: Stands<'_>) -> bool {
        !self.masker.paths.is_empty() && (stands.copy || stands.trail.is_root())
    }

    /// The change that masks a part.
    fn made(&self, text: &str, pick: Pick, stands: Stands<'_>) -> Change {
        let Pick { start, end, rule, found, cell, inside } = pick;
        if let Some(Inside { with, values, .. }) = inside {
            return Change { start, end, with, rule, values };
        }
        let value = cell.map_or_else(|| Cow::Borrowed(text.get(start..end).unwrap_or_default()), |cell| cell.value(text));
        let plain = self.replace(&value, rule, found);
        let with = cell.map_or_else(|| plain.clone(), |cell| cell.with(text, &plain));
        let mark = self.mark(stands.trail, "string", &value, rule, found);
        Change { start, end, with, rule, values: vec![mark] }
    }

    /// A text that is JSON.
    fn json(&mut self, text: &str, tape: &Tape, hits: Hits, stands: Stands<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let trail = stands.trail.then(Step::Layer("json"));
        self.spend(text.len(), &trail)?;
        let selected = match (stands.trail.is_root(), self.seeks_paths(stands)) {
            (_, false) => None,
            (true, true) => self.selected(text).ok(),
            (false, true) => serde_json::from_str(text).ok().and_then(|value| Selected::of_copy(&self.masker.paths, value)),
        };
        if hits.is_empty() && !stands.hot && selected.is_none() {
            return Ok(());
        }
        self.layer(&trail, |pass| walk::text(pass, text, tape, hits, Stands { trail: &trail, ..stands }, selected.as_ref(), out))
    }

    /// The JSON values within a text, and what stands between them.
    fn json_parts(
        &mut self,
        text: &str,
        hits: &Hits,
        stands: Stands<'_>,
        picks: &mut Vec<Pick>,
        gaps: &mut Vec<(usize, usize)>,
    ) -> Result<(), Failure> {
        let mut from = 0;
        let mut gap = 0;
        while let Some(found) = memchr::memchr2(b'{', b'[', text.as_bytes().get(from..).unwrap_or_default()) {
            let at = from + found;
            from = at + 1;
            if !begins_json(text.as_bytes(), at) {
                continue;
            }
            match Tape::read_at(text, at) {
                Ok((tape, end)) => {
                    // Without a string in it there is nothing that the text around could not tell.
                    let part = text.get(at..end).unwrap_or_default();
                    if part.contains('"') && (stands.hot || hits.any(at, end)) {
                        let mut changes = Vec::new();
                        let tape = match Tape::read(part) {
                            Ok(inner) => inner,
                            Err(_) => tape,
                        };
                        let inner = Hits::of(part, self.masker, self.followed);
                        self.json(part, &tape, inner, Stands { copy: false, ..stands }, &mut changes)?;
                        picks.extend(changes.into_iter().map(|change| inside(change, at)));
                    }
                    if part.contains('"') {
                        gaps.push((gap, at));
                        gap = end;
                        from = end;
                    }
                }
                Err(Flaw::Depth(at)) => return Err(self.unread(Flaw::Depth(at))),
                Err(Flaw::Syntax(end)) => self.spend(end.saturating_sub(at), stands.trail)?,
            }
        }
        gaps.push((gap, text.len()));
        Ok(())
    }

    /// Cells of tables in a text.
    fn cells(&self, text: &str, picks: &mut Vec<Pick>) {
        for places in [&self.masker.columns, self.followed] {
            if places.is_empty() || !places.may_stand_in(text) {
                continue;
            }
            let cells = table::cells(text, places.names()).into_iter().filter(|cell| cell.start < cell.end);
            picks.extend(cells.filter_map(|cell| {
                let rule = places.rule(cell.name)?;
                Some(Pick { start: cell.start, end: cell.end, rule, found: None, cell: Some(cell), inside: None })
            }));
        }
    }

    /// Members of what would be JSON if it were whole: a text that was cut off, or is not strict.
    fn members(&self, text: &str, picks: &mut Vec<Pick>) {
        let bytes = text.as_bytes();
        let mut open = 0;
        for quote in memchr::memchr_iter(b'"', bytes) {
            let key = text.get(open..quote).unwrap_or_default();
            open = quote + 1;
            let rest = text.get(open..).unwrap_or_default();
            let Some(value) = rest.trim_start().strip_prefix(':').map(str::trim_start).filter(|value| !value.is_empty()) else { continue };
            let Some(rule) = self.named(key) else { continue };
            let start = text.len() - value.len();
            let (start, end) = match bytes[start] {
                b'"' => (start + 1, end_of_string(bytes, start + 1)),
                // How far it goes is not certain: all of it is the value.
                b'{' | b'[' => (start, bytes.len()),
                _ => (start, value.find([',', '}', ']', '\n']).map_or(bytes.len(), |end| start + end)),
            };
            if start < end {
                picks.push(Pick { start, end, rule, found: None, cell: None, inside: None });
            }
        }
    }

    /// What detectors find in a text, which stands under this name.
    pub(crate) fn kinds(&self, text: &str, name: Option<&str>, picks: &mut Vec<Pick>) {
        picks.extend(self.masker.found(text, name).into_iter().map(|(hit, rule)| Pick {
            start: hit.start,
            end: hit.end,
            rule,
            found: Some(hit.what),
            cell: None,
            inside: None,
        }));
    }

    /// Texts in base64, and in base64 of gzip.
    fn base64(&mut self, text: &str, stands: Stands<'_>, picks: &mut Vec<Pick>) -> Result<(), Failure> {
        for piece in base64::pieces(text) {
            self.spend(piece.data.len(), stands.trail)?;
            let stands = Stands { copy: false, ..stands };
            let unpacked = match gunzip(&piece.data, self.left()) {
                None => None,
                Some(Gunzip::TooLarge) => return Err(self.too_large(stands.trail)),
                Some(Gunzip::NotGzip) => continue,
                Some(Gunzip::Data(data)) => Some(data),
            };
            let data = unpacked.as_deref().unwrap_or(&piece.data);
            let Some(charset) = Charset::of(data) else { continue };
            let Some(inner) = charset.decode(data) else { continue };
            let changes = self.decoded(&inner, if unpacked.is_some() { "gzip" } else { "base64" }, stands)?;
            let Some(rule) = changes.iter().map(|change| change.rule).min() else { continue };
            let (masked, values) = apply(&inner, changes);
            let masked = charset.encode(&masked);
            let data = if unpacked.is_some() { gzip(&masked) } else { masked };
            let inside = Inside { with: piece.encode(&data), values, whole: false };
            picks.push(Pick { start: piece.start, end: piece.end, rule, found: None, cell: None, inside: Some(inside) });
        }
        Ok(())
    }

    /// URLs and other words with percent-encoded characters.
    fn percent(&mut self, text: &str, stands: Stands<'_>, picks: &mut Vec<Pick>) -> Result<(), Failure> {
        let mut end = 0;
        for at in memchr::memchr2_iter(b'%', b'?', text.as_bytes()) {
            let query = text.as_bytes().get(at) == Some(&b'?');
            if at < end || !(query || percent::char_at(text.as_bytes(), at).is_some()) {
                continue;
            }
            let start = text.get(end..at).and_then(|before| before.rfind(ends_word).map(|found| end + found + 1)).unwrap_or(end);
            let start = (start..at).find(|start| text.is_char_boundary(*start)).unwrap_or(at);
            end = text.get(at..).and_then(|rest| rest.find(ends_word)).map_or(text.len(), |found| at + found);
            let word = text.get(start..end).unwrap_or_default();
            let mut changes = Vec::new();
            if query || word.contains('?') || word.contains("://") {
                self.layer(stands.trail, |pass| pass.url(word, stands.trail, &mut changes))?;
            } else {
                let decoded = percent::decode(word, false);
                for change in self.decoded(decoded.text(), "percent", stands)? {
                    let (start, end) = (decoded.raw(change.start), decoded.raw(change.end));
                    changes.push(Change { start, end, with: percent::encode(&change.with), ..change });
                }
            }
            picks.extend(changes.into_iter().map(|change| inside(change, start)));
        }
        Ok(())
    }
}

/// The quote that ends a string, or the end of what there is of it.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn inside(change: Change, at: usize) -> Pick {
    let Change { start, end, with, rule, values } = change;
    let inside = Inside { with, values, whole: true };
    Pick { start: at + start, end: at + end, rule, found: None, cell: None, inside: Some(inside) }
}

fn begins_json(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(at + 1..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
    match (bytes.get(at), next) {
        (Some(b'{'), Some(next)) => *next == b'"',
        (Some(b'['), Some(next)) => matches!(next, b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'),
        _ => false,
    }
}

/// What no URL has in it.
fn ends_word(char: char) -> bool {
    char.is_whitespace() || matches!(char, '"' | '\'' | '<' | '>' | '(' | ')' | '{' | '}' | '|' | '\\' | '^' | '`')
}

/// A text with its changes, and the values that were masked in it.
pub(crate) fn apply(text: &str, changes: Vec<Change>) -> (String, Vec<crate::change::Value>) {
    let mut out = String::with_capacity(text.len());
    let mut values = Vec::new();
    let mut kept = 0;
    for change in changes {
        out.push_str(text.get(kept..change.start).unwrap_or_default());
        out.push_str(&change.with);
        kept = change.end;
        values.extend(change.values);
    }
    out.push_str(text.get(kept..).unwrap_or_default());
    (out, values)
}
