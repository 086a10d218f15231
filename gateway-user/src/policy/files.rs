//! Policy files: their text → the rules that a set is made of, gathering every fault on the way.

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use cedar_policy::{Policy, PolicyId, ValidationMode, Validator};
use miette::Diagnostic;
use serde::Serialize;

use super::{
    error::{Fault, place},
    reads::{Condition, ForLists},
    schema::{RESERVED, SCHEMA, SESSION_ID, SESSION_POLICY},
    scope::Scope,
};

/// The annotations that mean something here. `help` and `advice` are for who reads the file.
const ANNOTATIONS: [&str; 5] = ["id", "message", "hold", "help", "advice"];

/// What a policy does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It lets the call through, if nothing else is against it.
    Permit,
    /// It refuses the call.
    Forbid,
    /// It lets the call wait for approval.
    Hold,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
            Effect::Hold => "hold",
        })
    }
}

/// One policy of a set, for people.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PolicyInfo<'a> {
    /// `@id`, or the file's name and the policy's place in it: `clinic#2`.
    pub id: &'a str,
    /// The file; empty for a policy of the gateway's own.
    pub file: &'a str,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its text.
    pub text: &'a str,
    /// What it does.
    pub effect: Effect,
    /// `@message`
    pub message: Option<&'a str>,
    /// `@hold`
    pub hold: Option<&'a str>,
}

/// One policy, ready to be asked.
pub(super) struct Rule {
    pub(super) id: Arc<str>,
    pub(super) effect: Effect,
    pub(super) message: Option<Arc<str>>,
    pub(super) hold: Option<Arc<str>>,
    pub(super) scope: Scope,
    /// What must be true besides; `None` when the scope says it all.
    pub(super) condition: Option<Condition>,
    pub(super) for_lists: ForLists,
    pub(super) file: Arc<str>,
    pub(super) line: usize,
    pub(super) text: String,
}

/// Reads files' texts.
pub(super) struct Reader {
    validator: Validator,
    pub(super) rules: Vec<Rule>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    ids: HashMap<String, String>,
}

impl Reader {
    /// Begins with the gateway's own policy.
    pub(super) fn new() -> Self {
        let validator = Validator::new(SCHEMA.clone());
        let mut reader = Reader { validator, rules: Vec::new(), faults: Vec::new(), warnings: Vec::new(), ids: HashMap::new() };
        reader.file("", SESSION_POLICY);
        reader
    }

    pub(super) fn file(&mut self, file: &str, text: &str) {
        let set = match cedar_policy::PolicySet::from_str(text) {
            Ok(set) => set,
            Err(errors) => {
                self.faults.extend(errors.iter().map(|error| diagnosed(file, text, 0, error)));
                return;
            }
        };
        // What stands between policies is white space and comments: so their places are found from their texts.
        let (file, mut offset) = (Arc::from(file), 0);
        for number in 0.. {
            let id = PolicyId::new(format!("policy{number}"));
            offset += blank(text.get(offset..).unwrap_or_default());
            if let Some(policy) = set.policy(&id) {
                self.policy(&file, text, (number, offset), policy);
                offset += policy.to_string().len();
            } else if let Some(template) = set.template(&id) {
                let message = "a template (`?principal`, `?resource`) is never linked here, so it would never apply";
                self.faults.push(fault(&file, text, offset, message, "name the principal or the resource itself"));
                offset += template.to_string().len();
            } else {
                break;
            }
        }
    }

