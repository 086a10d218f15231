//! What the data plane writes into the log: the bodies of its records.

use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{
    caller::Origin,
    credential::Used,
    decide::Decision,
    entrance::Entrance,
    masks::CallMasks,
    veil::{Content, Masks, Shown, Veil},
};
use crate::{
    audit::{Digest, Payload, Sha256},
    capture::process::{Fact, Process},
    credential::{carries_credential, parameter},
    identity::Identity,
    mcp::{self, Id},
    policy::{Facts, Verdict},
    tls::Session,
    tools::Definition,
    wire::http1::RequestHead,
};

/// Where a connection comes from, and the process behind it. They stay the same, so they are spelled out once.
pub(super) struct Source {
    origin: Box<RawValue>,
    process: Box<RawValue>,
}

impl Source {
    pub(super) fn new(origin: &Origin, process: &Fact<Process>) -> Self {
        // Strings, numbers and lists always serialise.
        let spelled = |value: serde_json::Result<Box<RawValue>>| value.unwrap_or_else(|_| RawValue::NULL.to_owned());
        Source { origin: spelled(to_raw_value(origin)), process: spelled(to_raw_value(process)) }
    }

    /// Who called, as far as that is known.
    pub(super) fn caller<'a>(&'a self, identity: Option<&'a Identity>) -> Caller<'a> {
        Caller { identity, origin: &self.origin, process: &self.process }
    }
}

/// Who called: the person or the workload, the process that the kernel saw, and where from.
#[derive(Serialize)]
pub(super) struct Caller<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a Identity>,
    origin: &'a RawValue,
    process: &'a RawValue,
}

/// The body of a record.
pub(super) trait Body<'a>: Serialize {
    /// What others sent: it stands last.
    fn payload(&self) -> Option<&Payload<'a>>;
}

macro_rules! bodies {
    ($($record:ident),*) => {
        $(impl<'a> Body<'a> for $record<'a> {
            fn payload(&self) -> Option<&Payload<'a>> {
                self.payload.as_ref()
            }
        })*
    };
}

bodies!(Request, Answer, Message, Refused, Tool);

impl<'a> Body<'a> for Connection<'a> {
    fn payload(&self) -> Option<&Payload<'a>> {
        None
    }
}

/// What TLS came to.
#[derive(Serialize, Default, Clone)]
pub(super) struct Tls {
    /// `1.2` or `1.3`; absent when no handshake came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'static str>,
    /// The name in the client's hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Whether the handshake took up an earlier session.
    pub resumed: bool,
    /// SHA-256 of the certificate that the server showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_sha256: Option<Sha256>,
}

impl Tls {
    pub(super) fn of(session: &Session) -> Self {
        Tls {
            version: session.version(),
            sni: None,
            resumed: session.is_resumed(),
            certificate_sha256: session.peer_certificate().map(|certificate| Digest::of(certificate)),
        }
    }
}

/// A request, before it is forwarded.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a str>,
    pub caller: Caller<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a Tls>,
    pub http: HttpRequest<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<Call<'a>>,
    /// The record that this one goes on from: the server's question that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<u64>,
    pub decision: RecordedDecision<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masks>,
    #[serde(skip)]
    pub payload: Option<Payload<'a>>,
}

/// An answer, before its last bytes leave.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    /// The record that the answer belongs to.
    pub request: Option<u64>,
    pub server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a OpenCall>,
    pub outcome: Outcome<'a>,
    /// What a list named, and the caller may not see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Shown<'a>>,
    /// Which of the server's addresses the gateway chose, for a caller that dialled none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// How the server showed who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a Tls>,
    /// With which credential of the gateway's it was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Used>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masks>,
    #[serde(skip)]
    pub payload: Option<Payload<'a>>,
}

/// How a call ended. HTTP status, JSON-RPC error and `isError` are told apart.
#[derive(Serialize, Default)]
pub(super) struct Outcome<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The JSON-RPC error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    /// Set when the gateway itself ended the call: the reason that its answer carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<&'static str>,
    pub took_us: u64,
}

