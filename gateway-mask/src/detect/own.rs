//! The operator's own detectors.

use aho_corasick::AhoCorasick;
use regex_automata::meta::{self, Regex};

use super::{Found, Hit, Wanted, checks, wanted::MOST_OWN};

/// A detector of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// What it is called in rules and records.
    pub name: String,
    /// A regular expression; linear in time, so without look-around and back-references. What group 1 takes is the value, if there is one.
    pub pattern: String,
    /// Without one of these in the text or in the name it stands under, in any case, nothing is looked for. None: every string is
    /// searched, which is slow.
    pub keywords: Vec<String>,
    /// What checks the value.
    pub validator: Option<Validator>,
    /// Texts that it must find something in.
    pub matches: Vec<String>,
    /// Texts that it must find nothing in.
    pub mismatches: Vec<String>,
}

/// A check of a value, over its letters and digits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validator {
    /// The check digit of cards.
    Luhn,
    /// ISO 7064 MOD 97-10, as an IBAN has it: the first four characters stand last.
    Mod97,
    /// Verhoeff's check digit.
    Verhoeff,
    /// Digits weighed by their place from the end, 1 for the last: a multiple of eleven. A last X is ten.
    Mod11,
    /// ISO 7064 MOD 11,10.
    Mod11And10,
    /// At least three bits of entropy a byte.
    Entropy,
}

impl Validator {
    /// The validators and their names in a configuration.
    pub const ALL: &[(&str, Validator)] = &[
        ("luhn", Validator::Luhn),
        ("mod97", Validator::Mod97),
        ("verhoeff", Validator::Verhoeff),
        ("mod11", Validator::Mod11),
        ("mod11-10", Validator::Mod11And10),
        ("entropy", Validator::Entropy),
    ];

    /// The validator of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Validator> {
        Validator::ALL.iter().find(|(other, _)| *other == name).map(|&(_, validator)| validator)
    }

    fn holds(self, value: &str) -> bool {
        let signs: Vec<u8> = value.bytes().filter(u8::is_ascii_alphanumeric).collect();
        let digits = || {
            signs
                .iter()
                .map(|byte| byte.is_ascii_digit().then(|| byte - b'0'))
                .collect::<Option<Vec<u8>>>()
                .filter(|digits| !digits.is_empty())
        };
        match self {
            Validator::Luhn => digits().is_some_and(|digits| checks::luhn(&digits)),
            Validator::Verhoeff => digits().is_some_and(|digits| checks::verhoeff(&digits)),
            Validator::Mod11And10 => digits().is_some_and(|digits| checks::mod_11_10(&digits)),
            Validator::Mod97 => signs.len() > 4 && checks::mod_97(signs[4..].iter().chain(&signs[..4]).copied()) == Some(1),
            Validator::Mod11 => {
                let value = |byte: u8, last: bool| match byte {
                    b'0'..=b'9' => Some(u32::from(byte - b'0')),
                    b'X' | b'x' if last => Some(10),
                    _ => None,
                };
                let sum = signs
                    .iter()
                    .rev()
                    .zip(1..)
                    .try_fold(0, |sum: u32, (&byte, weight): (_, u32)| Some((sum + value(byte, weight == 1)? * (weight % 11)) % 11));
                !signs.is_empty() && sum == Some(0)
            }
            Validator::Entropy => checks::entropy(value.as_bytes()) >= 3.0,
        }
    }
}

/// Why a detector of the operator's own cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnError {
    /// Its pattern is no regular expression, or one that is too large.
    #[error("detector `{name}`: `pattern`: {why}")]
    Pattern {
        /// The detector's name.
        name: String,
        /// What is wrong, for people.
        why: String,
    },
    /// Its pattern finds the empty text, and so something everywhere.
    #[error("detector `{name}`: `pattern` matches the empty text: it would match everywhere; make it match one character at least")]
    Empty {
        /// The detector's name.
        name: String,
    },
    /// A keyword is empty.
    #[error("detector `{name}`: a keyword in `keywords` is empty; leave it out")]
    Keyword {
        /// The detector's name.
        name: String,
    },
    /// Nothing is found in an example that must match.
    #[error("detector `{name}`: finds nothing in its example `{example}` in `matches`: {why}")]
    NoMatch {
        /// The detector's name.
        name: String,
        /// The example.
        example: String,
        /// What does not hold.
        why: &'static str,
    },
    /// Something is found in an example that must not match.
    #[error("detector `{name}`: finds `{found}` in its example `{example}` in `mismatches`, where it must find nothing")]
    Mismatch {
        /// The detector's name.
        name: String,
        /// The example.
        example: String,
        /// What was found in it.
        found: String,
    },
    /// There are too many.
    #[error("{0} detectors of your own: at most {MOST_OWN} are possible; several patterns can be one, as `a|b`")]
    Many(usize),
}

/// The most memory that a pattern may take, in bytes.
const PATTERN_LIMIT: usize = 1 << 20;

struct Detector {
    regex: Regex,
    validator: Option<Validator>,
}

