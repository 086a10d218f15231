//! `policy what-if`: the log's calls, decided again by another set.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, process::ExitCode};

use gateway_user::{
    audit::{Kind, tail::shown},
    policy::{
        PolicySet, Verdict,
        recorded::{Again, Recorded},
    },
};
use jiff::Timestamp;
use serde_json::json;

use crate::{login::table, records, say};

/// Calls that would come out alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    was: Verdict,
    would_be: Verdict,
    server: String,
    what: String,
    who: String,
}

#[derive(Default)]
struct Counted {
    calls: u64,
    /// One of the records.
    example: u64,
}

/// What cannot be decided again.
#[derive(Default)]
struct Unknowable {
    cut: u64,
    undecided: u64,
    unreadable: u64,
}

/// Decides each call of the log since then again.
pub(super) fn run(set: &PolicySet, log: &Path, since: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let since = since.map(records::moment).transpose()?;
    let (mut groups, mut unknowable, mut calls) = (BTreeMap::<Group, Counted>::new(), Unknowable::default(), 0_u64);
    for segment in records::segments(log)? {
        records::each(&segment, |line| {
            let decided = [Kind::Request, Kind::Refused].iter().any(|kind| kind.name() == line.head.kind);
            let early = since.is_some_and(|since| line.head.at.parse::<Timestamp>().is_ok_and(|at| at < since));
            let Some(body) = line.body.filter(|_| decided && !early) else { return Ok(ControlFlow::Continue(())) };
            calls += 1;
            let call = match Recorded::read(body) {
                Ok(Some(call)) => call,
                Ok(None) => {
                    unknowable.undecided += 1;
                    return Ok(ControlFlow::Continue(()));
                }
                Err(_) => {
                    unknowable.unreadable += 1;
                    return Ok(ControlFlow::Continue(()));
                }
            };
            match call.again(set) {
                Again::Unknown => unknowable.cut += 1,
                Again::Ruling(ruling) if ruling.verdict == call.decided.verdict => {}
                Again::Ruling(ruling) => {
                    let name = call.name.as_ref().map(|name| format!(" {}", shown(name, 60))).unwrap_or_default();
                    let group = Group {
                        was: call.decided.verdict,
                        would_be: ruling.verdict,
                        server: call.server,
                        what: format!("{}{name}", shown(&call.method, 60)),
                        who: shown(&call.identity.to_string(), 60),
                    };
                    let counted = groups.entry(group).or_default();
                    counted.calls += 1;
                    counted.example = line.head.seq;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    say(&if json { as_json(set, calls, &groups, &unknowable)? } else { for_people(calls, &groups, &unknowable) })?;
    Ok(if groups.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(set: &PolicySet, calls: u64, groups: &BTreeMap<Group, Counted>, unknowable: &Unknowable) -> serde_json::Result<String> {
    let changes = groups.iter().map(|(group, counted)| {
        let Group { was, would_be, server, what, who } = group;
        json!({ "was": was, "would_be": would_be, "server": server, "what": what, "who": who, "calls": counted.calls, "example": counted.example })
    });
    let shown = json!({
        "set": set.hash(), "calls": calls, "changes": changes.collect::<Vec<_>>(),
        "unknowable": { "arguments_not_on_record": unknowable.cut, "no_policies_then": unknowable.undecided, "unreadable": unknowable.unreadable },
    });
    Ok(serde_json::to_string_pretty(&shown)? + "\n")
}

fn for_people(calls: u64, groups: &BTreeMap<Group, Counted>, unknowable: &Unknowable) -> String {
    let changed: u64 = groups.values().map(|counted| counted.calls).sum();
    let rows = groups.iter().map(|(group, counted)| {
        [
            group.was.to_string(),
            group.would_be.to_string(),
            group.server.clone(),
            group.what.clone(),
            group.who.clone(),
            counted.calls.to_string(),
            counted.example.to_string(),
        ]
    });
    let mut out = String::new();
    if !groups.is_empty() {
        out = table(["WAS", "WOULD BE", "SERVER", "WHAT", "WHO", "CALLS", "FOR EXAMPLE"], rows.collect()) + "\n";
    }
    out.push_str(&format!("{calls} call(s), {changed} would come out otherwise\n"));
    for (count, why) in [
        (unknowable.cut, "the new policies read arguments that are not on record"),
        (unknowable.undecided, "no policies decided them, or they are batches"),
        (unknowable.unreadable, "their records cannot be read by this version"),
    ] {
        if count > 0 {
            out.push_str(&format!("{count} cannot be told: {why}\n"));
        }
    }
    out
}
