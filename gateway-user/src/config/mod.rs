//! One TOML file → [`Config`].
//!
//! ```
//! let config = gateway_user::config::parse("gateway.toml", r#"
//!     [[server]]
//!     name = "clinic"
//!     url  = "http://127.0.0.1:8000/mcp"
//! "#).map_err(|errors| errors.to_string())?;
//! assert_eq!(config.servers[0].url.port, 8000);
//! # Ok::<(), String>(())
//! ```
//!
//! Everything but the servers has a default that a small site can live with. An unknown key is an error with a suggestion;
//! every error is reported, not only the first, each with file, line, key and what was expected.

mod credential;
mod endpoint;
mod identity;
mod mask;
mod policy;
mod reader;
mod secret;
mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use thiserror::Error;

pub use crate::audit::Durability;
pub use credential::{AssumeRole, ClientAuth, CredentialConfig, Grant, OAuthConfig, Place, SessionTag, SigV4Config, StaticConfig};
pub use endpoint::EndpointConfig;
pub use identity::{
    Anonymous, Authorization, ConsoleConfig, IdentityConfig, Introspection, LoginConfig, OidcConfig, SamlConfig, WorkloadConfig,
};
pub use mask::{MaskRule, MaskingConfig, Reader, TokenScope, Unfollowed, Way};
pub use policy::{OnToolChange, Per, PolicyConfig, QuotaConfig, Rate, ToolsConfig};
pub use secret::SecretSource;
pub use value::ServerUrl;

use crate::policy::CustomLabel;

/// A gateway that has shown no life for longer is hung.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How often names are resolved anew.
const RESOLVE: Duration = Duration::from_secs(30);

/// The configuration of one gateway, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// How connections are captured; `None` when there is an endpoint and no `[capture]`.
    pub capture: Option<CaptureConfig>,
    /// Where the servers are reached by callers that cannot be captured; off when absent.
    pub endpoint: Option<EndpointConfig>,
    /// The gateway's own certificate authority.
    pub ca: CaConfig,
    /// How it is known who calls.
    pub identity: IdentityConfig,
    /// Where people log in with a browser; off when absent.
    pub console: Option<ConsoleConfig>,
    /// What may happen; when absent, every call is recorded and let through.
    pub policy: Option<PolicyConfig>,
    /// The operator's own facts about arguments.
    pub labels: Vec<CustomLabel>,
    /// How much of it may happen.
    pub quotas: Vec<QuotaConfig>,
    /// What nobody reads, or not everybody.
    pub masking: MaskingConfig,
    /// What is known of tools.
    pub tools: ToolsConfig,
    /// The governed servers, in file order.
    pub servers: Vec<ServerConfig>,
    /// Sizes and times.
    pub limits: Limits,
    /// How the data plane's threads work.
    pub workers: WorkersConfig,
    /// Where the log is.
    pub audit: AuditConfig,
    /// Where committed records are shipped; off when absent.
    pub kinesis: Option<KinesisConfig>,
    /// Metrics and health.
    pub admin: AdminConfig,
}

/// The configuration captures nothing.
#[derive(Debug, Error)]
#[error("this configuration captures no connections: it has [endpoint] and no [capture]. Add [capture] to capture them too")]
pub struct NotCaptured;

impl Config {
    /// How connections are captured.
    ///
    /// # Errors
    /// [`NotCaptured`]
    pub fn captured(&self) -> Result<&CaptureConfig, NotCaptured> {
        self.capture.as_ref().ok_or(NotCaptured)
    }

    /// A worker that has shown no life for longer is hung.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.capture.as_ref().map_or(HEARTBEAT, |capture| capture.heartbeat)
    }

    /// How often the servers' names are resolved anew.
    #[must_use]
    pub fn resolve(&self) -> Duration {
        self.capture.as_ref().map_or(RESOLVE, |capture| capture.resolve)
    }
}

/// `[capture]`
#[derive(Debug, Clone)]
pub struct CaptureConfig {
    /// Whose connections; the cgroup v2 root when absent.
    pub cgroup: Option<PathBuf>,
    /// A directory on bpffs where links and maps are pinned.
    pub pins: PathBuf,
    /// The Unix user that runs the gateway and so may open the pins.
    pub user: String,
    /// A gateway that has shown no life for longer is hung: connects are refused.
    pub heartbeat: Duration,
    /// How often the servers' names are resolved anew.
    pub resolve: Duration,
    /// The loopback port of the gateway; 0 lets the kernel choose.
    pub port: u16,
    /// Connections that may be between connect and accept at one moment; more are refused.
    pub max_pending: u32,
}

/// `[ca]`
#[derive(Debug, Clone)]
pub struct CaConfig {
    /// The directory of the authority's certificates and key.
    pub dir: PathBuf,
}

