//! What a client says first decides what becomes of it. Whatever it is, it is told, and on record.

use std::{io::Write, time::Duration};

use anyhow::Context;
use gateway_tests::{
    Launch, Record,
    dice::Dice,
    http::{call, post, post_to, result},
    raw::Wire,
    refusal::Refusal,
    tls::{self, HOST, TlsWire},
};
use rustls::{
    AlertDescription, NamedGroup,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};
use serde_json::{Value, json};

use crate::{OTHER, Result, Scene, alert, hello, serves, session};

#[test]
fn a_hello_in_segments_of_one_byte_is_read() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut session = session(scene.client()?, HOST)?;
    let mut socket = scene.connect()?;
    socket.set_nodelay(true)?;
    for byte in hello(&mut session)? {
        socket.write_all(&[byte])?;
    }
    let record = serves(&scene.stage, &mut TlsWire::over(socket, session)?, 1)?;
    assert_eq!(record.body()["tls"]["sni"], HOST, "{}", record.line);
    Ok(())
}

#[test]
fn a_hello_in_many_records_is_read() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut session = session(scene.client()?, HOST)?;
    let whole = hello(&mut session)?;
    let (header, body) = whole.split_at(5);
    let mut socket = scene.connect()?;
    for piece in body.chunks(50) {
        socket.write_all(&[&header[..3], &u16::try_from(piece.len())?.to_be_bytes(), piece].concat())?;
    }
    let record = serves(&scene.stage, &mut TlsWire::over(socket, session)?, 1)?;
    assert_eq!(record.body()["tls"]["sni"], HOST, "{}", record.line);
    Ok(())
}

#[test]
fn a_post_quantum_hello_is_read_and_agreed_to() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768], ..aws_lc_rs::default_provider() };
    let mut session = session(tls::client_of(provider, &[&TLS13], &scene.stage.gateway.ca_file())?, HOST)?;
    let hello = hello(&mut session)?;
    assert!(hello.len() > 1_300, "it takes more than one packet of most networks'");
    let mut socket = scene.connect()?;
    let (first, second) = hello.split_at(1_300);
    socket.write_all(first)?;
    socket.write_all(second)?;
    let mut client = TlsWire::over(socket, session)?;
    let group = client.session().negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    let record = serves(&scene.stage, &mut client, 1)?;
    assert_eq!(record.body()["tls"]["version"], "1.3", "{}", record.line);
    Ok(())
}

/// The address is governed: who does not say whom it means does not get past the gateway, even where other traffic passes.
#[test]
fn a_hello_without_a_name_is_intercepted() -> Result {
    for other in ["deny", "pass"] {
        let mut scene = Scene::new(other, "")?;
        let mut config = scene.client()?;
        config.enable_sni = false;
        let mut client = scene.shake(config, HOST)?;
        let record = serves(&scene.stage, &mut client, 1)?;
        assert_eq!(record.body()["tls"], json!({ "version": "1.3", "resumed": false }), "{}", record.line);
    }
    Ok(())
}

#[test]
fn another_name_is_refused_by_an_alert() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let config = tls::client(&scene.pki.ca_file())?;
    assert_eq!(alert(scene.shake(config, OTHER))?, AlertDescription::UnrecognisedName);
    let record = scene.refused("not-mcp")?;
    assert_eq!(record.body()["tls"]["sni"], OTHER, "{}", record.line);
    assert!(record.body()["message"].as_str().is_some_and(|message| message.contains(OTHER)), "{}", record.line);
    assert!(scene.server.seen().is_empty());
    scene.goes_on()
}

#[test]
fn another_name_passes_unopened_where_other_traffic_passes() -> Result {
    let mut scene = Scene::new("pass", "")?;
    let mut client = scene.shake(tls::client(&scene.pki.ca_file())?, OTHER)?;
    let shown = client.session().peer_certificates().and_then(<[_]>::first).context("no certificate")?;
    assert_eq!(shown, scene.issued.der(), "the server's own");
    client.send(post_to(OTHER, &call(1)))?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    client.finish()?;
    assert_eq!(client.rest()?, b"");
    let about = |phase: &'static str| move |record: &Record| record.kind() == "connection" && record.body()["phase"] == phase;
    let opened = scene.stage.gateway.record("its beginning", about("opened"))?;
    assert_eq!((opened.body()["protocol"].as_str(), opened.body()["sni"].as_str()), (Some("tls"), Some(OTHER)), "{}", opened.line);
    let closed = scene.stage.gateway.record("its end", about("closed"))?;
    assert_eq!(closed.body()["error"], Value::Null, "{}", closed.line);
    assert!(!scene.stage.gateway.records()?.iter().any(|record| record.kind() == "request"), "it was opened");
    scene.goes_on()
}

