//! How numbers are written: groups of digits, and what checks them.

use super::persons as p;
use crate::Kind::{self, *};

/// What must be there besides the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: its form or its check digits are enough.
    Nothing,
    /// A word that tells what it is.
    Word,
}

/// What stands around the digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Digits,
    LetterAfter,
    LettersAround,
}

/// A way to write a number.
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) groups: &'static [u8],
    /// Between the groups, one of these; any, if there is none.
    pub(super) separators: &'static [&'static str],
    pub(super) ends: Ends,
    pub(super) need: Need,
    /// Whether the digits (0 to 9), and the letters before and after them, are such a number.
    pub(super) check: fn(&[u8], [u8; 2]) -> bool,
}

/// Whether a number may begin with a group of this length, then one of that (0: with none), without a word that tells it or with one.
pub(super) fn may_begin(first: usize, second: usize, told: bool) -> bool {
    const NEXT: [[u32; SHAPES.len()]; 2] = [seconds(false), seconds(true)];
    NEXT[usize::from(told)].get(first).is_some_and(|next| next & (1 | 1 << second.min(31)) != 0)
}

/// For each length of a first group, a bit for each length of a second; the lowest where one group is all.
const fn seconds(told: bool) -> [u32; SHAPES.len()] {
    let mut seconds = [0; SHAPES.len()];
    let mut first = 0;
    while first < SHAPES.len() {
        let mut at = 0;
        while at < SHAPES[first].len() {
            let shape = &SHAPES[first][at];
            if told || matches!(shape.need, Need::Nothing) {
                seconds[first] |= if shape.groups.len() > 1 { 1 << shape.groups[1] } else { 1 };
            }
            at += 1;
        }
        first += 1;
    }
    seconds
}

/// Whether a number of this kind has check digits.
pub(super) fn is_checked(kind: Kind) -> bool {
    !matches!(kind, UsSsn | PakistanCnic | NigeriaNin | IndonesiaNik | KoreaRrn)
}

/// The shapes whose first group has so many digits.
pub(super) fn starting(digits: usize) -> &'static [Shape] {
    SHAPES.get(digits).copied().unwrap_or_default()
}

