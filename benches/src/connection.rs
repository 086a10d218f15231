//! The two ends of a connection: one message is under way at a time, over TCP or over TLS.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use gateway_tests::tls;
use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        poll,
    },
    fd::{AsFd, BorrowedFd, OwnedFd},
    time::Timespec,
};
use rustls::{ClientConnection, Connection as Session, ServerConfig, ServerConnection, pki_types::ServerName};

use crate::reading::Reading;

/// The host for which every certificate of a comparison is.
pub const HOST: &str = "mcp.bench.test";
/// No more is read at once.
const READ: usize = 64 << 10;

/// Where a client connects, and as what it speaks.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Where to connect
    pub address: SocketAddr,
    /// The value of the Host field
    #[arg(long)]
    pub host: String,
    /// What stands before the path
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Over TLS, trusting the authorities of this PEM file
    #[arg(long)]
    pub trust: Option<PathBuf>,
}

impl Target {
    /// As arguments of the program's.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.address.to_string(), format!("--host={}", self.host), format!("--prefix={}", self.prefix)];
        arguments.extend(self.trust.as_ref().map(|path| format!("--trust={}", path.display())));
        arguments
    }

    /// Opens connections to it.
    ///
    /// # Errors
    /// The authorities cannot be read, or nobody takes the connections.
    pub fn connect(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        let config = self.trust.as_deref().map(tls::client).transpose()?.map(Arc::new);
        let session = || -> anyhow::Result<Option<Session>> {
            let Some(config) = &config else { return Ok(None) };
            Ok(Some(ClientConnection::new(config.clone(), ServerName::try_from(HOST)?)?.into()))
        };
        (0..count).map(|_| Connection::new(TcpStream::connect(self.address)?, session()?)).collect()
    }
}

/// One end of a kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    session: Option<Box<Session>>,
    /// What came, and was not taken by the reading yet.
    received: Vec<u8>,
    filled: usize,
    reading: Reading,
}

/// What has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A message is whole now.
    Whole,
    /// Not yet.
    Part,
    /// The peer's end.
    End,
}

impl Connection {
    fn new(stream: TcpStream, session: Option<Session>) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let session = session.map(|mut session| {
            // The server gives a whole answer at once.
            session.set_buffer_limit(None);
            Box::new(session)
        });
        Ok(Self { stream, session, received: vec![0; 2 * READ], filled: 0, reading: Reading::default() })
    }

    /// The server's end, over TLS if it has a certificate. The handshake happens as messages are sent and received.
    ///
    /// # Errors
    /// The kernel or the library says no.
    pub fn accepted(stream: TcpStream, config: Option<&Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let session = config.map(|config| ServerConnection::new(config.clone())).transpose()?;
        Self::new(stream, session.map(Session::from))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.session {
            None => Ok(self.stream.write_all(bytes)?),
            Some(session) => {
                session.writer().write_all(bytes)?;
                flush(session, &mut self.stream)
            }
        }
    }

    /// Reads once, and holds what came against the message expected.
    ///
    /// # Errors
    /// The connection broke, or another message came.
    pub fn receive(&mut self, start: &[u8], body: &[u8]) -> anyhow::Result<Received> {
        let came = match &mut self.session {
            None => self.stream.read(&mut self.received[self.filled..])?,
            Some(session) => {
                let mut records = [0; READ];
                let came = self.stream.read(&mut records)?;
                self.filled += open(session, &records[..came], &mut self.received[self.filled..])?;
                flush(session, &mut self.stream)?;
                came
            }
        };
        if came == 0 {
            return Ok(Received::End);
        }
        if self.session.is_none() {
            self.filled += came;
        }
        let taken = self.reading.take(&self.received[..self.filled], start, body)?;
        self.received.copy_within(taken.bytes..self.filled, 0);
        self.filled -= taken.bytes;
        ensure!(!taken.whole || self.filled == 0, "a second message came before it was asked for");
        Ok(if taken.whole { Received::Whole } else { Received::Part })
    }

    /// The first line of the message that came last.
    #[must_use]
    pub fn first_line(&self) -> &[u8] {
        self.reading.first_line()
    }

    /// Reads once: whether the answer with this body is whole now.
    ///
    /// # Errors
    /// The connection broke or was closed, or another answer came.
    pub fn answered(&mut self, body: &[u8]) -> anyhow::Result<bool> {
        let received = self.receive(b"HTTP/1.1 200", body)?;
        ensure!(received != Received::End, "the connection was closed before the answer was whole");
        Ok(received == Received::Whole)
    }
}

/// Opens records into a buffer: how many bytes they held.
fn open(session: &mut Session, mut records: &[u8], into: &mut [u8]) -> anyhow::Result<usize> {
    let mut filled = 0;
    while !records.is_empty() {
        session.read_tls(&mut records)?;
        session.process_new_packets()?;
        loop {
            match session.reader().read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(filled)
}

fn flush(session: &mut Session, stream: &mut TcpStream) -> anyhow::Result<()> {
    while session.wants_write() {
        session.write_tls(stream)?;
    }
    Ok(())
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sockets, each with a number, of which some have something to read.
pub struct Sockets {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

impl Sockets {
    /// None yet.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(128) })
    }

    /// One more.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn add(&self, socket: impl AsFd, number: u64) -> anyhow::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// Waits for the numbers of those that have something to read; none when the time is over.
    ///
    /// # Errors
    /// The kernel says no.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<impl Iterator<Item = u64>> {
        let mut limit = Timespec::try_from(limit).context("too long a time")?;
        if limit.tv_nsec != 0 {
            // epoll counts milliseconds, and a call may be due before the next.
            poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&limit))?;
            limit = Timespec::default();
        }
        epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&limit))?;
        Ok(self.ready.drain(..).map(|event| event.data.u64()))
    }
}
