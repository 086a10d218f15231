//! The way back: an answer is recorded before its last bytes leave, and an event before it is released.

use std::num::NonZeroUsize;

use bytes::{Bytes, BytesMut};

use super::{
    connection::{Connection, Next},
    forward::{Flight, Lost, RAN, unreachable_server},
    record::{self, Call, OpenCall, Outcome, micros},
    refusal::{self, Refusal},
    session::Waiting,
    stream::Side,
};
use crate::{
    audit::{Digest, Effect, Entry, Kind, Payload},
    mcp::{self, Message, Response},
    wire::{
        http1::{BodyDecoder, CHUNK_END, Decoded, Framing, LAST_CHUNK, ResponseHead, Rewrite, write_chunk_head, write_response_head},
        media::{content_encoding, media_type},
        sse::{Event, Splitter},
    },
};

/// What kind of answer it is, by its media type.
enum Shape {
    Events,
    /// JSON, or anything else that answers a call: read whole before any of it is released.
    Whole,
    /// Not an answer to a call: passed on as it comes.
    Stream,
}

/// One piece of a chunked body.
pub(super) fn chunk(piece: Bytes) -> Vec<Bytes> {
    let Some(length) = NonZeroUsize::new(piece.len()) else { return Vec::new() };
    let mut head = BytesMut::with_capacity(20);
    write_chunk_head(&mut head, length);
    vec![head.freeze(), piece, Bytes::from_static(CHUNK_END)]
}

impl Connection {
    /// Gives the server's answer to the client.
    pub(super) async fn relay(&mut self, mut server: Side, head: ResponseHead, flight: &mut Flight) -> Result<Next, Lost> {
        let mut decoder = BodyDecoder::new(head.framing);
        if let Some(id) = head.headers.get("mcp-session-id") {
            // The answer to `initialize` opens the protocol's session.
            flight.session = format!("{}:{}", self.config().name, String::from_utf8_lossy(id));
        }
        let shape = shape(&head, flight)?;
        let next = match shape {
            Shape::Events => self.events(&mut server, &head, &mut decoder, flight).await?,
            Shape::Whole => self.whole(&mut server, &head, &mut decoder, flight).await?,
            Shape::Stream => self.stream(&mut server, &head, &mut decoder, flight).await?,
        };
        if flight.sent && head.keep_alive && decoder.is_done() && server.buf.is_empty() && !server.ended() {
            self.worker.pool.borrow_mut().put(self.origin.original, self.principal(), server);
        }
        Ok(next)
    }

    /// An answer that is read whole: it is of no use to the client before its last byte, and that waits for the record anyway.
    async fn whole(
        &mut self,
        server: &mut Side,
        head: &ResponseHead,
        decoder: &mut BodyDecoder,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        let limit = self.worker.shared.config.limits.inspected_body;
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut size = 0;
        while let Some(piece) = self.piece(server, decoder, flight).await? {
            size += piece.len();
            if size > limit {
                let message = format!("the server's answer is longer than the {limit} bytes that are inspected");
                return Err(Lost::Answer(Refusal::upstream(message, "Ask for less, or have the operator raise `limits.inspected_body`.")));
            }
            pieces.push(piece);
        }
        let body = join(pieces);
        let elsewhere = head.status == 202 && !flight.parked.is_empty();
        if !elsewhere {
            self.unpark(flight);
            match body.is_empty() {
                true => self.closed(Some(head.status), None, &body, flight).await?,
                false => self.answered_whole(head, &body, flight).await?,
            }
        }
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let framing = if body.is_empty() { Framing::None } else { Framing::Length(length) };
        let head = self.head_for_client(head, flight, framing, flight.keep_alive)?;
        self.give(vec![head, body]).await?;
        Ok(if flight.keep_alive { Next::Another } else { Next::Close })
    }

