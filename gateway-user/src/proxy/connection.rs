//! One accepted connection, from its origin to its end.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Instant};

use compio::{net::TcpStream, time::timeout_at};
use futures_util::FutureExt;

use super::{
    caller::{Origin, Who},
    decide::Decision,
    entrance::Entrance,
    identify::Vouched,
    masks::Way,
    record::{self, HttpRequest, Source},
    refusal::{self, Refusal},
    servers::Candidates,
    stream::Side,
    tunnel,
    veil::{Content, Shown},
    worker::Worker,
};
use crate::{
    audit::{AppendError, Durability, Effect, Entry, Kind},
    capture::process::{self, Fact, Process},
    config::{Other, ServerConfig, ServerUrl},
    identity::Identity,
    mcp,
    wire::http1::{Method, RequestHead, Sniff, parse_request, sniff},
};

/// A connection whose origin is known.
pub(super) struct Connection {
    pub worker: Rc<Worker>,
    /// The servers that it may be meant for.
    pub candidates: Candidates,
    /// The one of them that it speaks to now, by its place in the configuration. At the endpoint it means nothing without an `entrance`.
    pub server: usize,
    /// At the endpoint, how the present request found its server.
    pub entrance: Option<Entrance>,
    pub origin: Origin,
    pub process: Fact<Process>,
    pub who: Who,
    pub source: Source,
    /// Who makes the present request, once that is known.
    pub vouched: Option<Vouched>,
    /// The workload that the process is, once that was asked.
    pub workload: Option<Option<Arc<Identity>>>,
    pub client: Side,
    /// What TLS with the client came to.
    pub tls: Option<record::Tls>,
}

/// Why an exchange did not run to its end.
pub(super) enum Stop {
    /// Nothing was answered yet: this is the answer, and the record.
    Refused(Refusal),
    /// The client left, or can be told nothing more.
    Gone,
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Stop::Refused(refusal.into())
    }
}

/// Whether the connection can carry another exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Another,
    Close,
}

/// Serves one connection that the kernel redirected to its end.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let shared = &worker.shared;
    let origin = match shared.capture.as_ref().map_or(Ok(None), |capture| capture.take_origin(peer)) {
        Ok(Some(origin)) => origin,
        Ok(None) => {
            let message = "a connection came to the gateway's own port without having been redirected by the kernel: it was closed";
            return stray(&worker, peer, None, "no-origin", message).await;
        }
        Err(error) => {
            let message = format!("the origin of a connection cannot be read: {error}");
            return stray(&worker, peer, None, "no-origin", &message).await;
        }
    };
    if origin.is_canary() {
        return;
    }
    let process = Fact::Known(process::describe(&origin));
    let (candidates, original) = (shared.servers.of(&origin), origin.original);
    let origin = Origin::Capture(origin);
    let Some(candidates) = candidates else {
        let message = format!(
            "{original} was governed under another configuration, and is no server's in this one: the connection was closed. Name its \
             server again, or take the guard down and up to let it go"
        );
        return stray(&worker, peer, Some(&Source::new(&origin, &process)), "unknown-server", &message).await;
    };
    let mut connection = Connection::new(worker.clone(), stream, origin, process, candidates);
    let readable = match connection.protocol().await {
        Some(Sniff::Http) => connection.unprotected().await,
        Some(Sniff::Tls) => connection.secure().await,
        Some(other) => connection.not_http(other).await,
        None => false,
    };
    if readable {
        connection.http().await;
    }
}

/// Records a connection that belongs to no server. It is then dropped.
async fn stray(worker: &Worker, peer: SocketAddr, source: Option<&Source>, reason: &'static str, message: &str) {
    worker.shared.metrics.refused(reason);
    tracing::warn!(%peer, reason, "{message}");
    let caller = source.map(|source| source.caller(None));
    let body = record::Refused {
        server: None,
        caller,
        peer: Some(peer),
        tls: None,
        reason,
        message: Shown::own(message),
        http: None,
        denied: None,
        masked: None,
        payload: None,
    };
    let entry = Entry { kind: Kind::Refused, body: record::bytes(&body), effect: Effect::None };
    // The connection is closed whether or not this can be written; the log says itself when it cannot.
    let _ = worker.shared.audit.append(entry, Durability::Sync).await;
}

impl Connection {
    pub(super) fn new(worker: Rc<Worker>, stream: TcpStream, origin: Origin, process: Fact<Process>, candidates: Candidates) -> Self {
        Connection {
            worker,
            server: candidates.first().copied().unwrap_or_default(),
            candidates,
            entrance: None,
            who: Who::of(&origin, &process),
            source: Source::new(&origin, &process),
            vouched: None,
            workload: None,
            process,
            origin,
            client: Side::new(stream),
            tls: None,
        }
    }

