//! TLS: towards clients with the gateway's own authority, towards servers with full verification.
//!
//! Nothing here does network I/O: a [`Session`] takes and gives bytes. One provider, aws-lc-rs, does all cryptography of the process.

pub mod authority;
mod clients;
mod hello;
mod kept;
mod session;
mod upstream;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::ServerConfig;
use thiserror::Error;

use crate::config::{self, Config};
use authority::{Authority, CaError};
pub(crate) use kept::Kept;

pub use clients::{Clients, operators};
pub use hello::{Heard, Hello, read as read_hello};
pub use session::{Session, TlsError};
pub use upstream::{TlsConfigError, Upstream, chain_and_key, trusting};

/// What `https` servers need: how they are reached, and what their clients are shown. It [keeps up](Tls::renew) with its files.
pub struct Tls {
    /// By the server's place in the configuration; `None` for an `http` server.
    upstreams: Vec<Option<Kept<Upstream>>>,
    clients: Option<Kept<Clients>>,
    /// What callers of the endpoint are shown: the operator's certificate.
    endpoint: Option<Kept<ServerConfig>>,
    renewed: AtomicU64,
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

/// Something that was read anew while the gateway runs.
#[derive(Debug)]
pub struct Renewed {
    /// What it is, for people.
    pub what: String,
    /// The files that it was read from.
    pub files: Vec<PathBuf>,
    /// Whether it is in force now; if not, why what was there before stays.
    pub outcome: Result<(), SetupError>,
}

impl Tls {
    /// Opens the authority if connections to an `https` server are captured, and reads the files that settings name.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let upstream =
            |server: &config::ServerConfig| server.url.tls.then(|| Kept::new(Upstream::files(server), || upstream(server))).transpose();
        let upstreams = config.servers.iter().map(upstream).collect::<Result<_, _>>()?;
        let certificate = config.endpoint.as_ref().and_then(|endpoint| endpoint.certificate.as_ref());
        let endpoint = certificate.map(|files| Kept::new(files.both(), || endpoint(files))).transpose()?;
        let captures = config.capture.is_some() && config.servers.iter().any(|server| server.url.tls);
        let clients = captures.then(|| Kept::new(vec![Authority::file(&config.ca.dir)], || clients(config))).transpose()?;
        Ok(Tls { upstreams, clients, endpoint, renewed: AtomicU64::new(0) })
    }

    /// How a server is reached, if over TLS.
    #[must_use]
    pub fn upstream(&self, server: usize) -> Option<Arc<Upstream>> {
        Some(self.upstreams.get(server)?.as_ref()?.get())
    }

    /// A connection that begins, of a caller of the endpoint; `None` where the endpoint speaks plain HTTP.
    #[must_use]
    pub fn caller(&self) -> Option<Result<Session, TlsError>> {
        self.endpoint.as_ref().map(|config| Session::server(config.get()))
    }

    /// A connection that begins, of a client that means this host.
    ///
    /// # Errors
    /// It is none of our hosts, or the library cannot be used.
    pub fn client(&self, host: &str) -> Result<Session, TlsError> {
        match self.clients.as_ref().and_then(|clients| clients.get().session(host)) {
            Some(session) => session,
            None => Err(TlsError::Protocol(rustls::Error::NoCertificatesPresented)),
        }
    }

    /// Reads anew what has changed on disk and rests, or everything if `at_any_rate`: handshakes from now on go by it, and what is
    /// under way goes on. Where it cannot be used, what was there before stays. Called again and again, with the configuration of
    /// [`Tls::new`]; it reads files.
    pub fn renew(&self, config: &Config, at_any_rate: bool) -> Vec<Renewed> {
        let mut all = Vec::new();
        if let Some(kept) = &self.clients
            && let Some(outcome) = kept.renew(at_any_rate, || clients(config))
        {
            all.push(renewed("the gateway's authority".into(), kept, outcome.map(drop)));
        }
        if let Some(kept) = &self.endpoint
            && let Some(files) = config.endpoint.as_ref().and_then(|endpoint| endpoint.certificate.as_ref())
            && let Some(outcome) = kept.renew(at_any_rate, || endpoint(files))
        {
            all.push(renewed("the endpoint's certificate".into(), kept, outcome.map(drop)));
        }
        for (kept, server) in self.upstreams.iter().zip(&config.servers) {
            if let Some(kept) = kept
                && let Some(outcome) = kept.renew(at_any_rate, || upstream(server))
            {
                let what = format!("whom to take for server `{}`, and what to show it", server.name);
                all.push(renewed(what, kept, outcome.map(|before| before.retire())));
            }
        }
        self.renewed.fetch_add(all.iter().map(|renewed| u64::from(renewed.outcome.is_ok())).sum(), Ordering::Relaxed);
        all
    }

    /// How often something was read anew and is in force since.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// How much of it is not as its files now say, because they cannot be used.
    #[must_use]
    pub fn outdated(&self) -> usize {
        let clients = self.clients.iter().filter(|kept| kept.is_outdated()).count();
        let endpoint = self.endpoint.iter().filter(|kept| kept.is_outdated()).count();
        clients + endpoint + self.upstreams.iter().flatten().filter(|kept| kept.is_outdated()).count()
    }
}

fn renewed<T>(what: String, kept: &Kept<T>, outcome: Result<(), SetupError>) -> Renewed {
    Renewed { what, files: kept.files().to_vec(), outcome }
}

/// What clients of each `https` server are shown; opens the authority.
fn clients(config: &Config) -> Result<Clients, SetupError> {
    let hosts: Vec<&str> = config.servers.iter().filter(|server| server.url.tls).map(|server| server.url.host.as_str()).collect();
    let authority = Authority::open(&config.ca.dir)?;
    // Made now, so that one that it may not vouch for is found now.
    for host in &hosts {
        authority.leaf(host)?;
    }
    Clients::new(&Arc::new(authority), hosts).map_err(|error| SetupError::Library(Box::new(error)))
}

fn endpoint(files: &config::CertificateFiles) -> Result<ServerConfig, SetupError> {
    operators(files).map_err(|error| SetupError::Endpoint(Box::new(error)))
}

fn upstream(server: &config::ServerConfig) -> Result<Upstream, SetupError> {
    Upstream::new(server).map_err(|source| SetupError::Server { server: server.name.clone(), source: Box::new(source) })
}
