//! Keys of the gateway's own, each in a file that only its user may read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use thiserror::Error;
use zeroize::Zeroizing;

const BYTES: usize = 32;

/// Why a key cannot be had.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("the key {} cannot be {what}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Others could read it.
    #[error("the key {} may be read by others than the gateway (mode {mode:o}, user {uid}): `chown` it to the gateway's user and `chmod 600` it, or remove it, and what it was made for begins anew", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// It is no key of the gateway's.
    #[error("{} is no key: it has {size} bytes and not {BYTES}. Restore it, or remove it, and what it was made for begins anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: usize,
    },
}

/// The key in a file, 32 random bytes. It is made where there is none, with its directory.
///
/// # Errors
/// [`KeyFileError`]
pub fn open(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let make = || -> io::Result<Zeroizing<Vec<u8>>> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut key = Zeroizing::new(vec![0; BYTES]);
        rand::fill(&mut key).map_err(|_| io::Error::other("there are no random numbers"))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&key)?;
        file.sync_all()?;
        Ok(key)
    };
    make().map_err(|source| KeyFileError::File { path: path.to_owned(), what: "made", source })
}

/// The key in a file; none where there is no file.
///
/// # Errors
/// [`KeyFileError`]
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    let failed = |source| KeyFileError::File { path: path.to_owned(), what: "read", source };
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (mode, uid) = (meta.mode() & 0o7777, meta.uid());
    let own = rustix::process::geteuid();
    // Root may look at the key of the gateway's user.
    if mode & 0o077 != 0 || (uid != own.as_raw() && !own.is_root()) {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode, uid });
    }
    let key = fs::read(path).map(Zeroizing::new).map_err(failed)?;
    if key.len() != BYTES {
        return Err(KeyFileError::Damaged { path: path.to_owned(), size: key.len() });
    }
    Ok(Some(key))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_after_that() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/key");
        let made = open(&path).unwrap();
        assert_eq!((made.len(), fs::metadata(&path).unwrap().mode() & 0o777), (32, 0o600));
        assert_eq!(open(&path).unwrap(), made);
        assert_ne!(open(&dir.path().join("other")).unwrap(), made);
    }

    #[test]
    fn a_key_that_others_may_read_or_that_was_cut_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("mode 640"));
        fs::write(&path, b"short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("it has 5 bytes"));
    }
}
