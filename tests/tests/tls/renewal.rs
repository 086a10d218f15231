//! Authorities and certificates are replaced while the gateway runs: handshakes go by the new ones, connections under way go on.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use gateway_tests::{
    Gateway, ServerEntry,
    http::{call, post_to, result},
    pki::{Issued, Pki},
    raw::{Stage, Stub},
    tls::{self, Ending, HOST, TlsWire},
    wait_until,
};
use rustls::HandshakeKind;
use serde_json::json;

use crate::{
    Result, Scene, answers,
    servers::{called, failed},
    serves,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits until so many things have been read anew, and nothing is behind its files.
fn renewed(gateway: &Gateway, count: usize) -> Result {
    let metric = |name: &str| gateway.metric(name).map(|value| value.to_string()).unwrap_or_default();
    let is_said = || gateway.said().matches("read anew: ").count() == count;
    let is_it = || is_said() && metric("mcp_gateway_tls_renewed_total") == count.to_string() && metric("mcp_gateway_tls_outdated") == "0";
    wait_until("what has changed to be read", LIMIT, is_it).with_context(|| gateway.said())
}

/// Waits until something was found that cannot be used, and is said to be so.
fn is_behind(gateway: &Gateway, why: &str) -> Result {
    let is_counted = || gateway.metric("mcp_gateway_tls_outdated").is_ok_and(|count| count > 0.5);
    let is_said = || {
        let log = gateway.said();
        log.lines().any(|line| line.contains("what was read before stays in force") && line.contains(why))
    };
    wait_until("what cannot be used to be found", LIMIT, || is_counted() && is_said()).with_context(|| gateway.said())
}

/// What clients of this gateway are to trust now, in a file: only the newest root, unless all are asked for.
fn roots(gateway: &Gateway, dir: &tempfile::TempDir) -> anyhow::Result<PathBuf> {
    let shown = gateway.ca(&["show", "--pem"])?.stdout;
    let (newest, _) = shown.split_once("-----END CERTIFICATE-----").context("no root")?;
    let file = dir.path().join("roots.pem");
    fs::write(&file, format!("{newest}-----END CERTIFICATE-----\n"))?;
    Ok(file)
}

#[test]
fn clients_of_either_root_are_served_without_a_restart_after_a_rotation() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let old = Arc::new(scene.client()?);
    let mut before = TlsWire::connect(scene.connect()?, &old, HOST)?;
    serves(&scene.stage, &mut before, 1)?;
    // The client keeps a session; it is of no use with another authority.
    let resumed = TlsWire::connect(scene.connect()?, &old, HOST)?;
    assert_eq!(resumed.session().handshake_kind(), Some(HandshakeKind::Resumed));
    drop(resumed);

    let dir = tempfile::tempdir()?;
    let said = scene.stage.gateway.ca(&["rotate"])?.stdout;
    assert!(said.contains("takes it up within seconds"), "{said}");
    renewed(&scene.stage.gateway, 1)?;
    let log = scene.stage.gateway.said();
    let file = scene.stage.gateway.authority_file();
    assert!(log.contains("read anew: the gateway's authority") && log.contains(&file.display().to_string()), "{log}");

    let new = Arc::new(tls::client(&roots(&scene.stage.gateway, &dir)?)?);
    let mut client = TlsWire::connect(scene.connect()?, &new, HOST)?;
    serves(&scene.stage, &mut client, 2)?;
    let mut client = TlsWire::connect(scene.connect()?, &old, HOST)?;
    assert_eq!(client.session().handshake_kind(), Some(HandshakeKind::Full), "a leaf of the issuer that is gone");
    serves(&scene.stage, &mut client, 3)?;
    serves(&scene.stage, &mut before, 4).context("a connection from before goes on")?;
    drop((before, client));
    scene.goes_on()
}

