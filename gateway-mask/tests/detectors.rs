//! What holds for every text: hits and candidates, and the operator's own detectors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use gateway_mask::{Detectors, Found, Hit, Kind, Own, OwnError, Validator, Wanted};
use proptest::prelude::*;

fn own(pattern: &str) -> Own {
    Own { name: "badge".to_owned(), pattern: pattern.to_owned(), ..Own::default() }
}

fn some_own() -> Vec<Own> {
    vec![Own { keywords: vec!["badge".to_owned(), "a\"b".to_owned()], ..own("B[0-9]{4}") }, own("zz[0-9]+")]
}

/// Made once: what they are made of takes long to compile.
static DETECTORS: LazyLock<Detectors> = LazyLock::new(|| Detectors::new(some_own()).unwrap());

fn find(detectors: &Detectors, text: &str, name: Option<&str>) -> Vec<Hit> {
    let mut hits = Vec::new();
    detectors.find(text, name, Wanted::all(), &mut hits);
    hits
}

fn value() -> impl Strategy<Value = String> {
    let values: &[&str] = &[
        "4111 1111 1111 1111",
        "DE89370400440532013000",
        "536-90-4399",
        "ssn 536904399",
        "529.982.247-25",
        "ada@example.com",
        "+1 212-555-0143",
        "phone (212) 555-0143",
        "10.0.0.1",
        "2001:db8::1",
        "fe80::1",
        "beef::1",
        "00:1a:2b:3c:4d:5e",
        "001a.2b3c.4d5e",
        "born 1980-03-12",
        "dob: 4 March 1980",
        "RSSMRA85T10A562S",
        "HEGG560427MVZRRL04",
        "12345678Z",
        "X1234567L",
        "11010519491231002X",
        "AKIAIOSFODNN7EXAMPLE",
        "postgres://a:b1c2d3@h/x",
        "password=hunter2;",
        "api_key: 9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "badge B1234",
        "zz12",
        "a\"b B1234",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        "tax id 86095742719",
        "NINO AB123456C",
    ];
    proptest::sample::select(values.to_vec()).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    let glue = prop_oneof![
        Just("\n"),
        Just("\t"),
        Just("\""),
        Just("\\"),
        Just(" "),
        Just(""),
        Just("\u{8}"),
        Just("\u{c}"),
        Just(", "),
        Just("é"),
        Just("身份证"),
        Just("7"),
        Just("x"),
        Just(": ")
    ];
    let part = prop_oneof![3 => value(), 4 => glue.prop_map(str::to_owned), 1 => "[ -~]{0,12}", 1 => "[0-9a-f:. -]{0,20}"];
    proptest::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn hits_are_parts_of_the_text_one_after_the_other(text in prop_oneof![text(), "\\PC{0,80}"], name in proptest::option::of("[a-z_]{0,8}|ssn|phone|password|dob")) {
        let detectors = &*DETECTORS;
        let hits = find(detectors, &text, name.as_deref());
        let mut over = 0;
        for hit in hits {
            prop_assert!(over <= hit.start && hit.start < hit.end && hit.end <= text.len(), "{hit:?} in {text:?}");
            prop_assert!(text.is_char_boundary(hit.start) && text.is_char_boundary(hit.end), "{hit:?} in {text:?}");
            over = hit.end;
        }
    }

    #[test]
    fn what_is_found_in_a_string_has_a_candidate_in_it_or_in_its_name(texts in proptest::collection::vec(text(), 1..4), name in "note|x|ssn|my_phone|userPassword|dob|badge", before in 0..70_usize) {
        let detectors = &*DETECTORS;
        let pad = " ".repeat(before);
        let strings: Vec<String> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
        // Only the short escapes are read here.
        prop_assume!(strings.iter().all(|string| !string.contains("\\u")));
        let mut raw = format!("{pad}{{\"{name}\":[");
        let named = pad.len() + 2..pad.len() + 2 + name.len();
        let mut spans = Vec::new();
        for string in &strings {
            spans.push(raw.len()..raw.len() + string.len());
            raw += string;
            raw.push(',');
        }
        raw += "0]}";
        let candidates: Vec<usize> = detectors.candidates(raw.as_bytes()).collect();
        prop_assert!(candidates.is_sorted() && candidates.iter().all(|&at| at < raw.len()), "{candidates:?}");
        for (text, span) in texts.iter().zip(spans) {
            let hits = find(detectors, text, Some(&name));
            let has = candidates.iter().any(|at| span.contains(at) || named.contains(at));
            prop_assert!(hits.is_empty() || has, "{hits:?} in {text:?} under {name}: {candidates:?} of {raw}");
        }
    }
}

