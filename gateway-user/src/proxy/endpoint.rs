//! The endpoint: callers that cannot be captured say in the path which server they mean.
//!
//! From the request's head on, their calls take the way of every other.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use compio::net::TcpStream;
use rustls::AlertDescription;

use super::{
    caller::Origin,
    connection::{Connection, Next},
    entrance::{Entrance, Target},
    forward::{Flight, Lost},
    masks::Way,
    record,
    refusal::Refusal,
    servers::host_alone,
    stream::Side,
    veil::Content,
    worker::Worker,
};
use crate::{
    capture::{
        self, Peer,
        process::{Fact, Unknown},
    },
    config::EndpointConfig,
    tls::{Session, TlsError},
    wire::http1::{BodyDecoder, Method, RequestHead, ResponseHead, Sniff},
};

/// Serves one connection to the endpoint to its end.
pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // A connection that was reset already has no address.
    let Ok(local) = stream.local_addr() else { return };
    let [peer, local] = [peer, local].map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    // It reads /proc: other calls of this worker do not wait for that.
    let found = compio::runtime::spawn_blocking(move || capture::find_peer(peer, local)).await;
    let Peer { uid, process } = found.unwrap_or(Peer { uid: None, process: Fact::Unknown { unknown: Unknown::Unreadable } });
    let origin = Origin::Endpoint { peer, local, uid };
    let mut connection = Connection::new(worker.clone(), stream, origin, process, [].into());
    let tls = worker.shared.tls.caller();
    let readable = match (connection.protocol().await, tls) {
        (Some(Sniff::Http), None) => true,
        (Some(Sniff::Tls), Some(session)) => connection.shake(session).await,
        (Some(spoken), tls) => connection.not_for_the_endpoint(spoken, tls.is_some()).await,
        (None, _) => false,
    };
    if readable {
        connection.http().await;
    }
}

impl Connection {
    /// Shakes hands with a caller, who is shown the operator's certificate. True when its requests can be read.
    async fn shake(&mut self, session: Result<Session, TlsError>) -> bool {
        let limit = self.worker.shared.config.limits.head_timeout;
        let shaken = match session {
            Ok(session) => self.client.shake(session, limit).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = shaken {
            let message = format!("the TLS handshake of a caller of the endpoint failed: {error}");
            let help = "Speak TLS 1.2 or 1.3 and HTTP/1.1 to a name that the endpoint's certificate is for, and trust who signed it.";
            self.note_refusal(&Refusal::client(400, "tls", message, help), None, &[], None).await;
            return false;
        }
        self.tls = self.client.tls(record::Tls::of);
        true
    }

    /// The caller speaks something else than the endpoint does. False, for the caller to end.
    async fn not_for_the_endpoint(&mut self, spoken: Sniff, tls: bool) -> bool {
        let (what, help) = match spoken {
            Sniff::Tls => ("TLS, and it has no certificate", "Use an http:// URL, or ask the operator to set `endpoint.certificate`."),
            Sniff::Http => ("plain HTTP, and it has a certificate", "Use an https:// URL."),
            Sniff::Http2Preface => ("HTTP/2", "Speak MCP over HTTP/1.1."),
            _ => ("an unknown protocol", "Speak MCP over HTTP/1.1."),
        };
        let refusal = Refusal::client(400, "not-mcp", format!("a caller of the endpoint spoke {what}"), help);
        if spoken == Sniff::Tls && !tls {
            return self.turn_away(&refusal, AlertDescription::HandshakeFailure).await;
        }
        self.refuse(&refusal, None, &[]).await;
        false
    }

    /// Finds the server that a request at the endpoint is for: its target is then the server's. What was captured stays as it is.
    pub(super) fn enter(&mut self, head: &mut RequestHead) -> Result<(), Refusal> {
        let shared = self.worker.shared.clone();
        let (Origin::Endpoint { local, .. }, Some(settings)) = (&self.origin, &shared.config.endpoint) else { return Ok(()) };
        let host = String::from_utf8_lossy(head.host().unwrap_or_default()).into_owned();
        if !is_ours(&host, settings, local.ip()) {
            let message = format!("the request is for the host `{host}`, under which the endpoint is not known");
            let help = "Use the address or name that the operator gave; a name of the gateway's must stand in `endpoint.hosts`.";
            return Err(Refusal::client(421, "host-not-allowed", message, help));
        }
        if let Some(origin) = head.headers.get_all("origin").map(String::from_utf8_lossy).find(|origin| !is_allowed(origin, settings)) {
            let message = format!("a page of `{origin}` made the request, and pages of that origin may not call");
            return Err(Refusal::client(403, "origin-not-allowed", message, "Ask the operator to add it to `endpoint.origins`."));
        }
        let target = Target::read(&head.target);
        let found = target.and_then(|target| Some((shared.servers.named(target.server)?, target)));
        let Some((candidates, target)) = found else {
            let message = "the path names no server of this gateway";
            let help = "The path begins with a server's name, as the operator gave it: /<server>/…";
            return Err(Refusal::client(404, "unknown-server", message, help));
        };
        let base = format!("{}://{host}", self.scheme(head, settings));
        self.server = candidates[0];
        self.candidates = candidates;
        let entrance = Entrance::new(&head.target, &target, &self.config().url, base);
        head.target.clone_from(&entrance.target);
        self.entrance = Some(entrance);
        Ok(())
    }

    /// The scheme by which the caller came. Something that speaks TLS in front of the gateway says so; whoever lies about it is told
    /// URLs that are of no use to him.
    fn scheme(&self, head: &RequestHead, settings: &EndpointConfig) -> &'static str {
        let in_front = settings.plain && head.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https"));
        if self.tls.is_some() || in_front { "https" } else { "http" }
    }

