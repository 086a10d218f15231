//! Encrypted hellos (RFC 9849): what is inside is for the server alone, and the name outside decides.

use std::{io, path::Path, sync::Arc};

use anyhow::Context;
use gateway_tests::{
    Record,
    tls::{HOST, TlsWire},
};
use rustls::{
    AlertDescription, ClientConfig, Error, PeerIncompatible, RootCertStore,
    client::{EchConfig, EchGreaseConfig, EchMode},
    crypto::{
        aws_lc_rs::{self, hpke::DH_KEM_X25519_HKDF_SHA256_AES_128 as SUITE},
        hpke::Hpke,
    },
    pki_types::{CertificateDer, EchConfigListBytes, pem::PemObject},
};

use crate::{OTHER, Result, Scene, alert, serves};

/// A client that trusts the authorities of a file and encrypts its hello, or pretends to.
fn client(mode: EchMode, ca_file: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_ech(mode)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// For a server whose hellos bear this name outside.
fn outside(name: &str) -> anyhow::Result<EchMode> {
    let (public, _) = SUITE.generate_key_pair()?;
    let length = |bytes: &[u8]| -> anyhow::Result<[u8; 2]> { Ok(u16::try_from(bytes.len())?.to_be_bytes()) };
    // ECHConfigContents (RFC 9849 section 4): a number, DHKEM(X25519, HKDF-SHA256), the key, HKDF-SHA256 with AES-128-GCM, the name.
    let config =
        [&[7, 0, 0x20][..], &length(&public.0)?, &public.0, &[0, 4, 0, 1, 0, 1, 0, u8::try_from(name.len())?], name.as_bytes(), &[0, 0]]
            .concat();
    let config = [&[0xFE, 0x0D][..], &length(&config)?, &config].concat();
    let list = [&length(&config)?[..], &config].concat();
    Ok(EchConfig::new(EchConfigListBytes::from(list), &[SUITE])?.into())
}

/// The peer has shown that it is who its name outside says, and that it cannot read what is inside.
fn not_opened(shaken: io::Result<TlsWire>) -> Result {
    let error = shaken.err().context("nobody can have opened it")?;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(_))) => Ok(()),
        _ => Err(error).context("another error"),
    }
}

/// As browsers send it to everybody.
#[test]
fn a_hello_that_only_looks_encrypted_is_read() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let (public, _) = SUITE.generate_key_pair()?;
    let config = client(EchGreaseConfig::new(SUITE, public).into(), &scene.stage.gateway.ca_file())?;
    let mut client = scene.shake(config, HOST)?;
    serves(&scene.stage, &mut client, 1)?;
    drop(client);
    scene.goes_on()
}

#[test]
fn another_name_outside_is_refused_whatever_is_inside() -> Result {
    let mut scene = Scene::new("deny", "")?;
    let config = client(outside(OTHER)?, &scene.stage.gateway.ca_file())?;
    assert_eq!(alert(scene.shake(config, HOST))?, AlertDescription::UnrecognisedName);
    let record = scene.refused("not-mcp")?;
    assert_eq!(record.body()["tls"]["sni"], OTHER, "{}", record.line);
    assert!(scene.server.seen().is_empty());
    scene.goes_on()
}

#[test]
fn another_name_outside_passes_unopened_where_other_traffic_passes() -> Result {
    let mut scene = Scene::new("pass", "")?;
    // The server has no key for it and says so in a handshake of its own, which the client verifies by the name outside.
    let config = client(outside(OTHER)?, &scene.pki.ca_file())?;
    not_opened(scene.shake(config, HOST))?;
    let is_its = |record: &Record| record.kind() == "connection" && record.body()["phase"] == "closed";
    let closed = scene.stage.gateway.record("its end", is_its)?;
    assert_eq!(closed.body()["sni"], OTHER, "{}", closed.line);
    assert!(!scene.stage.gateway.records()?.iter().any(|record| ["request", "refused"].contains(&record.kind())), "it was opened");
    scene.goes_on()
}

/// Who hides another name behind the server's is answered as the server. It asked for more, and leaves.
#[test]
fn the_servers_name_outside_is_intercepted_whatever_is_inside() -> Result {
    for other in ["deny", "pass"] {
        let mut scene = Scene::new(other, "")?;
        let config = client(outside(HOST)?, &scene.stage.gateway.ca_file())?;
        not_opened(scene.shake(config, "hidden.test"))?;
        let record = scene.refused("tls")?;
        assert_eq!(record.body()["tls"]["sni"], HOST, "{}", record.line);
        assert!(record.body()["message"].as_str().is_some_and(|message| message.contains("EncryptedClientHello")), "{}", record.line);
        assert!(scene.server.seen().is_empty());
        scene.goes_on()?;
    }
    Ok(())
}
