//! Towards clients: the certificate that they are shown.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    authority::Authority,
    session::{Session, TlsError},
    upstream::TlsConfigError,
};

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
        // One key for the tickets of all: it lives as long as the process.
        let ticketer = Ticketer::new().map_err(TlsConfigError::Library)?;
        let mut configs = HashMap::new();
        for host in hosts {
            let leaf = Leaf { authority: authority.clone(), host: host.to_owned() };
            let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TlsConfigError::Library)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(leaf));
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.ticketer = ticketer.clone();
            configs.insert(host.to_ascii_lowercase(), Arc::new(config));
        }
        Ok(Clients { hosts: configs })
    }

    /// A connection that begins, of a client that means this host; `None` if it is not one of ours.
    #[must_use]
    pub fn session(&self, host: &str) -> Option<Result<Session, TlsError>> {
        self.hosts.get(&host.to_ascii_lowercase()).map(|config| Session::server(config.clone()))
    }
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
