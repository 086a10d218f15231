//! Masks: what never comes to rest, and who sees what.

use std::{fs, io::Write};

use gateway_tests::{Finished, Record, http::answer, refusal::Refusal};
use serde_json::{Value, json};

use crate::{Caller, LIMIT, Result, Scene};

pub(super) const SSN: &str = "512-84-3921";
const OTHER_SSN: &str = "457-55-5462";
const EVERYBODY: &str = "permit(principal, action, resource);";
pub(super) const COLUMNS: &str = r#"
[[mask]]
name = "ssn"
server = "va*"
tool = "query"
on = "response"
columns = ["ssn"]
how = "partial"
unless = ['principal in Group::"dba"']
"#;

/// Spelt in pieces, so that nobody takes it for a real one.
pub(super) fn github_token() -> String {
    format!("ghp{}", "_16C7e42F292c6912E7710c838347Ae178B4a")
}

fn aws_key() -> String {
    format!("AKIA{}", "IOSFODNN7EXAMPLE")
}

fn patients() -> Value {
    json!([{ "id": 1, "name": "Ada", "ssn": SSN }, { "id": 2, "name": "Bela", "ssn": OTHER_SSN }])
}

pub(super) fn result(call: &Value, result: &Value) -> Vec<u8> {
    answer(&json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }))
}

pub(super) fn event(message: &Value) -> Vec<u8> {
    let body = format!("event: message\ndata: {message}\n\n");
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Scene {
    pub(super) fn masking(sections: &str) -> anyhow::Result<Self> {
        Self::new(Some(EVERYBODY), sections, |server| server)
    }

    /// The values that are on disk, or in what the gateway said of itself.
    pub(super) fn at_rest(&self, values: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut all = self.gateway.said();
        for file in fs::read_dir(self.gateway.audit_dir())? {
            all.push_str(&String::from_utf8_lossy(&fs::read(file?.path())?));
        }
        Ok(values.iter().filter(|value| all.contains(**value)).map(|value| (*value).to_owned()).collect())
    }

    pub(super) fn latest_answer(&self) -> anyhow::Result<Record> {
        self.gateway.records()?.into_iter().rev().find(|record| record.kind() == "answer").ok_or(anyhow::anyhow!("no answer is on record"))
    }
}

pub(super) fn text_of(caller: &mut Caller, tool: &str, arguments: &Value) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&caller.call(tool, arguments)?.body).into_owned())
}

#[test]
fn secrets_do_not_come_to_rest_and_pass_as_they_are() -> Result {
    let scene = Scene::masking("")?;
    let (token, key) = (github_token(), aws_key());
    let given = token.clone();
    scene.answers(move |call| result(call, &json!({ "content": [{ "type": "text", "text": format!("it is {given}") }] })));
    let mut ada = scene.caller("ada")?;
    let answered = text_of(&mut ada, "query", &json!({ "note": format!("with {key}"), "deep": [{ "k": key }] }))?;
    assert!(answered.contains(&token), "the client's own: {answered}");
    let seen = scene.server.seen();
    assert!(String::from_utf8_lossy(&seen.last().ok_or(anyhow::anyhow!("nothing came"))?.body).contains(&key), "the server's own");
    assert_eq!(scene.at_rest(&[&token, &key])?, [""; 0]);
    let record = scene.latest()?;
    let (payload, masked) = (&record.body()["payload"], &record.body()["masked"]);
    assert_eq!(payload["json"]["params"]["arguments"]["note"], "with [masked: aws-key]", "{payload}");
    assert!(payload.get("sha256").is_none() && payload["hmac_sha256"].is_string(), "{payload}");
    let marks = masked["marks"].as_array().cloned().unwrap_or_default();
    let note = marks.iter().find(|mark| mark["path"] == "$.params.arguments.note").cloned().unwrap_or_default();
    assert_eq!(
        (&note["rule"], &note["kind"], &note["count"], &note["to"]),
        (&json!("secrets"), &json!("aws-key"), &json!(1), &json!("record"))
    );
    assert_eq!(note["commitments"].as_array().map(Vec::len), Some(1), "{masked}");
    assert!(masked["salt"].is_string());
    Ok(())
}