/// What a number needs, by its groups alone.
const fn free(kind: Kind, groups: &'static [u8], separators: &'static [&'static str], check: fn(&[u8], [u8; 2]) -> bool) -> Shape {
    Shape { kind, groups, separators, ends: Ends::Digits, need: Need::Nothing, check }
}

const fn told(kind: Kind, groups: &'static [u8], separators: &'static [&'static str], check: fn(&[u8], [u8; 2]) -> bool) -> Shape {
    Shape { kind, groups, separators, ends: Ends::Digits, need: Need::Word, check }
}

const fn lettered(
    kind: Kind,
    groups: &'static [u8],
    separators: &'static [&'static str],
    ends: Ends,
    check: fn(&[u8], [u8; 2]) -> bool,
) -> Shape {
    Shape { kind, groups, separators, ends, need: Need::Nothing, check }
}

const ALIKE_1: &[&str] = &[" ", "-", "."];
const ALIKE_2: &[&str] = &["  ", "--", ".."];
const ALIKE_3: &[&str] = &["   ", "---", "..."];
const ALIKE_4: &[&str] = &["    ", "----", "...."];

/// By the digits of the first group; those that need a word come last.
const SHAPES: [&[Shape]; 20] = [
    &[],
    // 1
    &[
        free(FranceNir, &[1, 2, 2, 2, 3, 3, 2], &["      ", "------", "......", "     -", "     /"], p::nir),
        lettered(SpainDni, &[1, 3, 3], ALIKE_2, Ends::LettersAround, p::nie),
    ],
    // 2
    &[
        lettered(SpainDni, &[2, 3, 3], ALIKE_2, Ends::LetterAfter, p::dni),
        told(GermanyTaxId, &[2, 3, 3, 3], ALIKE_3, p::tax_id),
        told(AustraliaTfn, &[2, 3, 3], ALIKE_2, p::tfn_8),
    ],
    // 3
    &[
        free(UsSsn, &[3, 2, 4], &["--"], p::ssn),
        free(BrazilCpf, &[3, 3, 3, 2], &["..-", "---", "  -"], p::cpf),
        free(RussiaSnils, &[3, 3, 3, 2], &["-- ", "---"], p::snils),
        told(UsSsn, &[3, 2, 4], ALIKE_2, p::ssn),
        told(BrazilCpf, &[3, 3, 3, 2], &["...", "   ", "../"], p::cpf),
        told(RussiaSnils, &[3, 3, 3, 2], &["   "], p::snils),
        told(TurkeyTckn, &[3, 3, 3, 2], ALIKE_3, p::tckn),
        told(CanadaSin, &[3, 3, 3], ALIKE_2, p::sin),
        told(AustraliaTfn, &[3, 3, 3], ALIKE_2, p::tfn_9),
        told(NetherlandsBsn, &[3, 3, 3], ALIKE_2, p::bsn),
        told(UkNhs, &[3, 3, 4], ALIKE_2, p::nhs),
        told(NigeriaNin, &[3, 4, 4], ALIKE_2, p::nin),
        told(NigeriaNin, &[3, 3, 3, 2], ALIKE_3, p::nin),
    ],
    // 4
    &[
        free(Card, &[4, 4, 4, 4], ALIKE_3, p::card),
        free(Card, &[4, 4, 4, 4, 3], ALIKE_4, p::card),
        free(Card, &[4, 6, 5], ALIKE_2, p::card),
        free(Card, &[4, 6, 4], ALIKE_2, p::card),
        free(IndiaAadhaar, &[4, 4, 4], &["  ", "--"], p::aadhaar),
        told(JapanMyNumber, &[4, 4, 4], ALIKE_2, p::my_number),
        told(RussiaInn, &[4, 4, 4], ALIKE_2, p::inn),
        told(NetherlandsBsn, &[4, 2, 3], ALIKE_2, p::bsn),
        told(NigeriaNin, &[4, 3, 4], ALIKE_2, p::nin),
        told(IndonesiaNik, &[4, 4, 4, 4], ALIKE_3, p::nik),
    ],
    // 5
    &[told(PakistanCnic, &[5, 7, 1], ALIKE_2, p::cnic)],
    // 6
    &[
        free(Card, &[6, 13], ALIKE_1, p::card),
        free(KoreaRrn, &[6, 7], &["-"], p::rrn),
        free(SouthAfricaId, &[6, 4, 3], ALIKE_2, p::south_africa),
        free(SouthAfricaId, &[6, 4, 2, 1], ALIKE_3, p::south_africa),
        free(SouthAfricaId, &[6, 4, 1, 1, 1], ALIKE_4, p::south_africa),
        free(ChinaId, &[6, 8, 4], ALIKE_2, p::china),
        lettered(ChinaId, &[6, 8, 3], ALIKE_2, Ends::LetterAfter, p::china_x),
        told(KoreaRrn, &[6, 7], ALIKE_1, p::rrn_unchecked),
        told(IndonesiaNik, &[6, 6, 4], ALIKE_2, p::nik),
        told(PolandPesel, &[6, 5], ALIKE_1, p::pesel),
    ],
    // 7
    &[lettered(SpainDni, &[7], &[], Ends::LettersAround, p::nie)],
    // 8
    &[lettered(SpainDni, &[8], &[], Ends::LetterAfter, p::dni), told(AustraliaTfn, &[8], &[], p::tfn_8)],
    // 9
    &[
        free(BrazilCpf, &[9, 2], &["-"], p::cpf),
        told(UsSsn, &[9], &[], p::ssn),
        told(NetherlandsBsn, &[9], &[], p::bsn),
        told(CanadaSin, &[9], &[], p::sin),
        told(AustraliaTfn, &[9], &[], p::tfn_9),
        told(RussiaSnils, &[9, 2], ALIKE_1, p::snils),
    ],
    // 10
    &[told(UkNhs, &[10], &[], p::nhs)],
    // 11
    &[
        told(BrazilCpf, &[11], &[], p::cpf),
        told(RussiaSnils, &[11], &[], p::snils),
        told(GermanyTaxId, &[11], &[], p::tax_id),
        told(TurkeyTckn, &[11], &[], p::tckn),
        told(PolandPesel, &[11], &[], p::pesel),
        told(NigeriaNin, &[11], &[], p::nin),
    ],
    // 12
    &[told(IndiaAadhaar, &[12], &[], p::aadhaar), told(JapanMyNumber, &[12], &[], p::my_number), told(RussiaInn, &[12], &[], p::inn)],
    // 13
    &[
        free(SouthAfricaId, &[13], &[], p::south_africa),
        free(FranceNir, &[13, 2], ALIKE_1, p::nir),
        told(Card, &[13], &[], p::card),
        told(KoreaRrn, &[13], &[], p::rrn_unchecked),
        told(PakistanCnic, &[13], &[], p::cnic),
    ],
    // 14
    &[free(Card, &[14], &[], p::card)],
    // 15
    &[free(Card, &[15], &[], p::card), free(FranceNir, &[15], &[], p::nir)],
    // 16
    &[free(Card, &[16], &[], p::card), told(IndonesiaNik, &[16], &[], p::nik)],
    // 17
    &[free(Card, &[17], &[], p::card), lettered(ChinaId, &[17], &[], Ends::LetterAfter, p::china_x)],
    // 18
    &[free(ChinaId, &[18], &[], p::china), free(Card, &[18], &[], p::card)],
    // 19
    &[free(Card, &[19], &[], p::card)],
];
