//! The way back for a stream of events: each is read, recorded, and released at once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gateway_mask::Edit;

use super::{
    answer::{Answered, after_head, chunk, unreadable},
    connection::{Connection, Next},
    credential::Furnished,
    forward::{Flight, Lost, RAN},
    masks::{CallMasks, Way},
    record::{self, Call},
    refusal::{self, Refusal},
    session::Waiting,
    stream::Side,
    veil::{Content, Veil},
};
use crate::{
    audit::{Effect, Entry, Kind},
    mcp::{self, Message, Response},
    wire::{
        http1::{BodyDecoder, Decoded, Framing, LAST_CHUNK, Method, ResponseHead},
        sse::{Event, Splitter},
    },
};

impl Connection {
    /// A stream of events: each is read, recorded, and released at once.
    pub(super) async fn events(
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
        self.begins(framing);
        let pack = |raw: Bytes| if chunked { chunk(raw) } else { vec![raw] };
        loop {
            loop {
                let mut event = match splitter.next() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => {
                        return Err(self.cut_events(ready, Refusal::upstream(error.to_string(), RAN), chunked, flight).await);
                    }
                };
                if !ready.is_empty() && waits_for_record(&event) {
                    self.release(std::mem::take(&mut ready), flight).await?;
                }
                match self.event(head.status, &mut event, flight).await {
                    Ok(before) => ready.extend(before.into_iter().chain([event.raw]).flat_map(pack)),
                    Err(refusal) => return Err(self.cut_events(ready, refusal, chunked, flight).await),
                }
            }
            // Events that came together leave together, and the end with the last.
            let broken = match decoder.decode(&mut server.buf) {
                Ok(Decoded::Data(piece)) => {
                    splitter.push(flight.masked(piece));
                    continue;
                }
                Ok(Decoded::End { .. }) => {
                    // No echo has a line break in it: what waited is of the last event.
                    splitter.push(flight.rest().unwrap_or_default());
                    break;
                }
                Ok(Decoded::NeedMore) => None,
                Err(error) => Some(error),
            };
            self.release(std::mem::take(&mut ready), flight).await?;
            if let Some(error) = broken {
                return Err(Lost::Broken(unreadable(&error)));
            }
            match self.piece(server, decoder, flight).await {
                Ok(Some(piece)) => splitter.push(piece),
                Ok(None) => break,
                Err(Lost::Answer(refusal)) => return Err(Lost::Broken(refusal)),
                Err(lost) => return Err(lost),
            }
        }
        if let Some(mut rest) = splitter.finish() {
            // Clients are told to drop an event without its blank line; some do not, so it is read like any other.
            match self.event(head.status, &mut rest, flight).await {
                Ok(before) => ready.extend(before.into_iter().chain([rest.raw]).flat_map(pack)),
                Err(refusal) => return Err(self.cut_events(ready, refusal, chunked, flight).await),
            }
        }
        match self.ends_of_pieces(flight) {
            Ok(ends) => ready.extend(ends.into_iter().flat_map(pack)),
            Err(refusal) => return Err(self.cut_events(ready, refusal, chunked, flight).await),
        }
        if flight.listening || flight.open.is_empty() && flight.method != Method::Post {
            self.closed_empty(head.status, flight).await.map_err(after_head)?;
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
        self.release(ready, flight).await?;
        Ok(if keep_alive { Next::Another } else { Next::Close })
    }

    /// Gives events to the client, once the records of all of them are written.
    async fn release(&mut self, ready: Vec<Bytes>, flight: &mut Flight) -> Result<(), Lost> {
        if std::mem::take(&mut flight.noted) {
            self.worker.shared.audit.settle().await.map_err(|error| Lost::Cut(error.into()))?;
        }
        self.give(ready).await
    }

    /// Ends a stream of events with an error that the client can read.
    async fn cut_events(&mut self, mut ready: Vec<Bytes>, refusal: Refusal, chunked: bool, flight: &mut Flight) -> Lost {
        for call in &flight.open {
            let mut event = BytesMut::from(&b"data: "[..]);
            let told = Refusal { id: Some(call.id.clone()), ..refusal.clone() };
            event.extend_from_slice(&refusal::body(&told, None));
            event.extend_from_slice(b"\n\n");
            ready.extend(if chunked { chunk(event.freeze()) } else { vec![event.freeze()] });
        }
        if chunked {
            ready.push(Bytes::from_static(LAST_CHUNK));
        }
        match self.release(ready, flight).await {
            Ok(()) => {
                // It has been told: that must not be taken from it.
                self.client.resets(false);
                Lost::Cut(refusal)
            }
            Err(lost) => lost,
        }
    }

