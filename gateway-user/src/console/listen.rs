//! The console's connections, with TLS or without.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{extract::connect_info::Connected, serve};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Sleep,
};
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever it does: nobody holds all places for longer.
const LONGEST: Duration = Duration::from_secs(120);
/// So many are open at once: the data plane needs files too.
const MOST: usize = 256;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that can be served.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    ends: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

/// Connections whose handshake is done: one that is slow at it keeps nobody waiting.
pub(super) struct Arrivals {
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    local: SocketAddr,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<serve::IncomingStream<'_, Arrivals>> for Peer {
    fn connect_info(stream: serve::IncomingStream<'_, Arrivals>) -> Self {
        Peer(*stream.remote_addr())
    }
}

impl Arrivals {
    pub(super) fn new(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (arrived, ready) = mpsc::channel(MOST);
        tokio::spawn(accept(listener, tls, arrived));
        Ok(Arrivals { ready, local })
    }
}

impl serve::Listener for Arrivals {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(arrived) => arrived,
            // What accepts ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.local)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, arrived: mpsc::Sender<(Connection, SocketAddr)>) {
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = arrived.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, arrived) = (tls.clone(), arrived.clone());
                tokio::spawn(async move {
                    if let Ok(Some(stream)) = tokio::time::timeout(PATIENCE, shake_hands(stream, tls)).await {
                        let connection = Connection { stream, ends: Box::pin(tokio::time::sleep(LONGEST)), _place: place };
                        // Nobody takes it when the console has ended.
                        let _ = arrived.send((connection, peer)).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!("a connection to the console could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn shake_hands(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    // What is no TLS is a scanner, or somebody who typed http://.
    Some(Box::new(tls.accept(stream).await.ok()?))
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
