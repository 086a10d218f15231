//! One side of a TLS connection as pure state: records in, plaintext out, and back.
//!
//! This is the seam behind which rustls stands: nothing else of the gateway sees its record layer. It works on rustls' unbuffered
//! API, so that records are opened in the buffer in which they were received.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::{Buf, Bytes, BytesMut};
use rustls::{
    AlertDescription, ClientConfig, ServerConfig,
    client::UnbufferedClientConnection,
    pki_types::{CertificateDer, ServerName},
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use thiserror::Error;

/// The plaintext of a record is no longer (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;
/// What a record adds to its plaintext: no more than this (RFC 8446 section 5.2).
const OVERHEAD: usize = 5 + 256;

/// Why a TLS connection cannot go on.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The peer ended the handshake with an alert.
    #[error("{}", refused(.0))]
    Alert(AlertDescription),
    /// The peer's certificate is not one that may be trusted here.
    #[error("{}", certificate(.0))]
    Certificate(rustls::CertificateError),
    /// The connection was closed without a word: what was received may not be all that was sent (RFC 8446 section 6.1).
    #[error("the connection was closed without close_notify: what was sent may be incomplete")]
    Cut,
    /// The client asked for a second handshake inside the first, which TLS 1.2 had (RFC 5246 section 7.4.1.1).
    #[error("the client asked for another handshake on an open connection (renegotiation)")]
    Renegotiation,
    /// The peer broke the protocol, or the two have no version, cipher or protocol in common.
    #[error("{0}")]
    Protocol(rustls::Error),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => TlsError::Alert(alert),
            rustls::Error::InvalidCertificate(error) => TlsError::Certificate(error),
            other => TlsError::Protocol(other),
        }
    }
}

/// What a peer said no to, for people.
fn refused(alert: &AlertDescription) -> String {
    let what = format!("the peer refused the handshake ({alert:?})");
    match alert {
        AlertDescription::CertificateRequired => format!("{what}: it wants a certificate, which `client_certificate` of the server names"),
        _ => what,
    }
}

/// What is wrong with a certificate, for people.
fn certificate(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet".into(),
        // Of an authority that only bears the name of a trusted one.
        E::UnknownIssuer | E::BadSignature => "its certificate is signed by no authority that is trusted here".into(),
        E::NotValidForName | E::NotValidForNameContext { .. } => "its certificate is for another name".into(),
        E::Revoked => "its certificate was revoked".into(),
        E::Other(other) => format!("its certificate cannot be accepted: {other}"),
        other => format!("its certificate cannot be accepted: {other}"),
    }
}

enum Role {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// The state of one TLS connection.
pub struct Session {
    role: Role,
    /// Records that were received and not opened: at rest, never a whole one.
    incoming: BytesMut,
    /// Records that go out before anything else: the handshake, alerts, tickets.
    outgoing: BytesMut,
    handshaking: bool,
    ended: bool,
    /// Set when nothing more is to be begun on this connection.
    retired: Arc<AtomicBool>,
}

/// What a step of rustls' state machine came to.
enum Step {
    /// There may be more to do with what was received.
    Again,
    /// Nothing more can be done with what was received; application data can be sent if so said.
    Rest { writable: bool },
}

/// What is wanted of a step at which application data can be sent.
enum Want<'a> {
    Nothing,
    Seal(&'a [u8]),
    Close,
}

impl Session {
    /// The side that accepts connections.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::new(Role::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// The side that connects, to the server of this name.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        let mut session = Self::new(Role::Client(UnbufferedClientConnection::new(config, name)?));
        session.feed(&[], &mut BytesMut::new())?;
        Ok(session)
    }

    fn new(role: Role) -> Self {
        Session { role, incoming: BytesMut::new(), outgoing: BytesMut::new(), handshaking: true, ended: false, retired: Arc::default() }
    }

    /// The same, retired when this says so.
    pub(super) fn until(mut self, retired: Arc<AtomicBool>) -> Self {
        self.retired = retired;
        self
    }

    /// Whether what the peer was recognised by has been replaced since: nothing more is to be begun on this connection.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Takes what was received, in pieces of any size, and appends what it holds to `plain`.
    ///
    /// # Errors
    /// The connection cannot go on. An alert that tells the peer stands in [`Session::take_outgoing`].
    pub fn feed(&mut self, received: &[u8], plain: &mut BytesMut) -> Result<(), TlsError> {
        let was_open = !self.handshaking;
        self.incoming.extend_from_slice(received);
        while let Step::Again = self.step(plain, Want::Nothing)? {}
        // All that rustls says by itself in an open connection of TLS 1.2 is that there will be no other handshake. Who asked for one
        // waits for an answer, and may do nothing else until then.
        if was_open && !self.outgoing.is_empty() && matches!(self.role, Role::Server(_)) && self.version() == Some("1.2") {
            return Err(TlsError::Renegotiation);
        }
        Ok(())
    }

    /// Appends records that hold these bytes to `out`, behind what has to go first.
    ///
    /// # Errors
    /// The handshake is not over, or the connection has been closed.
    pub fn seal(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), TlsError> {
        self.send(Want::Seal(bytes))?;
        out.unsplit(self.outgoing.split());
        Ok(())
    }

    /// Says that nothing more comes (`close_notify`, RFC 8446 section 6.1); the record stands in [`Session::take_outgoing`].
    ///
    /// # Errors
    /// The handshake is not over.
    pub fn close(&mut self) -> Result<(), TlsError> {
        self.send(Want::Close)
    }

