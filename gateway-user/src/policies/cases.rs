//! `policy test`: example decisions, and whether they come out as they should.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use gateway_user::{
    identity::{How, Identity, Principal, Strength},
    policy::{Annotations, Arguments, Counters, Facts, Labeller, PolicySet, ProcessFacts, Question, Ruling, Verdict},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

use super::Policies;
use crate::say;

/// Monday, 2024-01-01 at noon: what a case decides does not depend on when it is run.
const NOON: u64 = 1_704_110_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

/// One `[[case]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    person: Option<Person>,
    workload: Option<Workload>,
    server: String,
    #[serde(default = "tools_call")]
    method: String,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    #[serde(default)]
    arguments: toml::Table,
    strength: Option<Strength>,
    time: Option<toml::Value>,
    #[serde(default)]
    process: ProcessFacts,
    revision: Option<String>,
    #[serde(default)]
    session: Counters,
    #[serde(default)]
    counters: Counters,
    #[serde(default)]
    annotations: Annotations,
    definition: Option<String>,
    #[serde(default)]
    definition_changed: bool,
    expect: Verdict,
    policies: Option<Vec<String>>,
    labels: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    issuer: String,
    subject: String,
    name: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    name: String,
    #[serde(default)]
    groups: Vec<String>,
}

fn tools_call() -> String {
    "tools/call".into()
}

/// Runs all cases of all files.
pub(super) fn run(files: &[PathBuf], policies: &Policies, json: bool) -> anyhow::Result<ExitCode> {
    let (set, labeller) = (policies.set()?, policies.labeller()?);
    let (mut outcomes, mut failures) = (Vec::new(), 0);
    for file in files {
        let file_name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("{file_name} cannot be read"))?;
        let line = |offset: usize| text.get(..offset).unwrap_or(&text).matches('\n').count() + 1;
        let cases: Cases = toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or_else(|| file_name.to_string(), |span| format!("{file_name}:{}", line(span.start)));
            anyhow::anyhow!("{place}: {}", error.message())
        })?;
        anyhow::ensure!(!cases.case.is_empty(), "{file_name}: there is no [[case]] in it");
        for case in cases.case {
            let place = format!("{file_name}:{}", line(case.span().start));
            let case = case.into_inner();
            let (ruling, labels) = case.decide(&set, &labeller).map_err(|message| anyhow::anyhow!("{place}: {}: {message}", case.name))?;
            let wrong = case.wrong(&ruling, &labels);
            failures += usize::from(!wrong.is_empty());
            if !json && !wrong.is_empty() {
                say(&format!("{place}: {}: {}\n", case.name, wrong.join("; ")))?;
                say(&format!("    decided {}\n    labels  {}\n", told(&ruling), listed(&labels)))?;
            }
            outcomes.push(json!({ "place": place, "name": case.name, "ruling": ruling, "labels": labels, "wrong": wrong }));
        }
    }
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&json!({ "set": set.hash(), "cases": outcomes }))?))?;
    } else {
        say(&format!("{} case(s), {failures} otherwise than expected\n", outcomes.len()))?;
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Case {
    fn decide(&self, set: &PolicySet, labeller: &Labeller) -> Result<(Ruling, Vec<String>), String> {
        let (principal, strength) = match (&self.person, &self.workload) {
            (Some(_), Some(_)) => return Err("it is by a person or by a workload, not both".into()),
            (Some(Person { issuer, subject, name, groups }), None) => {
                let (subject, name, groups) = (subject.clone(), name.clone(), groups.clone());
                (Principal::Person { issuer: issuer.as_str().into(), subject, name, groups }, Strength::Token)
            }
            (None, Some(Workload { name, groups })) => {
                (Principal::Workload { name: name.clone(), groups: groups.clone() }, Strength::Declared)
            }
            (None, None) => (Principal::Nobody, Strength::None),
        };
        let strength = self.strength.unwrap_or(strength);
        let identity = Identity::new(principal, How::Nothing, strength);
        let arguments = Arguments::read(as_json(&toml::Value::Table(self.arguments.clone())).to_string().as_bytes());
        let name = self.name()?;
        let labels = labeller.labels(name.unwrap_or_default(), &arguments);
        let found = labels.iter().map(str::to_owned).collect();
        let facts = Facts {
            labels,
            time: self.time()?,
            strength,
            process: self.process.clone(),
            revision: self.revision.clone(),
            session: self.session,
            person: self.counters,
            annotations: self.annotations,
            definition: self.definition.clone(),
            definition_changed: self.definition_changed,
        };
        let question =
            Question { identity: &identity, server: &self.server, method: &self.method, name, arguments: &arguments, facts: &facts };
        Ok((set.decide(&question), found))
    }

    /// The tool, prompt or resource, as the method takes one.
    fn name(&self) -> Result<Option<&str>, String> {
        let (taken, name) = match self.method.as_str() {
            "tools/call" => ("tool", &self.tool),
            "prompts/get" => ("prompt", &self.prompt),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => ("resource", &self.resource),
            _ => ("", &None),
        };
        let given = [("tool", &self.tool), ("prompt", &self.prompt), ("resource", &self.resource)];
        if let Some((other, _)) = given.iter().find(|(key, value)| value.is_some() && *key != taken) {
            return Err(format!("`{}` takes no `{other}`", self.method));
        }
        match name {
            None if !taken.is_empty() => Err(format!("`{}` needs a `{taken}`", self.method)),
            name => Ok(name.as_deref()),
        }
    }

    fn time(&self) -> Result<u64, String> {
        let text = match &self.time {
            None => return Ok(NOON),
            Some(toml::Value::Datetime(time)) => time.to_string(),
            Some(toml::Value::String(text)) => text.clone(),
            Some(_) => return Err("`time` is no time: write it as 2026-11-25T08:00:00Z".into()),
        };
        let time = text.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_second()).ok());
        time.ok_or_else(|| format!("`time` is no time with an offset such as 2026-11-25T08:00:00Z: {text}"))
    }

    /// What is otherwise than it should be.
    fn wrong(&self, ruling: &Ruling, labels: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        if ruling.verdict != self.expect {
            wrong.push(format!("expected {}", self.expect));
        }
        let policies: Vec<String> = ruling.policies.iter().map(ToString::to_string).collect();
        let mut differs = |wanted: &Option<Vec<String>>, found: &[String], what: &str| {
            if let Some(mut wanted) = wanted.clone() {
                wanted.sort();
                if wanted != found {
                    wrong.push(format!("expected {what} {}", listed(&wanted)));
                }
            }
        };
        differs(&self.policies, &policies, "by");
        differs(&self.labels, labels, "labels");
        wrong
    }
}

/// A ruling, for people.
pub(super) fn told(ruling: &Ruling) -> String {
    let policies: Vec<String> = ruling.policies.iter().map(ToString::to_string).collect();
    let mut told = ruling.verdict.to_string();
    if !policies.is_empty() {
        told = format!("{told} by {}", policies.join(", "));
    }
    for text in ruling.hold.iter().chain(&ruling.message) {
        told = format!("{told}: {text}");
    }
    ruling.errors.iter().fold(told, |told, error| format!("{told} ({error})"))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(flag) => json!(flag),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::Array(items) => items.iter().map(as_json).collect(),
        toml::Value::Table(table) => Value::Object(table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()),
    }
}
