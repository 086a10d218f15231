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
    process: Proc,
}

impl Cloud {
    /// With more arguments: see its `--help`.
    pub(crate) fn start(more: &[&str]) -> anyhow::Result<Self> {
        let mut process = Launch::new(clients::python("sdk-v1"))
            .arg(binaries::root().join("tests/python/sigv4_server.py"))
            .args(["--service", "execute-api", "--region", "eu-central-1"])
            .args(more)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .start()?;
        let port = wait_for("the server's port", LIMIT, || {
            anyhow::ensure!(process.ended()?.is_none(), "it ended: {}", process.stderr());
            Ok(process.stdout().lines().find_map(|line| line.strip_prefix("ready ")?.trim().parse::<u16>().ok()))
        })?;
        Ok(Self { url: format!("http://127.0.0.1:{port}/mcp"), process })
    }

    /// How many requests it has refused.
    pub(crate) fn refusals(&self) -> usize {
        self.process.stderr().lines().filter(|line| line.contains("Exception: ")).count()
    }
}

/// A server with more arguments, and a gateway that signs for it.
fn signing(more: &[&str]) -> anyhow::Result<(Gateway, Cloud)> {
    let cloud = Cloud::start(&[&["--key", &format!("{KEY_ID}={SECRET}")], more].concat())?;
    let entry = ServerEntry::new("cloud", &cloud.url).durability("os").setting("credential", CREDENTIAL);
    let mut gateway = Gateway::at_an_endpoint().endpoint("").server(entry).prepare()?;
    for (name, value) in [("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)] {
        gateway.env(name, value);
    }
    gateway.run()?;
    Ok((gateway, cloud))
}

pub(crate) fn call(gateway: &Gateway, target: &str, fields: &str, body: &str) -> anyhow::Result<Message> {
    let endpoint: std::net::SocketAddr = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
    let mut wire = Wire::new(TcpStream::connect(endpoint)?)?;
    let fields = format!("Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{fields}");
    wire.send(request_to(&endpoint.to_string(), "POST", target, &fields, body.as_bytes()))?;
    wire.message()
}

pub(crate) fn tool(name: &str, text: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": { "text": text } } }).to_string()
}

fn is_result(message: &Message) -> bool {
    message.json().is_ok_and(|answer| answer.get("result").is_some())
}

#[test]
fn what_is_sent_is_signed_whatever_the_caller_sent_and_however() -> Result {
    let (gateway, _server) = signing(&[])?;
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

/// What the tool `echo` says of a call.
pub(crate) fn told(answer: &Message) -> anyhow::Result<Value> {
    let answered = answer.json()?;
    let text = answered["result"]["content"][0]["text"]
        .as_str()
        .with_context(|| format!("{}: {}", answer.status(), String::from_utf8_lossy(&answer.body)))?;
    Ok(serde_json::from_str(text)?)
}

#[test]
fn a_server_with_another_clock_is_signed_for_by_its_own_and_does_each_call_once() -> Result {
    for (ahead, status) in [("1200", "403"), ("-1200", "403"), ("1200", "401"), ("-1200", "400")] {
        let (gateway, server) = signing(&["--ahead", ahead, "--refusal", status])?;
        for nth in 1..=2 {
            let body = tool("echo", "x");
            let done = call(&gateway, "/cloud", &format!("Content-Length: {}\r\n", body.len()), &body)?;
            let told = told(&done).with_context(|| format!("{ahead} s ahead, {status}"))?;
            assert_eq!((done.status(), &told["calls"]), (200, &json!(nth)), "{ahead} s ahead, {status}");
        }
        assert_eq!(server.refusals(), 1, "once for its clock, which is known from then on");
        let answers: Vec<Value> =
            gateway.records()?.iter().filter(|record| record.kind() == "answer").map(|record| record.body().clone()).collect();
        assert_eq!(answers.len(), 2, "each call is one call on record: {answers:?}");
    }
    Ok(())
}

#[test]
fn a_signature_that_is_wrong_for_another_reason_is_not_sent_again() -> Result {
    for status in ["401", "403"] {
        // The server has another secret under the same id.
        let server = Cloud::start(&["--key", &format!("{KEY_ID}=another"), "--refusal", status])?;
        let entry = ServerEntry::new("cloud", &server.url).durability("os").setting("credential", CREDENTIAL);
        let mut gateway = Gateway::at_an_endpoint().endpoint("").server(entry).prepare()?;
        gateway.env("AWS_ACCESS_KEY_ID", KEY_ID);
        gateway.env("AWS_SECRET_ACCESS_KEY", SECRET);
        gateway.run()?;
        let body = tool("echo", "x");
        let done = call(&gateway, "/cloud", &format!("Content-Length: {}\r\n", body.len()), &body)?;
        assert_eq!(done.status(), if status == "401" { 502 } else { 403 }, "{}", String::from_utf8_lossy(&done.body));
        assert_eq!(server.refusals(), 1, "{status}");
    }
    Ok(())
}

#[test]
fn a_signature_that_is_echoed_is_masked() -> Result {
    let (gateway, _server) = signing(&[])?;
    let body = tool("reveal", "authorization");
    let done = call(&gateway, "/cloud", &format!("Content-Length: {}\r\n", body.len()), &body)?;
    let text = String::from_utf8(done.body).context("not text")?;
    let signature = text.split("Signature=").nth(1).context("the server does not echo the signature")?;
    assert!(signature.starts_with("****"), "{text}");
    Ok(())
}
