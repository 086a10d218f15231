//! Towards clients: the certificates that they are shown.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    ConfigBuilder, ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{ClientHello, ProducesTickets, ResolvesServerCert, WantsServerCert},
    sign::CertifiedKey,
};

use super::{
    authority::Authority,
    session::{Session, TlsError},
    upstream::{TlsConfigError, chain_and_key},
};
use crate::config::CertificateFiles;

/// What clients of each governed host are shown: leaves of the gateway's own authority.
pub struct Clients {
    hosts: HashMap<String, Arc<ServerConfig>>,
}

impl Clients {
    /// For these hosts.
    ///
    /// # Errors
    /// The library cannot be set up.
    pub fn new<'a>(authority: &Arc<Authority>, hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, TlsConfigError> {
        // One key for the tickets of all: it lives as long as the authority is in force.
        let ticketer = Ticketer::new().map_err(TlsConfigError::Library)?;
        let mut configs = HashMap::new();
        for host in hosts {
            let leaf = Leaf { authority: authority.clone(), host: host.to_owned() };
            let config = builder()?.with_cert_resolver(Arc::new(leaf));
            configs.insert(host.to_ascii_lowercase(), Arc::new(finished(config, ticketer.clone())));
        }
        Ok(Clients { hosts: configs })
    }

    /// A connection that begins, of a client that means this host; `None` if it is not one of ours.
    #[must_use]
    pub fn session(&self, host: &str) -> Option<Result<Session, TlsError>> {
        self.hosts.get(&host.to_ascii_lowercase()).map(|config| Session::server(config.clone()))
    }
}

/// What callers of the endpoint, and browsers at the console, are shown: a certificate of the operator's own.
///
/// # Errors
/// The files cannot be read, or do not belong together.
pub fn operators(files: &CertificateFiles) -> Result<ServerConfig, TlsConfigError> {
    let (chain, key) = chain_and_key(files)?;
    let unusable = |source| TlsConfigError::Certificate { files: files.clone(), source };
    let config = builder()?.with_single_cert(chain, key).map_err(unusable)?;
    Ok(finished(config, Ticketer::new().map_err(TlsConfigError::Library)?))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsConfigError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    Ok(builder.with_safe_default_protocol_versions().map_err(TlsConfigError::Library)?.with_no_client_auth())
}

/// With what all have in common.
fn finished(mut config: ServerConfig, ticketer: Arc<dyn ProducesTickets>) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = ticketer;
    config
}

/// Hands out the leaf of one host, minted anew before it expires.
struct Leaf {
    authority: Arc<Authority>,
    host: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("host", &self.host).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.authority.leaf(&self.host) {
            Ok(leaf) => Some(leaf),
            Err(error) => {
                tracing::error!(host = self.host, "no certificate can be shown to a client: {error}");
                None
            }
        }
    }
}
