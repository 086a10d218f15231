//! What the identity provider's metadata says, as far as it is used.

use base64::{Engine, prelude::BASE64_STANDARD};
use uppsala::Parser;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

use super::document::{DSIG, Element, METADATA, PROTOCOL, instant};
use crate::audit::{Digest, Sha256};

const MAX_BYTES: usize = 4 << 20;
/// Shorter RSA keys can be broken.
const MIN_BITS: usize = 2048;

/// An identity provider, as its metadata has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idp {
    /// Its entity ID: the issuer of its assertions.
    pub entity_id: String,
    /// When the metadata may not be used any more, in seconds since 1970.
    pub valid_until: Option<u64>,
    /// The certificates of the keys that it signs with.
    pub certificates: Vec<Certificate>,
    /// Where it takes logins.
    pub endpoints: Vec<Endpoint>,
    /// Whether it takes signed requests only.
    pub wants_signed_requests: bool,
}

/// A certificate of the metadata. It holds a key; its dates are not checked at logins, as SAML has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it names.
    pub subject: String,
    /// When it begins, in seconds since 1970.
    pub not_before: i64,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
    /// The SHA-256 of the whole certificate.
    pub sha256: Sha256,
    /// Its key: what, of how many bits.
    pub key: String,
    /// Whether assertions may be signed with it here.
    pub usable: bool,
    /// As it stands in the metadata, without white space.
    pub(super) base64: String,
}

/// An address at which logins are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// How they get there.
    pub binding: Binding,
    /// The address.
    pub location: String,
}

/// How a message gets to the identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// In the address that the browser is sent to.
    Redirect,
    /// In a form that the browser sends.
    Post,
}

impl Idp {
    /// Reads metadata: one `EntityDescriptor`, alone or in an `EntitiesDescriptor`. The error says what is wrong with it.
    pub(super) fn read(metadata: &str) -> Result<Self, String> {
        if metadata.len() > MAX_BYTES {
            return Err(format!("the metadata is longer than {MAX_BYTES} bytes: take that of the one identity provider out of it"));
        }
        let parser = Parser::new().with_forbid_dtd(true);
        let document = parser.parse(metadata).map_err(|error| format!("the metadata is no XML that can be read: {error}"))?;
        let root = Element::root(&document).ok_or("the metadata is empty")?;
        let is_idp = |one: &Element<'_>| one.only(METADATA, "IDPSSODescriptor").is_some();
        let entities = [root].into_iter().chain(root.descendants()).filter(|one| one.is(METADATA, "EntityDescriptor"));
        let (entity, role) = match entities.filter(is_idp).collect::<Vec<_>>()[..] {
            [entity] => (entity, entity.only(METADATA, "IDPSSODescriptor").ok_or("the metadata is empty")?),
            [] => return Err("the metadata has no identity provider (`IDPSSODescriptor`): is it a service provider's?".into()),
            _ => return Err("the metadata has several identity providers: leave one in it, and make a table for each".into()),
        };
        if !role.attribute("protocolSupportEnumeration").unwrap_or("").split_ascii_whitespace().any(|one| one == PROTOCOL) {
            return Err("the identity provider of the metadata does not speak SAML 2.0".into());
        }
        let certificates = certificates(role)?;
        if !certificates.iter().any(|one| one.usable) {
            return Err(format!(
                "the metadata has no certificate for signing with an RSA key of {MIN_BITS} bits or more, and nothing else is taken"
            ));
        }
        let endpoints: Vec<Endpoint> = role.children_named(METADATA, "SingleSignOnService").filter_map(endpoint).collect();
        if endpoints.is_empty() {
            return Err("the identity provider of the metadata takes logins neither by redirect nor by POST".into());
        }
        Ok(Idp {
            entity_id: entity.attribute("entityID").filter(|id| !id.is_empty()).ok_or("the metadata has no `entityID`")?.to_owned(),
            valid_until: valid_until(&[root, entity, role])?,
            certificates,
            endpoints,
            wants_signed_requests: matches!(role.attribute("WantAuthnRequestsSigned"), Some("true" | "1")),
        })
    }

    /// The certificates whose keys may sign, as base64.
    pub(super) fn usable(&self) -> impl Iterator<Item = &str> {
        self.certificates.iter().filter(|one| one.usable).map(|one| one.base64.as_str())
    }

    /// Where a login is sent: by redirect if it can be.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|one| one.binding == Binding::Redirect).or(self.endpoints.first())
    }
}

fn endpoint(service: Element<'_>) -> Option<Endpoint> {
    let binding = match service.attribute("Binding") {
        Some("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect") => Binding::Redirect,
        Some("urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST") => Binding::Post,
        _ => return None,
    };
    let location = service.attribute("Location")?;
    (location.starts_with("https://") || location.starts_with("http://")).then(|| Endpoint { binding, location: location.to_owned() })
}

fn valid_until(elements: &[Element<'_>]) -> Result<Option<u64>, String> {
    let stated = elements.iter().filter_map(|one| one.attribute("validUntil"));
    let instants: Result<Vec<u64>, _> = stated.map(instant).collect();
    Ok(instants.map_err(|_| "the metadata's `validUntil` is no instant")?.into_iter().min())
}

fn certificates(role: Element<'_>) -> Result<Vec<Certificate>, String> {
    let signing = role.children_named(METADATA, "KeyDescriptor").filter(|key| matches!(key.attribute("use"), None | Some("signing")));
    signing.flat_map(Element::descendants).filter(|one| one.is(DSIG, "X509Certificate")).map(certificate).collect()
}

fn certificate(element: Element<'_>) -> Result<Certificate, String> {
    const UNREADABLE: &str = "a certificate of the metadata cannot be read: fetch the metadata again";
    let base64: String = element.text().unwrap_or_default().split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(&base64).map_err(|_| UNREADABLE)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| UNREADABLE)?;
    let (key, usable) = match parsed.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => (format!("RSA {}", key.key_size()), key.key_size() >= MIN_BITS),
        Ok(PublicKey::EC(key)) => (format!("EC {}", key.key_size()), false),
        _ => ("of another kind".into(), false),
    };
    Ok(Certificate {
        subject: parsed.subject().to_string(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        sha256: Digest::of(&der),
        key,
        usable,
        base64,
    })
}
