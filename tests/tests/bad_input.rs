//! What could be read in two ways, or not at all, is refused by name, recorded, and never reaches the server.

use anyhow::Context;
use gateway_tests::{
    Record,
    http::{Message, answer, call, post, request, result},
    raw::{Stage, Stub},
    refusal::Refusal,
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

fn stage() -> anyhow::Result<(Stage, Stub)> {
    let stage = Stage::new(|server| server, "")?;
    let server = stage.serve(answers)?;
    Ok((stage, server))
}

fn answers(request: &Message) -> Vec<u8> {
    request.json().map_or_else(|_| answer(&json!("not JSON")), |json| answer(&result(&json["id"])))
}

/// What a client sends, and how it is refused: HTTP status, JSON-RPC code, reason.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    refused: (u16, i64, &'static str),
}

/// Each on a connection of its own; then a good call, which is all that the server ever sees.
fn all_refused(cases: Vec<Case>) -> Result {
    all_refused_where("deny", cases)
}

fn all_refused_where(other: &str, cases: Vec<Case>) -> Result {
    let mut stage = Stage::new(|server| server.other(other), "")?;
    let server = stage.serve(answers)?;
    for Case { name, bytes, refused } in cases {
        let mut client = stage.connect()?;
        client.send(bytes)?;
        client.finish()?;
        let answer = client.message().context(name)?;
        let refusal = Refusal::read(&stage.gateway, &answer.body).context(name)?;
        assert_eq!((answer.status(), refusal.code, refusal.reason.as_str()), refused, "{name}: {}", refusal.message);
        assert_eq!(client.rest()?, b"", "{name}: nothing follows");
        is_on_record(&stage, name, &refusal)?;
    }
    let mut client = stage.connect()?;
    client.send(post(&call(1)))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)), "a good call is still served");
    assert_eq!(server.seen().len(), 1, "{:?}", server.seen());
    Ok(())
}

fn is_on_record(stage: &Stage, name: &str, refusal: &Refusal) -> Result {
    let record = refusal.record.as_ref().with_context(|| format!("{name}: no record"))?;
    assert_eq!(record.kind(), "refused", "{name}");
    assert_eq!(record.body()["reason"], json!(refusal.reason), "{name}");
    assert_eq!(record.body()["message"], json!(refusal.message), "{name}");
    assert_eq!(record.pid(), Some(stage.probe.pid()), "{name}: {}", record.line);
    Ok(())
}

const JSON: &str = "Content-Type: application/json\r\n";

fn head_of_charset(charset: &str, body: &str) -> Vec<u8> {
    let fields = format!("Content-Type: application/json; charset={charset}\r\nContent-Length: {}\r\n", body.len());
    request("POST", "/mcp", &fields, body.as_bytes())
}

