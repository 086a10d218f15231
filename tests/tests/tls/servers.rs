//! Servers over TLS are verified in full, and what they send counts as whole only when it is.

use std::sync::Arc;

use anyhow::Context;
use gateway_tests::{
    Record, ServerEntry,
    http::{Message, call, post_to, request_to, result},
    pki::{Issued, Pki},
    raw::{Probe, Stage},
    refusal::Refusal,
    tls::{self, Ending, HOST, TlsWire},
};
use rustls::{
    DEFAULT_VERSIONS,
    version::{TLS12, TLS13},
};
use serde_json::json;

use crate::{OTHER, Result, Scene, answer_to, answers, serves};

/// A call to a server that shows a certificate not to be trusted ends with an error that names the reason, and does not reach it.
fn distrusted(trusted: &Pki, shown: &Issued, reason: &str) -> Result {
    let mut stage = Stage::secure(trusted, |server| server, "")?;
    let server = stage.serve_securely(tls::server(shown)?, Ending::Said, answers)?;
    let refusal = failed(&mut stage)?;
    assert_eq!(refusal.reason, "upstream-tls", "{}", refusal.message);
    assert!(refusal.message.contains(reason), "{}", refusal.message);
    assert!(server.seen().is_empty(), "{:?}", server.seen());
    assert!((stage.gateway.metric("mcp_gateway_refused_total{reason=\"upstream-tls\"}")? - 1.0).abs() < f64::EPSILON);
    Ok(())
}

/// A call to which the gateway itself answers that the server failed, as the record of its outcome has it.
pub(crate) fn failed(stage: &mut Stage) -> anyhow::Result<Refusal> {
    let config = stage.trusting_client()?;
    let mut client = stage.shake(&config, HOST)?;
    client.send(post_to(HOST, &call(1)))?;
    let answer = client.message()?;
    let refusal = Refusal::read(&stage.gateway, &answer.body)?;
    assert_eq!((answer.status(), refusal.code, &refusal.id), (502, -32603, &json!(1)), "{}", refusal.message);
    let record = refusal.record.as_ref().context("the answer names no record")?;
    assert_eq!(record.kind(), "answer", "{}", record.line);
    assert_eq!(record.body()["outcome"]["gateway"], json!(refusal.reason), "{}", record.line);
    assert_eq!(record.body()["outcome"]["message"], json!(refusal.message), "{}", record.line);
    Ok(refusal)
}

/// A call that is answered; gives its record.
pub(crate) fn called(stage: &mut Stage) -> anyhow::Result<Record> {
    let config = stage.trusting_client()?;
    let mut client = stage.shake(&config, HOST)?;
    serves(stage, &mut client, 1)
}

#[test]
fn a_certificate_that_has_expired_is_not_accepted() -> Result {
    let pki = Pki::new()?;
    distrusted(&pki, &pki.expired_server(HOST)?, "has expired")
}

#[test]
fn a_certificate_for_another_name_is_not_accepted() -> Result {
    let pki = Pki::new()?;
    distrusted(&pki, &pki.server(&[OTHER])?, "for another name")
}

#[test]
fn a_certificate_that_vouches_for_itself_is_not_accepted() -> Result {
    let pki = Pki::new()?;
    distrusted(&pki, &pki.self_signed_server(HOST)?, "no authority that is trusted")
}

#[test]
fn a_certificate_of_an_authority_that_is_not_trusted_is_not_accepted() -> Result {
    // The one has the name of a trusted authority, the other has not.
    for imposter in [Pki::new()?, Pki::named("Nobody's authority")?] {
        distrusted(&Pki::new()?, &imposter.server(&[HOST])?, "no authority that is trusted")?;
    }
    Ok(())
}

#[test]
fn a_certificate_against_the_name_constraints_of_its_authority_is_not_accepted() -> Result {
    let pki = Pki::only_for("elsewhere.test")?;
    distrusted(&pki, &pki.server(&[HOST])?, "NameConstraintViolation")
}

#[test]
fn a_certificate_for_clients_is_not_accepted_of_a_server() -> Result {
    let pki = Pki::new()?;
    distrusted(&pki, &pki.client(HOST)?, "cannot be accepted")
}

