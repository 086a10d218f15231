//! One HTTP exchange: read, decide, record, forward, and give the answer back.

use std::{borrow::Cow, sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    body::{Body, looks_like_a_message},
    connection::{Connection, Next, Stop},
    decide::{Decision, Judged},
    forward::Flight,
    masks::{CallMasks, Way},
    record::{self, Call, HttpRequest, OpenCall, RecordedDecision},
    refusal::{self, Refusal},
    servers::host_alone,
    veil::{Content, Veil},
};
use crate::{
    audit::{Effect, Kind},
    config::Other,
    mcp::{self, Id, Message},
    wire::{
        http1::{Headers, Method, RequestHead},
        media::{content_encoding, media_type},
    },
};

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
        if self.tls.is_some() && !self.is_host(head) {
            let message =
                format!("the request is for another host than `{}`, to which the TLS connection was made", self.config().url.host);
            return Err(
                Refusal::client(421, "host-mismatch", message, "Send a request to the host that the connection was made to.").into()
            );
        }
        if self.is_own_metadata(head, path) {
            return self.give_own_metadata(head).await;
        }
        // Whoever is not let in learns so after the call was read: then the record says what was refused.
        let vouched = self.vouch(head).await;
        let session = self.session(head, path);
        let vouched = vouched.and_then(|()| self.own(&session, head, path));
        if head.method != Method::Post && !is_preflight(head) {
            vouched.as_ref().map_err(Clone::clone)?;
        }
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
        if self.config().other == Other::Pass && !ours {
            vouched.as_ref().map_err(Clone::clone)?;
        }
        if self.config().other == Other::Pass && !ours && !speaks_json(head) {
            return self.pass(head, session, started).await;
        }
        let is_here = self.has_whole(head);
        let body = self.body(head).await?;
        // While it was waited for, a login may have ended, or another program may have taken the connection over.
        let vouched = match vouched {
            Ok(()) if !is_here => self.vouch(head).await.and_then(|()| self.own(&session, head, path)),
            known => known,
        };
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
        if let Err(refusal) = vouched {
            return self.refused(head, refusal.answering(first_id(&payload)), &body).await;
        }
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
        let named = |server| shared.sessions.is_endpoint(server, path);
        match &self.candidates[..] {
            [only] => *only,
            several => shared.servers.pick(several, &self.host(head), path, named).unwrap_or(self.server),
        }
    }

    fn is_host(&self, head: &RequestHead) -> bool {
        host_alone(&self.host(head)).eq_ignore_ascii_case(&self.config().url.host)
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

    /// Answers a call that may not be made, and goes on: it was read to its end. To a caller that waits for the answer here, it is the
    /// call that has failed, and not HTTP.
    async fn denied(
        &mut self,
        head: &RequestHead,
        refusal: Refusal,
        (session, payload, decision): (&str, &mcp::Payload, &Decision),
        body: &[u8],
    ) -> Result<Next, Stop> {
        let record = self.note_refusal(&refusal, Some(head), body, Some((session, payload, decision))).await;
        let path = head.target.split('?').next().unwrap_or_default();
        let is_heard = refusal.id.is_some()
            && matches!(payload, mcp::Payload::Single(_))
            && !self.worker.shared.sessions.is_endpoint(self.server, path);
        let refusal = if is_heard && refusal.retry_after.is_none() { Refusal { status: 200, ..refusal } } else { refusal };
        let pieces = refusal::answer(&refusal, record.as_deref(), &head.method, head.keep_alive);
        self.client.send(pieces, self.worker.shared.config.limits.idle_timeout).await.map_err(|_| Stop::Gone)?;
        Ok(if head.keep_alive { Next::Another } else { Next::Close })
    }

    /// The host that a request is for, as its server is to see it.
    pub(super) fn host(&self, head: &RequestHead) -> String {
        match &self.entrance {
            Some(entrance) => entrance.authority.clone(),
            None => String::from_utf8_lossy(head.host().unwrap_or_default()).into_owned(),
        }
    }

    /// The protocol's session where there is one, the endpoint's URI in HTTP+SSE, else the caller.
    fn session(&self, head: &RequestHead, path: &str) -> String {
        let name = &self.config().name;
        if let Some(id) = head.headers.get("mcp-session-id") {
            return format!("{name}:{}", String::from_utf8_lossy(id));
        }
        if self.worker.shared.sessions.is_endpoint(self.server, path) {
            return format!("{name}:{}", head.target);
        }
        self.session_of_caller()
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
        let Judged { decision, refusal } = self.judge(&body, payload, revision, &session);
        if let Some(refusal) = refusal {
            return self.denied(head, refusal, (&session, payload, &decision), &body).await;
        }
        let sent = self.masks(&body, messages).and_then(|masks| {
            let (head, body) = self.edited_request(head, &body, &masks, &session)?;
            Ok((masks, head, body))
        });
        let (masks, sent_head, sent_body) = match sent {
            Ok(sent) => sent,
            Err(refusal) => return self.denied(head, refusal.answering(first_id(payload)), (&session, payload, &decision), &body).await,
        };
        let shared = self.worker.shared.clone();
        let (open, written) = {
            let veil = self.veil(Way::Up(&masks), &session);
            let shown = veil.payload(&body, Content::Message);
            let open: Vec<OpenCall> = messages.iter().zip(&masks).filter_map(|(message, masks)| open_call(message, masks, &veil)).collect();
            let (call, batch) = Call::all(payload, &veil);
            let record = record::Request {
                server: &self.config().name,
                session: Some(&session),
                caller: self.caller(),
                tls: self.tls.as_ref(),
                http: HttpRequest::new(head, self.entrance.as_ref(), &veil),
                call,
                batch,
                continues: messages.iter().find_map(|message| match message {
                    Message::Response(response) => shared.sessions.question(&session, response.id.as_ref()?),
                    Message::Request(request) => shared.sessions.state_back(request.request_state.as_deref()?),
                    Message::Notification(_) => None,
                }),
                decision: RecordedDecision::new(&decision, &veil),
                masked: veil.marks(),
                payload: Some(shown),
            };
            let written = self.record(Kind::Request, &record, if open.is_empty() { Effect::None } else { Effect::Opens }).await;
            (open, written)
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
            masks,
            ..self.flight(seq, session, head, started)
        };
        if shared.sessions.is_endpoint(self.server, head.target.split('?').next().unwrap_or_default()) {
            flight.parked.clone_from(&flight.open);
            self.park(&mut flight);
        }
        self.see_through(&sent_head, sent_body, flight).await
    }

    /// A request as the server gets it: with arguments that are masked for it, the header fields that repeat them are too.
    fn edited_request<'h>(
        &self,
        head: &'h RequestHead,
        body: &Bytes,
        masks: &[Arc<CallMasks>],
        session: &str,
    ) -> Result<(Cow<'h, RequestHead>, Bytes), Refusal> {
        let veil = self.veil(Way::Up(masks), session);
        if veil.is_clear() {
            return Ok((Cow::Borrowed(head), body.clone()));
        }
        let edited = veil.edited(body.clone(), Content::Message)?;
        let mut headers = Headers::new();
        let mut is_other = false;
        for (name, value) in head.headers.iter() {
            let other = match (std::str::from_utf8(name), std::str::from_utf8(value)) {
                (Ok(name), Ok(value)) => veil.edited_header(name, value)?,
                _ => None,
            };
            is_other |= other.is_some();
            headers.push(name.to_vec(), other.unwrap_or_else(|| value.to_vec()));
        }
        let head = if is_other { Cow::Owned(RequestHead { headers, ..head.clone() }) } else { Cow::Borrowed(head) };
        Ok((head, edited))
    }

    /// A GET that opens the server's stream of messages.
    async fn listen(&mut self, head: &RequestHead, session: String, started: Instant) -> Result<Next, Stop> {
        let decision = self.allowed("subscriptions/listen", &session)?;
        let mut flight = self.uncalled(head, &Bytes::new(), session, &decision, started).await?;
        flight.listening = true;
        self.see_through(head, Bytes::new(), flight).await
    }

    /// Other HTTP whose body is small or none.
    async fn plain(&mut self, head: &RequestHead, body: Bytes, session: String, started: Instant) -> Result<Next, Stop> {
        let body = if body.is_empty() { self.body(head).await? } else { body };
        let decision = match head.method {
            // Neither is a caller's doing: it comes before anybody is asked who he is.
            Method::Options | Method::Get => Decision::unasked("it asks how the server is called, and carries no call"),
            Method::Delete => self.allowed("subscriptions/listen", &session)?,
            _ => self.allowed("other", &session)?,
        };
        let flight = self.uncalled(head, &body, session, &decision, started).await?;
        self.see_through(head, body, flight).await
    }

    /// Other HTTP on a server that lets it pass: its body streams through, unless it could be read as a message.
    async fn pass(&mut self, head: &RequestHead, session: String, started: Instant) -> Result<Next, Stop> {
        let mut body = Body::new(head);
        if head.method == Method::Post {
            self.receive(&mut body, |begun| !begun.is_blank()).await?;
            self.vouch(head).await?;
        }
        if body.begins_like_json() || self.is_signed() {
            let body = self.rest_of_body(head, body).await?;
            if looks_like_a_message(&body) {
                let refusal = self.not_mcp("a JSON-RPC message under another media type than application/json".into());
                return self.refused(head, refusal, &body).await;
            }
            return self.plain(head, body, session, started).await;
        }
        let decision = self.allowed("other", &session)?;
        let flight = self.uncalled(head, &Bytes::new(), session, &decision, started).await?;
        self.upload(head, body, flight).await
    }

    /// Records a request that carries no call.
    async fn uncalled(
        &mut self,
        head: &RequestHead,
        body: &[u8],
        session: String,
        decision: &Decision,
        started: Instant,
    ) -> Result<Flight, Stop> {
        let masks = vec![self.masks_of_anything()];
        let seq = {
            let veil = self.veil(Way::Up(&masks), &session);
            let payload = (!body.is_empty()).then(|| veil.payload(body, Content::Other));
            let record = record::Request {
                server: &self.config().name,
                session: Some(&session),
                caller: self.caller(),
                tls: self.tls.as_ref(),
                http: HttpRequest::new(head, self.entrance.as_ref(), &veil),
                call: None,
                batch: Vec::new(),
                continues: None,
                decision: RecordedDecision::new(decision, &veil),
                masked: veil.marks(),
                payload,
            };
            self.record(Kind::Request, &record, Effect::Opens).await?
        };
        Ok(Flight { masks, ..self.flight(seq, session, head, started) })
    }
}

/// What a browser asks before it sends what a page wants to send (Fetch standard, "CORS-preflight request"): it carries no credential.
fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::Options && head.headers.contains("origin") && head.headers.contains("access-control-request-method")
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

fn open_call(message: &Message, masks: &Arc<CallMasks>, veil: &Veil<'_>) -> Option<OpenCall> {
    match message {
        Message::Request(request) => Some(OpenCall {
            method: request.method.clone(),
            name: request.name.as_deref().map(|name| veil.text("call.name", name).into_owned()),
            id: request.id.clone(),
            masks: masks.clone(),
        }),
        _ => None,
    }
}

fn first_id(payload: &mcp::Payload) -> Option<Id> {
    match payload {
        mcp::Payload::Single(Message::Request(request)) => Some(request.id.clone()),
        _ => None,
    }
}