#[test]
fn secrets_do_not_come_to_rest_wherever_they_stand() -> Result {
    let scene = Scene::masking("")?;
    let token = github_token();
    let mut ada = scene.caller("ada")?;
    // In an error's message and data, a key, a text that is JSON, a notification, an event of the server's own, a page, a URI, a header, and
    // in what is refused because it cannot be read.
    let given = token.clone();
    scene.answers(move |call| {
        let error = json!({ "code": -32000, "message": format!("no {given}"), "data": { "at": given, given.as_str(): 1 } });
        answer(&json!({ "jsonrpc": "2.0", "id": call["id"], "error": error }))
    });
    assert!(text_of(&mut ada, "query", &json!({}))?.contains(&token));
    let given = token.clone();
    scene.answers(move |call| {
        let inner = json!({ "a": [json!({ "token": given }).to_string()] }).to_string();
        event(&json!({ "jsonrpc": "2.0", "id": call["id"], "result": { "content": [{ "type": "text", "text": inner }] } }))
    });
    assert!(text_of(&mut ada, "query", &json!({}))?.contains(&token));
    let given = token.clone();
    scene.answers(move |call| {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": given } });
        let done = json!({ "jsonrpc": "2.0", "id": call["id"], "result": {} });
        let body = format!("event: own\ndata: {given}\n\ndata: {note}\n\ndata: {done}\n\n");
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    assert!(text_of(&mut ada, "query", &json!({}))?.contains(&token));
    let given = token.clone();
    scene.answers(move |_| {
        let page = format!("<html>no {given}</html>");
        format!("HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len()).into_bytes()
    });
    text_of(&mut ada, "query", &json!({}))?;
    scene.answers(|call| result(call, &json!({ "contents": [] })));
    ada.request("resources/read", &json!({ "uri": format!("https://ada:{token}@files.example/x") }))?;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
    let fields = format!(
        "Authorization: Bearer {}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nX-Note: {token}\r\n\
         Content-Length: {}\r\n",
        ada.token,
        body.len()
    );
    let host = ada.host.clone();
    ada.wire.send(gateway_tests::http::request_to(&host, "POST", &format!("/vault?note={token}"), &fields, body.as_bytes()))?;
    ada.wire.message()?;
    let twice = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"{token}":1,"{token}":2}}}}"#);
    let fields = fields.replace(&format!("Content-Length: {}", body.len()), &format!("Content-Length: {}", twice.len()));
    ada.wire.send(gateway_tests::http::request_to(&host, "POST", "/vault", &fields, twice.as_bytes()))?;
    assert_eq!(ada.wire.message()?.status(), 400);
    assert_eq!(scene.at_rest(&[&token])?, [""; 0]);
    Ok(())
}

#[test]
fn a_column_is_hidden_from_some_and_from_the_record() -> Result {
    let scene = Scene::masking(COLUMNS)?;
    scene.answers(|call| {
        let rows = patients();
        let text = json!({ "rows": rows }).to_string();
        result(call, &json!({ "content": [{ "type": "text", "text": text }], "structuredContent": { "rows": rows } }))
    });
    let (mut ada, mut bob) = (scene.caller("ada")?, scene.caller("bob")?);
    let raw = text_of(&mut ada, "query", &json!({ "sql": "select * from patients" }))?;
    assert_eq!(raw.matches(SSN).count(), 2, "dba: {raw}");
    let masked = text_of(&mut bob, "query", &json!({ "sql": "select * from patients" }))?;
    assert!(!masked.contains(SSN) && !masked.contains(OTHER_SSN), "{masked}");
    let read: Value = serde_json::from_str(&masked)?;
    let row = &read["result"]["structuredContent"]["rows"][0];
    assert_eq!((&row["id"], &row["name"]), (&json!(1), &json!("Ada")), "{read}");
    assert!(row["ssn"].as_str().is_some_and(|ssn| ssn.ends_with("3921") && ssn.contains('*')), "{row}");
    let copy: Value = serde_json::from_str(read["result"]["content"][0]["text"].as_str().unwrap_or_default())?;
    assert_eq!(copy["rows"], read["result"]["structuredContent"]["rows"], "the text says the same");
    assert_eq!(scene.at_rest(&[SSN, OTHER_SSN])?, [""; 0], "for nobody");
    let marks = scene.latest_answer()?.body()["masked"]["marks"].clone();
    let to_client: Vec<&Value> = marks.as_array().into_iter().flatten().filter(|mark| mark["to"] == "client").collect();
    assert!(to_client.iter().any(|mark| mark["path"] == "$.result.structuredContent.rows[*].ssn" && mark["count"] == 2), "{marks}");
    // Another tool is not the rule's.
    assert!(text_of(&mut bob, "report", &json!({}))?.contains(SSN));
    Ok(())
}

