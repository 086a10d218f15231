//! What stands before another server, and writes down what that is asked.

use std::{
    io::{BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use crate::{http::Message, raw::Stub};

/// A relay on loopback. It ends with the test's process.
#[derive(Debug)]
pub struct Relay {
    url: String,
    stub: Stub,
}

impl Relay {
    /// Before the HTTP server at this address.
    ///
    /// # Errors
    /// No port is free.
    pub fn to(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        // Who asks is left without an answer where the server gives none.
        let stub = Stub::on(listener, move |request| forward(address, request).unwrap_or_default());
        Ok(Self { url, stub })
    }

    /// Its URL, without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All that the server was asked, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Message> {
        self.stub.seen()
    }
}

fn forward(address: SocketAddr, request: &Message) -> anyhow::Result<Vec<u8>> {
    let mut server = TcpStream::connect(address)?;
    server.write_all(&written(request, "Connection: close\r\n"))?;
    let answer = Message::read(&mut BufReader::new(server))?.unwrap_or_default();
    Ok(written(&answer, ""))
}

/// A message as it was, on a connection of ours and with its length.
fn written(message: &Message, more: &str) -> Vec<u8> {
    let is_framing = |name: &str| ["connection", "content-length", "transfer-encoding"].contains(&name);
    let kept = message.fields.iter().filter(|(name, _)| !is_framing(name));
    let fields: String = kept.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let start = message.start.trim_end().replace("HTTP/1.0 ", "HTTP/1.1 ");
    let head = format!("{start}\r\n{fields}{more}Content-Length: {}\r\n\r\n", message.body.len());
    [head.as_bytes(), &message.body].concat()
}
