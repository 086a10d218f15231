//! The endpoint over TLS, with the operator's certificate.

use std::{net::TcpStream, sync::Arc};

use anyhow::Context;
use gateway_tests::{
    Record,
    http::{Message, answer, call, request_to, result},
    pki::Pki,
    raw::Wire,
    refusal::Refusal,
    tls::{self, Ending, TlsWire},
};
use rustls::{AlertDescription, ClientConfig, DEFAULT_VERSIONS, HandshakeKind, crypto::aws_lc_rs};
use serde_json::json;

use crate::{Result, Scene};

const NAME: &str = "gateway.test";

/// Behind an endpoint over TLS, and what is to be trusted as the endpoint.
fn scene() -> anyhow::Result<(Scene, Pki)> {
    let pki = Pki::new()?;
    let issued = pki.server(&[NAME])?;
    let settings = format!("certificate = {:?}\nkey = {:?}\nhosts = [\"{NAME}\"]", issued.certificate, issued.key);
    let answers = |request: &Message| answer(&result(&request.json().unwrap_or_default()["id"]));
    Ok((Scene::new(&settings, answers)?, pki))
}

fn shake(scene: &Scene, config: &Arc<ClientConfig>) -> std::io::Result<TlsWire> {
    TlsWire::connect(TcpStream::connect(scene.endpoint)?, config, NAME)
}

fn post(id: u64) -> Vec<u8> {
    let body = call(id).to_string();
    let fields = format!("Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n", body.len());
    request_to(NAME, "POST", "/vault", &fields, body.as_bytes())
}

fn serves(client: &mut TlsWire, id: u64) -> Result {
    client.send(post(id))?;
    assert_eq!(client.message()?.json()?, result(&json!(id)));
    Ok(())
}

#[test]
fn callers_of_either_version_are_served_and_take_up_their_sessions() -> Result {
    let (scene, pki) = scene()?;
    for (version, name) in DEFAULT_VERSIONS.iter().zip(["1.3", "1.2"]) {
        let config = Arc::new(tls::client_of(aws_lc_rs::default_provider(), &[version], &pki.ca_file())?);
        for (id, kind) in [(1, HandshakeKind::Full), (2, HandshakeKind::Resumed)] {
            let mut client = shake(&scene, &config)?;
            serves(&mut client, id)?;
            assert_eq!(client.session().handshake_kind(), Some(kind), "{name}");
            let of = |record: &Record| record.kind() == "request" && record.body()["tls"]["version"] == name;
            let is_it = |record: &Record| of(record) && record.body()["tls"]["resumed"] == json!(kind == HandshakeKind::Resumed);
            scene.gateway.record(&format!("a request over TLS {name}, {kind:?}"), is_it)?;
        }
    }
    Ok(())
}

#[test]
fn plain_http_is_refused_where_there_is_a_certificate() -> Result {
    let (scene, _pki) = scene()?;
    let mut wire = Wire::new(TcpStream::connect(scene.endpoint)?)?;
    wire.send(post(1))?;
    let answer = wire.message()?;
    let refusal = Refusal::read(&scene.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.reason.as_str()), (400, "not-mcp"), "{}", refusal.message);
    assert!(refusal.message.contains("plain HTTP"), "{}", refusal.message);
    assert!(scene.server.seen().is_empty());
    Ok(())
}

#[test]
fn a_caller_that_insists_on_http2_is_told_so() -> Result {
    let (scene, pki) = scene()?;
    let mut config = tls::client(&pki.ca_file())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = shake(&scene, &Arc::new(config)).err().context("the handshake succeeded")?;
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert!(matches!(alert, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol))), "{error}");
    let refused = scene.gateway.record("the refusal", |record| record.kind() == "refused")?;
    assert_eq!(refused.body()["reason"], "tls", "{}", refused.line);
    Ok(())
}

/// Whoever can cut a connection could cut a request short: that it ended says only TLS (RFC 8446 section 6.1).
#[test]
fn a_request_that_is_cut_is_not_forwarded() -> Result {
    let (mut scene, pki) = scene()?;
    let config = Arc::new(tls::client(&pki.ca_file())?);
    let mut client = shake(&scene, &config)?.ending(Ending::Unsaid);
    let whole = post(1);
    client.send(&whole[..whole.len() - 1])?;
    drop(client);
    serves(&mut shake(&scene, &config)?, 2)?;
    scene.gateway.drain()?;
    let ids: Vec<_> = scene.server.seen().iter().filter_map(|request| Some(request.json().ok()?["id"].clone())).collect();
    assert_eq!(ids, [json!(2)]);
    scene.gateway.verify()?.ok()?;
    Ok(())
}
