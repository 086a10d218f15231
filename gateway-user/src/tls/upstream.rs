//! Towards the server: whom we trust, and what we show.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
};
use thiserror::Error;

use super::session::{Session, TlsError};
use crate::config::{CertificateFiles, ServerConfig};

/// What of the configuration of TLS cannot be used.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// A file cannot be read, or is not PEM.
    #[error("{} cannot be used: {}", path.display(), fault(error))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. It is not the source of this one, as which it would be told in its own words.
        error: pem::Error,
    },
    /// A file holds no certificate that could vouch for a server.
    #[error("{} holds no certificate of an authority: expected PEM with BEGIN CERTIFICATE", path.display())]
    NoAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The system has no trusted authorities.
    #[error("this host has no store of trusted authorities ({why}): install ca-certificates, or set `ca_file` of the server")]
    NoSystemStore {
        /// What was found.
        why: String,
    },
    /// The certificate and its key do not belong together, or cannot be used.
    #[error("{} with {} cannot be used: {source}", files.certificate.display(), files.key.display())]
    Certificate {
        /// The two files.
        files: CertificateFiles,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The library cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Library(rustls::Error),
    /// The server's host is no name that a certificate could be for.
    #[error("`{host}` is neither a host name nor an address that a certificate could be for")]
    Name {
        /// The host.
        host: String,
    },
}

/// What is wrong with a file of PEM, in words that hold nothing of it: it may be a key.
pub(super) fn fault(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::IllegalSectionStart { .. } => "a line with BEGIN in it is not as PEM has it".into(),
        pem::Error::NoItemsFound => "it holds nothing of the kind that is expected there, as PEM".into(),
        other => other.to_string(),
    }
}

/// How one `https` server is reached. Sessions are resumed between all who use this.
pub struct Upstream {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    retired: Arc<AtomicBool>,
}

impl Upstream {
    /// Reads the files that the server's settings name. Certificates are always verified, by name, time and chain; there is no
    /// switch that turns it off.
    ///
    /// # Errors
    /// [`TlsConfigError`]
    pub fn new(server: &ServerConfig) -> Result<Self, TlsConfigError> {
        let host = &server.url.host;
        let name = ServerName::try_from(host.clone()).map_err(|_| TlsConfigError::Name { host: host.clone() })?;
        let builder = trusting(server.tls.ca_file.as_deref())?;
        let mut config = match &server.tls.client {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (chain, key) = chain_and_key(files)?;
                let unusable = |source| TlsConfigError::Certificate { files: files.clone(), source };
                builder.with_client_auth_cert(chain, key).map_err(unusable)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Upstream { config: Arc::new(config), name, retired: Arc::default() })
    }

    /// The files that it is read from.
    pub(super) fn files(server: &ServerConfig) -> Vec<PathBuf> {
        let trusted = match &server.tls.ca_file {
            Some(path) => vec![path.clone()],
            None => {
                let system = openssl_probe::probe();
                system.cert_file.into_iter().chain(system.cert_dir).collect()
            }
        };
        trusted.into_iter().chain(server.tls.client.iter().flat_map(CertificateFiles::both)).collect()
    }

    /// Another takes its place: its connections may end what they carry, and carry nothing more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A connection that begins.
    ///
    /// # Errors
    /// The configuration cannot be used for it.
    pub fn session(&self) -> Result<Session, TlsError> {
        Ok(Session::client(self.config.clone(), self.name.clone())?.until(self.retired.clone()))
    }
}

/// A client that trusts the authorities of a file, or the system's.
///
/// # Errors
/// [`TlsConfigError`]
pub fn trusting(ca_file: Option<&Path>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsConfigError> {
    let roots = match ca_file {
        Some(path) => roots_in(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    Ok(builder.with_safe_default_protocol_versions().map_err(TlsConfigError::Library)?.with_root_certificates(roots))
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// [`TlsConfigError::File`]
pub fn chain_and_key(files: &CertificateFiles) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsConfigError> {
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| TlsConfigError::File { path: files.key.clone(), error })?;
    let chain: Vec<_> = certificates(&files.certificate)?;
    if chain.is_empty() {
        return Err(TlsConfigError::File { path: files.certificate.clone(), error: pem::Error::NoItemsFound });
    }
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let failed = |error| TlsConfigError::File { path: path.to_owned(), error };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn roots_in(path: &Path) -> Result<RootCertStore, TlsConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    if roots.is_empty() { Err(TlsConfigError::NoAuthority { path: path.to_owned() }) } else { Ok(roots) }
}

fn system_roots() -> Result<RootCertStore, TlsConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(TlsConfigError::NoSystemStore { why });
    }
    Ok(roots)
}