/// A message of a stream that is neither call nor answer: notifications, and the server's own requests.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'a str>,
    pub from: &'static str,
    /// The request in whose answer it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masks>,
    #[serde(skip)]
    pub payload: Option<Payload<'a>>,
}

/// Something that was not let through.
#[derive(Serialize)]
pub(super) struct Refused<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'a Tls>,
    pub reason: &'static str,
    pub message: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRequest<'a>>,
    /// What was asked for, where it could be read and was decided on.
    #[serde(flatten)]
    pub denied: Option<Denied<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masks>,
    #[serde(skip)]
    pub payload: Option<Payload<'a>>,
}

/// A call that was read, and may not be made.
#[derive(Serialize)]
pub(super) struct Denied<'a> {
    pub session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<Call<'a>>,
    pub decision: RecordedDecision<'a>,
}

impl<'a> Denied<'a> {
    pub(super) fn new(session: &'a str, payload: &'a mcp::Payload, decision: &'a Decision, veil: &Veil<'_>) -> Self {
        let (call, batch) = Call::all(payload, veil);
        Denied { session, call, batch, decision: RecordedDecision::new(decision, veil) }
    }
}

/// A decision, with no more of the call in its words than the record may show.
#[derive(Serialize)]
pub(super) struct RecordedDecision<'a> {
    verdict: Verdict,
    reason: Shown<'a>,
    /// The policies that determined it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policies: &'a [Arc<str>],
    /// The hash of the set that they are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a str>,
    /// What was known beside who, what and with which arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Cow<'a, Facts>>,
}

impl<'a> RecordedDecision<'a> {
    pub(super) fn new(decision: &'a Decision, veil: &Veil<'_>) -> Self {
        RecordedDecision {
            verdict: decision.verdict,
            reason: veil.text("decision.reason", &decision.reason),
            policies: &decision.policies,
            set: decision.set.as_ref().map(|set| set.hash()),
            facts: decision.facts.as_deref().map(|facts| {
                match facts.labels.changed(|label| veil.text("decision.facts.labels", label).into_string()) {
                    Some(labels) => Cow::Owned(Facts { labels, ..facts.clone() }),
                    None => Cow::Borrowed(facts),
                }
            }),
        }
    }
}

/// What a server says a tool is.
#[derive(Serialize)]
pub(super) struct Tool<'a> {
    pub server: &'a str,
    pub tool: Shown<'a>,
    pub definition: Sha256,
    /// Its last definition, if there was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<Masks>,
    #[serde(skip)]
    pub payload: Option<Payload<'a>>,
}

impl<'a> Tool<'a> {
    pub(super) fn new(server: &'a str, definition: &'a Definition, before: Option<Sha256>, text: &'a [u8], veil: &Veil<'_>) -> Self {
        let payload = Some(veil.payload(text, Content::Other));
        let tool = veil.text("tool", &definition.name);
        Tool { server, tool, definition: definition.fingerprint, before, masked: veil.marks(), payload }
    }
}

/// A connection that carried something other than MCP.
#[derive(Serialize)]
pub(super) struct Connection<'a> {
    pub server: &'a str,
    pub caller: Caller<'a>,
    pub protocol: &'static str,
    /// The name in the client's hello, which was not opened further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<&'a str>,
    /// `opened` before a byte passes, `closed` with the counts after.
    pub phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<RecordedDecision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_up: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_down: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct HttpRequest<'a> {
    pub method: &'a str,
    pub target: Shown<'a>,
    /// The target that the caller of the endpoint sent; `target` is what becomes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Shown<'a>>,
    /// As the caller sent them, but for the values of those that carry credentials.
    pub headers: Vec<(Cow<'a, str>, Shown<'a>)>,
}

