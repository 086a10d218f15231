//! Sets of words that are asked for each word of a text, in any case.

/// Words, and a filter before them by which nearly all others are told at once.
pub(super) struct Words {
    filter: Vec<u64>,
    /// In capitals, sorted.
    words: Vec<String>,
}

/// Bits of the filter for one word: so many others get through to be looked up.
const BITS_PER_WORD: usize = 32;

impl Words {
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<String> = words.into_iter().map(str::to_ascii_uppercase).collect();
        words.sort();
        words.dedup();
        let mut filter = vec![0; (words.len() * BITS_PER_WORD / 64).next_power_of_two()];
        for word in &words {
            let (place, bit) = place(word, filter.len());
            filter[place] |= bit;
        }
        Self { filter, words }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        let (place, bit) = place(word, self.filter.len());
        if self.filter[place] & bit == 0 {
            return false;
        }
        let known = |known: &String| known.bytes().cmp(word.bytes().map(|byte| byte.to_ascii_uppercase()));
        self.words.binary_search_by(known).is_ok()
    }
}

/// Where in a filter of so many parts, a power of two, a word's bit is: the same place in any case.
fn place(word: &str, length: usize) -> (usize, u64) {
    let mut hash = 0_u64;
    for part in word.as_bytes().chunks(8) {
        let part = part.iter().fold(0, |part, byte| part << 8 | u64::from(byte | 0x20));
        hash = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    (usize::try_from(hash >> 6 & 0xffff).unwrap_or_default() & (length - 1), 1 << (hash & 63))
}
