//! Detectors: values told by what they are, wherever they stand.

mod checks;
mod codes;
mod cues;
mod dates;
mod mail;
mod network;
mod numbers;
mod own;
mod persons;
mod phones;
mod phrases;
mod prefixed;
mod shapes;
mod told;
mod wanted;
mod words;

pub(crate) use cues::Cue;
pub use own::{Own, OwnError, Validator};
pub use wanted::Wanted;

use self::{cues::Scan, numbers::Number, own::Owns, prefixed::Prefixed, shapes::Need, told::Told, words::Words};
use crate::Kind;

/// Every built-in detector, and the operator's own.
pub struct Detectors {
    scan: Scan,
    words: Words,
    told: Told,
    prefixed: Prefixed,
    owns: Owns,
}

/// Which detector found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Found {
    /// The one of this kind.
    Kind(Kind),
    /// The operator's own at this place.
    Own(usize),
}

/// A value that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Where it begins, in bytes of the text.
    pub start: usize,
    /// Where it is over.
    pub end: usize,
    /// Which detector found it.
    pub what: Found,
}

impl Detectors {
    /// Every built-in detector and the operator's own.
    ///
    /// # Errors
    /// One of the operator's own cannot be used: which, and why.
    pub fn new(own: Vec<Own>) -> Result<Detectors, OwnError> {
        Ok(Detectors { scan: Scan::new(), words: Words::new(), told: Told::new(), prefixed: Prefixed::new(), owns: Owns::new(own)? })
    }

    /// Positions near which something may match, ascending, in JSON or text as received.
    ///
    /// Whatever [`Detectors::find`] finds in a string decoded from `raw` (JSON's short escapes only, without `\/` and `\uXXXX`) has a position
    /// within the raw bytes of that string, or of the name that it stands under.
    pub fn candidates(&self, raw: &[u8]) -> impl Iterator<Item = usize> {
        let mut places = Vec::new();
        self.scan.each::<false>(raw, &self.words, |cue, at| places.extend(self.candidate(raw, at, cue)));
        self.literals(raw, &mut places);
        places.sort_unstable();
        places.into_iter()
    }

    /// Hands over the cues of a raw text, those of encoded text among them.
    #[inline]
    pub(crate) fn scan(&self, raw: &[u8], found: impl FnMut(Cue, usize)) {
        self.scan.each::<true>(raw, &self.words, found);
    }

    /// Adds the candidates that no cue tells: what all values of a kind begin with, keywords.
    pub(crate) fn literals(&self, raw: &[u8], out: &mut Vec<usize>) {
        out.extend(self.prefixed.positions(raw));
        self.owns.positions(raw, out);
    }

    /// The candidate at this cue, if there is one.
    pub(crate) fn candidate(&self, raw: &[u8], at: usize, cue: Cue) -> Option<usize> {
        let is_one = match cue {
            Cue::Word => return (!self.words.ends(raw, at).is_empty()).then(|| at - 1),
            Cue::Number => {
                let mut is_one = false;
                if numbers::may_be_free(raw, at) {
                    numbers::each(raw, at, |_| true, false, |_| is_one = true);
                }
                is_one
            }
            Cue::LettersDigits => {
                let mut is_one = false;
                codes::each(raw, at, |_, _, _| is_one = true);
                is_one
            }
            Cue::At => mail::at(raw, at).is_some(),
            Cue::Colons => network::mac(raw, at).is_some() || network::v6(raw, at).is_some(),
            Cue::Mac => network::mac(raw, at).is_some(),
            Cue::Plus => phones::may_begin(raw, at - 1),
            Cue::Escape | Cue::Run => false,
        };
        is_one.then_some(at)
    }