#[test]
fn a_column_is_followed_through_the_query() -> Result {
    let scene = Scene::masking(COLUMNS)?;
    scene.answers(|call| {
        result(call, &json!({ "content": [{ "type": "text", "text": format!("name,x\nAda,{SSN}\nBela,{OTHER_SSN}\n") }] }))
    });
    let mut bob = scene.caller("bob")?;
    let answered = text_of(&mut bob, "query", &json!({ "sql": "select name, ssn as x from patients" }))?;
    assert!(!answered.contains(SSN) && answered.contains("Ada,"), "{answered}");
    assert_eq!(scene.at_rest(&[SSN, OTHER_SSN])?, [""; 0], "nor is it on record");
    assert!(text_of(&mut bob, "query", &json!({ "sql": "select name, phone as x from patients" }))?.contains(SSN), "it is another column");
    Ok(())
}

#[test]
fn an_answer_that_does_not_name_the_column_is_masked_by_where_it_stands_or_what_it_is() -> Result {
    let scene = Scene::masking(COLUMNS)?;
    scene.answers(|call| result(call, &json!({ "content": [{ "type": "text", "text": format!("Ada has {SSN}") }] })));
    let told = text_of(&mut scene.caller("bob")?, "query", &json!({ "sql": "select name, ssn from patients" }))?;
    assert!(!told.contains(SSN) && told.contains("Ada has"), "{told}");
    scene.answers(|call| result(call, &json!({ "structuredContent": { "rows": [["Ada", SSN], ["Bela", OTHER_SSN]] } })));
    let mut bob = scene.caller("bob")?;
    let answered = text_of(&mut bob, "query", &json!({ "sql": "select name, ssn from patients" }))?;
    assert!(!answered.contains(SSN) && !answered.contains(OTHER_SSN) && answered.contains("Ada"), "{answered}");
    assert_eq!(scene.at_rest(&[SSN, OTHER_SSN])?, [""; 0]);
    assert!(
        text_of(&mut bob, "query", &json!({ "sql": "select name, phone from patients" }))?.contains(SSN),
        "the query gives no such column"
    );
    Ok(())
}

#[test]
fn rules_of_columns_hide_no_more_than_columns_of_what_is_asked() -> Result {
    let scene = Scene::masking(&COLUMNS.replace("on = \"response\"", "on = \"both\""))?;
    let mut bob = scene.caller("bob")?;
    bob.call("query", &json!({ "sql": "EXECUTE prepared('ssn')", "note": "to ada@example.com" }))?;
    let record = scene.latest()?;
    let host = bob.host.clone();
    let headers = record.body()["http"]["headers"].to_string();
    assert!(headers.contains(&host), "an address is no column: {headers}");
    assert_eq!(record.body()["payload"]["json"]["params"]["arguments"]["note"], "to ada@example.com");
    bob.wire.send(gateway_tests::http::request_to(&host, "PUT", "/vault", "", b""))?;
    bob.wire.message()?;
    let refused = scene.gateway.record("the refusal", |record| record.kind() == "refused")?;
    assert!(refused.body()["http"]["headers"].to_string().contains(&host), "{}", refused.body());
    Ok(())
}

#[test]
fn a_query_that_cannot_be_followed_is_refused_where_a_rule_says_so() -> Result {
    let scene = Scene::masking(&COLUMNS.replace("[[mask]]", "[[mask]]\nunfollowed = \"refuse\""))?;
    let mut bob = scene.caller("bob")?;
    let answered = bob.call("query", &json!({ "sql": "EXECUTE prepared('ssn')" }))?;
    let refusal = Refusal::read(&scene.gateway, &answered.body)?;
    assert_eq!(refusal.reason, "masking", "{}", refusal.message);
    assert!(refusal.message.contains("`ssn`"), "{}", refusal.message);
    assert!(scene.server.seen().iter().all(|message| !String::from_utf8_lossy(&message.body).contains("prepared")), "it was not made");
    assert!(bob.may("query", &json!({ "sql": "select ssn from patients" }))?);
    Ok(())
}

