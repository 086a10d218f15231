//! Logins at rest: sealed, so that a backup of the disk, or another user, has no refresh tokens.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Person;
use crate::key_file::{self, KeyFileError};

/// Stands before what is sealed, and is sealed with it: another file of the gateway's cannot take this one's place.
const WHAT: &[u8] = b"mcp-gateway logins 1\n";

/// A login as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub id: String,
    pub uid: u32,
    pub cgroup: Option<String>,
    pub idp: String,
    pub how: String,
    pub since: u64,
    /// When the tokens end.
    pub ends: u64,
    /// When it ends however often it is renewed.
    pub at_last: u64,
    pub person: Person,
    pub refresh: Option<Zeroizing<String>>,
    /// The boot in which its cgroup is.
    pub boot: String,
}

/// Why logins cannot be kept.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("{} cannot be {what}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Its key cannot be had.
    #[error("{0} (`logins` beside it: everybody must log in again then)")]
    Key(#[from] KeyFileError),
    /// It is not what the gateway wrote with this key.
    #[error("{} cannot be opened with the key beside it: it is damaged, or of another key. Restore both, or remove `logins`: everybody must log in again then", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The file of logins, and its key.
pub(super) struct Store {
    path: PathBuf,
    key: RandomizedNonceKey,
}

impl Store {
    /// Of this directory. Directory and key are made where they are missing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) fn open(dir: &Path) -> Result<(Self, Vec<Kept>), StoreError> {
        let failed = |path: &Path, what| {
            let path = path.to_owned();
            move |source| StoreError::File { path, what, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir, "made"))?;
        let key_path = dir.join("key");
        let key = key_file::open(&key_path)?;
        let path = dir.join("logins");
        let damaged = || StoreError::Damaged { path: path.clone() };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| StoreError::Damaged { path: key_path })?;
        let logins = match fs::read(&path) {
            Ok(sealed) => opened(&key, sealed).ok_or_else(damaged)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&path, "read")(error)),
        };
        Ok((Store { path, key }, logins))
    }

    /// Keeps these and no others: on disk, whole, when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; what was kept before is.
    pub(super) fn keep<'k>(&self, logins: impl Iterator<Item = &'k Kept>) -> Result<(), StoreError> {
        let failed = |source| StoreError::File { path: self.path.clone(), what: "written", source };
        let plain = Zeroizing::new(serde_json::to_vec(&logins.collect::<Vec<_>>()).map_err(|error| failed(error.into()))?);
        let sealed = sealed(&self.key, &plain).map_err(failed)?;
        let made = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::rename(&made, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().map_err(failed)
    }
}

fn sealed(key: &RandomizedNonceKey, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = plain.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(WHAT), &mut body).map_err(|_| io::Error::other("it cannot be sealed"))?;
    Ok([WHAT, nonce.as_ref(), &body].concat())
}

fn opened(key: &RandomizedNonceKey, sealed: Vec<u8>) -> Option<Vec<Kept>> {
    let (nonce, body) = sealed.strip_prefix(WHAT)?.split_at_checked(NONCE_LEN)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = key.open_in_place(Nonce::try_assume_unique_for_key(nonce).ok()?, Aad::from(WHAT), &mut body).ok()?;
    serde_json::from_slice(plain).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn login(refresh: &str) -> Kept {
        let person = Person { issuer: "https://login.example".into(), subject: "ada".into(), name: None, groups: vec!["dba".into()] };
        Kept {
            id: "1".into(),
            uid: 1000,
            cgroup: None,
            idp: "corp".into(),
            how: "device".into(),
            since: 1,
            ends: 2,
            at_last: 3,
            person,
            refresh: Some(refresh.to_owned().into()),
            boot: "b".into(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_its_secrets_are_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (store, none) = Store::open(dir.path()).unwrap();
        assert!(none.is_empty());
        store.keep([login("s3cret-refresh-token")].iter()).unwrap();
        let (_, kept) = Store::open(dir.path()).unwrap();
        assert_eq!(kept[0].refresh.as_ref().unwrap().as_str(), "s3cret-refresh-token");
        assert_eq!(kept[0].person.groups, ["dba"]);
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap();
            let bytes = fs::read(file.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("s3cret") && !String::from_utf8_lossy(&bytes).contains("ada"));
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.path());
        }
    }

    #[test]
    fn a_file_that_was_changed_anywhere_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.keep([login("r")].iter()).unwrap();
        let path = dir.path().join("logins");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(opened(&store.key, changed).is_none(), "byte {at}");
            assert!(opened(&store.key, whole[..at].to_vec()).is_none(), "cut at {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let Err(error) = Store::open(dir.path()) else { panic!("it was opened") };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_key_that_others_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o640)).unwrap();
        let Err(error) = Store::open(dir.path()) else { panic!("it was used") };
        assert!(error.to_string().contains("mode 640"), "{error}");
    }
}
