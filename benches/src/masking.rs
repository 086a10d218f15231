//! Precision and recall of the detectors, kind by kind, over the [`crate::corpus`].

use std::collections::BTreeMap;

use gateway_mask::{Detectors, Found, Hit, Kind, Wanted};

use crate::corpus::{Message, Text};

/// What was found of a kind, and what was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Values that were found, whole and as what they are.
    pub found: usize,
    /// Values that were not.
    pub missed: usize,
    /// Of these, the ones that were found whole as something else: masked all the same where every detector is on.
    pub hidden: usize,
    /// What was found and is none, or is not just that.
    pub wrong: usize,
}

/// The least that is wanted of kinds with a check or a fixed prefix.
pub const RECALL: f64 = 0.99;
/// See [`RECALL`].
pub const PRECISION: f64 = 0.98;

#[expect(clippy::cast_precision_loss, reason = "counts of thousands")]
fn share(part: usize, rest: usize) -> f64 {
    if part + rest == 0 { 1.0 } else { part as f64 / (part + rest) as f64 }
}

impl Score {
    /// The share of the values that was found.
    #[must_use]
    pub fn recall(self) -> f64 {
        share(self.found, self.missed)
    }

    /// The share of what was found that is right.
    #[must_use]
    pub fn precision(self) -> f64 {
        share(self.found, self.wrong)
    }
}

/// Whether this much is promised of a kind: all but those that only words tell, which are not numbers with rules.
#[must_use]
pub fn is_promised(kind: Kind) -> bool {
    !matches!(kind, Kind::BirthDate | Kind::Secret | Kind::Password)
}

/// Something that went wrong, for people.
pub struct Mistake<'a> {
    /// Where.
    pub text: &'a Text,
    /// What stands there.
    pub value: &'a str,
    /// What it is.
    pub is: Option<Kind>,
    /// What it was taken for.
    pub taken_for: Option<Kind>,
}

/// Runs the detectors over the strings of the messages.
pub fn measure(detectors: &Detectors, messages: &[Message], mut mistake: impl FnMut(&Mistake<'_>)) -> BTreeMap<Kind, Score> {
    let mut scores: BTreeMap<Kind, Score> = Kind::ALL.iter().map(|&kind| (kind, Score::default())).collect();
    let mut hits: Vec<Hit> = Vec::new();
    for text in messages.iter().flat_map(|message| &message.texts) {
        hits.clear();
        detectors.find(&text.text, text.name.as_deref(), Wanted::all(), &mut hits);
        let found: Vec<(usize, usize, Kind)> = hits
            .iter()
            .filter_map(|hit| match hit.what {
                Found::Kind(kind) => Some((hit.start, hit.end, kind)),
                Found::Own(_) => None,
            })
            .collect();
        for span in &text.spans {
            let (start, end, kind) = *span;
            let score = scores.entry(kind).or_default();
            if found.contains(span) {
                score.found += 1;
                continue;
            }
            score.missed += 1;
            score.hidden += usize::from(found.iter().any(|other| other.0 <= start && end <= other.1));
            let taken_for = found.iter().find(|other| other.0 < end && start < other.1).map(|other| other.2);
            mistake(&Mistake { text, value: &text.text[start..end], is: Some(kind), taken_for });
        }
        for &(start, end, kind) in found.iter().filter(|hit| !text.spans.contains(hit)) {
            scores.entry(kind).or_default().wrong += 1;
            let is = text.spans.iter().find(|span| span.0 < end && start < span.1).map(|span| span.2);
            mistake(&Mistake { text, value: &text.text[start..end], is, taken_for: Some(kind) });
        }
    }
    scores
}

/// The kinds that fall short of what is promised of them.
#[must_use]
pub fn short(scores: &BTreeMap<Kind, Score>) -> Vec<Kind> {
    let is_short = |kind: Kind, score: Score| is_promised(kind) && (score.recall() < RECALL || score.precision() < PRECISION);
    scores.iter().filter(|&(&kind, &score)| is_short(kind, score)).map(|(&kind, _)| kind).collect()
}

/// Prints the scores.
pub fn print(scores: &BTreeMap<Kind, Score>) {
    println!("{:<16}{:>8}{:>8}{:>8}{:>8}{:>10}{:>10}", "kind", "found", "missed", "hidden", "wrong", "recall", "precision");
    let short = short(scores);
    for (kind, score) in scores {
        let Score { found, missed, hidden, wrong } = score;
        let mark = if short.contains(kind) {
            "  short"
        } else if is_promised(*kind) {
            ""
        } else {
            "  (by words alone)"
        };
        println!("{:<16}{found:>8}{missed:>8}{hidden:>8}{wrong:>8}{:>10.4}{:>10.4}{mark}", kind.name(), score.recall(), score.precision());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::corpus;

    #[test]
    fn every_kind_keeps_its_promise_on_a_small_corpus() {
        let messages = corpus::messages(7, 900);
        let mut mistakes = Vec::new();
        let scores = measure(&Detectors::new(Vec::new()).unwrap(), &messages, |mistake| {
            mistakes.push(format!("{} is {:?}, taken for {:?}, in {:?}", mistake.value, mistake.is, mistake.taken_for, mistake.text));
        });
        assert_eq!(short(&scores), [], "{}", mistakes.join("\n"));
        assert!(Kind::ALL.iter().all(|kind| scores[kind].found > 9), "{scores:?}");
    }

    #[test]
    fn a_corpus_is_the_same_in_every_run_and_its_spans_are_what_they_say() {
        let messages = corpus::messages(1, 90);
        assert!(messages.iter().zip(corpus::messages(1, 90)).all(|(one, other)| one.json == other.json));
        for text in messages.iter().flat_map(|message| &message.texts) {
            assert!(text.spans.iter().all(|&(start, end, _)| !text.text[start..end].trim().is_empty()));
            assert!(text.spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
        assert!(messages.iter().all(|message| serde_json::from_str::<serde_json::Value>(&message.json).is_ok()));
    }

    #[test]
    fn what_is_missed_or_wrong_is_counted() {
        let text = Text { name: None, text: "4111111111111111 and ada@example.com".to_owned(), spans: vec![(0, 16, Kind::Iban)] };
        let messages = [Message { json: String::new(), texts: vec![text] }];
        let scores = measure(&Detectors::new(Vec::new()).unwrap(), &messages, |_| {});
        assert_eq!(scores[&Kind::Iban], Score { found: 0, missed: 1, hidden: 1, wrong: 0 });
        assert_eq!((scores[&Kind::Card].wrong, scores[&Kind::Email].wrong), (1, 1));
        assert_eq!(short(&scores), [Kind::Card, Kind::Iban, Kind::Email]);
    }
}
