//! HTTP/1.1 and JSON-RPC by hand: what a test writes on a connection, and reads from one.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
};

use anyhow::Context;

/// One HTTP message, read whole: a request or an answer.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// The fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads head and body; `None` at the end of the connection.
    ///
    /// # Errors
    /// The connection breaks off, or it is not HTTP.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(from)? else { return Ok(None) };
        if message.field("transfer-encoding") == Some("chunked") {
            loop {
                let mut piece = vec![0; chunk_size(from)? + 2];
                from.read_exact(&mut piece)?;
                if piece.len() == 2 {
                    return Ok(Some(message));
                }
                message.body.extend_from_slice(&piece[..piece.len() - 2]);
            }
        }
        match message.field("content-length").map(str::parse) {
            Some(Ok(length)) => {
                message.body = vec![0; length];
                from.read_exact(&mut message.body)?;
            }
            Some(Err(_)) => return Err(io::Error::other(format!("not a length in {message:?}"))),
            // An answer ends with the connection; a request without a length has no body.
            None if message.start.starts_with("HTTP/") && !matches!(message.status(), 100..200 | 204 | 304) => {
                from.read_to_end(&mut message.body)?;
            }
            None => {}
        }
        Ok(Some(message))
    }

    /// Reads the head alone: all there is of an answer to HEAD.
    ///
    /// # Errors
    /// As [`Message::read`].
    pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut message = Self::default();
        if from.read_line(&mut message.start)? == 0 {
            return Ok(None);
        }
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            if !line.ends_with("\r\n") {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("a head that breaks off after {message:?}")));
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(message)) };
            message.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The status of an answer; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The value of a field, by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The fields of a form in the body.
    #[must_use]
    pub fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON in {}: {}", self.start.trim(), String::from_utf8_lossy(&self.body)))
    }
}

fn chunk_size(from: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    usize::from_str_radix(line.trim(), 16).map_err(|_| io::Error::other(format!("not the size of a chunk: {line:?}")))
}

/// An HTTP request by hand: the head that every one needs, and more fields as they are written here.
#[must_use]
pub fn request(method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    request_to("server.test", method, target, fields, body)
}

/// As [`request`], to this host.
#[must_use]
pub fn request_to(host: &str, method: &str, target: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A POST of one JSON-RPC message in a revision that asks for no `Mcp-*` fields.
#[must_use]
pub fn post(message: &serde_json::Value) -> Vec<u8> {
    post_to("server.test", message)
}

/// As [`post`], to this host.
#[must_use]
pub fn post_to(host: &str, message: &serde_json::Value) -> Vec<u8> {
    let body = message.to_string();
    let fields = format!(
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n",
        body.len()
    );
    request_to(host, "POST", "/mcp", &fields, body.as_bytes())
}

/// A `tools/call` for [`post`].
#[must_use]
pub fn call(id: u64) -> serde_json::Value {
    serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "look", "arguments": { "n": id } } })
}

/// An answer by hand, with a JSON body.
#[must_use]
pub fn answer(json: &serde_json::Value) -> Vec<u8> {
    let body = json.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What a server answers to [`call`].
#[must_use]
pub fn result(id: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": "seen" }] } })
}
