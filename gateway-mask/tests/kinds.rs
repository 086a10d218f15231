//! Each kind, with examples that must and must not be found. Keys are put together here, so that no scanner of repositories takes them for
//! real.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use gateway_mask::{Detectors, Found, Kind, Wanted};

static DETECTORS: LazyLock<Detectors> = LazyLock::new(|| Detectors::new(Vec::new()).unwrap());

fn found(text: &str, name: Option<&str>) -> Vec<(Kind, String)> {
    let mut hits = Vec::new();
    DETECTORS.find(text, name, Wanted::all(), &mut hits);
    let kind = |what| match what {
        Found::Kind(kind) => Some(kind),
        Found::Own(_) => None,
    };
    hits.iter().map(|hit| (kind(hit.what).unwrap(), text[hit.start..hit.end].to_owned())).collect()
}

/// `[value]` in the text is what must be found.
fn yes(kind: Kind, texts: &[&str]) {
    for text in texts {
        let value = &text[text.find('[').unwrap() + 1..text.rfind(']').unwrap()];
        let text = text.replacen('[', "", 1);
        let text = text.chars().rev().collect::<String>().replacen(']', "", 1).chars().rev().collect::<String>();
        assert!(found(&text, None).contains(&(kind, value.to_owned())), "{kind} in {text:?}: {:?}", found(&text, None));
    }
}

fn no(texts: &[&str]) {
    texts.iter().for_each(|text| assert_eq!(found(text, None), [], "{text:?}"));
}

#[test]
fn cards_are_those_of_their_issuers_with_a_check_digit() {
    yes(
        Kind::Card,
        &[
            "[4111111111111111]",
            "paid [4111 1111 1111 1111] 12/27",
            "[5555-5555-5555-4444].",
            "[3782 822463 10005]",
            "[30569309025904]",
            "[6011111111111117]",
            "[3530111333300000]",
            "/cards/[2223003122003222]/",
        ],
    );
    no(&[
        "4111111111111112",
        "1234567812345670",
        "84111111111111111",
        "4111 1111 1111 1111 1111",
        "a4111111111111111",
        "4111-1111-1111-1111-1111",
        "978-4-1111-1111-1",
    ]);
}

#[test]
fn ibans_have_the_length_of_their_country_and_check_digits() {
    yes(
        Kind::Iban,
        &[
            "[DE89370400440532013000]",
            "IBAN [GB82 WEST 1234 5698 7654 32] is",
            "[fr1420041010050500013m02606]",
            "[NO9386011117947],",
            "[MT84MALT011000012345MTLCAST001S]",
        ],
    );
    no(&["DE89370400440532013001", "DE8937040044053201300", "XDE89370400440532013000", "ZZ89370400440532013000"]);
}

