#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod against_cedar;
mod files;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{
    Facts, Question, Ruling, Verdict,
    arguments::Arguments,
    files::Effect,
    recorded::{self, Again, Recorded},
    schema::{ACTIONS, SCHEMA, Target, action_of, joined},
    set::PolicySet,
};
use crate::{
    audit::Payload,
    identity::{How, Identity, Principal, Strength},
};

fn set(text: &str) -> PolicySet {
    PolicySet::from_sources(vec![("p.cedar".into(), text.into())]).unwrap()
}

fn person(subject: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|&group| group.into()).collect();
    let person = Principal::Person { issuer: "https://idp".into(), subject: subject.into(), name: None, groups };
    Identity::new(person, How::Nothing, Strength::Token)
}

/// A call of the tool `query` of the server `clinic`.
fn call(text: &str, arguments: &serde_json::Value, facts: &Facts) -> Ruling {
    let arguments = Arguments::read(arguments.to_string().as_bytes());
    let identity = person("ada", &["dba"]);
    let question =
        Question { identity: &identity, server: "clinic", method: "tools/call", name: Some("query"), arguments: &arguments, facts };
    set(text).decide(&question)
}

fn ids(ruling: &Ruling) -> Vec<&str> {
    ruling.policies.iter().map(AsRef::as_ref).collect()
}

#[test]
fn the_verdict_follows_from_what_applies() {
    const PERMIT: &str = "@id(\"permit\") @message(\"unheard\") permit(principal, action, resource);";
    const FORBID: &str = "@id(\"forbid\") @message(\"not today\") forbid(principal, action, resource);";
    const HOLD: &str = "@id(\"hold\") @hold(\"a DBA looks at it\") @message(\"it waits\") forbid(principal, action, resource);";
    let table = [
        ("", Verdict::Deny, vec![], Some("no policy permits this"), None),
        (PERMIT, Verdict::Allow, vec!["permit"], None, None),
        (FORBID, Verdict::Deny, vec!["forbid"], Some("not today"), None),
        (HOLD, Verdict::Deny, vec![], Some("no policy permits this"), None),
        ("PF", Verdict::Deny, vec!["forbid"], Some("not today"), None),
        ("PH", Verdict::Hold, vec!["hold"], Some("it waits"), Some("a DBA looks at it")),
        ("PHF", Verdict::Deny, vec!["forbid"], Some("not today"), None),
    ];
    for (text, verdict, policies, message, hold) in table {
        let text = match text {
            "PF" => [PERMIT, FORBID].concat(),
            "PH" => [PERMIT, HOLD].concat(),
            "PHF" => [PERMIT, HOLD, FORBID].concat(),
            one => one.to_owned(),
        };
        let ruling = call(&text, &json!({}), &Facts::default());
        assert_eq!((ruling.verdict, ids(&ruling)), (verdict, policies), "{text}");
        assert_eq!((ruling.message.as_deref(), ruling.hold.as_deref(), ruling.errors.len()), (message, hold, 0), "{text}");
    }
}

