//! The certificates that are made here: roots, cross certificates and leaves.

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    CaError, Certificate,
    certificate::day,
    names::{self, Host},
};

pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;
/// Rotated once a year, a root leaves every client a whole year to learn of its successor; forgotten, it is of no use to a thief for
/// long.
const LIFE: i64 = 2 * 365 * DAY;
/// What is minted on demand need not live long, and a stolen leaf soon is worth nothing: there is no revocation.
pub(super) const LEAF_LIFE: i64 = 7 * DAY;
/// Clients' clocks may be behind ours.
const SKEW: i64 = HOUR;

/// An authority that was just made: a root that clients are to trust, and an issuer below it that signs leaves.
///
/// Two, because the name constraints of a certificate bind everybody only below what is trusted: Java takes no notice of those in its
/// trust anchors. The root's key is gone with this value. It is never written anywhere, and what can be stolen is the issuer's.
pub(super) struct NewAuthority {
    pub(super) root: Certificate,
    pub(super) issuer: Certificate,
    pub(super) key: Zeroizing<KeyPair>,
    root_key: Zeroizing<KeyPair>,
    root_params: CertificateParams,
}

/// How many authorities may stand below each: an issuer below a root. In overlap, as clients of the old root see it, that stands below
/// the new root, that below the old issuer, and that below the old root.
const BELOW_ROOT: u8 = 3;
const BELOW_ISSUER: u8 = 2;
const BELOW_CROSS: u8 = 1;

impl NewAuthority {
    /// Makes one for these hosts and no others.
    pub(super) fn make(hosts: &[Host], now: i64) -> Result<Self, CaError> {
        let (root_key, key) = (Zeroizing::new(KeyPair::generate()?), Zeroizing::new(KeyPair::generate()?));
        // Names of its own, though two be made on one day: verifiers find an issuer by its name.
        let number = random::<2>()?;
        let root_params = params("MCP Gateway CA", number, hosts, now, BELOW_ROOT)?;
        let root = read(root_params.self_signed(&*root_key)?)?;
        let issuer = params("MCP Gateway issuing CA", number, hosts, now, BELOW_ISSUER)?;
        let issuer = read(issuer.signed_by(&*key, &Issuer::from_params(&root_params, &*root_key))?)?;
        Ok(NewAuthority { root, issuer, key, root_key, root_params })
    }

    /// The root once more, vouched for by the issuer that goes: clients that trust only the root above that one verify leaves of this
    /// one with it, for as long as that one lives.
    pub(super) fn vouched_for_by(&self, old: &Certificate, old_key: &KeyPair) -> Result<Certificate, CaError> {
        let mut params = self.root_params.clone();
        params.serial_number = Some(serial()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(BELOW_CROSS));
        params.not_before = at(self.root.not_before.max(old.not_before));
        params.not_after = at(self.root.not_after.min(old.not_after));
        read(params.signed_by(&*self.root_key, &Issuer::from_ca_cert_der(&old.der, old_key)?)?)
    }
}

/// What an authority's certificate says.
fn params(title: &str, number: [u8; 2], hosts: &[Host], now: i64, below: u8) -> Result<CertificateParams, CaError> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    // X.520 gives a common name no more than 64 characters.
    let host: String = host.chars().take(22).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{title}, {host}, {}, {:02x}{:02x}", day(now), number[0], number[1]));
    params.serial_number = Some(serial()?);
    params.not_before = at(now - SKEW);
    params.not_after = at(now + LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Name constraints do not reach the names in certificates for mail or code: there are to be none.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(names::only(hosts));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A leaf for this host, with a key of its own, and its last second.
pub(super) fn leaf(
    host: &Host,
    issuer: &Certificate,
    key: &KeyPair,
    chain: impl Iterator<Item = CertificateDer<'static>>,
    now: i64,
) -> Result<(CertifiedKey, i64), CaError> {
    let own = Zeroizing::new(KeyPair::generate()?);
    let not_after = (now + LEAF_LIFE).min(issuer.not_after);
    let mut params = CertificateParams::default();
    // With blanks in it, so that nobody takes it for a host name: the names stand in subjectAltName.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "MCP Gateway leaf certificate");
    params.serial_number = Some(serial()?);
    params.not_before = at((now - SKEW).max(issuer.not_before));
    params.not_after = at(not_after);
    params.subject_alt_names = vec![host.subject_alt_name()?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&*own, &Issuer::from_ca_cert_der(&issuer.der, key)?)?;
    let secret = Zeroizing::new(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der())));
    let chain = std::iter::once(certificate.into()).chain(chain).collect();
    Ok((CertifiedKey::new(chain, any_ecdsa_type(&secret)?), not_after))
}

/// Positive, and of 16 bytes (RFC 5280 section 4.1.2.2).
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn random<const N: usize>() -> Result<[u8; N], CaError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    Ok(bytes)
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read(certificate: rcgen::Certificate) -> Result<Certificate, CaError> {
    Certificate::read(certificate.into()).map_err(|why| rcgen::Error::X509(why).into())
}
