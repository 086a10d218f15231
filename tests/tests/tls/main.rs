//! TLS, end to end: clients are unmodified, servers are verified, and what cannot be opened is refused or passes untouched.

use std::{io, net::TcpStream, sync::Arc};

use anyhow::Context;
use gateway_tests::{
    Record,
    http::{Message, answer, call, post_to, result},
    pki::{Issued, Pki},
    raw::{Stage, Stub},
    tls::{self, Ending, HOST, TlsWire},
};
use rustls::{AlertDescription, ClientConfig, ClientConnection, pki_types::ServerName};
use serde_json::json;

mod clients;
mod distrust;
mod ech;
mod hello;
mod openssl;
mod pass;
mod renewal;
mod secrets;
mod servers;

type Result = anyhow::Result<()>;

/// The server's second name, which is not governed.
const OTHER: &str = "other.clinic.test";

/// A server over TLS, behind the gateway.
struct Scene {
    stage: Stage,
    server: Stub,
    pki: Pki,
    /// What the server shows.
    issued: Issued,
}

impl Scene {
    /// With the server's setting `other`, and more sections of the configuration.
    fn new(other: &str, sections: &str) -> anyhow::Result<Self> {
        let pki = Pki::new()?;
        let stage = Stage::secure(&pki, |server| server.other(other), sections)?;
        let issued = pki.server(&[HOST, OTHER])?;
        let server = stage.serve_securely(tls::server(&issued)?, Ending::Said, answers)?;
        Ok(Self { stage, server, pki, issued })
    }

    /// A client that trusts the gateway.
    fn client(&self) -> anyhow::Result<ClientConfig> {
        tls::client(&self.stage.gateway.ca_file())
    }

    fn connect(&mut self) -> io::Result<TcpStream> {
        self.stage.probe.connect(self.stage.address)
    }

    /// A client's handshake.
    fn shake(&mut self, config: ClientConfig, host: &str) -> io::Result<TlsWire> {
        TlsWire::connect(self.connect()?, &Arc::new(config), host)
    }

    /// Gives the only refusal on record, which is for this reason.
    fn refused(&self, reason: &str) -> anyhow::Result<Record> {
        let record = self.stage.gateway.record(&format!("a refusal: {reason}"), |record| record.kind() == "refused")?;
        assert_eq!(record.body()["reason"], reason, "{}", record.line);
        assert_eq!(record.body()["server"], "server", "{}", record.line);
        assert_eq!(record.pid(), Some(self.stage.probe.pid()), "{}", record.line);
        let refusals = self.stage.gateway.records()?.iter().filter(|record| record.kind() == "refused").count();
        assert_eq!(refusals, 1);
        Ok(record)
    }

    /// Whatever was before, a good client is served as ever: it is all that the server sees, and the log is whole.
    fn goes_on(mut self) -> Result {
        let before = self.server.seen().len();
        let mut client = self.shake(self.client()?, HOST)?;
        serves(&self.stage, &mut client, 4711)?;
        assert_eq!(self.server.seen().len(), before + 1);
        drop(client);
        self.stage.gateway.drain()?;
        self.stage.gateway.verify()?.ok()?;
        Ok(())
    }
}

fn answers(request: &Message) -> Vec<u8> {
    request.json().map_or_else(|_| answer(&json!("not JSON")), |json| answer(&result(&json["id"])))
}

/// A call is answered; gives its record.
fn serves(stage: &Stage, client: &mut TlsWire, id: u64) -> anyhow::Result<Record> {
    client.send(post_to(HOST, &call(id)))?;
    assert_eq!(client.message()?.json()?, result(&json!(id)));
    stage.gateway.record("the call", |record| record.kind() == "request" && record.body()["call"]["id"] == json!(id))
}

/// The record of the answer to a call.
fn answer_to(stage: &Stage, request: &Record) -> anyhow::Result<Record> {
    stage.gateway.record("the answer", |record| record.kind() == "answer" && record.body()["request"] == json!(request.seq()))
}

/// A session of which not a byte has been sent.
fn session(config: ClientConfig, host: &str) -> anyhow::Result<ClientConnection> {
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?)
}

/// The hello of a session, as it stands on the wire.
fn hello(session: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes)?;
    Ok(bytes)
}

/// The alert that ended a handshake, which must have.
fn alert(shaken: io::Result<TlsWire>) -> anyhow::Result<AlertDescription> {
    let error = shaken.err().context("the handshake succeeded")?;
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Ok(*alert),
        _ => Err(error).context("no alert"),
    }
}
