//! The names that rules look for, and which rule looks for each.

use aho_corasick::Span;
use aho_corasick::packed::{Config, Searcher};
use memchr::memmem;

use crate::name::Names;
use crate::sql::Positions;

/// Names with their rules, in the order of the rules.
#[derive(Debug, Default)]
pub(crate) struct Places {
    spelt: Vec<String>,
    names: Names,
    rules: Vec<usize>,
    search: Search,
    /// Columns of rows without names, each with its rule.
    positions: Vec<(Positions, usize)>,
}

/// How the bytes near which a name may stand are found.
#[derive(Debug, Default)]
enum Search {
    /// There is no name.
    #[default]
    Nothing,
    /// Beginnings of first words, in every case.
    Beginnings(Searcher, Vec<String>),
    /// More names than can be searched for at once, or such that begin with letters beyond ASCII: every place may be one.
    Everywhere,
}

/// U+212A is a `k` to whoever ignores case.
const KELVIN: &str = "\u{212A}";
/// Letters of a name that are searched for.
const BEGINNING: usize = 3;
/// Beginnings that are searched for at once without loss of speed.
const AT_ONCE: usize = 64;

impl Places {
    pub(crate) fn new(names: impl IntoIterator<Item = (String, usize)>) -> Places {
        // A name without a word in it would be left out, and move the others.
        let (spelt, rules): (Vec<_>, Vec<_>) = names.into_iter().filter(|(name, _)| !Names::new(&[name]).is_empty()).unzip();
        let names = Names::new(&spelt);
        let search = Search::new(&names);
        Places { spelt, names, rules, search, positions: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The same, with columns by where they stand in rows without names.
    pub(crate) fn with_positions(self, positions: Vec<(Positions, usize)>) -> Places {
        Places { positions, ..self }
    }

    pub(crate) fn positions(&self) -> &[(Positions, usize)] {
        &self.positions
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// The names of one rule.
    pub(crate) fn of(&self, rule: usize) -> Names {
        let names = self.spelt.iter().zip(&self.rules).filter(|(_, of)| **of == rule);
        Names::new(&names.map(|(name, _)| name).collect::<Vec<_>>())
    }

    /// The rule of the name at this place of [`Places::names`].
    pub(crate) fn rule(&self, name: usize) -> Option<usize> {
        self.rules.get(name).copied()
    }

    /// The first rule that looks for this name.
    pub(crate) fn find(&self, field: &str) -> Option<usize> {
        self.names.find(field).and_then(|name| self.rule(name))
    }

    /// Whether a name may stand in a text, which may have escapes of its own: those of tables, of HTML.
    pub(crate) fn may_stand_in(&self, text: &str) -> bool {
        let mut hits = Vec::new();
        memchr::memchr2(b'&', b'\\', text.as_bytes()).is_some() || !self.hits(text.as_bytes(), &mut hits) || !hits.is_empty()
    }

    /// Adds the positions of a raw text near which a name may stand, if no escape is in it. False if it may stand anywhere.
    pub(crate) fn hits(&self, raw: &[u8], out: &mut Vec<usize>) -> bool {
        match &self.search {
            Search::Nothing => true,
            Search::Everywhere => false,
            Search::Beginnings(searcher, words) => {
                let mut from = 0;
                while let Some(found) = searcher.find_in(raw, Span { start: from, end: raw.len() }) {
                    let begun = raw.get(found.start()..).unwrap_or_default();
                    if words.iter().any(|word| begins_with(begun, word)) {
                        out.push(found.start());
                    }
                    from = found.start() + 1;
                }
                !words.iter().any(|word| word.contains('k')) || memmem::find(raw, KELVIN.as_bytes()).is_none()
            }
        }
    }
}

impl Search {
    fn new(names: &Names) -> Search {
        let mut words: Vec<String> = names.first_words().map(|word| word.chars().take_while(char::is_ascii).collect()).collect();
        words.sort_unstable();
        words.dedup();
        if words.is_empty() {
            return Search::Nothing;
        }
        if words.iter().any(String::is_empty) {
            return Search::Everywhere;
        }
        let mut beginnings: Vec<String> = words.iter().flat_map(|word| cases(word.get(..BEGINNING).unwrap_or(word))).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        if beginnings.len() > AT_ONCE {
            return Search::Everywhere;
        }
        match Config::new().builder().extend(&beginnings).build() {
            Some(searcher) => Search::Beginnings(searcher, words),
            None => Search::Everywhere,
        }
    }
}

fn begins_with(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
}

/// The spellings of a few letters in either case.
fn cases(letters: &str) -> Vec<String> {
    letters.chars().fold(vec![String::new()], |spelt, letter| {
        let (small, capital) = (letter.to_ascii_lowercase(), letter.to_ascii_uppercase());
        let mut both: Vec<String> = spelt.iter().map(|before| format!("{before}{small}")).collect();
        if capital != small {
            both.extend(spelt.iter().map(|before| format!("{before}{capital}")));
        }
        both
    })
}
