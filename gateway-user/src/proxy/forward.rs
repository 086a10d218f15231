//! The way to the server: a recorded request is forwarded, and whatever becomes of it is recorded.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use compio::time::{sleep, timeout};
use futures_util::FutureExt;

use super::{
    answer::chunk,
    body::Body,
    caller::Origin,
    connection::{Connection, Next, Stop},
    credential::Furnished,
    masks::{CallMasks, Way},
    pieces::Pieces,
    record::{self, OpenCall, Outcome, micros},
    refusal::{self, Refusal},
    stream::{First, Side, first},
    upstream::{self, Destination, Server},
};
use crate::{
    audit::{Effect, Kind},
    tls::TlsError,
    wire::http1::{BodyDecoder, Decoded, Framing, LAST_CHUNK, Method, RequestHead, ResponseHead, parse_response},
};

/// How long a server that has begun to answer, or has left, may take to read the rest of the request.
const REST_OF_REQUEST: Duration = Duration::from_secs(1);
/// How often it is looked whether who listens to a server's messages still may.
const STILL: Duration = Duration::from_secs(3);

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
    /// The server's address, once it is connected to.
    pub reached: Option<SocketAddr>,
    /// How the server showed who it is.
    pub tls: Option<Rc<record::Tls>>,
    /// The credential that it was sent with, if there is one of the gateway's.
    pub furnished: Option<Furnished>,
    /// What is masked of it. Calls have their own of it.
    pub masks: Vec<Arc<CallMasks>>,
    /// Text in its answer that goes on from one event to the next.
    pub pieces: Pieces,
    /// The record of the request's outcome is written.
    pub closed: bool,
    /// Notifications were recorded, and it is not certain yet that their records are written.
    pub noted: bool,
    /// The server has taken the whole request: only then may its connection carry another.
    pub sent: bool,
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
    /// As `Cut`; it was the server that broke off a stream of events, and it may be taken up again.
    Broken(Refusal),
    /// The client left.
    ClientGone,
}

impl Connection {
    /// The flight of a recorded request that carries no call. Its connection is not kept when the gateway is about to stop.
    pub(super) fn flight(&self, seq: u64, session: String, head: &RequestHead, started: Instant) -> Flight {
        Flight {
            seq,
            session,
            open: Vec::new(),
            parked: Vec::new(),
            started,
            method: head.method.clone(),
            chunks: head.minor_version >= 1,
            keep_alive: head.keep_alive && !self.worker.shared.draining.load(Ordering::Relaxed),
            leaving_cancels: false,
            resumable: false,
            listening: false,
            reached: None,
            tls: None,
            furnished: None,
            masks: Vec::new(),
            pieces: Pieces::default(),
            closed: false,
            noted: false,
            sent: false,
            host: self.host(head),
            target: head.target.clone(),
        }
    }

    /// Forwards a recorded request and gives the answer back; whatever happens, the record of its outcome is written.
    pub(super) async fn see_through(&mut self, head: &RequestHead, body: Bytes, mut flight: Flight) -> Result<Next, Stop> {
        match caught(self.forward(head, body, &mut flight)).await {
            Ok(next) => Ok(next),
            Err(lost) => self.lost(flight, lost).await,
        }
    }

    async fn forward(&mut self, head: &RequestHead, body: Bytes, flight: &mut Flight) -> Result<Next, Lost> {
        let (mut server, answer) = self.sent(head, body.clone(), flight).await?;
        if !flight.may_be_skewed(&answer) {
            return self.relay(server, answer, flight).await;
        }
        let mut decoder = BodyDecoder::new(answer.framing);
        let refused = self.all_of(&mut server, &mut decoder, flight).await?;
        if flight.is_skewed(&answer, &refused) {
            // Refused for its date alone, it has had no effect: sent once more with a right one, it is the same call.
            drop(server);
            let (server, answer) = self.sent(head, body, flight).await?;
            return self.relay(server, answer, flight).await;
        }
        self.relay_read(server, answer, decoder, refused, flight).await
    }