/// One connection must not carry calls to a server that its handshake did not name.
#[test]
fn a_request_for_another_host_than_the_handshake_named_is_refused() -> Result {
    for other in ["deny", "pass"] {
        let mut scene = Scene::new(other, "")?;
        let mut client = scene.shake(scene.client()?, HOST)?;
        client.send(post_to(OTHER, &call(1)))?;
        let answer = client.message()?;
        let refusal = Refusal::read(&scene.stage.gateway, &answer.body)?;
        assert_eq!((answer.status(), refusal.reason.as_str()), (421, "host-mismatch"), "{}", refusal.message);
        assert_eq!(client.rest()?, b"", "ended as TLS ends");
        assert_eq!(scene.refused("host-mismatch")?.seq(), refusal.record.context("no record")?.seq());
        assert!(scene.server.seen().is_empty());
        scene.goes_on()?;
    }
    Ok(())
}

#[test]
fn a_hello_that_never_ends_is_ended() -> Result {
    let mut scene = Scene::new("pass", "[limits]\nhead_timeout = \"1s\"")?;
    let mut session = session(scene.client()?, HOST)?;
    let whole = hello(&mut session)?;
    let mut client = Wire::new(scene.connect()?)?;
    client.send(&whole[..whole.len() - 1])?;
    is_malformed(scene, &mut client, "within 1 s")
}

/// It says that it is long, and goes on to be: the end of it is not waited for.
#[test]
fn a_hello_that_is_too_long_is_refused_before_it_ends() -> Result {
    const LIMIT: usize = 8 << 10;
    let mut scene = Scene::new("pass", "[limits]\nhead = \"8KiB\"")?;
    let mut client = Wire::new(scene.connect()?)?;
    // A ClientHello of 60,000 bytes, in records of 1,000.
    let hello = [&[1, 0, 0xEA, 0x60, 3, 3][..], &[7; 60_000]].concat();
    let records: Vec<u8> = hello.chunks(1_000).flat_map(|piece| [&[0x16, 3, 1, 3, 0xE8], piece].concat()).collect();
    let mut sent = 0;
    for record in records.chunks(1_005).take(LIMIT / 1_005 + 2) {
        client.send(record)?;
        sent += record.len();
    }
    assert!(sent < 2 * LIMIT);
    is_malformed(scene, &mut client, "longer than 8192 bytes")
}

/// The client is told by an alert, and the record says why.
fn is_malformed(scene: Scene, client: &mut Wire, why: &str) -> Result {
    assert_eq!(client.rest()?, [0x15, 3, 3, 0, 2, 2, AlertDescription::DecodeError.into()], "an alert, and the end");
    let record = scene.refused("malformed")?;
    assert!(record.body()["message"].as_str().is_some_and(|message| message.contains(why)), "{}", record.line);
    scene.goes_on()
}

/// Each waits for its client, and nothing else waits for it.
#[test]
fn handshakes_that_rest_hold_up_nobody() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut before = scene.shake(scene.client()?, HOST)?;
    let mut waiting = Vec::new();
    // Enough for every worker to have many, in every state: nothing said, half a hello, a hello to which the answer is out.
    for at in 0..300 {
        let whole = hello(&mut session(scene.client()?, HOST)?)?;
        let mut client = Wire::new(scene.connect()?)?;
        client.send(&whole[..whole.len() * (at % 3) / 2])?;
        waiting.push(client);
    }
    for (at, client) in waiting.iter_mut().enumerate().filter(|(at, _)| at % 3 == 2) {
        assert!(!client.is_silent(Duration::from_secs(30))?, "no answer to hello {at}");
    }
    serves(&scene.stage, &mut before, 1)?;
    for id in 2..10 {
        let mut client = scene.shake(scene.client()?, HOST)?;
        serves(&scene.stage, &mut client, id)?;
    }
    assert!(scene.stage.gateway.metric("mcp_gateway_connections_open")? > 300.0, "they are still there");
    Ok(())
}

