//! The way back: an answer is recorded before its last bytes leave, and an event before it is released.

use std::{net::SocketAddr, num::NonZeroUsize, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    body::join,
    connection::{Connection, Next},
    credential::{Furnished, Used},
    entrance::OF_THE_HOST,
    forward::{Flight, Lost, RAN, unreachable_server},
    lists::Cut,
    masks::Way,
    record::{self, OpenCall, Outcome, micros},
    refusal::Refusal,
    stream::Side,
    upstream::Server,
    veil::{Content, Veil},
};
use crate::{
    audit::{Digest, Effect, Kind, Payload},
    mcp::{self, Message, Response},
    wire::{
        http1::{
            BodyDecoder, BodyError, CHUNK_END, Decoded, Framing, LAST_CHUNK, ResponseHead, Rewrite, write_chunk_head, write_response_head,
        },
        media::{content_encoding, media_type},
    },
};

/// Bytes that are read beyond those that a record keeps: what is masked is whole in them, or begins after what is kept.
const OVERLAP: usize = 4 << 10;

/// What kind of answer it is, by its media type.
enum Shape {
    Events,
    /// JSON, or anything else that answers a call: read whole before any of it is released.
    Whole,
    /// Where a caller of the endpoint learns how the server is authorized: its URL is changed to lead through the gateway.
    Metadata,
    /// Not an answer to a call: passed on as it comes.
    Stream,
}

/// Whose answer it is.
pub(super) struct Answered<'a> {
    pub seq: u64,
    pub call: Option<&'a OpenCall>,
    pub since: Instant,
    pub upstream: Option<SocketAddr>,
    pub tls: Option<&'a record::Tls>,
    /// With whose credential it was called.
    pub credential: Option<Used>,
    /// What of a list the caller does not see.
    pub withheld: &'a [String],
}

impl<'a> Answered<'a> {
    /// The request that is being answered.
    fn own(flight: &'a Flight) -> Self {
        Answered {
            seq: flight.seq,
            call: flight.open.first(),
            since: flight.started,
            upstream: flight.reached,
            tls: flight.tls.as_deref(),
            credential: flight.furnished.as_ref().map(Furnished::used),
            withheld: &[],
        }
    }
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
    pub(super) async fn relay(&mut self, mut server: Side, mut head: ResponseHead, flight: &mut Flight) -> Result<Next, Lost> {
        self.is_taken(&head, flight)?;
        let mut decoder = BodyDecoder::new(head.framing);
        flight.masked_head(&mut head);
        if let Some(id) = head.headers.get("mcp-session-id") {
            // The answer to `initialize` opens the protocol's session.
            flight.session = format!("{}:{}", self.config().name, String::from_utf8_lossy(id));
            self.opened(&flight.session);
        }
        let shape = if self.is_metadata(&head, flight) { Shape::Metadata } else { shape(&head, flight)? };
        let next = match shape {
            Shape::Events => self.events(&mut server, &head, &mut decoder, flight).await?,
            Shape::Whole => self.whole(&mut server, &head, &mut decoder, flight).await?,
            Shape::Metadata => self.metadata(&mut server, &head, &mut decoder, flight).await?,
            Shape::Stream => self.stream(&mut server, &head, &mut decoder, flight).await?,
        };
        self.keep(server, &head, &decoder, flight);
        Ok(next)
    }

    /// As [`Connection::relay`], of an answer whose body is read already.
    pub(super) async fn relay_read(
        &mut self,
        server: Side,
        mut head: ResponseHead,
        decoder: BodyDecoder,
        body: Bytes,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        self.is_taken(&head, flight)?;
        flight.masked_head(&mut head);
        let next = self.read_whole(&head, body, flight).await?;
        self.keep(server, &head, &decoder, flight);
        Ok(next)
    }

    /// Keeps a connection to the server for the caller's next request, if it can carry one.
    fn keep(&self, server: Side, head: &ResponseHead, decoder: &BodyDecoder, flight: &Flight) {
        if let Some(to) =
            flight.reached.filter(|_| flight.sent && head.keep_alive && decoder.is_done() && server.buf.is_empty() && !server.ended())
        {
            self.worker.pool.borrow_mut().put(self.destination(flight, to), Server { side: server, tls: flight.tls.clone() });
        }
    }

    /// An answer that is read whole: it is of no use to the client before its last byte, and that waits for the record anyway.
    async fn whole(
        &mut self,
        server: &mut Side,
        head: &ResponseHead,
        decoder: &mut BodyDecoder,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        let body = self.all_of(server, decoder, flight).await?;
        self.read_whole(head, body, flight).await
    }

