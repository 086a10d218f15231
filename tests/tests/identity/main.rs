//! Who calls: tokens, logins and workloads, with a real identity provider.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use gateway_tests::{
    Gateway, Oidc, Record, ServerEntry,
    http::{Message, answer, call, request_to, result},
    oidc::{AUDIENCE, LOGIN_CLIENT},
    raw::{Stub, Wire},
    refusal::Refusal,
};
use serde_json::{Value, json};

mod attacks;
mod doctor;
mod logins;
mod oauth;
mod outage;
mod tokens;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(60);

/// A server behind an endpoint whose callers an identity provider knows.
struct Scene {
    idp: Oidc,
    gateway: Gateway,
    server: Stub,
    endpoint: SocketAddr,
    /// The server's URL.
    url: String,
}

/// The `[[identity.oidc]]` of a provider, with more settings.
fn oidc(idp: &Oidc, more: &str) -> String {
    let issuer = idp.issuer();
    format!(
        "[[identity.oidc]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\nclient_id = \"{LOGIN_CLIENT}\"\n{more}\n"
    )
}

impl Scene {
    fn new(more: &str) -> anyhow::Result<Self> {
        Self::with(more, |server| server)
    }

    /// With more settings of the issuer, and of the server.
    fn with(more: &str, settings: impl FnOnce(ServerEntry) -> ServerEntry) -> anyhow::Result<Self> {
        let idp = Oidc::start()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let server = Stub::on(listener, |request| match request.start.starts_with("GET ") {
            // The stream of its messages, which has no end.
            true => b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            false => answer(&result(&request.json().map(|call| call["id"].clone()).unwrap_or_default())),
        });
        let entry = settings(ServerEntry::new("vault", &url).durability("os"));
        let gateway = Gateway::at_an_endpoint().endpoint("").server(entry).identity(&oidc(&idp, more)).start()?;
        let endpoint = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
        Ok(Self { idp, gateway, server, endpoint, url })
    }

    /// The answer to a request on a connection of its own.
    fn ask(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> anyhow::Result<Message> {
        let mut wire = Wire::new(TcpStream::connect(self.endpoint)?)?;
        wire.send(request_to(&self.endpoint.to_string(), method, target, fields, body))?;
        wire.message()
    }

    /// The answer to a call, with more fields.
    fn call(&self, fields: &str) -> anyhow::Result<Message> {
        let body = call(1).to_string();
        let length = body.len();
        let fields = format!("{fields}Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {length}\r\n");
        self.ask("POST", "/vault", &fields, body.as_bytes())
    }

    fn call_as(&self, token: &str) -> anyhow::Result<Message> {
        self.call(&format!("Authorization: Bearer {token}\r\n"))
    }

    /// The record of the latest call.
    fn latest(&self) -> anyhow::Result<Record> {
        self.gateway.records()?.into_iter().rev().find(|record| record.kind() == "request").ok_or(anyhow::anyhow!("no call is on record"))
    }

    /// The identity on record of a call that goes through.
    fn identity_of(&self, token: &str) -> anyhow::Result<Value> {
        let answer = self.call_as(token)?;
        anyhow::ensure!(answer.status() == 200, "{}", String::from_utf8_lossy(&answer.body));
        Ok(self.latest()?.body()["caller"]["identity"].clone())
    }

    /// A call that is refused with this status and reason, and does not reach the server.
    fn refused(&self, answer: &Message, status: u16, reason: &str) -> anyhow::Result<Refusal> {
        let before = self.server.seen().len();
        let refusal = Refusal::read(&self.gateway, &answer.body)?;
        assert_eq!((answer.status(), refusal.reason.as_str()), (status, reason), "{}", refusal.message);
        let record = refusal.record.as_ref().map(|record| record.body().clone()).unwrap_or_default();
        assert_eq!(record["message"], json!(refusal.message));
        assert_eq!(self.server.seen().len(), before);
        Ok(refusal)
    }
}