    fn policy(&mut self, file: &Arc<str>, text: &str, (number, offset): (usize, usize), policy: &Policy) {
        let at = |message: String, help: &str| fault(file, text, offset, message, help);
        let own = file.is_empty();
        let stem = file.strip_suffix(".cedar").unwrap_or(file);
        let id = match policy.annotation("id") {
            _ if own => SESSION_ID.to_owned(),
            Some("") => return self.faults.push(at("`@id` has no text".into(), "write @id(\"…\"), or leave it out")),
            Some(id) if id.starts_with(RESERVED) => {
                let message = format!("`{id}` begins with `{RESERVED}`, as only the gateway's own policies do");
                return self.faults.push(at(message, "choose another id"));
            }
            Some(id) => id.to_owned(),
            None => format!("{stem}#{}", number + 1),
        };
        let (line, column) = place(text, offset);
        let here = format!("{file}:{line}:{column}");
        if let Some(other) = self.ids.get(&id) {
            return self.faults.push(at(format!("`{id}` is the id of another policy already, at {other}"), "give each an id of its own"));
        }
        self.ids.insert(id.clone(), here);

        let hold = policy.annotation("hold");
        if hold.is_some() && policy.effect() == cedar_policy::Effect::Permit {
            self.faults.push(at("`@hold` stands on a permit".into(), "a call is held by a forbid: write `forbid`, or leave `@hold` out"));
        }
        for name in ["hold", "message"] {
            if policy.annotation(name).is_some_and(|text| text.trim().is_empty()) {
                self.faults.push(at(format!("`@{name}` has no text"), "say in it what the caller and the approver should know"));
            }
        }
        for (name, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
            let near = ANNOTATIONS.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
            let help = near.map_or_else(
                || format!("known are {}", ANNOTATIONS.map(|name| format!("@{name}")).join(", ")),
                |near| format!("did you mean `@{near}`?"),
            );
            self.warnings.push(at(format!("`@{name}` means nothing here"), &help));
        }

        let policy = policy.new_id(PolicyId::new(&id));
        let Ok(set) = cedar_policy::PolicySet::from_policies([policy.clone()]) else { return };
        let found = self.validator.validate(&set, ValidationMode::Strict);
        self.faults.extend(once(found.validation_errors().map(|error| diagnosed(file, text, offset, error))));
        self.warnings.extend(once(found.validation_warnings().map(|warning| diagnosed(file, text, offset, warning))));

        let (condition, for_lists) = match Condition::of(&policy).and_then(|condition| Ok((condition, ForLists::of(&policy)?))) {
            Ok(read) => read,
            Err(error) => return self.faults.push(at(error.to_string(), "write it in another way")),
        };
        let effect = match policy.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid if hold.is_some() => Effect::Hold,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        };
        self.rules.push(Rule {
            effect,
            message: policy.annotation("message").map(Arc::from),
            hold: hold.map(Arc::from),
            scope: Scope::of(&policy),
            condition,
            for_lists: if effect == Effect::Hold { ForLists::Ignored } else { for_lists },
            text: policy.to_string(),
            id: id.into(),
            file: Arc::clone(file),
            line,
        });
    }
}

fn fault(file: &str, text: &str, offset: usize, message: impl Into<String>, help: &str) -> Fault {
    Fault { file: file.to_owned(), at: Some(place(text, offset)), message: message.into(), help: Some(help.to_owned()) }
}

/// What Cedar says, at the place that it says it about; else at the policy's.
fn diagnosed(file: &str, text: &str, offset: usize, error: &dyn Diagnostic) -> Fault {
    let label = error.labels().and_then(|mut labels| labels.next());
    let at = label.as_ref().map_or(offset, miette::LabeledSpan::offset);
    let mut message = error.to_string();
    if let Some(label) = label.as_ref().and_then(|label| label.label()) {
        message = format!("{message}: {label}");
    }
    Fault { file: file.to_owned(), at: Some(place(text, at)), message, help: error.help().map(|help| help.to_string()) }
}

/// One fault for each place: Cedar tells it anew for every kind of principal, action and resource.
fn once(faults: impl Iterator<Item = Fault>) -> Vec<Fault> {
    let mut faults: Vec<Fault> = faults.collect();
    faults.sort_by(|a, b| (a.at, &a.message).cmp(&(b.at, &b.message)));
    faults.dedup_by_key(|fault| fault.at);
    faults
}

/// How many bytes of white space and comments it begins with.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(comment) = rest.strip_prefix("//") else { return text.len() - rest.len() };
        rest = comment.find('\n').map_or("", |end| &comment[end..]);
    }
}
