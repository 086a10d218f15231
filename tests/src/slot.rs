//! Numbers that one test holds at a time, from which all names and addresses are made.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// A number from 1 to 250, held by a lock on a file that the kernel lets go of when the process ends, however it ends.
#[derive(Debug)]
pub struct Slot {
    number: u8,
    path: PathBuf,
    _lock: fs::File,
}

impl Slot {
    /// Takes a number that nobody holds.
    ///
    /// # Errors
    /// All are held, or the folder for the locks cannot be made.
    pub fn take() -> anyhow::Result<Self> {
        let dir = Self::dir();
        // Begin somewhere else in each process, so that a slot just given up rests for a while.
        let first = std::process::id() % 250;
        for offset in 0..250 {
            let number = u8::try_from((first + offset) % 250 + 1)?;
            let path = dir.join(format!("slot-{number}"));
            Self::make_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let lock = match fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path) {
                Ok(lock) => lock,
                // The holder of the last slot took the folder away; or another user holds this one.
                Err(error) if [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&error.kind()) => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
            };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // Its holder before may have removed it between the opening and the lock: that file locks nothing any more.
            if fs::metadata(&path).is_ok_and(|there| lock.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
                return Ok(Self { number, path, _lock: lock });
            }
        }
        bail!("all 250 slots in {} are held, or it is not ours to write", dir.display())
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// For every user: addresses are the whole host's.
    fn make_dir(dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Whoever made it has done so, if it was another user.
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o1777));
        Ok(())
    }

    fn dir() -> PathBuf {
        std::env::temp_dir().join("mcp-gateway-slots")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // While it is held: nobody else can have taken it.
        let _ = fs::remove_file(&self.path);
        // Stays while others hold slots.
        let _ = fs::remove_dir(Self::dir());
    }
}
