//! `[endpoint]`: where the servers are reached by callers that cannot be captured.

use std::net::{IpAddr, SocketAddr};

use super::{
    CertificateFiles,
    reader::{Faults, Section},
    value::ServerUrl,
};

/// `[endpoint]`
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it shows to callers; without one it speaks plain HTTP.
    pub certificate: Option<CertificateFiles>,
    /// Something in front of it speaks TLS, or the network is trusted: callers on other hosts are served without.
    pub plain: bool,
    /// Names in lower case under which callers may reach it, besides the address that they dial.
    pub hosts: Vec<String>,
    /// Browser origins in lower case whose pages may call.
    pub origins: Vec<String>,
}

impl EndpointConfig {
    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }
}

pub(super) fn read(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> EndpointConfig {
    let listen = section.address(faults, "listen").unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
    let certificate = section.certificate(faults, "certificate", "key");
    let plain = section.flag(faults, "plain");
    let config = EndpointConfig {
        listen,
        certificate,
        plain,
        hosts: section.list(faults, "hosts", host),
        origins: section.list(faults, "origins", origin),
    };
    let has_certificate = section.has("certificate") || section.has("key");
    if !listen.ip().is_loopback() && !has_certificate && !plain {
        let message = "callers on other hosts would send calls and credentials in the clear: set `certificate` and `key`, or `plain = true` \
                       where something in front of the gateway speaks TLS";
        faults.add(section.span_of("listen"), &section.named("listen"), message.into());
    }
    if plain && has_certificate {
        faults.add(
            section.span_of("plain"),
            &section.named("plain"),
            "is for an endpoint without a certificate, and this one has one".into(),
        );
    }
    section.finish(faults);
    config
}

/// Whether a server's name can stand in a URL's path as it is.
pub(super) fn is_path_segment(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// A host as it stands in a Host field, without its port.
fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) if is_name => Ok(text.to_ascii_lowercase()),
        Err(_) => Err(format!("expected a host name or an address, without a port, got \"{text}\"")),
    }
}

/// What a browser sends as Origin (RFC 6454 section 7): scheme, host, and the port where it is not the scheme's own.
fn origin(text: &str) -> Result<String, String> {
    let url = ServerUrl::parse(&format!("{text}/")).ok().filter(|url| url.path == "/");
    let url = url.ok_or_else(|| format!("expected an origin such as \"https://inspector.example\", without a path, got \"{text}\""))?;
    Ok(format!("{}://{}", url.scheme(), url.authority()).to_ascii_lowercase())
}
