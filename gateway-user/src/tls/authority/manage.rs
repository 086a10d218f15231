//! How an authority comes to be, and how its successor takes over.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{ServerName, UnixTime},
};
use zeroize::Zeroizing;

use super::{
    Authority, CaError, Certificate, Host,
    certificate::day,
    issue::NewAuthority,
    now,
    store::{self, Material, Owner, Source, Store},
};

/// Where an authority is, whose its files are, and what it is to vouch for.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// Who is to own what is made there; the caller when absent.
    pub owner: Option<Owner>,
    /// The hosts of the governed https servers.
    pub hosts: &'a [Host],
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotated {
    /// The root that serves from now on.
    pub root: Certificate,
    /// The root that went.
    pub old: Certificate,
    /// Whether it vouches for the new one, until it ends.
    pub overlaps: bool,
    /// Hosts that the old root may not vouch for: only clients that trust the new one trust the gateway for them.
    pub new_only: Vec<Host>,
    /// Roots that were honoured until now, and no longer are.
    pub cut_off: Vec<Certificate>,
}

/// Makes an authority where there is none.
///
/// # Errors
/// There is one, nothing is to be vouched for, or the files cannot be written.
pub fn init(site: Site<'_>) -> Result<Certificate, CaError> {
    let store = Store::open(site.dir, site.owner)?;
    init_at(&store, site, now())
}

pub(super) fn init_at(store: &Store, site: Site<'_>, now: i64) -> Result<Certificate, CaError> {
    if store.is_taken() {
        return Err(CaError::Exists { dir: site.dir.to_owned() });
    }
    if site.hosts.is_empty() {
        return Err(CaError::NoHosts);
    }
    let NewAuthority { root, issuer, key, .. } = NewAuthority::make(site.hosts, now)?;
    store.replace(&Material { source: Source::Own, key, certificate: issuer, others: vec![root.clone()] })?;
    Ok(root)
}

/// An authority that nobody trusts and no file holds: whoever accepts its leaves does not verify.
///
/// # Errors
/// No key can be made.
pub fn stranger(hosts: &[Host]) -> Result<Authority, CaError> {
    let NewAuthority { root, issuer, key, .. } = NewAuthority::make(hosts, now())?;
    Ok(Authority::of(Material { source: Source::Own, key, certificate: issuer, others: vec![root] }))
}

/// Makes a new root, for which the present one vouches before its key is destroyed.
///
/// # Errors
/// There is no authority, it was imported, or clients would be cut off and `without_overlap` does not allow it.
pub fn rotate(site: Site<'_>, without_overlap: bool) -> Result<Rotated, CaError> {
    let store = Store::open(site.dir, site.owner)?;
    rotate_at(&store, site, without_overlap, now())
}

fn rotate_at(store: &Store, site: Site<'_>, without_overlap: bool, now: i64) -> Result<Rotated, CaError> {
    let Material { source, key: old_key, certificate: old_issuer, others } = store::load(site.dir)?;
    if source == Source::Imported {
        return Err(CaError::Imported { subject: old_issuer.subject });
    }
    if site.hosts.is_empty() {
        return Err(CaError::NoHosts);
    }
    let mut roots = others.into_iter().filter(Certificate::is_root);
    let Some(old) = roots.next() else {
        return Err(CaError::Damaged { path: site.dir.to_owned(), why: "its root is missing".into() });
    };
    // What vouched for the present root cannot vouch for its successor as well: its path length does not reach that far.
    let cut_off: Vec<Certificate> = roots.filter(|root| root.is_valid_at(now)).collect();
    if !cut_off.is_empty() && !without_overlap {
        return Err(CaError::CutsOff { roots: cut_off.iter().map(|root| format!("`{}`", root.subject)).collect() });
    }
    let new = NewAuthority::make(site.hosts, now)?;
    let overlaps = old_issuer.is_valid_at(now);
    let mut others = vec![new.root.clone()];
    if overlaps {
        others.extend([new.vouched_for_by(&old_issuer, &old_key)?, old_issuer.clone(), old.clone()]);
    }
    let new_only = site.hosts.iter().filter(|host| overlaps && !old.covers(host)).cloned().collect();
    store.replace(&Material { source, key: new.key, certificate: new.issuer, others })?;
    Ok(Rotated { root: new.root, old, overlaps, new_only, cut_off })
}

