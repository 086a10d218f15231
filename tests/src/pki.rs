//! Certificates of a test's own: authorities that vouch for servers, and what they issue.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, NameConstraints,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// An authority that no system trusts. Its files are gone when it is dropped.
#[derive(Debug)]
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

/// A certificate with its key, in memory and as PEM files that every user can read.
#[derive(Debug)]
pub struct Issued {
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    der: CertificateDer<'static>,
    secret: Vec<u8>,
}

impl Pki {
    /// An authority that may vouch for everybody.
    ///
    /// # Errors
    /// No key can be made, or no file be written.
    pub fn new() -> anyhow::Result<Self> {
        Self::named("Authority of a test")
    }

    /// As [`Pki::new`], of this name.
    ///
    /// # Errors
    /// As [`Pki::new`].
    pub fn named(name: &str) -> anyhow::Result<Self> {
        Self::with(name, None)
    }

    /// An authority whose certificate says that it may vouch for this host alone.
    ///
    /// # Errors
    /// As [`Pki::new`].
    pub fn only_for(host: &str) -> anyhow::Result<Self> {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(host.to_owned())];
        Self::with("Authority with limits", Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }))
    }

    fn with(name: &str, constraints: Option<NameConstraints>) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = constraints;
        let pki = Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, files: tempfile::tempdir()? };
        fs::set_permissions(pki.files.path(), fs::Permissions::from_mode(0o755))?;
        fs::write(pki.ca_file(), pem("CERTIFICATE", pki.issuer.der()))?;
        Ok(pki)
    }

    /// Its certificate, as PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Its key, as PEM.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn key_file(&self) -> anyhow::Result<PathBuf> {
        let file = self.files.path().join("ca.key");
        fs::write(&file, pem("PRIVATE KEY", &self.issuer.key().serialize_der()))?;
        Ok(file)
    }

    /// For a server of these names.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn server(&self, hosts: &[&str]) -> anyhow::Result<Issued> {
        self.issue(&hosts.join("+"), &leaf(hosts, ExtendedKeyUsagePurpose::ServerAuth)?)
    }

    /// For a server of this name, until yesterday.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn expired_server(&self, host: &str) -> anyhow::Result<Issued> {
        let mut params = leaf(&[host], ExtendedKeyUsagePurpose::ServerAuth)?;
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::days(30), now - Duration::days(1));
        self.issue("expired", &params)
    }

    /// For a server of this name, by itself.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn self_signed_server(&self, host: &str) -> anyhow::Result<Issued> {
        let key = KeyPair::generate()?;
        let der = leaf(&[host], ExtendedKeyUsagePurpose::ServerAuth)?.self_signed(&key)?.into();
        Issued::at(self.files.path(), "self-signed", der, &key)
    }

    /// For a client of this name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn client(&self, name: &str) -> anyhow::Result<Issued> {
        self.issue("client", &leaf(&[name], ExtendedKeyUsagePurpose::ClientAuth)?)
    }

    fn issue(&self, name: &str, params: &CertificateParams) -> anyhow::Result<Issued> {
        let key = KeyPair::generate()?;
        Issued::at(self.files.path(), name, params.signed_by(&key, &self.issuer)?.into(), &key)
    }
}

fn leaf(hosts: &[&str], purpose: ExtendedKeyUsagePurpose) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, hosts.concat());
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl Issued {
    fn at(dir: &Path, name: &str, der: CertificateDer<'static>, key: &KeyPair) -> anyhow::Result<Self> {
        let (certificate, file) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        let secret = key.serialize_der();
        fs::write(&certificate, pem("CERTIFICATE", &der))?;
        fs::write(&file, pem("PRIVATE KEY", &secret))?;
        Ok(Self { certificate, key: file, der, secret })
    }

    /// The certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The key.
    ///
    /// # Errors
    /// It is none.
    pub fn secret(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::try_from(self.secret.clone()).map_err(anyhow::Error::msg)
    }
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}
