//! What the gateway itself answers when it does not let something through.

use std::num::NonZeroU32;

use bytes::{Bytes, BytesMut};

use crate::{
    audit::AppendError,
    mcp::{self, ErrorData, Id},
    wire::http1::{BodyError, Framing, HeadError, Headers, Method, ResponseHead, Rewrite, write_response_head},
};

/// On whose side the fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Upstream,
    Gateway,
}

/// Something that was not let through: what to tell the caller, and the record.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub side: Side,
    /// HTTP status.
    pub status: u16,
    /// JSON-RPC error code.
    pub code: i64,
    /// One word for machines: `data.reason`.
    pub reason: &'static str,
    /// What happened, to what.
    pub message: Box<str>,
    /// What to do next.
    pub help: &'static str,
    /// The call that it answers, where it could be read.
    pub id: Option<Id>,
    /// How the caller could show who it is: the value of WWW-Authenticate (RFC 9110 section 11.6.1).
    pub challenge: Option<Box<str>>,
    /// After how many seconds it may be tried again.
    pub retry_after: Option<NonZeroU32>,
}

impl Refusal {
    pub(super) fn client(status: u16, reason: &'static str, message: impl Into<String>, help: &'static str) -> Self {
        Refusal {
            side: Side::Client,
            status,
            code: -32600,
            reason,
            message: message.into().into(),
            help,
            id: None,
            challenge: None,
            retry_after: None,
        }
    }

    pub(super) fn upstream(message: impl Into<String>, help: &'static str) -> Self {
        Refusal {
            side: Side::Upstream,
            status: 502,
            code: -32603,
            reason: "upstream",
            message: message.into().into(),
            help,
            id: None,
            challenge: None,
            retry_after: None,
        }
    }

    pub(super) fn answering(mut self, id: Option<Id>) -> Self {
        self.id = self.id.or(id);
        self
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        let reason = if error.status == 431 { "head-too-large" } else { "malformed" };
        Refusal::client(error.status, reason, error.to_string(), "Correct the HTTP request. Nothing was forwarded.")
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Refusal::client(400, "malformed", error.to_string(), "Correct the framing of the request body. Nothing was forwarded.")
    }
}

impl From<mcp::Refusal> for Refusal {
    fn from(refusal: mcp::Refusal) -> Self {
        Refusal {
            side: Side::Client,
            status: refusal.http_status,
            code: refusal.code,
            reason: refusal.reason,
            message: refusal.message.into(),
            help: "Send one well-formed JSON-RPC message that can be read in one way only. Nothing was forwarded.",
            id: refusal.id,
            challenge: None,
            retry_after: None,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Refusal {
            side: Side::Gateway,
            status: 503,
            code: -32603,
            reason: "audit-unavailable",
            message: format!("the call was not let through because it cannot be recorded: {error}").into(),
            help: "Nothing is forwarded without a record. Tell the operator of this host; `/readyz` of the gateway and its log say more.",
            id: None,
            challenge: None,
            retry_after: None,
        }
    }
}

/// The answer on the wire: a JSON-RPC error in an HTTP answer.
pub(super) fn answer(refusal: &Refusal, record: Option<&str>, to: &Method, keep_alive: bool) -> Vec<Bytes> {
    let mut headers = Headers::new();
    if let Some(challenge) = &refusal.challenge {
        headers.push("WWW-Authenticate", challenge.to_string());
    }
    if let Some(seconds) = refusal.retry_after.map(NonZeroU32::get).or((refusal.status == 503).then_some(5)) {
        headers.push("Retry-After", seconds.to_string());
    }
    json_answer(refusal.status, &body(refusal, record), headers, to, keep_alive)
}

/// An answer of the gateway's own.
pub(super) fn json_answer(status: u16, body: &Bytes, mut headers: Headers, to: &Method, keep_alive: bool) -> Vec<Bytes> {
    headers.push("Content-Type", "application/json");
    let head = ResponseHead {
        status,
        reason: Bytes::from_static(phrase(status).as_bytes()),
        minor_version: 1,
        headers,
        framing: Framing::None,
        keep_alive,
    };
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let framing = if *to == Method::Head { Framing::None } else { Framing::Length(length) };
    let mut out = BytesMut::with_capacity(256);
    // Every part of this head is ours: it can always be written.
    let written = write_response_head(&mut out, &head, to, &Rewrite { target: None, framing, set: &[], remove: &[], keep_alive });
    debug_assert_eq!(written, Ok(()));
    if *to == Method::Head { vec![out.freeze()] } else { vec![out.freeze(), body.clone()] }
}

/// The JSON-RPC error alone.
pub(super) fn body(refusal: &Refusal, record: Option<&str>) -> Bytes {
    let data = ErrorData { reason: refusal.reason, record, help: refusal.help };
    Bytes::from(mcp::error_body(refusal.id.as_ref(), refusal.code, &refusal.message, &data))
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
