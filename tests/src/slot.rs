//! Numbers that one test holds at a time, from which all names and addresses are made.

use std::{fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};

/// A number from 1 to 250, held by a lock on a file that the kernel lets go of when the process ends, however it ends.
#[derive(Debug)]
pub struct Slot {
    number: u8,
    _lock: fs::File,
}

impl Slot {
    /// Takes a number that nobody holds.
    ///
    /// # Errors
    /// All are held, or the folder for the locks cannot be made.
    pub fn take() -> anyhow::Result<Self> {
        let dir = Self::dir();
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // Begin somewhere else in each process, so that a slot just given up rests for a while.
        let first = std::process::id() % 250;
        for offset in 0..250 {
            let number = u8::try_from((first + offset) % 250 + 1)?;
            let path = dir.join(format!("slot-{number}"));
            let lock = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("all 250 slots in {} are held", dir.display())
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    fn dir() -> PathBuf {
        std::env::temp_dir().join("mcp-gateway-slots")
    }
}
