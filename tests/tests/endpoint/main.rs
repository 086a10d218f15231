//! The endpoint, end to end: callers that are not captured are answered as past the gateway, and are on record as those that are.

use std::net::{SocketAddr, TcpListener, TcpStream};

use gateway_tests::{
    Gateway, Record, ServerEntry,
    http::{Message, request_to},
    raw::{Stub, Wire},
};
use serde_json::{Value, json};

mod callers;
mod clients;
mod leads;
mod refusals;
mod secure;
mod servers;

type Result = anyhow::Result<()>;

/// A server that says what a test tells it, behind an endpoint.
struct Scene {
    gateway: Gateway,
    server: Stub,
    /// The server's address.
    address: SocketAddr,
    /// The endpoint's.
    endpoint: SocketAddr,
}

impl Scene {
    /// With more settings of the endpoint.
    fn new(settings: &str, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = Stub::on(listener, answer);
        let entry = ServerEntry::new("vault", &format!("http://{address}/mcp"));
        let gateway = Gateway::at_an_endpoint().endpoint(settings).server(entry).start()?;
        let endpoint = address_of(&gateway)?;
        Ok(Self { gateway, server, address, endpoint })
    }

    fn connect(&self) -> anyhow::Result<Wire> {
        Ok(Wire::new(TcpStream::connect(self.endpoint)?)?)
    }

    /// The answer to a request on a connection of its own.
    fn ask(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> anyhow::Result<Message> {
        let mut wire = self.connect()?;
        wire.send(request_to(&self.endpoint.to_string(), method, target, fields, body))?;
        wire.message()
    }

    /// The answer to a POST of one JSON-RPC message, with more fields.
    fn post(&self, target: &str, fields: &str, message: &Value) -> anyhow::Result<Message> {
        let body = message.to_string();
        let length = body.len();
        let fields = format!("{fields}Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {length}\r\n");
        self.ask("POST", target, &fields, body.as_bytes())
    }
}

fn address_of(gateway: &Gateway) -> anyhow::Result<SocketAddr> {
    let url = gateway.url("")?;
    Ok(url.split('/').nth(2).unwrap_or_default().parse()?)
}

/// The record of the tool call of this process.
fn call_of(gateway: &Gateway, pid: u32, tool: &str) -> anyhow::Result<Record> {
    gateway.record(&format!("a request record of pid {pid} for {tool}"), |record| {
        record.kind() == "request" && record.name() == Some(tool) && record.pid() == Some(pid)
    })
}

/// The answer's record for a request's.
fn answer_to(gateway: &Gateway, request: &Record) -> anyhow::Result<Record> {
    gateway.record(&format!("the answer to record {}", request.seq()), |record| {
        record.kind() == "answer" && record.body()["request"] == json!(request.seq())
    })
}
