//! What holds for any input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_mask::{Followed, Form, How, Wanted};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::help::{columns, fields, form, kinds, masker, message, rule};

/// A value that may hold others in encoded text.
#[derive(Debug, Clone)]
enum Node {
    Plain(Value),
    Array(Vec<Node>),
    /// Members with names that no rule has, and perhaps one with the name that a rule has.
    Object(Vec<(String, Node)>, Option<String>),
    Json(Box<Node>),
    Base64(Box<Node>),
}

impl Node {
    /// As JSON; with what a masker should make of it, or as it is.
    fn render(&self, masked: bool) -> Value {
        match self {
            Node::Plain(value) => value.clone(),
            Node::Array(items) => Value::Array(items.iter().map(|item| item.render(masked)).collect()),
            Node::Object(members, secret) => {
                let mut object: Map<String, Value> = members.iter().map(|(key, value)| (key.clone(), value.render(masked))).collect();
                if let Some(secret) = secret {
                    object.insert("ssn".to_owned(), json!(if masked { "[masked: private]" } else { secret }));
                }
                Value::Object(object)
            }
            Node::Json(inner) => json!(inner.render(masked).to_string()),
            Node::Base64(inner) => json!(STANDARD.encode(inner.render(masked).to_string())),
        }
    }
}

fn object(inner: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
    (prop::collection::vec(("[a-e\"\\\\é]{1,4}", inner), 0..4), prop::option::of("[ -~é\n]{1,16}"))
        .prop_map(|(members, secret)| Node::Object(members, secret))
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(|number| Node::Plain(json!(number))),
        any::<bool>().prop_map(|flag| Node::Plain(json!(flag))),
        "[ -~é\n]{0,20}".prop_map(|text| Node::Plain(json!(text))),
        Just(Node::Plain(Value::Null)),
    ];
    // Six levels of encoding at most: eight are read.
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Node::Array),
            object(inner.clone()),
            object(inner.clone()).prop_map(|object| Node::Json(Box::new(object))),
            object(inner).prop_map(|object| Node::Base64(Box::new(object))),
        ]
    })
}

/// Any JSON, with names and values that rules look for in it.
fn json_with_values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("4111111111111111".to_owned()),
        Just("mail ada@example.com, 4111 1111 1111 1111".to_owned()),
        Just("ssn,x\n1,\"2\n".to_owned()),
        Just("ssn: 12-3\nx: %34%31".to_owned()),
        Just("YWRhQGV4YW1wbGUuY29tIGFuZCBtb3Jl".to_owned()),
        Just("{\"ssn\":[1,{\"a\":2}]}".to_owned()),
        Just("https://u:secretpw@h/a%40b.example?ssn=1&x=a%20b".to_owned()),
        Just("[\"ssn\"] [1]\n{\"ssn\":".to_owned()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        text.clone().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!(4_111_111_111_111_111_i64)),
        Just(Value::Null),
    ];
    let key = prop_oneof![Just("ssn".to_owned()), Just("x".to_owned()), Just("columns".to_owned()), Just("rows".to_owned()), text];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner.clone()), 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
            inner.prop_map(|inner| json!(inner.to_string())),
        ]
    })
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Redact), Just(How::Token), Just(How::Drop), Just(How::Format), (0_u8..6).prop_map(|keep| How::Partial { keep })]
}

proptest! {
    #[test]
    fn no_selected_value_survives_in_any_layer_and_all_else_stays_byte_for_byte(node in node()) {
        let masker = masker(vec![rule(How::Redact, fields(&["ssn"]))]);
        let body = |masked| json!({ "jsonrpc": "2.0", "id": 1, "result": { "x": node.render(masked) } }).to_string();
        prop_assert_eq!(message(&masker, &body(false)).unwrap().0, body(true));
    }

    #[test]
    fn valid_json_stays_valid_whatever_is_masked(value in json_with_values(), how in how(), structured in any::<bool>()) {
        let masker = masker(vec![rule(how, columns(&["ssn"])), rule(how, kinds(Wanted::all()))]);
        let result = if structured { json!({ "structuredContent": value }) } else { json!({ "content": [value] }) };
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": result }).to_string();
        if let Ok((masked, marks)) = message(&masker, &body) {
            let read: Result<Value, _> = serde_json::from_str(&masked);
            prop_assert!(read.is_ok(), "{body}\n{masked}");
            prop_assert!(masked == body || !marks.is_empty());
            prop_assert!(!masked.contains("4111111111111111"), "{body}\n{masked}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), spelt in "([{}\\[\\]\",:\\\\u%0-9a-f +/=-]|ssn|null|\\n){0,60}", how in how()) {
        let masker = masker(vec![rule(how, columns(&["ssn"])), rule(how, kinds(Wanted::all()))]);
        let followed = Followed::nothing();
        for body in [bytes.as_slice(), spelt.as_bytes()] {
            for kind in [Form::Message(&followed), Form::Text { name: Some("ssn") }, Form::Text { name: None }, Form::Url] {
                if let Ok((masked, _)) = form(&masker, body, kind) {
                    prop_assert!(matches!(kind, Form::Url) || !masked.contains("4111111111111111"));
                }
            }
            drop(masker.follow(body));
        }
    }
}

#[test]
fn encoded_values_are_found_wherever_they_begin() {
    let masker = masker(vec![rule(How::Redact, kinds(Wanted::all()))]);
    let base64 = STANDARD.encode("mail ada@example.com");
    for encoded in [base64.as_str(), "ada\\u0040example.com", "ada%40example.com"] {
        for before in 0..140 {
            let body = format!(r#"{{"result":{{"x":"{} {encoded} and more of it, to the end of a block at least"}}}}"#, ".".repeat(before));
            let (masked, marks) = message(&masker, &body).unwrap();
            assert!(marks.len() == 1 && !masked.contains(encoded), "{before}: {masked}");
        }
    }
}
