//! A set of policies in force, and how it decides.

use std::{fs, path::Path, sync::Arc};

use super::{
    Question, Ruling, Verdict,
    error::{Fault, PolicyErrors},
    files::{Effect, PolicyInfo, Reader, Rule},
    question::{Applies, Asked, Case},
    reads::{Condition, ForLists, Reads},
    schema::{ACTIONS, TEXT},
};
use crate::audit::Digest;

const NO_POLICY: &str = "no policy permits this";

/// A set of policies in force. It never changes: another set takes its place.
pub struct PolicySet {
    sources: Vec<(String, String)>,
    hash: String,
    rules: Vec<Rule>,
    /// For each action, which rules its scope admits.
    by_action: Vec<Vec<usize>>,
    warnings: Vec<Fault>,
}

impl PolicySet {
    /// Every `*.cedar` of a directory, by name.
    ///
    /// # Errors
    /// What cannot be read, and every fault of what can.
    pub fn load(dir: &Path) -> Result<PolicySet, PolicyErrors> {
        PolicySet::from_sources(sources(dir)?)
    }

    /// Of files' names and texts, as [`PolicySet::sources`] gives them and a record keeps them.
    ///
    /// # Errors
    /// Every fault of the texts.
    pub fn from_sources(mut sources: Vec<(String, String)>) -> Result<PolicySet, PolicyErrors> {
        sources.sort();
        let mut reader = Reader::new();
        for (file, text) in &sources {
            reader.file(file, text);
        }
        if !reader.faults.is_empty() {
            return Err(PolicyErrors(reader.faults));
        }
        let rules = reader.rules;
        let of =
            |action| rules.iter().enumerate().filter(|(_, rule)| rule.scope.actions.contains(&action)).map(|(place, _)| place).collect();
        let by_action = (0..ACTIONS.len()).map(of).collect();
        Ok(PolicySet { hash: hash(&sources), sources, by_action, rules, warnings: reader.warnings })
    }

    /// What tells this set from any other: hexadecimal SHA-256 over the schema and all names and texts.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The files' names and texts, by name.
    #[must_use]
    pub fn sources(&self) -> &[(String, String)] {
        &self.sources
    }

    /// What is odd, and no error.
    #[must_use]
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// Every policy, the gateway's own first, then in the order of files and lines.
    pub fn policies(&self) -> impl Iterator<Item = PolicyInfo<'_>> {
        self.rules.iter().map(|rule| PolicyInfo {
            id: &rule.id,
            file: &rule.file,
            line: rule.line,
            text: &rule.text,
            effect: rule.effect,
            message: rule.message.as_deref(),
            hold: rule.hold.as_deref(),
        })
    }

    /// Decides. A forbid that applies denies, and so does one that cannot be evaluated; else what no permit applies to is denied; else
    /// a forbid with `@hold` that applies holds; else it is allowed.
    #[must_use]
    pub fn decide(&self, question: &Question<'_>) -> Ruling {
        let case = Case::of(question);
        let fitting = self.fitting(&case);
        let mut asking = Asking::new(question, &case, fitting.iter().filter_map(|rule| rule.condition.as_ref()));
        let (mut permits, mut holds, mut forbids, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for rule in fitting {
            match (asking.applies(rule.condition.as_ref()), rule.effect) {
                (Applies::Yes, Effect::Permit) => permits.push(rule),
                (Applies::Yes, Effect::Hold) => holds.push(rule),
                (Applies::Yes, Effect::Forbid) => forbids.push(rule),
                (Applies::No, _) => {}
                (Applies::Failed(error), effect) => {
                    errors.push(error);
                    if effect != Effect::Permit {
                        forbids.push(rule);
                    }
                }
            }
        }
        if !forbids.is_empty() {
            return ruling(Verdict::Deny, &forbids, errors);
        }
        if permits.is_empty() {
            return Ruling { message: Some(NO_POLICY.into()), ..ruling(Verdict::Deny, &[], errors) };
        }
        if holds.is_empty() { ruling(Verdict::Allow, &permits, errors) } else { ruling(Verdict::Hold, &holds, errors) }
    }

    /// Whether the caller should see it in a list: false only if every call of it would be denied, whatever its arguments and whatever
    /// went before.
    #[must_use]
    pub fn may_use(&self, question: &Question<'_>) -> bool {
        let case = Case::of(question);
        let fitting = self.fitting(&case);
        let mut asking = Asking::new(question, &case, fitting.iter().filter_map(|rule| listed(rule).flatten()));
        let mut permitted = false;
        for (rule, condition) in fitting.iter().filter_map(|rule| Some((rule, listed(rule)?))) {
            match (asking.applies(condition), rule.effect) {
                (Applies::Yes, Effect::Permit) => permitted = true,
                (Applies::Yes | Applies::Failed(_), Effect::Forbid) => return false,
                _ => {}
            }
        }
        permitted
    }

    /// Whether a policy whose scope fits reads the arguments themselves, and not only their labels: then there is no decision without them.
    #[must_use]
    pub fn reads_arguments(&self, question: &Question<'_>) -> bool {
        let read = |condition: &Condition| condition.reads.has_arguments();
        self.fitting(&Case::of(question)).iter().any(|rule| rule.condition.as_ref().is_some_and(read))
    }

    fn fitting(&self, case: &Case<'_>) -> Vec<&Rule> {
        let places = self.by_action.get(case.action).into_iter().flatten();
        places.filter_map(|place| self.rules.get(*place)).filter(|rule| rule.scope.fits(&case.principal, &case.resource)).collect()
    }
}

