use serde_json::json;

use super::{labels, of};
use crate::policy::Arguments;

fn texts(json: &str) -> Vec<(String, String)> {
    Arguments::read(json.as_bytes()).texts().map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn scalars_are_found_by_their_paths() {
    let json =
        r#" { "sql" : "SELECT \u0031\n", "options": {"limit": 1.50, "deep": [[true], {"id": -7}]}, "none": null, "e": {}, "l": [] } "#;
    let expected = [("sql", "SELECT 1\n"), ("options.limit", "1.50"), ("options.deep.0.0", "true"), ("options.deep.1.id", "-7")];
    assert_eq!(texts(json), pairs(&expected));
    let arguments = Arguments::read(json.as_bytes());
    assert!(!arguments.is_partial());
    assert_eq!(arguments.strings().collect::<Vec<_>>(), [("sql", "SELECT 1\n")]);
    assert_eq!(arguments.integers().collect::<Vec<_>>(), [("options.deep.1.id", -7)]);
}

#[test]
fn what_is_no_object_has_no_path() {
    assert_eq!(texts("\"a\""), pairs(&[("", "a")]));
    assert_eq!(texts("[1,\"b\"]"), pairs(&[("0", "1"), ("1", "b")]));
    assert_eq!(texts(""), []);
    assert_eq!(texts("null"), []);
    assert!(Arguments::empty().texts().next().is_none());
}

#[test]
fn arrays_of_scalars_are_lists() {
    let arguments = Arguments::read(br#"{"a":["x",1,true],"b":[{"c":["y"]}],"d":[["z"],"w"],"e":[]}"#);
    let lists: Vec<(&str, Vec<&str>)> = arguments.lists().map(|(path, items)| (path, items.iter().map(String::as_str).collect())).collect();
    assert_eq!(lists, [("a", vec!["x", "1", "true"]), ("b.0.c", vec!["y"]), ("d.0", vec!["z"])]);
}

#[test]
fn the_same_name_twice_is_there_twice() {
    assert_eq!(texts(r#"{"a":1,"a":2}"#), pairs(&[("a", "1"), ("a", "2")]));
    assert!(of(&json!({"sql": "SELECT 1"})).contains("sql:select"));
}

#[test]
fn what_is_too_much_or_broken_is_partial_and_labelled_so() {
    let many = format!("[{}]", vec!["1"; 1025].join(","));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{}1{}", "[".repeat(600_000), "]".repeat(600_000));
    for json in [many.as_str(), &long, &deep, "{\"a\":", "{\"a\" 1}", "[1", "\"\\ud800\"", "{]"] {
        let arguments = Arguments::read(json.as_bytes());
        assert!(arguments.is_partial(), "{}", &json[..json.len().min(20)]);
        assert!(super::Labeller::default().labels("t", &arguments).contains("arguments:partial"));
    }
    let enough = format!("[{}]", vec!["1"; 1024].join(","));
    assert!(!Arguments::read(enough.as_bytes()).is_partial());
}

#[test]
fn prose_has_no_labels() {
    for name in ["text", "prompt", "message", "query"] {
        for text in [
            "Please tell me which of the two is better, and why.",
            "select the best option",
            "Delete from the list all that is old",
            "update your profile and set a password",
            "With regards to your letter (of May), I can't come; we'll call.",
            "Create a summary of the meeting",
            "Explain the difference between TCP and UDP",
            "Show me all flights from Berlin",
            "find the best restaurant",
            "Use A; find B | C",
            "it costs 5/6 of 10",
            "Ein Satz auf Deutsch, mit Umlauten: äöü.",
        ] {
            if name == "query" {
                continue;
            }
            assert_eq!(labels(name, text).iter().collect::<Vec<_>>(), Vec::<&str>::new(), "{name}: {text}");
        }
    }
    assert!(labels("query", "select the best option").contains("sql:unparsed"));
    assert_eq!(labels("query", "weather in Berlin").iter().count(), 0);
}

#[test]
fn labels_are_sorted_once_each_and_come_back_from_json() {
    let found = of(&json!({"sql": "SELECT * FROM b, a", "more": {"sql": "SELECT * FROM a"}}));
    assert_eq!(found.iter().collect::<Vec<_>>(), ["sql:select", "sql:table:a", "sql:table:b"]);
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(json, r#"["sql:select","sql:table:a","sql:table:b"]"#);
    assert_eq!(serde_json::from_str::<super::Labels>(&json).unwrap(), found);
}

#[test]
fn more_labels_than_any_call_has_are_said_to_be_partial() {
    let urls: Vec<String> = (0..1500).map(|n| format!("https://h{n}.example/")).collect();
    let found = labels("text", &urls.join(" "));
    assert!(found.contains("arguments:partial") && found.iter().count() == 1025);
}
