//! A client that does not trust the gateway's authority is on record, with what would mend it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::ensure;
use gateway_tests::{
    Launch, Record, binaries,
    clients::{self, Sdk, tool_call},
    raw::Wire,
    tls::{self, Ending, HOST},
};
use rustls::{AlertDescription, crypto::aws_lc_rs, version::TLS12};
use serde_json::json;

use crate::{Result, Scene, hello, serves, session};

const METRIC: &str = "mcp_gateway_refused_total{reason=\"client-refused-ca\"}";

/// A client that trusts what its system does, and so not us.
fn refuses(client: impl FnOnce(&str) -> anyhow::Result<Launch>, exe: &str, remedy: &str) -> Result {
    let scene = Scene::new("deny", "")?;
    let client = client(&format!("https://{HOST}/mcp"))?;
    let done = scene.stage.captured(client).run(Duration::from_secs(60))?;
    assert!(!done.status.success(), "it trusts the gateway: {}", done.stdout);
    let is_its = |record: &Record| record.kind() == "refused" && record.pid() == Some(done.pid);
    let record = scene.stage.gateway.record("the refusal", is_its)?;
    assert_eq!(record.body()["reason"], "client-refused-ca", "{}", record.line);
    assert_eq!(record.body()["tls"]["sni"], HOST, "{}", record.line);
    assert_eq!(record.exe(), Some(real_path(exe)?.as_str()), "{}", record.line);
    let message = record.body()["message"].as_str().unwrap_or_default();
    assert!(message.contains("`sudo mcp-gateway ca trust`") && message.contains(remedy), "{message}");
    // A client may try more than once.
    let refused = scene.stage.gateway.records()?.iter().filter(|record| record.body()["reason"] == "client-refused-ca").count();
    assert!((scene.stage.gateway.metric(METRIC)? - f64::from(u32::try_from(refused)?)).abs() < f64::EPSILON);
    assert!(scene.server.seen().is_empty());
    scene.goes_on()
}

fn real_path(program: &str) -> anyhow::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file()).unwrap_or_else(|| PathBuf::from(program));
    Ok(fs::canonicalize(found)?.display().to_string())
}

#[test]
fn curl_that_does_not_trust_us_is_on_record() -> Result {
    refuses(|url| Ok(clients::curl(url, &tool_call(1, "query", &json!({})))), "curl", "start it anew")
}

#[test]
fn python_that_does_not_trust_us_is_on_record() -> Result {
    let interpreter = clients::python("sdk-v2").display().to_string();
    refuses(|url| Sdk::PythonV2.against(url, "clinic"), &interpreter, "SSL_CERT_FILE")
}

#[test]
fn rmcp_that_does_not_trust_us_is_on_record() -> Result {
    let client = binaries::own("rmcp-client")?;
    let exe = client.display().to_string();
    refuses(|url| Ok(Launch::new(client).args([url, "query"])), &exe, "start it anew")
}

/// Node closes without a word.
#[test]
fn node_that_does_not_trust_us_is_on_record() -> Result {
    refuses(|url| Sdk::TypeScriptV2.against(url, "clinic"), "node", "NODE_EXTRA_CA_CERTS")
}

/// Not every client has an alert to give.
#[test]
fn a_client_that_leaves_when_it_sees_the_certificate_is_on_record() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let mut session = session(scene.client()?, HOST)?;
    let mut client = Wire::new(scene.connect()?)?;
    client.send(hello(&mut session)?)?;
    ensure!(!client.is_silent(Duration::from_secs(20))?, "no certificate came");
    drop(client);
    let record = scene.refused("client-refused-ca")?;
    assert!(record.body()["message"].as_str().is_some_and(|message| message.contains("mcp-gateway ca trust")), "{}", record.line);
    scene.goes_on()
}

/// Runtimes say it in different words. Other words are about something else.
#[test]
fn every_alert_about_certificates_is_distrust_and_no_other() -> Result {
    use AlertDescription as Alert;
    let about = [Alert::BadCertificate, Alert::UnsupportedCertificate, Alert::CertificateUnknown, Alert::UnknownCA];
    let others = [Alert::HandshakeFailure, Alert::InternalError, Alert::UserCanceled];
    let mut scene = Scene::new("deny", "")?;
    for (at, said) in about.iter().chain(&others).enumerate() {
        // In TLS 1.2 a client says it in the clear.
        let config = tls::client_of(aws_lc_rs::default_provider(), &[&TLS12], &scene.stage.gateway.ca_file())?;
        let mut session = session(config, HOST)?;
        let mut client = Wire::new(scene.connect()?)?;
        client.send(hello(&mut session)?)?;
        ensure!(!client.is_silent(Duration::from_secs(20))?, "no certificate came");
        client.send([0x15, 3, 3, 0, 2, 2, (*said).into()])?;
        client.finish()?;
        client.rest()?;
        let its = |record: &Record| record.kind() == "refused" && record.line.contains(&format!("{said:?}"));
        let record = scene.stage.gateway.record(&format!("{said:?}"), its)?;
        assert_eq!(record.body()["reason"], if at < about.len() { "client-refused-ca" } else { "tls" }, "{}", record.line);
    }
    assert!((scene.stage.gateway.metric(METRIC)? - 4.0).abs() < f64::EPSILON);
    Ok(())
}

/// A connection that is opened beforehand and not used is no refusal.
#[test]
fn a_client_that_trusts_us_and_leaves_is_not_taken_for_one_that_does_not() -> Result {
    for ending in [Ending::Said, Ending::Unsaid] {
        let mut scene = Scene::new("deny", "")?;
        drop(scene.shake(scene.client()?, HOST)?.ending(ending));
        let mut client = scene.shake(scene.client()?, HOST)?.ending(ending);
        serves(&scene.stage, &mut client, 1)?;
        drop(client);
        scene.stage.gateway.drain()?;
        assert!(!scene.stage.gateway.records()?.iter().any(|record| record.kind() == "refused"));
    }
    Ok(())
}
