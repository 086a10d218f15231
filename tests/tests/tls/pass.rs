//! Where other traffic passes, TLS that is not ours passes unopened: byte for byte, each direction to its own end.

use std::{io::Write, sync::Arc, thread};

use gateway_tests::{
    Record,
    pki::{Pki, sha256},
    raw::Stage,
    tls::{self, TlsWire},
};
use serde_json::json;

use crate::{OTHER, Result, hello, session};

const SIZE: usize = 64 << 20;

fn load(salt: u8) -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from(at % 251).unwrap_or_default() ^ salt).collect()
}

/// The client ends first; the server, which has all of it by then, answers as much.
#[test]
fn a_stream_each_way_passes_with_half_closes() -> Result {
    let pki = Pki::new()?;
    let mut stage = Stage::secure(&pki, |server| server.other("pass"), "")?;
    let listener = stage.listen()?;
    let serving = Arc::new(tls::server(&pki.server(&[OTHER])?)?);
    let server = thread::spawn(move || -> anyhow::Result<Vec<u8>> {
        let mut server = TlsWire::accept(listener.accept()?.0, &serving)?;
        let received = server.rest()?;
        server.send(load(1))?;
        server.finish()?;
        Ok(received)
    });
    let mut client = TlsWire::connect(stage.probe.connect(stage.address)?, &Arc::new(tls::client(&pki.ca_file())?), OTHER)?;
    let sent = load(0);
    client.send(&sent)?;
    client.finish()?;
    let answered = client.rest()?;
    let received = server.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    assert_eq!((received.len(), sha256(&received)), (SIZE, sha256(&sent)));
    assert_eq!((answered.len(), sha256(&answered)), (SIZE, sha256(&load(1))));
    let is_end = |record: &Record| record.kind() == "connection" && record.body()["phase"] == "closed";
    let closed = stage.gateway.record("its end", is_end)?;
    assert_eq!(closed.body()["sni"], OTHER, "{}", closed.line);
    for direction in ["bytes_up", "bytes_down"] {
        assert!(closed.body()[direction].as_u64().is_some_and(|bytes| bytes > 64 << 20), "with TLS's own: {}", closed.line);
    }
    Ok(())
}

/// What follows the hello is not read: not a byte of it is the gateway's to change, whatever it is.
#[test]
fn what_follows_the_hello_passes_byte_for_byte() -> Result {
    let pki = Pki::new()?;
    let mut stage = Stage::secure(&pki, |server| server.other("pass"), "")?;
    let hello = hello(&mut session(tls::client(&pki.ca_file())?, OTHER)?)?;
    let sent = [hello, b"\x17\x03\x03\xff\xff not TLS at all \0\n".to_vec()].concat();
    let (mut client, mut server) = stage.begin(&sent)?;
    client.finish()?;
    assert_eq!(server.rest()?, sent);
    server.writer()?.write_all(b"nor is this")?;
    server.finish()?;
    assert_eq!(client.rest()?, b"nor is this");
    let closed = stage.gateway.record("its end", |record| record.kind() == "connection" && record.body()["phase"] == "closed")?;
    assert_eq!((&closed.body()["bytes_up"], &closed.body()["bytes_down"]), (&json!(sent.len()), &json!(11)), "{}", closed.line);
    Ok(())
}
