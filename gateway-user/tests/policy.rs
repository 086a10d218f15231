//! `mcp-gateway policy …` as a person meets it: exit codes, and what is said where.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    path::Path,
    process::{Command, Output},
};

use gateway_user::{
    audit::{Durability, Effect, Entry, Kind, Log, Options, Payload},
    policy::PolicySet,
};
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/policies");

fn policy(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-gateway")).arg("policy").args(words).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", stdout(output), stderr(output));
}

fn written(dir: &Path, file: &str, text: &str) -> String {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_examples_are_right_and_decide_as_they_say() {
    let check = policy(&["check", "--dir", EXAMPLES]);
    ends(&check, 0);
    assert_eq!(stderr(&check), "", "no warnings");
    assert!(stdout(&check).contains("ddl-waits                     hold    clinic.cedar:"), "{}", stdout(&check));
    let test = policy(&["test", &format!("{EXAMPLES}/cases.toml"), "--dir", EXAMPLES]);
    ends(&test, 0);
    assert_eq!(stdout(&test), "10 case(s), 0 otherwise than expected\n");
}

#[test]
fn check_tells_every_fault_and_where_the_policies_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let policies = dir.path().join("policies");
    written(dir.path(), "policies/a.cedar", "permit(principal, action, resource);\n\n@hold(\"x\") forbid(principal, action, resource);");
    let config = "[policy]\ndir = \"DIR\"\n[[server]]\nname = \"a\"\nurl = \"http://127.0.0.1:8000/mcp\"\n";
    let config = written(dir.path(), "g.toml", &config.replace("DIR", policies.to_str().unwrap()));
    let fine = policy(&["check", "--config", &config, "--json"]);
    ends(&fine, 0);
    let shown: Value = serde_json::from_slice(&fine.stdout).unwrap();
    assert_eq!(shown["set"], PolicySet::load(&policies).unwrap().hash());
    assert_eq!(
        (&shown["policies"][2]["id"], &shown["policies"][2]["line"], &shown["policies"][2]["effect"]),
        (&json!("a#2"), &json!(3), &json!("hold"))
    );

    written(dir.path(), "policies/b.cedar", "permit(principal, action, resource) when { context.nothing };");
    let wrong = policy(&["check", "--config", &config]);
    ends(&wrong, 1);
    assert!(stderr(&wrong).starts_with("b.cedar:1:44: for policy `b#1`, attribute `nothing` in context"), "{}", stderr(&wrong));

    ends(&policy(&["check", "--dir", "/nowhere"]), 3);
    ends(&policy(&["chek"]), 2);
}

#[test]
fn a_case_that_comes_out_otherwise_is_told_with_why() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), "policies/a.cedar", "@id(\"all\") permit(principal, action, resource);");
    let policies = dir.path().join("policies");
    let test = |text: &str| policy(&["test", &written(dir.path(), "c.toml", text), "--dir", policies.to_str().unwrap()]);
    let wrong = test(
        "[[case]]\nname = \"one\"\nserver = \"a\"\ntool = \"t\"\nexpect = \"allow\"\n\n[[case]]\nname = \"two\"\nserver = \"a\"\ntool = \"t\"\nexpect = \"deny\"\npolicies = [\"x\"]\nlabels = [\"y\"]\n",
    );
    ends(&wrong, 1);
    let told = format!(
        "{}:7: two: expected deny; expected by x; expected labels y\n    decided allow by all\n    labels  none\n2 case(s), 1 otherwise than expected\n",
        dir.path().join("c.toml").display()
    );
    assert_eq!(stdout(&wrong), told);
    for (text, told) in [
        ("[[case]]\nname = \"a\"\nserver = \"a\"\nexpect = \"allow\"\n", ":1: a: `tools/call` needs a `tool`"),
        ("[[case]]\nname = \"a\"\nserver = \"a\"\ntool = \"t\"\nexpect = \"perhaps\"\n", ":5: unknown variant `perhaps`, expected one of"),
        ("[[case]]\nname = \"a\"\nservr = \"a\"\n", ":3: unknown field `servr`"),
        ("", ": there is no [[case]] in it"),
    ] {
        let bad = test(text);
        ends(&bad, 3);
        assert!(stderr(&bad).contains(&format!("c.toml{told}")), "{}", stderr(&bad));
    }
}