/// Takes an authority that somebody else made: its certificate, then those above it if there are any, and its key.
///
/// # Errors
/// It cannot serve, and why; or there is an authority already and `replace` does not allow it to go.
pub fn import(site: Site<'_>, certificates: &Path, key: &Path, replace: bool) -> Result<Certificate, CaError> {
    let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(|source| unreadable(path, source));
    let unsuitable = |why| CaError::Unsuitable { path: certificates.to_owned(), why };
    let material = Material::parse(Source::Imported, &read(certificates)?, &read(key)?).map_err(|why| match why {
        why if why.contains("private key") && !why.contains("certificate") => CaError::Unsuitable { path: key.to_owned(), why },
        why => unsuitable(why),
    })?;
    suits(&material, site.hosts, now()).map_err(unsuitable)?;
    let store = Store::open(site.dir, site.owner)?;
    if store.is_taken() && !replace {
        return Err(CaError::Exists { dir: site.dir.to_owned() });
    }
    store.replace(&material)?;
    Ok(material.certificate)
}

fn unreadable(path: &Path, source: io::Error) -> CaError {
    CaError::File { path: path.to_owned(), what: "cannot be read", source }
}

/// Whether clients that trust the topmost certificate will accept leaves of this authority for these hosts; `Err` says why not.
fn suits(material: &Material, hosts: &[Host], now: i64) -> Result<(), String> {
    let own = &material.certificate;
    for certificate in std::iter::once(own).chain(&material.others) {
        let subject = &certificate.subject;
        if !certificate.is_authority {
            return Err(format!("`{subject}` is not an authority's certificate (CA:TRUE, and keyCertSign among its key usages)"));
        }
        if !certificate.is_valid_at(now) {
            let (from, to) = (day(certificate.not_before), day(certificate.not_after));
            return Err(format!("`{subject}` is valid from {from} to {to}, and not now"));
        }
        if let Some(host) = hosts.iter().find(|host| !certificate.covers(host)) {
            let permitted = certificate.constraints.permitted().join(", ");
            return Err(format!(
                "the name constraints of `{subject}` do not allow {host}, which is a configured server; they permit {permitted}"
            ));
        }
    }
    let top = material.others.iter().find(|other| other.is_root()).or(material.others.last()).unwrap_or(own);
    let anchor = if own.is_root() { own } else { top };
    hosts.iter().try_for_each(|host| proves(material, anchor, host, now))
}

/// Makes a leaf and verifies it as a client would.
fn proves(material: &Material, anchor: &Certificate, host: &Host, now: i64) -> Result<(), String> {
    let (key, own) = (&material.key, &material.certificate);
    let chain = material.chain(now).map(|certificate| certificate.der.clone());
    let (leaf, _) = super::issue::leaf(host, own, key, chain, now).map_err(|error| error.to_string())?;
    let made = Certificate::read(leaf.cert[0].clone())?;
    if !own.is_named_issuer_of(&made) {
        return Err(format!(
            "its subject, `{}`, names an attribute twice, which certificates made here cannot repeat: have its issuer \
            sign one with a subject such as `CN=MCP Gateway`",
            own.subject
        ));
    }
    let rejected = |error: rustls::Error| format!("a client that trusts `{}` rejects what it signs: {error}", anchor.subject);
    let mut roots = RootCertStore::empty();
    roots.add(anchor.der.clone()).map_err(rejected)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_string()).map_err(|error| error.to_string())?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unsigned_abs()));
    verifier.verify_server_cert(&leaf.cert[0], &leaf.cert[1..], &name, &[], time).map_err(rejected)?;
    Ok(())
}
