//! Masks in every shape of message, and everywhere in a record.

use base64::{Engine, prelude::BASE64_STANDARD};
use gateway_tests::http::request_to;
use serde_json::{Value, json};

use crate::{
    Result, Scene,
    masks::{COLUMNS, SSN, event, github_token, result, text_of},
};

const CARD: &str = "4111 1111 1111 1111";

fn sent_as(status: &str, media: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn secrets_do_not_come_to_rest_in_the_gateways_own_words() -> Result {
    let scene = Scene::ruled("permit(principal in Group::\"staff\", action, resource);")?;
    let token = github_token();
    let (mut ada, mut loner) = (scene.caller("ada")?, scene.caller("loner")?);
    // A name, and a label of the arguments.
    assert!(ada.may(&token, &json!({ "sql": format!("SELECT * FROM \"{token}\"") }))?);
    let labels = scene.latest()?.body()["decision"]["facts"]["labels"].clone();
    assert!(labels.as_array().is_some_and(|labels| labels.contains(&json!("sql:table:[masked: github-token]"))), "{labels}");
    // Why a call is denied.
    let denied = text_of(&mut loner, &token, &json!({ "note": token }))?;
    assert!(denied.contains(&token), "the caller's own: {denied}");
    // What of a list is kept from a caller.
    let given = token.clone();
    scene.answers(move |call| result(call, &json!({ "prompts": [{ "name": given }] })));
    loner.request("prompts/list", &json!({}))?;
    let withheld = scene.latest_answer()?.body()["withheld"].clone();
    assert_eq!(withheld, json!(["[masked: github-token]"]));
    // Why an answer is.
    let given = token.clone();
    scene.answers(move |_| result(&json!({ "id": given }), &json!({})));
    let withheld = text_of(&mut ada, "query", &json!({}))?;
    assert!(withheld.contains("a call that was not made") && withheld.contains(&token), "{withheld}");
    assert_eq!(scene.at_rest(&[&token])?, [""; 0]);
    Ok(())
}

#[test]
fn secrets_do_not_come_to_rest_from_what_a_server_says_of_its_tools() -> Result {
    let scene = Scene::masking("")?;
    let mut ada = scene.caller("ada")?;
    for said in ["first", "then"] {
        let text = format!("{said}: use {}", github_token());
        let listed = json!([{ "name": "query", "description": text }, { "name": github_token(), "title": said }]);
        scene.answers(move |call| result(call, &json!({ "tools": listed })));
        let answered = ada.request("tools/list", &json!({}))?;
        assert_eq!(String::from_utf8_lossy(&answered.body).matches(&github_token()).count(), 2, "the client's own");
    }
    let tools = scene.gateway.records()?.into_iter().filter(|record| record.kind() == "tool").count();
    assert_eq!(tools, 4);
    assert_eq!(scene.at_rest(&[&github_token()])?, [""; 0]);
    Ok(())
}

#[test]
fn secrets_do_not_come_to_rest_from_other_traffic() -> Result {
    let scene = Scene::new(None, "", |server| server.setting("other", "\"pass\""))?;
    let token = github_token();
    let given = token.clone();
    scene.answers(move |_| sent_as("200 OK", "text/plain", &format!("it is {given}")));
    let mut ada = scene.caller("ada")?;
    let body = json!({ "note": token }).to_string();
    let fields = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", ada.token, body.len());
    ada.wire.send(request_to(&ada.host, "POST", "/vault/notes", &fields, body.as_bytes()))?;
    let answer = ada.wire.message()?;
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("it is {token}"));
    let (request, answer) = (scene.latest()?, scene.latest_answer()?);
    assert_eq!(request.body()["payload"]["json"]["note"], "[masked: github-token]", "{}", request.line);
    assert_eq!(answer.body()["payload"]["text"], "it is [masked: github-token]", "{}", answer.line);
    assert_eq!(scene.at_rest(&[&token])?, [""; 0]);
    Ok(())
}

#[test]
fn what_is_not_text_and_holds_a_secret_is_not_on_record() -> Result {
    let scene = Scene::masking("")?;
    let wide = github_token().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for body in [[b"\xff\xfe".as_slice(), &wide].concat(), [b"\xff ", github_token().as_bytes()].concat()] {
        let mut ada = scene.caller("ada")?;
        let fields = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", ada.token, body.len());
        ada.wire.send(request_to(&ada.host, "POST", "/vault", &fields, &body))?;
        assert_eq!(ada.wire.message()?.status(), 400);
        let records = scene.gateway.records()?;
        let payload = records.last().map(|record| record.body()["payload"].clone()).unwrap_or_default();
        assert!(payload["withheld"].is_string() && payload.get("base64").is_none(), "{payload}");
    }
    Ok(())
}

