//! The driver's seam to the runtime: reads that survive a timeout, and whole writes.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use compio::{
    BufResult,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use futures_util::FutureExt;

/// Large bodies are read in pieces of this size: fewer system calls, and still inside the second-level cache.
const LARGE: usize = 256 << 10;
const SMALL: usize = 16 << 10;

type Reading = Pin<Box<dyn Future<Output = BufResult<usize, BytesMut>>>>;

/// One side of a connection.
///
/// A read that was begun stays in flight until it completes, whoever stops waiting for it: a timeout or a lost race
/// never loses the bytes that the kernel has already put into the buffer.
pub(super) struct Side {
    stream: TcpStream,
    reading: Option<Reading>,
    /// What was received and not yet consumed.
    pub(super) buf: BytesMut,
    ended: bool,
    large: bool,
}

/// The writing half of a [`Side`].
pub(super) struct Writes(TcpStream);

/// The reading half of a [`Side`].
pub(super) struct Reads<'a>(&'a mut Side);

impl Side {
    pub(super) fn new(stream: TcpStream) -> Self {
        Side { stream, reading: None, buf: BytesMut::new(), ended: false, large: false }
    }

    /// The peer has sent its last byte.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Waits for more bytes; 0 means that the peer has sent its last. May be dropped and called again.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// As [`Side::fill`], and an error of kind `TimedOut` after `limit`.
    pub(super) async fn fill_within(&mut self, limit: Duration) -> io::Result<usize> {
        timeout(limit, self.fill()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let stream = &self.stream;
        let want = if self.large { LARGE } else { SMALL };
        let reading = self.reading.get_or_insert_with(|| {
            let mut stream = stream.clone();
            let room = BytesMut::with_capacity(want);
            Box::pin(async move { stream.read(room).await })
        });
        let BufResult(result, room) = std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        let count = result?;
        self.ended = count == 0;
        self.large = count >= SMALL;
        if self.buf.is_empty() {
            self.buf = room;
        } else {
            self.buf.extend_from_slice(&room);
        }
        Poll::Ready(Ok(count))
    }

    /// Whether a connection at rest has anything to say: bytes nobody asked for, an end, or an error.
    pub(super) fn stirs(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !self.buf.is_empty() || self.poll_fill(&mut cx).is_ready()
    }

    /// Sends all pieces, in order. An error of kind `TimedOut` when the peer has not taken them within `limit`.
    pub(super) async fn send(&self, pieces: Vec<Bytes>, limit: Duration) -> io::Result<()> {
        self.writes().send(pieces, limit).await
    }

    /// As [`Side::send`], while listening: `false` when the peer spoke or left meanwhile, and did not take the rest within `rest`.
    /// Then the connection stands inside a message that never ends, and can carry no other.
    pub(super) async fn send_listening(&mut self, pieces: Vec<Bytes>, limit: Duration, rest: Duration) -> io::Result<bool> {
        let (mut reads, writes) = self.split();
        let sending = writes.send(pieces, limit).fuse();
        futures_util::pin_mut!(sending);
        futures_util::select_biased! {
            sent = sending => return sent.map(|()| true),
            // What it said stands in the buffer.
            _ = reads.fill().fuse() => {}
        }
        match timeout(rest, sending).await {
            Ok(sent) => sent.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Tells the peer that nothing more comes.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.writes().finish().await
    }

    fn writes(&self) -> Writes {
        Writes(self.stream.clone())
    }

    /// Both halves, to be used at the same time.
    pub(super) fn split(&mut self) -> (Reads<'_>, Writes) {
        let writes = self.writes();
        (Reads(self), writes)
    }
}

/// Which of two sides had something first, and what.
pub(super) enum First {
    Server(io::Result<usize>),
    Client(io::Result<usize>),
}

/// Waits for either side; the server's comes first when both have something.
pub(super) async fn first(server: &mut Side, client: &mut Side) -> First {
    std::future::poll_fn(|cx| match server.poll_fill(cx) {
        Poll::Ready(result) => Poll::Ready(First::Server(result)),
        Poll::Pending => client.poll_fill(cx).map(First::Client),
    })
    .await
}

impl Reads<'_> {
    /// What was received and not yet taken.
    pub(super) fn take(&mut self) -> Bytes {
        self.0.buf.split().freeze()
    }

    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.0.fill().await
    }
}

impl Writes {
    pub(super) async fn send(&self, mut pieces: Vec<Bytes>, limit: Duration) -> io::Result<()> {
        let mut stream = self.0.clone();
        let writing = async {
            pieces.retain(|piece| !piece.is_empty());
            match pieces.len() {
                0 => Ok(()),
                1 => stream.write_all(pieces.swap_remove(0)).await.0,
                _ => stream.write_vectored_all(pieces).await.0,
            }
        };
        timeout(limit, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    pub(super) async fn finish(&self) -> io::Result<()> {
        let mut stream = self.0.clone();
        stream.shutdown().await
    }
}