/// Workers share it: each name has one certificate, of P-256, for its name alone.
#[test]
fn every_client_is_shown_the_same_leaf() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut leaves = Vec::new();
    for _ in 0..8 {
        let client = scene.shake(scene.client()?, HOST)?;
        let shown = client.session().peer_certificates().context("no certificate")?;
        leaves.push(shown.first().context("no leaf")?.clone());
    }
    assert!(leaves.windows(2).all(|pair| pair[0] == pair[1]));
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &leaves[0])?;
    let text = Launch::new("openssl").args(["x509", "-inform", "DER", "-noout", "-text", "-in"]).arg(file.path());
    let text = text.run(Duration::from_secs(20))?.ok()?.stdout;
    for expected in ["prime256v1", &format!("DNS:{HOST}\n"), "TLS Web Server Authentication", "CA:FALSE"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    Ok(())
}

/// Names are alike in any case, and a port does not make another host.
#[test]
fn a_host_that_is_the_same_in_another_spelling_is_the_same() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut client = scene.shake(scene.client()?, &HOST.to_uppercase())?;
    for (id, host) in [(1, HOST.to_uppercase()), (2, format!("{HOST}:443"))] {
        client.send(post_to(&host, &call(id)))?;
        assert_eq!(client.message()?.json()?, result(&json!(id)), "{host}");
    }
    Ok(())
}

#[test]
fn a_handshake_that_stops_is_ended() -> Result {
    let mut scene = Scene::new("deny", "[limits]\nhead_timeout = \"1s\"")?;
    let mut session = session(scene.client()?, HOST)?;
    let mut client = Wire::new(scene.connect()?)?;
    client.send(hello(&mut session)?)?;
    client.rest()?;
    let record = scene.refused("tls")?;
    assert_eq!(record.body()["tls"]["sni"], HOST, "{}", record.line);
    scene.goes_on()
}

#[test]
fn a_million_random_bytes_are_refused() -> Result {
    let mut scene = Scene::new("pass", "")?;
    let mut dice = Dice::new(1);
    let noise = |length: usize, dice: &mut Dice| -> Vec<u8> {
        // Every byte that would let another protocol through is not TLS.
        [0x16, 0x03].into_iter().chain((0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or(0))).collect()
    };
    let mut connections = vec![noise(1_000_000, &mut dice)];
    connections.extend((0..100).map(|_| noise(10_000, &mut dice)));
    for bytes in &connections {
        let mut client = Wire::new(scene.connect()?)?;
        client.send(bytes)?;
        client.finish()?;
        let said = client.rest()?;
        assert_eq!(said, [0x15, 3, 3, 0, 2, 2, AlertDescription::DecodeError.into()]);
    }
    let records = scene.stage.gateway.records()?;
    let refused = records.iter().filter(|record| record.kind() == "refused" && record.body()["reason"] == "malformed").count();
    assert_eq!(refused, connections.len());
    assert!(!records.iter().any(|record| record.kind() == "connection"), "noise was passed on");
    assert!(scene.server.seen().is_empty());
    scene.goes_on()
}

#[test]
fn plain_http_to_a_server_over_tls_is_refused() -> Result {
    for other in ["deny", "pass"] {
        let mut scene = Scene::new(other, "")?;
        let mut client = Wire::new(scene.connect()?)?;
        client.send(post(&call(1)))?;
        let answer = client.message()?;
        let refusal = Refusal::read(&scene.stage.gateway, &answer.body)?;
        assert_eq!((answer.status(), refusal.reason.as_str()), (400, "not-mcp"), "{}", refusal.message);
        assert!(refusal.message.contains("over TLS"), "{}", refusal.message);
        scene.refused("not-mcp")?;
        assert!(scene.server.seen().is_empty());
        scene.goes_on()?;
    }
    Ok(())
}

#[test]
fn a_client_that_insists_on_http2_is_told_so() -> Result {
    let mut scene = Scene::new("pass", "")?;
    let mut config = scene.client()?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(alert(scene.shake(config, HOST))?, AlertDescription::NoApplicationProtocol);
    let record = scene.refused("not-mcp")?;
    assert!(record.body()["message"].as_str().is_some_and(|message| message.contains("insists on h2")), "{}", record.line);
    // One that would rather speak HTTP/2 and can do without is served.
    let mut config = scene.client()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = scene.shake(config, HOST)?;
    assert_eq!(client.session().alpn_protocol(), Some(&b"http/1.1"[..]));
    serves(&scene.stage, &mut client, 1)?;
    drop(client);
    scene.goes_on()
}