#[test]
fn a_name_that_cannot_be_masked_is_not_on_record() -> Result {
    let scene = Scene::masking("[[mask]]\nfields = [\"ssn\"]\n")?;
    let mut name = json!({ "ssn": SSN }).to_string();
    (0..12).for_each(|_| name = json!({ "t": name }).to_string());
    assert!(scene.caller("bob")?.may(&name, &json!({}))?);
    let record = scene.latest()?;
    assert!(record.body()["call"]["name"].as_str().is_some_and(|name| name.starts_with("[withheld: ")), "{}", record.line);
    assert_eq!(scene.at_rest(&[SSN])?, [""; 0]);
    Ok(())
}

#[test]
fn what_is_hidden_from_a_client_is_hidden_in_every_shape_of_answer() -> Result {
    let policies = "permit(principal, action, resource); forbid(principal, action, resource == Tool::\"vault/drop\");";
    let scene = Scene::new(Some(policies), "[[mask]]\nkinds = [\"card\"]\nto = [\"client\"]\n", |server| server)?;
    let text = format!("paid with {CARD}");
    let answered = |call: &Value, member: &str, what: Value| json!({ "jsonrpc": "2.0", "id": call["id"], member: what });
    let content = json!({ "content": [{ "type": "text", "text": text }] });
    let error = json!({ "code": 1, "message": text, "data": { "note": text } });
    let list = json!({ "tools": [{ "name": "query", "description": text }, { "name": "drop" }] });
    let mut bob = scene.caller("bob")?;
    for (method, member, what) in [("tools/call", "result", content), ("tools/call", "error", error), ("tools/list", "result", list)] {
        for as_event in [false, true] {
            let what = what.clone();
            scene.answers(move |call| match answered(call, member, what.clone()) {
                answer if as_event => event(&answer),
                answer => sent_as("200 OK", "application/json", &answer.to_string()),
            });
            let got = String::from_utf8_lossy(&bob.request(method, &json!({ "name": "query" }))?.body).into_owned();
            assert!(!got.contains(CARD) && got.contains("paid with [masked: card]"), "{method} {member}, event {as_event}: {got}");
            assert!(!got.contains("drop"), "{got}");
        }
    }
    // A page, and an event of the server's own.
    let page = text.clone();
    scene.answers(move |_| sent_as("500 Oh", "text/html", &format!("<p>{page}</p>")));
    let got = text_of(&mut bob, "query", &json!({}))?;
    assert_eq!(got, "<p>paid with [masked: card]</p>");
    scene.answers(move |call| {
        let done = answered(call, "result", json!({}));
        sent_as("200 OK", "text/event-stream", &format!("event: own\ndata: {text}\n\ndata: {done}\n\n"))
    });
    let got = text_of(&mut bob, "query", &json!({}))?;
    assert!(!got.contains(CARD) && got.contains("event: own\ndata: paid with [masked: card]\n"), "{got}");
    Ok(())
}

#[test]
fn where_it_cannot_be_told_what_columns_are_called_every_kind_is_hidden() -> Result {
    let scene = Scene::masking(COLUMNS)?;
    scene.answers(|call| {
        let of = |id: &Value| json!({ "jsonrpc": "2.0", "id": id, "result": { "structuredContent": { "x": SSN } } });
        // An answer to a call that is not known any more comes before.
        let stale = if call["params"]["arguments"]["stale"] == true { of(&json!(99)) } else { Value::Null };
        let body = [stale, of(&call["id"])].iter().filter(|one| !one.is_null()).map(|one| format!("data: {one}\n\n")).collect::<String>();
        sent_as("200 OK", "text/event-stream", &body)
    });
    let mut bob = scene.caller("bob")?;
    let unread = text_of(&mut bob, "query", &json!({ "sql": "EXEC sp_executesql N'SELECT ssn AS x FROM patients'" }))?;
    assert!(!unread.contains(SSN), "{unread}");
    let read = text_of(&mut bob, "query", &json!({ "sql": "SELECT phone AS x FROM patients", "stale": true }))?;
    assert_eq!(read.matches(SSN).count(), 1, "the stale one is hidden: {read}");
    Ok(())
}

