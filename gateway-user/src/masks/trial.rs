//! `mask try`: a message before and after.

use std::{
    io::{self, IsTerminal, Read},
    ops::Range,
    process::ExitCode,
};

use anyhow::Context;
use gateway_mask::{Followed, Form, Keys, Masked, applied};
use gateway_user::{
    audit::tail::shown,
    config::MaskingConfig,
    identity::{How, Identity, Principal, Strength},
    mask::{About, MaskKeys, Masking, Side, mac},
    mcp::{self, Limits, Message, Payload},
};
use serde_json::json;

use super::{To, Try};
use crate::{login::table, say};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// What can be told of a message.
struct Told<'a> {
    method: Option<&'a str>,
    tool: Option<&'a str>,
    is_message: bool,
    comes_from_server: bool,
}

pub(super) fn run(options: &Try, config: &MaskingConfig) -> anyhow::Result<ExitCode> {
    let mut message = Vec::new();
    io::stdin().lock().read_to_end(&mut message).context("standard input cannot be read")?;
    let request = options.request.as_ref().map(|file| std::fs::read(file).with_context(|| format!("{} cannot be read", file.display())));
    let request = request.transpose()?;
    // Tokens are another key's than the gateway's: what is printed here is no way to look them up.
    let masking = Masking::with_key(config, MaskKeys::new(&[0; 32]))?;
    let payload = mcp::read(&message, &Limits::default()).ok();
    let asked = request.as_ref().and_then(|request| mcp::read(request, &Limits::default()).ok());
    let told = told(payload.as_ref(), asked.as_ref());
    let identity = identity(&options.groups);
    let about = About {
        identity: &identity,
        server: options.server.as_deref(),
        method: told.method.or(options.tool.as_ref().map(|_| "tools/call")),
        tool: options.tool.as_deref().or(told.tool),
    };
    let plan = masking.plan(&about);
    let down = told.comes_from_server || options.to == To::Client;
    let side = match options.to {
        To::Record if down => &plan.down.record,
        To::Record => &plan.up.record,
        To::Client => &plan.down.reader,
        To::Server => &plan.up.reader,
    };
    let followed = request.as_deref().map(|request| side.follow(request)).unwrap_or_default();
    if let Some(why) = followed.unfollowed() {
        eprintln!("what the request calls its columns cannot be told: {why}");
    }
    let masked =
        mask(&masking, side, &message, told.is_message, &followed).map_err(|why| anyhow::anyhow!("it would be withheld: {why}"))?;
    let marks: Vec<_> = masked
        .marks
        .iter()
        .map(|mark| (mark.path.as_str(), side.rule(mark.rule), mark.kind.map_or("", |kind| masking.kind(kind)), mark.commitments.len()))
        .collect();
    let after = applied(&message, &masked.edits);
    if options.json {
        let marks: Vec<_> =
            marks.iter().map(|(path, rule, kind, count)| json!({ "path": path, "rule": rule, "kind": kind, "count": count })).collect();
        say(&format!("{}\n", json!({ "after": String::from_utf8_lossy(&after), "marks": marks })))?;
        return Ok(ExitCode::SUCCESS);
    }
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (before_spans, after_spans) = spans(&masked);
    let mut out = format!("before\n{}\n", painted(&message, &before_spans, colours.then_some(RED)));
    out += &format!("after\n{}\n", painted(&after, &after_spans, colours.then_some(GREEN)));
    if marks.is_empty() {
        out += "nothing is masked\n";
    } else {
        let rows =
            marks.iter().map(|(path, rule, kind, count)| [shown(path, 120), (*rule).to_owned(), (*kind).to_owned(), count.to_string()]);
        out += &table(["PATH", "RULE", "KIND", "VALUES"], rows.collect());
    }
    say(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn mask(masking: &Masking, side: &Side, message: &[u8], is_message: bool, followed: &Followed) -> Result<Masked, String> {
    let key = masking.keys().of_tokens("");
    let form = if is_message { Form::Message(followed) } else { Form::Text { name: None } };
    side.mask(message, form, &Keys { commit: &|_| [0; 32], token: &|parts| mac(&key, parts) })
}

fn told<'a>(payload: Option<&'a Payload>, asked: Option<&'a Payload>) -> Told<'a> {
    let request = |payload: Option<&'a Payload>| {
        payload.and_then(|payload| {
            payload.messages().iter().find_map(|message| match message {
                Message::Request(request) => Some(request),
                Message::Notification(_) | Message::Response(_) => None,
            })
        })
    };
    let request = request(payload).or_else(|| request(asked));
    let is_answer = payload.is_some_and(|payload| payload.messages().iter().any(|message| matches!(message, Message::Response(_))));
    Told {
        method: request.map(|request| request.method.as_str()),
        tool: request.filter(|request| request.method == "tools/call").and_then(|request| request.name.as_deref()),
        is_message: payload.is_some(),
        comes_from_server: is_answer,
    }
}

fn identity(groups: &[String]) -> Identity {
    if groups.is_empty() {
        return Identity::nobody();
    }
    let person = Principal::Person { issuer: "try".into(), subject: "try".into(), name: None, groups: groups.to_vec() };
    Identity::new(person, How::Nothing, Strength::Token)
}

/// Where the edits are, before and after.
fn spans(masked: &Masked) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut gone, mut grown) = (0, 0);
    let after = |edit: &gateway_mask::Edit| {
        let start = edit.start - gone + grown;
        gone += edit.end - edit.start;
        grown += edit.with.len();
        start..start + edit.with.len()
    };
    (masked.edits.iter().map(|edit| edit.start..edit.end).collect(), masked.edits.iter().map(after).collect())
}

fn painted(text: &[u8], spans: &[Range<usize>], colour: Option<&str>) -> String {
    let safe = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.split('\n').map(|line| shown(line, usize::MAX)).collect::<Vec<_>>().join("\n")
    };
    let mut out = String::new();
    let mut from = 0;
    for span in spans {
        out += &safe(text.get(from..span.start).unwrap_or_default());
        let inside = safe(text.get(span.clone()).unwrap_or_default());
        out += &colour.map_or(inside.clone(), |colour| format!("{colour}{inside}{PLAIN}"));
        from = span.end;
    }
    out + safe(text.get(from..).unwrap_or_default()).trim_end_matches('\n')
}