    /// Reads a whole JSON answer strictly, and records it for the calls that it answers.
    async fn answered_whole(&mut self, head: &ResponseHead, body: &Bytes, flight: &mut Flight) -> Result<(), Lost> {
        let payload = match mcp::read(body, &self.worker.shared.reading) {
            Ok(payload) => payload,
            // A failure that says so in its status may be a page for people: no client reads it as a result.
            Err(_) if !(200..300).contains(&head.status) => return self.closed(Some(head.status), None, body, flight).await,
            Err(refusal) => {
                let message = format!("the server's answer was withheld: {}", refusal.message);
                return Err(Lost::Answer(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }));
            }
        };
        let responses: Vec<&Response> = payload.messages().iter().filter_map(response).collect();
        for response in &responses {
            let Some(id) = &response.id else { continue };
            match flight.open.iter().any(|call| call.id == *id) {
                true => self.remember(response, flight),
                false => {
                    let message = format!("the server answered a call that was not made (id {id}); the answer was withheld");
                    return Err(Lost::Answer(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }));
                }
            }
        }
        self.closed(Some(head.status), responses.first().copied(), body, flight).await
    }

    /// Writes the outcome. Durable when this returns.
    async fn closed(&mut self, status: Option<u16>, response: Option<&Response>, body: &[u8], flight: &mut Flight) -> Result<(), Lost> {
        let max_body = self.worker.shared.config.audit.max_body;
        let payload = (!body.is_empty()).then(|| Payload::new(body, max_body));
        self.outcome(status, response, payload, flight.seq, flight.open.first(), flight.started, &flight.session, true).await?;
        flight.open.clear();
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one field of the record")]
    async fn outcome(
        &self,
        status: Option<u16>,
        response: Option<&Response>,
        payload: Option<Payload<'_>>,
        seq: u64,
        call: Option<&OpenCall>,
        since: std::time::Instant,
        session: &str,
        last: bool,
    ) -> Result<u64, Lost> {
        let (code, message, is_error) = match response.map(|response| &response.outcome) {
            Some(mcp::Outcome::Error { code, message, .. }) => (Some(*code), Some(message.as_str()), None),
            Some(mcp::Outcome::Result { is_error, .. }) => (None, None, Some(*is_error)),
            None => (None, None, None),
        };
        let outcome = Outcome { status, code, message, is_error, gateway: None, took_us: micros(since.elapsed()) };
        let body = record::Answer { request: Some(seq), server: &self.config().name, session: Some(session), call, outcome, payload };
        let effect = if last { Effect::Closes(seq) } else { Effect::None };
        self.worker.shared.metrics.answered(since.elapsed());
        self.record(Kind::Answer, &body, effect).await.map_err(|error| Lost::Answer(error.into()))
    }

    /// An answer that is passed on as it comes; its last piece waits for the record.
    async fn stream(
        &mut self,
        server: &mut Side,
        head: &ResponseHead,
        decoder: &mut BodyDecoder,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        let (framing, keep_alive) = framing_for(head, flight);
        let mut digest = Digest::new();
        let mut first = BytesMut::new();
        let max_body = self.worker.shared.config.audit.max_body;
        let mut held = vec![self.head_for_client(head, flight, framing, keep_alive)?];
        while let Some(piece) = self.piece(server, decoder, flight).await.map_err(after_head)? {
            digest.update(&piece);
            let room = max_body.saturating_sub(first.len()).min(piece.len());
            first.extend_from_slice(&piece[..room]);
            let pieces = if framing == Framing::Chunked { chunk(piece) } else { vec![piece] };
            self.give(std::mem::replace(&mut held, pieces)).await?;
        }
        let payload = (digest.size() > 0).then(|| Payload::from_parts(&first, digest, max_body));
        let written = self.outcome(Some(head.status), None, payload, flight.seq, None, flight.started, &flight.session, true).await;
        written.map_err(after_head)?;
        if framing == Framing::Chunked {
            held.push(Bytes::from_static(LAST_CHUNK));
        }
        self.give(held).await?;
        Ok(if keep_alive { Next::Another } else { Next::Close })
    }

    /// A stream of events: each is read, recorded, and released at once.
    async fn events(
        &mut self,
        server: &mut Side,
        head: &ResponseHead,
        decoder: &mut BodyDecoder,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        let chunked = flight.chunks;
        let keep_alive = flight.keep_alive && chunked;
        let framing = if chunked { Framing::Chunked } else { Framing::UntilClose };
        let mut splitter = Splitter::new(self.worker.shared.config.limits.inspected_body);
        let mut ready = vec![self.head_for_client(head, flight, framing, keep_alive)?];
        let pack = |raw: Bytes| if chunked { chunk(raw) } else { vec![raw] };
        loop {
            loop {
                let event = match splitter.next() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => {
                        return Err(self.cut_events(ready, Refusal::upstream(error.to_string(), RAN), chunked, flight).await);
                    }
                };
                if !ready.is_empty() && waits_for_record(&event) {
                    self.give(std::mem::take(&mut ready)).await?;
                }
                match self.event(&event, flight).await {
                    Ok(()) => ready.extend(pack(event.raw)),
                    Err(refusal) => return Err(self.cut_events(ready, refusal, chunked, flight).await),
                }
            }
            self.give(std::mem::take(&mut ready)).await?;
            match self.piece(server, decoder, flight).await {
                Ok(Some(piece)) => splitter.push(piece),
                Ok(None) => break,
                Err(Lost::Answer(refusal)) => return Err(Lost::Cut(refusal)),
                Err(lost) => return Err(lost),
            }
        }
        if let Some(rest) = splitter.finish() {
            // Clients are told to drop an event without its blank line; some do not, so it is read like any other.
            match self.event(&rest, flight).await {
                Ok(()) => ready.extend(pack(rest.raw)),
                Err(refusal) => return Err(self.cut_events(ready, refusal, chunked, flight).await),
            }
        }
        if flight.listening || flight.open.is_empty() && flight.method != crate::wire::http1::Method::Post {
            self.outcome(Some(head.status), None, None, flight.seq, None, flight.started, &flight.session, true)
                .await
                .map_err(after_head)?;
        } else if !flight.open.is_empty() && flight.leaving_cancels {
            // 2026-07-28 knows no other connection on which the answer could come.
            let refusal = Refusal::upstream("the server ended its stream of events without an answer", RAN);
            return Err(self.cut_events(ready, refusal, chunked, flight).await);
        } else if !flight.open.is_empty() {
            // The server may close a stream early and answer on one that the client opens to resume.
            self.park(flight);
        }
        if chunked {
            ready.push(Bytes::from_static(LAST_CHUNK));
        }
        self.give(ready).await?;
        Ok(if keep_alive { Next::Another } else { Next::Close })
    }

    /// Ends a stream of events with an error that the client can read.
    async fn cut_events(&mut self, mut ready: Vec<Bytes>, refusal: Refusal, chunked: bool, flight: &Flight) -> Lost {
        for call in &flight.open {
            let mut event = BytesMut::from(&b"data: "[..]);
            let told = Refusal { id: Some(call.id.clone()), message: refusal.message.clone(), ..refusal };
            event.extend_from_slice(&refusal::body(&told, None));
            event.extend_from_slice(b"\n\n");
            ready.extend(if chunked { chunk(event.freeze()) } else { vec![event.freeze()] });
        }
        if chunked {
            ready.push(Bytes::from_static(LAST_CHUNK));
        }
        match self.give(ready).await {
            Ok(()) => Lost::Cut(refusal),
            Err(lost) => lost,
        }
    }

    /// Reads one event and records what it carries.
    async fn event(&mut self, event: &Event, flight: &mut Flight) -> Result<(), Refusal> {
        let Some(data) = event.data.as_ref().filter(|data| !data.is_empty()) else { return Ok(()) };
        let shared = self.worker.shared.clone();
        if event.kind() == b"endpoint" {
            let path = mcp::endpoint_event(data, mcp::Base { scheme: "http", authority: &flight.host, target: &flight.target })
                .map_err(|error| Refusal { reason: "malformed", ..Refusal::upstream(error.to_string(), RAN) })?;
            flight.session = format!("{}:{path}", self.config().name);
            let path = path.split('?').next().unwrap_or_default().to_owned();
            shared.sessions.endpoint(self.server, path);
            return Ok(());
        }
        let payload = match mcp::read(data, &shared.reading) {
            Ok(payload) => payload,
            // Clients read only events of type `message` as MCP; another type is the server's own matter.
            Err(_) if event.kind() != b"message" => return self.note(None, data, flight).await,
            Err(refusal) => {
                let message = format!("an event of the server was withheld: {}", refusal.message);
                return Err(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) });
            }
        };
        for message in payload.messages() {
            match message {
                Message::Response(response) => self.answer_event(response, message, data, flight).await?,
                Message::Request(request) => {
                    let seq = self.said(Some(message), data, flight).await?;
                    shared.sessions.asked(&flight.session, &request.id, seq);
                }
                Message::Notification(_) => self.note(Some(message), data, flight).await?,
            }
        }
        Ok(())
    }

    async fn answer_event(&mut self, response: &Response, message: &Message, data: &[u8], flight: &mut Flight) -> Result<(), Refusal> {
        let shared = self.worker.shared.clone();
        let Some(id) = &response.id else { return self.said(Some(message), data, flight).await.map(drop) };
        let waiting = match flight.open.iter().position(|call| call.id == *id) {
            Some(at) => Waiting { seq: flight.seq, call: flight.open.remove(at), since: flight.started },
            None => match shared.sessions.answered(&flight.session, id) {
                Some(waiting) => waiting,
                // A resumed stream may replay an answer that was given before: on record, and harmless.
                None => return self.said(Some(message), data, flight).await.map(drop),
            },
        };
        let last = waiting.seq != flight.seq || flight.open.is_empty();
        self.remember(response, flight);
        let payload = Payload::new(data, shared.config.audit.max_body);
        let written =
            self.outcome(None, Some(response), Some(payload), waiting.seq, Some(&waiting.call), waiting.since, &flight.session, last).await;
        match written {
            Ok(_) => Ok(()),
            Err(Lost::Answer(refusal) | Lost::Cut(refusal)) => {
                flight.open.push(waiting.call);
                Err(refusal)
            }
            Err(Lost::ClientGone) => Ok(()),
        }
    }

    /// Records a message that can have an effect, durably, before it is released.
    async fn said(&self, message: Option<&Message>, data: &[u8], flight: &Flight) -> Result<u64, Refusal> {
        let body = self.message(message, data, flight);
        self.record(Kind::Message, &body, Effect::None).await.map_err(Refusal::from)
    }

    /// Records a message that has no effect: its record stands before that of the answer, and nothing waits for it.
    async fn note(&self, message: Option<&Message>, data: &[u8], flight: &Flight) -> Result<(), Refusal> {
        let audit = &self.worker.shared.audit;
        if audit.is_behind() {
            // A server that floods its client waits for the disk.
            return self.said(message, data, flight).await.map(drop);
        }
        let body = record::bytes(&self.message(message, data, flight));
        audit.append_behind(Entry { kind: Kind::Message, body, effect: Effect::None }, self.config().durability).map_err(Refusal::from)
    }

    fn message<'a>(&'a self, message: Option<&'a Message>, data: &'a [u8], flight: &'a Flight) -> record::Message<'a> {
        record::Message {
            server: &self.config().name,
            session: Some(&flight.session),
            from: "server",
            request: Some(flight.seq),
            call: message.map(Call::of),
            payload: Payload::new(data, self.worker.shared.config.audit.max_body),
        }
    }

    /// The answer of a call in flight will come on another connection, or never.
    pub(super) fn park(&self, flight: &mut Flight) {
        for call in flight.open.drain(..) {
            self.worker.shared.sessions.park(&flight.session, Waiting { seq: flight.seq, call, since: flight.started });
        }
    }

    /// The answer came here after all, or will not come: what is still parked is this exchange's again.
    pub(super) fn unpark(&self, flight: &mut Flight) {
        for call in flight.parked.drain(..) {
            if let Some(waiting) = self.worker.shared.sessions.answered(&flight.session, &call.id) {
                flight.open.push(waiting.call);
            }
        }
    }

    /// What later requests are read by: the revision that a session agreed on, and the state that a client comes back with.
    fn remember(&self, response: &Response, flight: &Flight) {
        let mcp::Outcome::Result { request_state, protocol_version, .. } = &response.outcome else { return };
        let sessions = &self.worker.shared.sessions;
        if let Some(state) = request_state {
            sessions.state_given(state, flight.seq);
        }
        if let Some(version) = protocol_version {
            sessions.agreed(&flight.session, mcp::Revision::from_name(version));
        }
    }

    /// The next piece of the server's body; `None` at its end.
    async fn piece(&mut self, server: &mut Side, decoder: &mut BodyDecoder, flight: &Flight) -> Result<Option<Bytes>, Lost> {
        let broken = |message: String| Lost::Answer(Refusal::upstream(message, RAN));
        loop {
            match decoder.decode(&mut server.buf).map_err(|error| broken(format!("the server's answer cannot be read: {error}")))? {
                Decoded::Data(piece) => return Ok(Some(piece)),
                Decoded::End { .. } => return Ok(None),
                Decoded::NeedMore if server.ended() => {
                    return match decoder.finish_on_eof() {
                        Ok(()) => Ok(None),
                        Err(_) => Err(broken("the server closed the connection inside its answer".into())),
                    };
                }
                Decoded::NeedMore => self.wait(server, flight).await?.map_err(|error| Lost::Answer(unreachable_server(&error)))?,
            }
        }
    }

    async fn give(&mut self, pieces: Vec<Bytes>) -> Result<(), Lost> {
        let limit = self.worker.shared.config.limits.idle_timeout;
        self.client.send(pieces, limit).await.map_err(|_| Lost::ClientGone)
    }

    fn head_for_client(&self, head: &ResponseHead, flight: &Flight, framing: Framing, keep_alive: bool) -> Result<Bytes, Lost> {
        let mut out = BytesMut::with_capacity(512);
        write_response_head(&mut out, head, &flight.method, &Rewrite { framing, set: &[], remove: &[], keep_alive })
            .map_err(|error| Lost::Answer(Refusal::upstream(format!("the server's answer cannot be sent on: {error}"), RAN)))?;
        Ok(out.freeze())
    }
}