#[test]
fn all_that_determine_are_named_and_the_first_in_the_files_speaks() {
    let text = "@id(\"z\") @message(\"first\") forbid(principal, action, resource);
        @id(\"a\") @message(\"second\") forbid(principal, action, resource) when { resource.name == \"query\" };
        @id(\"m\") @message(\"never\") forbid(principal, action, resource) when { resource.name == \"other\" };";
    let ruling = call(text, &json!({}), &Facts::default());
    assert_eq!(ids(&ruling), ["a", "z"]);
    assert_eq!(ruling.message.as_deref(), Some("first"));
}

/// Cedar itself would skip the forbid and allow.
#[test]
fn a_forbid_that_cannot_be_evaluated_denies() {
    let over = "when { context.numbers.hasTag(\"limit\") && context.numbers.getTag(\"limit\") * 2 > 10 }";
    let most = json!({ "limit": i64::MAX });
    for forbid in ["@id(\"over\") forbid", "@id(\"over\") @hold(\"?\") forbid"] {
        let text = format!("permit(principal, action, resource); {forbid}(principal, action, resource) {over};");
        let ruling = call(&text, &most, &Facts::default());
        assert_eq!((ruling.verdict, ids(&ruling)), (Verdict::Deny, vec!["over"]));
        assert!(ruling.errors[0].contains("`over`") && ruling.errors[0].contains("overflow"), "{:?}", ruling.errors);
        assert_eq!(call(&text, &json!({ "limit": 3 }), &Facts::default()).verdict, Verdict::Allow);
    }
    let text = format!("@id(\"over\") permit(principal, action, resource) {over};");
    let ruling = call(&text, &most, &Facts::default());
    assert_eq!((ruling.verdict, ids(&ruling), ruling.errors.len()), (Verdict::Deny, vec![], 1));
    assert_eq!(call(&text, &json!({ "limit": 6 }), &Facts::default()).verdict, Verdict::Allow);
}

#[test]
fn two_arguments_of_one_path_fail_what_reads_them() {
    let text = "permit(principal, action, resource);
        @id(\"patients\") forbid(principal, action, resource) when { context.arguments.hasTag(\"a.b\") && context.arguments.getTag(\"a.b\") == \"x\" };";
    let twice = [json!({ "a.b": "y", "a": { "b": "x" } }), json!({ "a": { "b": "x" }, "a.b": "y" }), json!({ "a": { "b": "x" } })];
    for arguments in twice {
        assert_eq!(call(text, &arguments, &Facts::default()).verdict, Verdict::Deny, "{arguments}");
    }
    assert_eq!(call(text, &json!({ "a": { "b": "y" } }), &Facts::default()).verdict, Verdict::Allow);
}

#[test]
fn each_part_of_the_context_is_told_as_it_is() {
    let facts: Facts = serde_json::from_value(json!({
        // Saturday, 2026-11-28 17:30:15 UTC
        "labels": ["a", "b"], "time": 1_795_887_015, "strength": "session-login", "revision": "2025-11-25", "definition": "ab",
        "process": { "exe": "/usr/bin/python3", "unit": "agent.service", "uid": 1000, "cgroup": "/system.slice" },
        "session": { "calls": 1, "bytes_out": 2, "tools": 3 }, "person": { "calls": 4, "bytes_out": 5, "tools": 6 },
        "annotations": { "readOnlyHint": true, "destructiveHint": false }, "definition_changed": true,
    }))
    .unwrap();
    let arguments = json!({ "table": "patients", "limit": 7, "options": { "dry": true }, "columns": ["a", "b"] });
    let told = [
        "context.method == \"tools/call\"",
        "context.labels == [\"b\", \"a\"]",
        "context.time == datetime(\"2026-11-28T17:30:15Z\") && context.time.toTime() == duration(\"17h30m15s\")",
        "context.weekday == 6",
        "context.strength.name == \"session-login\" && context.strength.session_login && context.strength.host_login && \
         context.strength.declared_on_instance && context.strength.declared && !context.strength.token",
        "context has revision && context.revision == \"2025-11-25\"",
        "context has definition && context.definition == \"ab\" && context.definition_changed",
        "context.process has exe && context.process.exe == \"/usr/bin/python3\" && context.process has uid && context.process.uid == 1000",
        "context.process has unit && context.process.unit == \"agent.service\" && context.process has cgroup && \
         context.process.cgroup == \"/system.slice\"",
        "context.session == {calls: 1, bytes_out: 2, tools: 3}",
        "context.person == {calls: 4, bytes_out: 5, tools: 6}",
        "context.annotations has readOnly && context.annotations.readOnly",
        "context.annotations has destructive && !context.annotations.destructive && !(context.annotations has openWorld)",
        "context.arguments.hasTag(\"table\") && context.arguments.getTag(\"table\") == \"patients\"",
        "context.arguments.hasTag(\"limit\") && context.arguments.getTag(\"limit\") == \"7\"",
        "context.arguments.hasTag(\"options.dry\") && context.arguments.getTag(\"options.dry\") == \"true\"",
        "context.numbers.hasTag(\"limit\") && context.numbers.getTag(\"limit\") == 7 && !context.numbers.hasTag(\"table\")",
        "context.lists.hasTag(\"columns\") && context.lists.getTag(\"columns\").containsAll([\"b\", \"a\"])",
        "principal is Person && principal.issuer == \"https://idp\" && principal.subject == \"ada\" && !(principal has name)",
        "principal in Group::\"dba\" && principal == Person::\"https://idp|ada\"",
        "resource.name == \"query\" && resource in Server::\"clinic\" && resource == Tool::\"clinic/query\"",
        "action in Action::\"call\" && action == Action::\"tools/call\"",
    ];
    for told in told {
        let ruling = call(&format!("permit(principal, action, resource) when {{ {told} }};"), &arguments, &facts);
        assert_eq!((ruling.verdict, &ruling.errors), (Verdict::Allow, &vec![]), "{told}");
    }
}

#[test]
fn whoever_may_do_nothing_may_still_open_a_session() {
    let (identity, facts, arguments) = (Identity::nobody(), Facts::default(), Arguments::empty());
    let ask = |set: &PolicySet, method| {
        set.decide(&Question { identity: &identity, server: "clinic", method, name: None, arguments: &arguments, facts: &facts })
    };
    for (text, opened) in [("", Verdict::Allow), ("forbid(principal is Nobody, action, resource);", Verdict::Deny)] {
        let set = set(text);
        for method in ["initialize", "notifications/initialized", "tools/list", "ping", "response"] {
            assert_eq!(ask(&set, method).verdict, opened, "{method}");
        }
        for method in ["tools/call", "completion/complete", "tasks/list", "something/new", "read", "other"] {
            assert_eq!(ask(&set, method).verdict, Verdict::Deny, "{method}");
        }
    }
    assert_eq!(ids(&ask(&set(""), "ping")), ["mcp-gateway:session"]);
}

#[test]
fn a_list_shows_what_some_call_could_do() {
    let facts = Facts { time: 1_795_887_015, ..Facts::default() };
    let shown = |text: &str| {
        let identity = person("ada", &["dba"]);
        let arguments = Arguments::empty();
        let question = Question {
            identity: &identity,
            server: "clinic",
            method: "tools/call",
            name: Some("query"),
            arguments: &arguments,
            facts: &facts,
        };
        set(text).may_use(&question)
    };
    const PERMIT: &str = "permit(principal, action, resource);";
    assert!(!shown(""));
    assert!(shown(PERMIT));
    assert!(shown("permit(principal in Group::\"dba\", action, resource) when { context.labels.contains(\"sql:select\") };"));
    assert!(!shown("permit(principal, action, resource) when { context.labels.contains(\"a\") && principal in Group::\"other\" };"));
    assert!(!shown("permit(principal, action, resource) when { context.weekday == 1 };"));
    for (forbid, shows) in [
        ("forbid(principal, action, resource);", false),
        ("@hold(\"?\") forbid(principal, action, resource);", true),
        ("forbid(principal, action, resource) when { resource.name == \"query\" };", false),
        ("forbid(principal, action, resource) when { resource.name == \"query\" && context.session.calls > 0 };", true),
        ("forbid(principal, action, resource) unless { context.labels.contains(\"sql:select\") };", true),
        ("forbid(principal, action, resource) when { context.time > datetime(\"2026-01-01\") };", false),
    ] {
        assert_eq!(shown(&format!("{PERMIT} {forbid}")), shows, "{forbid}");
    }
}

#[test]
fn names_that_hold_separators_are_nobody_elses() {
    assert_eq!(joined("https://idp", '|', "a|b"), "https://idp|a|b");
    assert_ne!(joined("https://idp|a", '|', "b"), joined("https://idp", '|', "a|b"));
    assert_ne!(joined("a\\", '/', "b"), joined("a\\/b", '/', ""));
    assert_eq!(joined("a\\b/c", '/', "d"), "a\\\\b\\/c/d");
}

#[test]
fn the_actions_are_those_of_the_schema() {
    let ours: BTreeMap<&str, (&str, Target)> = ACTIONS.iter().map(|action| (action.name, (action.group, action.target))).collect();
    let mut theirs = BTreeMap::new();
    let entities = SCHEMA.action_entities().unwrap();
    for action in SCHEMA.actions() {
        let target = match SCHEMA.resources_for_action(action).unwrap().map(ToString::to_string).collect::<Vec<_>>().as_slice() {
            [] => continue,
            [one] if one == "Server" => Target::Server,
            [one] if one == "Tool" => Target::Tool,
            [one] if one == "Prompt" => Target::Prompt,
            [one] if one == "Resource" => Target::Resource,
            more => unreachable!("{more:?}"),
        };
        let groups: Vec<&str> = entities.ancestors(action).unwrap().map(|group| group.id().unescaped()).collect();
        theirs.insert(action.id().unescaped(), (groups[0], target));
        assert_eq!(groups.len(), 1, "{action}");
    }
    assert_eq!(ours, theirs);
    assert!(ACTIONS.is_sorted_by_key(|action| action.name));
    for (method, action) in [
        ("tools/call", "tools/call"),
        ("Tools/Call", "other"),
        ("notifications/x", "notifications"),
        ("notifications", "notifications"),
        ("", "other"),
        ("zzz", "other"),
    ] {
        assert_eq!(ACTIONS[action_of(method)].name, action);
    }
}

#[test]
fn identities_come_back_from_a_record_as_they_were() {
    let person =
        Principal::Person { issuer: "https://idp".into(), subject: "ada".into(), name: Some("Ada".into()), groups: vec!["dba".into()] };
    let how = How::Token { idp: "corp".into(), jti: None, client: None, kid: None, expires: 9 };
    let workload = Principal::Workload { name: "nightly".into(), groups: vec!["batch".into()] };
    for identity in [
        Identity::new(person, how, Strength::Token),
        Identity::new(workload, How::Workload { by: vec!["unit"] }, Strength::DeclaredOnInstance),
        Identity::nobody(),
    ] {
        let read = recorded::identity(&serde_json::to_value(&identity).unwrap()).unwrap();
        assert_eq!((read.principal(), read.strength(), read.key()), (identity.principal(), identity.strength(), identity.key()));
    }
    let wrong = recorded::identity(&json!({ "kind": "person", "strength": "token" })).err().unwrap();
    assert!(wrong.to_string().starts_with("the record's `body.caller.identity` cannot be read (missing field `issuer`)"), "{wrong}");
}

#[test]
fn a_recorded_call_is_decided_again_as_far_as_it_is_on_record() {
    let facts: Facts = serde_json::from_value(json!({ "labels": ["x"], "time": 3, "strength": "token", "process": { "uid": 0 } })).unwrap();
    let decision = json!({ "verdict": "hold", "reason": "policy", "policies": ["a"], "set": "ab", "facts": facts });
    let message = r#"{"method":"tools/call","params":{"name":"query","arguments":{"limit":1.10,"table":"x"}}}"#;
    let record = |payload: &[u8], most: usize| {
        let mut spelled = Vec::new();
        Payload::new(payload, most).write(&mut spelled);
        let body = json!({
            "server": "clinic", "caller": { "identity": person("ada", &["dba"]), "origin": {} },
            "call": { "kind": "request", "method": "tools/call", "name": "query", "id": 1 }, "decision": decision,
            "payload": serde_json::from_slice::<serde_json::Value>(&spelled).unwrap(),
        });
        // As the gateway writes it: the payload's own bytes, last.
        let text = body.to_string().replace(&body["payload"].to_string(), std::str::from_utf8(&spelled).unwrap());
        Recorded::read(text.as_bytes()).unwrap().unwrap()
    };
    let whole = record(message.as_bytes(), 1000);
    assert_eq!((whole.server.as_str(), whole.method.as_str(), whole.name.as_deref()), ("clinic", "tools/call", Some("query")));
    assert_eq!((whole.decided.verdict, &whole.decided.facts, whole.decided.set.as_str()), (Verdict::Hold, &facts, "ab"));
    let texts: Vec<_> = whole.arguments.as_ref().unwrap().texts().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    assert!(texts.contains(&("limit".into(), "1.10".into())), "as it was spelled: {texts:?}");

    let reading = set("permit(principal, action, resource) when { context.arguments.hasTag(\"table\") };");
    let labels = set("permit(principal, action, resource) when { context.labels.contains(\"x\") };
        forbid(principal, action, resource in Server::\"lab\") when { context.numbers.hasTag(\"limit\") };");
    let verdict = |recorded: &Recorded, set: &PolicySet| match recorded.again(set) {
        Again::Ruling(ruling) => Some(ruling.verdict),
        Again::Unknown => None,
    };
    let cut = record(message.as_bytes(), 40);
    assert_eq!((verdict(&whole, &reading), verdict(&whole, &labels)), (Some(Verdict::Allow), Some(Verdict::Allow)));
    assert_eq!((verdict(&cut, &reading), verdict(&cut, &labels)), (None, Some(Verdict::Allow)));
    assert_eq!(verdict(&record(b"", 40), &reading), Some(Verdict::Deny));

    let undecided = json!({ "server": "clinic", "call": { "kind": "request" }, "decision": { "verdict": "allow", "reason": "no-policy" } });
    assert!(Recorded::read(undecided.to_string().as_bytes()).unwrap().is_none());
}

#[test]
fn a_ruling_is_spelled_with_what_there_is() {
    let ruling = Ruling { verdict: Verdict::Deny, policies: vec![Arc::from("a")], message: None, hold: None, errors: Vec::new() };
    assert_eq!(serde_json::to_value(&ruling).unwrap(), json!({ "verdict": "deny", "policies": ["a"] }));
    assert_eq!(format!("{:6}|{:6}|", Verdict::Hold, Effect::Permit), "hold  |permit|");
}
