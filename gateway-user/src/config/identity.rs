//! `[identity]`: who calls, and how that is shown.

use std::{path::PathBuf, time::Duration};

use super::{
    reader::{Faults, Section},
    value::{self, ServerUrl},
};
use crate::{
    audit::Sha256,
    identity::{Algorithm, ClaimPath},
};

const DIR: &str = "/var/lib/mcp-gateway/identity";
const SOCKET: &str = "/run/mcp-gateway/control.sock";

/// `[identity]`
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// Where host logins are kept, sealed.
    pub dir: PathBuf,
    /// The Unix socket of `mcp-gateway login`, `logout`, `whoami` and `sessions`.
    pub socket: PathBuf,
    /// The longest that a host login lasts, whatever the identity provider says.
    pub login_lifetime: Duration,
    /// `[[identity.oidc]]`
    pub oidc: Vec<OidcConfig>,
    /// `[[identity.saml]]`
    pub saml: Vec<SamlConfig>,
    /// `[[identity.workload]]`, in file order: the first that fits counts.
    pub workloads: Vec<WorkloadConfig>,
}

impl IdentityConfig {
    /// Whether anybody can be told from anybody.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !(self.oidc.is_empty() && self.saml.is_empty() && self.workloads.is_empty())
    }
}

/// An issuer of tokens: `[[identity.oidc]]`
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// Its name in records and commands; by default the issuer's host.
    pub name: String,
    /// The issuer, exactly as it stands in tokens.
    pub issuer: String,
    /// Of the audiences of a token, one must be one of these, or the URL of the server that it is presented for.
    pub audience: Vec<String>,
    /// The only algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where in a token the groups stand.
    pub groups: ClaimPath,
    /// Where in a token a name for people stands. It is shown and recorded, and decides nothing.
    pub display_name: ClaimPath,
    /// The clients whose tokens are taken (`azp`, `client_id`); all when empty.
    pub clients: Vec<String>,
    /// What clients are told to ask the issuer for.
    pub token_scopes: Vec<String>,
    /// How far this host's clock and the issuer's may be apart.
    pub skew: Duration,
    /// How long its keys are used after they could last be fetched.
    pub keys_max_age: Duration,
    /// A file of revoked tokens' ids (`jti`), one a line.
    pub revoked: Option<PathBuf>,
    /// Whether it is asked of each token, and for how long its answer counts (RFC 7662).
    pub introspection: Option<Introspection>,
    /// The authorities that may vouch for it, as a PEM file; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// As which client people log in to it on this host; without one they cannot.
    pub login: Option<LoginConfig>,
}

/// How an issuer is asked about tokens.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// The client as which it is asked.
    pub client_id: String,
    /// The client's secret, in a file.
    pub client_secret_file: PathBuf,
    /// How long an answer counts.
    pub ttl: Duration,
}

/// The client as which people log in on this host.
#[derive(Debug, Clone)]
pub struct LoginConfig {
    /// Its id.
    pub client_id: String,
    /// Its secret, in a file; a public client has none.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for, besides `openid`.
    pub scopes: Vec<String>,
}

/// A SAML identity provider: `[[identity.saml]]`
#[derive(Debug, Clone)]
pub struct SamlConfig {
    /// Its name in records, commands and URLs.
    pub name: String,
    /// Its metadata, in a file.
    pub metadata: PathBuf,
    /// As which the gateway is known to it; by default the URL of the gateway's metadata.
    pub entity_id: Option<String>,
    /// The attribute that holds the groups.
    pub groups: String,
    /// The attribute that holds a name for people.
    pub display_name: Option<String>,
    /// What the gateway signs requests with, and what assertions are encrypted for.
    pub certificate: Option<super::CertificateFiles>,
    /// How far this host's clock and the provider's may be apart.
    pub skew: Duration,
}

/// A service that is known by what the kernel says of its processes: `[[identity.workload]]`. All that is given must fit.
#[derive(Debug, Clone, Default)]
pub struct WorkloadConfig {
    /// Its name in records.
    pub name: String,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// Its container's id, or the beginning of it, of twelve characters at least.
    pub container: Option<String>,
    /// Its cgroup, or one above it.
    pub cgroup: Option<String>,
    /// Its executable and what that holds.
    pub exe: Option<(PathBuf, Sha256)>,
    /// Its user's number.
    pub uid: Option<u32>,
    /// The role of the EC2 instance that it must run on.
    pub instance_role: Option<String>,
    /// The groups that it is in.
    pub groups: Vec<String>,
}

/// What becomes of a caller that nobody vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// Refused.
    Deny,
    /// Recorded as nobody, and let through.
    Record,
}

/// Whom a bearer token in a request to a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// The gateway: it must be one that an issuer of the configuration has given for it, and does not reach the server.
    Gateway,
    /// The server, where it is not for the gateway: it passes.
    Server,
}

