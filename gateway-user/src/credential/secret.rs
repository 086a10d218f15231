//! A value that nobody is shown.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

/// Shorter, it would be found by chance in answers, and masking it would riddle them. (It would be guessed soon, too.)
pub(super) const LEAST: usize = 8;
/// More is taken by no server in a field or a query.
pub(super) const MOST: usize = 16 << 10;

/// A text that is neither printed nor serialised, and overwritten in memory when the last copy goes.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes over a text.
    #[must_use]
    pub fn new(text: impl Into<Zeroizing<String>>) -> Self {
        Secret(Arc::new(text.into()))
    }

    /// A text that can be sent as a credential: of 8 to 16,384 visible ASCII characters, with spaces only inside it. All else
    /// could end the field that it stands in, or could not be found again in an answer. The line break at its end is not part of it.
    ///
    /// # Errors
    /// What it is instead, in words that hold nothing of it.
    pub fn sendable(text: &str) -> Result<Self, &'static str> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err("is empty");
        }
        if !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            return Err("holds control characters, line breaks or characters that are not ASCII");
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err("begins or ends with a space");
        }
        match text.len() {
            ..LEAST => {
                Err("is shorter than 8 characters: it could not be told from other text in the server's answers, to be masked there")
            }
            LEAST..=MOST => Ok(Secret::new(text.to_owned())),
            _ => Err("is longer than 16 KiB"),
        }
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is a copy of this one. (Two that were made apart are not, whatever they hold.)
    #[must_use]
    pub fn is(&self, other: &Secret) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[withheld]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[withheld]")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_shown() {
        let secret = Secret::new("hunter2hunter2".to_owned());
        assert_eq!(format!("{secret} {secret:?} {secret:#?} {:?}", Some(&secret)), "[withheld] [withheld] [withheld] Some([withheld])");
    }

    #[test]
    fn what_cannot_be_sent_or_found_again_is_refused_without_being_told() {
        assert_eq!(Secret::sendable("s3cret key\r\n").unwrap().expose(), "s3cret key");
        for text in
            ["", "\n", "s3cretz", "s3cretive\nX-Admin: 1", "s3cret\0\0\0", "s3crét-key", " s3cret-key", "s3cret-key ", "s3cret-key\t"]
        {
            let told = Secret::sendable(text).unwrap_err();
            assert!(!told.contains("s3cr"), "{told}");
        }
        assert!(Secret::sendable(&"x".repeat(MOST)).is_ok());
        assert!(Secret::sendable(&"x".repeat(MOST + 1)).is_err());
    }
}
