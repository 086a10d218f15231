//! URLs and request targets (RFC 3986): segments of the path, the query's names and values, the fragment.

use super::percent;
use crate::change::{Change, Inside, Pick, joined};
use crate::outcome::Failure;
use crate::pass::{Pass, Stands};
use crate::trail::{Step, Trail};

impl Pass<'_> {
    /// Masks what the rules select in a URL: its changes, ascending.
    pub(crate) fn url(&mut self, url: &str, trail: &Trail<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
        let trail = &trail.then(Step::Layer("url"));
        let mut picks = Vec::new();
        // As it stands: `user:password@`, hosts, and whatever is not encoded.
        self.kinds(url, None, &mut picks);
        let path = url.find(['?', '#']).unwrap_or(url.len());
        let mut start = 0;
        for segment in url.get(..path).unwrap_or_default().split(['/', ';', '@', ':']) {
            self.part(start, segment, None, trail, &mut picks)?;
            start += segment.len() + 1;
        }
        let mut start = path + 1;
        for pair in url.get(start..).unwrap_or_default().split(['&', ';', '#', '?']) {
            match pair.split_once('=') {
                None => self.part(start, pair, None, trail, &mut picks)?,
                Some((name, value)) => {
                    let decoded = percent::decode(name, true);
                    self.part(start, name, None, trail, &mut picks)?;
                    self.part(start + name.len() + 1, value, Some(decoded.text()), trail, &mut picks)?;
                }
            }
            start += pair.len() + 1;
        }
        for pick in joined(picks) {
            let Pick { start, end, rule, found, inside, .. } = pick;
            out.push(match inside {
                Some(Inside { with, values, .. }) => Change { start, end, with, rule, values },
                None => {
                    let value = url.get(start..end).unwrap_or_default();
                    let with = percent::encode(&self.replace(value, rule, found));
                    Change { start, end, with, rule, values: vec![self.mark(trail, "string", value, rule, found)] }
                }
            });
        }
        Ok(())
    }

    fn part(&mut self, at: usize, raw: &str, name: Option<&str>, trail: &Trail<'_>, picks: &mut Vec<Pick>) -> Result<(), Failure> {
        if raw.is_empty() {
            return Ok(());
        }
        let decoded = percent::decode(raw, name.is_some());
        let text = decoded.text();
        let named = name.map(|name| trail.then(Step::Key(name)));
        let trail = named.as_ref().unwrap_or(trail);
        if let Some(rule) = name.and_then(|name| self.named(name)) {
            let with = percent::encode(&self.replace(text, rule, None));
            let values = vec![self.mark(trail, "string", text, rule, None)];
            let inside = Inside { with, values, whole: true };
            picks.push(Pick { start: at, end: at + raw.len(), rule, found: None, cell: None, inside: Some(inside) });
        }
        let stands = Stands { trail, name, hot: name.is_some(), copy: false };
        for change in self.decoded(text, "percent", stands)? {
            let (start, end) = (at + decoded.raw(change.start), at + decoded.raw(change.end));
            let inside = Inside { with: percent::encode(&change.with), values: change.values, whole: true };
            picks.push(Pick { start, end, rule: change.rule, found: None, cell: None, inside: Some(inside) });
        }
        Ok(())
    }
}
