//! A certificate and what it says.

use std::fmt::Write;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustls::pki_types::CertificateDer;

use super::names::{Constraints, Host};

/// A certificate of an authority.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// As it is sent.
    pub der: CertificateDer<'static>,
    /// Its subject, for people.
    pub subject: String,
    /// Its first second, in seconds since 1970.
    pub not_before: i64,
    /// Its last second.
    pub not_after: i64,
    /// Whether it says that it is an authority's, and may sign certificates.
    pub is_authority: bool,
    /// How many authorities may stand between it and a leaf; unlimited when absent.
    pub path_len: Option<u32>,
    /// What it may vouch for.
    pub constraints: Constraints,
    names: (Vec<u8>, Vec<u8>),
    key: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn read(der: CertificateDer<'static>) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("a certificate in it cannot be read ({error})");
        let (rest, found) = x509_parser::parse_x509_certificate(&der).map_err(|error| unreadable(&error))?;
        if !rest.is_empty() {
            return Err("bytes follow a certificate in it".into());
        }
        let basic = found.basic_constraints().map_err(|error| unreadable(&error))?;
        let usage = found.key_usage().map_err(|error| unreadable(&error))?;
        let constraints = found.name_constraints().map_err(|error| unreadable(&error))?;
        Ok(Certificate {
            subject: found.subject().to_string(),
            not_before: found.validity().not_before.timestamp(),
            not_after: found.validity().not_after.timestamp(),
            is_authority: basic.as_ref().is_some_and(|basic| basic.value.ca) && usage.is_none_or(|usage| usage.value.key_cert_sign()),
            path_len: basic.and_then(|basic| basic.value.path_len_constraint),
            constraints: constraints.map(|found| Constraints::read(found.value)).unwrap_or_default(),
            names: (found.subject().as_raw().to_vec(), found.issuer().as_raw().to_vec()),
            key: found.public_key().raw.to_vec(),
            der,
        })
    }

    /// Whether it vouches for itself: a root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.names.0 == self.names.1
    }

    /// Whether its issuer has the name that `other` has.
    #[must_use]
    pub fn is_named_issuer_of(&self, other: &Certificate) -> bool {
        self.names.0 == other.names.1
    }

    /// Whether it is for this key, as a SubjectPublicKeyInfo.
    #[must_use]
    pub fn is_for(&self, key: &[u8]) -> bool {
        self.key == key
    }

    /// Whether the time, in seconds since 1970, lies within its validity.
    #[must_use]
    pub fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether it is valid now.
    #[must_use]
    pub fn is_valid_now(&self) -> bool {
        self.is_valid_at(super::now())
    }

    /// Whether it may vouch for this host.
    #[must_use]
    pub fn covers(&self, host: &Host) -> bool {
        self.constraints.allow(host)
    }

    /// Its SHA-256, as `openssl x509 -fingerprint -sha256` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for byte in digest::digest(&digest::SHA256, &self.der).as_ref() {
            let colon = if text.is_empty() { "" } else { ":" };
            // Writing to a string does not fail.
            let _ = write!(text, "{colon}{byte:02X}");
        }
        text
    }

    /// As PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        let mut text = String::new();
        write_pem(&mut text, "CERTIFICATE", &self.der);
        text
    }
}

/// Appends bytes as PEM (RFC 7468).
pub(super) fn write_pem(text: &mut String, label: &str, bytes: &[u8]) {
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in bytes.chunks(48) {
        BASE64.encode_string(line, text);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

/// A day, for people.
#[must_use]
pub fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d").to_string())
}