#[test]
fn what_the_server_may_not_have_it_does_not_get() -> Result {
    let rule = "[[mask]]\nname = \"person\"\non = \"request\"\nfields = [\"patient\"]\nkinds = [\"us-ssn\"]\nhow = \"token\"\nto = [\"server\", \"record\"]\n";
    let scene = Scene::masking(rule)?;
    let mut bob = scene.caller("bob")?;
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "query", "arguments": { "patient": "Jürgen", "note": format!("has {SSN}"), "limit": 1e2 } } });
    let body = message.to_string();
    let fields = format!(
        "Authorization: Bearer {}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: 2025-11-25\r\nMcp-Param-Patient: =?base64?SsO8cmdlbg==?=\r\nMcp-Param-Note: has {SSN}\r\nContent-Length: {}\r\n",
        bob.token,
        body.len()
    );
    let host = bob.host.clone();
    bob.wire.send(gateway_tests::http::request_to(&host, "POST", "/vault", &fields, body.as_bytes()))?;
    assert!(bob.wire.message()?.json()?.get("result").is_some());
    let seen = scene.server.seen();
    let seen = seen
        .iter()
        .rev()
        .find(|message| message.json().is_ok_and(|json| json["method"] == "tools/call"))
        .ok_or(anyhow::anyhow!("no call came"))?;
    let arguments = seen.json()?["params"]["arguments"].clone();
    let token = arguments["patient"].as_str().unwrap_or_default().to_owned();
    assert!(token.starts_with("tok_"), "{arguments}");
    assert_eq!(seen.field("mcp-param-patient"), Some(token.as_str()), "the field repeats the argument");
    assert_eq!(seen.field("mcp-param-note"), arguments["note"].as_str());
    assert_eq!(seen.json()?["params"]["name"], "query");
    assert!(String::from_utf8_lossy(&seen.body).contains("100.0"), "as it was spelt: {}", String::from_utf8_lossy(&seen.body));
    assert_eq!(scene.at_rest(&["Jürgen", "SsO8cmdlbg", SSN])?, [""; 0]);
    // The same value has the same token in a session.
    bob.send(&message)?;
    let again = scene.server.seen().last().map(|message| message.json()).transpose()?.unwrap_or_default();
    assert_eq!(again["params"]["arguments"]["patient"], token.as_str());
    Ok(())
}

#[test]
fn what_cannot_be_masked_is_kept_back_from_the_record_and_from_whoever_a_rule_is_for() -> Result {
    let nested = |call: &Value| {
        let mut text = json!({ "ssn": SSN }).to_string();
        (0..12).for_each(|_| text = json!({ "t": text }).to_string());
        result(call, &json!({ "content": [{ "type": "text", "text": text }] }))
    };
    let mut answers = Vec::new();
    for to in ["[\"record\"]", "[\"record\", \"client\"]"] {
        let scene = Scene::masking(&format!("[[mask]]\nfields = [\"ssn\"]\nto = {to}\n"))?;
        scene.answers(nested);
        let answered = scene.caller("bob")?.call("query", &json!({}))?;
        assert_eq!(scene.at_rest(&[SSN])?, [""; 0]);
        let record = scene.latest_answer()?;
        if to.contains("client") {
            let refusal = Refusal::read(&scene.gateway, &answered.body)?;
            assert_eq!(refusal.reason, "masking", "{}", refusal.message);
            assert!(record.body().get("payload").is_none(), "{}", record.body());
        } else {
            let payload = &record.body()["payload"];
            assert!(payload["withheld"].is_string() && payload["size"].is_u64() && payload["hmac_sha256"].is_string(), "{payload}");
            assert!(payload.get("sha256").is_none() && payload.get("json").is_none(), "{payload}");
        }
        answers.push(String::from_utf8_lossy(&answered.body).contains(SSN));
    }
    assert_eq!(answers, [true, false], "the client gets it where no rule is for it");
    Ok(())
}

impl Scene {
    /// A `mask` command of the gateway's user, with something on standard input.
    fn mask(&self, words: &[&str], input: &str) -> anyhow::Result<Finished> {
        let mut command = self.gateway.cli(&[&["mask"], words].concat()).start_piped()?;
        if let Some(mut stdin) = command.stdin() {
            stdin.write_all(input.as_bytes())?;
        }
        command.finish(LIMIT)
    }
}

