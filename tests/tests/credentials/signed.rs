//! Requests signed for AWS, to a server that checks the signature with botocore.

use std::net::TcpStream;

use anyhow::Context;
use gateway_tests::{
    Gateway, Launch, Proc, ServerEntry, binaries, clients,
    http::{Message, request_to},
    raw::Wire,
    wait::wait_for,
};
use serde_json::{Value, json};

use crate::{LIMIT, Result};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

pub(crate) const CREDENTIAL: &str = r#"{ kind = "sigv4", service = "execute-api", region = "eu-central-1" }"#;

/// A server that checks signatures.
pub(crate) struct Cloud {
    pub(crate) url: String,
    _process: Proc,
}

impl Cloud {
    /// With a clock that is so many seconds ahead, and this key: `ID=SECRET`.
    pub(crate) fn start(ahead: i64, key: &str) -> anyhow::Result<Self> {
        let mut process = Launch::new(clients::python("sdk-v1"))
            .arg(binaries::root().join("tests/python/sigv4_server.py"))
            .args(["--service", "execute-api", "--region", "eu-central-1", "--key", key, "--ahead", &ahead.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .start()?;
        let port = wait_for("the server's port", LIMIT, || {
            anyhow::ensure!(process.ended()?.is_none(), "it ended: {}", process.stderr());
            Ok(process.stdout().lines().find_map(|line| line.strip_prefix("ready ")?.trim().parse::<u16>().ok()))
        })?;
        Ok(Self { url: format!("http://127.0.0.1:{port}/mcp"), _process: process })
    }
}

/// A server whose clock is so many seconds ahead, and a gateway that signs for it.
fn signing(ahead: i64) -> anyhow::Result<(Gateway, Cloud)> {
    let cloud = Cloud::start(ahead, &format!("{KEY_ID}={SECRET}"))?;
    let entry = ServerEntry::new("cloud", &cloud.url).durability("os").setting("credential", CREDENTIAL);
    let mut gateway = Gateway::at_an_endpoint().endpoint("").server(entry).prepare()?;
    for (name, value) in [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)] {
        gateway.env(name, value);
    }
    gateway.run()?;
    Ok((gateway, cloud))
}

fn call(gateway: &Gateway, target: &str, fields: &str, body: &str) -> anyhow::Result<Message> {
    let endpoint: std::net::SocketAddr = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
    let mut wire = Wire::new(TcpStream::connect(endpoint)?)?;
    let fields = format!("Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{fields}");
    wire.send(request_to(&endpoint.to_string(), "POST", target, &fields, body.as_bytes()))?;
    wire.message()
}

fn tool(name: &str, text: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": { "text": text } } }).to_string()
}

fn is_result(message: &Message) -> bool {
    message.json().is_ok_and(|answer| answer.get("result").is_some())
}

#[test]
fn what_is_sent_is_signed_whatever_the_caller_sent_and_however() -> Result {
    let (gateway, _server) = signing(0)?;
    let body = tool("echo", "héllo & <more>");
    let length = format!("Content-Length: {}\r\n", body.len());
    for (target, fields) in [
        ("/cloud", length.clone()),
        ("/cloud?b=2&a=%20x&c", length.clone()),
        (
            "/cloud",
            format!(
                "{length}Authorization: AWS4-HMAC-SHA256 Credential=theirs\r\nX-Amz-Date: 20200101T000000Z\r\nX-Amz-Security-Token: theirs\r\n"
            ),
        ),
        ("/cloud", format!("{length}X-Custom:   spaced   out  \r\nX-Amz-Meta: m\r\n")),
    ] {
        let done = call(&gateway, target, &fields, &body)?;
        assert!(done.status() == 200 && is_result(&done), "{target} {fields}: {} {}", done.status(), String::from_utf8_lossy(&done.body));
    }
    // A body in chunks: what is signed is what it holds.
    let (one, two) = body.split_at(20);
    let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    let done = call(&gateway, "/cloud", "Transfer-Encoding: chunked\r\n", &chunks)?;
    assert!(is_result(&done), "{}", String::from_utf8_lossy(&done.body));
    // The record names the key, and the answer does not show what signed.
    let answered = gateway.record("the answer", |record| record.kind() == "answer")?;
    assert_eq!(answered.body()["credential"], json!({ "kind": "sigv4", "key": KEY_ID }), "{}", answered.line);
    Ok(())
}

#[test]
fn a_server_with_another_clock_is_signed_for_by_its_own() -> Result {
    for ahead in [1200, -1200] {
        let (gateway, _server) = signing(ahead)?;
        for _ in 0..2 {
            let body = tool("echo", "x");
            let done = call(&gateway, "/cloud", &format!("Content-Length: {}\r\n", body.len()), &body)?;
            assert!(is_result(&done), "{ahead} s ahead: {} {}", done.status(), String::from_utf8_lossy(&done.body));
        }
        let answers: Vec<Value> =
            gateway.records()?.iter().filter(|record| record.kind() == "answer").map(|record| record.body().clone()).collect();
        assert_eq!(answers.len(), 2, "each call is one call on record: {answers:?}");
    }
    Ok(())
}

#[test]
fn a_signature_that_is_echoed_is_masked() -> Result {
    let (gateway, _server) = signing(0)?;
    let body = tool("reveal", "authorization");
    let done = call(&gateway, "/cloud", &format!("Content-Length: {}\r\n", body.len()), &body)?;
    let text = String::from_utf8(done.body).context("not text")?;
    let signature = text.split("Signature=").nth(1).context("the server does not echo the signature")?;
    assert!(signature.starts_with("****"), "{text}");
    Ok(())
}