#[test]
fn only_what_is_wanted_is_found() {
    let detectors = Detectors::new(Vec::new()).unwrap();
    let mut hits = Vec::new();
    detectors.find("4111111111111111 ada@example.com", None, Wanted::kinds(&[Kind::Email]), &mut hits);
    assert_eq!(hits.iter().map(|hit| hit.what).collect::<Vec<_>>(), [Found::Kind(Kind::Email)]);
}

#[test]
fn ones_own_detector_finds_its_group_beside_a_keyword_or_under_a_name_with_one() {
    let badge = Own {
        keywords: vec!["Badge".to_owned()],
        validator: Some(Validator::Luhn),
        matches: vec!["badge 79927398713".to_owned()],
        mismatches: vec!["badge 79927398714".to_owned()],
        ..own("([0-9]{11})")
    };
    let detectors = Detectors::new(vec![badge]).unwrap();
    let hit = Hit { start: 6, end: 17, what: Found::Own(0) };
    assert_eq!(find(&detectors, "BADGE 79927398713", None), [hit]);
    assert_eq!(find(&detectors, "79927398713", Some("badge_no")), [Hit { start: 0, end: 11, ..hit }]);
    assert_eq!(find(&detectors, "other 79927398713", None), []);
}

#[test]
fn ones_own_detector_that_cannot_work_is_refused_with_the_reason() {
    let refused = |own: Own| Detectors::new(vec![own]).err().unwrap();
    let example = |text: &str| vec![text.to_owned()];
    let error = refused(Own { keywords: example("badge"), matches: example("B1234"), ..own("B[0-9]{4}") });
    assert_eq!(
        error.to_string(),
        "detector `badge`: finds nothing in its example `B1234` in `matches`: the pattern matches, but none of the keywords stands in it"
    );
    let error = refused(Own { matches: example("B12"), ..own("B[0-9]{4}") });
    assert!(matches!(error, OwnError::NoMatch { .. }), "{error}");
    let error = refused(Own { mismatches: example("x B1234"), ..own("B[0-9]{4}") });
    assert_eq!(error.to_string(), "detector `badge`: finds `B1234` in its example `x B1234` in `mismatches`, where it must find nothing");
    assert!(matches!(refused(own("(")), OwnError::Pattern { .. }));
    assert!(matches!(refused(own(r"(a)\1")), OwnError::Pattern { .. }));
    assert!(matches!(refused(own("a*")), OwnError::Empty { .. }));
    assert!(refused(own(r"(\w{1,500}){1,500}")).to_string().contains("make its repetitions smaller"));
    assert!(matches!(refused(Own { keywords: example(""), ..own("b") }), OwnError::Keyword { .. }));
    assert!(matches!(Detectors::new(vec![own("b"); 129]), Err(OwnError::Many(129))));
}

#[test]
fn validators_hold_for_their_examples_alone() {
    for (name, good, bad) in [
        ("luhn", "79927398713", "79927398710"),
        ("mod97", "GB82 WEST 1234 5698 7654 32", "GB82 WEST 1234 5698 7654 33"),
        ("verhoeff", "2363", "2364"),
        ("mod11", "0-306-40615-2", "0-306-40615-3"),
        ("mod11-10", "86095742719", "86095742710"),
        ("entropy", "9f8a7b6c5d4e3f2a", "aaaaaaaaaaaaaaaa"),
    ] {
        let validator = Validator::from_name(name);
        assert!(validator.is_some(), "{name}");
        let detectors = Detectors::new(vec![Own {
            validator,
            matches: vec![good.to_owned()],
            mismatches: vec![bad.to_owned()],
            ..own("[0-9A-Za-z -]+")
        }]);
        assert!(detectors.is_ok(), "{name}: {:?}", detectors.err());
    }
}