impl<'a> HttpRequest<'a> {
    pub(super) fn new(head: &'a RequestHead, entrance: Option<&Entrance>, veil: &Veil<'_>) -> Self {
        let header = |(name, value): (&'a [u8], &'a [u8])| {
            let name = String::from_utf8_lossy(name);
            let value = match String::from_utf8_lossy(value) {
                _ if carries_credential(&name) => Shown::own(WITHHELD),
                Cow::Borrowed(value) => veil.header(&name, value),
                Cow::Owned(value) => veil.header(&name, &value).into_owned(),
            };
            (name, value)
        };
        HttpRequest {
            method: head.method.as_str(),
            target: veil.url("http.target", &withhold_query(&head.target)).into_owned(),
            requested: entrance.map(|entrance| veil.url("http.requested", &withhold_query(&entrance.requested)).into_owned()),
            headers: head.headers.iter().map(header).collect(),
        }
    }
}

/// What one JSON-RPC message asks.
#[derive(Serialize)]
pub(super) struct Call<'a> {
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// What a POST asks: one message, or those of a batch.
    pub(super) fn all(payload: &'a mcp::Payload, veil: &Veil<'_>) -> (Option<Self>, Vec<Self>) {
        match payload {
            mcp::Payload::Single(message) => (Some(Call::of(message, veil)), Vec::new()),
            mcp::Payload::Batch(messages) => (None, messages.iter().map(|message| Call::of(message, veil)).collect()),
        }
    }

    pub(super) fn of(message: &'a mcp::Message, veil: &Veil<'_>) -> Self {
        match message {
            mcp::Message::Request(request) => Call {
                kind: "request",
                method: Some(&request.method),
                name: request.name.as_deref().map(|name| veil.text("call.name", name)),
                id: Some(&request.id),
                traceparent: request.meta.traceparent.as_deref(),
            },
            mcp::Message::Notification(note) => {
                Call { kind: "notification", method: Some(&note.method), name: None, id: None, traceparent: None }
            }
            mcp::Message::Response(response) => {
                Call { kind: "response", method: None, name: None, id: response.id.as_ref(), traceparent: None }
            }
        }
    }
}

/// The part of a call that its answer's record repeats, so that one line can be read alone.
#[derive(Serialize, Clone)]
pub(super) struct OpenCall {
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Shown<'static>>,
    pub id: Id,
    #[serde(skip)]
    pub masks: Arc<CallMasks>,
}

const WITHHELD: &str = "[withheld]";

/// The target, with the values of query parameters that carry credentials withheld.
fn withhold_query(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, _)) if carries_credential(&parameter(part)) => format!("{name}={WITHHELD}"),
            _ => part.to_owned(),
        })
        .collect();
    format!("{path}?{}", parts.join("&"))
}

/// Microseconds, for the record.
pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The bytes of a body. A record's body is made of strings, numbers and lists: that always serialises.
pub(super) fn bytes<'a>(body: &impl Body<'a>) -> Vec<u8> {
    const AROUND: usize = 2 << 10;
    let payload = body.payload();
    let mut out = Vec::with_capacity(AROUND + payload.map_or(0, Payload::size_hint));
    if let Err(error) = serde_json::to_writer(&mut out, body) {
        return format!("{{\"unwritable\":{:?}}}", error.to_string()).into_bytes();
    }
    if let Some(payload) = payload {
        out.pop();
        out.extend_from_slice(br#","payload":"#);
        payload.write(&mut out);
        out.push(b'}');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_query_are_withheld() {
        assert_eq!(withhold_query("/mcp?api_key=s3cret&x=1"), "/mcp?api_key=[withheld]&x=1");
        assert_eq!(withhold_query("/mcp?x=1&api%5Fkey=s3cret"), "/mcp?x=1&api%5Fkey=[withheld]");
        assert_eq!(withhold_query("/mcp?x=1"), "/mcp?x=1");
        assert_eq!(withhold_query("/mcp"), "/mcp");
    }
}
