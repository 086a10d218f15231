//! A server that talks nonsense, breaks off or is not there: the client is told what is known, and so is the record.

use std::{io, time::Duration};

use anyhow::Context;
use gateway_tests::{
    Record,
    clients::tool_call,
    http::{Message, answer, call, post, request, result},
    raw::{Stage, Wire},
    refusal::Refusal,
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// The answer's record, which the client's answer names, for the only call.
fn recorded<'a>(stage: &Stage, refusal: &'a Refusal) -> anyhow::Result<&'a Record> {
    let record = refusal.record.as_ref().context("the answer names no record")?;
    let request = stage.gateway.record("the request", |record| record.kind() == "request" && record.body()["call"]["id"] == refusal.id)?;
    assert_eq!(record.kind(), "answer", "{}", record.line);
    assert_eq!(record.body()["request"], json!(request.seq()), "{}", record.line);
    assert_eq!(record.json["head"]["closes"], json!(request.seq()), "{}", record.line);
    assert_eq!(record.body()["outcome"]["gateway"], json!(refusal.reason), "{}", record.line);
    Ok(record)
}

/// Each call gets the next of these answers, and the client a 502 for each.
fn withheld(cases: &[(&'static str, Vec<u8>, &'static str)]) -> Result {
    let mut stage = Stage::new(|server| server, "[limits]\ninspected_body = \"64KiB\"")?;
    let answers: Vec<Vec<u8>> = cases.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    let server = stage.serve(move |request| {
        let id = request.json().ok().and_then(|message| message["id"].as_u64()).and_then(|id| usize::try_from(id).ok());
        // The test asks for an end of the connection after each.
        id.and_then(|id| answers.get(id)).cloned().unwrap_or_default()
    })?;
    for (id, (name, _, reason)) in (0_u64..).zip(cases) {
        let mut client = stage.connect()?;
        client.send(post(&call(id)))?;
        let answer = client.message().context(*name)?;
        let refusal = Refusal::read(&stage.gateway, &answer.body).context(*name)?;
        assert_eq!((answer.status(), refusal.code, refusal.reason.as_str()), (502, -32603, *reason), "{name}: {}", refusal.message);
        assert_eq!(refusal.id, json!(id), "{name}");
        recorded(&stage, &refusal).context(*name)?;
    }
    assert_eq!(server.seen().len(), cases.len());
    stage.gateway.drain()?;
    stage.gateway.verify()?.ok()?;
    Ok(())
}

