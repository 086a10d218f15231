//! One HTTP exchange: read, decide, record, forward, and give the answer back.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use compio::time::timeout;
use futures_util::FutureExt;

use super::{
    connection::{Connection, Next, Stop},
    record::{self, Call, Decision, HttpRequest, OpenCall, Outcome, micros},
    refusal::{self, Refusal},
    stream::{First, Side, first},
    upstream,
};
use crate::{
    audit::{Effect, Kind, Payload},
    config::Other,
    mcp::{self, Id, Message},
    wire::{
        http1::{BodyDecoder, Decoded, Framing, Method, RequestHead, ResponseHead, Rewrite, parse_response, write_request_head},
        media::{content_encoding, media_type},
    },
};

/// A request that was recorded and forwarded, until its answer is recorded.
pub(super) struct Flight {
    /// The record of the request.
    pub seq: u64,
    pub session: String,
    /// Calls without an answer yet; none for notifications and for what is not a call.
    pub open: Vec<OpenCall>,
    /// Calls whose answer comes on another connection (HTTP+SSE): known to the session before they are forwarded, because
    /// the answer may overtake the 202.
    pub parked: Vec<OpenCall>,
    pub started: Instant,
    pub method: Method,
    /// The client knows HTTP/1.1, so that chunks can be sent.
    pub chunks: bool,
    /// The client's connection can carry another exchange.
    pub keep_alive: bool,
    /// Closing the connection takes the call back (2026-07-28). Before that, the end of a client's bytes may be a half-close.
    pub leaving_cancels: bool,
    /// A client that has left may still fetch the answer on another connection of its session.
    pub resumable: bool,
    /// Whether this is the long-lived stream of a GET.
    pub listening: bool,
    /// Host and target of the request: what relative URLs in its answer are relative to.
    pub host: String,
    pub target: String,
}

