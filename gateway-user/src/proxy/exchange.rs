//! One HTTP exchange: read, decide, record, forward, and give the answer back.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::{
    connection::{Connection, Next, Stop},
    forward::{CONTINUE, Flight},
    record::{self, Call, Decision, HttpRequest, OpenCall},
    refusal::Refusal,
};
use crate::{
    audit::{Effect, Kind, Payload},
    config::Other,
    mcp::{self, Id, Message},
    wire::{
        http1::{BodyDecoder, Decoded, Framing, Method, RequestHead},
        media::{content_encoding, media_type},
    },
};

const ALLOWED: Decision = Decision { verdict: "allow", reason: "no policy is configured: every call is recorded and allowed" };

impl Connection {
    /// Reads one request whole, and sees it through.
    pub(super) async fn exchange(&mut self, head: &RequestHead) -> Result<Next, Stop> {
        let started = Instant::now();
        if head.asks_upgrade() {
            let message = "the request asks to leave HTTP/1.1 (Upgrade): what follows could not be read";
            return Err(Refusal::client(400, "not-mcp", message, "Speak MCP over HTTP/1.1 without Upgrade.").into());
        }
        let path = head.target.split('?').next().unwrap_or_default();
        self.server = self.server_of(head, path);
        let session = self.session(head, path);
        match head.method {
            Method::Post => {}
            Method::Get if accepts_events(head) => return self.listen(head, session, started).await,
            Method::Delete if head.headers.contains("mcp-session-id") => return self.plain(head, Bytes::new(), session, started).await,
            // A server's own OAuth flow, and a browser's question before it: neither carries a call.
            Method::Get if path.starts_with("/.well-known/") => return self.plain(head, Bytes::new(), session, started).await,
            Method::Options => return self.plain(head, Bytes::new(), session, started).await,
            _ if self.config().other == Other::Pass => return self.pass(head, session, started).await,
            _ => return Err(self.not_mcp(format!("{} {path} is not a request of MCP", head.method)).into()),
        }
        let ours = self.is_endpoint(path);
        if self.config().other == Other::Pass && !ours && !speaks_json(head) {
            return self.pass(head, session, started).await;
        }
        let body = self.body(head).await?;
        if !content_encoding(&head.headers).is_ok_and(|codings| codings.is_empty()) {
            let message = "the request body has a Content-Encoding, and what cannot be read is not forwarded";
            return Err(Refusal::client(415, "malformed", message, "Send the body without Content-Encoding.").into());
        }
        let payload = match mcp::read(&body, &self.worker.shared.reading) {
            Ok(payload) => payload,
            Err(_) if self.config().other == Other::Pass && !ours && !looks_like_a_message(&body) => {
                return self.plain(head, body, session, started).await;
            }
            Err(refusal) => return self.refused(head, refusal.into(), &body).await,
        };
        match mcp::confirm(&head.headers, &payload) {
            Ok(_) if matches!(payload, mcp::Payload::Batch(_)) && !self.worker.shared.sessions.has_batches(&session) => {
                let message = "the session agreed on a revision of MCP that has no batches, and this is one";
                self.refused(head, Refusal::client(400, "malformed", message, "Send one message a request."), &body).await
            }
            Ok(revision) => self.call(head, body, &payload, &revision, session, started).await,
            Err(refusal) => self.refused(head, Refusal::from(refusal).answering(first_id(&payload)), &body).await,
        }
    }

    fn server_of(&self, head: &RequestHead, path: &str) -> usize {
        let shared = &self.worker.shared;
        let host = String::from_utf8_lossy(head.host().unwrap_or_default());
        let named = |server| shared.sessions.is_endpoint(server, path);
        match &self.candidates[..] {
            [only] => *only,
            several => shared.servers.pick(several, &host, path, named).unwrap_or(self.server),
        }
    }

    /// Whether MCP is expected at this path.
    fn is_endpoint(&self, path: &str) -> bool {
        let configured = self.config().url.path.split('?').next().unwrap_or_default();
        path == configured || self.worker.shared.sessions.is_endpoint(self.server, path)
    }