    /// Sends a request to the server; gives the head of its answer.
    async fn sent(&mut self, head: &RequestHead, body: Bytes, flight: &mut Flight) -> Result<(Side, ResponseHead), Lost> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let framing = if body.is_empty() { Framing::None } else { Framing::Length(length) };
        // The server is reached first: a credential can end while one waits for that.
        let mut server = self.server(flight).await?;
        let sent_head = self.request_head(head, framing, &body, flight).await?;
        // A server may answer before it has read everything, and close: its answer counts, not the failed write.
        let written = self.send(&mut server, vec![sent_head, body], flight).await;
        let answer = match self.answer_head(&mut server, flight).await {
            Err(Lost::Answer(refusal)) => {
                let cause = written.err().map(|error| format!(" (sending it failed: {error})")).unwrap_or_default();
                return Err(Lost::Answer(Refusal { message: format!("{}{cause}", refusal.message).into(), ..refusal }));
            }
            other => other?,
        };
        Ok((server, answer))
    }

    /// Forwards a request whose body is not inspected: it streams, until it ends or the server answers.
    pub(super) async fn upload(&mut self, head: &RequestHead, body: Body, mut flight: Flight) -> Result<Next, Stop> {
        match caught(self.stream_up(head, body, &mut flight)).await {
            Ok(next) => Ok(next),
            Err(lost) => self.lost(flight, lost).await,
        }
    }

    async fn stream_up(&mut self, head: &RequestHead, mut body: Body, flight: &mut Flight) -> Result<Next, Lost> {
        let broken = |error: std::io::Error| Lost::Answer(unreachable_server(&error));
        let idle = self.worker.shared.config.limits.idle_timeout;
        let packed = |piece: Bytes| if head.framing == Framing::Chunked { chunk(piece) } else { vec![piece] };
        let mut server = self.server(flight).await?;
        let begun = std::mem::take(&mut body.pieces).into_iter().flat_map(packed);
        let pieces = std::iter::once(self.request_head(head, head.framing, &[], flight).await?).chain(begun).collect();
        self.send(&mut server, pieces, flight).await.map_err(broken)?;
        self.welcome(&mut body).await.map_err(|_| Lost::ClientGone)?;
        let mut early = self.answer_in(&mut server, flight)?;
        while !body.ended && early.is_none() && !server.ended() {
            let pieces = match body.decoder.decode(&mut self.client.buf).map_err(|error| Lost::Answer(error.into()))? {
                Decoded::Data(piece) => packed(piece),
                Decoded::End { .. } => {
                    body.ended = true;
                    continue;
                }
                Decoded::NeedMore => match timeout(idle, first(&mut server, &mut self.client)).await {
                    Ok(First::Client(Ok(count))) if count > 0 => continue,
                    Ok(First::Client(_)) | Err(_) => return Err(Lost::ClientGone),
                    Ok(First::Server(_)) => Vec::new(),
                },
            };
            self.send(&mut server, pieces, flight).await.map_err(broken)?;
            // An early answer: the rest of the body is not wanted.
            early = self.answer_in(&mut server, flight)?;
        }
        if head.framing == Framing::Chunked && body.ended {
            self.send(&mut server, vec![Bytes::from_static(LAST_CHUNK)], flight).await.map_err(broken)?;
        }
        flight.sent &= body.ended;
        flight.keep_alive &= body.ended;
        let answer = match early {
            Some(answer) => answer,
            None => self.answer_head(&mut server, flight).await?,
        };
        self.relay(server, answer, flight).await
    }

    /// Sends to the server, and notes whether it took all of it.
    async fn send(&self, server: &mut Side, pieces: Vec<Bytes>, flight: &mut Flight) -> std::io::Result<()> {
        let sent = server.send_listening(pieces, self.worker.shared.config.limits.idle_timeout, REST_OF_REQUEST).await;
        flight.sent = matches!(sent, Ok(true));
        sent.map(drop)
    }

    /// A connection to the server that the caller meant, and that no one else uses.
    async fn server(&self, flight: &mut Flight) -> Result<Side, Lost> {
        let (to, server) = self.reach(flight).await?;
        flight.reached = Some(to);
        flight.tls = server.tls;
        Ok(server.side)
    }

    async fn reach(&self, flight: &Flight) -> Result<(SocketAddr, Server), Lost> {
        let shared = &self.worker.shared;
        let addresses = match &self.origin {
            Origin::Capture(origin) => [origin.original].into(),
            Origin::Endpoint { .. } => shared.servers.addresses(self.server),
        };
        let kept = |to: &SocketAddr| Some((*to, self.worker.pool.borrow_mut().take(&self.destination(flight, *to))?));
        if let Some(kept) = addresses.iter().find_map(kept) {
            return Ok(kept);
        }
        let name = &self.config().name;
        let mut failed = format!("`{name}` cannot be reached: its name does not resolve");
        for to in addresses.iter().copied() {
            match upstream::connect(shared, to, self.server).await {
                Ok(server) => return Ok((to, server)),
                Err(error) => {
                    failed = format!("`{name}` at {to} cannot be reached: {error}");
                    // Something is there, and is not the server: that is for the caller to hear, not to be tried elsewhere.
                    if error.get_ref().is_some_and(|inner| inner.is::<TlsError>()) {
                        let refusal = Refusal::upstream(failed, NOT_THE_SERVER);
                        return Err(Lost::Answer(Refusal { reason: "upstream-tls", ..refusal }));
                    }
                }
            }
        }
        Err(Lost::Answer(Refusal::upstream(failed, "The server did not get the call. Try again when it is up.")))
    }

    /// Whose connection to the server it is.
    pub(super) fn destination(&self, flight: &Flight, to: SocketAddr) -> Destination {
        let session = self.who.pid().is_none().then(|| flight.session.clone());
        ((self.who.clone(), self.identity().key().clone(), session), to, self.server)
    }

    /// Waits for the head of the final answer.
    async fn answer_head(&mut self, server: &mut Side, flight: &Flight) -> Result<ResponseHead, Lost> {
        loop {
            if let Some(head) = self.answer_in(server, flight)? {
                return Ok(head);
            }
            if server.ended() {
                return Err(Lost::Answer(Refusal::upstream("the server closed the connection before it answered", RAN)));
            }
            self.wait(server, flight).await?.map_err(|error| Lost::Answer(unreachable_server(&error)))?;
        }
    }

    /// The head of the final answer, if it has arrived; interim answers are dropped (RFC 9110 section 15.2 lets a proxy).
    fn answer_in(&self, server: &mut Side, flight: &Flight) -> Result<Option<ResponseHead>, Lost> {
        let limit = self.worker.shared.config.limits.head;
        loop {
            let parsed = parse_response(&mut server.buf, &flight.method, limit);
            match parsed.map_err(|error| Lost::Answer(Refusal::upstream(format!("the server's answer cannot be read: {error}"), RAN)))? {
                Some(head) if head.status == 101 => {
                    let message = "the server changed the protocol though nobody asked it to (status 101)";
                    return Err(Lost::Answer(Refusal::upstream(message, RAN)));
                }
                Some(head) if (100..200).contains(&head.status) => {}
                other => return Ok(other),
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
                let holds = self.holds();
                let events = first(server, &mut self.client).fuse();
                futures_util::pin_mut!(events);
                let event = loop {
                    futures_util::select_biased! {
                        event = events => break event,
                        _ = drained => return Err(Lost::Cut(stopping())),
                        () = sleep(STILL).fuse() => if !holds() {
                            return Err(Lost::Cut(no_longer()));
                        },
                    }
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
            Lost::Cut(refusal) | Lost::Broken(refusal) => (Some(refusal), false),
            Lost::ClientGone => (None, false),
        };
        let elsewhere = flight.resumable || !flight.parked.is_empty();
        if matches!(lost, Lost::ClientGone | Lost::Broken(_)) && elsewhere {
            self.park(&mut flight);
            return Err(Stop::Gone);
        }
        if flight.closed && !told {
            // It left, or was cut off, with its answer: that is on record.
            return Err(Stop::Gone);
        }
        self.unpark(&mut flight);
        let veil = self.veil(Way::Down(&flight.masks), &flight.session);
        let message = refusal.map_or("the client left before the answer was complete", |refusal| &refusal.message);
        let message = veil.text("outcome.message", message);
        let logged = message.clone().into_owned();
        let outcome = Outcome {
            status: refusal.filter(|_| told).map(|refusal| refusal.status),
            message: Some(message),
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
                withheld: Vec::new(),
                upstream: self.entrance.as_ref().and(flight.reached),
                tls: flight.tls.as_deref(),
                credential: flight.furnished.as_ref().map(Furnished::used),
                masked: veil.marks(),
                payload: None,
            };
            self.record(Kind::Answer, &answer, Effect::Closes(flight.seq)).await
        };
        let Lost::Answer(refusal) = lost else { return Err(Stop::Gone) };
        shared.metrics.refused(refusal.reason);
        let record = written.ok().map(|seq| format!("{}/{seq}", shared.audit.log_id()));
        let refusal = refusal.answering(flight.open.first().map(|call| call.id.clone()));
        tracing::warn!(server = self.config().name, caller = %self.who, reason = refusal.reason, "{}", logged.as_str());
        let pieces = refusal::answer(&refusal, record.as_deref(), &flight.method, flight.keep_alive);
        let sent = self.client.send(pieces, shared.config.limits.idle_timeout).await;
        sent.map_err(|_| Stop::Gone)?;
        Ok(if flight.keep_alive { Next::Another } else { Next::Close })
    }
}

