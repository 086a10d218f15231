//! The driver's seam to the runtime: reads that survive a timeout, whole writes, and TLS in between where there is TLS.

use std::{
    cell::RefCell,
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use compio::{
    BufResult,
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use futures_util::FutureExt;
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, sendmsg, sockopt::set_socket_linger},
};

use super::wait;
use crate::tls::{Session, TlsError};

/// Large bodies are read in pieces of this size: fewer system calls, and still inside the second-level cache.
const LARGE: usize = 256 << 10;
const SMALL: usize = 16 << 10;

/// So many pieces are sent by one system call; the kernel takes no more than 1,024 (IOV_MAX).
const MOST: usize = 64;

/// How long the last record of a connection, which only says that it ends, may take to leave.
const LAST_WORD: Duration = Duration::from_secs(2);

type Reading = Pin<Box<dyn Future<Output = (TcpStream, BufResult<usize, BytesMut>)>>>;
type Tls = Rc<RefCell<Session>>;

/// One side of a connection.
///
/// A read that was begun stays in flight until it completes, whoever stops waiting for it: a timeout or a lost race
/// never loses the bytes that the kernel has already put into the buffer.
pub(super) struct Side {
    stream: TcpStream,
    tls: Option<Tls>,
    reading: Option<Reading>,
    /// The stream as it was last read: it knows whether there was more.
    read: Option<TcpStream>,
    /// What was received and not yet consumed: plaintext, once there is TLS.
    pub(super) buf: BytesMut,
    ended: bool,
    large: bool,
}

/// The writing half of a [`Side`].
pub(super) struct Writes {
    stream: TcpStream,
    tls: Option<Tls>,
}

/// The reading half of a [`Side`].
pub(super) struct Reads<'a>(&'a mut Side);

impl Side {
    pub(super) fn new(stream: TcpStream) -> Self {
        Side { stream, tls: None, reading: None, read: None, buf: BytesMut::new(), ended: false, large: false }
    }

    /// The peer has sent its last byte.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What TLS came to; `None` where there is none.
    pub(super) fn tls<T>(&self, ask: impl FnOnce(&Session) -> T) -> Option<T> {
        self.tls.as_ref().map(|session| ask(&session.borrow()))
    }

    /// Shakes hands, beginning with what is in the buffer; from then on what is read and sent is what TLS protects.
    ///
    /// # Errors
    /// As [`Side::fill`], and `TimedOut` after `limit`. The peer has been told.
    pub(super) async fn shake(&mut self, session: Session, limit: Duration) -> io::Result<()> {
        let received = self.buf.split();
        self.tls = Some(Rc::new(RefCell::new(session)));
        let shaking = async {
            self.open(&received)?;
            loop {
                let over = self.tls(Session::is_handshaking) == Some(false);
                self.writes().flush().await?;
                if over {
                    return Ok(());
                }
                std::future::poll_fn(|cx| self.poll_read(cx)).await?;
            }
        };
        within(limit, shaking).await?
    }

