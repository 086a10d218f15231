//! What is read from files and kept: read anew when they have changed, and left as it was when what is there now cannot be used.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

/// A value that was made of files.
pub(crate) struct Kept<T> {
    value: ArcSwap<T>,
    files: Vec<PathBuf>,
    looks: Mutex<Looks>,
    outdated: AtomicBool,
}

/// The files as they were.
struct Looks {
    /// When they were last read, whatever came of it.
    read: Vec<Look>,
    /// When they were last looked at.
    last: Vec<Look>,
}

/// What tells a file from what is at its path later: where its bytes are, how many, and when they or the rights to them last changed.
/// `None` while it cannot be seen.
type Look = Option<[i128; 5]>;

impl<T> Kept<T> {
    /// With what `read` makes of these files.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn new<E>(files: Vec<PathBuf>, read: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        // Looked at first: what changes while it is read is read once more.
        let looks = look(&files);
        let value = ArcSwap::from_pointee(read()?);
        Ok(Kept { value, files, looks: Mutex::new(Looks { read: looks.clone(), last: looks }), outdated: AtomicBool::new(false) })
    }

    /// The value in force.
    pub(crate) fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether the files have changed and could not be used since.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// Reads the files anew when they have changed, or at any rate if `at_any_rate`; `None` when that was not called for. Else what was in
    /// force before, or why it still is.
    pub(crate) fn renew<E>(&self, at_any_rate: bool, read: impl FnOnce() -> Result<T, E>) -> Option<Result<Arc<T>, E>> {
        let now = look(&self.files);
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        // A certificate and its key are put in place one after the other: they are read when both rest.
        let rest = now == looks.last;
        let changed = now != looks.read;
        looks.last.clone_from(&now);
        if !(at_any_rate || changed && rest) {
            return None;
        }
        looks.read = now;
        let value = read();
        self.outdated.store(value.is_err(), Ordering::Relaxed);
        Some(value.map(|value| self.value.swap(Arc::new(value))))
    }
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    let one = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some([meta.dev().into(), meta.ino().into(), meta.size().into(), meta.ctime().into(), meta.ctime_nsec().into()])
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::path::Path;

    use super::*;

    /// A number in a file.
    struct Number {
        dir: tempfile::TempDir,
        kept: Kept<u32>,
    }

    impl Number {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("number");
            fs::write(&path, "1").unwrap();
            let kept = Kept::new(vec![path.clone()], || read(&path)).unwrap();
            Number { dir, kept }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("number")
        }

        /// Looks at it; gives what was read, if it was.
        fn look(&self, at_any_rate: bool) -> Option<Result<u32, String>> {
            self.kept.renew(at_any_rate, || read(&self.path())).map(|renewed| renewed.map(|_| *self.kept.get()))
        }

        /// As the next look but one does.
        fn rested(&self) -> Option<Result<u32, String>> {
            assert_eq!(self.look(false), None, "it has only just changed");
            self.look(false)
        }
    }

    fn read(path: &Path) -> Result<u32, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        text.parse().map_err(|_| format!("not a number: {text}"))
    }

    #[test]
    fn what_has_changed_in_whatever_way_is_read_when_it_rests() {
        let number = Number::new();
        assert_eq!((number.look(false), number.look(false)), (None, None));
        fs::write(number.path(), "2").unwrap();
        assert_eq!(number.rested(), Some(Ok(2)));
        assert_eq!((number.look(false), number.look(false)), (None, None));
        fs::write(number.dir.path().join("new"), "3").unwrap();
        fs::rename(number.dir.path().join("new"), number.path()).unwrap();
        assert_eq!(number.rested(), Some(Ok(3)));
    }

    #[test]
    fn while_it_changes_it_is_not_read() {
        let number = Number::new();
        for text in ["4", "45", "456"] {
            fs::write(number.path(), text).unwrap();
            assert_eq!(number.look(false), None);
        }
        assert_eq!(number.look(false), Some(Ok(456)));
    }

    #[test]
    fn what_cannot_be_used_leaves_the_last_that_could_and_is_said_once() {
        let number = Number::new();
        fs::write(number.path(), "x").unwrap();
        assert_eq!(number.rested(), Some(Err("not a number: x".into())));
        assert_eq!((number.look(false), *number.kept.get(), number.kept.is_outdated()), (None, 1, true));
        fs::remove_file(number.path()).unwrap();
        assert!(number.rested().is_some_and(|read| read.is_err()));
        assert_eq!((*number.kept.get(), number.kept.is_outdated()), (1, true));
        fs::write(number.path(), "5").unwrap();
        assert_eq!(number.rested(), Some(Ok(5)));
        assert!(!number.kept.is_outdated());
    }

    #[test]
    fn it_is_read_at_any_rate_when_that_is_asked_for() {
        let number = Number::new();
        assert_eq!(number.look(true), Some(Ok(1)));
        fs::write(number.path(), "6").unwrap();
        assert_eq!(number.look(true), Some(Ok(6)));
        assert_eq!((number.look(false), number.look(false)), (None, None));
    }
}
