//! Whatever fails, nothing goes past the record: it is refused, the client is told why, and the log says what is not known.

use std::{fs, io, net::TcpStream, time::Duration};

use anyhow::Context;
use gateway_tests::{
    Record, clients,
    http::{Message, answer, call, post, result},
    raw::{Probe, Stage, Stub, Wire},
    refusal::Refusal,
    wait::wait_for,
    wait_until,
};
use serde_json::json;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(30);
/// curl(1): failed to connect to host.
const REFUSED: Option<i32> = Some(7);
/// Of [`call`]: the server never answers it.
const NEVER: u64 = 99;

fn answers(request: &Message) -> Vec<u8> {
    let id = request.json().unwrap_or_default()["id"].clone();
    if id == NEVER {
        loop {
            std::thread::park();
        }
    }
    answer(&result(&id))
}

fn stage(sections: &str) -> anyhow::Result<(Stage, Stub)> {
    let stage = Stage::new(|server| server, sections)?;
    let server = stage.serve(answers)?;
    Ok((stage, server))
}

/// curl's exit code, and what it printed.
fn curl(stage: &Stage) -> anyhow::Result<(Option<i32>, String)> {
    let message = clients::tool_call(1, "look", &json!({}));
    let done = clients::curl(&format!("http://{}/mcp", stage.address), &message).under(&stage.cgroup).run(LIMIT)?;
    Ok((done.code(), done.stdout))
}

fn served() -> (Option<i32>, String) {
    (Some(0), result(&json!(1)).to_string())
}

/// A call that is answered, on a connection of its own.
fn ask(stage: &mut Stage, id: u64) -> anyhow::Result<Message> {
    let mut client = stage.connect()?;
    client.send(post(&call(id)))?;
    client.message()
}

/// A call that is recorded and forwarded, and that the server does not answer.
fn in_flight(stage: &mut Stage, server: &Stub) -> anyhow::Result<(Wire, Record)> {
    let mut client = stage.connect()?;
    client.send(post(&call(NEVER)))?;
    let arrived = || server.seen().iter().any(|request| request.json().is_ok_and(|message| message["id"] == NEVER));
    wait_until("the call to reach the server", LIMIT, arrived)?;
    let request = stage.gateway.record("its request", |record| record.body()["call"]["id"] == NEVER)?;
    Ok((client, request))
}

#[test]
fn a_killed_gateway_is_no_way_through_and_its_calls_in_flight_are_named() -> Result {
    let (mut stage, server) = stage("")?;
    assert_eq!(curl(&stage)?, served());
    let (mut client, request) = in_flight(&mut stage, &server)?;
    stage.gateway.kill()?;
    assert!(client.message().is_err(), "its connection has ended");
    assert_eq!(curl(&stage)?.0, REFUSED);
    assert_eq!(server.seen().len(), 2);

    stage.gateway.run()?;
    assert_eq!(curl(&stage)?, served());
    stage.gateway.verify()?.ok()?;
    let records = stage.gateway.records()?;
    let unknown: Vec<&Record> = records.iter().filter(|record| record.kind() == "outcome_unknown").collect();
    assert_eq!(unknown.len(), 1, "one call was in flight: {unknown:?}");
    assert_eq!(unknown[0].json["head"]["closes"], json!(request.seq()), "{}", unknown[0].line);
    assert_eq!(unknown[0].body()["request"], json!(request.seq()), "{}", unknown[0].line);
    let starts: Vec<&Record> = records.iter().filter(|record| record.kind() == "start").collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0].log(), starts[1].log(), "it is one log");
    Ok(())
}