#[test]
fn an_authority_that_is_imported_in_its_place_is_taken_up() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let ours = Pki::named("The organisation's authority")?;
    let (certificate, key) = (ours.ca_file().display().to_string(), ours.key_file()?.display().to_string());
    scene.stage.gateway.ca(&["import", "--replace", "--certificate", &certificate, "--key", &key])?;
    renewed(&scene.stage.gateway, 1)?;
    let mut client = scene.shake(tls::client(&ours.ca_file())?, HOST)?;
    serves(&scene.stage, &mut client, 1)?;
    assert!(scene.shake(scene.client()?, HOST).is_err(), "who trusts only the old one has been left behind");
    Ok(())
}

#[test]
fn an_authority_that_cannot_be_used_leaves_the_one_before_in_force() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let file = scene.stage.gateway.authority_file();
    let whole = fs::read(&file)?;
    for damaged in [&whole[..whole.len() / 2], b""] {
        fs::write(&file, damaged)?;
        is_behind(&scene.stage.gateway, &file.display().to_string())?;
        let mut client = scene.shake(scene.client()?, HOST)?;
        serves(&scene.stage, &mut client, 1)?;
    }
    fs::write(&file, &whole)?;
    renewed(&scene.stage.gateway, 1)?;
    scene.goes_on()
}

/// One that may not vouch for the server cannot be used either.
#[test]
fn an_authority_for_others_is_not_taken_up() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let ours = Pki::only_for("elsewhere.test")?;
    let source = "# An authority imported into MCP Gateway. Who has this key can pretend to be the governed servers.\n";
    let [key, certificate] = [ours.key_file()?, ours.ca_file()].map(fs::read_to_string);
    fs::write(scene.stage.gateway.authority_file(), format!("{source}{}{}", key?, certificate?))?;
    is_behind(&scene.stage.gateway, &format!("may not vouch for {HOST}"))?;
    let mut client = scene.shake(scene.client()?, HOST)?;
    serves(&scene.stage, &mut client, 1)?;
    Ok(())
}

#[test]
fn a_hangup_reads_everything_anew_and_ends_nothing() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut before = scene.shake(scene.client()?, HOST)?;
    scene.stage.gateway.hang_up()?;
    // The authority, and what the server is recognised by.
    renewed(&scene.stage.gateway, 2)?;
    serves(&scene.stage, &mut before, 1)?;
    drop(before);
    scene.goes_on()
}

/// A server that shows a certificate of `shown`, behind a gateway that trusts `trusted` alone.
fn behind(trusted: &Pki, shown: &Pki) -> anyhow::Result<(Stage, Stub)> {
    let stage = Stage::secure(trusted, |server| server, "")?;
    let server = stage.serve_securely(tls::server(&shown.server(&[HOST])?)?, Ending::Said, answers)?;
    Ok((stage, server))
}

#[test]
fn a_server_of_an_authority_that_is_trusted_from_now_on_is_reached() -> Result {
    let (trusted, other) = (Pki::new()?, Pki::named("Another authority")?);
    let (mut stage, server) = behind(&trusted, &other)?;
    assert_eq!(failed(&mut stage)?.reason, "upstream-tls");
    fs::copy(other.ca_file(), trusted.ca_file())?;
    renewed(&stage.gateway, 1)?;
    assert_eq!(server.seen().len(), 0);
    called(&mut stage)?;
    Ok(())
}

/// A connection that was kept from before must not outlive the trust that it was opened in.
#[test]
fn a_server_of_an_authority_that_is_no_longer_trusted_gets_no_more_calls() -> Result {
    let (trusted, other) = (Pki::new()?, Pki::named("Another authority")?);
    let (mut stage, server) = behind(&trusted, &trusted)?;
    let config = stage.trusting_client()?;
    let mut client = stage.shake(&config, HOST)?;
    serves(&stage, &mut client, 1)?;
    fs::copy(other.ca_file(), trusted.ca_file())?;
    renewed(&stage.gateway, 1)?;
    client.send(post_to(HOST, &call(2)))?;
    assert_eq!(client.message()?.status(), 502);
    let calls = server.seen().iter().filter(|request| request.start.starts_with("POST")).count();
    assert_eq!(calls, 1);
    Ok(())
}

