//! Whether digits are a card's or a person's number, by the rules of who gives it out.
//!
//! Digits are values of 0 to 9; letters before and after them are capitals.

use super::{
    checks::{luhn, mod_11_10, verhoeff, weighted},
    dates::is_date,
};

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, &digit| number * 10 + u64::from(digit))
}

fn small(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, &digit| number * 10 + u32::from(digit))
}

fn all_alike(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

/// ISO/IEC 7812: issuers' ranges, the lengths that they use, the check digit.
pub(super) fn card(digits: &[u8], _: [u8; 2]) -> bool {
    let lengths: &[usize] = match small(&digits[..6]) {
        // Visa.
        400_000..=499_999 => &[13, 16, 19],
        // Mastercard.
        510_000..=559_999 | 222_100..=272_099 => &[16],
        // American Express.
        340_000..=349_999 | 370_000..=379_999 => &[15],
        // Diners Club.
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => &[14, 16, 19],
        // Discover.
        601_100..=601_199 | 644_000..=659_999 => &[16, 19],
        // UnionPay.
        620_000..=629_999 => &[16, 17, 18, 19],
        810_000..=817_199 => &[16, 19],
        // JCB.
        352_800..=358_999 => &[16, 19],
        // RuPay; Mir.
        600_000..=600_999 | 220_000..=220_499 => &[16],
        // Maestro.
        500_000..=509_999 | 560_000..=589_999 | 630_000..=639_999 | 670_000..=679_999 => &[16, 18, 19],
        _ => return false,
    };
    lengths.contains(&digits.len()) && luhn(digits)
}

/// Social Security Administration: areas 001 to 899 but 666, groups 01 to 99, serials 0001 to 9999. The numbers of wallet inserts and
/// advertisements are nobody's.
pub(super) fn ssn(digits: &[u8], _: [u8; 2]) -> bool {
    let (area, group, serial) = (small(&digits[..3]), small(&digits[3..5]), small(&digits[5..]));
    let is_given = (1..=899).contains(&area) && area != 666 && group != 0 && serial != 0;
    is_given && !matches!((area, group, serial), (78, 5, 1120) | (219, 9, 9999)) && !all_alike(digits)
}

/// GB 11643-1999: region, date of birth, ISO 7064 MOD 11-2.
pub(super) fn china(digits: &[u8], _: [u8; 2]) -> bool {
    china_with(&digits[..17], u32::from(digits[17]))
}

pub(super) fn china_x(digits: &[u8], [_, after]: [u8; 2]) -> bool {
    after == b'X' && china_with(digits, 10)
}

fn china_with(digits: &[u8], check: u32) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let region = matches!(small(&digits[..2]), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83);
    let (year, month, day) = (small(&digits[6..10]), small(&digits[10..12]), small(&digits[12..14]));
    region && (1900..2100).contains(&year) && is_date(year, month, day) && (12 - weighted(digits, &WEIGHTS) % 11) % 11 == check
}

/// UIDAI: twelve digits, the first 2 to 9, Verhoeff.
pub(super) fn aadhaar(digits: &[u8], _: [u8; 2]) -> bool {
    digits[0] > 1 && verhoeff(digits) && !all_alike(digits)
}

/// Province, regency, district, date of birth (women: the day and 40), serial.
pub(super) fn nik(digits: &[u8], _: [u8; 2]) -> bool {
    let province = matches!(small(&digits[..2]), 11..=21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=97);
    let day = small(&digits[6..8]);
    let day = if day > 40 { day - 40 } else { day };
    province && is_date(2000, small(&digits[8..10]), day) && small(&digits[12..]) != 0
}

/// NADRA: province 1 to 8, family, and a digit that is odd for men; no check digit.
pub(super) fn cnic(digits: &[u8], _: [u8; 2]) -> bool {
    (1..=8).contains(&digits[0]) && !all_alike(digits)
}

/// NIMC: eleven digits; no check digit.
pub(super) fn nin(digits: &[u8], _: [u8; 2]) -> bool {
    !all_alike(digits)
}

/// Receita Federal: two check digits modulo 11.
pub(super) fn cpf(digits: &[u8], _: [u8; 2]) -> bool {
    let check = |many: usize| descending(&digits[..many]) * 10 % 11 % 10 == u32::from(digits[many]);
    check(9) && check(10) && !all_alike(digits)
}

/// The sum of the digits, each times its place from the end; the last counts twice.
fn descending(digits: &[u8]) -> u32 {
    digits.iter().rev().zip(2..).map(|(&digit, weight)| u32::from(digit) * weight).sum()
}

/// The Pension Fund of Russia: two check digits modulo 101, for numbers above 001-001-998.
pub(super) fn snils(digits: &[u8], _: [u8; 2]) -> bool {
    let sum = digits[..9].iter().rev().zip(1..).map(|(&digit, weight)| u32::from(digit) * weight).sum::<u32>();
    small(&digits[..9]) > 1_001_998 && sum % 101 % 100 == small(&digits[9..])
}

/// Federal Tax Service of Russia: a person's twelve digits, two of them check digits.
pub(super) fn inn(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 11] = [3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8];
    let check = |many: usize| weighted(&digits[..many], &WEIGHTS[11 - many..]) % 11 % 10 == u32::from(digits[many]);
    check(10) && check(11) && !all_alike(digits)
}