#[test]
fn a_hung_gateway_is_no_way_through_and_goes_on_when_it_can() -> Result {
    let (mut stage, server) = stage("")?;
    let listening = stage.connect()?;
    stage.gateway.freeze()?;
    // Until the kernel misses the heartbeat, connects wait in the gateway's queue.
    wait_until("connects to be refused", LIMIT, || stage.connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))?;
    assert_eq!(curl(&stage)?.0, REFUSED);
    assert!(server.seen().is_empty());
    stage.gateway.thaw()?;
    wait_for("the gateway to serve again", LIMIT, || Ok((curl(&stage)? == served()).then_some(())))?;
    let mut older = listening;
    older.send(post(&call(2)))?;
    assert_eq!(older.message()?.json()?, result(&json!(2)), "a connection from before goes on");
    stage.gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn a_connection_older_than_the_guard_is_aborted() -> Result {
    let mut stage = Stage::bare(|server| server, "")?;
    let server = stage.serve(answers)?;
    let mut inside = stage.connect()?;
    let mut outside = Wire::new(TcpStream::connect(stage.address)?)?;
    for connection in [&mut inside, &mut outside] {
        connection.send(post(&call(1)))?;
        assert_eq!(connection.message()?.json()?, result(&json!(1)));
    }
    let said = stage.gateway.guard_up()?.stdout;
    assert!(said.contains("1 connection aborted"), "{said}");
    assert_eq!(inside.rest().map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionAborted));
    outside.send(post(&call(2)))?;
    assert_eq!(outside.message()?.json()?, result(&json!(2)), "what is not captured is not touched");
    // The guard alone lets nothing through.
    assert_eq!(curl(&stage)?.0, REFUSED);
    assert_eq!(server.seen().len(), 3);
    stage.gateway.run()?;
    assert_eq!(curl(&stage)?, served());
    Ok(())
}

#[test]
fn a_gateway_that_stops_lets_calls_end_and_takes_no_new_ones() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut idle, mut first) = stage.begin(post(&call(1)))?;
    first.message()?;
    first.send("HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
    assert_eq!(idle.message()?.status(), 202);
    let (mut client, mut server) = stage.begin(post(&call(2)))?;
    assert_eq!(server.message()?.json()?, call(2));

    stage.gateway.terminate()?;
    wait_until("/readyz to say so", LIMIT, || {
        stage.gateway.admin("/readyz").is_ok_and(|(status, why)| status == 503 && why.contains("stopping"))
    })?;
    wait_until("connects to be refused", LIMIT, || stage.connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))?;
    assert_eq!(curl(&stage)?.0, REFUSED);
    assert_eq!(idle.rest()?, b"", "a connection at rest is closed");
    assert_eq!(stage.gateway.admin("/healthz")?.0, 200, "it lives until the call has ended");
    server.send(answer(&result(&json!(2))))?;
    assert_eq!(client.message()?.json()?, result(&json!(2)), "the call in flight has its answer");
    assert_eq!(client.rest()?, b"");

    assert_eq!(stage.gateway.finish()?.code(), Some(0));
    stage.gateway.verify()?.ok()?;
    let records = stage.gateway.records()?;
    assert_eq!(records.last().map(Record::kind), Some("stop"));
    assert!(records.iter().any(|record| record.kind() == "answer" && record.body()["call"]["id"] == 2));
    Ok(())
}

/// The answer of a gateway that cannot record.
fn denied(stage: &Stage, answer: &Message) -> anyhow::Result<Refusal> {
    let refusal = Refusal::read(&stage.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.reason.as_str()), (503, "audit-unavailable"), "{}", refusal.message);
    assert!(answer.field("retry-after").is_some());
    Ok(refusal)
}

#[test]
fn a_full_log_denies_every_call_and_says_so() -> Result {
    // Room for one segment of 4 MiB.
    let (mut stage, server) = stage("[audit]\nmax_total = \"5MiB\"")?;
    let mut message = call(1);
    message["params"]["arguments"]["filler"] = json!("x".repeat(200_000));
    let mut answered = 0;
    let refused = loop {
        let mut client = stage.connect()?;
        client.send(post(&message))?;
        let answer = client.message()?;
        if answer.status() != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered < 30, "6 MB of records fit into 5 MiB");
    };
    denied(&stage, &refused)?;
    // The last one may have been forwarded, and only its answer found no room. From here on none is.
    let seen = server.seen().len();
    assert!(seen == answered || seen == answered + 1, "{seen} calls arrived, {answered} were answered");
    let mut client = stage.connect()?;
    client.send(post(&call(2)))?;
    let second = client.message()?;
    assert_eq!(denied(&stage, &second)?.id, json!(2));
    assert_eq!(server.seen().len(), seen, "the server has seen a call that is not on record");
    let full = stage.gateway.record("that the log is full", |record| record.kind() == "log_full")?;
    assert!(full.body()["cause"].as_str().is_some_and(|cause| cause.contains("5242880")), "{}", full.line);
    let (status, why) = stage.gateway.admin("/readyz")?;
    assert!(status == 503 && why.contains("full"), "{status} {why}");
    assert!(stage.gateway.metric("mcp_gateway_audit_up")? < 0.5);
    stage.gateway.verify()?.ok()?;

    // With more room it goes on, in the same log.
    stage.gateway.kill()?;
    let config = fs::read_to_string(stage.gateway.config())?;
    fs::write(stage.gateway.config(), config.replace("\"5MiB\"", "\"50MiB\""))?;
    stage.gateway.run()?;
    assert_eq!(ask(&mut stage, 3)?.json()?, result(&json!(3)));
    stage.gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn a_damaged_log_stops_the_start_by_name() -> Result {
    let (mut stage, server) = stage("")?;
    for id in 1..4 {
        ask(&mut stage, id)?;
    }
    stage.gateway.drain()?;
    let damaged =
        stage.gateway.records()?.into_iter().find(|record| record.body()["call"]["id"] == 2).context("no record of the second call")?;
    let segment = stage.gateway.audit_dir().join("00000000000000000000.jsonl");
    let text = fs::read_to_string(&segment)?;
    let changed = text.replacen(&damaged.line, &damaged.line.replace("\"look\"", "\"lock\""), 1);
    assert_ne!(text, changed);
    fs::write(&segment, changed)?;

    let said = format!("{:#}", stage.gateway.run().err().context("it started over a damaged log")?);
    assert!(said.contains("00000000000000000000.jsonl"), "which file: {said}");
    assert!(said.contains(&format!("record {}", damaged.seq())), "which record: {said}");
    let verdict = stage.gateway.verify()?;
    assert_eq!(verdict.code(), Some(1), "{}", verdict.stdout);
    assert!(verdict.stdout.starts_with(&format!("TAMPERED: record {} ", damaged.seq())), "{}", verdict.stdout);
    assert_eq!(curl(&stage)?.0, REFUSED);
    assert_eq!(server.seen().len(), 3);
    Ok(())
}

