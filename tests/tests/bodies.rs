//! Bodies of every framing arrive whole, once and within limits, whatever the order in which client and server speak.

use std::time::Duration;

use gateway_tests::{
    Record,
    http::{Message, answer, call, post, request, result},
    raw::{Stage, Stub},
    refusal::Refusal,
    wait_until,
};
use serde_json::json;

type Result = anyhow::Result<()>;

const LOW_LIMITS: &str = "[limits]\nhead = \"8KiB\"\ninspected_body = \"64KiB\"";

/// Answers each call by its id.
fn answers(request: &Message) -> Vec<u8> {
    request.json().map_or_else(|_| answer(&json!("not JSON")), |json| answer(&result(&json["id"])))
}

fn denying(sections: &str) -> anyhow::Result<(Stage, Stub)> {
    let stage = Stage::new(|server| server, sections)?;
    let server = stage.serve(answers)?;
    Ok((stage, server))
}

/// The gateway's own answer: its status, and what it says.
fn refusal(stage: &Stage, answer: &Message) -> anyhow::Result<(u16, Refusal)> {
    Ok((answer.status(), Refusal::read(&stage.gateway, &answer.body)?))
}

fn outcome_of_the_only_call(stage: &Stage) -> anyhow::Result<Record> {
    stage.gateway.record("the answer to the call", |record| record.kind() == "answer")
}

#[test]
fn a_request_in_chunks_arrives_whole_and_its_trailers_do_not() -> Result {
    let (mut stage, server) = denying("")?;
    let message = call(1);
    let text = message.to_string();
    let (first, second) = text.split_at(30);
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n";
    let mut client = stage.connect()?;
    client.send(request("POST", "/mcp", fields, b""))?;
    client.send(format!("{:x}\r\n{first}", first.len()))?;
    client.send(format!("\r\n{:X}\r\n{second}\r\n0\r\nX-Late: 1\r\n\r\n", second.len()))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(String::from_utf8(seen[0].body.clone())?, text);
    assert_eq!(seen[0].field("x-late").or(seen[0].field("trailer")), None, "{seen:?}");
    let recorded = stage.gateway.record("the request", |record| record.kind() == "request")?;
    assert_eq!(recorded.body()["payload"]["json"], message);
    assert_eq!(recorded.body()["payload"]["size"], json!(text.len()));
    Ok(())
}

#[test]
fn a_body_that_was_announced_with_expect_is_asked_for() -> Result {
    let (mut stage, server) = denying(LOW_LIMITS)?;
    let body = call(1).to_string();
    let announce = |length: usize| {
        let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n");
        request("POST", "/mcp", &fields, b"")
    };
    let mut client = stage.connect()?;
    client.send(announce(body.len()))?;
    assert_eq!(client.head()?.status(), 100);
    assert!(server.seen().is_empty(), "nothing is forwarded before it was read");
    client.send(&body)?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    // What would be refused is not asked for.
    let mut client = stage.connect()?;
    client.send(announce(1 << 20))?;
    let (status, refusal) = refusal(&stage, &client.message()?)?;
    assert_eq!((status, refusal.reason.as_str()), (413, "body-too-large"));
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

#[test]
fn an_answer_to_head_has_no_body_and_the_connection_goes_on() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let server = stage.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1234\r\n\r\n".into())?;
    let mut client = stage.connect()?;
    for _ in 0..2 {
        client.send(request("HEAD", "/page", "", b""))?;
        let head = client.head()?;
        assert_eq!((head.status(), head.field("content-length")), (200, Some("1234")));
    }
    assert_eq!(server.seen().len(), 2);
    Ok(())
}

#[test]
fn a_refusal_of_head_has_no_body_either() -> Result {
    let (mut stage, server) = denying("")?;
    let mut client = stage.connect()?;
    client.send(request("HEAD", "/page", "", b""))?;
    assert_eq!(client.head()?.status(), 403);
    assert_eq!(client.rest()?, b"");
    let refused = stage.gateway.record("the refusal", |record| record.kind() == "refused")?;
    assert_eq!(refused.body()["reason"], "not-mcp");
    assert!(server.seen().is_empty());
    Ok(())
}

/// The server says no after the head, and never reads the body: its answer counts, and nobody waits for the rest.
#[test]
fn an_answer_that_comes_before_the_call_was_read_counts() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let mut message = call(1);
    message["params"]["arguments"]["filler"] = json!("x".repeat(8 << 20));
    let (mut client, mut server) = stage.begin(post(&message))?;
    assert!(server.head()?.start.starts_with("POST /mcp "));
    server.send("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\nnot today")?;
    let answer = client.message()?;
    assert_eq!((answer.status(), answer.body.as_slice()), (429, b"not today".as_slice()));
    let outcome = outcome_of_the_only_call(&stage)?;
    assert_eq!(outcome.body()["outcome"]["status"], 429, "{}", outcome.line);
    Ok(())
}

