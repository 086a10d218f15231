//! Much data, whole, both ways; and a slow reader holds back the sender instead of filling the gateway's memory.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use gateway_tests::{
    Cgroup, Gateway, Netns, ServerEntry,
    clients::tool_call,
    http::{call, post, request},
    raw::{Probe, Stage, Wire},
    servers,
};
use serde_json::json;

type Result = anyhow::Result<()>;

const MIB: u64 = 1 << 20;
const MUCH: u64 = 64 * MIB;
/// What the gateway may take more than at rest while 64 MiB wait: far less than they are.
const BOUND: u64 = 16 * MIB;

/// The piece that begins at a place of an endless stream: no two are alike, so that none can be lost, repeated or exchanged.
fn piece(at: u64, length: usize) -> Vec<u8> {
    let words = u64::try_from(length).unwrap_or(0).div_ceil(8);
    let mut bytes: Vec<u8> = (at / 8..at / 8 + words).flat_map(|word| (word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

const PIECE: usize = 64 << 10;

/// Writes the stream from a thread, and counts what was taken.
fn pour(mut into: impl Write + Send + 'static, total: u64) -> (Arc<AtomicU64>, thread::JoinHandle<std::io::Result<()>>) {
    let taken = Arc::new(AtomicU64::new(0));
    let count = taken.clone();
    let thread = thread::spawn(move || {
        while count.load(Ordering::Relaxed) < total {
            into.write_all(&piece(count.load(Ordering::Relaxed), PIECE))?;
            count.fetch_add(PIECE as u64, Ordering::Relaxed);
        }
        Ok(())
    });
    (taken, thread)
}

/// Reads the stream, and compares it.
fn drink(from: &mut impl Read, total: u64) -> Result {
    let mut buffer = vec![0; PIECE];
    for at in (0..total).step_by(PIECE) {
        from.read_exact(&mut buffer).with_context(|| format!("after {at} bytes"))?;
        ensure!(buffer == piece(at, PIECE), "other bytes than were sent, after {at}");
    }
    Ok(())
}

/// Waits until nothing more is taken; gives how much was.
fn stalled(taken: &AtomicU64) -> u64 {
    loop {
        let before = taken.load(Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1));
        if taken.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}

/// 64 MiB go from one end to the other, who does not read for a while; then it reads `first`, and all of them.
fn held_back(gateway: &Gateway, from: &Wire, to: &mut Wire, first: impl FnOnce(&mut Wire) -> Result) -> Result {
    let base = gateway.memory()?;
    let (taken, thread) = pour(from.writer()?, MUCH);
    let waiting = stalled(&taken);
    let more = gateway.memory()?.saturating_sub(base);
    assert!(waiting < MUCH, "the sender is held back: all {waiting} bytes were taken from it");
    assert!(more < BOUND, "the gateway took {more} bytes for them");
    first(to)?;
    drink(to, MUCH)?;
    thread.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(())
}

/// Both ends of a connection in a protocol that is not HTTP.
fn tunnel() -> anyhow::Result<(Stage, Wire, Wire)> {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let (client, mut server) = stage.begin(b"\0binary\n")?;
    assert_eq!(server.until("\n")?, "\0binary\n");
    Ok((stage, client, server))
}

#[test]
fn another_protocol_passes_whole_both_ways_with_its_half_closes() -> Result {
    let (stage, mut client, mut server) = tunnel()?;
    let (_, up) = pour(client.writer()?, MUCH);
    drink(&mut server, MUCH)?;
    up.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    client.finish()?;
    assert_eq!(server.rest()?, b"", "the server sees that the client has said all");
    // Only now the server speaks: the way back is still open.
    let (_, down) = pour(server.writer()?, MUCH);
    drink(&mut client, MUCH)?;
    down.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    server.finish()?;
    assert_eq!(client.rest()?, b"");

    let phase =
        |phase: &'static str| stage.gateway.record(phase, move |record| record.kind() == "connection" && record.body()["phase"] == phase);
    let (opened, closed) = (phase("opened")?, phase("closed")?);
    assert_eq!(closed.body()["request"], json!(opened.seq()), "{}", closed.line);
    assert_eq!(closed.pid(), Some(stage.probe.pid()), "{}", closed.line);
    let counts = (&closed.body()["bytes_up"], &closed.body()["bytes_down"]);
    assert_eq!(counts, (&json!(MUCH + 8), &json!(MUCH)), "{}", closed.line);
    assert_eq!(closed.body()["error"], json!(null), "{}", closed.line);
    Ok(())
}

#[test]
fn a_slow_client_of_another_protocol_holds_back_the_server() -> Result {
    let (stage, mut client, server) = tunnel()?;
    held_back(&stage.gateway, &server, &mut client, |_| Ok(()))
}

#[test]
fn a_slow_server_of_another_protocol_holds_back_the_client() -> Result {
    let (stage, client, mut server) = tunnel()?;
    held_back(&stage.gateway, &client, &mut server, |_| Ok(()))
}

#[test]
fn a_slow_client_holds_back_a_download() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let (mut client, mut server) = stage.begin(request("GET", "/file", "", b""))?;
    server.message()?;
    server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"))?;
    held_back(&stage.gateway, &server, &mut client, |client| {
        assert_eq!(client.head()?.field("content-length"), Some(MUCH.to_string().as_str()));
        Ok(())
    })
}

#[test]
fn a_slow_server_holds_back_an_upload() -> Result {
    let mut stage = Stage::new(|server| server.other("pass"), "")?;
    let (mut client, mut server) = stage.begin(request("PUT", "/file", &format!("Content-Length: {MUCH}\r\n"), b""))?;
    assert_eq!(server.head()?.field("content-length"), Some(MUCH.to_string().as_str()));
    held_back(&stage.gateway, &client, &mut server, |_| Ok(()))?;
    server.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")?;
    assert_eq!(client.message()?.status(), 201);
    Ok(())
}

#[test]
fn a_slow_client_holds_back_a_stream_of_events() -> Result {
    let mut stage = Stage::new(|server| server, "[audit]\nmax_body = \"1KiB\"")?;
    let (mut client, mut server) = stage.begin(post(&call(1)))?;
    server.message()?;
    server.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")?;
    let notification =
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x".repeat(1 << 20) } });
    let event = format!("data: {notification}\n\n");
    let length = event.len() as u64;
    let base = stage.gateway.memory()?;
    let taken = Arc::new(AtomicU64::new(0));
    let (count, mut writer) = (taken.clone(), server.writer()?);
    let thread = thread::spawn(move || {
        for _ in 0..64 {
            writer.write_all(event.as_bytes())?;
            count.fetch_add(length, Ordering::Relaxed);
        }
        let answer = gateway_tests::http::result(&json!(1));
        writer.write_all(format!("data: {answer}\n\n").as_bytes())
    });
    let waiting = stalled(&taken);
    let more = stage.gateway.memory()?.saturating_sub(base);
    assert!(waiting < 64 * length, "the server is held back: all {waiting} bytes were taken from it");
    assert!(more < BOUND, "the gateway took {more} bytes for them");
    for _ in 0..64 {
        client.until("\"level\":\"info\"")?;
    }
    client.until("\"text\":\"seen\"")?;
    thread.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    Ok(())
}

#[test]
fn a_large_answer_waits_for_a_slow_client_within_bounds() -> Result {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let clinic = servers::clinic(&netns)?;
    let cgroup = Cgroup::new()?;
    let gateway = Gateway::over(&cgroup).server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let mut probe = Probe::under(&cgroup)?;
    let body = tool_call(1, "export", &json!({ "at_least_bytes": 10 * MIB })).to_string();
    let fields = format!(
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n\
         Mcp-Method: tools/call\r\nMcp-Name: export\r\nContent-Length: {}\r\n",
        body.len()
    );
    let base = gateway.memory()?;
    let mut client = Wire::new(probe.connect(clinic.address)?)?;
    client.send(request("POST", "/mcp", &fields, body.as_bytes()))?;
    // Its record is written before the last bytes leave, and the client has read nothing yet.
    let answer = gateway.record("the answer", |record| record.kind() == "answer")?;
    let more = gateway.memory()?.saturating_sub(base);
    // The answer as it came, its text as it is meant, and where in it values may stand: masks look at all of it.
    assert!(more < 128 * MIB, "the gateway took {more} bytes for an answer of 10 MiB");
    let size = answer.body()["payload"]["size"].as_u64().unwrap_or(0);
    assert!(size > 10 * MIB, "{size}");
    assert_eq!(answer.body()["payload"]["truncated"], json!(true), "the record keeps a part, the size and the hash");
    let whole = client.message()?;
    let text = String::from_utf8(whole.body)?;
    assert!(text.len() as u64 >= size, "{} bytes arrived", text.len());
    assert!(text.contains("\"id\":1") && text.contains("birth_date"));
    Ok(())
}