    /// Waits for more bytes; 0 means that the peer has sent its last. May be dropped and called again.
    ///
    /// # Errors
    /// The connection broke; with TLS also when it ended without saying so (RFC 8446 section 6.1), or a record cannot be opened.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// As [`Side::fill`], and an error of kind `TimedOut` after `limit`.
    pub(super) async fn fill_within(&mut self, limit: Duration) -> io::Result<usize> {
        within(limit, self.fill()).await?
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let before = self.buf.len();
            std::task::ready!(self.poll_read(cx))?;
            let count = self.buf.len() - before;
            // A record may hold nothing for us: a ticket, a new key, half a message.
            if count > 0 || self.ended {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// One read of the socket, and what it holds for us.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, read) = (&self.stream, &mut self.read);
        let want = if self.large { LARGE } else { SMALL };
        let reading = self.reading.get_or_insert_with(|| {
            let mut stream = read.take().unwrap_or_else(|| stream.clone());
            let room = BytesMut::with_capacity(want);
            Box::pin(async move {
                let received = stream.read(room).await;
                (stream, received)
            })
        });
        let (read, BufResult(result, room)) = std::task::ready!(reading.as_mut().poll(cx));
        (self.reading, self.read) = (None, Some(read));
        wait::arrived();
        let count = result?;
        self.large = count >= SMALL;
        if self.tls.is_some() {
            return Poll::Ready(if count == 0 { self.cut() } else { self.open(&room) });
        }
        self.ended = count == 0;
        if self.buf.is_empty() {
            self.buf = room;
        } else {
            self.buf.extend_from_slice(&room);
        }
        Poll::Ready(Ok(()))
    }

    /// Opens records. When one cannot be opened, the peer is told why.
    fn open(&mut self, received: &[u8]) -> io::Result<()> {
        let Some(tls) = self.tls.clone() else { return Ok(()) };
        let opened = tls.borrow_mut().feed(received, &mut self.buf);
        self.ended = tls.borrow().is_ended();
        opened.map_err(|error| {
            let writes = self.writes();
            let alert = async move { within(LAST_WORD, writes.flush()).await };
            compio::runtime::spawn(alert.map(drop)).detach();
            io::Error::other(error)
        })
    }

    /// The connection ended. Whoever can cut it could cut what it carries: TLS says when it was meant.
    fn cut(&mut self) -> io::Result<()> {
        self.ended = true;
        match self.tls(Session::is_ended) {
            Some(false) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, TlsError::Cut)),
            _ => Ok(()),
        }
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
        match within(rest, sending).await {
            Ok(sent) => sent.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Whether an end of the connection that is not [said](Side::finish) first, whatever its cause, is to reset it. A peer that takes the
    /// end of the connection for the end of what it is given would otherwise take a part for the whole (RFC 9112 section 8).
    pub(super) fn resets(&self, does: bool) {
        // It fails where the connection is gone, and then nobody is misled.
        let _ = set_socket_linger(&self.stream, does.then_some(Duration::ZERO));
    }

    /// Tells the peer that nothing more comes.
    pub(super) async fn finish(&self) -> io::Result<()> {
        self.resets(false);
        self.writes().finish().await
    }

    fn writes(&self) -> Writes {
        Writes { stream: self.stream.clone(), tls: self.tls.clone() }
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
        pieces.retain(|piece| !piece.is_empty());
        let writing = async {
            match &self.tls {
                Some(tls) if !pieces.is_empty() => self.seal(tls, pieces).await,
                _ => self.put(pieces).await,
            }
        };
        within(limit, writing).await?
    }

    /// Where one call comes after the other, what the socket takes at once goes by a system call: in the ring it would be one more entry,
    /// its completion and a turn of the executor. Where many come together, one system call sends for all of them.
    async fn put(&self, pieces: Vec<Bytes>) -> io::Result<()> {
        let mut pieces = gather(pieces);
        if !wait::is_busy() {
            self.offer(&mut pieces)?;
        }
        let mut stream = self.stream.clone();
        while pieces.len() > 1 {
            let rest = pieces.split_off(pieces.len().min(MOST));
            stream.write_vectored_all(std::mem::replace(&mut pieces, rest)).await.0?;
        }
        match pieces.pop() {
            Some(last) => stream.write_all(last).await.0,
            None => Ok(()),
        }
    }

    /// Sends as much as can be sent without waiting; the rest stays in `pieces`.
    fn offer(&self, pieces: &mut Vec<Bytes>) -> io::Result<()> {
        while !pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); MOST];
            for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                *slice = IoSlice::new(piece);
            }
            let slices = &slices[..pieces.len().min(MOST)];
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut sent = match sendmsg(&self.stream, slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => sent,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let whole = pieces.iter().take_while(|piece| {
                let fits = piece.len() <= sent;
                sent -= if fits { piece.len() } else { 0 };
                fits
            });
            pieces.drain(..whole.count());
            if let Some(cut) = pieces.first_mut()
                && sent > 0
            {
                cut.advance(sent);
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) async fn finish(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls
            && tls.borrow_mut().close().is_ok()
        {
            within(LAST_WORD, self.flush()).await??;
        }
        let mut stream = self.stream.clone();
        stream.shutdown().await
    }

    /// Sends what TLS itself has to say.
    async fn flush(&self) -> io::Result<()> {
        let said = self.tls.as_ref().and_then(|tls| tls.borrow_mut().take_outgoing());
        match said {
            Some(said) => self.stream.clone().write_all(said).await.0,
            None => Ok(()),
        }
    }

    /// Seals pieces, small ones together in one record, and sends them as they are sealed.
    async fn seal(&self, tls: &Tls, pieces: Vec<Bytes>) -> io::Result<()> {
        let put = |plain: &[u8], out: &mut BytesMut| tls.borrow_mut().seal(plain, out).map_err(io::Error::other);
        let (mut small, mut out) = (BytesMut::new(), BytesMut::new());
        for piece in pieces {
            if small.len() + piece.len() <= SMALL {
                small.extend_from_slice(&piece);
                continue;
            }
            if !small.is_empty() {
                put(&small.split(), &mut out)?;
            }
            for part in piece.chunks(LARGE) {
                put(part, &mut out)?;
                self.put(vec![out.split().freeze()]).await?;
            }
        }
        if !small.is_empty() {
            put(&small, &mut out)?;
        }
        if out.is_empty() { Ok(()) } else { self.put(vec![out.freeze()]).await }
    }
}

