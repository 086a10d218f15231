use serde_json::json;

use crate::policy::{Arguments, CustomLabel, LabelError, Labeller};

fn iban() -> CustomLabel {
    CustomLabel { name: "finance:iban".into(), pattern: r"\b[A-Z]{2}\d{20}\b".into(), ..CustomLabel::default() }
}

fn has(label: &CustomLabel, tool: &str, argument: &str, text: &str) -> bool {
    let arguments = Arguments::read(json!({ argument: text, "n": 12345 }).to_string().as_bytes());
    Labeller::new(std::slice::from_ref(label)).unwrap().labels(tool, &arguments).contains(&label.name)
}

#[test]
fn an_operators_label_is_on_what_its_pattern_matches() {
    assert!(has(&iban(), "pay", "to", "DE89370400440532013000"));
    assert!(!has(&iban(), "pay", "to", "DE89"));
    assert!(has(&CustomLabel { pattern: "^12345$".into(), ..iban() }, "pay", "to", "x"), "numbers are looked at as they are spelt");
}

#[test]
fn globs_say_which_tools_and_arguments_it_is_for() {
    let label = CustomLabel { tool: Some("pay_*".into()), argument: Some("to.?".into()), pattern: "x".into(), ..iban() };
    assert!(has(&label, "pay_out", "to.1", "x"));
    assert!(!has(&label, "pay", "to.1", "x"));
    assert!(!has(&label, "pay_out", "to", "x"));
    assert!(!has(&label, "repay_out", "to.1", "x"));
    assert!(!has(&label, "pay_out", "toA1", "x"), "a dot is a dot");
}

#[test]
fn names_are_words_and_not_the_gateways_own() {
    for name in ["", "Iban", "a b", "a:", ":a", "a::b", "a_b", "ä"] {
        let made = Labeller::new(&[CustomLabel { name: name.into(), ..iban() }]);
        assert!(matches!(made, Err(LabelError::Name(_))), "{name}");
    }
    for name in ["sql", "sql:select", "shell:x", "path:secrets", "url:private", "arguments:partial"] {
        let made = Labeller::new(&[CustomLabel { name: name.into(), ..iban() }]);
        assert!(matches!(made, Err(LabelError::BuiltIn { .. })), "{name}");
    }
    assert!(Labeller::new(&[CustomLabel { name: "sqlx-1:a".into(), ..iban() }]).is_ok());
}

#[test]
fn examples_are_checked_and_the_one_that_fails_is_named() {
    let good = CustomLabel { matches: vec!["DE89370400440532013000".into()], misses: vec!["DE89".into()], ..iban() };
    assert!(Labeller::new(std::slice::from_ref(&good)).is_ok());
    let error = Labeller::new(&[CustomLabel { matches: vec!["GB00".into()], ..good.clone() }]).unwrap_err().to_string();
    assert!(error.contains("finance:iban") && error.contains("does not match \"GB00\"") && error.contains("\"matches\""), "{error}");
    let error = Labeller::new(&[CustomLabel { misses: vec!["DE89370400440532013000".into()], ..good }]).unwrap_err().to_string();
    assert!(error.contains("matches \"DE89370400440532013000\"") && error.contains("\"misses\""), "{error}");
}

#[test]
fn patterns_that_are_wrong_or_too_large_are_refused() {
    for pattern in ["(", "(?=a)", "(\\w{500}){500}"] {
        let made = Labeller::new(&[CustomLabel { pattern: pattern.into(), ..iban() }]);
        assert!(matches!(made, Err(LabelError::Pattern { .. })), "{pattern}");
    }
}
