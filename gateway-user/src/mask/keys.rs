//! The keys of what masks leave behind: commitments to values, and tokens in their place.

use std::path::Path;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};

use crate::key_file::{self, KeyFileError};

/// The gateway's key for masks, from which all others are made.
pub struct MaskKeys(Key);

impl MaskKeys {
    /// The key in a file; it is made where there is none.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn open(path: &Path) -> Result<MaskKeys, KeyFileError> {
        Ok(MaskKeys::new(&key_file::open(path)?))
    }

    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> MaskKeys {
        MaskKeys(Key::new(HMAC_SHA256, bytes))
    }

    /// The key of one record's commitments: equal values in two records leave no equal traces.
    #[must_use]
    pub fn of_record(&self, salt: &[u8]) -> Key {
        self.made(b"mcp-gateway commitment 1\n", salt)
    }

    /// The key of the tokens of one scope, a session or a server or everything: in it, equal values have equal tokens.
    #[must_use]
    pub fn of_tokens(&self, scope: &str) -> Key {
        self.made(b"mcp-gateway token 1\n", scope.as_bytes())
    }

    fn made(&self, purpose: &[u8], from: &[u8]) -> Key {
        Key::new(HMAC_SHA256, sign(&self.0, &[purpose, from].concat()).as_ref())
    }
}

/// The MAC of several parts: no two lists of parts have the same bytes.
#[must_use]
pub fn mac(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut whole = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        whole.extend_from_slice(&(part.len() as u64).to_be_bytes());
        whole.extend_from_slice(part);
    }
    array(&sign(key, &whole))
}

fn array(tag: &Tag) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bound_to_its_record_and_to_its_scope() {
        let keys = MaskKeys::new(&[7; 32]);
        let value: &[&[u8]] = &[b"$.ssn", b"string", b"078-05-1120"];
        let one = mac(&keys.of_record(b"salt"), value);
        assert_eq!(one, mac(&keys.of_record(b"salt"), value));
        assert_ne!(one, mac(&keys.of_record(b"pepper"), value));
        assert_ne!(one, mac(&keys.of_tokens("salt"), value));
        assert_ne!(one, mac(&MaskKeys::new(&[8; 32]).of_record(b"salt"), value));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = MaskKeys::new(&[7; 32]).of_tokens("");
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
    }
}