/// Many small pieces in few: to copy them costs less than to point at each.
fn gather(pieces: Vec<Bytes>) -> Vec<Bytes> {
    const FEW: usize = 8;
    const LITTLE: usize = 2 << 10;
    if pieces.len() <= FEW {
        return pieces;
    }
    let (mut gathered, mut small) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        if piece.len() <= LITTLE {
            small.extend_from_slice(&piece);
            continue;
        }
        if !small.is_empty() {
            gathered.push(small.split().freeze());
        }
        gathered.push(piece);
    }
    if !small.is_empty() {
        gathered.push(small.freeze());
    }
    gathered
}

/// Waits for a future no longer than `limit`; then the error is of kind `TimedOut`. A clock is set only for what has to wait.
async fn within<F: Future>(limit: Duration, future: F) -> io::Result<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(done) = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Ok(done);
    }
    let mut over = pin!(sleep(limit));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::Ipv4Addr, thread};

    use super::*;

    #[test]
    fn however_many_pieces_arrive_whole_by_a_system_call_and_through_the_ring() -> io::Result<()> {
        let large = |count: usize| (0..count).map(|n| Bytes::from(vec![u8::try_from(n % 251).unwrap_or(0); 3000 + n])).collect::<Vec<_>>();
        let small = |count: usize| (0..count).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>();
        for pieces in [large(1), large(2500), small(5000), [small(20), large(1), small(3), large(2)].concat()] {
            let whole = pieces.concat();
            for busy in [false, true] {
                let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let to = listener.local_addr()?;
                let peer = thread::spawn(move || {
                    let mut received = Vec::new();
                    listener.accept()?.0.read_to_end(&mut received).map(|_| received)
                });
                let runtime = compio::runtime::Runtime::new()?;
                let sent = wait::block_on(
                    &runtime,
                    async {
                        let side = Side::new(TcpStream::connect(to).await?);
                        // Two arrivals in a turn make it busy.
                        (0..if busy { 2 } else { 0 }).for_each(|_| wait::arrived());
                        side.send(pieces.clone(), Duration::from_secs(30)).await?;
                        side.finish().await
                    },
                    None,
                );
                sent?;
                let received = peer.join().map_err(|_| io::Error::other("the peer panicked"))??;
                assert!(received == whole, "{} of {} bytes, busy: {busy}", received.len(), whole.len());
            }
        }
        Ok(())
    }
}