/// An answer with a JSON body as it is spelled here; the connection ends after it.
fn spelled(fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn http_that_cannot_be_read_is_no_answer() -> Result {
    let close = "Connection: close\r\nContent-Type: application/json\r\n";
    let body = result(&json!(0)).to_string();
    let head = |rest: String| format!("HTTP/1.1 200 OK\r\n{close}{rest}").into_bytes();
    withheld(&[
        ("nothing at all", Vec::new(), "upstream"),
        ("nonsense", b"220 mail.test ESMTP\r\n\r\nConnection: close".into(), "upstream"),
        ("HTML without a head", b"<html>Connection: close</html>\r\n\r\n".into(), "upstream"),
        ("a head that breaks off", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Ty".into(), "upstream"),
        ("a body that breaks off", head(format!("Content-Length: {}\r\n\r\n{body}", body.len() + 1)), "upstream"),
        ("chunks that break off", head(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len())), "upstream"),
        ("a chunk without a size", head(format!("Transfer-Encoding: chunked\r\n\r\nxyz\r\n{body}\r\n0\r\n\r\n")), "upstream"),
        ("two lengths", head(format!("Content-Length: 2\r\nContent-Length: {}\r\n\r\n{body}", body.len())), "upstream"),
        ("a change of protocol", b"HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n".into(), "upstream"),
        ("more than is inspected", spelled("", format!("\"{}\"", "x".repeat(65 << 10))), "upstream"),
    ])
}

#[test]
fn an_answer_that_could_be_read_in_two_ways_is_withheld() -> Result {
    withheld(&[
        ("not JSON", spelled("", "<html>busy</html>"), "malformed"),
        ("a key twice", spelled("", r#"{"jsonrpc":"2.0","id":1,"result":{"a":1},"result":{"a":2}}"#), "malformed"),
        ("a key in another case", spelled("", r#"{"jsonrpc":"2.0","id":2,"result":{},"Result":{"a":2}}"#), "malformed"),
        ("not UTF-8", spelled("", b"{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"a\":\"\xff\"}}"), "malformed"),
        ("the answer to another call", spelled("", result(&json!(77)).to_string()), "malformed"),
        ("the same id as a string", spelled("", result(&json!("5")).to_string()), "malformed"),
        ("compressed", spelled("Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\0"), "malformed"),
    ])
}

#[test]
fn a_server_that_is_not_there_did_not_get_the_call() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let mut client = stage.connect()?;
    client.send(post(&call(1)))?;
    let answer = client.message()?;
    let refusal = Refusal::read(&stage.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.reason.as_str()), (502, "upstream"), "{}", refusal.message);
    assert!(String::from_utf8_lossy(&answer.body).contains("did not get the call"), "a model must know whether to try again");
    recorded(&stage, &refusal)?;
    // When it is there, the same connection serves.
    let _server = stage.serve(answer_to)?;
    client.send(post(&call(2)))?;
    assert_eq!(client.message()?.json()?, result(&json!(2)));
    Ok(())
}

fn answer_to(request: &Message) -> Vec<u8> {
    answer(&result(&request.json().unwrap_or_default()["id"]))
}

/// A server's own errors are not the gateway's matter: they pass as they are.
#[test]
fn what_the_server_says_no_with_passes() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let page = "<html>come back later</html>";
    let _server = stage.serve(move |request| match request.json().unwrap_or_default()["id"].as_u64() {
        Some(1) => {
            format!("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len()).into()
        }
        Some(2) => b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata=\"x\"\r\nContent-Length: 0\r\n\r\n".into(),
        _ => answer(&json!({ "jsonrpc": "2.0", "id": 3, "error": { "code": -32002, "message": "no such patient" } })),
    })?;
    let mut client = stage.connect()?;
    let mut ask = |id| -> anyhow::Result<Message> {
        client.send(post(&call(id)))?;
        client.message()
    };
    let busy = ask(1)?;
    assert_eq!((busy.status(), String::from_utf8(busy.body)?.as_str()), (503, page));
    let login = ask(2)?;
    assert_eq!((login.status(), login.field("www-authenticate")), (401, Some("Bearer resource_metadata=\"x\"")));
    let error = ask(3)?;
    assert_eq!((error.status(), error.json()?["error"]["code"].clone()), (200, json!(-32002)));
    let outcomes: Vec<Value> =
        stage.gateway.records()?.iter().filter(|r| r.kind() == "answer").map(|r| r.body()["outcome"].clone()).collect();
    let told: Vec<_> = outcomes.iter().map(|o| (o["status"].clone(), o["code"].clone(), o["gateway"].clone())).collect();
    let null = || Value::Null;
    assert_eq!(told, [(json!(503), null(), null()), (json!(401), null(), null()), (json!(200), json!(-32002), null())]);
    Ok(())
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

fn progress(step: u32) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": "p", "progress": step } })
}

/// The server sends an event only after the client has had the one before: whoever holds back an event stops both.
#[test]
fn an_event_is_relayed_before_the_next_is_sent() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    server.message()?;
    server.send(EVENTS)?;
    assert_eq!(client.head()?.field("content-type"), Some("text/event-stream"), "the head does not wait for an event");
    server.send(chunk(": still here\n\n"))?;
    client.until(": still here\n\n")?;
    for step in 1..=20 {
        server.send(chunk(&event(&progress(step))))?;
        client.until(&event(&progress(step)))?;
    }
    // In pieces, and several at once.
    let text = event(&progress(21));
    let (half, rest) = text.split_at(25);
    client.until("\r\n")?;
    server.send(chunk(half))?;
    assert!(client.is_silent(Duration::from_millis(100))?, "half an event was not read, and is not passed on");
    server.send(chunk(rest))?;
    client.until(&text)?;
    server.send(chunk(&[event(&progress(22)), event(&progress(23)), event(&result(&json!(1)))].concat()))?;
    client.until(&event(&result(&json!(1))))?;
    server.send("0\r\n\r\n")?;
    client.until("0\r\n\r\n")?;
    // The connection goes on.
    client.send(post(&call(2)))?;
    server.message()?;
    server.send(answer(&result(&json!(2))))?;
    assert_eq!(client.message()?.json()?, result(&json!(2)));
    let answered = stage.gateway.record("the answer", |r| r.kind() == "answer" && r.body()["call"]["id"] == 1)?;
    let reports = stage.gateway.records()?.iter().filter(|r| r.kind() == "message" && r.seq() < answered.seq()).count();
    assert_eq!(reports, 23, "each event is on record, before the answer");
    Ok(())
}

/// A stream that goes wrong after it began ends with an error event for the call.
fn stream_cut(request: &[u8], events: &str, reason: &str) -> Result {
    let mut stage = Stage::new(|server| server, "[limits]\ninspected_body = \"64KiB\"")?;
    let (mut client, mut server) = stage.begin(request)?;
    server.message()?;
    server.send([EVENTS, &chunk(&event(&progress(1))), events].concat())?;
    server.finish()?;
    let told = String::from_utf8(client.message()?.body)?;
    assert!(told.starts_with(&event(&progress(1))), "{told}");
    let error = told.lines().filter_map(|line| line.strip_prefix("data: ")).nth(1).with_context(|| format!("no error in:\n{told}"))?;
    let refusal = Refusal::read(&stage.gateway, error.as_bytes())?;
    assert_eq!((refusal.id.clone(), refusal.reason.as_str()), (json!(1), reason), "{}", refusal.message);
    let outcome = stage.gateway.record("the outcome", |record| record.kind() == "answer")?;
    assert_eq!(outcome.body()["outcome"]["gateway"], reason, "{}", outcome.line);
    Ok(())
}

#[test]
fn an_event_that_could_be_read_in_two_ways_is_withheld() -> Result {
    stream_cut(&post(&call(1)), &chunk("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"result\":{\"x\":1}}\n\n"), "malformed")
}

#[test]
fn an_event_longer_than_is_inspected_is_withheld() -> Result {
    stream_cut(&post(&call(1)), &chunk(&event(&json!({ "jsonrpc": "2.0", "id": 1, "result": { "x": "x".repeat(70 << 10) } }))), "upstream")
}

/// A call of 2026-07-28, in which closing the connection is what cancels.
fn stateless_call() -> Vec<u8> {
    let body = tool_call(1, "look", &json!({})).to_string();
    let fields = format!(
        "Content-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: look\r\nContent-Length: {}\r\n",
        body.len()
    );
    request("POST", "/mcp", &fields, body.as_bytes())
}

/// In 2026-07-28 no other connection can bring the answer.
#[test]
fn a_stream_that_ends_without_the_answer_ends_with_an_error() -> Result {
    stream_cut(&stateless_call(), "0\r\n\r\n", "upstream")
}

#[test]
fn a_client_that_leaves_with_its_answer_leaves_one_outcome_on_record() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(stateless_call())?;
    server.message()?;
    server.send([EVENTS, &chunk(&event(&result(&json!(1))))].concat())?;
    client.until(&event(&result(&json!(1))))?;
    drop(client);
    // The server sees the connection end: whatever the gateway says of it has been said.
    server.rest()?;
    stage.gateway.drain()?;
    let records = stage.gateway.records()?;
    let outcomes: Vec<_> = records.iter().filter(|record| record.kind() == "answer").collect();
    assert_eq!(outcomes.len(), 1, "{outcomes:#?}");
    assert_eq!(outcomes[0].body()["outcome"]["status"], 200, "{}", outcomes[0].line);
    assert!(outcomes[0].body()["outcome"].get("gateway").is_none(), "{}", outcomes[0].line);
    Ok(())
}

/// What the server broke off is broken off for the client too: it may know how to take it up again.
#[test]
fn a_stream_that_breaks_off_does_not_end_well() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    server.message()?;
    server.send([EVENTS, &chunk(&event(&progress(1)))].concat())?;
    server.finish()?;
    client.until(&event(&progress(1)))?;
    let rest = client.rest()?;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a whole answer: {}", String::from_utf8_lossy(&rest));
    let outcome = stage.gateway.record("the outcome", |record| record.kind() == "answer")?;
    assert_eq!(outcome.body()["outcome"]["gateway"], "upstream", "{}", outcome.line);
    Ok(())
}

