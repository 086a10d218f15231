//! A client's body: read whole, or as far as it takes to know what it is.

use std::io;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{
    connection::{Connection, Stop},
    refusal::Refusal,
};
use crate::wire::http1::{BodyDecoder, Decoded, Framing, RequestHead};

/// What has been received of a body.
pub(super) struct Body {
    pub decoder: BodyDecoder,
    pub pieces: Vec<Bytes>,
    pub ended: bool,
    /// The client waits to be told that it may send it (`Expect: 100-continue`).
    expected: bool,
}

impl Body {
    pub(super) fn new(head: &RequestHead) -> Self {
        Body { decoder: BodyDecoder::new(head.framing), pieces: Vec::new(), ended: false, expected: head.expect_continue }
    }

    fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The first byte that is no white space.
    fn first(&self) -> Option<u8> {
        self.pieces.iter().flat_map(|piece| piece.iter()).copied().find(|byte| !byte.is_ascii_whitespace())
    }

    /// Whether so far only white space has come.
    pub(super) fn is_blank(&self) -> bool {
        self.first().is_none()
    }

    /// Whether a lenient server might take it for JSON: it begins like it, in UTF-8, UTF-16 or UTF-32, with a byte order mark or not.
    pub(super) fn begins_like_json(&self) -> bool {
        matches!(self.first(), Some(b'{' | b'[' | 0x00 | 0xEF | 0xFE | 0xFF))
    }
}

/// Pieces in one; nothing is copied where there is only one.
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        joined.extend_from_slice(piece);
    }
    joined.freeze()
}

impl Connection {
    /// Reads a whole body, within the limit of what is inspected.
    pub(super) async fn body(&mut self, head: &RequestHead) -> Result<Bytes, Stop> {
        self.rest_of_body(head, Body::new(head)).await
    }

    /// Whether a body has come whole with its head, so that it need not be waited for.
    pub(super) fn has_whole(&self, head: &RequestHead) -> bool {
        matches!(head.framing, Framing::Length(length) if usize::try_from(length).is_ok_and(|length| length <= self.client.buf.len()))
    }

    /// Reads the rest of a body of which some has been read.
    pub(super) async fn rest_of_body(&mut self, head: &RequestHead, mut body: Body) -> Result<Bytes, Stop> {
        let limit = self.worker.shared.config.limits.inspected_body;
        if let Framing::Length(length) = head.framing
            && usize::try_from(length).map_or(true, |length| length > limit)
        {
            return Err(too_large(limit).into());
        }
        self.receive(&mut body, |_| false).await?;
        Ok(join(body.pieces))
    }

    /// Lets a client send a body that it has announced with `Expect`, unless it has begun to (RFC 9110 section 10.1.1).
    pub(super) async fn welcome(&self, body: &mut Body) -> io::Result<()> {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if !std::mem::take(&mut body.expected) || !self.client.buf.is_empty() {
            return Ok(());
        }
        self.client.send(vec![Bytes::from_static(CONTINUE)], self.worker.shared.config.limits.idle_timeout).await
    }

    /// Reads a body until it ends, or until `enough` says so of what has come; never more than is inspected.
    pub(super) async fn receive(&mut self, body: &mut Body, enough: impl Fn(&Body) -> bool) -> Result<(), Stop> {
        let limits = &self.worker.shared.config.limits;
        let (limit, idle) = (limits.inspected_body, limits.idle_timeout);
        while !body.ended && !enough(body) {
            match body.decoder.decode(&mut self.client.buf)? {
                Decoded::Data(piece) => body.pieces.push(piece),
                Decoded::End { .. } => body.ended = true,
                Decoded::NeedMore => {
                    self.welcome(body).await.map_err(|_| Stop::Gone)?;
                    match self.client.fill_within(idle).await {
                        Ok(0) => return Err(body.decoder.finish_on_eof().err().map_or(Stop::Gone, Stop::from)),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            let message = format!("the request body stopped for {} s", idle.as_secs());
                            return Err(Refusal::client(408, "timeout", message, "Send the body without long pauses.").into());
                        }
                        Err(_) => return Err(Stop::Gone),
                    }
                }
            }
            if body.len() > limit {
                return Err(too_large(limit).into());
            }
        }
        Ok(())
    }
}

fn too_large(limit: usize) -> Refusal {
    let message = format!("the request body is longer than the {limit} bytes that are inspected");
    Refusal::client(413, "body-too-large", message, "Send less at once, or ask the operator to raise `limits.inspected_body`.")
}

/// Whether a lenient server might take these bytes for JSON-RPC, whatever they were called.
pub(super) fn looks_like_a_message(body: &[u8]) -> bool {
    // In UTF-16 and UTF-32 every other byte of what matters is zero; some servers detect them.
    let text: Vec<u8> = body.iter().copied().filter(|byte| *byte != 0).collect();
    let text = [&b"\xEF\xBB\xBF"[..], b"\xFF\xFE", b"\xFE\xFF"].iter().find_map(|mark| text.strip_prefix(*mark)).unwrap_or(&text);
    if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return false;
    }
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Array(items)) => items.iter().any(is_message),
        Ok(value) => is_message(&value),
        // What only some can read: they might find a message in it.
        Err(_) => memchr::memmem::find(text, b"rpc").is_some() || memchr::memmem::find(text, b"\\u").is_some(),
    }
}

/// Whether an object says that it is JSON-RPC, in any case and any spelling that some servers fold to it.
fn is_message(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.keys().any(|key| key.to_uppercase() == "JSONRPC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_in_any_dress() {
        let utf16: Vec<u8> = r#"{"jsonrpc":"2.0"}"#.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for body in [
            &br#"{"jsonrpc":"2.0","id":1,"method":"a"}"#[..],
            br#"  [{"jsonrpc":"2.0"}]"#,
            br#"{"json\u0072pc":"2.0"}"#,
            "{\"j\u{17f}onrpc\":\"2.0\"}".as_bytes(),
            b"\xEF\xBB\xBF{\"JSONRPC\":\"2.0\"}",
            br#"{"jsonrpc":"2.0",}"#,
            &utf16,
        ] {
            assert!(looks_like_a_message(body), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn other_traffic_is_not_taken_for_one() {
        for body in
            [&br#"{"name":"J\u00fcrgen","rpc":1}"#[..], b"[1,2]", b"name=rpc&x={}", b"", b"\x00\x01\x02rpc", b"--boundary\r\n{\"jsonrpc\""]
        {
            assert!(!looks_like_a_message(body), "{}", String::from_utf8_lossy(body));
        }
    }
}
