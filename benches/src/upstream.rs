//! The server: it answers every request with the same bytes, at once, so that what is measured is what lies before it.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
};

use gateway_tests::{Launch, Netns, Proc, binaries, servers};

use crate::exchange::{Connection, Received, Sockets, answer, to_last_core};

/// The server, running in a network namespace of its own.
#[derive(Debug)]
pub struct Upstream {
    /// Its address.
    pub address: SocketAddr,
    _process: Proc,
    _netns: Netns,
}

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let netns = Netns::new()?;
        let address = netns.at(8000);
        let program = binaries::own("compare")?;
        let mut process = Launch::new(program).args(["upstream", &address.to_string()]).inside(&netns).start()?;
        servers::listening(&mut process, address)?;
        Ok(Self { address, _process: process, _netns: netns })
    }
}

/// Serves for as long as the process lives.
///
/// # Errors
/// It cannot listen, or the kernel says no.
pub fn serve(at: SocketAddr) -> anyhow::Result<()> {
    to_last_core()?;
    let answer = answer();
    let listener = TcpListener::bind(at)?;
    let mut sockets = Sockets::new()?;
    sockets.add(&listener, 0)?;
    let mut connections = HashMap::new();
    let mut next = 1;
    loop {
        let ready: Vec<u64> = sockets.wait(None)?.collect();
        for number in ready {
            let Some(connection) = connections.get_mut(&number) else {
                let connection = Connection::new(listener.accept()?.0)?;
                sockets.add(&connection, next)?;
                connections.insert(next, connection);
                next += 1;
                continue;
            };
            let goes_on = match connection.receive() {
                Ok(Received::Whole(_)) => connection.send(&answer).is_ok(),
                Ok(Received::Part) => true,
                // A client that is killed resets its connections: that is its own matter.
                Ok(Received::End) | Err(_) => false,
            };
            if !goes_on {
                connections.remove(&number);
            }
        }
    }
}
