//! Connections to servers: reached past our own hooks, kept for the caller that opened them, and only for that one.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use compio::{net::TcpSocket, time::timeout};

use super::{Shared, stream::Side};

/// At rest for longer, a connection is closed: most servers close theirs after 60 s or more.
const REST: Duration = Duration::from_secs(55);
const KEPT_PER_CALLER: usize = 8;

/// Who may use a connection: no connection is shared by two of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Principal {
    pub uid: u32,
    pub pid: u32,
    /// Nanoseconds since boot: tells two processes with one pid apart.
    pub started: Option<u64>,
}

#[derive(Default)]
pub(super) struct Pool {
    idle: HashMap<(SocketAddr, Principal), Vec<(Side, Instant)>>,
}

impl Pool {
    /// A connection that is open and silent, if there is one.
    pub(super) fn take(&mut self, server: SocketAddr, principal: &Principal) -> Option<Side> {
        let kept = self.idle.get_mut(&(server, principal.clone()))?;
        while let Some((mut side, since)) = kept.pop() {
            if since.elapsed() < REST && !side.stirs() {
                return Some(side);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended cleanly.
    pub(super) fn put(&mut self, server: SocketAddr, principal: Principal, side: Side) {
        let kept = self.idle.entry((server, principal)).or_default();
        if kept.len() < KEPT_PER_CALLER {
            kept.push((side, Instant::now()));
        }
    }

    /// Closes what has rested too long.
    pub(super) fn sweep(&mut self) {
        self.idle.retain(|_, kept| {
            kept.retain(|(_, since)| since.elapsed() < REST);
            !kept.is_empty()
        });
    }
}

/// Opens a connection to the server that the caller meant.
pub(super) async fn connect(shared: &Shared, to: SocketAddr) -> io::Result<Side> {
    let limit = shared.config.limits.connect_timeout;
    let connecting = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4().await? } else { TcpSocket::new_v6().await? };
        shared.capture.exempt(socket.as_fd()).map_err(io::Error::other)?;
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.connect(to).await
    };
    let stream = timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Side::new(stream))
}