/// The operator's own detectors, ready to search.
pub(super) struct Owns {
    detectors: Vec<Detector>,
    /// The keywords of all, as they are and as JSON escapes them, and whose each is.
    keywords: Option<AhoCorasick>,
    of: Vec<usize>,
    /// Those without a keyword.
    always: Wanted,
}

impl Owns {
    pub(super) fn new(own: Vec<Own>) -> Result<Owns, OwnError> {
        if own.len() > MOST_OWN {
            return Err(OwnError::Many(own.len()));
        }
        let mut owns = Owns { detectors: Vec::new(), keywords: None, of: Vec::new(), always: Wanted::NONE };
        let mut keywords = Vec::new();
        for (at, Own { name, pattern, keywords: own, validator, .. }) in own.iter().enumerate() {
            let config = meta::Config::new().nfa_size_limit(Some(PATTERN_LIMIT)).onepass_size_limit(Some(PATTERN_LIMIT));
            let regex = Regex::builder().configure(config).build(pattern);
            let regex = regex.map_err(|error| OwnError::Pattern { name: name.clone(), why: why(&error) })?;
            if regex.is_match("") {
                return Err(OwnError::Empty { name: name.clone() });
            }
            if own.iter().any(String::is_empty) {
                return Err(OwnError::Keyword { name: name.clone() });
            }
            if own.is_empty() {
                owns.always = owns.always.union(Wanted::own(at));
            }
            for keyword in own {
                let escaped = serde_json::Value::from(keyword.as_str()).to_string();
                let spelt = [keyword.clone(), escaped[1..escaped.len() - 1].to_owned()];
                owns.of.extend(spelt.iter().map(|_| at));
                keywords.extend(spelt);
            }
            owns.detectors.push(Detector { regex, validator: *validator });
        }
        if !keywords.is_empty() {
            let searcher = AhoCorasick::builder().ascii_case_insensitive(true).build(&keywords);
            owns.keywords = Some(searcher.map_err(|error| OwnError::Pattern { name: "all of them".to_owned(), why: error.to_string() })?);
        }
        owns.try_examples(&own)?;
        Ok(owns)
    }

    fn try_examples(&self, own: &[Own]) -> Result<(), OwnError> {
        for (at, Own { name, matches, mismatches, .. }) in own.iter().enumerate() {
            let find = |example: &str| {
                let mut hits = Vec::new();
                self.find(example, None, Wanted::own(at), &mut hits);
                hits.first().map(|hit| example[hit.start..hit.end].to_owned())
            };
            for example in matches {
                if find(example).is_none() {
                    let why = match (self.detectors[at].regex.is_match(example), self.told(example).has_own(at)) {
                        (false, _) => "the pattern does not match it",
                        (true, false) => "the pattern matches, but none of the keywords stands in it",
                        (true, true) => "the pattern matches, but the validator does not hold",
                    };
                    return Err(OwnError::NoMatch { name: name.clone(), example: example.clone(), why });
                }
            }
            for example in mismatches {
                if let Some(found) = find(example) {
                    return Err(OwnError::Mismatch { name: name.clone(), example: example.clone(), found });
                }
            }
        }
        Ok(())
    }

    /// The detectors that a keyword in the text calls, or that need none.
    fn told(&self, text: &str) -> Wanted {
        let found = self.keywords.iter().flat_map(|keywords| keywords.find_overlapping_iter(text));
        found.fold(self.always, |told, found| told.union(Wanted::own(self.of[found.pattern().as_usize()])))
    }

    pub(super) fn positions(&self, raw: &[u8], out: &mut Vec<usize>) {
        let called = self.keywords.iter().flat_map(|keywords| keywords.find_overlapping_iter(raw));
        out.extend(called.map(|found| found.end() - 1));
        // Those without a keyword are looked for in every string: after each quote, and in what is no JSON.
        if !self.always.is_empty() {
            let always = std::iter::once(0).chain(memchr::memchr_iter(b'"', raw).map(|quote| quote + 1));
            out.extend(always.filter(|&at| at < raw.len()));
        }
    }

    pub(super) fn find(&self, text: &str, name: Option<&str>, wanted: Wanted, out: &mut Vec<Hit>) {
        if self.detectors.is_empty() {
            return;
        }
        let told = name.map_or(Wanted::NONE, |name| self.told(name)).union(self.told(text));
        for (at, detector) in self.detectors.iter().enumerate() {
            if !told.has_own(at) || !wanted.has_own(at) {
                continue;
            }
            for captures in detector.regex.captures_iter(text) {
                let value = captures.get_group(1).or_else(|| captures.get_group(0));
                let holds = |value: &str| !value.is_empty() && detector.validator.is_none_or(|validator| validator.holds(value));
                out.extend(value.filter(|span| holds(&text[span.range()])).map(|span| Hit {
                    start: span.start,
                    end: span.end,
                    what: Found::Own(at),
                }));
            }
        }
    }
}

/// What is wrong with a pattern, for people.
fn why(error: &meta::BuildError) -> String {
    match (error.size_limit(), error.syntax_error()) {
        (Some(limit), _) => format!("it takes more than {limit} bytes once compiled; make its repetitions smaller"),
        (None, Some(syntax)) => syntax.to_string(),
        (None, None) => error.to_string(),
    }
}
