//! `credential = { … }` of a `[[server]]`: with whose credentials calls reach it.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    CertificateFiles, IdentityConfig, TlsConfig,
    identity::scope,
    reader::{Faults, Section},
    secret::{self, SecretSource},
    value,
};

/// `credential` of a `[[server]]`
#[derive(Debug, Clone, Default)]
pub enum CredentialConfig {
    /// It is not set: what the caller sends reaches the server.
    #[default]
    Callers,
    /// None: what the caller sends is dropped.
    None,
    /// One value, in a header field or in the query.
    Static(StaticConfig),
    /// A token of an authorization server.
    OAuth(Box<OAuthConfig>),
    /// Requests are signed as AWS has it (Signature Version 4).
    SigV4(SigV4Config),
    /// The certificate that the gateway shows: see [`TlsConfig::client`]. What the caller sends is dropped.
    Mtls,
}

impl CredentialConfig {
    /// Its `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Callers => "callers",
            Self::None => "none",
            Self::Static(_) => "static",
            Self::OAuth(_) => "oauth",
            Self::SigV4(_) => "sigv4",
            Self::Mtls => "mtls",
        }
    }
}

/// `kind = "static"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticConfig {
    /// Where it stands in requests.
    pub place: Place,
    /// Where it is from.
    pub value: SecretSource,
}

/// Where a credential stands in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header field, with this before it.
    Header {
        /// The field's name.
        name: String,
        /// Such as `Bearer `; empty for none.
        prefix: String,
    },
    /// In a parameter of the query.
    Query {
        /// The parameter's name.
        name: String,
    },
}

/// `kind = "oauth"`
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// The token endpoint.
    pub token_url: Url,
    /// As which client the gateway asks.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: SecretSource,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The server that the token is for, by its URL (RFC 8707).
    pub resource: Option<String>,
    /// The server that the token is for, by the name that the authorization server has for it (RFC 8693).
    pub audience: Option<String>,
    /// In exchange for what.
    pub grant: Grant,
    /// How the client shows its secret (RFC 6749 section 2.3.1).
    pub auth: ClientAuth,
    /// The authorities that may vouch for the token endpoint, as a PEM file; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

/// In exchange for what a token is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The client's own credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// The caller's token (RFC 8693).
    TokenExchange,
}

/// How a client shows its secret (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the field `Authorization`.
    Basic,
    /// In the form.
    Post,
}

/// `kind = "sigv4"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4Config {
    /// The service's name in signatures.
    pub service: String,
    /// The region's name in signatures; the AWS chain's when absent.
    pub region: Option<String>,
    /// The profile of the AWS configuration files that signs, or assumes the role; the default chain when absent.
    pub profile: Option<String>,
    /// The role that is assumed, in a session for each person.
    pub assume_role: Option<AssumeRole>,
}

/// `assume_role` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role: String,
    /// What the role's owner agreed on with the gateway's operator, if that is asked for.
    pub external_id: Option<String>,
    /// What the session is tagged with.
    pub session_tags: Vec<SessionTag>,
    /// How long a session lasts.
    pub duration: Duration,
}

/// What a session of an assumed role is tagged with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTag {
    /// Who calls.
    Person,
    /// The groups that the caller is in.
    Groups,
    /// The MCP session.
    Session,
}

const TAGS: [(&str, SessionTag); 3] = [("person", SessionTag::Person), ("groups", SessionTag::Groups), ("session", SessionTag::Session)];
const KINDS: &str = "\"none\", \"static\", \"oauth\", \"sigv4\" or \"mtls\"";

