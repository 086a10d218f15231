//! Who called: a process of this host, or an address.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use anyhow::Context;
use gateway_tests::{
    Gateway, Launch, Netns, ServerEntry, User, binaries,
    clients::{self, tool_call},
    http::{Message, answer},
    servers,
};
use serde_json::{Value, json};

use crate::{Result, answer_to, call_of};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_process_of_this_host_is_named() -> Result {
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let agent = User { uid: 1234, gid: 1234, ptrace: false };
    let done = clients::curl(&gateway.url("clinic")?, &call).user(agent).run(LIMIT)?.ok()?;
    let request = call_of(&gateway, done.pid, "query")?;
    let (origin, process) = (&request.body()["caller"]["origin"], &request.body()["caller"]["process"]);
    assert_eq!((&origin["via"], &origin["uid"]), (&json!("endpoint"), &json!(1234)), "{}", request.line);
    assert_eq!(origin["local"], json!(crate::address_of(&gateway)?.to_string()));
    let curl = Launch::new("sh").args(["-c", "command -v curl"]).run(LIMIT)?.ok()?.stdout;
    assert_eq!(request.exe(), Some(fs::canonicalize(curl.trim())?.display().to_string().as_str()));
    assert_eq!(process["parent"]["pid"], json!(std::process::id()));
    assert_eq!(process["reused"], json!(false));
    assert!(process["start_time"].is_u64() && process["cgroup"].is_string(), "{}", request.line);
    Ok(())
}

#[test]
fn what_is_not_to_be_seen_of_a_process_has_its_reason() -> Result {
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("clinic", &clinic.url)).unprivileged().start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    clients::curl(&gateway.url("clinic")?, &call).run(LIMIT)?.ok()?;
    let request = gateway.record("the call", |record| record.kind() == "request")?;
    assert_eq!(request.body()["caller"]["process"], json!({ "unknown": "needs-cap-sys-ptrace" }));
    assert_eq!(request.body()["caller"]["origin"]["uid"], 0, "whose the socket is, the kernel says to anyone");
    Ok(())
}

#[test]
fn a_caller_from_elsewhere_is_its_address() -> Result {
    let (netns, elsewhere) = (Netns::new()?, Netns::new()?);
    let clinic = servers::clinic(&netns)?;
    let here = elsewhere.outside(8080);
    let gateway = Gateway::at_an_endpoint().endpoint("plain = true").listen(here);
    let gateway = gateway.server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let call = tool_call(1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let done = clients::curl(&gateway.url("clinic")?, &call).inside(&elsewhere).run(LIMIT)?.ok()?;
    assert!(done.stdout.contains("\"result\""), "{}", done.stdout);
    let request = gateway.record("the call", |record| record.kind() == "request")?;
    let caller = &request.body()["caller"];
    let peer = caller["origin"]["peer"].as_str().unwrap_or_default();
    assert!(peer.starts_with(&format!("{}:", elsewhere.v4())), "{}", request.line);
    assert_eq!(caller["process"], json!({ "unknown": "remote" }), "{}", request.line);
    assert_eq!((&caller["origin"]["uid"], &caller["origin"]["local"]), (&Value::Null, &json!(here.to_string())));
    let tail = gateway.tail(&[]).run(LIMIT)?.ok()?.stdout;
    assert!(tail.contains(&format!("tools/call query  {peer}")), "{tail}");
    answer_to(&gateway, &request)?;
    Ok(())
}

#[test]
fn a_program_that_goes_on_under_another_executable_is_named_by_what_it_is_when_it_calls() -> Result {
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let gateway = Gateway::at_an_endpoint().server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let client = binaries::own("rmcp-client")?;
    let script = r#"exec "$0" "$1" query '{"sql":"SELECT 1 AS one"}'"#;
    let done = Launch::new("sh").args(["-c", script]).arg(&client).arg(gateway.url("clinic/mcp")?).run(LIMIT)?.ok()?;
    let request = call_of(&gateway, done.pid, "query")?;
    assert_eq!(request.exe(), Some(fs::canonicalize(&client)?.display().to_string().as_str()));
    Ok(())
}

/// A server that answers with the number of the connection on which it was asked.
fn counting_server() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // Ends with the test's process.
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(std::result::Result::ok).enumerate() {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Ok(Some(request)) = Message::read(&mut reader) {
                    let id = request.json().map(|call| call["id"].clone()).unwrap_or_default();
                    let bytes = answer(&json!({ "jsonrpc": "2.0", "id": id, "result": { "connection": number } }));
                    if reader.get_mut().write_all(&bytes).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

#[test]
fn no_connection_to_the_server_is_shared_by_two_callers() -> Result {
    let elsewhere = Netns::new()?;
    let server = counting_server()?;
    let gateway = Gateway::at_an_endpoint().endpoint("plain = true").listen(elsewhere.outside(8080));
    let gateway = gateway.server(ServerEntry::new("server", &format!("http://{server}/mcp"))).start()?;
    let url = gateway.url("server")?;
    // Each call comes on a connection of its own, and to any of the workers, which have a pool each: one of them gets two.
    let calls = thread::available_parallelism()?.get() + 1;
    let connections = |session: &str, from: &dyn Fn(Launch) -> Launch| -> anyhow::Result<BTreeSet<u64>> {
        let call = clients::curl(&url, &tool_call(1, "count", &json!({}))).args(["-H", session]);
        let numbers = (0..calls).map(|_| from(call.clone()).run(LIMIT)?.json()?["result"]["connection"].as_u64().context("no number"));
        numbers.collect()
    };
    let remote = |client: Launch| client.inside(&elsewhere);
    // Of those elsewhere, only the address is known: their sessions tell them apart.
    let first = connections("Mcp-Session-Id: a", &remote)?;
    let second = connections("Mcp-Session-Id: b", &remote)?;
    assert!(first.len() < calls && second.len() < calls, "connections are kept: {first:?} {second:?}");
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    // Processes of this host have connections of their own, also in one session.
    let ours = connections("Mcp-Session-Id: c", &|client| client)?;
    assert_eq!(ours.len(), calls, "{ours:?}");
    assert!(ours.is_disjoint(&first) && ours.is_disjoint(&second), "{first:?} {second:?} {ours:?}");
    Ok(())
}
