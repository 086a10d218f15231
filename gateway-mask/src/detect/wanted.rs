//! Sets of detectors.

use super::Found;
use crate::Kind;

/// How many detectors of its own an operator may have.
pub(super) const MOST_OWN: usize = 128;

/// A set of kinds, and of the operator's own detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    kinds: u64,
    own: u128,
}

const _: () = assert!(Kind::ALL.len() <= 64);

impl Wanted {
    /// None.
    pub const NONE: Wanted = Wanted { kinds: 0, own: 0 };

    /// Every kind, and every detector of the operator's own.
    #[must_use]
    pub const fn all() -> Wanted {
        Wanted { kinds: u64::MAX, own: u128::MAX }
    }

    /// These kinds.
    #[must_use]
    pub const fn kinds(kinds: &[Kind]) -> Wanted {
        let mut set = Wanted::NONE;
        let mut at = 0;
        while at < kinds.len() {
            set.kinds |= 1 << kinds[at] as u32;
            at += 1;
        }
        set
    }

    /// Every kind whose values let their holder in somewhere.
    #[must_use]
    pub fn secrets() -> Wanted {
        Kind::ALL.iter().filter(|kind| kind.is_secret()).fold(Wanted::NONE, |set, &kind| set.union(Wanted::kinds(&[kind])))
    }

    /// The operator's own detector at this place.
    #[must_use]
    pub fn own(at: usize) -> Wanted {
        Wanted { kinds: 0, own: if at < MOST_OWN { 1 << at } else { 0 } }
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Wanted) -> Wanted {
        Wanted { kinds: self.kinds | other.kinds, own: self.own | other.own }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.kinds == 0 && self.own == 0
    }

    /// Whether this kind is in it.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.kinds & 1 << kind as u32 != 0
    }

    /// Whether the operator's own detector at this place is in it.
    #[must_use]
    pub fn has_own(self, at: usize) -> bool {
        at < MOST_OWN && self.own & 1 << at != 0
    }

    /// Whether this detector is in it.
    #[must_use]
    pub fn has_found(self, found: Found) -> bool {
        match found {
            Found::Kind(kind) => self.has(kind),
            Found::Own(at) => self.has_own(at),
        }
    }
}
