#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod custom;
mod places;
mod properties;
mod shell;
pub(super) mod sql;

use serde_json::{Value, json};

use super::{Labeller, Labels};
use crate::policy::Arguments;

fn of(arguments: &Value) -> Labels {
    Labeller::default().labels("tool", &Arguments::read(arguments.to_string().as_bytes()))
}

/// The labels of one string argument.
fn labels(name: &str, text: &str) -> Labels {
    of(&json!({ name: text }))
}

/// A label, texts that must get it, and texts that must not.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Tells all that is wrong at once.
fn check(name: &str, rules: &[Rule]) {
    let mut wrong = Vec::new();
    for (label, matches, misses) in rules {
        assert!(matches.len() >= 3 && misses.len() >= 3, "{label} has too few examples");
        for (texts, should) in [(matches, true), (misses, false)] {
            for text in *texts {
                let labels = labels(name, text);
                if labels.contains(label) != should {
                    wrong.push(format!(
                        "{} {label} on {text:?}: {:?}",
                        if should { "no" } else { "there is" },
                        labels.iter().collect::<Vec<_>>()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