/// `[[server]]`
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name in records.
    pub name: String,
    /// Its MCP endpoint.
    pub url: ServerUrl,
    /// What becomes of traffic on its address that is not MCP.
    pub other: Other,
    /// When a record counts as written.
    pub durability: Durability,
    /// What becomes of callers that nobody vouches for.
    pub anonymous: Anonymous,
    /// Whom a bearer token in a request is for.
    pub authorization: Authorization,
    /// The groups of which a caller must be in one; all may call when absent.
    pub allow_groups: Option<Vec<String>>,
    /// What becomes of calls of a tool whose definition has changed.
    pub on_tool_change: OnToolChange,
    /// How a server of an `https` URL is recognised.
    pub tls: TlsConfig,
    /// With whose credentials calls reach it.
    pub credential: CredentialConfig,
}

/// What a server's certificate is checked against, and what the server is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The authorities that may vouch for the server, as a PEM file; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the gateway shows to the server.
    pub client: Option<CertificateFiles>,
}

/// A certificate chain and its private key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The two files.
    #[must_use]
    pub fn both(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }
}

impl ServerConfig {
    /// Its number in the kernel's maps: made from its name (FNV-1a), because what is pinned there outlives a configuration in
    /// which the servers stood in another order.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// What becomes of traffic on a governed address that is not MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// Refused, and recorded.
    Deny,
    /// Copied both ways, and recorded as connection metadata.
    Pass,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of an HTTP head; more is answered 431.
    pub head: usize,
    /// Bytes of a body, or of one SSE event, that is read as MCP; more is answered 413.
    pub inspected_body: usize,
    /// From the first byte of a request head, or from accept, to its end.
    pub head_timeout: Duration,
    /// Without a byte in either direction between requests, or of a body that was begun.
    pub idle_timeout: Duration,
    /// To reach the server.
    pub connect_timeout: Duration,
    /// How long calls in flight may take to end after SIGTERM.
    pub drain: Duration,
    /// Connections open at once on each data-plane worker; more wait in the kernel's accept queue.
    pub connections: usize,
}

/// `[workers]`
#[derive(Debug, Clone)]
pub struct WorkersConfig {
    /// How long a worker that has nothing to do looks for work before it sleeps, 1 ms at most; `None`: it sleeps at once.
    pub busy_poll: Option<Duration>,
}

/// `[audit]`
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// The directory of the log.
    pub dir: PathBuf,
    /// Bytes recorded of each body; of the rest, size and SHA-256.
    pub max_body: usize,
    /// Bytes of one segment file.
    pub segment: u64,
    /// Bytes that all segments may take; at the limit calls are denied.
    pub max_total: Option<u64>,
}

/// `[kinesis]`
#[derive(Debug, Clone)]
pub struct KinesisConfig {
    /// The stream's name.
    pub stream: String,
    /// Its region; the AWS chain's when absent.
    pub region: Option<String>,
    /// Another endpoint, for an emulator or a VPC endpoint.
    pub endpoint_url: Option<String>,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where `/metrics`, `/healthz` and `/readyz` are served: a loopback address.
    pub listen: SocketAddr,
}

/// All that is wrong with a configuration file, one line each.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Errors(pub Vec<Fault>);

/// One thing that is wrong: file, line, key, and what was expected.
#[derive(Debug, Error)]
#[error("{file}:{line}: {key}: {message}")]
pub struct Fault {
    /// The file as it was named to us.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// The key, with its table.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// Reads a configuration file's text. `file` is only for the error messages.
///
/// # Errors
/// Every fault of the text, in the order of its lines.
pub fn parse(file: &str, text: &str) -> Result<Config, Errors> {
    reader::read(file, text)
}

/// Reads a configuration file.
///
/// # Errors
/// The file cannot be read, or has faults.
pub fn load(path: &std::path::Path) -> Result<Config, Errors> {
    let file = path.display().to_string();
    parse(&file, &text_of(path, &file)?)
}

/// Reads the masks of a file: a configuration, or one that has nothing but `[[mask]]`, `[[detector]]` and `[masking]`.
///
/// # Errors
/// The file cannot be read, or has faults in those tables.
pub fn load_masks(path: &std::path::Path) -> Result<MaskingConfig, Errors> {
    let file = path.display().to_string();
    reader::read_masks(&file, &text_of(path, &file)?)
}

fn text_of(path: &std::path::Path, file: &str) -> Result<String, Errors> {
    std::fs::read_to_string(path).map_err(|error| {
        Errors(vec![Fault { file: file.to_owned(), line: 1, key: "(file)".into(), message: format!("cannot be read: {error}") }])
    })
}

#[cfg(test)]
mod credential_tests;
#[cfg(test)]
mod mask_tests;
#[cfg(test)]
mod tests;
