//! Values of every kind, with valid checks, as people and systems write them.

use gateway_mask::Kind;

use super::{persons, random::Random};

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const HEX: &str = "0123456789abcdef";

/// A value, and what of the text around it belongs there: `before` and `after` stand beside it wherever it stands.
pub struct Value {
    /// What stands before it, such as `AccountKey=`.
    pub before: String,
    /// The value.
    pub value: String,
    /// What stands after it.
    pub after: String,
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value { before: String::new(), value, after: String::new() }
    }
}

/// Digits in groups.
pub(super) fn grouped(digits: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = digits;
    let mut parts = Vec::new();
    for &group in groups {
        let (part, after) = rest.split_at(group);
        parts.push(part);
        rest = after;
    }
    parts.join(separator)
}

/// A value of this kind.
pub fn value(kind: Kind, random: &mut Random) -> Value {
    match kind {
        Kind::Card => card(random).into(),
        Kind::Iban => iban(random).into(),
        Kind::Email => email(random).into(),
        Kind::Phone => phone(random).into(),
        Kind::Ip => ip(random).into(),
        Kind::Mac => mac(random).into(),
        Kind::BirthDate => date(random).into(),
        Kind::AwsKey => format!("{}{}", random.pick(&["AKIA", "ASIA"]), random.signs("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)).into(),
        Kind::GcpKey => match random.below(3) {
            0 => format!("{}{}", "AIza", random.signs(URL_SAFE, 34) + "x").into(),
            1 => format!("{}{}{}", "ya29", ".a0", random.signs(URL_SAFE, 120) + "x").into(),
            _ => format!("{}-{}x", "GOCSPX", random.signs(URL_SAFE, 27)).into(),
        },
        Kind::AzureKey => azure(random),
        Kind::GithubToken => match random.below(4) {
            0 => format!("{}_{}_{}", "github", "pat", random.signs(ALNUM, 22) + "_" + &random.signs(ALNUM, 59)).into(),
            _ => format!("{}{}", random.pick(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]), random.signs(ALNUM, 36)).into(),
        },
        Kind::GitlabToken => {
            format!("{}-{}", random.pick(&["glpat", "gldt", "glrt", "glptt", "glcbt"]), random.signs(URL_SAFE, 19) + "x").into()
        }
        Kind::SlackToken => match random.below(4) {
            0 => format!(
                "{}-A0{}-{}-{}",
                "xapp-1",
                random.signs("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 9),
                random.digits(13),
                random.signs(HEX, 64)
            )
            .into(),
            1 => Value {
                before: "https://".to_owned(),
                value: format!("hooks.{}.com/services/T0{}/B0{}/{}", "slack", random.digits(8), random.digits(8), random.signs(ALNUM, 24)),
                after: String::new(),
            },
            _ => {
                format!("{}-{}-{}-{}", random.pick(&["xoxb", "xoxp"]), random.digits(12), random.digits(13), random.signs(ALNUM, 24)).into()
            }
        },
        Kind::StripeKey => match random.below(4) {
            0 => format!("{}_{}", "whsec", random.signs(ALNUM, 32)).into(),
            _ => format!("{}_{}_{}", random.pick(&["sk", "rk"]), random.pick(&["live", "test"]), {
                let many = random.pick(&[&24, &99]);
                random.signs(ALNUM, *many)
            })
            .into(),
        },
        Kind::OpenaiKey => match random.below(3) {
            0 => format!("{}-{}{}{}", "sk", random.signs(ALNUM, 20), "T3Blbk".to_owned() + "FJ", random.signs(ALNUM, 20)).into(),
            _ => format!(
                "{}-{}-{}{}{}x",
                "sk",
                random.pick(&["proj", "svcacct"]),
                random.signs(URL_SAFE, 74),
                "T3Blbk".to_owned() + "FJ",
                random.signs(URL_SAFE, 73)
            )
            .into(),
        },
        Kind::AnthropicKey => {
            format!("{}-{}-{}-{}AA", "sk", "ant", random.pick(&["api03", "admin01", "oat01"]), random.signs(URL_SAFE, 93)).into()
        }
        Kind::PrivateKey => private_key(random).into(),
        Kind::Jwt => jwt(random).into(),
        Kind::Password => password(random),
        Kind::Secret => secret(random).into(),
        person => persons::value(person, random).into(),
    }
}

fn card(random: &mut Random) -> String {
    let (prefix, length, groups): (String, usize, &[usize]) = match random.below(10) {
        0..=3 => ("4".to_owned(), 16, &[4, 4, 4, 4]),
        4 | 5 => (format!("5{}", random.within(1, 5)), 16, &[4, 4, 4, 4]),
        6 => (random.within(2221, 2720).to_string(), 16, &[4, 4, 4, 4]),
        7 => (random.pick(&["34", "37"]).to_owned(), 15, &[4, 6, 5]),
        8 => (random.pick(&["6011", "65", "3530", "3566", "62"]).to_owned(), 16, &[4, 4, 4, 4]),
        _ => (random.pick(&["36", "38", "300"]).to_owned(), 14, &[4, 6, 4]),
    };
    let body = prefix.clone() + &random.digits(length - 1 - prefix.len());
    let number = persons::with_luhn(&body);
    match random.below(5) {
        0 | 1 => number,
        2 => grouped(&number, groups, "-"),
        _ => grouped(&number, groups, " "),
    }
}

fn iban(random: &mut Random) -> String {
    // Country, and its account number: n digits, a capitals, c either.
    const SHAPES: &[(&str, &str)] = &[
        ("DE", "18n"),
        ("GB", "4a14n"),
        ("FR", "10n11c2n"),
        ("ES", "20n"),
        ("IT", "1a10n12c"),
        ("NL", "4a10n"),
        ("BE", "12n"),
        ("CH", "5n12c"),
        ("AT", "16n"),
        ("PL", "24n"),
        ("SE", "20n"),
        ("NO", "11n"),
        ("DK", "14n"),
        ("FI", "14n"),
        ("PT", "21n"),
        ("IE", "4a14n"),
        ("TR", "5n1n16c"),
        ("SA", "2n18c"),
        ("AE", "19n"),
        ("MT", "4a5n18c"),
    ];
    let (country, shape) = SHAPES[random.below(SHAPES.len())];
    let mut account = String::new();
    let mut many = 0;
    for sign in shape.chars() {
        match sign {
            '0'..='9' => many = many * 10 + sign.to_digit(10).unwrap_or(0) as usize,
            _ => {
                account += &match sign {
                    'n' => random.digits(many),
                    'a' => random.signs("ABCDEFGHIJKLMNOPQRSTUVWXYZ", many),
                    _ => random.signs("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", many),
                };
                many = 0;
            }
        }
    }
    let rest = format!("{account}{country}00").chars().fold(0, |rest, sign| {
        let value = sign.to_digit(36).unwrap_or(0);
        (if value > 9 { rest * 100 } else { rest * 10 } + value) % 97
    });
    let number = format!("{country}{:02}{account}", 98 - rest);
    match random.below(6) {
        0..=2 => number,
        3 => number.to_lowercase(),
        _ => number.as_bytes().chunks(4).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect::<Vec<_>>().join(" "),
    }
}

const NAMES: &[&str] =
    &["ada", "grace", "linus", "margaret", "jose", "mei", "olga", "kwame", "fatima", "lars", "Priya", "Yuki", "Zoe", "omar"];
const SURNAMES: &[&str] =
    &["lovelace", "hopper", "okafor", "garcia", "wang", "ivanova", "mensah", "haddad", "Svensson", "sato", "O'Brien", "smith-jones"];
const DOMAINS: &[&str] = &[
    "example.com",
    "example.org",
    "mail.example.co.uk",
    "clinic-7.example",
    "corp.example.io",
    "uni-koeln.example.de",
    "EXAMPLE.NET",
    "x.example.museum",
];

fn email(random: &mut Random) -> String {
    let (name, surname, domain) = (random.pick(NAMES), random.pick(SURNAMES), random.pick(DOMAINS));
    match random.below(6) {
        0 => format!("{name}@{domain}"),
        1 => format!("{name}+{}@{domain}", random.pick(&["news", "test", "2024"])),
        2 => format!("{name}_{}@{domain}", random.within(1, 99)),
        3 => format!("{}{}@{domain}", &name[..1], surname.replace('\'', "")),
        _ => format!("{name}.{surname}@{domain}"),
    }
}

fn phone(random: &mut Random) -> String {
    let line = |random: &mut Random| format!("{}{:02}", random.within(2, 9), random.below(100));
    match random.below(9) {
        0 => format!("+1 212-{}-{}", line(random), random.digits(4)),
        1 => format!("+1 (415) {}-{}", line(random), random.digits(4)),
        2 => format!("+1{}{}{}", random.pick(&["212", "415", "303", "617"]), line(random), random.digits(4)),
        3 => format!("+44 20 7{} {}", random.digits(3), random.digits(4)),
        4 => format!("+49 30 {}{}", random.within(2, 8), random.digits(7)),
        5 => format!("+33 6 {}", grouped(&format!("1{}", random.digits(7)), &[2, 2, 2, 2], " ")),
        6 => format!("+91 98{} {}", random.digits(3), random.digits(5)),
        7 => format!("+55 11 98{}-{}", random.digits(3), random.digits(4)),
        _ => format!("+86 138 {} {}", random.digits(4), random.digits(4)),
    }
}

/// A number as it is written in its country.
pub(super) fn national_phone(random: &mut Random) -> String {
    let line = format!("{}{:02}", random.within(2, 9), random.below(100));
    match random.below(6) {
        0 => format!("(212) {line}-{}", random.digits(4)),
        1 => format!("415-{line}-{}", random.digits(4)),
        2 => format!("617.{line}.{}", random.digits(4)),
        3 => format!("303{line}{}", random.digits(4)),
        4 => format!("020 7{} {}", random.digits(3), random.digits(4)),
        _ => format!("06 1{} {} {} {}", random.digits(1), random.digits(2), random.digits(2), random.digits(2)),
    }
}

fn ip(random: &mut Random) -> String {
    let mut octets = |first: &str| format!("{first}.{}.{}.{}", random.below(256), random.below(256), random.within(1, 254));
    match octets("").len() % 2 {
        0 => {}
        _ => {
            return {
                let first = random.pick(&["10", "192", "172", "203", "81", "52", "127"]).to_owned();
                format!("{first}.{}.{}.{}", random.below(256), random.below(256), random.within(1, 254))
            };
        }
    }
    let group = |random: &mut Random| format!("{:x}", random.within(1, 0xffff));
    match random.below(4) {
        0 => format!("2001:db8::{}", group(random)),
        1 => format!("fe80::{}:{}:{}:{}", group(random), group(random), group(random), random.within(1, 9)),
        2 => format!("2A00:1450:{:04X}:{:X}::{:X}", random.within(1, 0xffff), random.within(1, 0xffff), random.within(1, 0xffff)),
        _ => (0..8).map(|at| if at == 0 { "2001".to_owned() } else { group(random) }).collect::<Vec<_>>().join(":"),
    }
}

fn mac(random: &mut Random) -> String {
    let signs = random.signs(HEX, 12);
    let pairs = |by: &str| grouped(&signs, &[2, 2, 2, 2, 2, 2], by);
    match random.below(5) {
        0 | 1 => pairs(":"),
        2 => pairs(":").to_uppercase(),
        3 => pairs("-").to_uppercase(),
        _ => grouped(&signs, &[4, 4, 4], "."),
    }
}

fn date(random: &mut Random) -> String {
    const MONTHS: &[&str] =
        &["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
    let (year, month, day) = (random.within(1930, 2015), random.within(1, 12), random.within(1, 28));
    match random.below(7) {
        0 | 1 => format!("{year}-{month:02}-{day:02}"),
        2 => format!("{month:02}/{day:02}/{year}"),
        3 => format!("{day}.{month}.{year}"),
        4 => format!("{} {day}, {year}", MONTHS[month - 1]),
        5 => format!("{day} {} {year}", &MONTHS[month - 1][..3]),
        _ => format!("{day:02}-{month:02}-{year}"),
    }
}

fn azure(random: &mut Random) -> Value {
    match random.below(3) {
        0 => format!("{}{}Q~{}", random.signs(ALNUM, 3), random.pick(&["7", "8"]), random.signs(ALNUM, 34)).into(),
        1 => Value {
            before: format!("DefaultEndpointsProtocol=https;AccountName=st{};AccountKey=", random.digits(5)),
            value: random.signs(BASE64, 86) + "==",
            after: ";EndpointSuffix=core.windows.net".to_owned(),
        },
        _ => Value {
            before: format!("Endpoint=sb://ns{}.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=", random.digits(3)),
            value: random.signs(BASE64, 43) + "=",
            after: String::new(),
        },
    }
}

fn private_key(random: &mut Random) -> String {
    let label = random.pick(&["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"]);
    let line_break = random.pick(&["\n", "\n", "\r\n", "\\n"]);
    let many = random.within(2, 20);
    let mut lines: Vec<String> = (0..many).map(|_| random.signs(BASE64, 64)).collect();
    lines.push(format!("{}==", random.signs(BASE64, 22)));
    format!(
        "{dashes}BEGIN {label}{dashes}{line_break}{}{line_break}{dashes}END {label}{dashes}",
        lines.join(line_break),
        dashes = "-".repeat(5)
    )
}

fn jwt(random: &mut Random) -> String {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as B64};
    let header = random.pick(&[
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"k1"}"#,
        "{ \"alg\": \"ES256\" }",
        r#"{"kid":"2024-a","alg":"EdDSA"}"#,
    ]);
    let claims = format!(r#"{{"sub":"{}","iat":{},"name":"Ada"}}"#, random.digits(8), random.digits(10));
    let many = *random.pick(&[&43, &86, &342]);
    format!("{}.{}.{}", B64.encode(header), B64.encode(claims), random.signs(URL_SAFE, many - 1) + "x")
}

fn password(random: &mut Random) -> Value {
    let many = random.within(8, 20);
    let value = random.signs("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!$-_.~*", many - 1) + "x";
    let value = format!("p{value}");
    let (before, after) = match random.below(7) {
        0 => ("postgres://app:", "@db.internal.example:5432/clinic"),
        1 => ("mongodb+srv://root:", "@cluster0.example.net/?retryWrites=true"),
        2 => ("redis://:", "@cache.internal.example:6379/0"),
        3 => ("Server=tcp:sql.example.com,1433;Database=hr;User Id=sa;Password=", ";Encrypt=True;"),
        4 => ("host=db port=5432 user=app password=", " dbname=clinic"),
        5 => ("Driver={ODBC};Server=x;Uid=app;Pwd=", ";"),
        _ => ("jdbc:mysql://db.example.com/hr?user=app&password=", "&useSSL=true"),
    };
    Value { before: before.to_owned(), value, after: after.to_owned() }
}

fn secret(random: &mut Random) -> String {
    match random.below(4) {
        0 => random.signs(HEX, 32),
        1 => random.signs(ALNUM, 32),
        2 => random.signs(URL_SAFE, 42) + "x",
        _ => random.signs(HEX, 64),
    }
}
