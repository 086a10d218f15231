//! What the endpoint does not let through: recorded, answered in words, and never forwarded.

use std::net::{TcpListener, TcpStream};

use gateway_tests::{
    Gateway, ServerEntry,
    http::{Message, answer, call, request_to, result},
    raw::{Stub, Wire},
    refusal::Refusal,
};
use serde_json::json;

use crate::{Result, Scene};

fn scene(settings: &str) -> anyhow::Result<Scene> {
    Scene::new(settings, |request| answer(&result(&request.json().map(|call| call["id"].clone()).unwrap_or_default())))
}

/// The refusal that an answer is, which the record has as well; nothing has reached the server.
fn refused(scene: &Scene, answer: &Message, status: u16, reason: &str) -> anyhow::Result<Refusal> {
    let refusal = Refusal::read(&scene.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.reason.as_str()), (status, reason), "{}", refusal.message);
    let record = refusal.record.as_ref().map(|record| record.body().clone()).unwrap_or_default();
    assert_eq!(record["reason"], reason);
    assert_eq!(record["caller"]["process"]["pid"], json!(std::process::id()));
    assert!(scene.server.seen().is_empty(), "{:?}", scene.server.seen());
    Ok(refusal)
}

#[test]
fn a_request_for_a_host_that_is_not_the_endpoints_is_refused() -> Result {
    let scene = scene("hosts = [\"gateway.test\"]")?;
    let body = call(1).to_string();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for host in ["rebound.example", "rebound.example:8080", "127.0.0.1", "[::1]:8080", "gateway.test.example"] {
        let mut wire = scene.connect()?;
        wire.send(request_to(host, "POST", "/vault", &fields, body.as_bytes()))?;
        let refusal = refused(&scene, &wire.message()?, 421, "host-not-allowed")?;
        assert!(refusal.message.contains(host));
    }
    // HTTP/1.0 lets a client leave it out; then nothing says that the gateway was meant.
    let mut wire = scene.connect()?;
    wire.send(format!("POST /vault HTTP/1.0\r\n{fields}\r\n{body}"))?;
    refused(&scene, &wire.message()?, 421, "host-not-allowed")?;
    let own = scene.endpoint.to_string();
    for host in ["gateway.test", "GATEWAY.test:443", "localhost", own.as_str()] {
        let mut wire = scene.connect()?;
        wire.send(request_to(host, "POST", "/vault", &fields, body.as_bytes()))?;
        assert_eq!(wire.message()?.status(), 200, "{host}");
    }
    Ok(())
}

#[test]
fn pages_of_a_browser_may_call_only_from_origins_that_are_listed() -> Result {
    let scene = scene("origins = [\"https://inspector.example\"]")?;
    for origin in
        ["https://evil.example", "null", "http://inspector.example", "https://inspector.example.evil", "https://inspector.example:8443"]
    {
        let answer = scene.post("/vault", &format!("Origin: {origin}\r\n"), &call(1))?;
        refused(&scene, &answer, 403, "origin-not-allowed")?;
        // Nor may it ask whether it may.
        let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        refused(&scene, &scene.ask("OPTIONS", "/vault", &fields, b"")?, 403, "origin-not-allowed")?;
    }
    let two = "Origin: https://inspector.example\r\nOrigin: https://evil.example\r\n";
    refused(&scene, &scene.post("/vault", two, &call(1))?, 403, "origin-not-allowed")?;
    assert_eq!(scene.post("/vault", "Origin: https://inspector.example\r\n", &call(1))?.status(), 200);
    assert_eq!(scene.server.seen()[0].field("origin"), Some("https://inspector.example"), "the server decides on it too");
    Ok(())
}

#[test]
fn a_path_of_no_server_tells_no_names() -> Result {
    let scene = scene("")?;
    for target in [
        "/",
        "/vaul",
        "/vault2/mcp",
        "/Vault",
        "/mcp",
        "//vault",
        "/%76ault",
        "/.well-known/oauth-protected-resource",
        "/.well-known/x/vaul",
    ] {
        let answer = scene.post(target, "", &call(1))?;
        let refusal = refused(&scene, &answer, 404, "unknown-server")?;
        assert!(!String::from_utf8_lossy(&answer.body).contains("vault"), "{refusal:?}");
        let record = refusal.record.map(|record| record.body().clone()).unwrap_or_default();
        assert_eq!((&record["server"], &record["http"]["target"]), (&json!(null), &json!(target)));
    }
    Ok(())
}

#[test]
fn what_is_read_strictly_when_captured_is_read_strictly_here() -> Result {
    let scene = scene("")?;
    let twice = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","METHOD":"tools/call"}"#;
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", twice.len());
    let refusal = refused(&scene, &scene.ask("POST", "/vault/mcp", &fields, twice)?, 400, "ambiguous")?;
    let record = refusal.record.map(|record| record.body().clone()).unwrap_or_default();
    assert_eq!((&record["server"], &record["http"]["requested"]), (&json!("vault"), &json!("/vault/mcp")));
    refused(&scene, &scene.ask("GET", "/vault/page", "", b"")?, 403, "not-mcp")?;
    Ok(())
}

/// No record, no action: it is one pipeline.
#[test]
fn a_call_that_cannot_be_recorded_is_not_forwarded() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let server = Stub::on(listener, |request| answer(&result(&request.json().unwrap_or_default()["id"])));
    // Room for one segment of 4 MiB.
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("vault", &url)).section("[audit]\nmax_total = \"5MiB\"").start()?;
    let endpoint = crate::address_of(&gateway)?;
    let ask = |id: u64| -> anyhow::Result<Message> {
        let mut message = call(id);
        message["params"]["arguments"]["filler"] = json!("x".repeat(200_000));
        let body = message.to_string();
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let mut wire = Wire::new(TcpStream::connect(endpoint)?)?;
        wire.send(request_to(&endpoint.to_string(), "POST", "/vault", &fields, body.as_bytes()))?;
        wire.message()
    };
    let mut last = ask(1)?;
    for id in 2..30 {
        if last.status() != 200 {
            break;
        }
        last = ask(id)?;
    }
    assert_eq!(last.status(), 503, "6 MB of records fit into 5 MiB");
    let seen = server.seen().len();
    let answer = ask(99)?;
    assert_eq!((answer.status(), Refusal::read(&gateway, &answer.body)?.reason.as_str()), (503, "audit-unavailable"));
    assert_eq!(server.seen().len(), seen, "the server has seen a call that is not on record");
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn other_protocols_than_the_endpoints_are_refused() -> Result {
    let scene = scene("")?;
    let spoken = |bytes: &[u8]| -> anyhow::Result<Wire> {
        let mut wire = scene.connect()?;
        wire.send(bytes)?;
        Ok(wire)
    };
    refused(&scene, &spoken(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?.message()?, 400, "not-mcp")?;
    refused(&scene, &spoken(b"\x00\x01\x02\x03")?.message()?, 400, "not-mcp")?;
    let alert = spoken(&[0x16, 3, 1, 0, 4, 1, 0, 0, 0])?.rest()?;
    assert_eq!(alert, [0x15, 3, 3, 0, 2, 2, 40], "handshake_failure");
    let record = scene.gateway.record("the refusal of TLS", |record| record.line.contains("it has no certificate"))?;
    assert_eq!(record.body()["server"], json!(null));
    Ok(())
}
