//! The console's connections, with TLS or without.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{extract::connect_info::Connected, serve};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many handshakes are in hand at once.
const MOST: usize = 64;

/// A connection that can be served.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connections whose handshake is done: one that is slow at it keeps nobody waiting.
pub(super) struct Arrivals {
    ready: mpsc::Receiver<(Box<dyn Stream>, SocketAddr)>,
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
    type Io = Box<dyn Stream>;
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

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, arrived: mpsc::Sender<(Box<dyn Stream>, SocketAddr)>) {
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
                        // Nobody takes it when the console has ended.
                        let _ = arrived.send((stream, peer)).await;
                    }
                    drop(place);
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
