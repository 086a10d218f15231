//! What takes the place of a value, and what the record keeps of it.

use gateway_mask::{Failure, Form, How, Kind, Wanted};

use crate::help::{fields, form, kinds, masker, message, result, rule};

const CARD: &str = "4111 1111 1111 1111";

#[test]
fn a_part_of_a_text_is_replaced_and_the_rest_stays() {
    let card = |how| result(how, kinds(Wanted::kinds(&[Kind::Card])), &format!(r#"{{"t":"pay \u00e9 {CARD}\n!"}}"#));
    assert_eq!(card(How::Redact), r#"{"t":"pay \u00e9 [masked: card]\n!"}"#);
    assert_eq!(card(How::Partial { keep: 4 }), r#"{"t":"pay \u00e9 **** **** **** 1111\n!"}"#);
    assert_eq!(card(How::Drop), r#"{"t":"pay \u00e9 \n!"}"#);
    let token = card(How::Token);
    let name = token.strip_prefix(r#"{"t":"pay \u00e9 tok_"#).and_then(|rest| rest.strip_suffix(r#"\n!"}"#)).unwrap();
    assert!(name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')), "{token}");
    let format = card(How::Format);
    let alike = format.strip_prefix(r#"{"t":"pay \u00e9 "#).and_then(|rest| rest.strip_suffix(r#"\n!"}"#)).unwrap();
    let shape: String = alike.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert_eq!(shape, "0000 0000 0000 0000");
    assert_ne!(alike, CARD);
}

#[test]
fn a_short_value_keeps_nothing_of_itself() {
    let partial = |value: &str| result(How::Partial { keep: 4 }, fields(&["pin"]), &format!(r#"{{"pin":"{value}"}}"#));
    assert_eq!(partial("12345678"), r#"{"pin":"********"}"#);
    assert_eq!(partial("123-45-6789"), r#"{"pin":"***-**-6789"}"#);
}

#[test]
fn numbers_keep_their_type_where_a_schema_may_ask_for_it() {
    let structured = |how| result(how, fields(&["n"]), r#"{"structuredContent":{"n":123456789},"n":123456789}"#);
    assert_eq!(structured(How::Redact), r#"{"structuredContent":{"n":0},"n":"[masked: private]"}"#);
    assert_eq!(structured(How::Partial { keep: 4 }), r#"{"structuredContent":{"n":6789},"n":"*****6789"}"#);
    let token: serde_json::Value = serde_json::from_str(&structured(How::Token)).unwrap();
    assert_eq!(token["structuredContent"]["n"].as_u64().unwrap().to_string().len(), 15);
    let alike: serde_json::Value = serde_json::from_str(&result(How::Format, fields(&["n"]), r#"{"n":[10.25,-7,0,1e5,100]}"#)).unwrap();
    assert!(alike["n"].as_array().unwrap().iter().all(serde_json::Value::is_number), "{alike}");
    assert!((10.0..100.0).contains(&alike["n"][0].as_f64().unwrap()) && alike["n"][1].as_f64().unwrap() <= 0.0, "{alike}");
}

#[test]
fn a_token_is_the_same_wherever_the_value_stands() {
    let token =
        result(How::Token, fields(&["mail"]), r#"{"mail":"a@example.com","x":{"mail":"a@example.com"},"y":{"mail":"b@example.com"}}"#);
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    assert_eq!(token["mail"], token["x"]["mail"]);
    assert_ne!(token["mail"], token["y"]["mail"]);
}

#[test]
fn a_key_is_masked_as_a_value_is_and_stays_its_own() {
    let given = r#"{"4111111111111111":1,"5500005555555559":2,"[masked: card]":3}"#;
    let masked = r#"{"[masked: card] 2":1,"[masked: card] 3":2,"[masked: card]":3}"#;
    assert_eq!(result(How::Redact, kinds(Wanted::kinds(&[Kind::Card])), given), masked);
}

#[test]
fn a_mark_says_where_by_which_rule_and_commits_to_each_value() {
    let masker = masker(vec![rule(How::Redact, fields(&["ssn"])), rule(How::Redact, kinds(Wanted::kinds(&[Kind::Card])))]);
    let body = format!(r#"{{"result":{{"r":[{{"ssn":"a"}},{{"ssn":"b"}},{{"ssn":"a"}}],"t":"{{\"n\":\"{CARD}\"}}"}}}}"#);
    let marks = message(&masker, &body).unwrap().1;
    let shown: Vec<_> = marks.iter().map(|mark| (mark.path.as_str(), mark.rule, mark.kind.is_some(), mark.commitments.len())).collect();
    assert_eq!(shown, [("$.result.r[*].ssn", 0, false, 3), ("$.result.t#json.n", 1, true, 1)]);
    assert_eq!(marks[0].commitments[0], marks[0].commitments[2]);
    assert_ne!(marks[0].commitments[0], marks[0].commitments[1]);
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    let masker = masker(vec![rule(How::Redact, fields(&["ssn"]))]);
    assert!(matches!(message(&masker, r#"{"ssn":1"#), Err(Failure::NotJson { .. })));
    assert!(matches!(message(&masker, &format!("{}\"ssn\"{}", "[".repeat(200), "]".repeat(200))), Err(Failure::Nested { .. })));
    let mut nested = r#"{"ssn":"1"}"#.to_owned();
    for _ in 0..9 {
        nested = serde_json::json!({ "t": nested }).to_string();
    }
    assert!(matches!(message(&masker, &nested), Err(Failure::Layers { .. })));
    assert!(form(&masker, b"\xFF plain", Form::Text { name: None }).is_ok());
}