#[test]
fn numbers_of_persons_are_found_by_form_or_by_a_word() {
    yes(Kind::UsSsn, &["[536-90-4399]", "SSN [536904399]", "social security number is [536 90 4399]"]);
    no(&["536904399", "000-12-3456", "666-12-3456", "900-12-3456", "536-00-4399", "078-05-1120", "1-536-90-4399"]);
    yes(
        Kind::ChinaId,
        &[
            "[11010519491231002X]",
            "[440524188001010014]x".trim_end_matches('x').replace("440524188001010014", "11010519491231002x").as_str(),
        ],
    );
    no(&["110105194912310021", "110105194913310020"]);
    yes(Kind::IndiaAadhaar, &["[2341 2341 2346]", "Aadhaar [234123412346]"]);
    no(&["234123412346", "1341 2341 2346", "2341 2341 2347"]);
    yes(Kind::BrazilCpf, &["[529.982.247-25]", "CPF: [52998224725]"]);
    no(&["529.982.247-26", "111.111.111-11", "52998224725"]);
    yes(Kind::RussiaSnils, &["[112-233-445 95]"]);
    yes(Kind::RussiaInn, &["ИНН [500100732259]"]);
    yes(Kind::JapanMyNumber, &["マイナンバー: [123456789018]"]);
    yes(Kind::MexicoCurp, &["[HEGG560427MVZRRL04]"]);
    no(&["HEGG560427MVZRRL05"]);
    yes(Kind::GermanyTaxId, &["Steuer-ID: [86095742719]", "IdNr. [86 095 742 719]"]);
    yes(Kind::FranceNir, &["[255081416802538]", "[2 55 08 14 168 025 38]"]);
    no(&["255081416802539"]);
    yes(Kind::UkNino, &["NINO [AB123456C]", "National Insurance number: [AB 12 34 56 C]"]);
    no(&["AB123456C", "NINO GB123456A"]);
    yes(Kind::UkNhs, &["NHS number [943 476 5919]"]);
    yes(Kind::ItalyFiscalCode, &["[RSSMRA85T10A562S]"]);
    no(&["RSSMRA85T10A562T"]);
    yes(Kind::SpainDni, &["[12345678Z]", "[12.345.678-Z]", "[X1234567L]"]);
    no(&["12345678A", "X1234567A"]);
    yes(Kind::KoreaRrn, &["주민등록번호 [900101-1234568]"]);
    yes(Kind::TurkeyTckn, &["TC Kimlik No: [10000000146]"]);
    no(&["10000000146", "TCKN 10000000147"]);
    yes(Kind::PolandPesel, &["PESEL [44051401359]"]);
    yes(Kind::NetherlandsBsn, &["BSN: [111222333]", "bsn=[1112.22.333]"]);
    yes(Kind::CanadaSin, &["SIN [046 454 286]"]);
    yes(Kind::AustraliaTfn, &["TFN [123 456 782]"]);
    yes(Kind::SouthAfricaId, &["[8001015009087]", "[800101 5009 08 7]"]);
    yes(Kind::IndonesiaNik, &["NIK: [3171234567890123]".replace("3171234567890123", "3171015708900001").as_str()]);
    yes(Kind::PakistanCnic, &["CNIC [61101-1234567-1]"]);
    yes(Kind::NigeriaNin, &["NIN: [12345678901]"]);
    yes(Kind::IndiaPan, &["PAN: [ABCPE1234F]"]);
}

#[test]
fn a_name_of_a_field_tells_as_a_word_does() {
    for (name, text, kind) in [
        ("ssn", "536904399", Kind::UsSsn),
        ("patientSsn", "536904399", Kind::UsSsn),
        ("tax_id", "86095742719", Kind::GermanyTaxId),
        ("birthDate", "1980-03-12", Kind::BirthDate),
        ("phone_number", "(212) 555-0143", Kind::Phone),
        ("password", "hunter22", Kind::Password),
        ("api_key", "9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c", Kind::Secret),
        ("Authorization", "Basic dXNlcjpodW50ZXIy", Kind::Secret),
    ] {
        assert!(found(text, Some(name)).iter().any(|(other, _)| *other == kind), "{name}: {text}: {:?}", found(text, Some(name)));
        // `Basic` tells by itself.
        assert!(text.starts_with("Basic") || found(text, Some("note")).is_empty(), "{text}");
    }
}

#[test]
fn addresses_of_people_and_machines() {
    yes(Kind::Email, &["<[ada@example.com]>", "mailto:[a.b+c@mail.example.co.uk].", "[o'neil@x.museum],"]);
    no(&["icon@2x.png", "git@github.com:owner/name", "user@host", "a@b..com", "package@1.2.3"]);
    yes(
        Kind::Phone,
        &[
            "[+1 212-555-0143]",
            "call (212) 555-0143".replace("(212) 555-0143", "[(212) 555-0143]").as_str(),
            "Tel. [020 7183 8750]",
            "[+442071838750],",
        ],
    );
    no(&["212-555-0143", "+1 999", "2026-11-25T14:22:31+01:00", "1732546951"]);
    yes(Kind::Ip, &["[10.0.0.1]:8080", "http://[203.0.113.7]/x", "[2001:db8::1]", "peer [fe80::1:2] up", "[::1]"]);
    no(&["version 1.2.3.4", "v1.2.3.4", "Chrome/120.0.0.1", "1.2.3.4.5", "256.1.1.1", "std::vec::Vec", "12:34:56", "a::b"]);
    yes(Kind::Mac, &["[00:1a:2b:3c:4d:5e]", "[00-1A-2B-3C-4D-5E],", "[001a.2b3c.4d5e]."]);
    no(&["00:1a:2b:3c:4d", "00:1a:2b:3c:4d:5e:6f"]);
    yes(Kind::BirthDate, &["DOB: [12/03/1980]", "born on [March 4, 1980]", "geboren am [4.3.1980]", "生年月日 [1980年3月4日]"]);
    no(&["1980-03-12", "DOB: 45/67/1980", "DOB unknown"]);
}

