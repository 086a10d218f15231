//! Whose a session of the protocol is: whoever it was opened for, and nobody else, may go on with it.
//!
//! A session that was opened before the gateway governed its server becomes the first principal's that uses it.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::audit::{Digest, Sha256};

/// So many sessions are remembered at least, the latest.
const MOST: usize = 65_536;

/// The owners of sessions, as they are kept over restarts. Neither a session's id nor a principal's name is written down, only their SHA-256.
#[derive(Default)]
pub struct Owners {
    owned: Mutex<Owned>,
}

#[derive(Default)]
struct Owned {
    /// The latest, and those before them: when there are too many of the latest, they take the place of those before.
    latest: HashMap<Sha256, Sha256>,
    before: HashMap<Sha256, Sha256>,
    kept: Option<(PathBuf, File)>,
}

impl Owners {
    /// Those that were written down in this directory, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let path = dir.join("sessions");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let lines: Vec<&str> = text.lines().collect();
        let latest = lines[lines.len().saturating_sub(MOST)..].iter().filter_map(|line| read(line)).collect();
        let mut owned = Owned { latest, ..Owned::default() };
        owned.write_anew(path)?;
        Ok(Owners { owned: Mutex::new(owned) })
    }

    /// A server opened a session for this principal.
    pub(super) fn opened(&self, session: &str, principal: &str) {
        self.with(|owned| owned.note(Digest::of(session.as_bytes()), Digest::of(principal.as_bytes())));
    }

    /// Whether a principal may go on with a session.
    pub(super) fn is_owner(&self, session: &str, principal: &str) -> bool {
        let (session, principal) = (Digest::of(session.as_bytes()), Digest::of(principal.as_bytes()));
        self.with(|owned| match owned.latest.get(&session).or_else(|| owned.before.get(&session)) {
            Some(owner) => *owner == principal,
            None => {
                owned.note(session, principal);
                true
            }
        })
    }

    fn with<T>(&self, then: impl FnOnce(&mut Owned) -> T) -> T {
        // What is behind the lock is whole after every statement: a panic elsewhere does not spoil it.
        then(&mut self.owned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Owned {
    fn note(&mut self, session: Sha256, principal: Sha256) {
        if self.latest.insert(session, principal) == Some(principal) {
            return;
        }
        if self.latest.len() > MOST {
            self.before = std::mem::take(&mut self.latest);
            self.latest.insert(session, principal);
            if let Some((path, _)) = self.kept.take() {
                // It is told there that this failed.
                let _ = self.write_anew(path);
            }
        } else if let Some((path, file)) = &mut self.kept
            && let Err(error) = file.write_all(line(&session, &principal).as_bytes())
        {
            tracing::error!("{} cannot be written: {error}; after a restart, that session is whoever's first uses it", path.display());
        }
    }

    /// Writes all down anew, into a file of which readers see all or nothing.
    fn write_anew(&mut self, path: PathBuf) -> io::Result<()> {
        let all = self.before.iter().chain(&self.latest).map(|(session, principal)| line(session, principal)).collect::<String>();
        let made = path.with_extension("new");
        let file = OpenOptions::new().append(true).create(true).truncate(false).mode(0o600).open(&made).and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(all.as_bytes())?;
            fs::rename(&made, &path)?;
            Ok(file)
        });
        match file {
            Ok(file) => {
                self.kept = Some((path, file));
                Ok(())
            }
            Err(error) => {
                tracing::error!("{} cannot be written: {error}; who owns which session is not kept over a restart", path.display());
                Err(error)
            }
        }
    }
}

fn line(session: &Sha256, principal: &Sha256) -> String {
    format!("{} {}\n", String::from_utf8_lossy(&session.hex()), String::from_utf8_lossy(&principal.hex()))
}

fn read(line: &str) -> Option<(Sha256, Sha256)> {
    let (session, principal) = line.split_once(' ')?;
    Some((Sha256::from_hex(session.as_bytes())?, Sha256::from_hex(principal.as_bytes())?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_its_owners_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path()).unwrap();
        owners.opened("clinic:1", "ada");
        assert!(owners.is_owner("clinic:1", "ada") && !owners.is_owner("clinic:1", "bob"));
        assert!(owners.is_owner("clinic:2", "bob"), "nobody's before");
        assert!(!owners.is_owner("clinic:2", "ada"));
        let owners = Owners::open(dir.path()).unwrap();
        assert!(owners.is_owner("clinic:1", "ada") && !owners.is_owner("clinic:1", "bob") && !owners.is_owner("clinic:2", "ada"));
        owners.opened("clinic:1", "bob");
        assert!(owners.is_owner("clinic:1", "bob"), "the server gave the same name to another session");
        let text = fs::read_to_string(dir.path().join("sessions")).unwrap();
        assert!(!text.contains("clinic") && !text.contains("ada"), "{text}");
    }

    #[test]
    fn the_latest_are_remembered_however_many_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path()).unwrap();
        let of = |n: usize| format!("clinic:{n}");
        for n in 0..MOST + 10 {
            owners.opened(&of(n), "ada");
        }
        for n in 0..MOST + 10 {
            assert!(!owners.is_owner(&of(n), "bob"), "{n}");
        }
        let owners = Owners::open(dir.path()).unwrap();
        assert!(!owners.is_owner(&of(MOST + 9), "bob"));
        assert!(fs::read_to_string(dir.path().join("sessions")).unwrap().lines().count() <= MOST);
    }
}
