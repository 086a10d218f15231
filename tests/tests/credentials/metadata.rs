//! The host's metadata service as a governed address: the gateway takes the instance's keys from it, and agents are refused.

use std::process::Command;

use gateway_tests::{
    clients::{curl, tool_call},
    http::{Message, answer},
    raw::Stage,
    wait_until,
};
use serde_json::{Value, json};

use crate::{LIMIT, Result, signed};

const SECRET: &str = "metadata/secret/0123456789abcdefghijklmn";
const TOKEN: &str = "metadata-session-token-0123456789";

/// In a few seconds, as the service writes it: so the gateway has to ask again while the test runs.
fn soon() -> String {
    let date = Command::new("date").args(["-u", "-d", "+12 seconds", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8_lossy(&date.expect("date").stdout).trim().to_owned()
}

/// What EC2's metadata service answers, version 2.
fn metadata(request: &Message) -> Vec<u8> {
    let path = request.start.split(' ').nth(1).unwrap_or_default();
    let plain = |body: &str| {
        let ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n";
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{ttl}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    match path {
        "/latest/api/token" => plain("a-token-of-the-metadata-service"),
        path if path.ends_with("/security-credentials/") || path.ends_with("/security-credentials-extended/") => plain("agent-host"),
        path if path.ends_with("/agent-host") => answer(&json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAMETADATA", "SecretAccessKey": SECRET, "Token": TOKEN,
            "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": soon(),
        })),
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
}

#[test]
fn agents_are_refused_the_instances_keys_with_which_the_gateway_signs() -> Result {
    gateway_tests::needs::require()?;
    let cloud = signed::Cloud::start(&["--key", &format!("ASIAMETADATA={SECRET}={TOKEN}")])?;
    let section = format!("[[server]]\nname = \"cloud\"\nurl = \"{}\"\ncredential = {}\n", cloud.url, signed::CREDENTIAL);
    let mut stage = Stage::bare(|server| server, &section)?;
    let service = stage.serve(metadata)?;
    // The last link of the default chain: there are no keys before it.
    stage.gateway.env("AWS_EC2_METADATA_DISABLED", "false");
    stage.gateway.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", stage.address));
    stage.gateway.guard_up()?;
    stage.gateway.run()?;
    // As where the guard watches the whole host: the gateway's own connections pass its own hooks, or come back to it.
    stage.cgroup.take(stage.gateway.pid()?)?;

    let keys = format!("http://{}/latest/meta-data/iam/security-credentials/agent-host", stage.address);
    let asked = gateway_tests::Launch::new("curl").args(["-sS", &keys]).under(&stage.cgroup).run(LIMIT)?.ok()?;
    let refused: Value = serde_json::from_str(&asked.stdout)?;
    assert_eq!(refused["error"]["data"]["reason"], "not-mcp", "{}", asked.stdout);
    let is_the_gateways = |request: &Message| request.field("user-agent").is_some_and(|agent| agent.starts_with("aws-sdk-rust"));
    assert!(service.seen().iter().all(is_the_gateways), "an agent has reached the service: {:?}", service.seen());

    let before = service.seen().len();
    wait_until("the gateway has its next keys, past its own hooks", LIMIT, || service.seen().len() > before)?;
    let call = tool_call(1, "echo", &json!({ "text": "x" }));
    let done = curl(&cloud.url, &call).under(&stage.cgroup).run(LIMIT)?.ok()?;
    assert!(done.stdout.contains("\"result\""), "{}", done.stdout);
    let answered = stage.gateway.record("the answer", |record| record.kind() == "answer")?;
    assert_eq!(answered.body()["credential"]["key"], "ASIAMETADATA", "{}", answered.line);
    Ok(())
}