    /// Whether an answer at the endpoint is where the server says who authorizes its callers.
    pub(super) fn is_metadata(&self, head: &ResponseHead, flight: &Flight) -> bool {
        self.entrance.is_some() && flight.method == Method::Get && head.status == 200 && Entrance::is_metadata(&flight.target)
    }

    /// Gives such an answer, with the URL of the server by which the caller reaches it. The record has it as the server gave it.
    pub(super) async fn metadata(
        &mut self,
        server: &mut Side,
        head: &ResponseHead,
        decoder: &mut BodyDecoder,
        flight: &mut Flight,
    ) -> Result<Next, Lost> {
        let body = self.all_of(server, decoder, flight).await?;
        let (masks, session) = (flight.masks.clone(), flight.session.clone());
        let veil = self.veil(Way::Down(&masks), &session);
        let payload = veil.payload(&body, Content::Other);
        self.closed(head.status, None, Some(payload), &[], &veil, flight).await?;
        let led = self.entrance.as_ref().and_then(|entrance| entrance.metadata(&body, &flight.target));
        self.give_whole(head, led.unwrap_or(body), flight).await
    }
}

/// Whether a Host field names the endpoint. A page that has had its own name resolved to this address sends that name (DNS rebinding).
fn is_ours(host: &str, settings: &EndpointConfig, local: IpAddr) -> bool {
    let host = host_alone(host).to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical() == local => true,
        Ok(ip) => settings.hosts.contains(&ip.to_string()),
        Err(_) => settings.hosts.contains(&host) || (local.is_loopback() && host == "localhost"),
    }
}

/// Whether pages of this origin may call (basic/transports, "Security Warning"). Callers that are no browsers send none.
fn is_allowed(origin: &str, settings: &EndpointConfig) -> bool {
    settings.origins.contains(&origin.to_ascii_lowercase())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_by_the_address_that_was_dialled_or_by_a_name_that_is_configured() {
        let toml = "[endpoint]\nhosts = [\"Gateway.Example\", \"203.0.113.9\"]\n[[server]]\nname = \"a\"\nurl = \"http://h/\"\n";
        let settings = crate::config::parse("test", toml).unwrap().endpoint.unwrap();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        for (host, local) in [
            ("127.0.0.1:8080", loopback),
            ("localhost:8080", loopback),
            ("LOCALHOST", loopback),
            ("gateway.example:443", loopback),
            ("203.0.113.9", v6),
            ("[fd00::1]:8080", v6),
        ] {
            assert!(is_ours(host, &settings, local), "{host}");
        }
        for (host, local) in [
            ("evil.example", loopback),
            ("localhost.evil.example", loopback),
            ("127.0.0.2", loopback),
            ("localhost", v6),
            ("[fd00::2]", v6),
            ("", loopback),
        ] {
            assert!(!is_ours(host, &settings, local), "{host}");
        }
    }
}
