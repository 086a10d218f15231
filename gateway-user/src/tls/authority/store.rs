//! The authority on disk: one file, so that its key and certificates change together or not at all.
//!
//! `authority.pem` says in its first line where the authority comes from. Then it holds the private key, the certificate of it, and
//! those that belong to that: its root; in overlap that root again as the old issuer vouches for it, that issuer, and its root. For an
//! imported authority, those above it as far as they were brought along. It is written beside itself, synced, and renamed.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PublicKeyData};
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::{super::upstream::fault, CaError, Certificate, Host, certificate::write_pem};

pub(super) const FILE: &str = "authority.pem";
const NEW: &str = ".authority.pem.new";
const OTHERS: u32 = 0o077;

/// The user and group that are to own the authority's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// Where an authority comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It was made here.
    Own,
    /// Somebody else made it, and makes its successor.
    Imported,
}

impl Source {
    const ALL: [Self; 2] = [Source::Own, Source::Imported];

    /// The first line of the file.
    fn line(self) -> &'static str {
        match self {
            Source::Own => "# The authority of this MCP Gateway. Who has this key can pretend to be the governed servers.\n",
            Source::Imported => "# An authority imported into MCP Gateway. Who has this key can pretend to be the governed servers.\n",
        }
    }
}

/// An authority's key and certificates.
pub(super) struct Material {
    pub(super) source: Source,
    pub(super) key: Zeroizing<KeyPair>,
    /// Of that key.
    pub(super) certificate: Certificate,
    pub(super) others: Vec<Certificate>,
}

impl Material {
    /// Reads PEM; `Err` says what is wrong with it.
    pub(super) fn parse(source: Source, certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let secret = PrivateKeyDer::from_pem_slice(key).map_err(|_| "it holds no private key in PEM, or one with a password")?;
        let secret = Zeroizing::new(secret);
        let key = KeyPair::try_from(&*secret).map_err(|_| "its private key is none of P-256, P-384, P-521, Ed25519 and RSA")?;
        let key = Zeroizing::new(key);
        let mut found = Vec::new();
        for der in CertificateDer::pem_slice_iter(certificates) {
            found.push(Certificate::read(der.map_err(|error| format!("it is not PEM: {}", fault(&error)))?)?);
        }
        if found.is_empty() {
            return Err("it holds no certificate in PEM (BEGIN CERTIFICATE)".into());
        }
        let certificate = found.remove(0);
        if !certificate.is_for(&key.subject_public_key_info()) {
            return Err(format!("its first certificate, `{}`, is not for the private key", certificate.subject));
        }
        Ok(Material { source, key, certificate, others: found })
    }

    fn pem(&self) -> Zeroizing<String> {
        // Room for all of it: a string that grows leaves copies behind.
        let certificates = std::iter::once(&self.certificate).chain(&self.others);
        let bytes: usize = certificates.clone().map(|certificate| certificate.der.len()).sum();
        let mut text = Zeroizing::new(String::with_capacity(2 * (bytes + self.key.serialized_der().len()) + 200 * (2 + self.others.len())));
        text.push_str(self.source.line());
        write_pem(&mut text, "PRIVATE KEY", self.key.serialized_der());
        certificates.for_each(|certificate| write_pem(&mut text, "CERTIFICATE", &certificate.der));
        text
    }

    /// What a server sends after its leaf.
    pub(super) fn chain(&self, now: i64) -> impl Iterator<Item = &Certificate> {
        let own = (!self.certificate.is_root()).then_some(&self.certificate);
        own.into_iter().chain(self.others.iter().filter(move |other| !other.is_root() && other.is_valid_at(now)))
    }

    /// The roots that clients may know it by, the newest first: its own, and in overlap the one before; of an imported one as far as
    /// they were brought along.
    pub(super) fn roots(&self, now: i64) -> impl Iterator<Item = &Certificate> {
        let all = std::iter::once(&self.certificate).chain(&self.others);
        all.filter(move |certificate| certificate.is_root() && certificate.is_valid_at(now))
    }

    /// Whether it and those above it let it vouch for this host.
    pub(super) fn covers(&self, host: &Host) -> bool {
        // Of an own one, the root has the same constraints; the others are the old root's affair.
        let above = self.others.iter().filter(|_| self.source == Source::Imported);
        self.certificate.covers(host) && above.into_iter().all(|issuer| issuer.covers(host))
    }
}

/// The directory of an authority, held so that no other command works on it meanwhile.
pub(super) struct Store {
    dir: PathBuf,
    handle: File,
    owner: Option<Owner>,
}