fn shape(head: &ResponseHead, flight: &Flight) -> Result<Shape, Lost> {
    let unreadable = |what: String| Lost::Answer(Refusal { reason: "malformed", ..Refusal::upstream(what, RAN) });
    let coded = !content_encoding(&head.headers).is_ok_and(|codings| codings.is_empty());
    let media = media_type(&head.headers).map_err(|error| unreadable(format!("the server's answer was withheld: {error}")))?;
    let events = media.is_some_and(|media| media.essence == "text/event-stream");
    let answers = !flight.open.is_empty() || events;
    if coded && answers {
        return Err(unreadable("the server compressed its answer though it was asked not to; what cannot be read is withheld".into()));
    }
    Ok(match () {
        () if events => Shape::Events,
        () if !flight.open.is_empty() || !flight.parked.is_empty() => Shape::Whole,
        () => Shape::Stream,
    })
}

/// The framing of an answer that is passed on as it comes, and whether the connection can go on after it.
fn framing_for(head: &ResponseHead, flight: &Flight) -> (Framing, bool) {
    match head.framing {
        Framing::None => (Framing::None, flight.keep_alive),
        Framing::Length(length) => (Framing::Length(length), flight.keep_alive),
        Framing::Chunked | Framing::UntilClose if flight.chunks => (Framing::Chunked, flight.keep_alive),
        Framing::Chunked | Framing::UntilClose => (Framing::UntilClose, false),
    }
}

/// Events that carry nothing to wait for leave together with those before them.
fn waits_for_record(event: &Event) -> bool {
    event.data.is_some()
}

fn after_head(lost: Lost) -> Lost {
    match lost {
        Lost::Answer(refusal) => Lost::Cut(refusal),
        other => other,
    }
}

fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        joined.extend_from_slice(piece);
    }
    joined.freeze()
}

fn response(message: &Message) -> Option<&Response> {
    match message {
        Message::Response(response) => Some(response),
        _ => None,
    }
}