/// Reads the `credential` of a server; a client certificate that it names goes to `tls`.
pub(super) fn read(
    server: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
    tls: &mut TlsConfig,
    is_https: bool,
    identity: &IdentityConfig,
) -> CredentialConfig {
    let Some(mut section) = server.table_of(faults, "credential") else { return CredentialConfig::Callers };
    let kind = section.required(faults, "kind");
    let read = match kind.as_str() {
        "none" => Some(CredentialConfig::None),
        "static" => fixed(&mut section, faults).map(CredentialConfig::Static),
        "oauth" => oauth(&mut section, faults, identity).map(|config| CredentialConfig::OAuth(Box::new(config))),
        "sigv4" => Some(CredentialConfig::SigV4(sigv4(&mut section, faults))),
        "mtls" => {
            mtls(&mut section, faults, tls, is_https);
            Some(CredentialConfig::Mtls)
        }
        "" => return CredentialConfig::Callers,
        other => {
            faults.add(section.span_of("kind"), &section.named("kind"), format!("expected {KINDS}, got \"{other}\""));
            return CredentialConfig::Callers;
        }
    };
    section.finish(faults);
    read.unwrap_or_default()
}

fn fixed(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<StaticConfig> {
    let value = secret::read(section, faults);
    let header = section.parsed(faults, "header", header_name);
    let query = section.text(faults, "query");
    let prefix = section.parsed(faults, "prefix", prefix);
    let place = match (header, query) {
        (Some(name), None) => Place::Header { name, prefix: prefix.unwrap_or_default() },
        (None, Some(name)) => {
            if section.has("prefix") {
                faults.add(section.span_of("prefix"), &section.named("prefix"), "is for a `header`, and this one has `query`".into());
            }
            Place::Query { name }
        }
        (Some(_), Some(_)) => {
            let message = "one credential stands in one place: expected `header` or `query`, not both";
            faults.add(section.span_of("query"), &section.named("query"), message.into());
            return None;
        }
        (None, None) => {
            if !section.has("header") && !section.has("query") {
                let message = "is missing: expected `header = \"Authorization\"` or `query = \"…\"`, where the server wants its credential";
                faults.add(section.span(), &section.named("header"), message.into());
            }
            return None;
        }
    };
    Some(StaticConfig { place, value: value? })
}

fn oauth(section: &mut Section<'_, '_>, faults: &mut Faults<'_>, identity: &IdentityConfig) -> Option<OAuthConfig> {
    let token_url = if section.has("token_url") {
        section.parsed(faults, "token_url", token_url)
    } else {
        let message = "is missing: the authorization server's token endpoint, `token_endpoint` in its metadata";
        faults.add(section.span(), &section.named("token_url"), message.into());
        None
    };
    let client_id = section.required(faults, "client_id");
    let client_secret = match section.table_of(faults, "client_secret") {
        Some(mut inner) => {
            let read = secret::read(&mut inner, faults);
            inner.finish(faults);
            read
        }
        None => {
            if !section.has("client_secret") {
                let message = "is missing: where the client's secret is from, such as { file = \"/etc/mcp-gateway/client.secret\" }";
                faults.add(section.span(), &section.named("client_secret"), message.into());
            }
            None
        }
    };
    let grants = [("client-credentials", Grant::ClientCredentials), ("token-exchange", Grant::TokenExchange)];
    let grant = section.choice(faults, "grant", &grants);
    if grant == Grant::TokenExchange && identity.oidc.is_empty() {
        let message = "callers' tokens are exchanged, and none could be for the gateway: add [[identity.oidc]]";
        faults.add(section.span_of("grant"), &section.named("grant"), message.into());
    }
    let auth = section.choice(faults, "auth", &[("basic", ClientAuth::Basic), ("post", ClientAuth::Post)]);
    let scopes = section.list(faults, "scopes", scope);
    let (resource, audience) = (section.parsed(faults, "resource", resource), section.text(faults, "audience"));
    let ca_file = section.path(faults, "ca_file");
    if ca_file.is_some() && token_url.as_ref().is_some_and(|url| url.scheme() == "http") {
        faults.add(section.span_of("ca_file"), &section.named("ca_file"), "is for an https:// `token_url`, and this one is http://".into());
    }
    let (token_url, client_secret) = (token_url?, client_secret?);
    Some(OAuthConfig { token_url, client_id, client_secret, scopes, resource, audience, grant, auth, ca_file })
}

fn sigv4(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> SigV4Config {
    let role = section.parsed(faults, "assume_role", role);
    let external_id = section.text(faults, "external_id");
    let tag = |text: &str| match TAGS.iter().find(|(name, _)| *name == text) {
        Some((_, tag)) => Ok(*tag),
        None => Err(format!("expected \"person\", \"groups\" or \"session\", got \"{text}\"")),
    };
    let session_tags = section.list(faults, "session_tags", tag);
    let duration = section.parsed(faults, "duration", session_duration).unwrap_or(Duration::from_secs(3600));
    if !section.has("assume_role") {
        for key in ["external_id", "session_tags", "duration"] {
            if section.has(key) {
                faults.add(section.span_of(key), &section.named(key), "is of no use without `assume_role`".into());
            }
        }
    }
    SigV4Config {
        service: section.required(faults, "service"),
        region: section.text(faults, "region"),
        profile: section.text(faults, "profile"),
        assume_role: role.map(|role| AssumeRole { role, external_id, session_tags, duration }),
    }
}

fn mtls(section: &mut Section<'_, '_>, faults: &mut Faults<'_>, tls: &mut TlsConfig, is_https: bool) {
    let files: Option<CertificateFiles> = section.certificate(faults, "certificate", "key");
    if !section.has("certificate") && !section.has("key") {
        let message = "is missing: the certificate that the gateway shows to the server, with its `key`";
        faults.add(section.span(), &section.named("certificate"), message.into());
    }
    if !is_https {
        faults.add(section.span_of("kind"), &section.named("kind"), "is for an https:// server, and this one's URL is http://".into());
    }
    if files.is_some() && tls.client.is_some() {
        let message = "the server has `client_certificate` already: expected one of the two";
        faults.add(section.span_of("certificate"), &section.named("certificate"), message.into());
    }
    if let Some(files) = files {
        tls.client.get_or_insert(files);
    }
}

/// RFC 9110 section 5.1. Those that frame a message are the gateway's own.
fn header_name(text: &str) -> Result<String, String> {
    const FRAMING: [&str; 8] = ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "content-type"];
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    let is_ours = FRAMING.iter().any(|name| name.eq_ignore_ascii_case(text));
    if is_token && !is_ours && !text.to_ascii_lowercase().starts_with("mcp-") {
        Ok(text.to_owned())
    } else {
        Err(format!("expected the name of a header field that can hold a credential, such as \"Authorization\", got \"{text}\""))
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let is_visible = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && !text.starts_with(' ');
    if is_visible { Ok(text.to_owned()) } else { Err("expected visible ASCII characters such as \"Bearer \"".into()) }
}

/// RFC 6749 section 3.2: without TLS, whoever is on the way has the client's secret. On this host itself nobody is.
fn token_url(text: &str) -> Result<Url, String> {
    value::ServerUrl::parse(text)?;
    let url = Url::parse(text).map_err(|error| format!("expected https://host[:port]/path, got `{text}`: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    if url.scheme() == "http" && !value::is_this_host(host.trim_matches(['[', ']'])) {
        return Err(format!("expected an https:// URL, got `{text}`: whoever is on the way would have the client's secret"));
    }
    Ok(url)
}

/// RFC 8707 section 2.
fn resource(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if url.fragment().is_none() => Ok(text.to_owned()),
        _ => Err(format!("expected an absolute URI without a fragment, such as the server's URL, got \"{text}\"")),
    }
}

fn role(text: &str) -> Result<String, String> {
    let is_role = text.starts_with("arn:") && text.splitn(6, ':').nth(5).is_some_and(|name| name.starts_with("role/"));
    if is_role {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a role such as \"arn:aws:iam::123456789012:role/name\", got \"{text}\""))
    }
}

/// What STS takes as `DurationSeconds`; a session of a role that was itself assumed ends after an hour at the latest.
fn session_duration(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        duration if (Duration::from_secs(900)..=Duration::from_secs(43_200)).contains(&duration) => Ok(duration),
        _ => Err(format!("expected a time from \"15m\" to \"12h\", which is what STS takes, got \"{text}\"")),
    }
}
