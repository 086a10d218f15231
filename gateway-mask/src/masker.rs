//! The rules of one audience, ready for use.

use std::sync::Arc;

use crate::detect::{Detectors, Found, Hit, Wanted};
use crate::follow::Followed;
use crate::kind::Kind;
use crate::outcome::{Controls, Failure, Form, Keys, Masked};
use crate::pass::Pass;
use crate::path::Path;
use crate::places::Places;
use crate::rule::{How, Rule, RuleError};

/// The rules that hold for one call and one audience.
pub struct Masker {
    pub(crate) detectors: Arc<Detectors>,
    /// Name and how of each rule.
    pub(crate) rules: Vec<(String, How)>,
    pub(crate) paths: Vec<(Path, usize)>,
    /// Names of members: those of fields, and those of columns, which are members where rows are objects.
    pub(crate) fields: Places,
    pub(crate) columns: Places,
    /// What some rule wants to be found.
    pub(crate) wanted: Wanted,
    /// What each rule wants to be found.
    pub(crate) detect: Vec<Wanted>,
    pub(crate) controls: Controls,
}

impl Masker {
    /// Makes the rules ready, in this order: where two select the same bytes the earlier counts.
    ///
    /// # Errors
    /// A rule that selects nothing, or a path that is not JSONPath.
    pub fn new(detectors: Arc<Detectors>, rules: Vec<Rule>) -> Result<Masker, RuleError> {
        let mut paths = Vec::new();
        let mut wanted = Wanted::NONE;
        for (at, rule) in rules.iter().enumerate() {
            let what = &rule.what;
            if what.paths.is_empty() && what.fields.is_empty() && what.columns.is_empty() && what.detect.is_empty() {
                return Err(RuleError::Empty { rule: rule.name.clone() });
            }
            if let Some(name) = what.fields.iter().chain(&what.columns).find(|name| crate::Names::new(&[name]).is_empty()) {
                return Err(RuleError::Name { rule: rule.name.clone(), name: name.clone() });
            }
            for path in &what.paths {
                let read = Path::new(path).map_err(|why| RuleError::Path { rule: rule.name.clone(), path: path.clone(), why });
                paths.push((read?, at));
            }
            wanted = wanted.union(what.detect);
        }
        let named = |names: fn(&Rule) -> Vec<String>| {
            rules.iter().enumerate().flat_map(move |(at, rule)| names(rule).into_iter().map(move |name| (name, at)))
        };
        let fields = Places::new(named(|rule| rule.what.fields.iter().chain(&rule.what.columns).cloned().collect()));
        let columns = Places::new(named(|rule| rule.what.columns.clone()));
        Ok(Masker {
            detectors,
            paths,
            fields,
            columns,
            wanted,
            detect: rules.iter().map(|rule| rule.what.detect).collect(),
            rules: rules.into_iter().map(|rule| (rule.name, rule.how)).collect(),
            controls: Controls::Keep,
        })
    }

    /// Leaves these fields of messages as they are; [`Controls::Keep`] unless said otherwise.
    #[must_use]
    pub fn controls(self, controls: Controls) -> Masker {
        Masker { controls, ..self }
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the SQL of a call's arguments calls the columns of the rules in its answer.
    #[must_use]
    pub fn follow(&self, request: &[u8]) -> Followed {
        Followed::new(self, request)
    }

    /// What is to be changed in a body, and the marks of it for the record.
    ///
    /// # Errors
    /// The body cannot be read, or a limit is met. It must not be passed on then.
    pub fn mask(&self, body: &[u8], form: Form<'_>, keys: &Keys<'_>) -> Result<Masked, Failure> {
        if self.is_empty() {
            return Ok(Masked::default());
        }
        Pass::over(self, body, form, keys)
    }

    /// Whether any rule looks for kinds of values.
    pub(crate) fn detects(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether any rule selects by place, and not only by kind.
    pub(crate) fn selects_places(&self) -> bool {
        !(self.paths.is_empty() && self.fields.is_empty())
    }

    /// The values that detectors find in a text, each with the first rule that wants it.
    pub(crate) fn found(&self, text: &str, name: Option<&str>) -> Vec<(Hit, usize)> {
        let mut hits = Vec::new();
        if self.detects() {
            self.detectors.find(text, name, self.wanted, &mut hits);
        }
        let rule = |hit: &Hit| self.detect.iter().position(|wanted| wanted.has_found(hit.what));
        hits.into_iter().filter_map(|hit| rule(&hit).map(|rule| (hit, rule))).collect()
    }

    /// What a replacement says was here.
    pub(crate) fn label(&self, rule: usize, found: Option<Found>) -> &str {
        let kind = match found {
            Some(Found::Kind(kind)) => Some(Kind::name(kind)),
            Some(Found::Own(_)) | None => None,
        };
        kind.unwrap_or_else(|| self.rules.get(rule).map_or("", |(name, _)| name))
    }

    pub(crate) fn how(&self, rule: usize) -> How {
        self.rules.get(rule).map_or(How::Redact, |(_, how)| *how)
    }
}
