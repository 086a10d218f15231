//! AWS on loopback: moto, which takes any keys, and a relay before it that writes down what it is asked.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    Gateway, Launch, Proc, Slot,
    clients::python,
    http::{Message, request_to},
    raw::Wire,
    relay::Relay,
    servers::listening,
};

/// The region that everything is in.
pub const REGION: &str = "eu-central-1";
/// The keys that everybody asks moto with.
pub const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "made-up"), ("AWS_SECRET_ACCESS_KEY", "made-up")];

/// All of AWS, running.
#[derive(Debug)]
pub struct Aws {
    process: Mutex<Option<Proc>>,
    address: SocketAddr,
    relay: Relay,
    _slot: Slot,
}

/// Starts moto at this address.
pub(crate) fn moto(address: SocketAddr) -> anyhow::Result<Proc> {
    let interpreter = python("sdk-v1");
    ensure!(interpreter.is_file(), "moto is not installed: `cargo xtask test` does that");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut process = Launch::new(interpreter).args(["-m", "moto.server", "-H", &host, "-p", &port]).start()?;
    listening(&mut process, address)?;
    Ok(process)
}

impl Aws {
    /// Starts it.
    ///
    /// # Errors
    /// moto is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let slot = Slot::take()?;
        let address = SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 1), 4567));
        Ok(Self { process: Mutex::new(Some(moto(address)?)), address, relay: Relay::to(address)?, _slot: slot })
    }

    /// It is gone: connections are refused, or end without an answer.
    pub fn down(&self) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// moto itself, past the relay.
    #[must_use]
    pub fn moto(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A gateway finds it where it looks for AWS.
    pub fn serve(&self, gateway: &mut Gateway) {
        for (name, value) in KEYS {
            gateway.env(name, value);
        }
        gateway.env("AWS_REGION", REGION);
        gateway.env("AWS_ENDPOINT_URL", self.relay.url());
    }

    /// What was asked of this service through the relay, as its requests are signed for it: `sts`, `secretsmanager`, `ssm`.
    #[must_use]
    pub fn asked(&self, service: &str) -> Vec<Message> {
        let scope = format!("/{service}/aws4_request");
        let is_for = |asked: &Message| asked.field("authorization").is_some_and(|signed| signed.contains(&scope));
        self.relay.asked().into_iter().filter(is_for).collect()
    }

    /// Does something in a service with a JSON interface: `("secretsmanager", "secretsmanager.PutSecretValue")`.
    ///
    /// # Errors
    /// It refuses.
    pub fn tell(&self, service: &str, action: &str, wish: &Value) -> anyhow::Result<Value> {
        let body = wish.to_string();
        // moto looks at the scope of a signature, to find the service, and not at the signature.
        let signed =
            format!("AWS4-HMAC-SHA256 Credential=made-up/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0");
        let fields = format!(
            "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {action}\r\nAuthorization: {signed}\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        self.ask("POST", "/", &fields, &body).with_context(|| format!("{action} {wish}"))
    }

    /// All that moto holds of a service, by kinds: `sts` has `AssumedRole`.
    ///
    /// # Errors
    /// moto does not answer.
    pub fn state(&self, service: &str) -> anyhow::Result<Value> {
        Ok(self.ask("GET", "/moto-api/data.json", "Connection: close\r\n", "")?[service].take())
    }

    fn ask(&self, method: &str, target: &str, fields: &str, body: &str) -> anyhow::Result<Value> {
        let mut wire = Wire::new(TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?)?;
        wire.send(request_to(&self.address.to_string(), method, target, fields, body.as_bytes()))?;
        let answer = wire.message()?;
        ensure!(answer.start.split(' ').nth(1) == Some("200"), "{}: {}", answer.start.trim(), String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}