/// Ministry of Internal Affairs of Japan, ordinance 85 of 2014: a check digit modulo 11.
pub(super) fn my_number(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 11] = [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2];
    let rest = weighted(digits, &WEIGHTS) % 11;
    (if rest <= 1 { 0 } else { 11 - rest }) == u32::from(digits[11]) && !all_alike(digits)
}

/// Bundeszentralamt fuer Steuern: no zero first; of the first ten digits one stands twice or three times; ISO 7064 MOD 11,10.
pub(super) fn tax_id(digits: &[u8], _: [u8; 2]) -> bool {
    let mut counts = [0; 10];
    digits[..10].iter().for_each(|&digit| counts[usize::from(digit)] += 1);
    let repeated = counts.iter().filter(|&&count| count > 1).count();
    digits[0] != 0 && repeated == 1 && counts.iter().all(|&count| count < 4) && mod_11_10(digits)
}

/// INSEE: sex, year and month of birth, department, commune, order, and a key modulo 97.
pub(super) fn nir(digits: &[u8], _: [u8; 2]) -> bool {
    let sex = matches!(digits[0], 1..=4 | 7 | 8);
    let month = matches!(small(&digits[3..5]), 1..=12 | 20..=42 | 50..=99);
    let department = (1..=99).contains(&small(&digits[5..7]));
    sex && month && department && 97 - number(&digits[..13]) % 97 == number(&digits[13..])
}

/// NHS: ten digits, the last modulo 11.
pub(super) fn nhs(digits: &[u8], _: [u8; 2]) -> bool {
    let check = (11 - descending(&digits[..9]) % 11) % 11;
    check == u32::from(digits[9]) && !all_alike(digits)
}

const DNI: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// Real Decreto 1553/2005: eight digits and a letter modulo 23.
pub(super) fn dni(digits: &[u8], [_, after]: [u8; 2]) -> bool {
    DNI[(number(digits) % 23) as usize] == after && !all_alike(digits)
}

/// A foreigner's number: X, Y or Z for the first digit.
pub(super) fn nie(digits: &[u8], [before, after]: [u8; 2]) -> bool {
    let Some(first) = b"XYZ".iter().position(|&letter| letter == before) else { return false };
    let value = first as u64 * 10_000_000 + number(digits);
    DNI[(value % 23) as usize] == after && !all_alike(digits)
}

/// Ministry of the Interior of South Korea: date of birth, century and sex, check digit modulo 11. Numbers given out since October 2020
/// have no check digit.
pub(super) fn rrn(digits: &[u8], letters: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 12] = [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5];
    rrn_unchecked(digits, letters) && (11 - weighted(digits, &WEIGHTS) % 11) % 10 == u32::from(digits[12])
}

pub(super) fn rrn_unchecked(digits: &[u8], _: [u8; 2]) -> bool {
    let century = match digits[6] {
        1 | 2 | 5 | 6 => 1900,
        3 | 4 | 7 | 8 => 2000,
        _ => 1800,
    };
    is_date(century + small(&digits[..2]), small(&digits[2..4]), small(&digits[4..6]))
}

/// Nufus: no zero first; two check digits.
pub(super) fn tckn(digits: &[u8], _: [u8; 2]) -> bool {
    let sum = |from: usize| digits[from..9].iter().step_by(2).map(|&digit| u32::from(digit)).sum::<u32>();
    let (odd, even) = (sum(0), sum(1));
    let tenth = (odd * 7 + 100 - even) % 10;
    digits[0] != 0 && tenth == u32::from(digits[9]) && (odd + even + tenth) % 10 == u32::from(digits[10])
}

/// PESEL: date of birth (the month tells the century), check digit modulo 10.
pub(super) fn pesel(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 11] = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1];
    let month = small(&digits[2..4]);
    let year = small(&digits[..2])
        + match month / 20 {
            0 => 1900,
            1 => 2000,
            2 => 2100,
            3 => 2200,
            _ => 1800,
        };
    is_date(year, month % 20, small(&digits[4..6])) && weighted(digits, &WEIGHTS).is_multiple_of(10)
}

/// The eleven test: places weigh 9 to 2, the last one minus 1.
pub(super) fn bsn(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 9] = [9, 8, 7, 6, 5, 4, 3, 2, 10];
    weighted(digits, &WEIGHTS).is_multiple_of(11) && !all_alike(digits)
}

/// Service Canada: Luhn; 0 first is given to nobody, 8 neither.
pub(super) fn sin(digits: &[u8], _: [u8; 2]) -> bool {
    digits[0] != 8 && luhn(digits) && !all_alike(digits)
}

/// Australian Taxation Office: modulo 11.
pub(super) fn tfn_9(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 9] = [1, 4, 3, 7, 5, 8, 6, 9, 10];
    weighted(digits, &WEIGHTS).is_multiple_of(11) && !all_alike(digits)
}

pub(super) fn tfn_8(digits: &[u8], _: [u8; 2]) -> bool {
    const WEIGHTS: [u32; 8] = [10, 7, 8, 4, 6, 3, 5, 1];
    weighted(digits, &WEIGHTS).is_multiple_of(11) && !all_alike(digits)
}

/// Home Affairs of South Africa: date of birth, sex, citizenship, Luhn.
pub(super) fn south_africa(digits: &[u8], _: [u8; 2]) -> bool {
    is_date(2000 + small(&digits[..2]), small(&digits[2..4]), small(&digits[4..6])) && digits[10] <= 2 && luhn(digits)
}