/// An authority that is taken out of the system's store vouches for nobody any more, and one that is put in does.
#[test]
fn the_systems_store_is_kept_up_with() -> Result {
    let (store, other) = (Pki::new()?, Pki::named("Another authority")?);
    let mut stage = Stage::secure(&store, |_| ServerEntry::new("server", &format!("https://{HOST}/mcp")), "")?;
    let _server = stage.serve_securely(tls::server(&other.server(&[HOST])?)?, Ending::Said, answers)?;
    stage.gateway.drain()?;
    stage.gateway.env("SSL_CERT_FILE", store.ca_file());
    stage.gateway.run()?;
    assert_eq!(failed(&mut stage)?.reason, "upstream-tls");
    fs::copy(other.ca_file(), store.ca_file())?;
    renewed(&stage.gateway, 1)?;
    called(&mut stage)?;
    Ok(())
}

#[test]
fn a_server_is_shown_the_certificate_that_is_there_now() -> Result {
    let (pki, clients, strangers) = (Pki::new()?, Pki::named("Of clients")?, Pki::named("Of strangers")?);
    let (ours, strange) = (clients.client("gateway.test")?, strangers.client("gateway.test")?);
    let mut stage = Stage::secure(&pki, |server| server.client_certificate(&strange.certificate, &strange.key), "")?;
    let config = tls::server_of(rustls::DEFAULT_VERSIONS, &pki.server(&[HOST])?, Some(&clients))?;
    let _server = stage.serve_securely(config, Ending::Said, answers)?;
    assert_eq!(failed(&mut stage)?.reason, "upstream-tls");
    // The one alone is not the other's: until both are there, the pair before stays.
    fs::copy(&ours.certificate, &strange.certificate)?;
    is_behind(&stage.gateway, &strange.key.display().to_string())?;
    fs::copy(&ours.key, &strange.key)?;
    renewed(&stage.gateway, 1)?;
    called(&mut stage)?;
    Ok(())
}

#[test]
fn the_endpoint_shows_the_certificate_that_is_there_now() -> Result {
    let (old, new) = (Pki::new()?, Pki::named("Another authority")?);
    let of = |pki: &Pki| -> anyhow::Result<Issued> { pki.server(&["gateway.test"]) };
    let (shown, next) = (of(&old)?, of(&new)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let _server = Stub::on(listener, answers);
    let files = format!("certificate = {:?}\nkey = {:?}\nhosts = [\"gateway.test\"]", shown.certificate, shown.key);
    let gateway = Gateway::at_an_endpoint().endpoint(&files).server(ServerEntry::new("mcp", &url)).start()?;
    let endpoint: SocketAddr = gateway.url("")?.split('/').nth(2).context("no address")?.parse()?;
    let connect = |trusted: &Pki| -> anyhow::Result<TlsWire> {
        let config = Arc::new(tls::client(&trusted.ca_file())?);
        Ok(TlsWire::connect(TcpStream::connect(endpoint)?, &config, "gateway.test")?)
    };
    let ask = |client: &mut TlsWire, id: u64| -> Result {
        client.send(post_to("gateway.test", &call(id)))?;
        assert_eq!(client.message()?.json()?, result(&json!(id)));
        Ok(())
    };
    let mut before = connect(&old)?;
    ask(&mut before, 1)?;
    for (from, to) in [(&next.certificate, &shown.certificate), (&next.key, &shown.key)] {
        fs::copy(from, to)?;
    }
    renewed(&gateway, 1)?;
    assert!(connect(&old).is_err());
    ask(&mut connect(&new)?, 2)?;
    ask(&mut before, 3)?;
    Ok(())
}
