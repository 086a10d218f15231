//! Numbers of persons with valid check digits, reckoned here on their own: not with what is measured.

use gateway_mask::Kind;

use super::{random::Random, values::grouped};

fn of(digits: &str) -> Vec<usize> {
    digits.chars().filter_map(|digit| digit.to_digit(10)).map(|digit| digit as usize).collect()
}

fn weighed(digits: &str, weights: &[usize]) -> usize {
    of(digits).iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// These digits and the check digit of cards.
pub(super) fn with_luhn(body: &str) -> String {
    let doubled = of(body)
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| if at % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit })
        .sum::<usize>();
    format!("{body}{}", (10 - doubled % 10) % 10)
}

/// The first of what is made that holds.
fn until(mut make: impl FnMut() -> String, holds: impl Fn(&str) -> bool) -> String {
    loop {
        let made = make();
        if holds(&made) {
            return made;
        }
    }
}

fn date(random: &mut Random) -> (usize, String) {
    let year = random.within(1940, 2009);
    (year, format!("{:02}{:02}{:02}", year % 100, random.within(1, 12), random.within(1, 28)))
}

fn one_of(random: &mut Random, digits: &str, ways: &[(&[usize], &str)]) -> String {
    let (groups, separator) = ways[random.below(ways.len())];
    if groups.is_empty() { digits.to_owned() } else { grouped(digits, groups, separator) }
}