#[test]
fn http_that_could_be_framed_in_two_ways() -> Result {
    let body = call(1).to_string();
    let head = |fields: &str| request("POST", "/mcp", &format!("{JSON}{fields}"), body.as_bytes());
    let length = body.len();
    let case = |name, bytes: Vec<u8>, status| Case { name, bytes, refused: (status, -32600, "malformed") };
    all_refused(vec![
        case("CL.TE", head(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")), 400),
        case("Content-Length twice", head(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")), 400),
        case("Content-Length as a list", head(&format!("Content-Length: {length}, {length}\r\n")), 400),
        case("Content-Length with a sign", head(&format!("Content-Length: +{length}\r\n")), 400),
        case("bare LF", head(&format!("X-A: b\nContent-Length: {length}\r\n")), 400),
        case("obs-fold", head(&format!("X-A: b\r\n c\r\nContent-Length: {length}\r\n")), 400),
        case("space before the colon", head(&format!("Content-Length : {length}\r\n")), 400),
        case("a coding that is not read", head("Transfer-Encoding: gzip, chunked\r\n"), 501),
        case("a chunk without a size", head("Transfer-Encoding: chunked\r\n"), 400),
        case("two hosts", head(&format!("Host: other.test\r\nContent-Length: {length}\r\n")), 400),
        case(
            "the form for proxies",
            request("POST", "http://server.test/mcp", &format!("Content-Length: {length}\r\n"), body.as_bytes()),
            400,
        ),
        case("CONNECT", request("CONNECT", "server.test:443", "", b""), 405),
        case("another Expect", head(&format!("Expect: 200-ok\r\nContent-Length: {length}\r\n")), 417),
        case("another version", b"POST /mcp HTTP/3.0\r\nHost: server.test\r\n\r\n".into(), 505),
        case("no Host", b"POST /mcp HTTP/1.1\r\nContent-Length: 0\r\n\r\n".into(), 400),
        case("a head that ends in the middle", b"POST /mcp HTTP/1.1\r\nHost: ser".into(), 400),
        case("a body that ends in the middle", head(&format!("Content-Length: {}\r\n", length + 1)), 400),
        case("a coding of the content", head(&format!("Content-Encoding: gzip\r\nContent-Length: {length}\r\n")), 415),
        case("another charset", head_of_charset("utf-16", &body), 415),
    ])
}

#[test]
fn what_is_not_mcp_on_a_server_that_has_nothing_else() -> Result {
    let case = |name, bytes: &[u8], status| Case { name, bytes: bytes.into(), refused: (status, -32600, "not-mcp") };
    all_refused(vec![
        case("a page", &request("GET", "/index.html", "", b""), 403),
        case("another method", &request("PUT", "/mcp", "Content-Length: 2\r\n", b"{}"), 403),
        case("WebSocket", &request("GET", "/mcp", "Connection: Upgrade\r\nUpgrade: websocket\r\n", b""), 400),
        case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400),
        case("SSH", b"SSH-2.0-client\r\n", 400),
    ])
}

/// `other = "pass"` lets other traffic by, and not MCP in its clothes.
#[test]
fn what_could_carry_mcp_past_the_reader_where_other_traffic_passes() -> Result {
    let body = call(1).to_string();
    let escaped = body.replace("jsonrpc", r"json\u0072pc");
    let plain =
        |target, fields: String, body: &str| request("POST", target, &format!("Content-Type: text/plain\r\n{fields}"), body.as_bytes());
    let whole = |target, body: &str| plain(target, format!("Content-Length: {}\r\n", body.len()), body);
    let chunks = plain("/mcp/", "Transfer-Encoding: chunked\r\n".into(), &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    let case = |name, bytes, status| Case { name, bytes, refused: (status, -32600, "not-mcp") };
    all_refused_where(
        "pass",
        vec![
            case("as text", whole("/mcp/", &body), 403),
            case("as text, with an escape", whole("/mcp/", &escaped), 403),
            case("as text, in chunks", chunks, 403),
            case("WebSocket", request("GET", "/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n", b""), 400),
            case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        ],
    )
}

#[test]
fn other_http_passes_where_it_may_and_is_on_record() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let server = stage.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\npage".into())?;
    let mut client = stage.connect()?;
    let form = request("POST", "/search", "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n", b"q=1");
    for bytes in [request("GET", "/index.html", "", b""), form] {
        client.send(bytes)?;
        assert_eq!(client.message()?.body, b"page");
    }
    assert_eq!(server.seen().len(), 2);
    let records = stage.gateway.records()?;
    let of = |kind: &str| records.iter().filter(|record| record.kind() == kind).collect::<Vec<_>>();
    let targets: Vec<_> = of("request").iter().map(|record| record.body()["http"]["target"].clone()).collect();
    assert_eq!(targets, ["/index.html", "/search"]);
    let outcomes: Vec<_> = of("answer").iter().map(|record| record.body()["outcome"]["status"].clone()).collect();
    assert_eq!(outcomes, [200, 200]);
    Ok(())
}

/// A POST of these bytes, in a revision without `Mcp-*` fields.
fn posted(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let fields = format!("{JSON}MCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n", body.len());
    request("POST", "/mcp", &fields, body)
}

#[test]
fn json_that_could_be_read_in_two_ways() -> Result {
    let malformed = (400, -32700, "malformed");
    let ambiguous = (400, -32600, "ambiguous");
    let case = |name, body: &[u8], refused| Case { name, bytes: posted(body), refused };
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"a":{}{}}}}}"#, "[".repeat(500), "]".repeat(500));
    all_refused(vec![
        case("broken off", br#"{"jsonrpc":"2.0","id":1,"#, malformed),
        case("two messages", br#"{"jsonrpc":"2.0","id":1,"method":"a"}{"jsonrpc":"2.0","id":2,"method":"b"}"#, malformed),
        case("not UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", malformed),
        case("a BOM", b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}", malformed),
        case("a comment", b"{\"jsonrpc\":\"2.0\",/**/\"id\":1,\"method\":\"a\"}", malformed),
        case("a key twice", br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#, ambiguous),
        case(
            "a key twice, once with an escape",
            br#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","na\u006de":"y"}}"#,
            ambiguous,
        ),
        case("a key in another case", br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","METHOD":"tools/call"}"#, ambiguous),
        case("a key in another case alone", br#"{"jsonrpc":"2.0","id":1,"Method":"tools/call"}"#, ambiguous),
        case(
            "a Kelvin sign",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{\"_meta\":{\"progressTo\u{212a}en\":1}}}".as_bytes(),
            ambiguous,
        ),
        case("a key with a NUL", br#"{"jsonrpc":"2.0","id":1,"method":"a","method\u0000":"b"}"#, ambiguous),
        case("too deep", deep.as_bytes(), (400, -32700, "limit")),
    ])
}

/// JSON by its grammar, which common readers nevertheless do not take: the record must not become as unreadable as what it holds.
#[test]
fn json_that_only_some_can_read() -> Result {
    let case = |name, body: &[u8]| Case { name, bytes: posted(body), refused: (400, -32700, "malformed") };
    all_refused(vec![
        case("a lone surrogate", br#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\ud800"}}"#),
        case("a number that overflows", br#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1e999}}"#),
    ])
}

#[test]
fn messages_that_are_none() -> Result {
    let malformed = (400, -32600, "malformed");
    let case = |name, body: &str, refused| Case { name, bytes: posted(body), refused };
    all_refused(vec![
        case("no JSON-RPC", r#"{"id":1,"method":"tools/list"}"#, malformed),
        case("another JSON-RPC", r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#, malformed),
        case("an id that is none", r#"{"jsonrpc":"2.0","id":{"a":1},"method":"tools/list"}"#, malformed),
        case("a method that is none", r#"{"jsonrpc":"2.0","id":1,"method":7}"#, malformed),
        case("a request that is an answer", r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, malformed),
        case(
            "parameters that are none",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
            (400, -32602, "malformed"),
        ),
        case("a batch", r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#, (400, -32600, "batch")),
    ])
}

/// A `tools/call` of 2026-07-28 with these fields beside it.
fn stateless(fields: &str) -> Vec<u8> {
    let body = gateway_tests::clients::tool_call(7, "query", &json!({ "sql": "SELECT 1" })).to_string();
    request("POST", "/mcp", &format!("{JSON}{fields}Content-Length: {}\r\n", body.len()), body.as_bytes())
}

#[test]
fn fields_that_disagree_with_the_message() -> Result {
    let case = |name, fields| Case { name, bytes: stateless(fields), refused: (400, -32020, "header-mismatch") };
    all_refused(vec![
        case("another method", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nMcp-Name: query\r\n"),
        case("another tool", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: execute\r\n"),
        case(
            "another tool, in base64",
            "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: =?base64?ZXhlY3V0ZQ==?=\r\n",
        ),
        case("no method", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Name: query\r\n"),
        case("no name", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"),
        case("a name twice", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\nMcp-Name: query\r\n"),
        case("an older revision", "MCP-Protocol-Version: 2025-03-26\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\n"),
    ])
}

#[test]
fn a_refusal_answers_the_call_that_it_refuses_and_records_what_was_sent() -> Result {
    let (mut stage, _server) = stage()?;
    let mut client = stage.connect()?;
    client.send(stateless("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\nMcp-Name: query\r\n"))?;
    let refusal = Refusal::read(&stage.gateway, &client.message()?.body)?;
    assert_eq!(refusal.id, json!(7));
    let record = refusal.record.as_ref().map(Record::body).cloned().unwrap_or_default();
    assert_eq!(record["payload"]["json"]["params"]["name"], "query", "{record}");
    assert_eq!(record["http"]["target"], "/mcp", "{record}");
    Ok(())
}

/// Batches went with 2025-06-18: a session that agreed on a later revision has none, whatever a field of the request claims.
#[test]
fn a_field_that_claims_an_older_revision_does_not_bring_batches_back() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let server = stage.serve(|request| match request.json() {
        Ok(Value::Object(message)) => {
            let agreed = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "s", "version": "1" } } });
            let body = agreed.to_string();
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: one\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
        }
        _ => answer(&json!("a batch")),
    })?;
    let mut client = stage.connect()?;
    client.send(post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } } })))?;
    assert_eq!(client.message()?.field("mcp-session-id"), Some("one"));
    let batch = json!([call(2), call(3)]).to_string();
    let fields = format!("{JSON}MCP-Protocol-Version: 2025-03-26\r\nMcp-Session-Id: one\r\nContent-Length: {}\r\n", batch.len());
    client.send(request("POST", "/mcp", &fields, batch.as_bytes()))?;
    let answer = client.message()?;
    let refusal = Refusal::read(&stage.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.code), (400, -32600), "{}", refusal.message);
    is_on_record(&stage, "a batch", &refusal)?;
    assert_eq!(server.seen().len(), 1);
    Ok(())
}