/// Without a `ca_file` it is the system's authorities who vouch for servers, and nobody else.
#[test]
fn without_a_file_the_systems_authorities_are_trusted() -> Result {
    let pki = Pki::new()?;
    let mut stage = Stage::secure(&pki, |_| ServerEntry::new("server", &format!("https://{HOST}/mcp")), "")?;
    let server = stage.serve_securely(tls::server(&pki.server(&[HOST])?)?, Ending::Said, answers)?;
    assert_eq!(failed(&mut stage)?.reason, "upstream-tls");
    assert!(server.seen().is_empty(), "{:?}", server.seen());
    stage.gateway.drain()?;
    // Where the system has its store elsewhere.
    stage.gateway.env("SSL_CERT_FILE", pki.ca_file());
    stage.gateway.run()?;
    called(&mut stage)?;
    Ok(())
}

#[test]
fn a_server_is_asked_for_by_its_name_and_for_http_1() -> Result {
    let pki = Pki::new()?;
    let mut stage = Stage::secure(&pki, |server| server, "")?;
    let mut config = tls::server(&pki.server(&[HOST])?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (_client, server) = stage.begin_securely(&Arc::new(config), post_to(HOST, &call(1)))?;
    let rustls::Connection::Server(session) = server.session() else { unreachable!("it accepted") };
    assert_eq!((session.server_name(), session.alpn_protocol()), (Some(HOST), Some(&b"http/1.1"[..])));
    Ok(())
}

#[test]
fn a_server_of_either_version_is_reached() -> Result {
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let pki = Pki::new()?;
        let mut stage = Stage::secure(&pki, |server| server, "")?;
        let issued = pki.server(&[HOST])?;
        let _server = stage.serve_securely(tls::server_of(&[version], &issued, None)?, Ending::Said, answers)?;
        let request = called(&mut stage)?;
        assert_eq!(request.body()["tls"]["version"], "1.3", "the client's own: {}", request.line);
        let answer = answer_to(&stage, &request)?;
        let sha256 = gateway_tests::pki::sha256(issued.der());
        assert_eq!(answer.body()["tls"], json!({ "version": name, "resumed": false, "certificate_sha256": sha256 }), "{}", answer.line);
    }
    Ok(())
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_ours() -> Result {
    for version in DEFAULT_VERSIONS {
        let (pki, clients) = (Pki::new()?, Pki::new()?);
        let ours = clients.client("gateway.test")?;
        let mut stage = Stage::secure(&pki, |server| server.client_certificate(&ours.certificate, &ours.key), "")?;
        let config = tls::server_of(&[version], &pki.server(&[HOST])?, Some(&clients))?;
        let _server = stage.serve_securely(config, Ending::Said, answers)?;
        called(&mut stage)?;
    }
    Ok(())
}

#[test]
fn a_server_that_asks_for_a_certificate_where_there_is_none_says_no() -> Result {
    for version in DEFAULT_VERSIONS {
        let (pki, clients) = (Pki::new()?, Pki::new()?);
        let mut stage = Stage::secure(&pki, |server| server, "")?;
        let config = tls::server_of(&[version], &pki.server(&[HOST])?, Some(&clients))?;
        let server = stage.serve_securely(config, Ending::Said, answers)?;
        let refusal = failed(&mut stage)?;
        assert_eq!(refusal.reason, "upstream-tls", "{}", refusal.message);
        assert!(refusal.message.contains("client_certificate"), "what to set: {}", refusal.message);
        assert!(server.seen().is_empty(), "{:?}", server.seen());
    }
    Ok(())
}

/// Each process has connections of its own, and all take up the sessions of the others.
#[test]
fn a_later_connection_takes_up_the_session() -> Result {
    for version in DEFAULT_VERSIONS {
        let pki = Pki::new()?;
        let mut stage = Stage::secure(&pki, |server| server, "")?;
        let issued = pki.server(&[HOST])?;
        let _server = stage.serve_securely(tls::server_of(&[version], &issued, None)?, Ending::Said, answers)?;
        let first = called(&mut stage)?;
        assert_eq!(answer_to(&stage, &first)?.body()["tls"]["resumed"], false);
        let mut another = Probe::under(&stage.cgroup)?;
        let config = stage.trusting_client()?;
        let mut client = TlsWire::connect(another.connect(stage.address)?, &config, HOST)?;
        let second = serves(&stage, &mut client, 2)?;
        assert_ne!(first.pid(), second.pid());
        let answer = answer_to(&stage, &second)?;
        assert_eq!(answer.body()["tls"]["resumed"], true, "{}", answer.line);
        assert_eq!(answer.body()["tls"]["certificate_sha256"], json!(gateway_tests::pki::sha256(issued.der())), "{}", answer.line);
    }
    Ok(())
}

/// An answer with a JSON body that ends with the connection.
fn until_close(request: &Message) -> Vec<u8> {
    let body = result(&request.json().unwrap_or_default()["id"]).to_string();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n{body}").into_bytes()
}

/// Whoever can cut a connection could cut an answer short: that it ended says only TLS (RFC 8446 section 6.1).
#[test]
fn an_answer_that_ends_with_the_connection_is_whole_only_if_tls_says_so() -> Result {
    for (ending, is_whole) in [(Ending::Said, true), (Ending::Unsaid, false)] {
        let pki = Pki::new()?;
        let mut stage = Stage::secure(&pki, |server| server, "")?;
        let _server = stage.serve_securely(tls::server(&pki.server(&[HOST])?)?, ending, until_close)?;
        if is_whole {
            called(&mut stage)?;
        } else {
            let refusal = failed(&mut stage)?;
            assert_eq!(refusal.reason, "upstream", "{}", refusal.message);
            assert!(refusal.message.contains("close_notify"), "{}", refusal.message);
        }
    }
    Ok(())
}

#[test]
fn an_answer_that_is_cut_in_the_middle_is_withheld() -> Result {
    for ending in [Ending::Said, Ending::Unsaid] {
        let pki = Pki::new()?;
        let mut stage = Stage::secure(&pki, |server| server, "")?;
        let cut = |request: &Message| {
            let whole = String::from_utf8(answers(request)).unwrap_or_default().replacen("\r\n", "\r\nConnection: close\r\n", 1);
            whole.as_bytes()[..whole.len() - 9].to_vec()
        };
        let _server = stage.serve_securely(tls::server(&pki.server(&[HOST])?)?, ending, cut)?;
        let refusal = failed(&mut stage)?;
        assert_eq!(refusal.reason, "upstream", "{}", refusal.message);
    }
    Ok(())
}

/// What is passed on as it comes has begun when it is cut: the client must see that too, in whatever manner it was told of the end.
#[test]
fn a_page_that_is_cut_is_cut_for_the_client_too() -> Result {
    for ending in [Ending::Said, Ending::Unsaid] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let pki = Pki::new()?;
            let mut stage = Stage::secure(&pki, |server| server.other("pass"), "")?;
            let page = |_: &Message| b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nall of it".to_vec();
            let _server = stage.serve_securely(tls::server(&pki.server(&[HOST])?)?, ending, page)?;
            let config = stage.trusting_client()?;
            let mut client = stage.shake(&config, HOST)?;
            let request = String::from_utf8(request_to(HOST, "GET", "/page", "", b""))?;
            client.send(request.replace("HTTP/1.1", version))?;
            let answer = client.message();
            match ending {
                Ending::Said => assert_eq!(answer?.body, b"all of it", "{version}"),
                Ending::Unsaid => assert!(answer.is_err(), "{version}: taken for whole: {answer:?}"),
            }
        }
    }
    Ok(())
}