/// A number of this kind, in one of the ways it is written.
#[expect(clippy::too_many_lines, reason = "one arm a country")]
pub(super) fn value(kind: Kind, random: &mut Random) -> String {
    match kind {
        Kind::UsSsn => {
            let area = until(|| format!("{:03}", random.within(1, 772)), |area| area != "666");
            let digits = format!("{area}{:02}{:04}", random.within(1, 99), random.within(1, 9999));
            one_of(random, &digits, &[(&[3, 2, 4], "-"), (&[3, 2, 4], "-"), (&[3, 2, 4], " "), (&[], "")])
        }
        Kind::ChinaId => {
            let region = random.pick(&["110101", "310104", "440305", "510107", "330106", "420111"]);
            let body =
                format!("{region}{}{:02}{:02}{}", random.within(1940, 2010), random.within(1, 12), random.within(1, 28), random.digits(3));
            let sum = weighed(&body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
            let check = char::from(b"10X98765432"[sum % 11]);
            if random.once_in(4) { format!("{body}{}", check.to_ascii_lowercase()) } else { format!("{body}{check}") }
        }
        Kind::IndiaAadhaar => {
            let digits = until(|| format!("{}{}", random.within(2, 9), random.digits(11)), verhoeff);
            one_of(random, &digits, &[(&[4, 4, 4], " "), (&[4, 4, 4], "-"), (&[], "")])
        }
        Kind::IndiaPan => {
            let signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
            format!(
                "{}{}{}{}{}",
                random.signs(signs, 3),
                random.pick(&["P", "P", "C", "H"]),
                random.signs(signs, 1),
                random.digits(4),
                random.signs(signs, 1)
            )
        }
        Kind::IndonesiaNik => {
            let (day, month, year) = (random.within(1, 28) + 40 * random.below(2), random.within(1, 12), random.below(100));
            format!(
                "{}{}{day:02}{month:02}{year:02}{:04}",
                random.pick(&["3171", "3273", "3578", "1271", "5171"]),
                random.digits(2),
                random.within(1, 9999)
            )
        }
        Kind::PakistanCnic => {
            let digits = format!("{}{}", random.within(1, 7), random.digits(12));
            one_of(random, &digits, &[(&[5, 7, 1], "-"), (&[5, 7, 1], "-"), (&[], "")])
        }
        Kind::NigeriaNin => {
            let digits = format!("{}{}", random.within(1, 9), random.digits(10));
            one_of(random, &digits, &[(&[], ""), (&[4, 3, 4], " ")])
        }
        Kind::BrazilCpf => {
            let body = random.digits(9);
            let check = |body: &str| {
                let many = body.len();
                let rest = weighed(body, &(2..=many + 1).rev().collect::<Vec<_>>()) % 11;
                if rest < 2 { 0 } else { 11 - rest }
            };
            let body = format!("{body}{}", check(&body));
            let digits = format!("{body}{}", check(&body));
            match random.below(4) {
                0 => digits,
                1 => format!("{}-{}", &digits[..9], &digits[9..]),
                _ => format!("{}-{}", grouped(&digits[..9], &[3, 3, 3], "."), &digits[9..]),
            }
        }
        Kind::RussiaSnils => {
            let body = format!("{}{}", random.within(1, 9), random.digits(8));
            let sum = weighed(&body, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101;
            let digits = format!("{body}{:02}", if sum == 100 { 0 } else { sum });
            match random.below(3) {
                0 => digits,
                _ => format!("{} {}", grouped(&digits[..9], &[3, 3, 3], "-"), &digits[9..]),
            }
        }
        Kind::RussiaInn => {
            let body = format!("77{}", random.digits(8));
            let body = format!("{body}{}", weighed(&body, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10);
            format!("{body}{}", weighed(&body, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10)
        }
        Kind::JapanMyNumber => {
            let body = random.digits(11);
            let rest = weighed(&body, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
            let digits = format!("{body}{}", if rest <= 1 { 0 } else { 11 - rest });
            one_of(random, &digits, &[(&[], ""), (&[4, 4, 4], " "), (&[4, 4, 4], "-")])
        }
        Kind::MexicoCurp => {
            let (year, date) = date(random);
            let signs = "BCDFGHJKLMNPQRSTVWXYZ";
            let body = format!(
                "{}{}{}{date}{}{}{}{}",
                random.signs(signs, 1),
                random.signs("AEIOU", 1),
                random.signs(signs, 2),
                random.pick(&["H", "M"]),
                random.pick(&["DF", "JC", "NL", "MC", "OC", "VZ", "NE"]),
                random.signs(signs, 3),
                if year < 2000 { random.digits(1) } else { random.signs("ABC", 1) }
            );
            let alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ";
            let sum: usize =
                body.chars().enumerate().map(|(at, sign)| alphabet.chars().position(|other| other == sign).unwrap_or(0) * (18 - at)).sum();
            format!("{body}{}", (10 - sum % 10) % 10)
        }
        Kind::GermanyTaxId => {
            let digits = until(
                || {
                    let mut ten: Vec<u8> = b"0123456789".to_vec();
                    for at in (1..10).rev() {
                        ten.swap(at, random.below(at + 1));
                    }
                    let copied = random.below(9);
                    ten[9] = ten[copied];
                    for at in (1..10).rev() {
                        ten.swap(at, random.below(at + 1));
                    }
                    let body = String::from_utf8_lossy(&ten).into_owned();
                    let product = of(&body).iter().fold(10, |product, digit| {
                        let sum = (digit + product) % 10;
                        if sum == 0 { 20 % 11 } else { sum * 2 % 11 }
                    });
                    format!("{body}{}", (11 - product) % 10)
                },
                |digits| !digits.starts_with('0'),
            );
            one_of(random, &digits, &[(&[], ""), (&[2, 3, 3, 3], " ")])
        }
        Kind::FranceNir => {
            let body = format!(
                "{}{:02}{:02}{:02}{:03}{:03}",
                random.within(1, 2),
                random.below(100),
                random.within(1, 12),
                random.within(21, 95),
                random.within(1, 400),
                random.within(1, 600)
            );
            let digits = format!("{body}{:02}", 97 - body.parse::<u64>().unwrap_or(0) % 97);
            one_of(random, &digits, &[(&[], ""), (&[1, 2, 2, 2, 3, 3, 2], " "), (&[13, 2], " ")])
        }
        Kind::UkNino => {
            let prefix = random.pick(&["AB", "CE", "JG", "PX", "SR", "WK", "YZ", "HM"]);
            let (digits, suffix) = (random.digits(6), random.signs("ABCD", 1));
            match random.below(3) {
                0 => format!("{prefix} {} {suffix}", grouped(&digits, &[2, 2, 2], " ")),
                _ => format!("{prefix}{digits}{suffix}"),
            }
        }
        Kind::UkNhs => {
            let digits = until(
                || {
                    let body = format!("{}{}", random.within(4, 7), random.digits(8));
                    format!("{body}{}", (11 - weighed(&body, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11)
                },
                |digits| digits.len() == 10,
            );
            one_of(random, &digits, &[(&[], ""), (&[3, 3, 4], " "), (&[3, 3, 4], "-")])
        }
        Kind::ItalyFiscalCode => {
            let signs = "BCDFGLMNPRSTVZ";
            let body = format!(
                "{}{:02}{}{:02}{}{:03}",
                random.signs(signs, 6),
                random.below(100),
                random.signs("ABCDEHLMPRST", 1),
                random.within(1, 28) + 40 * random.below(2),
                random.signs("ABCDEFGHIL", 1),
                random.within(1, 999)
            );
            let odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
            let sum: usize = body
                .chars()
                .enumerate()
                .map(|(at, sign)| {
                    let value = sign.to_digit(10).unwrap_or_else(|| sign as u32 - 'A' as u32) as usize;
                    if at % 2 == 0 { odd[value] } else { value }
                })
                .sum();
            let code = format!("{body}{}", (b'A' + u8::try_from(sum % 26).unwrap_or(0)) as char);
            if random.once_in(5) { code.to_lowercase() } else { code }
        }
        Kind::SpainDni => {
            let letter = |number: usize| char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]);
            let number = random.within(1_000_000, 99_999_999);
            match random.below(5) {
                0 => {
                    let (first, rest) = (random.below(3), random.within(1_000_000, 9_999_999));
                    format!("{}{rest}{}", ["X", "Y", "Z"][first], letter(first * 10_000_000 + rest))
                }
                1 => format!("{number:08}-{}", letter(number)),
                2 => format!("{}-{}", grouped(&format!("{number:08}"), &[2, 3, 3], "."), letter(number)),
                _ => format!("{number:08}{}", letter(number)),
            }
        }
        Kind::KoreaRrn => {
            let (year, date) = date(random);
            let body = format!("{date}{}{}", if year < 2000 { random.within(1, 2) } else { random.within(3, 4) }, random.digits(5));
            let check = (11 - weighed(&body, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11) % 10;
            let digits = format!("{body}{check}");
            one_of(random, &digits, &[(&[6, 7], "-"), (&[6, 7], "-"), (&[], "")])
        }
        Kind::TurkeyTckn => {
            let body = format!("{}{}", random.within(1, 9), random.digits(8));
            let digits = of(&body);
            let tenth =
                (7 * (digits[0] + digits[2] + digits[4] + digits[6] + digits[8]) + 1000 - digits[1] - digits[3] - digits[5] - digits[7])
                    % 10;
            format!("{body}{tenth}{}", (digits.iter().sum::<usize>() + tenth) % 10)
        }
        Kind::PolandPesel => {
            let (year, month) = (random.within(1940, 2009), random.within(1, 12));
            let body =
                format!("{:02}{:02}{:02}{}", year % 100, month + if year < 2000 { 0 } else { 20 }, random.within(1, 28), random.digits(4));
            format!("{body}{}", (10 - weighed(&body, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10)
        }
        Kind::NetherlandsBsn => {
            let digits = until(
                || format!("{}{}", random.within(1, 9), random.digits(8)),
                |digits| (weighed(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) + 110 - of(digits)[8]).is_multiple_of(11),
            );
            one_of(random, &digits, &[(&[], ""), (&[4, 2, 3], "."), (&[3, 3, 3], " ")])
        }
        Kind::CanadaSin => {
            let digits = with_luhn(&format!("{}{}", random.within(1, 7), random.digits(7)));
            one_of(random, &digits, &[(&[3, 3, 3], " "), (&[3, 3, 3], "-"), (&[], "")])
        }
        Kind::AustraliaTfn => {
            let digits = until(|| random.digits(9), |digits| weighed(digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11));
            one_of(random, &digits, &[(&[3, 3, 3], " "), (&[], "")])
        }
        Kind::SouthAfricaId => {
            let (_, date) = date(random);
            let digits = with_luhn(&format!("{date}{}{}8", random.digits(4), random.below(2)));
            one_of(random, &digits, &[(&[], ""), (&[6, 4, 3], " "), (&[6, 4, 2, 1], " ")])
        }
        other => unreachable!("{other} is no number of persons"),
    }
}

/// Verhoeff's check, by multiplying in the dihedral group rather than by tables.
fn verhoeff(digits: &str) -> bool {
    let times = |a: usize, b: usize| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let turn = |digit: usize| [1, 5, 7, 6, 2, 8, 3, 0, 9, 4][digit];
    let turned = |digit: usize, by: usize| (0..by % 8).fold(digit, |digit, _| turn(digit));
    of(digits).iter().rev().enumerate().fold(0, |sum, (at, &digit)| times(sum, turned(digit, at))) == 0
}