/// The names and texts of a directory's policies, by name.
///
/// # Errors
/// What cannot be read.
pub fn sources(dir: &Path) -> Result<Vec<(String, String)>, PolicyErrors> {
    let whole = |file: &Path, message: String, help: &str| {
        PolicyErrors(vec![Fault { file: file.display().to_string(), at: None, message, help: Some(help.to_owned()) }])
    };
    let listed = fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>());
    let unread = |file: &Path, error: std::io::Error| {
        whole(file, format!("cannot be read: {error}"), "policies are UTF-8 text that the gateway's user may read")
    };
    let mut paths = listed.map_err(|error| unread(dir, error))?;
    let is_policy = |path: &Path| path.extension().is_some_and(|end| end == "cedar");
    paths.retain(|path| is_policy(path) && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    if paths.is_empty() {
        return Err(whole(dir, "holds no policies, and without one nothing is permitted".into(), "write them in files that end in .cedar"));
    }
    let mut sources = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| unread(&path, error))?;
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        sources.push((name.ok_or_else(|| whole(&path, "is named with bytes that are not UTF-8".into(), "rename it"))?, text));
    }
    sources.sort();
    Ok(sources)
}

/// What is asked of a rule where a list is filtered; `None` if nothing is.
fn listed(rule: &Rule) -> Option<Option<&Condition>> {
    match &rule.for_lists {
        ForLists::Same => Some(rule.condition.as_ref()),
        ForLists::Weaker(condition) => Some(condition.as_deref()),
        ForLists::Ignored => None,
    }
}

/// The question, put together for Cedar when the first condition is asked that is Cedar's.
struct Asking<'a> {
    question: &'a Question<'a>,
    case: &'a Case<'a>,
    /// What Cedar's conditions read.
    reads: Reads,
    /// Two arguments of one path are read: then no condition can be told.
    is_ambiguous: bool,
    asked: Option<Result<Asked, String>>,
}

impl<'a> Asking<'a> {
    fn new<'c>(question: &'a Question<'a>, case: &'a Case<'a>, conditions: impl Iterator<Item = &'c Condition>) -> Self {
        let (mut all, mut cedars) = (Reads::default(), Reads::default());
        for condition in conditions {
            all = all.with(condition.reads);
            if condition.direct.is_none() {
                cedars = cedars.with(condition.reads);
            }
        }
        let is_ambiguous = all.has_arguments() && question.arguments.is_ambiguous();
        Asking { question, case, reads: if is_ambiguous { all } else { cedars }, is_ambiguous, asked: None }
    }

    fn applies(&mut self, condition: Option<&Condition>) -> Applies {
        let Some(condition) = condition else { return Applies::Yes };
        let put =
            |reads| Asked::of(self.question, self.case, reads).map_err(|error| format!("the call cannot be put to the policies: {error}"));
        let own;
        let asked = match condition.direct.as_ref().filter(|_| !self.is_ambiguous) {
            Some(test) => match test.holds(self.question, self.case) {
                Some(true) => return Applies::Yes,
                Some(false) => return Applies::No,
                // Cedar says what is wrong.
                None => {
                    own = put(condition.reads);
                    &own
                }
            },
            None => &*self.asked.get_or_insert_with(|| put(self.reads)),
        };
        match asked {
            Ok(asked) => asked.applies(&condition.policy),
            Err(error) => Applies::Failed(error.clone()),
        }
    }
}

fn ruling(verdict: Verdict, determining: &[&Rule], errors: Vec<String>) -> Ruling {
    let mut policies: Vec<Arc<str>> = determining.iter().map(|rule| Arc::clone(&rule.id)).collect();
    policies.sort();
    let first = |of: fn(&Rule) -> &Option<Arc<str>>| determining.iter().find_map(|rule| of(rule).clone());
    let (message, hold) = match verdict {
        Verdict::Allow => (None, None),
        Verdict::Deny => (first(|rule| &rule.message), None),
        Verdict::Hold => (first(|rule| &rule.message), first(|rule| &rule.hold)),
    };
    Ruling { verdict, policies, message, hold, errors }
}

fn hash(sources: &[(String, String)]) -> String {
    let mut digest = Digest::new();
    let texts = sources.iter().flat_map(|(file, text)| [file.as_str(), text.as_str()]);
    for text in std::iter::once(TEXT).chain(texts) {
        // Each with its length before it, so that no two lists give the same bytes.
        digest.update(&(text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
    }
    digest.finish().to_string()
}
