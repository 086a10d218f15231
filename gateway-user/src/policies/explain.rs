//! `policy explain`: why a recorded call was decided as it was.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use gateway_user::{
    audit::tail::shown,
    identity::{Identity, Principal},
    policy::{
        PolicySet, Ruling,
        recorded::{Again, Recorded},
    },
};
use serde_json::{Value, json};

use super::{LogDir, Policies, cases::told, in_force};
use crate::{records, say};

/// A call, as found in the log.
struct Found {
    log: String,
    seq: u64,
    at: String,
    call: Recorded,
    /// The set that was in force, if the log has it.
    then: Option<PolicySet>,
}

/// Explains one record.
pub(super) fn run(record: &str, policies: &Policies, log: &LogDir, json: bool) -> anyhow::Result<ExitCode> {
    let found = find(record, &log.dir(policies.config.as_ref())?)?;
    let today = policies.set()?;
    let again = found.call.again(&today);
    say(&if json {
        format!("{}\n", serde_json::to_string_pretty(&as_json(&found, &today, &again))?)
    } else {
        for_people(&found, &today, &again)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn find(record: &str, dir: &Path) -> anyhow::Result<Found> {
    let (log, seq, at, call) = records::find(record, dir, |line| {
        let seq = line.head.seq;
        let body = line.body.with_context(|| format!("record {seq} has no body any more"))?;
        let call = Recorded::read(body).with_context(|| format!("record {seq}"))?;
        let call = call.with_context(|| format!("record {seq} ({}) is of nothing that policies decided", line.head.kind))?;
        Ok((line.head.log.to_owned(), seq, line.head.at.to_owned(), call))
    })?;
    let mut segments = records::segments(dir)?;
    segments.retain(|segment| segment.first <= seq);
    let then = in_force::sources(&segments, &call.decided.set)?.and_then(|sources| PolicySet::from_sources(sources).ok());
    Ok(Found { log, seq, at, call, then })
}

fn as_json(found: &Found, today: &PolicySet, again: &Again) -> Value {
    let Recorded { identity, server, method, name, arguments, decided } = &found.call;
    let texts = |set: &PolicySet, ids: &[String]| -> Vec<Value> {
        let policies = set.policies().filter(|policy| ids.iter().any(|id| id == policy.id));
        policies.map(|policy| json!(policy)).collect()
    };
    let now = match again {
        Again::Ruling(ruling) => json!({ "set": today.hash(), "ruling": ruling, "policies": texts(today, &ids(ruling)) }),
        Again::Unknown => json!({ "set": today.hash(), "ruling": "unknown" }),
    };
    json!({
        "record": format!("{}/{}", found.log, found.seq), "at": found.at, "identity": identity, "server": server, "method": method, "name": name,
        "arguments_on_record": arguments.is_some(), "facts": decided.facts,
        "then": { "set": decided.set, "verdict": decided.verdict, "reason": decided.reason, "ids": decided.policies,
                  "policies": found.then.as_ref().map(|set| texts(set, &decided.policies)) },
        "now": now, "differs": differs(found, again),
    })
}

fn for_people(found: &Found, today: &PolicySet, again: &Again) -> String {
    let Recorded { identity, server, method, name, arguments, decided } = &found.call;
    let name = name.as_ref().map(|name| format!(" {}", shown(name, 200))).unwrap_or_default();
    let labels: Vec<&str> = decided.facts.labels.iter().collect();
    let by = if decided.policies.is_empty() { String::new() } else { format!(" by {}", decided.policies.join(", ")) };
    let mut out = format!(
        "Record {}/{}\n  when     {}\n  who      {}\n  what     {}{name} on {server}\n  labels   {}\n  decided  {}{by} ({})\n",
        found.log,
        found.seq,
        found.at,
        who(identity),
        shown(method, 60),
        if labels.is_empty() { "none".into() } else { shown(&labels.join(", "), 400) },
        decided.verdict,
        decided.reason,
    );
    if arguments.is_none() {
        out.push_str("  The arguments are not all on record: some are masked, or `audit.max_body` cut the call.\n");
    }
    out.push_str(&format!("\nThe set then, {}:\n", decided.set));
    match &found.then {
        Some(then) => out.push_str(&texts(then, &decided.policies)),
        None => out.push_str("  The log does not have it: it has no record of kind `policies` with this hash.\n"),
    }
    let same = if today.hash() == decided.set { ", the same" } else { "" };
    out.push_str(&format!("\nThe set today, {}{same}:\n", today.hash()));
    match again {
        Again::Ruling(ruling) => {
            out.push_str(&format!("  decides {}\n", shown(&told(ruling), 1000)));
            out.push_str(&texts(today, &ids(ruling)));
        }
        Again::Unknown => out.push_str("  unknown: its policies read arguments that are not on record\n"),
    }
    let differs = differs(found, again);
    out.push_str(&if differs.is_empty() {
        "\nNothing differs.\n".to_owned()
    } else {
        format!("\nWhat differs: {}.\n", differs.join("; "))
    });
    out
}

fn ids(ruling: &Ruling) -> Vec<String> {
    ruling.policies.iter().map(ToString::to_string).collect()
}

/// The texts of these policies, each under its id.
fn texts(set: &PolicySet, of: &[String]) -> String {
    let policies = set.policies().filter(|policy| of.iter().any(|id| id == policy.id));
    let text = |text: &str| text.lines().map(|line| format!("    {}\n", shown(line, 1000))).collect::<String>();
    let texts: String = policies
        .map(|policy| {
            let place = if policy.file.is_empty() { "the gateway's own".to_owned() } else { format!("{}:{}", policy.file, policy.line) };
            format!("  {} ({place})\n{}", shown(policy.id, 200), text(policy.text))
        })
        .collect();
    if texts.is_empty() { "  no policy permitted it\n".into() } else { texts }
}

fn differs(found: &Found, again: &Again) -> Vec<String> {
    let Again::Ruling(ruling) = again else { return Vec::new() };
    let decided = &found.call.decided;
    let mut differs = Vec::new();
    if ruling.verdict != decided.verdict {
        differs.push(format!("{} then, {} today", decided.verdict, ruling.verdict));
    }
    let now = ids(ruling);
    let only = |these: &[String], others: &[String]| these.iter().filter(|id| !others.contains(id)).cloned().collect::<Vec<_>>().join(", ");
    for (ids, when) in [(only(&decided.policies, &now), "then"), (only(&now, &decided.policies), "today")] {
        if !ids.is_empty() {
            differs.push(format!("{ids} only {when}"));
        }
    }
    differs
}

fn who(identity: &Identity) -> String {
    let groups = if identity.groups().is_empty() { "no groups".to_owned() } else { format!("groups {}", identity.groups().join(", ")) };
    let by = match identity.principal() {
        Principal::Person { issuer, .. } => format!("{identity} of {issuer}, {groups}"),
        _ => format!("{identity}, {groups}"),
    };
    shown(&format!("{by}; strength {}", identity.strength().name()), 600)
}