fn no_longer() -> Refusal {
    let message = "the caller's token or login has ended, and so has the stream of the server's messages";
    Refusal::client(401, "identity", message, "Log in again, or get a new token, and listen again.")
}

const NOT_THE_SERVER: &str = "The server did not get the call. It must show a certificate that is in date, for its name, and from an \
                              authority that this host trusts or that the operator has set as `ca_file`.";

pub(super) const RAN: &str = "Whether the server carried out the call is not known: look before you repeat it.";

pub(super) fn unreachable_server(error: &std::io::Error) -> Refusal {
    let broke = Refusal::upstream(format!("the connection to the server broke: {error}"), RAN);
    // Under TLS 1.3 a server says only after the handshake that it does not take our certificate (RFC 8446 section 4.4.2.4).
    let is_alert = matches!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(TlsError::Alert(_)));
    if is_alert { Refusal { reason: "upstream-tls", ..broke } } else { broke }
}

/// A fault in the gateway itself (a panic) ends the exchange in which it happens: whatever the client has of an answer is cut, and the
/// outcome is recorded.
async fn caught(exchange: impl Future<Output = Result<Next, Lost>>) -> Result<Next, Lost> {
    AssertUnwindSafe(exchange).catch_unwind().await.unwrap_or_else(|_| {
        let message = "a fault in the gateway itself ended the exchange; its log says where";
        Err(Lost::Cut(Refusal { side: refusal::Side::Gateway, reason: "fault", ..Refusal::upstream(message, RAN) }))
    })
}