#[test]
fn an_answer_that_comes_before_an_upload_was_sent_counts() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), LOW_LIMITS)?;
    let (mut client, mut server) = stage.begin(request("PUT", "/files/1", "Content-Length: 67108864\r\n", &[7; 100_000]))?;
    assert!(server.head()?.start.starts_with("PUT /files/1 "));
    server.send("HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 4\r\n\r\nfull")?;
    let answer = client.message()?;
    assert_eq!((answer.status(), answer.body.as_slice()), (507, b"full".as_slice()));
    assert_eq!(client.rest()?, b"", "the rest of the body is not wanted, and cannot be told from a request");
    let outcome = outcome_of_the_only_call(&stage)?;
    assert_eq!(outcome.body()["outcome"]["status"], 507, "{}", outcome.line);
    Ok(())
}

#[test]
fn interim_answers_are_not_taken_for_the_answer() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let _server = stage.serve(|request| {
        let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".to_vec();
        bytes.extend(answers(request));
        bytes
    })?;
    let mut client = stage.connect()?;
    for id in 1..3 {
        client.send(post(&call(id)))?;
        let answer = client.message()?;
        assert_eq!((answer.status(), answer.json()?), (200, result(&json!(id))));
    }
    Ok(())
}

#[test]
fn a_head_beyond_the_limit_is_refused_by_name() -> Result {
    let (mut stage, server) = denying(LOW_LIMITS)?;
    let mut client = stage.connect()?;
    client.send(request("POST", "/mcp", &format!("X-Long: {}\r\n", "x".repeat(9 << 10)), b""))?;
    let (status, refusal) = refusal(&stage, &client.message()?)?;
    assert_eq!((status, refusal.reason.as_str()), (431, "head-too-large"));
    assert!(refusal.message.contains("8192"), "it says how much is allowed: {}", refusal.message);
    assert_eq!(refusal.record.as_ref().map(Record::kind), Some("refused"));
    assert_eq!(client.rest()?, b"");
    assert!(server.seen().is_empty());
    Ok(())
}

#[test]
fn a_body_beyond_the_limit_is_refused_by_name() -> Result {
    let (mut stage, server) = denying(LOW_LIMITS)?;
    let mut message = call(1);
    message["params"]["arguments"]["filler"] = json!("x".repeat(65 << 10));
    let whole = post(&message);
    let body = message.to_string();
    let fields = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let chunked = request("POST", "/mcp", fields, format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    for bytes in [whole, chunked] {
        let mut client = stage.connect()?;
        client.send(bytes)?;
        let (status, refusal) = refusal(&stage, &client.message()?)?;
        assert_eq!((status, refusal.reason.as_str()), (413, "body-too-large"));
        assert!(refusal.message.contains("65536"), "it says how much is allowed: {}", refusal.message);
        assert_eq!(refusal.record.as_ref().map(Record::kind), Some("refused"));
    }
    assert!(server.seen().is_empty());
    Ok(())
}

#[test]
fn a_second_request_in_the_same_write_is_not_forwarded() -> Result {
    let (mut stage, server) = denying("")?;
    let mut client = stage.connect()?;
    client.send([post(&call(1)), post(&call(2))].concat())?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    let (status, refusal) = refusal(&stage, &client.message()?)?;
    assert_eq!((status, refusal.reason.as_str()), (400, "malformed"));
    assert!(refusal.message.contains("pipelining"), "{}", refusal.message);
    assert_eq!(client.rest()?, b"");
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

#[test]
fn a_second_request_before_the_first_answer_is_not_forwarded() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    assert_eq!(server.message()?.json()?, call(1));
    client.send(post(&call(2)))?;
    assert!(server.is_silent(Duration::from_millis(500))?, "the second waits for nobody and goes nowhere");
    server.send(answer(&result(&json!(1))))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    let (status, refusal) = refusal(&stage, &client.message()?)?;
    assert_eq!((status, refusal.reason.as_str()), (400, "malformed"));
    assert_eq!(client.rest()?, b"");
    // All that reached the server before the gateway let go of it: nothing more.
    stage.gateway.drain()?;
    assert_eq!(server.rest()?, b"");
    Ok(())
}

#[test]
fn a_client_that_has_said_all_it_will_still_gets_its_answer() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    client.finish()?;
    assert_eq!(server.message()?.json()?, call(1));
    server.send(answer(&result(&json!(1))))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    Ok(())
}

#[test]
fn a_call_whose_client_left_has_its_outcome_on_the_record() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (client, mut server) = stage.begin(post(&call(1)))?;
    server.message()?;
    client.reset()?;
    let outcome = outcome_of_the_only_call(&stage)?;
    assert_eq!(outcome.body()["outcome"]["gateway"], "client-gone", "{}", outcome.line);
    wait_until("the connection to the server to end", Duration::from_secs(10), || server.rest().is_ok_and(|rest| rest.is_empty()))?;
    Ok(())
}