#[test]
fn keys_begin_as_their_issuers_say() {
    let many = |sign: &str, many: usize| sign.repeat(many);
    let keys = [
        (Kind::AwsKey, format!("AKIA{}", "IOSFODNN7EXAMPLE")),
        (Kind::GcpKey, format!("AIza{}", many("Ab3_-", 7))),
        (Kind::GithubToken, format!("ghp_{}", many("aB3", 12))),
        (Kind::GithubToken, format!("github_{}_{}", "pat", many("aB", 41))),
        (Kind::GitlabToken, format!("glpat-{}", many("aB3x", 5))),
        (Kind::SlackToken, format!("xoxb-{}-{}", many("1", 12), many("aB3", 8))),
        (Kind::SlackToken, format!("hooks.{}.com/services/T00000000/B00000000/{}", "slack", many("X", 24))),
        (Kind::StripeKey, format!("sk_{}_{}", "live", many("aB3", 8))),
        (Kind::OpenaiKey, format!("sk-{}T3Blbk{}{}", many("aB3x", 5), "FJ", many("aB3x", 5))),
        (Kind::AnthropicKey, format!("sk-{}-api03-{}AA", "ant", many("aB3_-", 18))),
        (Kind::AzureKey, format!("{}8Q~{}", "abc", many("aB", 17))),
        (
            Kind::Jwt,
            format!("{}.{}.{}", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJzdWIiOiIxIn0", "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"),
        ),
    ];
    for (kind, key) in keys {
        for text in [key.clone(), format!("use \"{key}\"."), format!("KEY={key}\nnext")] {
            assert!(found(&text, None).contains(&(kind, key.clone())), "{text}: {:?}", found(&text, None));
        }
        assert!(!found(&format!("x{key}"), None).iter().any(|(other, _)| *other == kind), "part of a word: {key}");
        assert!(!found(&key[..key.len() / 3], None).iter().any(|(other, _)| *other == kind), "cut: {key}");
    }
    no(&["eyJub3QganNvbg.abc.def", "task-force", "sk-learn", "AKIA", "ghp_short"]);
}

#[test]
fn a_private_key_is_found_whole_with_line_breaks_as_text_too() {
    let dashes = "-".repeat(5);
    for line in ["\n", "\r\n", "\\n"] {
        let key = format!("{dashes}BEGIN RSA PRIVATE KEY{dashes}{line}{}{line}{dashes}END RSA PRIVATE KEY{dashes}", "MIIEow/+".repeat(30));
        assert_eq!(found(&format!("key: {key}{line}"), None), [(Kind::PrivateKey, key)]);
    }
    assert_eq!(found(&format!("{dashes}BEGIN PUBLIC KEY{dashes}\nMIIB\n{dashes}END PUBLIC KEY{dashes}"), None), []);
}

#[test]
fn passwords_stand_in_urls_and_connection_strings_and_secrets_beside_their_names() {
    yes(
        Kind::Password,
        &[
            "postgres://app:[s3cr3t!]@db/x",
            "redis://:[p@ss]@h:1/0",
            "Server=x;Password=[a b]c;".replace("[a b]c", "[abc123]").as_str(),
            "host=db password=[hunter2] dbname=x",
            "PWD='[x y z]'",
        ],
    );
    no(&["postgres://app@db/x", "postgres://app:${PASSWORD}@db/x", "password=<password>", "password: required"]);
    yes(
        Kind::Secret,
        &[
            "api_key=[9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c]",
            "Authorization: Bearer [mF_9.B5f-4.1JqM8dKs0q]",
            "{\"client_secret\": \"[Zx81kQpL0aWm3Vn7Rt5Y]\"}",
        ],
    );
    no(&[
        "api_key=changeme",
        "max_tokens: 1024",
        "token count: 12345",
        "secret: https://example.com/a1b2c3d4e5f6",
        "9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c",
    ]);
}

#[test]
fn what_only_looks_like_a_value_is_left() {
    no(&[
        "550e8400-e29b-41d4-a716-446655440000",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "2026-11-25T14:22:31.123456Z 1732546951123",
        "ORD-2026-0012345",
        "978-3-16-148410-0",
        "1Z999AA10123456784",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    ]);
}