    async fn read_whole(&mut self, head: &ResponseHead, body: Bytes, flight: &mut Flight) -> Result<Next, Lost> {
        let elsewhere = head.status == 202 && !flight.parked.is_empty();
        if !elsewhere {
            self.unpark(flight);
        }
        let body = match body.is_empty() {
            _ if elsewhere => body,
            true => {
                self.closed_empty(head.status, flight).await?;
                body
            }
            false => self.answered_whole(head, body, flight).await?,
        };
        self.give_whole(head, body, flight).await
    }

    /// A body whole, within the limit of what is inspected.
    pub(super) async fn all_of(&mut self, server: &mut Side, decoder: &mut BodyDecoder, flight: &mut Flight) -> Result<Bytes, Lost> {
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
        Ok(join(pieces))
    }

    pub(super) async fn give_whole(&mut self, head: &ResponseHead, body: Bytes, flight: &Flight) -> Result<Next, Lost> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let framing = if body.is_empty() { Framing::None } else { Framing::Length(length) };
        let head = self.head_for_client(head, flight, framing, flight.keep_alive)?;
        self.give(vec![head, body]).await?;
        Ok(if flight.keep_alive { Next::Another } else { Next::Close })
    }

    /// Reads a whole JSON answer strictly, and records it for the calls that it answers. Gives it as the caller is to see it.
    async fn answered_whole(&self, head: &ResponseHead, body: Bytes, flight: &mut Flight) -> Result<Bytes, Lost> {
        let (masks, session) = (flight.masks.clone(), flight.session.clone());
        let veil = self.veil(Way::Down(&masks), &session);
        let payload = match mcp::read(&body, &self.worker.shared.reading) {
            Ok(payload) => payload,
            // A failure that says so in its status may be a page for people: no client reads it as a result.
            Err(_) if !(200..300).contains(&head.status) => {
                let shown = veil.payload(&body, Content::Other);
                let edited = veil.edited(body.clone(), Content::Other).map_err(Lost::Answer)?;
                self.closed(head.status, None, Some(shown), &[], &veil, flight).await?;
                return Ok(edited);
            }
            Err(refusal) => {
                let message = format!("the server's answer was withheld: {}", refusal.message);
                return Err(Lost::Answer(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }));
            }
        };
        let responses: Vec<&Response> = payload.messages().iter().filter_map(response).collect();
        let mut cut = Cut::default();
        for response in &responses {
            let Some(id) = &response.id else { continue };
            match flight.open.iter().find(|call| call.id == *id) {
                Some(call) => {
                    self.remember(response, flight);
                    let more = self.cut(Some(&call.method), response, &body, &flight.session).await.map_err(Lost::Answer)?;
                    cut.edits.extend(more.edits);
                    cut.withheld.extend(more.withheld);
                }
                None => {
                    let message = format!("the server answered a call that was not made (id {id}); the answer was withheld");
                    return Err(Lost::Answer(Refusal { reason: "malformed", ..Refusal::upstream(message, RAN) }));
                }
            }
        }
        let cut_body = if cut.edits.is_empty() { body.clone() } else { mcp::edited(&body, cut.edits).into() };
        let edited = veil.edited(cut_body, Content::Message).map_err(Lost::Answer)?;
        let shown = Some(veil.payload(&body, Content::Message));
        self.closed(head.status, responses.first().copied(), shown, &cut.withheld, &veil, flight).await?;
        Ok(edited)
    }

    /// As [`Connection::closed`], of an answer without a body.
    pub(super) async fn closed_empty(&self, status: u16, flight: &mut Flight) -> Result<(), Lost> {
        let session = flight.session.clone();
        self.closed(status, None, None, &[], &self.veil(Way::Down(&[]), &session), flight).await
    }

    /// Writes the outcome of the flight's own request, as the server gave it. Durable when this returns.
    pub(super) async fn closed(
        &self,
        status: u16,
        response: Option<&Response>,
        payload: Option<Payload<'_>>,
        withheld: &[String],
        veil: &Veil<'_>,
        flight: &mut Flight,
    ) -> Result<(), Lost> {
        let answered = Answered { withheld, ..Answered::own(flight) };
        self.outcome(Some(status), response, payload, answered, veil, Effect::Closes(flight.seq)).await?;
        flight.open.clear();
        flight.closed = true;
        Ok(())
    }

    pub(super) async fn outcome(
        &self,
        status: Option<u16>,
        response: Option<&Response>,
        payload: Option<Payload<'_>>,
        answered: Answered<'_>,
        veil: &Veil<'_>,
        effect: Effect,
    ) -> Result<u64, Lost> {
        let session = veil.session();
        let (code, message, is_error) = match response.map(|response| &response.outcome) {
            Some(mcp::Outcome::Error { code, message, .. }) => (Some(*code), Some(veil.text("outcome.message", message)), None),
            Some(mcp::Outcome::Result { is_error, .. }) => (None, None, Some(*is_error)),
            None => (None, None, None),
        };
        let took = answered.since.elapsed();
        if let Some(payload) = &payload {
            self.worker.shared.rules.usage.gave(&self.attempt(session, None), payload.size(), Instant::now());
        }
        let outcome = Outcome { status, code, message, is_error, gateway: None, took_us: micros(took) };
        let body = record::Answer {
            request: Some(answered.seq),
            server: &self.config().name,
            session: Some(session),
            call: answered.call,
            outcome,
            withheld: answered.withheld.iter().map(|name| veil.text("withheld", name)).collect(),
            upstream: self.entrance.as_ref().and(answered.upstream),
            tls: answered.tls,
            credential: answered.credential,
            masked: veil.marks(),
            payload,
        };
        self.worker.shared.metrics.answered(took);
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
        self.begins(framing);
        while let Some(piece) = self.piece(server, decoder, flight).await.map_err(after_head)? {
            digest.update(&piece);
            let room = (max_body + OVERLAP).saturating_sub(first.len()).min(piece.len());
            first.extend_from_slice(&piece[..room]);
            let pieces = if framing == Framing::Chunked { chunk(piece) } else { vec![piece] };
            self.give(std::mem::replace(&mut held, pieces)).await?;
        }
        let (masks, session) = (flight.masks.clone(), flight.session.clone());
        let veil = self.veil(Way::Down(&masks), &session);
        let payload = (digest.size() > 0).then(|| veil.payload_of_parts(&first, digest));
        self.closed(head.status, None, payload, &[], &veil, flight).await.map_err(after_head)?;
        if framing == Framing::Chunked {
            held.push(Bytes::from_static(LAST_CHUNK));
        }
        self.give(held).await?;
        Ok(if keep_alive { Next::Another } else { Next::Close })
    }

    /// An answer of this framing begins. One that ends with the connection is whole only if that end is an orderly one.
    pub(super) fn begins(&self, framing: Framing) {
        if framing == Framing::UntilClose {
            self.client.resets(true);
        }
    }

    /// What later requests are read by: the revision that a session agreed on, and the state that a client comes back with.
    pub(super) fn remember(&self, response: &Response, flight: &Flight) {
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
    pub(super) async fn piece(&mut self, server: &mut Side, decoder: &mut BodyDecoder, flight: &mut Flight) -> Result<Option<Bytes>, Lost> {
        loop {
            match decoder.decode(&mut server.buf).map_err(|error| Lost::Answer(unreadable(&error)))? {
                Decoded::Data(piece) => match flight.masked(piece) {
                    piece if piece.is_empty() => {}
                    piece => return Ok(Some(piece)),
                },
                Decoded::End { .. } => return Ok(flight.rest()),
                Decoded::NeedMore if server.ended() => {
                    return match decoder.finish_on_eof() {
                        Ok(()) => Ok(flight.rest()),
                        Err(_) => Err(Lost::Answer(Refusal::upstream("the server closed the connection inside its answer", RAN))),
                    };
                }
                Decoded::NeedMore => self.wait(server, flight).await?.map_err(|error| Lost::Answer(unreachable_server(&error)))?,
            }
        }
    }

    pub(super) async fn give(&mut self, pieces: Vec<Bytes>) -> Result<(), Lost> {
        let limit = self.worker.shared.config.limits.idle_timeout;
        self.client.send(pieces, limit).await.map_err(|_| Lost::ClientGone)
    }

    pub(super) fn head_for_client(&self, head: &ResponseHead, flight: &Flight, framing: Framing, keep_alive: bool) -> Result<Bytes, Lost> {
        let mut out = BytesMut::with_capacity(512);
        let led = self.entrance.as_ref().map(|entrance| entrance.lead_back(&head.headers, &flight.target)).unwrap_or_default();
        let set: Vec<(&str, &[u8])> = led.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let remove = if self.entrance.is_some() { OF_THE_HOST } else { &[] };
        write_response_head(&mut out, head, &flight.method, &Rewrite { target: None, framing, set: &set, remove, keep_alive })
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

pub(super) fn unreadable(error: &BodyError) -> Refusal {
    Refusal::upstream(format!("the server's answer cannot be read: {error}"), RAN)
}

pub(super) fn after_head(lost: Lost) -> Lost {
    match lost {
        Lost::Answer(refusal) => Lost::Cut(refusal),
        other => other,
    }
}

fn response(message: &Message) -> Option<&Response> {
    match message {
        Message::Response(response) => Some(response),
        _ => None,
    }
}