/// A log of four calls, by a set that lets everything through: two queries, one of them not wholly on record, a refused one, and one from
/// before there were policies. Their records are 1 to 4.
fn log(dir: &Path, sources: &[(&str, &str)]) {
    let set = PolicySet::from_sources(sources.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect()).unwrap();
    let call = |verdict: &str, arguments: &Value, most: usize, decided: bool| {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "query", "arguments": arguments } });
        let mut payload = Vec::new();
        Payload::new(message.to_string().as_bytes(), most).write(&mut payload);
        let mut decision = json!({ "verdict": verdict, "reason": "policy" });
        if decided {
            decision["policies"] = json!(["all"]);
            decision["set"] = json!(set.hash());
            decision["facts"] = json!({ "labels": ["sql:select"], "time": 1_795_887_015, "strength": "token" });
        }
        let identity = json!({ "kind": "person", "issuer": "https://idp", "subject": "ada", "groups": ["dba"], "strength": "token", "how": { "method": "nothing" } });
        json!({
            "server": "clinic", "caller": { "identity": identity }, "call": { "kind": "request", "method": "tools/call", "name": "query", "id": 1 },
            "decision": decision, "payload": serde_json::from_slice::<Value>(&payload).unwrap(),
        })
    };
    let sources: Vec<Value> = set.sources().iter().map(|(file, text)| json!({ "file": file, "text": text })).collect();
    let bodies = [
        (Kind::Policies, json!({ "set": set.hash(), "dir": "policies", "sources": sources })),
        (Kind::Request, call("allow", &json!({ "table": "patients" }), 4096, true)),
        (Kind::Request, call("allow", &json!({ "table": "patients" }), 40, true)),
        (Kind::Refused, call("deny", &json!({ "table": "visits" }), 4096, true)),
        (Kind::Request, call("allow", &json!({ "table": "patients" }), 4096, false)),
    ];
    let (log, _) = Log::open(Options::new(dir)).unwrap();
    let appender = log.appender();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (kind, body) in bodies {
        let entry = Entry { kind, body: body.to_string().into_bytes(), effect: Effect::None };
        runtime.block_on(appender.append(entry, Durability::Sync)).unwrap();
    }
}

#[test]
fn a_recorded_call_is_explained_by_the_set_that_was_in_force_and_by_todays() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    log(&audit, &[("old.cedar", "// as it was\n@id(\"all\") permit(principal, action, resource);")]);
    let new = "@id(\"staff\") permit(principal in Group::\"dba\", action, resource);
        @id(\"no-patients\") @message(\"not these\") forbid(principal, action, resource)
        when { context.arguments.hasTag(\"table\") && context.arguments.getTag(\"table\") == \"patients\" };";
    written(dir.path(), "new/new.cedar", new);
    let today = dir.path().join("new");
    let explain = |record: &str, more: &[&str]| {
        policy(&[&["explain", record, "--log", audit.to_str().unwrap(), "--dir", today.to_str().unwrap()], more].concat())
    };
    let whole = explain("1", &[]);
    ends(&whole, 0);
    let told = stdout(&whole);
    for part in [
        "  who      ada of https://idp, groups dba; strength token\n  what     tools/call query on clinic\n  labels   sql:select\n  decided  allow by all (policy)\n",
        "  all (old.cedar:2)\n    @id(\"all\") permit(principal, action, resource);\n",
        "  decides deny by no-patients: not these\n  no-patients (new.cedar:2)\n",
        "What differs: allow then, deny today; all only then; no-patients only today.\n",
    ] {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
    let cut = stdout(&explain("2", &[]));
    assert!(cut.contains("The arguments are not all on record") && cut.contains("  unknown: its policies read arguments"), "{cut}");
    let json: Value = serde_json::from_slice(&explain("1", &["--json"]).stdout).unwrap();
    assert_eq!((&json["then"]["policies"][0]["line"], &json["now"]["ruling"]["verdict"]), (&json!(2), &json!("deny")));
    let id = json["record"].as_str().unwrap().strip_suffix("/1").unwrap().to_owned();
    ends(&explain(&format!("{id}/1"), &[]), 0);
    for (record, told) in [
        ("0", "record 0 (policies) is of nothing that policies decided"),
        ("4", "record 4 (request) is of nothing that policies decided"),
        ("99", "record 99 is not in"),
        ("00000000000000000000000000000000/1", "holds the log"),
        ("x", "x names no record"),
    ] {
        let none = explain(record, &[]);
        ends(&none, 3);
        assert!(stderr(&none).contains(told), "{record}: {}", stderr(&none));
    }
}

#[test]
fn what_another_set_would_change_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let audit = dir.path().join("audit");
    log(&audit, &[("old.cedar", "@id(\"all\") permit(principal, action, resource);")]);
    let what_if = |text: &str, more: &[&str]| {
        let file = written(dir.path(), "new/new.cedar", text);
        let new = Path::new(&file).parent().unwrap();
        policy(&[&["what-if", "--log", audit.to_str().unwrap(), "--dir", new.to_str().unwrap()], more].concat())
    };
    let patients = "permit(principal, action, resource) unless { context.arguments.hasTag(\"table\") && context.arguments.getTag(\"table\") == \"patients\" };";
    let some = what_if(patients, &["--since", "1d"]);
    ends(&some, 1);
    assert_eq!(
        stdout(&some),
        "WAS    WOULD BE  SERVER  WHAT              WHO  CALLS  FOR EXAMPLE\n\
         allow  deny      clinic  tools/call query  ada  1      1\n\
         deny   allow     clinic  tools/call query  ada  1      3\n\
         \n\
         4 call(s), 2 would come out otherwise\n\
         1 cannot be told: the new policies read arguments that are not on record\n\
         1 cannot be told: no policies decided them, or they are batches\n"
    );
    let json: Value = serde_json::from_slice(&what_if(patients, &["--json"]).stdout).unwrap();
    assert_eq!((&json["changes"][0]["calls"], &json["unknowable"]["arguments_not_on_record"]), (&json!(1), &json!(1)));

    ends(
        &what_if(
            "permit(principal, action, resource); forbid(principal, action, resource) when { !context.labels.contains(\"sql:select\") };",
            &["--since", "2999-01-01T00:00:00Z"],
        ),
        0,
    );
    ends(&what_if(patients, &["--since", "soon"]), 3);
}