#[test]
fn a_value_has_one_token_where_it_is_configured_to_and_another_elsewhere() -> Result {
    let rule = "[[mask]]\non = \"request\"\nfields = [\"patient\"]\nhow = \"token\"\nto = [\"server\"]\n";
    for (setting, is_one) in [("", false), ("[masking]\ntokens = \"server\"\n", true)] {
        let scene = Scene::masking(&[setting, rule].concat())?;
        let mut tokens = Vec::new();
        for session in ["one", "two", "one"] {
            let mut ada = scene.caller("ada")?;
            ada.fields = format!("Mcp-Session-Id: {session}\r\n");
            assert!(ada.may("query", &json!({ "patient": "Ada" }))?);
            let seen = scene.server.seen().last().map(|call| call.json()).transpose()?.unwrap_or_default();
            tokens.push(seen["params"]["arguments"]["patient"].as_str().unwrap_or_default().to_owned());
        }
        assert!(tokens.iter().all(|token| token.starts_with("tok_")), "{tokens:?}");
        assert_eq!(tokens[0], tokens[2], "{setting}");
        assert_eq!(tokens[0] == tokens[1], is_one, "{setting}: {tokens:?}");
    }
    Ok(())
}

#[test]
fn a_field_that_repeats_a_masked_argument_is_spelt_as_the_protocol_has_it() -> Result {
    let scene = Scene::masking("[[mask]]\non = \"request\"\nfields = [\"patient\"]\nhow = \"partial\"\nto = [\"server\"]\n")?;
    let mut ada = scene.caller("ada")?;
    let spelt = |text: &str| format!("=?base64?{}?=", BASE64_STANDARD.encode(text));
    ada.fields = format!("Mcp-Param-Patient: {}\r\n", spelt("Karl von Höß"));
    assert!(ada.may("query", &json!({ "patient": "Karl von Höß" }))?);
    let seen = scene.server.seen();
    let seen = seen.last().ok_or(anyhow::anyhow!("nothing came"))?;
    let patient = seen.json()?["params"]["arguments"]["patient"].as_str().unwrap_or_default().to_owned();
    assert!(patient.ends_with(" Höß") && patient.starts_with('*'), "{patient}");
    assert_eq!(seen.field("mcp-param-patient"), Some(spelt(&patient).as_str()));
    Ok(())
}

#[test]
fn what_a_server_says_on_a_stream_of_its_own_is_hidden_too() -> Result {
    let scene = Scene::masking("[[mask]]\nkinds = [\"card\"]\nto = [\"client\", \"record\"]\n")?;
    let text = format!("paid with {CARD}");
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": text } });
    let question = json!({ "jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": { "message": text } });
    scene.answers(move |_| sent_as("200 OK", "text/event-stream", &format!("data: {note}\n\ndata: {question}\n\n")));
    let mut ada = scene.caller("ada")?;
    let fields = format!("Authorization: Bearer {}\r\nAccept: text/event-stream\r\n", ada.token);
    ada.wire.send(request_to(&ada.host, "GET", "/vault", &fields, b""))?;
    let got = String::from_utf8_lossy(&ada.wire.message()?.body).into_owned();
    assert_eq!(got.matches("paid with [masked: card]").count(), 2, "{got}");
    assert!(!got.contains(CARD), "{got}");
    assert_eq!(scene.at_rest(&[CARD])?, [""; 0]);
    Ok(())
}

#[test]
fn of_a_batch_each_answer_is_masked_for_all_that_was_called() -> Result {
    let scene = Scene::masking(COLUMNS)?;
    let mut bob = scene.caller("bob")?;
    for tools in [["query", "report"], ["report", "query"]] {
        scene.answers(|calls| {
            let answer = |call: &Value| json!({ "jsonrpc": "2.0", "id": call["id"], "result": { "structuredContent": { "ssn": [SSN] } } });
            sent_as("200 OK", "application/json", &calls.as_array().into_iter().flatten().map(answer).collect::<Value>().to_string())
        });
        let call = |id: usize| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tools[id] } });
        let body = json!([call(0), call(1)]).to_string();
        let fields = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", bob.token, body.len());
        bob.wire.send(request_to(&bob.host, "POST", "/vault", &fields, body.as_bytes()))?;
        let got = String::from_utf8_lossy(&bob.wire.message()?.body).into_owned();
        assert!(got.contains("\"result\"") && !got.contains(SSN), "{tools:?}: {got}");
        assert_eq!(scene.at_rest(&[SSN])?, [""; 0], "{tools:?}");
    }
    Ok(())
}
