//! Lists show a caller what it may use, and nothing else.

use gateway_tests::http::answer;
use serde_json::{Value, json};

use crate::{Result, Scene, tools};

const POLICIES: &str = r#"
permit(principal in Group::"staff", action == Action::"tools/call", resource == Tool::"vault/query");
permit(principal in Group::"dba", action == Action::"tools/call", resource == Tool::"vault/execute")
    when { context.labels.contains("sql:select") };
permit(principal in Group::"staff", action == Action::"prompts/get", resource == Prompt::"vault/daily");
permit(principal in Group::"staff", action == Action::"resources/read", resource in Server::"vault") when { resource.name like "file:///pub/*" };
@hold("look first")
forbid(principal, action == Action::"tools/call", resource == Tool::"vault/query") when { context.annotations has readOnly };
"#;

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })).collect()
}

fn events(pieces: &[String]) -> Vec<u8> {
    let body = pieces.concat();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn listed(answer: &Value, member: &str, key: &str) -> Vec<String> {
    let entries = answer["result"][member].as_array().cloned().unwrap_or_default();
    entries.iter().filter_map(|entry| entry[key].as_str().map(str::to_owned)).collect()
}

#[test]
fn each_sees_what_it_may_use_in_every_kind_of_list() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    scene.answers(|call| {
        let result = match call["method"].as_str().unwrap_or_default() {
            "tools/list" => json!({ "tools": named(&["query", "execute", "drop"]), "ttlMs": 60_000, "cacheScope": "public" }),
            "prompts/list" => json!({ "prompts": named(&["daily", "yearly"]) }),
            "resources/list" => json!({ "resources": [{ "uri": "file:///pub/a", "name": "a" }, { "uri": "file:///etc/b", "name": "b" }] }),
            "resources/templates/list" => json!({ "resourceTemplates": [{ "uriTemplate": "file:///{x}", "name": "x" }, { "uriTemplate": "file:///pub/{x}", "name": "y" }] }),
            _ => json!({ "contents": [], "ttlMs": 5, "cacheScope": "public" }),
        };
        answer(&json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }))
    });
    let (mut ada, mut bob, mut loner) = (scene.caller("ada")?, scene.caller("bob")?, scene.caller("loner")?);
    let all = ada.request("tools/list", &json!({}))?.json()?;
    assert_eq!(listed(&all, "tools", "name"), ["query", "execute"], "what depends on arguments may be used with some");
    assert_eq!(all["result"]["cacheScope"], "private");
    assert_eq!(listed(&bob.request("tools/list", &json!({}))?.json()?, "tools", "name"), ["query"]);
    assert_eq!(listed(&loner.request("tools/list", &json!({}))?.json()?, "tools", "name"), [""; 0]);
    assert_eq!(listed(&bob.request("prompts/list", &json!({}))?.json()?, "prompts", "name"), ["daily"]);
    assert_eq!(listed(&bob.request("resources/list", &json!({}))?.json()?, "resources", "uri"), ["file:///pub/a"]);
    let templates = bob.request("resources/templates/list", &json!({}))?.json()?;
    assert_eq!(listed(&templates, "resourceTemplates", "uriTemplate"), ["file:///pub/{x}"]);
    let read = bob.request("resources/read", &json!({ "uri": "file:///pub/a" }))?.json()?;
    assert_eq!(read["result"]["cacheScope"], "private");
    // The record has what the server said, and what of it was kept from whom.
    let records = scene.gateway.records()?;
    let given = |subject: &str| {
        let asked = records
            .iter()
            .find(|record| record.method() == Some("tools/list") && record.body()["caller"]["identity"]["subject"] == subject);
        asked
            .and_then(|asked| records.iter().find(|record| record.body()["request"] == asked.seq()))
            .map(|record| record.body().clone())
            .unwrap_or_default()
    };
    assert_eq!(given("bob")["withheld"], json!(["execute", "drop"]), "{}", given("bob"));
    assert_eq!(given("bob")["payload"]["json"]["result"]["tools"].as_array().map(Vec::len), Some(3));
    assert_eq!(given("loner")["withheld"], json!(["query", "execute", "drop"]));
    Ok(())
}

#[test]
fn in_a_stream_of_events_nothing_slips_past() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    // Between comments and notifications, over several lines of data, and with an event that answers nothing.
    scene.answers(|call| {
        let whole = serde_json::to_string_pretty(&tools(&call["id"], &named(&["drop", "query", "execute"]))).unwrap_or_default();
        let lines: String = whole.lines().map(|line| format!("data: {line}\r\n")).collect();
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x" } });
        let stale = tools(&json!(99), &named(&["execute", "query"]));
        events(&[
            ": a comment\n\n".into(),
            format!("data: {note}\n\n"),
            format!("id: 4\ndata: {stale}\n\n"),
            format!("event: message\r\nid: 5\r\nretry: 10\r\n{lines}\r\n"),
        ])
    });
    let mut bob = scene.caller("bob")?;
    let body = bob.request("tools/list", &json!({}))?.body;
    let text = String::from_utf8_lossy(&body);
    assert!(!text.contains("execute") && !text.contains("drop"), "{text}");
    assert!(
        text.contains(": a comment") && text.contains("notifications/message") && text.contains("id: 5\n") && text.contains("retry: 10\n"),
        "{text}"
    );
    let last = text.split("id: 5\n").nth(1).unwrap_or_default();
    let data: String = last.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(listed(&serde_json::from_str(&data)?, "tools", "name"), ["query"]);
    // The event before it is one that answers nothing: it is cut by its shape.
    let stale =
        text.split("id: 4\n").nth(1).and_then(|rest| rest.lines().next()).and_then(|line| line.strip_prefix("data: ")).unwrap_or_default();
    assert_eq!(listed(&serde_json::from_str(stale)?, "tools", "name"), ["query"]);
    Ok(())
}

#[test]
fn a_list_that_cannot_be_read_to_its_end_is_withheld() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    for result in [
        r#"{"tools":[{"name":"query"},{"title":"execute"}]}"#,
        r#"{"tools":[{"name":"query"},{"name":"query","Name":"execute"}]}"#,
        r#"{"tools":{"name":"execute"}}"#,
        r#"{"Tools":[{"name":"execute"}]}"#,
        r#"{"tools":[],"tools":[{"name":"execute"}]}"#,
        r#"{"tools":[{"name":"execute"}"#,
    ] {
        for as_events in [false, true] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
            scene.answers(move |_| match as_events {
                true => events(&[": first\n\n".into(), format!("data: {text}\n\n")]),
                false => format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}", text.len())
                    .into_bytes(),
            });
            let mut bob = scene.caller("bob")?;
            let answer = bob.request("tools/list", &json!({}))?;
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!text.contains("\"execute\"") && text.contains("\"malformed\""), "{result}, events {as_events}: {text}");
        }
    }
    Ok(())
}

#[test]
fn without_policies_a_list_goes_through_byte_for_byte() -> Result {
    let scene = Scene::new(None, "", |server| server)?;
    let text = r#"{ "jsonrpc":"2.0","id":7, "result":{"tools":[ {"name":"query" },{"title":"odd"} ],"cacheScope":"public"} }"#;
    scene.answers(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    });
    let mut bob = scene.caller("bob")?;
    assert_eq!(String::from_utf8_lossy(&bob.request("tools/list", &json!({}))?.body), text);
    Ok(())
}