/// Why a forwarded request has no answer of the server's.
pub(super) enum Lost {
    /// Nothing was sent to the client yet.
    Answer(Refusal),
    /// The client has the head and perhaps more of the answer: the connection must be cut.
    Cut(Refusal),
    /// The client left.
    ClientGone,
}

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
            let go_on = vec![Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")];
            self.client.send(go_on, idle).await.map_err(|_| Stop::Gone)?;
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
                payload: Some(Payload::new(&body, shared.config.audit.max_body)),
            };
            self.record(Kind::Request, &record, if open.is_empty() { Effect::None } else { Effect::Opens }).await
        };
        let seq = match written {
            Ok(seq) => seq,
            Err(error) => return self.refused(head, Refusal::from(error).answering(first_id(payload)), &[]).await,
        };
        shared.metrics.call();
        let mut flight = Flight {
            seq,
            session,
            open,
            started,
            method: head.method.clone(),
            chunks: head.minor_version >= 1,
            keep_alive: head.keep_alive,
            leaving_cancels: revision.is_stateless(),
            resumable: head.headers.contains("mcp-session-id") && !revision.is_stateless(),
            listening: false,
            parked: Vec::new(),
            host: host(head),
            target: head.target.clone(),
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
        let mut flight = self.uncalled(head, &Bytes::new(), session, started).await?;
        match self.upload(head, &mut flight).await {
            Ok(next) => Ok(next),
            Err(lost) => self.lost(flight, lost).await,
        }
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
        Ok(Flight {
            seq,
            session,
            open: Vec::new(),
            started,
            method: head.method.clone(),
            chunks: head.minor_version >= 1,
            keep_alive: head.keep_alive,
            leaving_cancels: false,
            resumable: false,
            listening: false,
            parked: Vec::new(),
            host: host(head),
            target: head.target.clone(),
        })
    }

    /// Forwards a recorded request and gives the answer back; whatever happens, the record of its outcome is written.
    async fn see_through(&mut self, head: &RequestHead, body: Bytes, mut flight: Flight) -> Result<Next, Stop> {
        match self.forward(head, body, &mut flight).await {
            Ok(next) => Ok(next),
            Err(lost) => self.lost(flight, lost).await,
        }
    }

    async fn forward(&mut self, head: &RequestHead, body: Bytes, flight: &mut Flight) -> Result<Next, Lost> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let framing = if body.is_empty() { Framing::None } else { Framing::Length(length) };
        let sent_head = request_head(head, framing)?;
        let mut server = self.server().await?;
        let idle = self.worker.shared.config.limits.idle_timeout;
        // A server may answer before it has read everything, and close: its answer counts, not the failed write.
        let written = server.send(vec![sent_head, body], idle).await;
        let answer = match self.answer_head(&mut server, flight).await {
            Err(Lost::Answer(refusal)) => {
                let cause = written.err().map(|error| format!(" (sending it failed: {error})")).unwrap_or_default();
                return Err(Lost::Answer(Refusal { message: format!("{}{cause}", refusal.message), ..refusal }));
            }
            other => other?,
        };
        self.relay(server, answer, flight).await
    }

    /// Streams a request body that is not inspected, until it ends or the server answers.
    async fn upload(&mut self, head: &RequestHead, flight: &mut Flight) -> Result<Next, Lost> {
        let sent_head = request_head(head, head.framing)?;
        let mut server = self.server().await?;
        let idle = self.worker.shared.config.limits.idle_timeout;
        let broken = |error: std::io::Error| Lost::Answer(unreachable_server(&error));
        server.send(vec![sent_head], idle).await.map_err(broken)?;
        if head.expect_continue && self.client.buf.is_empty() {
            let go_on = vec![Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n")];
            self.client.send(go_on, idle).await.map_err(|_| Lost::ClientGone)?;
        }
        let mut decoder = BodyDecoder::new(head.framing);
        loop {
            match decoder.decode(&mut self.client.buf).map_err(|error| Lost::Answer(error.into()))? {
                Decoded::Data(piece) => {
                    let pieces = if head.framing == Framing::Chunked { super::answer::chunk(piece) } else { vec![piece] };
                    server.send(pieces, idle).await.map_err(broken)?;
                }
                Decoded::End { .. } => break,
                Decoded::NeedMore => {
                    match timeout(idle, first(&mut server, &mut self.client)).await {
                        Ok(First::Client(Ok(count))) if count > 0 => {}
                        Ok(First::Client(_)) | Err(_) => return Err(Lost::ClientGone),
                        // An early answer: the rest of the body is not wanted.
                        Ok(First::Server(_)) => break,
                    }
                }
            }
        }
        if head.framing == Framing::Chunked && decoder.is_done() {
            server.send(vec![Bytes::from_static(crate::wire::http1::LAST_CHUNK)], idle).await.map_err(broken)?;
        }
        flight.keep_alive &= decoder.is_done();
        let answer = self.answer_head(&mut server, flight).await?;
        self.relay(server, answer, flight).await
    }

    /// A connection to the server that the caller meant, and that no one else uses.
    async fn server(&self) -> Result<Side, Lost> {
        let to = self.origin.original;
        if let Some(kept) = self.worker.pool.borrow_mut().take(to, &self.principal()) {
            return Ok(kept);
        }
        upstream::connect(&self.worker.shared, to).await.map_err(|error| {
            let message = format!("`{}` at {to} cannot be reached: {error}", self.config().name);
            Lost::Answer(Refusal::upstream(message, "The server did not get the call. Try again when it is up."))
        })
    }

    /// Waits for the head of the final answer; interim answers are dropped (RFC 9110 section 15.2 lets a proxy).
    async fn answer_head(&mut self, server: &mut Side, flight: &Flight) -> Result<ResponseHead, Lost> {
        let limit = self.worker.shared.config.limits.head;
        loop {
            let parsed = parse_response(&mut server.buf, &flight.method, limit);
            match parsed.map_err(|error| Lost::Answer(Refusal::upstream(format!("the server's answer cannot be read: {error}"), RAN)))? {
                Some(head) if head.status == 101 => {
                    return Err(Lost::Answer(Refusal::upstream(
                        "the server changed the protocol though nobody asked it to (status 101)",
                        RAN,
                    )));
                }
                Some(head) if (100..200).contains(&head.status) => {}
                Some(head) => return Ok(head),
                None if server.ended() => {
                    return Err(Lost::Answer(Refusal::upstream("the server closed the connection before it answered", RAN)));
                }
                None => self.wait(server, flight).await?.map_err(|error| Lost::Answer(unreachable_server(&error)))?,
            }
        }
    }

    /// Waits for more from the server, and watches whether the client is still there. There is no limit in time: a tool may run
    /// for hours, and the client says when it is enough.
    pub(super) async fn wait(&mut self, server: &mut Side, flight: &Flight) -> Result<std::io::Result<()>, Lost> {
        let stopping = || Refusal {
            side: refusal::Side::Gateway,
            reason: "stopping",
            ..Refusal::upstream("the gateway is stopping", "Connect again.")
        };
        let mut drained = self.worker.drained.clone();
        loop {
            if flight.listening {
                // A stream of a GET has no end of its own to wait for.
                let events = first(server, &mut self.client).fuse();
                futures_util::pin_mut!(events);
                let event = futures_util::select_biased! {
                    event = events => event,
                    _ = drained => return Err(Lost::Cut(stopping())),
                };
                match event {
                    First::Server(result) => return Ok(result.map(drop)),
                    First::Client(Ok(count)) if count > 0 => continue,
                    First::Client(_) => return Err(Lost::ClientGone),
                }
            }
            let watching = !self.client.ended() && self.client.buf.is_empty();
            if !watching {
                return Ok(server.fill().await.map(drop));
            }
            match first(server, &mut self.client).await {
                First::Server(result) => return Ok(result.map(drop)),
                First::Client(Err(_)) => return Err(Lost::ClientGone),
                First::Client(Ok(0)) if flight.leaving_cancels => return Err(Lost::ClientGone),
                First::Client(Ok(_)) => {}
            }
        }
    }

    /// Writes the outcome of a request that the server did not answer to the end, and tells the client if it can be told.
    async fn lost(&mut self, mut flight: Flight, lost: Lost) -> Result<Next, Stop> {
        let shared = self.worker.shared.clone();
        let (refusal, told) = match &lost {
            Lost::Answer(refusal) => (Some(refusal), true),
            Lost::Cut(refusal) => (Some(refusal), false),
            Lost::ClientGone => (None, false),
        };
        if refusal.is_none() && (flight.resumable || !flight.parked.is_empty()) {
            self.park(&mut flight);
            return Err(Stop::Gone);
        }
        self.unpark(&mut flight);
        let outcome = Outcome {
            status: refusal.filter(|_| told).map(|refusal| refusal.status),
            message: Some(refusal.map_or("the client left before the answer was complete", |refusal| &refusal.message)),
            gateway: Some(refusal.map_or("client-gone", |refusal| refusal.reason)),
            took_us: micros(flight.started.elapsed()),
            ..Outcome::default()
        };
        let written = {
            let answer = record::Answer {
                request: Some(flight.seq),
                server: &self.config().name,
                session: Some(&flight.session),
                call: flight.open.first(),
                outcome,
                payload: None,
            };
            self.record(Kind::Answer, &answer, Effect::Closes(flight.seq)).await
        };
        let Lost::Answer(refusal) = lost else { return Err(Stop::Gone) };
        shared.metrics.refused(refusal.reason);
        let record = written.ok().map(|seq| format!("{}/{seq}", shared.audit.log_id()));
        let refusal = refusal.answering(flight.open.first().map(|call| call.id.clone()));
        tracing::warn!(server = self.config().name, pid = self.origin.tgid, reason = refusal.reason, "{}", refusal.message);
        let pieces = refusal::answer(&refusal, record.as_deref(), &flight.method, flight.keep_alive);
        let sent = self.client.send(pieces, shared.config.limits.idle_timeout).await;
        sent.map_err(|_| Stop::Gone)?;
        Ok(if flight.keep_alive { Next::Another } else { Next::Close })
    }
}

pub(super) const RAN: &str = "Whether the server carried out the call is not known: look before you repeat it.";

pub(super) fn unreachable_server(error: &std::io::Error) -> Refusal {
    Refusal::upstream(format!("the connection to the server broke: {error}"), RAN)
}

/// The head as it goes upstream: rebuilt, asking for an answer that can be read, and without the client's connection matters.
fn request_head(head: &RequestHead, framing: Framing) -> Result<Bytes, Lost> {
    let mut out = BytesMut::with_capacity(1024);
    let rewrite = Rewrite { framing, set: &[("Accept-Encoding", b"identity")], remove: &[], keep_alive: true };
    write_request_head(&mut out, head, &rewrite).map_err(|error| {
        Lost::Answer(Refusal::client(400, "malformed", format!("the request cannot be sent on: {error}"), "Correct the HTTP request."))
    })?;
    Ok(out.freeze())
}

fn host(head: &RequestHead) -> String {
    String::from_utf8_lossy(head.host().unwrap_or_default()).into_owned()
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
