//! The gateway's own certificate authority: it vouches, towards clients on this host, for the servers that are governed.
//!
//! ```no_run
//! # fn main() -> Result<(), gateway_user::tls::authority::CaError> {
//! use gateway_user::tls::authority::Authority;
//!
//! let authority = Authority::open("/var/lib/mcp-gateway/ca".as_ref())?;
//! if authority.covers("mcp.clinic.internal") {
//!     let leaf = authority.leaf("mcp.clinic.internal")?; // made once, then shared until it is about to end
//! }
//! # Ok(())
//! # }
//! ```
//!
//! It can vouch for nothing else, whoever gets hold of its key: its certificates have critical name constraints. Leaves live for seven
//! days and are made on demand.

mod certificate;
mod error;
mod issue;
mod manage;
mod names;
mod store;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

pub use certificate::{Certificate, day};
pub use error::CaError;
pub use manage::{Rotated, Site, import, init, rotate, stranger};
pub use names::{Constraints, Host};
pub use store::Owner;

use issue::DAY;
use store::{Material, Source};

/// Names that leaves are kept for. Those asked for are the configured servers', which are fewer.
const MAX_LEAVES: usize = 1_024;

/// An authority, ready to vouch. Shared by all workers: what was made is found without a lock.
pub struct Authority {
    material: Material,
    leaves: ArcSwap<HashMap<Box<str>, Leaf>>,
    making: Mutex<()>,
}

#[derive(Clone)]
struct Leaf {
    key: Arc<CertifiedKey>,
    /// When it is to be made anew, in seconds since 1970.
    renew: i64,
}

impl Authority {
    /// Opens the authority of a directory.
    ///
    /// # Errors
    /// [`CaError::NoCa`] if there is none; else what is wrong with it, and what to do. One that has expired opens: it is
    /// [`leaf`](Self::leaf) that fails then.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        Ok(Self::of(store::load(dir)?))
    }

    /// The file that it is read from.
    #[must_use]
    pub fn file(dir: &Path) -> PathBuf {
        dir.join(store::FILE)
    }

    fn of(material: Material) -> Self {
        Authority { material, leaves: ArcSwap::default(), making: Mutex::default() }
    }

    /// Whether it may vouch for this host, a name or an address without brackets.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        Host::parse(host).is_ok_and(|host| self.material.covers(&host))
    }

    /// A certificate for this host, with its chain and key.
    ///
    /// # Errors
    /// The host is not one that it may vouch for, or its own time is over.
    pub fn leaf(&self, host: &str) -> Result<Arc<CertifiedKey>, CaError> {
        self.leaf_at(host, now())
    }

    /// The certificate whose key signs leaves.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.material.certificate
    }

    /// Whether somebody else made it.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.material.source == Source::Imported
    }

    /// The command that replaces it, in backticks.
    #[must_use]
    pub fn replaced_with(&self) -> &'static str {
        match self.material.source {
            Source::Own => "`mcp-gateway ca rotate`",
            Source::Imported => "`mcp-gateway ca import --replace`",
        }
    }

    /// The roots that clients may know it by: its own, and the one before it while that still vouches for it. None when it was
    /// imported without its root.
    pub fn roots(&self) -> impl Iterator<Item = &Certificate> {
        self.material.roots(now())
    }

    fn leaf_at(&self, host: &str, now: i64) -> Result<Arc<CertifiedKey>, CaError> {
        let fresh = |leaves: &HashMap<Box<str>, Leaf>| leaves.get(host).filter(|leaf| now < leaf.renew).map(|leaf| leaf.key.clone());
        if let Some(leaf) = fresh(&self.leaves.load()) {
            return Ok(leaf);
        }
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have made it meanwhile.
        if let Some(leaf) = fresh(&self.leaves.load()) {
            return Ok(leaf);
        }
        let leaf = self.make(host, now)?;
        let mut leaves = HashMap::clone(&self.leaves.load());
        leaves.retain(|_, leaf| now < leaf.renew);
        if leaves.len() >= MAX_LEAVES
            && let Some(oldest) = leaves.iter().min_by_key(|(_, leaf)| leaf.renew).map(|(host, _)| host.clone())
        {
            leaves.remove(&oldest);
        }
        leaves.insert(host.into(), leaf.clone());
        self.leaves.store(Arc::new(leaves));
        drop(making);
        Ok(leaf.key)
    }

    fn make(&self, host: &str, now: i64) -> Result<Leaf, CaError> {
        let Material { key, certificate, .. } = &self.material;
        let with = self.replaced_with();
        let subject = || certificate.subject.clone();
        if !certificate.is_valid_at(now) {
            return Err(CaError::OutOfDate { subject: subject(), from: day(certificate.not_before), to: day(certificate.not_after), with });
        }
        let name = Host::parse(host)?;
        if !self.material.covers(&name) {
            return Err(CaError::NotCovered { subject: subject(), host: host.to_owned(), with });
        }
        let chain = self.material.chain(now).map(|certificate| certificate.der.clone());
        let (leaf, end) = issue::leaf(&name, certificate, key, chain, now)?;
        // One that is cut short by the authority's own end is renewed halfway.
        let renew = end - DAY.min((end - now) / 2);
        Ok(Leaf { key: Arc::new(leaf), renew })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("subject", &self.material.certificate.subject).finish_non_exhaustive()
    }
}

/// In seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