#[test]
fn what_a_masked_value_was_can_be_proved_by_who_has_the_key() -> Result {
    let scene = Scene::masking("[[mask]]\nname = \"numbers\"\nfields = [\"ssn\"]\n")?;
    let key = aws_key();
    let mut bob = scene.caller("bob")?;
    bob.call("query", &json!({ "ssn": SSN, "list": [{ "ssn": 5 }, { "ssn": 7 }], "note": format!("k {key}") }))?;
    let seq = scene.latest()?.seq().to_string();
    for (path, value, is_it) in [
        ("$.params.arguments.ssn", SSN, true),
        ("$.params.arguments.ssn", OTHER_SSN, false),
        ("$.params.arguments.list[*].ssn", "7", true),
        ("$.params.arguments.list[*].ssn", "6", false),
        ("$.params.arguments.note", key.as_str(), true),
    ] {
        let proved = scene.mask(&["prove", &seq, "--path", path], value)?;
        assert_eq!(proved.code(), Some(i32::from(!is_it)), "{path} {value}: {}{}", proved.stdout, proved.stderr);
        assert!(proved.stdout.starts_with(if is_it { "yes" } else { "no" }), "{}", proved.stdout);
    }
    let nowhere = scene.mask(&["prove", &seq, "--path", "$.x"], "1")?;
    assert!(nowhere.code() == Some(3) && nowhere.stderr.contains("$.params.arguments.ssn"), "{}", nowhere.stderr);
    Ok(())
}

#[test]
fn coverage_tells_what_rules_did_and_what_none_did() -> Result {
    let rules = "[[mask]]\nname = \"numbers\"\nfields = [\"ssn\"]\n\n[[mask]]\nname = \"never\"\nfields = [\"nothing\"]\n";
    let scene = Scene::masking(rules)?;
    scene.answers(|call| result(call, &json!({ "structuredContent": { "rows": [{ "ssn": SSN, "card": "4111 1111 1111 1111" }] } })));
    let mut bob = scene.caller("bob")?;
    bob.call("query", &json!({}))?;
    bob.call("query", &json!({}))?;
    let told = scene.mask(&["coverage", "--since", "1d"], "")?;
    assert_eq!(told.code(), Some(1), "{}{}", told.stdout, told.stderr);
    let line = |begin: &str| {
        told.stdout.lines().find(|line| line.starts_with(begin)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("numbers"), "numbers 2 2 0", "{}", told.stdout);
    assert!(line("never matched: ").contains("never") && line("never matched: ").contains("secrets"), "{}", told.stdout);
    assert!(line("vault").starts_with("vault $.result.structuredContent.rows[*].card card 2 "), "{}", told.stdout);
    let json = scene.mask(&["coverage", "--json"], "")?;
    let told: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!(told["uncovered"][0]["kind"], "card");
    Ok(())
}

#[test]
fn a_text_over_several_events_is_masked_as_one_wherever_it_is_cut() -> Result {
    let rules = "[masking]\npieces = \"joined\"\n\n[[mask]]\nkinds = [\"card\"]\nhow = \"partial\"\nto = [\"client\"]\n";
    let scene = Scene::masking(rules)?;
    let text = "Ada pays with 4111 1111 1111 1111 as ever";
    let mut bob = scene.caller("bob")?;
    for cut in 0..=text.len() {
        scene.answers(move |call| {
            let note =
                |data: &str| json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": data } });
            let done = json!({ "jsonrpc": "2.0", "id": call["id"], "result": {} });
            let body = format!("data: {}\n\ndata: {}\n\ndata: {done}\n\n", note(&text[..cut]), note(&text[cut..]));
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        });
        let answered = text_of(&mut bob, "query", &json!({}))?;
        let events = answered.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let events: Vec<Value> = events.collect();
        let whole: String = events.iter().filter_map(|event| event["params"]["data"].as_str()).collect();
        assert_eq!(whole, "Ada pays with **** **** **** 1111 as ever", "cut at {cut}: {answered}");
        assert!(events.last().is_some_and(|last| last["result"].is_object()), "what is left comes before the answer: {answered}");
    }
    Ok(())
}
