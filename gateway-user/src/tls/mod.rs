//! TLS: towards clients with the gateway's own authority, towards servers with full verification.
//!
//! Nothing here does network I/O: a [`Session`] takes and gives bytes. One provider, aws-lc-rs, does all cryptography of the process.

pub mod authority;
mod clients;
mod hello;
mod session;
mod upstream;

use std::sync::Arc;

use thiserror::Error;

use crate::config::Config;
use authority::{Authority, CaError};

pub use clients::Clients;
pub use hello::{Heard, Hello, read as read_hello};
pub use session::{Session, TlsError};
pub use upstream::{TlsConfigError, Upstream, chain_and_key};

/// What `https` servers need: how they are reached, and what their clients are shown.
pub struct Tls {
    /// By the server's place in the configuration; `None` for an `http` server.
    upstreams: Vec<Option<Upstream>>,
    clients: Option<Clients>,
    /// What callers of the endpoint are shown: the operator's certificate.
    endpoint: Option<Arc<rustls::ServerConfig>>,
}

/// Why calls to `https` servers could not be opened. The gateway does not start then.
#[derive(Debug, Error)]
pub enum SetupError {
    /// There is no authority, or it cannot be used.
    #[error("{0}")]
    Authority(#[from] CaError),
    /// A server's settings cannot be used.
    #[error("server `{server}`: {source}")]
    Server {
        /// The server's name.
        server: String,
        /// What is wrong.
        source: Box<TlsConfigError>,
    },
    /// The endpoint's certificate cannot be used.
    #[error("[endpoint]: {0}")]
    Endpoint(Box<TlsConfigError>),
    /// The library cannot be set up.
    #[error("{0}")]
    Library(Box<TlsConfigError>),
}

impl Tls {
    /// Opens the authority if connections to an `https` server are captured, and reads the files that settings name.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let upstreams = upstreams(config)?;
        let hosts: Vec<&str> = config.servers.iter().filter(|server| server.url.tls).map(|server| server.url.host.as_str()).collect();
        let endpoint = endpoint(config)?;
        if hosts.is_empty() || config.capture.is_none() {
            return Ok(Tls { upstreams, clients: None, endpoint });
        }
        let authority = Authority::open(&config.ca.dir)?;
        // Made now, so that one that it may not vouch for is found now.
        for host in &hosts {
            authority.leaf(host)?;
        }
        let clients = Clients::new(&Arc::new(authority), hosts).map_err(|error| SetupError::Library(Box::new(error)))?;
        Ok(Tls { upstreams, clients: Some(clients), endpoint })
    }

    /// How a server is reached, if over TLS.
    #[must_use]
    pub fn upstream(&self, server: usize) -> Option<&Upstream> {
        self.upstreams.get(server)?.as_ref()
    }

    /// A connection that begins, of a caller of the endpoint; `None` where the endpoint speaks plain HTTP.
    #[must_use]
    pub fn caller(&self) -> Option<Result<Session, TlsError>> {
        self.endpoint.as_ref().map(|config| Session::server(config.clone()))
    }

    /// A connection that begins, of a client that means this host.
    ///
    /// # Errors
    /// It is none of our hosts, or the library cannot be used.
    pub fn client(&self, host: &str) -> Result<Session, TlsError> {
        match self.clients.as_ref().and_then(|clients| clients.session(host)) {
            Some(session) => session,
            None => Err(TlsError::Protocol(rustls::Error::NoCertificatesPresented)),
        }
    }
}

/// What callers of the endpoint are shown; reads the files that its settings name.
fn endpoint(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, SetupError> {
    let files = config.endpoint.as_ref().and_then(|endpoint| endpoint.certificate.as_ref());
    files.map(clients::operators).transpose().map_err(|error| SetupError::Endpoint(Box::new(error)))
}

/// How each server is reached; reads the files that their settings name.
///
/// # Errors
/// [`SetupError::Server`]
pub fn upstreams(config: &Config) -> Result<Vec<Option<Upstream>>, SetupError> {
    let upstream = |server: &crate::config::ServerConfig| {
        let made = server.url.tls.then(|| Upstream::new(server)).transpose();
        made.map_err(|source| SetupError::Server { server: server.name.clone(), source: Box::new(source) })
    };
    config.servers.iter().map(upstream).collect()
}
