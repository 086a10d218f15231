//! `mask coverage`: what the rules did in the log, and what no rule did.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use gateway_mask::{Detectors, Followed, Form, How, Keys, Masker, Rule, Wanted, What};
use gateway_user::{
    audit::tail::shown,
    config::MaskingConfig,
    mask::{MaskKeys, Masking},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{login::table, records, say};

#[derive(Deserialize)]
struct Body<'a> {
    server: Option<String>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
    #[serde(default)]
    masked: Masked,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    text: Option<String>,
}

#[derive(Deserialize, Default)]
struct Masked {
    marks: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    to: String,
    rule: String,
    count: u64,
}

/// Values of a kind at a place that no rule masks for the record.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    server: String,
    path: String,
    kind: String,
}

#[derive(Default)]
struct Seen {
    records: u64,
    /// Values that each rule masked, by the reader.
    rules: BTreeMap<String, BTreeMap<String, u64>>,
    /// Values that are on record, and one of those.
    uncovered: BTreeMap<Place, (u64, u64)>,
    unreadable: u64,
}

pub(super) fn run(config: &MaskingConfig, log: &Path, since: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let since = since.map(records::moment).transpose()?;
    let masking = Masking::with_key(config, MaskKeys::new(&[0; 32]))?;
    let detectors = Arc::new(Detectors::new(config.detectors.clone())?);
    let everything = Rule { name: "all".into(), what: What { detect: Wanted::all(), ..What::default() }, how: How::Redact };
    let all = Masker::new(detectors, vec![everything])?;
    let mut seen = Seen::default();
    for segment in records::segments(log)? {
        records::each(&segment, |line| {
            let early = since.is_some_and(|since| line.head.at.parse::<Timestamp>().is_ok_and(|at| at < since));
            if let Some(body) = line.body.filter(|_| !early) {
                seen.take(line.head.seq, body, &masking, &all);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let idle: BTreeSet<&str> = masking.rules().filter(|rule| !seen.rules.contains_key(*rule)).collect();
    say(&if json { as_json(&seen, &idle) } else { for_people(&seen, &masking, &idle) })?;
    Ok(if seen.uncovered.is_empty() && idle.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Seen {
    fn take(&mut self, seq: u64, body: &[u8], masking: &Masking, all: &Masker) {
        let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return };
        let Some(payload) = body.payload else { return };
        self.records += 1;
        for mark in body.masked.marks {
            *self.rules.entry(mark.rule).or_default().entry(mark.to).or_default() += mark.count;
        }
        let keys = Keys { commit: &|_| [0; 32], token: &|_| [0; 32] };
        let nothing = Followed::nothing();
        let masked = match (&payload.json, &payload.text) {
            (Some(json), _) => all.mask(json.get().as_bytes(), Form::Message(&nothing), &keys),
            (None, Some(text)) => all.mask(text.as_bytes(), Form::Text { name: None }, &keys),
            (None, None) => return,
        };
        let Ok(masked) = masked else {
            self.unreadable += 1;
            return;
        };
        for mark in masked.marks {
            let kind = mark.kind.map_or("", |found| masking.kind(found)).to_owned();
            let place = Place { server: body.server.clone().unwrap_or_default(), path: mark.path, kind };
            let (count, example) = self.uncovered.entry(place).or_default();
            *count += mark.commitments.len() as u64;
            *example = seq;
        }
    }
}

fn as_json(seen: &Seen, idle: &BTreeSet<&str>) -> String {
    let uncovered: Vec<_> = seen
        .uncovered
        .iter()
        .map(|(place, (count, example))| {
            json!({ "server": place.server, "path": place.path, "kind": place.kind, "count": count, "example": example })
        })
        .collect();
    let shown = json!({ "records": seen.records, "rules": seen.rules, "never_matched": idle, "uncovered": uncovered, "unreadable": seen.unreadable });
    format!("{shown}\n")
}

fn for_people(seen: &Seen, masking: &Masking, idle: &BTreeSet<&str>) -> String {
    let mut out = format!("{} messages on record\n\n", seen.records);
    let count = |rule: &str, to: &str| seen.rules.get(rule).and_then(|by| by.get(to)).copied().unwrap_or(0).to_string();
    let rows = masking.rules().map(|rule| [rule.to_owned(), count(rule, "record"), count(rule, "client"), count(rule, "server")]);
    out += &table(["RULE", "RECORD", "CLIENT", "SERVER"], rows.collect());
    if !idle.is_empty() {
        out += &format!("\nnever matched: {}\n", idle.iter().copied().collect::<Vec<_>>().join(", "));
    }
    if !seen.uncovered.is_empty() {
        out += "\non record as they are:\n";
        let rows = seen.uncovered.iter().map(|(place, (count, example))| {
            [shown(&place.server, 40), shown(&place.path, 100), place.kind.clone(), count.to_string(), example.to_string()]
        });
        out += &table(["SERVER", "PATH", "KIND", "VALUES", "FOR EXAMPLE IN"], rows.collect());
    }
    if seen.unreadable > 0 {
        out += &format!("\n{} could not be looked at\n", seen.unreadable);
    }
    out
}