/// A client of HTTP/1.0 knows an answer's end by the connection's: that of one that was cut is a reset.
#[test]
fn a_page_that_is_cut_does_not_end_well_for_http_1_0_either() -> Result {
    let request = |stage: &mut Stage| -> anyhow::Result<(Wire, Wire)> {
        let (client, mut server) = stage.begin("GET /page HTTP/1.0\r\nHost: server.test\r\n\r\n")?;
        server.message()?;
        server.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunk("a part\n")
        ))?;
        Ok((client, server))
    };
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let reset = Err(io::ErrorKind::ConnectionReset);

    let (mut client, mut server) = request(&mut stage)?;
    server.send([chunk("and all of it\n").as_str(), "0\r\n\r\n"].concat())?;
    let whole = String::from_utf8(client.rest()?)?;
    assert!(whole.ends_with("\r\n\r\na part\nand all of it\n"), "{whole}");

    let (mut client, server) = request(&mut stage)?;
    server.finish()?;
    assert_eq!(client.rest().map_err(|error| error.kind()), reset);

    let (mut client, mut server) = request(&mut stage)?;
    server.send(chunk("and another\n"))?;
    client.until("a part\n")?;
    stage.gateway.kill()?;
    assert_eq!(client.rest().map_err(|error| error.kind()), reset, "it was the gateway that ended");
    Ok(())
}

/// The client's own request, in the same words: only the answer is the server's to give.
#[test]
fn the_head_that_goes_to_the_server_is_rebuilt() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let server = stage.serve(answer_to)?;
    let body = call(1).to_string();
    let fields = format!(
        "Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Accept-Encoding: gzip, br\r\nX-Own: kept\r\nAuthorization: Bearer t\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut client = stage.connect()?;
    client.send(request("POST", "/mcp?a=b", &fields, body.as_bytes()))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    let seen = server.seen();
    let sent = seen.first().context("nothing arrived")?;
    assert_eq!(sent.start, "POST /mcp?a=b HTTP/1.1\r\n");
    assert_eq!((sent.field("x-hop"), sent.field("keep-alive")), (None, None), "{sent:?}");
    assert_eq!(sent.field("accept-encoding"), Some("identity"), "what the server compresses could not be read");
    assert_eq!(
        (sent.field("x-own"), sent.field("authorization"), sent.field("host")),
        (Some("kept"), Some("Bearer t"), Some("server.test"))
    );
    Ok(())
}