/// Many servers close without a word when a connection has rested: nothing was under way, and nothing is lost.
#[test]
fn a_server_that_closes_between_calls_without_a_word_does_no_harm() -> Result {
    let pki = Pki::new()?;
    let mut stage = Stage::secure(&pki, |server| server, "")?;
    let config = Arc::new(tls::server(&pki.server(&[HOST])?)?);
    let (mut client, mut server) = stage.begin_securely(&config, post_to(HOST, &call(1)))?;
    for id in 1..=3 {
        let request = server.message()?;
        server.send(answers(&request))?;
        assert_eq!(client.message()?.json()?, result(&json!(id)));
        drop(server.ending(Ending::Unsaid));
        client.send(post_to(HOST, &call(id + 1)))?;
        server = stage.accept_securely(&config)?;
    }
    Ok(())
}

#[test]
fn a_client_that_has_said_its_last_word_is_still_answered() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut client = scene.shake(scene.client()?, HOST)?;
    client.send(post_to(HOST, &call(1)))?;
    client.finish()?;
    assert_eq!(client.message()?.json()?, result(&json!(1)));
    assert_eq!(client.rest()?, b"");
    Ok(())
}

/// A request of which a part was cut off is not forwarded.
#[test]
fn a_request_that_is_cut_is_not_forwarded() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut client = scene.shake(scene.client()?, HOST)?.ending(Ending::Unsaid);
    let whole = post_to(HOST, &call(1));
    client.send(&whole[..whole.len() - 1])?;
    drop(client);
    let server = scene.server.seen();
    scene.goes_on()?;
    assert!(server.is_empty());
    Ok(())
}
