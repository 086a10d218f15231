//! Random choices that are the same in every run.

/// A generator of numbers (SplitMix64), from its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 on, below this one.
    pub fn below(&mut self, many: usize) -> usize {
        usize::try_from(self.number() % many.max(1) as u64).unwrap_or(0)
    }

    /// A number of this range, both ends included.
    pub fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// One of these.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// So many signs of an alphabet.
    pub fn signs(&mut self, alphabet: &str, many: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..many).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    /// So many digits.
    pub fn digits(&mut self, many: usize) -> String {
        self.signs("0123456789", many)
    }
}
