//! Unmodified clients that are given the gateway's URL: what they print is what they print past it.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use gateway_tests::{
    Gateway, Launch, Netns, ServerEntry, binaries,
    clients::{self, Sdk, tool_call},
    pki::Pki,
    servers::{self, ClinicServer, Transport},
};
use serde_json::{Value, json};

use crate::{Result, answer_to, call_of};

const LIMIT: Duration = Duration::from_secs(90);

/// Runs a client past the gateway and through it; gives the pid of the one that went through.
fn same(client: impl Fn(&str) -> anyhow::Result<Launch>, past: &str, through: &str) -> anyhow::Result<u32> {
    let direct = client(past)?.run(LIMIT)?.ok()?;
    let called = client(through)?.run(LIMIT)?.ok()?;
    ensure!(direct.stdout == called.stdout, "past the gateway:\n{}\nthrough it:\n{}", direct.stdout, called.stdout);
    Ok(called.pid)
}

struct Clinic {
    gateway: Gateway,
    server: ClinicServer,
    _netns: Netns,
}

fn clinic(settings: &str) -> anyhow::Result<Clinic> {
    let netns = Netns::new()?;
    let server = servers::clinic(&netns)?;
    let gateway = Gateway::at_an_endpoint().endpoint(settings).server(ServerEntry::new("clinic-db", &server.url)).start()?;
    Ok(Clinic { gateway, server, _netns: netns })
}

#[test]
fn curl_is_answered_as_past_the_gateway_by_both_forms_of_the_url() -> Result {
    let Clinic { gateway, server, _netns } = clinic("")?;
    let call = tool_call(7, "query", &json!({ "sql": "SELECT name, ssn FROM patients WHERE id = 1" }));
    for path in ["clinic-db", "clinic-db/mcp"] {
        let pid = same(|url| Ok(clients::curl(url, &call)), &server.url, &gateway.url(path)?)?;
        let request = call_of(&gateway, pid, "query")?;
        assert_eq!(request.body()["server"], "clinic-db");
        assert_eq!(request.body()["payload"]["json"], call);
        assert_eq!(request.body()["http"]["requested"], json!(format!("/{path}")));
        assert_eq!(request.body()["http"]["target"], "/mcp");
        let answer = answer_to(&gateway, &request)?;
        assert_eq!(answer.body()["upstream"], json!(server.address.to_string()));
        assert!(answer.line.contains("Pavel Lindqvist"), "{}", answer.line);
    }
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn rmcp_is_answered_as_past_the_gateway() -> Result {
    let Clinic { gateway, server, _netns } = clinic("")?;
    for revision in [&[][..], &["--legacy"][..]] {
        let client = |url: &str| {
            let client = Launch::new(binaries::own("rmcp-client")?);
            Ok(client.args([url, "export", r#"{"at_least_bytes": 200000}"#, "--progress"]).args(revision))
        };
        let pid = same(client, &server.url, &gateway.url("clinic-db/mcp")?)?;
        answer_to(&gateway, &call_of(&gateway, pid, "export")?)?;
    }
    gateway.verify()?.ok()?;
    Ok(())
}

fn sdk_against_the_clinic(sdk: Sdk, modes: &[&[&str]]) -> Result {
    let Clinic { gateway, server, _netns } = clinic("")?;
    for mode in modes {
        for path in ["clinic-db/mcp", "clinic-db"] {
            let pid = same(|url| Ok(sdk.against(url, "clinic")?.args(*mode)), &server.url, &gateway.url(path)?)?;
            for tool in ["query", "export"] {
                answer_to(&gateway, &call_of(&gateway, pid, tool)?)?;
            }
        }
    }
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn the_older_python_sdk_is_answered_as_past_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV1, &[&[]])
}

#[test]
fn the_newest_python_sdk_is_answered_as_past_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV2, &[&[], &["--mode", "legacy"]])
}

#[test]
fn the_older_typescript_sdk_is_answered_as_past_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV1, &[&[]])
}

#[test]
fn the_newest_typescript_sdk_is_answered_as_past_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV2, &[&[], &["--mode", "legacy"]])
}