impl Store {
    /// Opens the directory for a change, and makes it if it is not there. New files are `owner`'s; the caller's when absent.
    pub(super) fn open(dir: &Path, owner: Option<Owner>) -> Result<Self, CaError> {
        let failed = |what| move |source: Errno| CaError::File { path: dir.to_owned(), what, source: source.into() };
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(|source| CaError::File { path: parent.to_owned(), what: "cannot be made", source })?;
        }
        let made = match rustix::fs::mkdir(dir, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed("cannot be made")(error)),
        };
        // Root works here in a place that another user may own: links are not followed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = File::from(rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(failed("cannot be opened as a directory"))?);
        if made && let Some(owner) = owner {
            rustix::fs::fchown(&handle, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(failed("cannot be given to the gateway's user"))?;
        }
        let store = Store { dir: dir.to_owned(), handle, owner };
        store.check()?;
        match rustix::fs::flock(&store.handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(store),
            Err(Errno::WOULDBLOCK) => Err(CaError::Busy { dir: dir.to_owned() }),
            Err(error) => Err(failed("cannot be locked")(error)),
        }
    }

    fn check(&self) -> Result<(), CaError> {
        let exposed = |why, fix| CaError::Exposed { path: self.dir.clone(), why, fix };
        let meta = self.handle.metadata().map_err(|source| CaError::File { path: self.dir.clone(), what: "cannot be examined", source })?;
        if meta.mode() & OTHERS != 0 {
            let why = format!("is open to other users (mode {:04o})", meta.mode() & 0o7777);
            return Err(exposed(why, format!("`chmod 700 {}`", self.dir.display())));
        }
        if let Some(owner) = self.owner.filter(|owner| owner.uid != meta.uid()) {
            let why = format!("belongs to user {} and not to the gateway's, {}", meta.uid(), owner.uid);
            return Err(exposed(why, format!("`chown {}:{} {}`", owner.uid, owner.gid, self.dir.display())));
        }
        Ok(())
    }

    /// Whether an authority is there.
    pub(super) fn is_taken(&self) -> bool {
        rustix::fs::statat(&self.handle, FILE, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Puts this authority in place of what is there, of which the key is then overwritten.
    pub(super) fn replace(&self, material: &Material) -> Result<(), CaError> {
        let failed = |what| move |source: std::io::Error| CaError::File { path: self.dir.join(FILE), what, source };
        // Of a command that was killed.
        match rustix::fs::unlinkat(&self.handle, NEW, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("an unfinished one cannot be removed")(error.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&self.handle, NEW, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("cannot be made")(error.into()))?;
        let mut new = File::from(new);
        if let Some(owner) = self.owner {
            rustix::fs::fchown(&new, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(|error| failed("cannot be given to the gateway's user")(error.into()))?;
        }
        new.write_all(material.pem().as_bytes()).map_err(failed("cannot be written"))?;
        new.sync_all().map_err(failed("cannot be synced"))?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let old = rustix::fs::openat(&self.handle, FILE, flags, Mode::empty()).ok().map(File::from);
        rustix::fs::renameat(&self.handle, NEW, &self.handle, FILE).map_err(|error| failed("cannot be put in place")(error.into()))?;
        self.handle.sync_all().map_err(failed("cannot be synced"))?;
        match old {
            Some(old) => blank(old).map_err(failed("the old key could not be overwritten")),
            None => Ok(()),
        }
    }
}

/// Overwrites a file that has no name any more.
fn blank(mut file: File) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut std::io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

/// Reads the authority of a directory.
pub(super) fn load(dir: &Path) -> Result<Material, CaError> {
    let path = dir.join(FILE);
    let bytes = read_secret(&path).map_err(|error| match error {
        CaError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => CaError::NoCa { dir: dir.to_owned() },
        other => other,
    })?;
    let source = Source::ALL.into_iter().find(|source| bytes.starts_with(source.line().as_bytes()));
    let parsed = source.ok_or_else(|| "its first line is not as it was written".into());
    parsed.and_then(|source| Material::parse(source, &bytes, &bytes)).map_err(|why| CaError::Damaged { path, why })
}

/// Reads a file that only its owner may read.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let failed = |what| move |source: std::io::Error| CaError::File { path: path.to_owned(), what, source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| failed("cannot be read")(error.into()))?;
    let mut file = File::from(file);
    let meta = file.metadata().map_err(failed("cannot be examined"))?;
    if meta.mode() & OTHERS != 0 {
        let why = format!("is open to other users (mode {:04o}), and its key may be known to them", meta.mode() & 0o7777);
        let fix = format!("`chmod 600 {}`, and replace the key if anybody else uses this host", path.display());
        return Err(CaError::Exposed { path: path.to_owned(), why, fix });
    }
    // Room for all of it: a vector that grows leaves copies behind.
    let room = usize::try_from(meta.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.read_to_end(&mut bytes).map_err(failed("cannot be read"))?;
    Ok(bytes)
}
