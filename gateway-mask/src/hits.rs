//! The places of a raw text that are worth a look: the one pass that every byte pays for.

use std::cell::Cell;

use crate::detect::Cue;
use crate::layer::{base64, percent};
use crate::masker::Masker;
use crate::places::Places;

/// Positions of a raw text, ascending. What has none in it or in its name holds nothing that a rule selects.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    at: Vec<usize>,
    everywhere: bool,
    /// The place in `at` of what was asked for last: walks ask in the order of the text, most of the time.
    last: Cell<usize>,
}

/// How far from the last place the next is looked for, before it is searched for.
const NEAR: usize = 4;

impl Hits {
    pub(crate) fn of(raw: &str, masker: &Masker, followed: &Places) -> Hits {
        let bytes = raw.as_bytes();
        let mut at = Vec::new();
        let detectors = &masker.detectors;
        detectors.scan(bytes, |cue, place| match cue {
            Cue::Escape => at.extend((bytes.get(place) != Some(&b'%') || percent::is_escape(bytes, place)).then_some(place)),
            Cue::Run => at.extend(run(bytes, place)),
            cue if masker.detects() => at.extend(detectors.candidate(bytes, place, cue)),
            _ => {}
        });
        if masker.detects() {
            detectors.literals(bytes, &mut at);
        }
        let told = masker.fields.hits(bytes, &mut at) & followed.hits(bytes, &mut at);
        // Several ascending rows one after the other, which this sort is made for.
        at.sort();
        at.dedup();
        // Where columns have no names, any row may be one of theirs.
        Hits { at, everywhere: !told || !followed.positions().is_empty(), last: Cell::new(0) }
    }

    /// Those of a part of the text, such as a string without escapes: as they would be found in it, or more.
    pub(crate) fn within(&self, start: usize, end: usize) -> Hits {
        let from = self.first(start);
        let at = self.at.iter().skip(from).take_while(|at| **at < end).map(|at| at - start).collect();
        Hits { at, everywhere: self.everywhere, last: Cell::new(0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty() && !self.everywhere
    }

    pub(crate) fn any(&self, start: usize, end: usize) -> bool {
        self.everywhere || self.at.get(self.first(start)).is_some_and(|at| *at < end)
    }

    /// The place in `at` of the first that is not before `start`.
    fn first(&self, start: usize) -> usize {
        let is_before = |place: usize| self.at.get(place).is_some_and(|at| *at < start);
        let last = self.last.get();
        let near = (last..last + NEAR).find(|place| !is_before(*place)).filter(|place| *place > last || last == 0 || is_before(last - 1));
        let first = near.unwrap_or_else(|| self.at.partition_point(|at| *at < start));
        self.last.set(first);
        first
    }

    pub(crate) fn add(&mut self, more: impl IntoIterator<Item = usize>) {
        self.at.extend(more);
        self.at.sort_unstable();
    }
}

/// Where the run of letters of base64 begins whose fifteenth is here, if it decodes to a text.
fn run(raw: &[u8], fifteenth: usize) -> Option<usize> {
    let start = fifteenth + 1 - base64::SHORTEST;
    // `\n` before a run: the letter is not of it.
    let escaped = start.checked_sub(1).and_then(|before| raw.get(before)) == Some(&b'\\');
    base64::may_be_text(raw.get(start + usize::from(escaped)..)?).then_some(start)
}
