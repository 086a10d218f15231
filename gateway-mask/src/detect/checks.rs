//! Check digits. Digits are values of 0 to 9.

/// ISO/IEC 7812-1, annex B: the check digit of cards (Luhn).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| {
            let digit = u32::from(digit);
            if at % 2 == 0 {
                digit
            } else if digit > 4 {
                2 * digit - 9
            } else {
                2 * digit
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Verhoeff's: the dihedral group D5, as Aadhaar has it.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    const TIMES: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const TURNED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let step = |so_far: u8, (at, &digit): (usize, &u8)| TIMES[usize::from(so_far)][usize::from(TURNED[at % 8][usize::from(digit)])];
    digits.iter().rev().enumerate().fold(0, step) == 0
}

/// ISO 7064 MOD 97-10 over letters and digits, once the first four stand last (ISO 13616: IBAN).
pub(super) fn mod_97(bytes: impl Iterator<Item = u8>) -> Option<u32> {
    bytes.into_iter().try_fold(0, |sum: u32, byte| match byte {
        b'0'..=b'9' => Some((sum * 10 + u32::from(byte - b'0')) % 97),
        b'A'..=b'Z' => Some((sum * 100 + u32::from(byte - b'A') + 10) % 97),
        b'a'..=b'z' => Some((sum * 100 + u32::from(byte - b'a') + 10) % 97),
        _ => None,
    })
}

/// ISO 7064 MOD 11,10: the last digit checks those before it (German tax id).
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((&check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product: u32, &digit| {
        let sum = (u32::from(digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(check)
}

/// The sum of the digits, each times its weight.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(&digit, weight)| u32::from(digit) * weight).sum()
}

/// Shannon's entropy of the bytes, in bits a byte.
pub(super) fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    bytes.iter().for_each(|&byte| counts[usize::from(byte)] = counts[usize::from(byte)].saturating_add(1));
    let counts = counts.iter().filter(|&&count| count > 0).map(|&count| f32::from(count));
    let all: f32 = counts.clone().sum();
    counts.map(|count| -count / all * (count / all).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|byte| byte - b'0').collect()
    }

    #[test]
    fn check_digits_hold_for_published_examples_and_for_no_other_last_digit() {
        let checks = [("79927398713", luhn as fn(&[u8]) -> bool), ("2363", verhoeff), ("86095742719", mod_11_10)];
        for (number, check) in checks {
            let (rest, last) = number.split_at(number.len() - 1);
            for digit in 0..10 {
                assert_eq!(check(&digits(&format!("{rest}{digit}"))), digit.to_string() == last, "{rest}{digit}");
            }
        }
    }

    #[test]
    fn verhoeff_sees_neighbours_change_places() {
        assert!(verhoeff(&digits("123451")) && !verhoeff(&digits("123541")));
    }

    #[test]
    fn mod_97_reads_letters_as_two_digits() {
        assert_eq!(mod_97("WEST12345698765432GB82".bytes()), Some(1));
        assert_eq!(mod_97("west12345698765432gb82".bytes()), Some(1));
        assert_eq!(mod_97("A-1".bytes()), None);
    }

    #[test]
    fn entropy_is_that_of_the_bytes() {
        assert!(entropy(b"aaaa") < 0.01 && (entropy(b"abcd") - 2.0).abs() < 0.01 && entropy(b"") < 0.01);
    }
}
