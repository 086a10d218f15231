//! What may happen, and who sees what: policies, lists, definitions of tools, quotas and masks, between real callers and a server that says what a test has it say.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gateway_tests::{
    Gateway, Oidc, Record, ServerEntry,
    http::{Message, answer, request_to, result},
    oidc::AUDIENCE,
    raw::{Stub, Wire},
    refusal::Refusal,
};
use serde_json::{Value, json};

mod changes;
mod decisions;
mod lists;
mod masks;
mod quotas;
mod shown;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(60);

type Answers = Arc<Mutex<Box<dyn Fn(&Value) -> Vec<u8> + Send>>>;

/// A server behind an endpoint, and people whom an identity provider knows: ada is in `dba` and `staff`, bob in `staff`.
struct Scene {
    idp: Oidc,
    gateway: Gateway,
    server: Stub,
    answers: Answers,
    endpoint: SocketAddr,
}

impl Scene {
    /// With these policies; more sections of the configuration; more settings of the server.
    fn new(policies: Option<&str>, sections: &str, settings: impl FnOnce(ServerEntry) -> ServerEntry) -> anyhow::Result<Self> {
        let idp = Oidc::start()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let answers: Answers = Arc::new(Mutex::new(Box::new(|call| answer(&result(&call["id"])))));
        let answering = answers.clone();
        let server = Stub::on(listener, move |request| {
            let call = request.json().unwrap_or_default();
            match (call.get("method"), call.get("id")) {
                (None, _) | (_, Some(_)) => (answering.lock().unwrap_or_else(PoisonError::into_inner))(&call),
                (Some(_), None) => b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec(),
            }
        });
        let issuer = idp.issuer();
        let identity = format!("[[identity.oidc]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\n");
        let entry = settings(ServerEntry::new("vault", &url).durability("os"));
        let setup = Gateway::at_an_endpoint().endpoint("").server(entry).identity(&identity).section(sections);
        let gateway = match policies {
            Some(policies) => setup.policies(policies),
            None => setup,
        }
        .start()?;
        let endpoint = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
        Ok(Self { idp, gateway, server, answers, endpoint })
    }

    fn ruled(policies: &str) -> anyhow::Result<Self> {
        Self::new(Some(policies), "", |server| server)
    }

    /// What the server answers from now on.
    fn answers(&self, with: impl Fn(&Value) -> Vec<u8> + Send + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(with);
    }

    /// A connection of somebody.
    fn caller(&self, account: &str) -> anyhow::Result<Caller> {
        Ok(Caller {
            wire: Wire::new(TcpStream::connect(self.endpoint)?)?,
            token: self.idp.token(account)?,
            host: self.endpoint.to_string(),
            fields: String::new(),
        })
    }

    /// The record of the latest call that went through.
    fn latest(&self) -> anyhow::Result<Record> {
        self.gateway.records()?.into_iter().rev().find(|record| record.kind() == "request").ok_or(anyhow::anyhow!("no call is on record"))
    }

    /// A call that was answered by the gateway for this reason, and did not reach the server.
    fn denied(&self, answer: &Message, reason: &str) -> anyhow::Result<Refusal> {
        let refusal = Refusal::read(&self.gateway, &answer.body)?;
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        let record = refusal.record.as_ref().map(|record| record.body().clone()).unwrap_or_default();
        assert_eq!((&record["message"], &record["reason"]), (&json!(refusal.message), &json!(reason)));
        assert_eq!(record["decision"]["reason"], json!(refusal.message), "{record}");
        Ok(refusal)
    }
}

/// Somebody with a connection.
struct Caller {
    wire: Wire,
    token: String,
    host: String,
    /// More header fields, each with its line's end.
    fields: String,
}

impl Caller {
    /// Sends a message; gives the answer.
    fn send(&mut self, message: &Value) -> anyhow::Result<Message> {
        let (body, token, more) = (message.to_string(), &self.token, &self.fields);
        let fields = format!(
            "Authorization: Bearer {token}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             MCP-Protocol-Version: 2025-11-25\r\n{more}Content-Length: {}\r\n",
            body.len()
        );
        self.wire.send(request_to(&self.host, "POST", "/vault", &fields, body.as_bytes()))?;
        self.wire.message()
    }

    fn request(&mut self, method: &str, params: &Value) -> anyhow::Result<Message> {
        self.send(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }))
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<Message> {
        self.request("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    /// Whether a call goes through.
    fn may(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<bool> {
        Ok(self.call(tool, arguments)?.json()?.get("result").is_some())
    }
}

/// An answer with these tools.
fn tools(id: &Value, tools: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "tools": tools } })
}