    /// All values in a decoded text, ascending, without overlaps: a longer one goes before a shorter one.
    ///
    /// `name` is that of the field or column that the text stands in, if it is known: it tells what a number is that could be anything.
    pub fn find(&self, text: &str, name: Option<&str>, wanted: Wanted, out: &mut Vec<Hit>) {
        let from = out.len();
        let bytes = text.as_bytes();
        let named = name.map_or(Wanted::NONE, |name| self.words.all(name.as_bytes(), 0, name.len()));
        if let Some(name) = name
            && !named.is_empty()
        {
            self.told.under(text, named, self.words.last(name), wanted, out);
        }
        let mut told = Vec::new();
        self.scan.each::<false>(bytes, &self.words, |cue, at| {
            let mut hit = |kind: Kind, start: usize, end: usize| {
                if wanted.has(kind) {
                    out.push(Hit { start, end, what: Found::Kind(kind) });
                }
            };
            match cue {
                Cue::Number => {
                    let number = |number: Number| {
                        let Number { start, end, kind, need } = number;
                        let near = self.words.near(text, start, end, kind).or(named.has(kind).then_some(words::NAMED));
                        let holds = if kind == Kind::Ip {
                            !network::is_version(text, start, name)
                        } else {
                            need == Need::Nothing || near.is_some()
                        };
                        if holds {
                            told.push((start, end, near.unwrap_or(words::UNTOLD), !shapes::is_checked(kind), kind));
                        }
                    };
                    numbers::each(bytes, at, |shape| wanted.has(shape.kind), true, number);
                }
                Cue::LettersDigits => codes::each(bytes, at, &mut hit),
                Cue::At => mail::at(bytes, at).into_iter().for_each(|(kind, start, end)| hit(kind, start, end)),
                Cue::Mac => network::mac(bytes, at).into_iter().for_each(|(start, end)| hit(Kind::Mac, start, end)),
                Cue::Colons => {
                    network::mac(bytes, at).into_iter().for_each(|(start, end)| hit(Kind::Mac, start, end));
                    network::v6(bytes, at).into_iter().for_each(|(start, end)| hit(Kind::Ip, start, end));
                }
                Cue::Plus if wanted.has(Kind::Phone) => {
                    self.told.plus(text, at - 1).into_iter().for_each(|(start, end)| hit(Kind::Phone, start, end));
                }
                Cue::Word => {
                    let kinds = self.words.ends(bytes, at);
                    if !kinds.is_empty() {
                        self.told.after(text, at, kinds, wanted, out);
                    }
                }
                Cue::Plus | Cue::Escape | Cue::Run => {}
            }
        });
        // The same digits may be several numbers: the one that the nearest word tells, or that has a check.
        told.sort_unstable();
        told.dedup_by_key(|&mut (start, end, ..)| (start, end));
        out.extend(told.into_iter().map(|(start, end, .., kind)| Hit { start, end, what: Found::Kind(kind) }));
        self.prefixed.find(text, wanted, out);
        self.owns.find(text, name, wanted, out);
        settle(out, from);
    }
}

/// Leaves, of hits that overlap, the longer one; of those as long, the first kind.
fn settle(out: &mut Vec<Hit>, from: usize) {
    out[from..].sort_by_key(|hit| (hit.start, hit.what));
    let mut kept = from;
    for at in from..out.len() {
        let hit = out[at];
        let length = hit.end - hit.start;
        let over = out[from..kept].iter().rev().take_while(|other| other.end > hit.start).count();
        if out[kept - over..kept].iter().all(|other| other.end - other.start < length) {
            kept -= over;
            out[kept] = hit;
            kept += 1;
        }
    }
    out.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, name: Option<&str>) -> Vec<(String, Found)> {
        let detectors = Detectors::new(Vec::new()).expect("no detector of one's own");
        let mut hits = Vec::new();
        detectors.find(text, name, Wanted::all(), &mut hits);
        hits.iter().map(|hit| (text[hit.start..hit.end].to_owned(), hit.what)).collect()
    }

    #[test]
    fn a_card_is_found_and_a_number_like_it_is_not() {
        assert_eq!(found("paid with 4111 1111 1111 1111 12/27", None), [("4111 1111 1111 1111".to_owned(), Found::Kind(Kind::Card))]);
        assert_eq!(found("paid with 4111 1111 1111 1112", None), []);
    }

    #[test]
    fn a_name_tells_what_a_number_is() {
        assert_eq!(found("123456789", Some("ssn")), [("123456789".to_owned(), Found::Kind(Kind::UsSsn))]);
        assert_eq!(found("123456789", Some("order")), []);
    }
}
