//! A client that goes through the gateway is answered as one that goes past it, and the record says which process it was.

use std::{fs, path::PathBuf, time::Duration};

use gateway_tests::{
    Cgroup, Gateway, Launch, Netns, Record, ServerEntry, binaries, clients,
    clients::{Sdk, same_both_ways, tool_call},
    servers,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

type Result = anyhow::Result<()>;

/// A clinic behind a gateway.
struct Clinic {
    gateway: Gateway,
    cgroup: Cgroup,
    server: servers::ClinicServer,
    _netns: Netns,
}

fn clinic() -> anyhow::Result<Clinic> {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let server = servers::clinic(&netns)?;
    let cgroup = Cgroup::new()?;
    let gateway = Gateway::over(&cgroup).server(ServerEntry::new("clinic", &server.url)).start()?;
    Ok(Clinic { gateway, cgroup, server, _netns: netns })
}

/// The record of a tool call of this process.
fn call_of(gateway: &Gateway, pid: u32, tool: &str) -> anyhow::Result<Record> {
    gateway.record(&format!("a request record of pid {pid} for {tool}"), |record| {
        record.kind() == "request" && record.method() == Some("tools/call") && record.name() == Some(tool) && record.pid() == Some(pid)
    })
}

/// The answer's record for a request's.
fn answer_to(gateway: &Gateway, request: &Record) -> anyhow::Result<Record> {
    gateway.record(&format!("the answer to record {}", request.seq()), |record| {
        record.kind() == "answer" && record.body()["request"] == json!(request.seq())
    })
}

fn real_path(program: &str) -> anyhow::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file()).unwrap_or_else(|| PathBuf::from(program));
    Ok(fs::canonicalize(found)?.display().to_string())
}

#[test]
fn curl_is_answered_as_without_the_gateway() -> Result {
    let Clinic { gateway, cgroup, server, _netns } = clinic()?;
    let call = tool_call(7, "query", &json!({ "sql": "SELECT name, ssn FROM patients WHERE id = 1", "marker": "curl" }));
    let pid = same_both_ways(&clients::curl(&server.url, &call), &cgroup)?;
    let request = call_of(&gateway, pid, "query")?;
    assert_eq!(request.exe(), Some(real_path("curl")?.as_str()));
    assert_eq!(request.body()["caller"]["origin"]["original"], json!(server.address.to_string()));
    assert_eq!(request.body()["payload"]["json"], call);
    let answer = answer_to(&gateway, &request)?;
    assert_eq!(answer.body()["outcome"]["status"], 200);
    assert!(answer.line.contains("Pavel Lindqvist"), "the answer is on the record: {}", answer.line);
    // The client that went past the gateway is not on the record: it was not in the cgroup.
    assert_eq!(gateway.records()?.iter().filter(|r| r.kind() == "request").count(), 1);
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn rmcp_is_answered_as_without_the_gateway() -> Result {
    let Clinic { gateway, cgroup, server, _netns } = clinic()?;
    for revision in [&[][..], &["--legacy"][..]] {
        let client = Launch::new(binaries::own("rmcp-client")?)
            .args([&server.url, "export", r#"{"at_least_bytes": 200000}"#])
            .arg("--progress")
            .args(revision);
        let pid = same_both_ways(&client, &cgroup)?;
        let request = call_of(&gateway, pid, "export")?;
        assert_eq!(request.exe(), Some(fs::canonicalize(binaries::own("rmcp-client")?)?.display().to_string().as_str()));
        answer_to(&gateway, &request)?;
    }
    gateway.verify()?.ok()?;
    Ok(())
}

/// Both lines of an SDK against the clinic; the newest also in its older manner.
fn sdk_against_the_clinic(sdk: Sdk, modes: &[&[&str]]) -> Result {
    let Clinic { gateway, cgroup, server, _netns } = clinic()?;
    for mode in modes {
        let client = sdk.against(&server.url, "clinic")?.args(*mode);
        let pid = same_both_ways(&client, &cgroup)?;
        for tool in ["query", "export"] {
            let request = call_of(&gateway, pid, tool)?;
            answer_to(&gateway, &request)?;
        }
        let failed = gateway.record("the answer of the failed query", |record| {
            record.kind() == "answer" && record.body()["outcome"]["is_error"] == json!(true)
        })?;
        assert_eq!(failed.body()["outcome"]["status"], 200, "an error of the tool is not one of HTTP: {}", failed.line);
    }
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn the_older_python_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV1, &[&[]])
}

#[test]
fn the_newest_python_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV2, &[&[], &["--mode", "legacy"]])
}

#[test]
fn the_older_typescript_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV1, &[&[]])
}

#[test]
fn the_newest_typescript_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV2, &[&[], &["--mode", "legacy"]])
}

#[test]
fn what_is_not_governed_is_not_touched() -> Result {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let governed = servers::clinic(&netns)?;
    let other_netns = Netns::new()?;
    let other = servers::clinic(&other_netns)?;
    let cgroup = Cgroup::new()?;
    let gateway = Gateway::over(&cgroup).server(ServerEntry::new("clinic", &governed.url)).start()?;
    let before = gateway.metric("mcp_gateway_kernel_redirected_total")?;
    let call = tool_call("x", "query", &json!({ "sql": "SELECT 1 AS one" }));
    let done = clients::curl(&other.url, &call).under(&cgroup).run(LIMIT)?.ok()?;
    assert!(done.stdout.contains("one"), "{}", done.stdout);
    assert_eq!(before, gateway.metric("mcp_gateway_kernel_redirected_total")?, "the kernel redirected what is not governed");
    assert!(!gateway.records()?.iter().any(|r| r.kind() == "request"));
    // The same client, at the governed address, is redirected: the counter counts.
    clients::curl(&governed.url, &call).under(&cgroup).run(LIMIT)?.ok()?;
    assert!(gateway.metric("mcp_gateway_kernel_redirected_total")? > before);
    Ok(())
}

#[test]
fn a_server_is_governed_at_its_ipv6_address_too() -> Result {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let _server = servers::clinic(&netns)?;
    let url = format!("http://[{}]:8000/mcp", netns.v6());
    let cgroup = Cgroup::new()?;
    let gateway = Gateway::over(&cgroup).server(ServerEntry::new("clinic6", &url)).start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT count(*) AS n FROM patients" }));
    let pid = same_both_ways(&clients::curl(&url, &call), &cgroup)?;
    let request = call_of(&gateway, pid, "query")?;
    assert_eq!(request.body()["caller"]["origin"]["original"], json!(format!("[{}]:8000", netns.v6())));
    Ok(())
}

#[test]
fn credentials_are_not_recorded_and_reach_the_server() -> Result {
    let Clinic { gateway, cgroup, server, _netns } = clinic()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let secret = "s3cr3t-b34r3r-v4lue";
    let client = clients::curl(&server.url, &call).args([
        "-H",
        &format!("Authorization: Bearer {secret}"),
        "-H",
        &format!("Cookie: session={secret}"),
        "-H",
        &format!("X-Api-Key: {secret}"),
    ]);
    let done = client.under(&cgroup).run(LIMIT)?.ok()?;
    assert!(done.stdout.contains("\"result\""), "{}", done.stdout);
    let request = call_of(&gateway, done.pid, "query")?;
    let headers: Value = request.body()["http"]["headers"].clone();
    assert!(headers.to_string().to_lowercase().contains("authorization"), "that there was one is recorded: {headers}");
    for record in gateway.records()? {
        assert!(!record.line.contains(secret), "a credential is on disk: {}", record.line);
    }
    Ok(())
}