/// The reference server, which asks back, reports progress, notifies, and lets a client resume.
fn sdk_against_everything(sdk: Sdk, transport: Transport) -> Result {
    let netns = Netns::new()?;
    let server = servers::everything(&netns, transport)?;
    let mut gateway = Gateway::at_an_endpoint().server(ServerEntry::new("everything", &server.url)).start()?;
    let more: &[&str] = if transport == Transport::Sse { &["--transport", "sse"] } else { &[] };
    let path = server.url.rsplit('/').next().context("a URL has a path")?;
    let client = |url: &str| Ok(sdk.against(url, "everything")?.args(more));
    let pid = same(client, &server.url, &gateway.url(&format!("everything/{path}"))?)?;
    let sampled = call_of(&gateway, pid, "trigger-sampling-request")?;
    let answer = answer_to(&gateway, &sampled)?;
    assert_eq!(answer.body()["outcome"]["gateway"], Value::Null, "{}", answer.line);
    // What the server asked, and the client answered by a request of its own, is one story here too.
    let question = gateway.record("the question", |record| record.method() == Some("sampling/createMessage"))?;
    gateway.record("its answer", |record| record.body()["continues"] == json!(question.seq()) && record.pid() == Some(pid))?;
    gateway.drain()?;
    gateway.verify()?.ok()?;
    let records = gateway.records()?;
    let bad = records.iter().find(|record| ["outcome_unknown", "refused"].contains(&record.kind()));
    assert!(bad.is_none(), "{bad:?}");
    Ok(())
}

#[test]
fn the_older_python_sdk_with_the_reference_server() -> Result {
    sdk_against_everything(Sdk::PythonV1, Transport::StreamableHttp)
}

#[test]
fn the_newest_python_sdk_with_the_reference_server() -> Result {
    sdk_against_everything(Sdk::PythonV2, Transport::StreamableHttp)
}

#[test]
fn the_older_typescript_sdk_with_the_reference_server() -> Result {
    sdk_against_everything(Sdk::TypeScriptV1, Transport::StreamableHttp)
}

#[test]
fn the_newest_typescript_sdk_with_the_reference_server() -> Result {
    sdk_against_everything(Sdk::TypeScriptV2, Transport::StreamableHttp)
}

#[test]
fn the_older_python_sdk_over_http_with_server_sent_events() -> Result {
    sdk_against_everything(Sdk::PythonV1, Transport::Sse)
}

#[test]
fn the_older_typescript_sdk_over_http_with_server_sent_events() -> Result {
    sdk_against_everything(Sdk::TypeScriptV1, Transport::Sse)
}

#[test]
fn over_tls_callers_see_the_operators_certificate() -> Result {
    let pki = Pki::new()?;
    let issued = pki.server(&["gateway.test", "localhost"])?;
    let files = format!("certificate = {:?}\nkey = {:?}\nhosts = [\"gateway.test\"]", issued.certificate, issued.key);
    let Clinic { gateway, server, _netns } = clinic(&files)?;
    let endpoint = crate::address_of(&gateway)?;
    let names = tempfile::Builder::new().tempfile()?;
    std::fs::write(names.path(), format!("127.0.0.1 localhost\n{} gateway.test\n", endpoint.ip()))?;
    let url = format!("https://gateway.test:{}/clinic-db/mcp", endpoint.port());
    let trusting = |client: Launch, ca: &Path| {
        client.env("SSL_CERT_FILE", ca).env("NODE_EXTRA_CA_CERTS", ca).env("CURL_CA_BUNDLE", ca).hosts(names.path())
    };
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let curl = |url: &str| Ok(trusting(clients::curl(url, &call), &pki.ca_file()));
    let pid = same(curl, &server.url, &url)?;
    let request = call_of(&gateway, pid, "query")?;
    assert_eq!(request.body()["tls"]["version"], "1.3", "{}", request.line);
    for sdk in [Sdk::PythonV1, Sdk::TypeScriptV2] {
        let pid = same(|url| Ok(trusting(sdk.against(url, "clinic")?, &pki.ca_file())), &server.url, &url)?;
        answer_to(&gateway, &call_of(&gateway, pid, "export")?)?;
    }

    let distrusting = trusting(clients::curl(&url, &call), &Pki::new()?.ca_file()).run(LIMIT)?;
    assert_eq!(distrusting.code(), Some(60), "{}", distrusting.stderr);
    gateway.record("the handshake that failed", |record| {
        record.kind() == "refused" && record.body()["reason"] == "tls" && record.pid() == Some(distrusting.pid)
    })?;
    Ok(())
}