    fn not_mcp(&self, what: String) -> Refusal {
        let message = format!("{what}, and `{}` does not pass other traffic", self.config().name);
        Refusal::client(403, "not-mcp", message, "Use the server's MCP endpoint, or ask the operator to set `other = \"pass\"` for it.")
    }

    /// Refuses a request whose body was read: it goes into the record too.
    async fn refused(&mut self, head: &RequestHead, refusal: Refusal, body: &[u8]) -> Result<Next, Stop> {
        self.refuse(&refusal, Some(head), body).await;
        Err(Stop::Gone)
    }

    /// The protocol's session where there is one, the endpoint's URI in HTTP+SSE, else the process.
    fn session(&self, head: &RequestHead, path: &str) -> String {
        let name = &self.config().name;
        if let Some(id) = head.headers.get("mcp-session-id") {
            return format!("{name}:{}", String::from_utf8_lossy(id));
        }
        if self.worker.shared.sessions.is_endpoint(self.server, path) {
            return format!("{name}:{}", head.target);
        }
        match self.process.start_time.known() {
            Some(since) => format!("{name}:process:{}:{since}", self.origin.tgid),
            None => format!("{name}:process:{}", self.origin.tgid),
        }
    }

    /// Reads the whole body, within the limit.
    async fn body(&mut self, head: &RequestHead) -> Result<Bytes, Stop> {
        let limits = &self.worker.shared.config.limits;
        let (limit, idle) = (limits.inspected_body, limits.idle_timeout);
        let too_large = || {
            let message = format!("the request body is longer than the {limit} bytes that are inspected");
            Refusal::client(413, "body-too-large", message, "Send less at once, or ask the operator to raise `limits.inspected_body`.")
        };
        if let Framing::Length(length) = head.framing
            && usize::try_from(length).map_or(true, |length| length > limit)
        {
            return Err(too_large().into());
        }
        if head.expect_continue && self.client.buf.is_empty() {
            self.client.send(vec![Bytes::from_static(CONTINUE)], idle).await.map_err(|_| Stop::Gone)?;
        }
        let mut decoder = BodyDecoder::new(head.framing);
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        loop {
            match decoder.decode(&mut self.client.buf)? {
                Decoded::Data(piece) if first.is_empty() && joined.is_empty() => first = piece,
                Decoded::Data(piece) => {
                    joined.extend_from_slice(&std::mem::take(&mut first));
                    joined.extend_from_slice(&piece);
                }
                Decoded::End { .. } if joined.is_empty() => return Ok(first),
                Decoded::End { .. } => return Ok(joined.freeze()),
                Decoded::NeedMore => match self.client.fill_within(idle).await {
                    Ok(0) => return Err(decoder.finish_on_eof().err().map_or(Stop::Gone, Stop::from)),
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                        let message = format!("the request body stopped for {} s", idle.as_secs());
                        return Err(Refusal::client(408, "timeout", message, "Send the body without long pauses.").into());
                    }
                    Err(_) => return Err(Stop::Gone),
                },
            }
            if first.len().max(joined.len()) > limit {
                return Err(too_large().into());
            }
        }
    }

    /// A POST that carries MCP.
    async fn call(
        &mut self,
        head: &RequestHead,
        body: Bytes,
        payload: &mcp::Payload,
        revision: &mcp::Revision,
        session: String,
        started: Instant,
    ) -> Result<Next, Stop> {
        let messages = payload.messages();
        let open: Vec<OpenCall> = messages.iter().filter_map(open_call).collect();
        let shared = self.worker.shared.clone();
        let written = {
            let record = record::Request {
                server: &self.config().name,
                session: Some(&session),
                caller: self.caller(),
                http: HttpRequest::new(head),
                call: matches!(payload, mcp::Payload::Single(_)).then(|| Call::of(&messages[0])),
                batch: match payload {
                    mcp::Payload::Single(_) => Vec::new(),
                    mcp::Payload::Batch(messages) => messages.iter().map(Call::of).collect(),
                },
                continues: messages.iter().find_map(|message| match message {
                    Message::Response(response) => shared.sessions.question(&session, response.id.as_ref()?),
                    Message::Request(request) => shared.sessions.state_back(request.request_state.as_deref()?),
                    Message::Notification(_) => None,
                }),
                decision: ALLOWED,
                payload: Some(Payload::of_message(&body, shared.config.audit.max_body)),
            };
            self.record(Kind::Request, &record, if open.is_empty() { Effect::None } else { Effect::Opens }).await
        };
        let seq = match written {
            Ok(seq) => seq,
            Err(error) => return self.refused(head, Refusal::from(error).answering(first_id(payload)), &[]).await,
        };
        shared.metrics.call();
        let mut flight = Flight {
            open,
            leaving_cancels: revision.is_stateless(),
            resumable: head.headers.contains("mcp-session-id") && !revision.is_stateless(),
            ..self.flight(seq, session, head, started)
        };
        if shared.sessions.is_endpoint(self.server, head.target.split('?').next().unwrap_or_default()) {
            flight.parked.clone_from(&flight.open);
            self.park(&mut flight);
        }
        self.see_through(head, body, flight).await
    }

    /// A GET that opens the server's stream of messages.
    async fn listen(&mut self, head: &RequestHead, session: String, started: Instant) -> Result<Next, Stop> {
        let mut flight = self.uncalled(head, &Bytes::new(), session, started).await?;
        flight.listening = true;
        self.see_through(head, Bytes::new(), flight).await
    }

    /// Other HTTP whose body is small or none.
    async fn plain(&mut self, head: &RequestHead, body: Bytes, session: String, started: Instant) -> Result<Next, Stop> {
        let body = if body.is_empty() { self.body(head).await? } else { body };
        let flight = self.uncalled(head, &body, session, started).await?;
        self.see_through(head, body, flight).await
    }

    /// Other HTTP on a server that lets it pass: its body streams through.
    async fn pass(&mut self, head: &RequestHead, session: String, started: Instant) -> Result<Next, Stop> {
        let small = match head.framing {
            Framing::None => true,
            Framing::Length(length) => {
                usize::try_from(length).is_ok_and(|length| length <= self.worker.shared.config.limits.inspected_body)
            }
            _ => false,
        };
        if small {
            let body = self.body(head).await?;
            if head.method == Method::Post && looks_like_a_message(&body) {
                let refusal = self.not_mcp("a JSON-RPC message under another media type than application/json".into());
                return self.refused(head, refusal, &body).await;
            }
            let flight = self.uncalled(head, &body, session, started).await?;
            return self.see_through(head, body, flight).await;
        }
        let flight = self.uncalled(head, &Bytes::new(), session, started).await?;
        self.upload(head, flight).await
    }

    /// Records a request that carries no call.
    async fn uncalled(&mut self, head: &RequestHead, body: &[u8], session: String, started: Instant) -> Result<Flight, Stop> {
        let max_body = self.worker.shared.config.audit.max_body;
        let record = record::Request {
            server: &self.config().name,
            session: Some(&session),
            caller: self.caller(),
            http: HttpRequest::new(head),
            call: None,
            batch: Vec::new(),
            continues: None,
            decision: ALLOWED,
            payload: (!body.is_empty()).then(|| Payload::new(body, max_body)),
        };
        let seq = self.record(Kind::Request, &record, Effect::Opens).await?;
        Ok(self.flight(seq, session, head, started))
    }
}

fn accepts_events(head: &RequestHead) -> bool {
    head.headers.tokens("accept").any(|range| {
        let essence = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        essence.eq_ignore_ascii_case(b"text/event-stream")
    })
}

fn speaks_json(head: &RequestHead) -> bool {
    // A media type that cannot be read is taken for JSON: it is then read strictly, not passed.
    media_type(&head.headers).map_or(true, |media| media.is_some_and(|media| media.essence.ends_with("json")))
}

/// Whether a lenient server might take these bytes for JSON-RPC.
fn looks_like_a_message(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    matches!(body.first(), Some(b'{' | b'[')) && memchr::memmem::find(body, b"rpc").is_some()
}

fn open_call(message: &Message) -> Option<OpenCall> {
    match message {
        Message::Request(request) => Some(OpenCall { method: request.method.clone(), name: request.name.clone(), id: request.id.clone() }),
        _ => None,
    }
}

fn first_id(payload: &mcp::Payload) -> Option<Id> {
    match payload {
        mcp::Payload::Single(Message::Request(request)) => Some(request.id.clone()),
        _ => None,
    }
}
