//! Connections to servers: reached past our own hooks, kept for the caller that opened them, and only for that one.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use compio::{net::TcpSocket, time::timeout};

use super::{Shared, caller::Who, record, stream::Side};
use crate::tls::Session;

/// At rest for longer, a connection is closed: most servers close theirs after 60 s or more.
const REST: Duration = Duration::from_secs(55);
/// As many as a caller may have open to us at once, or it would open and close one for every call beyond.
const KEPT_PER_CALLER: usize = 1024;

/// Who may use a connection: no connection is shared by two of these. Two identities never share one; of callers of whom only the address
/// is known, the session tells one from another too.
pub(super) type Principal = (Who, Arc<str>, Option<String>);

/// For whom, to where, and as which of the servers there: they may be recognised by different certificates.
pub(super) type Destination = (Principal, SocketAddr, usize);

/// A connection to a server.
pub(super) struct Server {
    pub side: Side,
    /// What TLS came to.
    pub tls: Option<Rc<record::Tls>>,
}

#[derive(Default)]
pub(super) struct Pool {
    idle: HashMap<Destination, Vec<(Server, Instant)>>,
}

impl Pool {
    /// A connection that is open and silent, if there is one.
    pub(super) fn take(&mut self, to: &Destination) -> Option<Server> {
        let kept = self.idle.get_mut(to)?;
        while let Some((mut server, since)) = kept.pop() {
            let is_retired = server.side.tls(Session::is_retired) == Some(true);
            if since.elapsed() < REST && !is_retired && !server.side.stirs() {
                return Some(server);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended cleanly. It listens meanwhile: only so is its end known when it is taken again.
    pub(super) fn put(&mut self, to: Destination, mut server: Server) {
        if server.side.stirs() {
            return;
        }
        let kept = self.idle.entry(to).or_default();
        if kept.len() < KEPT_PER_CALLER {
            kept.push((server, Instant::now()));
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

/// Opens a connection to the server that the caller meant, and makes sure that it is that server.
pub(super) async fn connect(shared: &Shared, to: SocketAddr, server: usize) -> io::Result<Server> {
    let mut side = dial(shared, to).await?;
    let Some(upstream) = shared.tls.upstream(server) else { return Ok(Server { side, tls: None }) };
    let session = upstream.session().map_err(io::Error::other)?;
    side.shake(session, shared.config.limits.connect_timeout).await?;
    let tls = side.tls(record::Tls::of).map(Rc::new);
    Ok(Server { side, tls })
}

/// Opens a connection past our own hooks.
pub(super) async fn dial(shared: &Shared, to: SocketAddr) -> io::Result<Side> {
    let limit = shared.config.limits.connect_timeout;
    let connecting = async {
        let socket = if to.is_ipv4() { TcpSocket::new_v4().await? } else { TcpSocket::new_v6().await? };
        if let Some(capture) = &shared.capture {
            capture.exempt(socket.as_fd()).map_err(io::Error::other)?;
        }
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.connect(to).await
    };
    let stream = timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Side::new(stream))
}