    /// Reads one event and records what it carries. Where the caller would be led past the endpoint, or may not see all of it, the event is
    /// changed. Gives what leaves before it.
    async fn event(&self, status: u16, event: &mut Event, flight: &mut Flight) -> Result<Vec<Bytes>, Refusal> {
        let Some(data) = event.data.clone().filter(|data| !data.is_empty()) else { return Ok(Vec::new()) };
        let shared = self.worker.shared.clone();
        if event.kind() == b"endpoint" {
            let path = mcp::endpoint_event(
                &data,
                mcp::Base { scheme: self.config().url.scheme(), authority: &flight.host, target: &flight.target },
            )
            .map_err(|error| Refusal { reason: "malformed", ..Refusal::upstream(error.to_string(), RAN) })?;
            if let Some(entrance) = &self.entrance {
                event.raw = entrance.endpoint_event(event, &path);
            }
            flight.session = format!("{}:{path}", self.config().name);
            self.opened(&flight.session);
            let path = path.split('?').next().unwrap_or_default().to_owned();
            shared.sessions.endpoint(self.server, path);
            return Ok(Vec::new());
        }
        let payload = match mcp::read(&data, &shared.reading) {
            Ok(payload) => payload,
            // Clients read only events of type `message` as MCP; another type is the server's own matter.
            Err(_) if event.kind() != b"message" => {
                let (masks, session) = (flight.masks.clone(), flight.session.clone());
                let veil = self.veil(Way::Down(&masks), &session);
                let edited = veil.edited(data.clone(), Content::Other)?;
                self.note(None, &data, &veil, flight).await?;
                if edited != data {
                    event.raw = event.with_data(&edited);
                }
                return Ok(Vec::new());
            }
            Err(refusal) => {
                let message = format!("an event of the server was withheld: {}", refusal.message);
                return Err(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) });
            }
        };
        // Everything in an event is masked for all that it carries: mostly that is one message.
        let masks = self.masks_of_event(&payload, flight);
        let session = flight.session.clone();
        let veil = self.veil(Way::Down(&masks), &session);
        // Before it is recorded: what cannot be masked for the caller is not its answer.
        let piece = match &payload {
            mcp::Payload::Single(message) => veil.piece(&mut flight.pieces, &data, message)?,
            mcp::Payload::Batch(_) => None,
        };
        let ends = if piece.is_some() { Vec::new() } else { self.ends_of_pieces(flight)? };
        let mut edited = veil.edited(piece.unwrap_or_else(|| data.clone()), Content::Message)?;
        let mut edits = Vec::new();
        for message in payload.messages() {
            match message {
                Message::Response(response) => edits.extend(self.answer_event(status, response, message, &data, &veil, flight).await?),
                Message::Request(request) => {
                    let seq = self.said(Some(message), &data, &veil, flight).await?;
                    shared.sessions.asked(&flight.session, &request.id, seq);
                }
                Message::Notification(_) => self.note(Some(message), &data, &veil, flight).await?,
            }
        }
        if !edits.is_empty() {
            edited = veil.edited(mcp::edited(&data, edits).into(), Content::Message)?;
        }
        if edited != data {
            event.raw = event.with_data(&edited);
        }
        Ok(ends)
    }

    /// Events with what is left of texts that went on from one event to the next.
    fn ends_of_pieces(&self, flight: &mut Flight) -> Result<Vec<Bytes>, Refusal> {
        let masks = flight.masks.clone();
        let rest = self.veil(Way::Down(&masks), &flight.session).rest(&mut flight.pieces)?;
        Ok(rest.into_iter().map(|data| [b"data: ", data.as_slice(), b"\n\n"].concat().into()).collect())
    }

    /// What is masked of an event: for an answer, what is for its call; for anything else, what is for the request in whose answer it comes.
    fn masks_of_event(&self, payload: &mcp::Payload, flight: &Flight) -> Vec<Arc<CallMasks>> {
        let mut all: Vec<Arc<CallMasks>> = Vec::new();
        for message in payload.messages() {
            let own = match message {
                Message::Response(Response { id: Some(id), .. }) => {
                    let open = flight.open.iter().find(|call| call.id == *id).map(|call| call.masks.clone());
                    let known = open.or_else(|| self.worker.shared.sessions.masks(&flight.session, id));
                    vec![known.unwrap_or_else(|| self.masks_of_an_answer())]
                }
                _ => flight.masks.clone(),
            };
            own.into_iter().for_each(|masks| {
                if !all.iter().any(|other| Arc::ptr_eq(other, &masks)) {
                    all.push(masks);
                }
            });
        }
        all
    }

    /// Records an answer. Gives what is changed in it for the caller.
    async fn answer_event(
        &self,
        status: u16,
        response: &Response,
        message: &Message,
        data: &[u8],
        veil: &Veil<'_>,
        flight: &mut Flight,
    ) -> Result<Vec<Edit>, Refusal> {
        let shared = self.worker.shared.clone();
        let Some(id) = &response.id else { return self.said(Some(message), data, veil, flight).await.map(|_| Vec::new()) };
        let waiting = match flight.open.iter().position(|call| call.id == *id) {
            Some(at) => Waiting { seq: flight.seq, call: flight.open.remove(at), since: flight.started },
            None => match shared.sessions.answered(&flight.session, id) {
                Some(waiting) => waiting,
                // A resumed stream may replay an answer that was given before. Whatever it lists, the caller sees no more of it than before.
                None => {
                    let cut = self.cut(None, response, data, &flight.session).await?;
                    return self.said(Some(message), data, veil, flight).await.map(|_| cut.edits);
                }
            },
        };
        let own = waiting.seq == flight.seq;
        let effect = if own && !flight.open.is_empty() { Effect::None } else { Effect::Closes(waiting.seq) };
        self.remember(response, flight);
        let cut = match self.cut(Some(&waiting.call.method), response, data, &flight.session).await {
            Ok(cut) => cut,
            Err(refusal) => {
                flight.open.push(waiting.call);
                return Err(refusal);
            }
        };
        let payload = veil.payload(data, Content::Message);
        let answered = Answered {
            seq: waiting.seq,
            call: Some(&waiting.call),
            since: waiting.since,
            upstream: flight.reached,
            tls: flight.tls.as_deref(),
            credential: own.then(|| flight.furnished.as_ref().map(Furnished::used)).flatten(),
            withheld: &cut.withheld,
        };
        // The status of a stream that was opened for something else says nothing of this call.
        let status = own.then_some(status);
        match self.outcome(status, Some(response), Some(payload), answered, veil, effect).await {
            Ok(_) => {
                flight.closed |= own && effect != Effect::None;
                Ok(cut.edits)
            }
            Err(Lost::Answer(refusal) | Lost::Cut(refusal) | Lost::Broken(refusal)) => {
                flight.open.push(waiting.call);
                Err(refusal)
            }
            Err(Lost::ClientGone) => Ok(Vec::new()),
        }
    }

    /// Records a message that can have an effect, durably, before it is released.
    async fn said(&self, message: Option<&Message>, data: &[u8], veil: &Veil<'_>, flight: &Flight) -> Result<u64, Refusal> {
        let body = self.message(message, data, veil, flight);
        self.record(Kind::Message, &body, Effect::None).await.map_err(Refusal::from)
    }

    /// Records a message that has no effect: its record is with the kernel before the message is released, and stands before that of the
    /// answer.
    async fn note(&self, message: Option<&Message>, data: &[u8], veil: &Veil<'_>, flight: &mut Flight) -> Result<(), Refusal> {
        let audit = &self.worker.shared.audit;
        if audit.is_behind() {
            // A server that floods its client waits for the disk.
            return self.said(message, data, veil, flight).await.map(drop);
        }
        let body = record::bytes(&self.message(message, data, veil, flight));
        flight.noted = true;
        // Nothing waits for the disk, whatever the server's setting is.
        audit.append_behind(Entry { kind: Kind::Message, body, effect: Effect::None }).map_err(Refusal::from)
    }

    fn message<'a>(&'a self, message: Option<&'a Message>, data: &'a [u8], veil: &Veil<'_>, flight: &'a Flight) -> record::Message<'a> {
        let payload = veil.payload(data, message.map_or(Content::Other, |_| Content::Message));
        record::Message {
            server: &self.config().name,
            session: Some(&flight.session),
            from: "server",
            request: Some(flight.seq),
            call: message.map(|message| Call::of(message, veil)),
            masked: veil.marks(),
            payload: Some(payload),
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
}

/// Whether the events before it should leave first: a notification, which nothing waits for, leaves together with them. It has no id.
fn waits_for_record(event: &Event) -> bool {
    event.data.as_ref().is_some_and(|data| memchr::memmem::find(data, b"\"id\"").is_some())
}