    /// Records that have to be sent, in order.
    pub fn take_outgoing(&mut self) -> Option<Bytes> {
        (!self.outgoing.is_empty()).then(|| self.outgoing.split().freeze())
    }

    /// Whether the handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.handshaking
    }

    /// Whether the peer has said that nothing more comes. An end of the connection without it may be an attacker's cut.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// `1.2` or `1.3`, once it is agreed on.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        let version = match &self.role {
            Role::Client(client) => client.protocol_version(),
            Role::Server(server) => server.protocol_version(),
        };
        match version? {
            rustls::ProtocolVersion::TLSv1_2 => Some("1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => None,
        }
    }

    /// The certificate that the peer has shown.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.role {
            Role::Client(client) => client.peer_certificates()?.first(),
            Role::Server(server) => server.peer_certificates()?.first(),
        }
    }

    /// Whether the handshake took up an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.role {
            Role::Client(client) => client.handshake_kind(),
            Role::Server(server) => server.handshake_kind(),
        };
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    fn send(&mut self, want: Want<'_>) -> Result<(), TlsError> {
        // What was received has been worked off before: the first steps only fetch what rustls itself wants to say.
        let mut none = BytesMut::new();
        while let Step::Again = self.step(&mut none, Want::Nothing)? {}
        match self.step(&mut none, want)? {
            Step::Rest { writable: true } => Ok(()),
            _ => Err(TlsError::Protocol(rustls::Error::HandshakeNotComplete)),
        }
    }

    fn step(&mut self, plain: &mut BytesMut, want: Want<'_>) -> Result<Step, TlsError> {
        match self.once(plain, want) {
            Ok(Did::Again) => Ok(Step::Again),
            Ok(Did::Blocked) => Ok(Step::Rest { writable: false }),
            Ok(Did::Traffic) => {
                self.handshaking = false;
                Ok(Step::Rest { writable: true })
            }
            Ok(Did::Ended) => {
                self.ended = true;
                Ok(Step::Again)
            }
            Ok(Did::Closed) => {
                self.ended = true;
                Ok(Step::Rest { writable: false })
            }
            Err(error) => {
                self.alert();
                Err(error)
            }
        }
    }

    /// After an error: fetches the alert that tells the peer.
    fn alert(&mut self) {
        let mut none = BytesMut::new();
        while let Ok(Did::Again) = self.once(&mut none, Want::Nothing) {}
    }

    /// Handles one status of rustls, which always sees what it has received and not let go: it remembers messages by their places.
    fn once(&mut self, plain: &mut BytesMut, want: Want<'_>) -> Result<Did, TlsError> {
        let (discard, outcome) = match &mut self.role {
            Role::Client(client) => one(client.process_tls_records(&mut self.incoming), plain, &mut self.outgoing, want),
            Role::Server(server) => one(server.process_tls_records(&mut self.incoming), plain, &mut self.outgoing, want),
        };
        self.incoming.advance(discard);
        outcome
    }
}

/// What one status of rustls was.
enum Did {
    Again,
    Blocked,
    Traffic,
    Ended,
    Closed,
}

/// Handles one status: how many bytes of what was received are done with, and what it was.
fn one<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut BytesMut,
    out: &mut BytesMut,
    want: Want<'_>,
) -> (usize, Result<Did, TlsError>) {
    let UnbufferedStatus { mut discard, state } = status;
    let did = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Err(error.into()),
                None => break Ok(Did::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => into(out, 0, |room| data.encode(room)).map(|()| Did::Again),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It stands in `out`, which is sent before anything that comes later.
            data.done();
            Ok(Did::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Did::Blocked),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match want {
            Want::Nothing => Ok(()),
            Want::Seal(bytes) => {
                let guess = bytes.len() + (bytes.len() / RECORD + 2) * OVERHEAD;
                into(out, guess, |room| traffic.encrypt(bytes, room))
            }
            Want::Close => into(out, OVERHEAD, |room| traffic.queue_close_notify(room)),
        }
        .map(|()| Did::Traffic),
        Ok(ConnectionState::PeerClosed) => Ok(Did::Ended),
        Ok(ConnectionState::Closed) => Ok(Did::Closed),
        // Early data is not offered, so none can come (RFC 8446 section 4.2.10).
        Ok(_) => Err(TlsError::Protocol(rustls::Error::General("data came before the handshake was over".into()))),
        Err(error) => Err(error.into()),
    };
    (discard, did)
}

/// An error that may say how much room is wanted.
trait Room {
    fn wanted(&self) -> Option<usize>;
}

impl Room for EncodeError {
    fn wanted(&self) -> Option<usize> {
        match self {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            EncodeError::AlreadyEncoded => None,
        }
    }
}

impl Room for EncryptError {
    fn wanted(&self) -> Option<usize> {
        match self {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            EncryptError::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` writes to `out`, making as much room as it says it wants.
fn into<E: Room>(out: &mut BytesMut, guess: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<(), TlsError> {
    let before = out.len();
    let mut room = guess;
    loop {
        out.resize(before + room, 0);
        match write(&mut out[before..]) {
            Ok(written) => {
                out.truncate(before + written);
                return Ok(());
            }
            Err(error) => match error.wanted() {
                Some(wanted) if wanted > room => room = wanted,
                _ => {
                    out.truncate(before);
                    return Err(TlsError::Protocol(rustls::Error::EncryptError));
                }
            },
        }
    }
}
