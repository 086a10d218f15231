//! The SAML identity providers of the configuration, ready for use.

use std::{fs, path::PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    config::{CertificateFiles, Config, ConsoleConfig, SamlConfig},
    identity::saml::{Credential, Idp, SamlError, ServiceProvider, Settings},
};

/// Why the console cannot be served.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// A file of a provider's.
    #[error("SAML provider `{provider}`: {} cannot be read ({source}); correct `{key}`, or let the gateway's user read it", path.display())]
    File {
        /// The provider's name in the configuration.
        provider: String,
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A provider that cannot be used.
    #[error(transparent)]
    Saml(#[from] SamlError),
    /// The console's certificate.
    #[error("[console]: {0}")]
    Certificate(#[from] crate::tls::TlsConfigError),
    /// Where it is to listen.
    #[error("the console cannot be served on {listen} ({source}); set `console.listen` to a free address")]
    Listen {
        /// The address.
        listen: std::net::SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No random numbers.
    #[error("there are no random numbers for the console's cookies")]
    Random,
}

/// A SAML identity provider.
pub struct Provider {
    /// As the configuration has it.
    pub(super) config: SamlConfig,
    /// The gateway, as the provider's service.
    pub(super) service: ServiceProvider,
}

impl Provider {
    /// What its metadata says.
    #[must_use]
    pub fn idp(&self) -> &Idp {
        self.service.idp()
    }
}

/// All that are configured.
///
/// # Errors
/// [`ConsoleError`]
pub fn load(config: &Config) -> Result<Vec<Provider>, ConsoleError> {
    let Some(console) = &config.console else { return Ok(Vec::new()) };
    config.identity.saml.iter().map(|provider| load_one(console, provider)).collect()
}

/// One that is configured.
///
/// # Errors
/// [`ConsoleError`]
pub fn load_one(console: &ConsoleConfig, config: &SamlConfig) -> Result<Provider, ConsoleError> {
    let base = format!("{}/saml/{}", console.url, config.name);
    let read = |key, path: &PathBuf| {
        fs::read_to_string(path).map_err(|source| ConsoleError::File { provider: config.name.clone(), key, path: path.clone(), source })
    };
    let credential = |files: &CertificateFiles| -> Result<Credential, ConsoleError> {
        Ok(Credential { certificate: read("certificate", &files.certificate)?, key: Zeroizing::new(read("key", &files.key)?) })
    };
    let service = ServiceProvider::new(Settings {
        name: config.name.clone(),
        entity_id: config.entity_id.clone().unwrap_or_else(|| format!("{base}/metadata")),
        acs_url: format!("{base}/acs"),
        idp_metadata: read("metadata", &config.metadata)?,
        credential: config.certificate.as_ref().map(credential).transpose()?,
        skew: config.skew,
    })?;
    Ok(Provider { config: config.clone(), service })
}