    pub(super) fn config(&self) -> &ServerConfig {
        &self.worker.shared.config.servers[self.server]
    }

    /// The server that it speaks to; at the endpoint none, until a request's path names one.
    pub(super) fn known(&self) -> Option<&ServerConfig> {
        let known = self.entrance.is_some() || matches!(self.origin, Origin::Capture(_));
        known.then(|| self.config())
    }

    /// Writes a record and waits until it is as durable as the server's setting asks.
    pub(super) async fn record(&self, kind: Kind, body: &impl record::Body<'_>, effect: Effect) -> Result<u64, AppendError> {
        let entry = Entry { kind, body: record::bytes(body), effect };
        let durability = self.known().map_or(Durability::Sync, |server| server.durability);
        let audit = &self.worker.shared.audit;
        if self.worker.is_alone() { audit.append_alone(entry, durability).await } else { audit.append(entry, durability).await }
    }

    /// What the first bytes say; `None` when the client left before it said anything, or said nothing in time.
    pub(super) async fn protocol(&mut self) -> Option<Sniff> {
        let limit = self.worker.shared.config.limits.head_timeout;
        let deadline = Instant::now() + limit;
        loop {
            match sniff(&self.client.buf) {
                Sniff::NeedMore => {}
                known => return Some(known),
            }
            let received = timeout_at(deadline, self.client.fill()).await;
            match received {
                Ok(Ok(0)) if self.client.buf.is_empty() => return None,
                // Too short to be any protocol: let the HTTP reader say what is missing.
                Ok(Ok(0)) => return Some(Sniff::Http),
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    let message = format!("the client sent no whole request within {} s of connecting", limit.as_secs());
                    let refusal = Refusal::client(408, "timeout", message, "Send the request at once after connecting.");
                    self.refuse(&refusal, None, &[]).await;
                    return None;
                }
            }
        }
    }

    /// The client speaks something that is not HTTP/1: no requests can be read.
    async fn not_http(&mut self, spoken: Sniff) -> bool {
        let protocol = match spoken {
            Sniff::Http2Preface => "http2",
            _ => "unknown",
        };
        // HTTP/2 could carry MCP past the reader: it is refused even where other protocols pass.
        if self.config().other == Other::Pass && spoken != Sniff::Http2Preface {
            tunnel::run(self, protocol, None).await;
            return false;
        }
        let name = self.config().name.clone();
        let message = format!("a connection to `{name}` spoke {protocol}, which is not MCP over HTTP/1.1");
        let refusal = Refusal::client(400, "not-mcp", message, "Speak MCP over HTTP/1.1, or ask the operator to set `other = \"pass\"`.");
        self.refuse(&refusal, None, &[]).await;
        false
    }

    /// The servers here whose URLs are of a kind.
    pub(super) fn only(&self, is: impl Fn(&ServerUrl) -> bool) -> Candidates {
        let servers = &self.worker.shared.config.servers;
        self.candidates.iter().copied().filter(|server| is(&servers[*server].url)).collect()
    }

    /// A client that speaks HTTP without TLS. True when its requests can be read.
    async fn unprotected(&mut self) -> bool {
        let meant = self.only(|url| !url.tls);
        let Some(server) = meant.first().copied() else {
            let message = format!("`{}` is reached over TLS, and this connection spoke plain HTTP", self.config().name);
            let refusal = Refusal::client(400, "not-mcp", message, "Use the server's https:// URL.");
            self.refuse(&refusal, None, &[]).await;
            return false;
        };
        (self.candidates, self.server) = (meant, server);
        true
    }

    /// The exchanges of an HTTP/1 connection, one after the other.
    pub(super) async fn http(&mut self) {
        loop {
            (self.entrance, self.vouched) = (None, None);
            let mut head = match self.head().await {
                Ok(Some(head)) => head,
                Ok(None) => return drop(self.client.finish().await),
                Err(Stop::Gone) => return,
                Err(Stop::Refused(refusal)) => return self.refuse(&refusal, None, &[]).await,
            };
            if let Err(refusal) = self.enter(&mut head) {
                return self.refuse(&refusal, Some(&head), &[]).await;
            }
            let under_way = self.worker.exchanges.clone();
            let exchanged = self.exchange(&head).await;
            drop(under_way);
            match exchanged {
                Ok(Next::Another) if self.client.buf.is_empty() => {}
                Ok(Next::Another) => {
                    let message = "a second request was sent before the first was answered (HTTP pipelining); it was not forwarded";
                    let refusal = Refusal::client(400, "malformed", message, "Wait for the answer before the next request.");
                    return self.refuse(&refusal, None, &[]).await;
                }
                Ok(Next::Close) => return drop(self.client.finish().await),
                // An answer that was cut must not end as if it were whole.
                Err(Stop::Gone) => return,
                Err(Stop::Refused(refusal)) => return self.refuse(&refusal, Some(&head), &[]).await,
            }
        }
    }

    /// The next request's head; `None` at the connection's orderly end.
    async fn head(&mut self) -> Result<Option<RequestHead>, Stop> {
        let limits = self.worker.shared.config.limits.clone();
        let mut deadline = None;
        loop {
            if let Some(head) = parse_request(&mut self.client.buf, limits.head)? {
                return Ok(Some(head));
            }
            let begun = !self.client.buf.is_empty();
            if self.client.ended() {
                let cut = || Refusal::client(400, "malformed", "the connection ended inside an HTTP head", "Send the head whole.");
                return if begun { Err(cut().into()) } else { Ok(None) };
            }
            if !begun {
                // At rest: a drain closes it, and so does silence.
                let mut drained = self.worker.drained.clone().fuse();
                let silence = self.client.fill_within(limits.idle_timeout);
                futures_util::select_biased! {
                    received = silence.fuse() => match received { Ok(0) | Err(_) => return Ok(None), Ok(_) => {} },
                    _ = drained => return Ok(None),
                }
                continue;
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + limits.head_timeout);
            match timeout_at(until, self.client.fill()).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Stop::Gone),
                Err(_) => {
                    let message = format!("the HTTP head was not complete within {} s", limits.head_timeout.as_secs());
                    return Err(Refusal::client(408, "timeout", message, "Send the head in one go.").into());
                }
            }
        }
    }

    /// Records and answers a refusal, then closes: what else the client has sent cannot be trusted to begin a request.
    pub(super) async fn refuse(&mut self, refusal: &Refusal, head: Option<&RequestHead>, body: &[u8]) {
        let record = self.note_refusal(refusal, head, body, None).await;
        let to = head.map_or(Method::Post, |head| head.method.clone());
        let pieces = refusal::answer(refusal, record.as_deref(), &to, false);
        let idle = self.worker.shared.config.limits.idle_timeout;
        if self.client.send(pieces, idle).await.is_ok() && self.client.finish().await.is_ok() {
            self.linger().await;
        }
    }

    /// Records a refusal; gives the record's name, if it could be written.
    pub(super) async fn note_refusal(
        &self,
        refusal: &Refusal,
        head: Option<&RequestHead>,
        body: &[u8],
        denied: Option<(&str, &mcp::Payload, &Decision)>,
    ) -> Option<String> {
        let shared = &self.worker.shared;
        shared.metrics.refused(refusal.reason);
        let server = self.known().map(|server| server.name.as_str());
        let masks = [self.masks_of_anything()];
        let veil = self.veil(Way::Up(&masks), denied.map_or("", |(session, ..)| session));
        // The message goes first: header fields that repeat its arguments show no more than it does.
        let payload = (!body.is_empty()).then(|| veil.payload(body, if denied.is_some() { Content::Message } else { Content::Other }));
        let message = veil.text("message", &refusal.message);
        tracing::info!(server, caller = %self.who, side = ?refusal.side, reason = refusal.reason, "refused: {}", message.as_str());
        let written = {
            let body = record::Refused {
                server,
                caller: Some(self.caller()),
                peer: None,
                tls: self.tls.as_ref(),
                reason: refusal.reason,
                message,
                http: head.map(|head| HttpRequest::new(head, self.entrance.as_ref(), &veil)),
                denied: denied.map(|(session, payload, decision)| record::Denied::new(session, payload, decision, &veil)),
                masked: veil.marks(),
                payload,
            };
            self.record(Kind::Refused, &body, Effect::None).await
        };
        written.ok().map(|seq| format!("{}/{seq}", shared.audit.log_id()))
    }

    /// Takes what the client is still sending, within bounds: closing with unread bytes resets the connection, and the client
    /// would lose the answer that says why (RFC 9112 section 9.6).
    pub(super) async fn linger(&mut self) {
        const MOST: usize = 1 << 20;
        let deadline = Instant::now() + std::time::Duration::from_secs(2);
        let mut taken = 0;
        while taken < MOST {
            self.client.buf.clear();
            match timeout_at(deadline, self.client.fill()).await {
                Ok(Ok(count)) if count > 0 => taken += count,
                _ => return,
            }
        }
    }
}