#[test]
fn only_taking_the_guard_down_opens_the_way() -> Result {
    let (mut stage, server) = stage("")?;
    assert_eq!(curl(&stage)?, served());
    stage.gateway.drain()?;
    assert_eq!(curl(&stage)?.0, REFUSED);
    let before = stage.gateway.records()?.len();
    let said = stage.gateway.guard_down()?.stdout;
    assert!(said.contains("reached directly again"), "{said}");
    assert_eq!(curl(&stage)?, served());
    assert_eq!(server.seen().len(), 2);
    assert_eq!(stage.gateway.records()?.len(), before);
    Ok(())
}

#[test]
fn an_upgrade_of_the_guard_lets_calls_in_flight_end() -> Result {
    let mut stage = Stage::new(|server| server, "")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    server.message()?;
    let said = stage.gateway.guard_up()?.stdout;
    assert!(said.contains("without a gap") && said.contains("went to the gateway"), "{said}");
    server.send(answer(&result(&json!(1))))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    Ok(())
}

#[test]
fn ways_around_are_refused_and_counted() -> Result {
    let (stage, server) = stage("")?;
    let mut probe = Probe::unprivileged(&stage.cgroup)?;
    let count = |what: &str| stage.gateway.metric(&format!("mcp_gateway_kernel_{what}_total"));
    let (datagrams, multipath) = (count("datagram_to_governed")?, count("mptcp")?);
    let quic = probe.datagram(stage.address);
    assert_eq!(quic.err().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
    assert!(count("datagram_to_governed")? > datagrams);
    let mptcp = probe.mptcp();
    assert_eq!(mptcp.err().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
    assert!(count("mptcp")? > multipath);
    // Another port of the same host is nobody's business.
    probe.datagram((stage.address.ip(), 53).into())?;
    let mut client = Wire::new(probe.connect(stage.address)?)?;
    client.send(post(&call(1)))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)), "the way through is open to it");
    assert_eq!(server.seen().len(), 1);
    Ok(())
}

/// The gateway is no open proxy: who was not redirected to it has no origin, and gets nothing.
#[test]
fn the_gateway_s_own_port_serves_nobody() -> Result {
    let (stage, server) = stage("")?;
    let said = stage.gateway.said();
    let port = said.split("\"port\":").nth(1).and_then(|rest| rest.split(',').next()).and_then(|port| port.parse::<u16>().ok());
    let mut direct = Wire::new(TcpStream::connect(("127.0.0.1", port.with_context(|| format!("no port in {said}"))?))?)?;
    direct.send(post(&call(1)))?;
    assert!(direct.message().is_err());
    let refused = stage.gateway.record("the refusal", |record| record.kind() == "refused")?;
    assert_eq!(refused.body()["reason"], "no-origin", "{}", refused.line);
    assert!(server.seen().is_empty());
    Ok(())
}
