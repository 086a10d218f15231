//! Servers of all kinds behind the endpoint, and capture beside it.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, time::Duration};

use gateway_tests::{
    Cgroup, Gateway, Netns, ServerEntry,
    clients::{self, tool_call},
    pki::{Pki, sha256},
    servers, wait_until,
};
use serde_json::json;

use crate::{Result, answer_to, call_of};

const LIMIT: Duration = Duration::from_secs(60);
const HOST: &str = "mcp.clinic.test";

#[test]
fn an_https_server_is_verified_and_needs_no_authority_of_the_gateways() -> Result {
    let (netns, pki) = (Netns::new()?, Pki::new()?);
    let clinic = servers::clinic(&netns)?;
    let (names, issued) = (netns.names(HOST)?, pki.server(&[HOST])?);
    let nginx = servers::nginx(&netns, &issued, clinic.address, "")?;
    let entry = |name: &str| ServerEntry::new(name, &format!("https://{HOST}/{name}"));
    let gateway = Gateway::at_an_endpoint()
        .server(entry("mcp").ca_file(&pki.ca_file()))
        .server(entry("other").ca_file(&Pki::new()?.ca_file()))
        .hosts(names.path())
        .start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 41 + 1 AS n" }));
    let done = clients::curl(&gateway.url("mcp")?, &call).run(LIMIT)?.ok()?;
    assert!(done.stdout.contains("42"), "{}", done.stdout);
    let answer = answer_to(&gateway, &call_of(&gateway, done.pid, "query")?)?;
    assert_eq!(answer.body()["tls"]["certificate_sha256"], json!(sha256(issued.der())), "{}", answer.line);
    assert_eq!(answer.body()["upstream"], json!(netns.at(443).to_string()));

    let before = nginx.requests()?.len();
    let done = clients::curl(&gateway.url("other")?, &call).run(LIMIT)?.ok()?;
    let error = serde_json::from_str::<serde_json::Value>(&done.stdout)?["error"].clone();
    assert_eq!(error["data"]["reason"], "upstream-tls", "{error}");
    assert_eq!(nginx.requests()?.len(), before, "a server that is not trusted has seen the call");
    Ok(())
}

#[test]
fn captured_and_calling_clients_share_one_gateway() -> Result {
    gateway_tests::needs::require()?;
    let (netns, cgroup) = (Netns::new()?, Cgroup::new()?);
    let clinic = servers::clinic(&netns)?;
    let mut gateway = Gateway::over(&cgroup).endpoint("").server(ServerEntry::new("clinic", &clinic.url)).start()?;
    // As where the guard watches the whole host: the gateway's own connections are not to come back to it.
    cgroup.take(gateway.pid()?)?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let captured = clients::curl(&clinic.url, &call).under(&cgroup).run(LIMIT)?.ok()?;
    let calling = clients::curl(&gateway.url("clinic")?, &call).run(LIMIT)?.ok()?;
    // One that is captured may call the endpoint too: it is not a governed address.
    let both = clients::curl(&gateway.url("clinic")?, &call).under(&cgroup).run(LIMIT)?.ok()?;
    for (done, via) in [(&captured, "capture"), (&calling, "endpoint"), (&both, "endpoint")] {
        assert_eq!(done.stdout, captured.stdout);
        let request = call_of(&gateway, done.pid, "query")?;
        assert_eq!(request.body()["caller"]["origin"]["via"], via, "{}", request.line);
        assert_eq!(answer_to(&gateway, &request)?.body()["outcome"]["status"], 200);
    }
    assert_eq!(clinic.seen()?.len(), 3);
    assert!(gateway.metric("mcp_gateway_kernel_redirected_total")? >= 1.0);
    gateway.drain()?;
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn a_call_in_flight_at_the_end_is_answered_and_no_other_begins() -> Result {
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let mut gateway = Gateway::at_an_endpoint().server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let url = gateway.url("clinic")?;
    let call = |id: u64| clients::curl(&url, &tool_call(id, "query", &json!({ "sql": "SELECT 1 AS one" })));
    clinic.freeze()?;
    let waiting = call(1).start()?;
    gateway.record("the call in flight", |record| record.kind() == "request")?;
    gateway.terminate()?;
    let endpoint = crate::address_of(&gateway)?;
    wait_until("the endpoint to be closed", LIMIT, || TcpStream::connect(endpoint).is_err())?;
    assert_eq!(call(2).run(LIMIT)?.code(), Some(7), "connection refused");
    clinic.thaw()?;
    let done = waiting.finish(LIMIT)?.ok()?;
    assert!(done.stdout.contains("\"result\""), "{}", done.stdout);
    gateway.finish()?;
    gateway.verify()?.ok()?;
    let records = gateway.records()?;
    assert_eq!(records.last().map(|record| record.kind().to_owned()).as_deref(), Some("stop"));
    assert!(!records.iter().any(|record| record.kind() == "outcome_unknown"));
    Ok(())
}

#[test]
fn an_address_that_does_not_answer_is_passed_over_for_the_next() -> Result {
    let (there, empty) = (Netns::new()?, Netns::new()?);
    let clinic = servers::clinic(&there)?;
    let names = tempfile::NamedTempFile::new()?;
    fs::set_permissions(names.path(), fs::Permissions::from_mode(0o644))?;
    fs::write(names.path(), format!("127.0.0.1 localhost\n{} {HOST}\n{} {HOST}\n", empty.v4(), there.v4()))?;
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("clinic", &format!("http://{HOST}:8000/mcp"))).hosts(names.path());
    let gateway = gateway.start()?;
    for _ in 0..2 {
        let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
        let done = clients::curl(&gateway.url("clinic")?, &call).run(LIMIT)?.ok()?;
        assert!(done.stdout.contains("\"result\""), "{}", done.stdout);
        let answer = answer_to(&gateway, &call_of(&gateway, done.pid, "query")?)?;
        assert_eq!(answer.body()["upstream"], json!(clinic.address.to_string()));
    }
    Ok(())
}

#[test]
fn a_name_that_does_not_resolve_is_said_to_be_the_cause() -> Result {
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("lost", "http://nowhere.invalid/mcp")).start()?;
    let done = clients::curl(&gateway.url("lost")?, &tool_call(1, "query", &json!({}))).run(LIMIT)?.ok()?;
    let error = serde_json::from_str::<serde_json::Value>(&done.stdout)?["error"].clone();
    assert_eq!(error["data"]["reason"], "upstream");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("does not resolve")), "{error}");
    Ok(())
}
