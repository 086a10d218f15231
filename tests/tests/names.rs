//! A server that is named by a host name: every address that the name ever had is governed.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use gateway_tests::{Cgroup, Gateway, Netns, ServerEntry, clients, clients::tool_call, servers, wait_until};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_address_that_a_name_gets_later_is_governed_and_the_old_one_stays_so() -> anyhow::Result<()> {
    gateway_tests::needs::require()?;
    let (netns, other_netns) = (Netns::new()?, Netns::new()?);
    let (first, second) = (servers::clinic(&netns)?, servers::clinic(&other_netns)?);
    let names = tempfile::NamedTempFile::new()?;
    fs::set_permissions(names.path(), fs::Permissions::from_mode(0o644))?;
    let point_to = |address: std::net::IpAddr| fs::write(names.path(), format!("127.0.0.1 localhost\n{address} mcp.clinic.test\n"));
    point_to(first.address.ip())?;
    let cgroup = Cgroup::new()?;
    let gateway =
        Gateway::over(&cgroup).server(ServerEntry::new("clinic", "http://mcp.clinic.test:8000/mcp")).hosts(names.path()).start()?;
    let call = |address: std::net::SocketAddr| {
        let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
        let client = clients::curl("http://mcp.clinic.test:8000/mcp", &call);
        client.args(["--resolve", &format!("mcp.clinic.test:8000:{}", address.ip())]).under(&cgroup).run(LIMIT)?.ok()
    };
    let recorded = |address: std::net::SocketAddr, pid: u32| {
        gateway.record(&format!("the call of pid {pid}"), |record| {
            record.kind() == "request"
                && record.pid() == Some(pid)
                && record.body()["server"] == "clinic"
                && record.body()["caller"]["origin"]["original"] == json!(address.to_string())
        })
    };
    recorded(first.address, call(first.address)?.pid)?;

    point_to(second.address.ip())?;
    let governed = format!("{}/32 port 8000 (clinic)", second.address.ip());
    wait_until("the name's new address to be governed", Duration::from_secs(20), || {
        gateway.guard_status().is_ok_and(|status| status.stdout.contains(&governed))
    })?;
    recorded(second.address, call(second.address)?.pid)?;
    recorded(first.address, call(first.address)?.pid)?;

    // A gateway that starts now has never heard of the first address: the kernel has, and knows whose it is.
    let mut gateway = gateway;
    gateway.drain()?;
    gateway.run()?;
    let done = call(first.address)?;
    let found = gateway.record("the call after the restart", |record| record.kind() == "request" && record.pid() == Some(done.pid))?;
    assert_eq!(found.body()["server"], "clinic", "{}", found.line);
    gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn servers_that_share_an_address_are_told_apart_by_their_paths() -> anyhow::Result<()> {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let cgroup = Cgroup::new()?;
    let elsewhere = clinic.url.replace("/mcp", "/elsewhere");
    let gateway =
        Gateway::over(&cgroup).server(ServerEntry::new("elsewhere", &elsewhere)).server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    for (url, server) in [(&clinic.url, "clinic"), (&elsewhere, "elsewhere")] {
        let pid = clients::curl(url, &call).under(&cgroup).run(LIMIT)?.ok()?.pid;
        let request = gateway.record("the call", |record| record.kind() == "request" && record.pid() == Some(pid))?;
        assert_eq!(request.body()["server"], server, "{}", request.line);
    }
    Ok(())
}