pub(super) fn read(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> IdentityConfig {
    let config = IdentityConfig {
        dir: section.path(faults, "dir").unwrap_or_else(|| DIR.into()),
        socket: section.path(faults, "socket").unwrap_or_else(|| SOCKET.into()),
        login_lifetime: section.duration(faults, "login_lifetime", Duration::from_secs(12 * 3600)),
        oidc: distinct(section.tables(faults, "oidc"), faults, oidc, |issuer| &issuer.name),
        saml: distinct(section.tables(faults, "saml"), faults, saml, |provider| &provider.name),
        workloads: distinct(section.tables(faults, "workload"), faults, workload, |workload| &workload.name),
    };
    section.finish(faults);
    config
}

fn distinct<T>(
    sections: Vec<Section<'_, '_>>,
    faults: &mut Faults<'_>,
    read: impl Fn(&mut Section<'_, '_>, &mut Faults<'_>) -> Option<T>,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    for mut section in sections {
        if let Some(one) = read(&mut section, faults) {
            if found.iter().any(|other| name(other) == name(&one)) {
                let message = format!("`{}` is the name of another already: give each a `name` of its own", name(&one));
                faults.add(section.span_of("name"), &section.named("name"), message);
            }
            found.push(one);
        }
        section.finish(faults);
    }
    found
}

fn oidc(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<OidcConfig> {
    let any = |text: &str| Ok(text.to_owned());
    let issuer = section.required(faults, "issuer");
    let host = match issuer_url(&issuer) {
        Ok(url) => url.host,
        Err(_) if issuer.is_empty() => String::new(),
        Err(message) => {
            faults.add(section.span_of("issuer"), &section.named("issuer"), message);
            String::new()
        }
    };
    let audience = section.one_or_list(faults, "audience");
    if audience.is_empty() && !section.has("audience") {
        let message = "is missing: the audience of tokens that are for the gateway. Without one, a token that was given to any other service \
                       would be taken here";
        faults.add(section.span(), &section.named("audience"), message.into());
    }
    let mut algorithms = section.list(faults, "algorithms", Algorithm::parse);
    if !section.has("algorithms") {
        algorithms = vec![Algorithm::Rs256, Algorithm::Es256];
    }
    let login = login(section, faults);
    Some(OidcConfig {
        name: section.text(faults, "name").unwrap_or(host),
        issuer,
        audience,
        algorithms,
        groups: ClaimPath::new(&section.text(faults, "groups").unwrap_or_else(|| "groups".into())),
        display_name: ClaimPath::new(&section.text(faults, "display_name").unwrap_or_else(|| "preferred_username".into())),
        clients: section.list(faults, "clients", any),
        token_scopes: section.list(faults, "token_scopes", scope),
        skew: section.parsed(faults, "skew", skew).unwrap_or(SKEW),
        keys_max_age: section.duration(faults, "keys_max_age", Duration::from_secs(24 * 3600)),
        revoked: section.path(faults, "revoked"),
        introspection: introspection(section, faults),
        ca_file: section.path(faults, "ca_file"),
        login,
    })
}

const SKEW: Duration = Duration::from_secs(60);

fn skew(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        skew if skew > Duration::from_secs(300) => {
            Err(format!("expected 5m at most, got \"{text}\": a clock that is off by more is to be set, not believed"))
        }
        skew => Ok(skew),
    }
}

/// RFC 6749 section 3.3.
pub(super) fn scope(text: &str) -> Result<String, String> {
    let is_token = !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    if is_token { Ok(text.to_owned()) } else { Err(format!("expected a scope, without spaces and quotes, got \"{text}\"")) }
}

/// An issuer is an https URL (OpenID Connect Discovery 1.0 section 3); on this host itself it may do without TLS.
fn issuer_url(text: &str) -> Result<ServerUrl, String> {
    let url = ServerUrl::parse(text)?;
    if !url.tls && !value::is_this_host(&url.host) {
        return Err(format!("expected an https:// URL, got `{text}`: whoever is on the way could give keys of his own"));
    }
    if url.path.contains('?') {
        return Err("an issuer has no query".into());
    }
    Ok(url)
}

fn login(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<LoginConfig> {
    let client_id = section.text(faults, "client_id");
    let client_secret_file = section.path(faults, "client_secret_file");
    let scopes = section.list(faults, "scopes", |scope| Ok(scope.to_owned()));
    let has_scopes = section.has("scopes");
    let Some(client_id) = client_id else {
        for name in ["client_secret_file", "scopes"] {
            if section.has(name) {
                faults.add(section.span_of(name), &section.named(name), "is of no use without `client_id`".into());
            }
        }
        return None;
    };
    let scopes = if has_scopes { scopes } else { ["profile", "offline_access"].map(str::to_owned).to_vec() };
    Some(LoginConfig { client_id, client_secret_file, scopes })
}

fn introspection(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Introspection> {
    let mut section = section.table_of(faults, "introspection")?;
    let read = Introspection {
        client_id: section.required(faults, "client_id"),
        client_secret_file: section.required(faults, "client_secret_file").into(),
        ttl: section.duration(faults, "ttl", Duration::from_secs(30)),
    };
    section.finish(faults);
    Some(read)
}

fn saml(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<SamlConfig> {
    let name = section.required(faults, "name");
    if !name.is_empty() && !super::endpoint::is_path_segment(&name) {
        let message = "is a part of URLs: expected letters, digits, `-`, `_` and `.`, and no `.` at its beginning";
        faults.add(section.span_of("name"), &section.named("name"), message.into());
    }
    Some(SamlConfig {
        name,
        metadata: section.required(faults, "metadata").into(),
        entity_id: section.text(faults, "entity_id"),
        groups: section.text(faults, "groups").unwrap_or_else(|| "groups".into()),
        display_name: section.text(faults, "display_name"),
        certificate: section.certificate(faults, "certificate", "key"),
        skew: section.parsed(faults, "skew", skew).unwrap_or(SKEW),
    })
}

fn workload(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<WorkloadConfig> {
    let exe = section.path(faults, "exe");
    let sha256 = section.parsed(faults, "sha256", |text| {
        Sha256::from_hex(text.as_bytes())
            .ok_or_else(|| format!("expected the SHA-256 of the file as 64 hexadecimal digits (`sha256sum FILE`), got \"{text}\""))
    });
    let exe = match (exe, sha256) {
        (Some(exe), Some(sha256)) => Some((exe, sha256)),
        (exe, _) => {
            let (there, missing, why) = match exe {
                Some(_) => ("exe", "sha256", "whoever can write the file would be the workload"),
                None => ("sha256", "exe", "it says what the file of this path holds"),
            };
            if section.has(there) && !section.has(missing) {
                faults.add(section.span_of(there), &section.named(missing), format!("is missing beside `{there}`: {why}"));
            }
            None
        }
    };
    let container = section.parsed(faults, "container", |text| {
        let is_id = text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(format!("expected a container's id, of 12 hexadecimal digits or more, got \"{text}\""))
        }
    });
    let cgroup = section.parsed(faults, "cgroup", |text| {
        let is_path = text.starts_with('/') && text.len() > 1 && !text.ends_with('/');
        if is_path {
            Ok(text.to_owned())
        } else {
            Err(format!("expected a path below the cgroup root such as \"/agents.slice\", got \"{text}\""))
        }
    });
    let uid = section.integer(faults, "uid", 0..=i64::from(u32::MAX)).and_then(|uid| u32::try_from(uid).ok());
    let workload = WorkloadConfig {
        name: section.required(faults, "name"),
        unit: section.text(faults, "unit"),
        container,
        cgroup,
        exe,
        uid,
        instance_role: section.text(faults, "instance_role"),
        groups: section.list(faults, "groups", |group| Ok(group.to_owned())),
    };
    if !["unit", "container", "cgroup", "exe", "uid"].iter().any(|key| section.has(key)) {
        let message =
            "says of no process that it is this workload: give at least one of `unit`, `container`, `cgroup`, `exe` with `sha256`, `uid`";
        faults.add(section.span(), &section.named("name"), message.into());
    }
    Some(workload)
}

/// `[console]`
#[derive(Debug, Clone)]
pub struct ConsoleConfig {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
    /// Scheme, host and port by which browsers reach it, without a `/` at its end.
    pub url: String,
    /// What it shows to browsers; without one it speaks plain HTTP.
    pub certificate: Option<super::CertificateFiles>,
}

pub(super) fn console(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> ConsoleConfig {
    let listen = section.address(faults, "listen").unwrap_or(std::net::SocketAddr::from(([127, 0, 0, 1], 9443)));
    let certificate = section.certificate(faults, "certificate", "key");
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = section.parsed(faults, "url", |text| {
        let url = ServerUrl::parse(&format!("{text}/")).ok().filter(|url| url.path == "/");
        let url = url.ok_or_else(|| {
            format!("expected scheme, host and port such as \"https://gateway.example:9443\", without a path, got \"{text}\"")
        })?;
        Ok(format!("{}://{}", url.scheme(), url.authority()))
    });
    if !listen.ip().is_loopback() && certificate.is_none() && !section.has("certificate") {
        let message = "people on other hosts would log in in the clear: set `certificate` and `key`, or listen on loopback";
        faults.add(section.span_of("listen"), &section.named("listen"), message.into());
    }
    section.finish(faults);
    ConsoleConfig { listen, url: url.unwrap_or_else(|| format!("{scheme}://{listen}")), certificate }
}
