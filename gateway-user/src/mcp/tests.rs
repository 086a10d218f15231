#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::corpus;
use crate::wire::http1::Headers;

fn read_all(body: &[u8]) -> Result<Payload, Refusal> {
    read(body, &Limits::default())
}

fn request(body: &str) -> Request {
    match read_all(body.as_bytes()).unwrap() {
        Payload::Single(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn notification(body: &str) -> Notification {
    match read_all(body.as_bytes()).unwrap() {
        Payload::Single(Message::Notification(notification)) => notification,
        other => panic!("{other:?}"),
    }
}

fn summary(payload: &Payload) -> String {
    let message = match payload {
        Payload::Batch(messages) => return format!("batch {}", messages.len()),
        Payload::Single(message) => message,
    };
    let words = match message {
        Message::Request(r) => vec!["request", r.id.raw(), &r.method, r.name.as_deref().unwrap_or_default()],
        Message::Notification(n) => vec!["notification", &n.method],
        Message::Response(r) => {
            let id = r.id.as_ref().map_or("none", Id::raw);
            match &r.outcome {
                Outcome::Result { is_error: false, .. } => vec!["result", id],
                Outcome::Result { is_error: true, .. } => vec!["failed", id],
                Outcome::Error { code, .. } => return format!("error {id} {code}"),
            }
        }
    };
    words.join(" ").trim_end().to_owned()
}

#[test]
fn corpus_of_what_is_read() {
    for block in corpus::blocks("mcp/accept.txt") {
        let payload = read_all(&block.body()).unwrap_or_else(|e| panic!("{}: {e}", block.name()));
        assert_eq!(summary(&payload), block.get("reads").unwrap(), "{}", block.name());
    }
}

#[test]
fn corpus_of_what_is_refused() {
    for block in corpus::blocks("mcp/refuse.txt") {
        match read_all(&block.body()) {
            Err(refusal) => {
                assert_eq!(refusal.flaw.as_str(), block.get("flaw").unwrap(), "{}: {refusal}", block.name());
                assert!(refusal.http_status == 400 && refusal.message.len() > 15, "{}: {refusal}", block.name());
            }
            Ok(payload) => panic!("{} was read as {payload:?}", block.name()),
        }
    }
}

#[test]
fn corpus_of_headers_against_bodies() {
    for block in corpus::blocks("mcp/confirm.txt") {
        let mut headers = Headers::new();
        for line in block.all("header") {
            let (name, value) = line.split_once(':').unwrap();
            // The only bytes beyond ASCII that the corpus needs in a value.
            let value = value.trim().as_bytes().to_vec();
            let value = if value.ends_with(br"\xe9") { b"caf\xe9".to_vec() } else { value };
            headers.push(name.as_bytes().to_vec(), value);
        }
        let payload = read_all(&block.body()).unwrap_or_else(|e| panic!("{}: {e}", block.name()));
        match (block.get("revision"), confirm(&headers, &payload)) {
            (Some(revision), Ok(read)) => assert_eq!(read.as_str(), revision, "{}", block.name()),
            (None, Err(refusal)) => {
                let flaw = block.get("flaw").unwrap();
                assert_eq!(refusal.flaw.as_str(), flaw, "{}: {refusal}", block.name());
                if matches!(flaw, "header" | "version") {
                    let answer = (refusal.http_status, refusal.code, refusal.reason);
                    assert_eq!(answer, (400, -32020, "header-mismatch"), "{}", block.name());
                }
            }
            (_, other) => panic!("{}: {other:?}", block.name()),
        }
    }
}

#[test]
fn corpus_of_endpoint_events() {
    for block in corpus::blocks("mcp/endpoint.txt") {
        let base: Vec<&str> = block.get("base").unwrap().split(' ').collect();
        let base = Base { scheme: base[0], authority: base[1], target: base[2] };
        let target = endpoint_event(block.get("data").unwrap().as_bytes(), base);
        assert_eq!(target.as_deref().ok(), block.get("target"), "{}: {target:?}", block.name());
    }
}

#[test]
fn a_request_gives_all_that_the_gateway_decides_on() {
    let body = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"q","arguments":{"sql":"x"},
        "requestState":"opaque\n","inputResponses":{"k":{}},"task":{"ttl":1},
        "_meta":{"progressToken":7,"traceparent":"00-ab-cd-01","io.modelcontextprotocol/protocolVersion":"2026-07-28",
        "io.modelcontextprotocol/clientInfo":{"name":"C","version":"1"},
        "io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}}}"#;
    let call = request(body);
    assert_eq!((call.id.raw(), call.id.kind()), (r#""a\u0062""#, IdKind::String));
    assert_eq!(call.id, request(r#"{"jsonrpc":"2.0","id":"ab","method":"ping"}"#).id);
    assert_eq!(call.name.as_deref(), Some("q"));
    assert_eq!(call.arguments.unwrap().of(body.as_bytes()), br#"{"sql":"x"}"#);
    assert_eq!(call.request_state.as_deref(), Some("opaque\n"));
    assert_eq!(call.input_responses.unwrap().of(body.as_bytes()), br#"{"k":{}}"#);
    assert!(call.asks_task && call.meta.tasks);
    assert_eq!(call.meta.progress_token.unwrap().raw(), "7");
    assert_eq!(call.meta.traceparent.as_deref(), Some("00-ab-cd-01"));
    assert_eq!(call.meta.protocol_version.as_deref(), Some("2026-07-28"));
    let info = call.meta.client_info.unwrap();
    assert_eq!((info.name.as_deref(), info.version.as_deref()), (Some("C"), Some("1")));
    assert_eq!(call.span.of(body.as_bytes()), body.as_bytes());
    let params: Value = serde_json::from_slice(call.params.unwrap().of(body.as_bytes())).unwrap();
    assert_eq!(params["name"], "q");
}

#[test]
fn initialize_and_its_answer_tell_the_revision() {
    let hello = request(
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"C","version":"2"}}}"#,
    );
    assert_eq!(hello.protocol_version.as_deref(), Some("2025-06-18"));
    assert_eq!(hello.meta.client_info.unwrap().name.as_deref(), Some("C"));
    let body = br#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-03-26","resultType":"input_required","requestState":"s"}}"#;
    let Payload::Single(Message::Response(Response { outcome, .. })) = read_all(body).unwrap() else { panic!() };
    let Outcome::Result { protocol_version, result_type, request_state, .. } = outcome else { panic!() };
    assert_eq!(protocol_version.as_deref(), Some("2025-03-26"));
    assert_eq!((result_type.as_deref(), request_state.as_deref()), (Some("input_required"), Some("s")));
}

#[test]
fn notifications_tell_what_they_are_about() {
    let cancel = notification(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7"}}"#);
    assert_eq!(cancel.request_id.unwrap().raw(), r#""7""#);
    let progress = notification(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#);
    assert_eq!(progress.progress_token.unwrap().raw(), "7");
}

#[test]
fn ids_compare_by_value_and_keep_their_spelling() {
    let id = |raw: &str| request(&format!(r#"{{"jsonrpc":"2.0","id":{raw},"method":"ping"}}"#)).id;
    for (a, b) in [("1", "1.0"), ("1", "1e0"), ("100", "1.0E2"), ("-0", "0"), ("0.5", "5e-1"), (r#""a""#, r#""\u0061""#)] {
        assert_eq!(id(a), id(b), "{a} {b}");
        assert_eq!(id(b).raw(), b);
    }
    for (a, b) in [("1", r#""1""#), ("1", "1.5"), ("1", "2"), ("1", "-1"), ("0.1", "0.2"), (r#""a""#, r#""A""#)] {
        assert_ne!(id(a), id(b), "{a} {b}");
    }
    assert_eq!((id("1").kind(), id("1.0").kind(), id(r#""1""#).kind()), (IdKind::Integer, IdKind::Float, IdKind::String));
    assert_eq!(serde_json::to_string(&id("1.50")).unwrap(), "1.50");
    assert_eq!(serde_json::to_string(&id(r#""\u0061""#)).unwrap(), r#""\u0061""#);
}

#[test]
fn limits_are_named() {
    let body = br#"{"jsonrpc":"2.0","id":"0123456789","method":"ping"}"#;
    let small = read(body, &Limits { max_bytes: 10, ..Limits::default() }).unwrap_err();
    assert_eq!((small.http_status, small.reason), (413, "limit"));
    assert!(small.message.contains("limit of 10"));
    let id = read(body, &Limits { max_id: 11, ..Limits::default() }).unwrap_err();
    assert_eq!(id.flaw, Flaw::Id);
    assert!(read(body, &Limits { max_id: 12, ..Limits::default() }).is_ok());
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#;
    let many = read(batch, &Limits { max_batch: 1, ..Limits::default() }).unwrap_err();
    assert_eq!((many.flaw, many.http_status), (Flaw::Size, 413));
}

#[test]
fn the_line_between_names_and_data_can_be_moved() {
    let deep = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"q","arguments":{"row":{"a":1,"A":2}}}}"#;
    let folded = |folded_levels| read(deep, &Limits { folded_levels, ..Limits::default() });
    assert!(folded(1).is_ok());
    assert_eq!(folded(2).unwrap_err().flaw, Flaw::KeyVariant);
}

#[test]
fn a_refusal_carries_the_id_if_it_is_certain() {
    let id = |body: &str| read_all(body.as_bytes()).unwrap_err().id.map(|id| id.raw().to_owned());
    let after = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","name":"b"},"id":7}"#;
    assert_eq!(id(after).as_deref(), Some("7"), "the fault comes before the id");
    assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"method":}"#).as_deref(), Some("7"));
    assert_eq!(id(r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#), None);
    assert_eq!(id(r#"{"jsonrpc":"2.0","method":}"#), None);
    assert_eq!(id(r#"[{"jsonrpc":"2.0","id":7,"method":"ping"},1]"#), None);
}

#[test]
fn a_refusal_names_the_key_for_people() {
    let body = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{\"a\u{202e}b\":1,\"a\u{202e}b\":2}}";
    let refusal = read_all(body.as_bytes()).unwrap_err();
    assert!(refusal.message.contains(r"`a\u{202e}b` stands twice"), "{refusal}");
}

#[test]
fn many_keys_are_compared_in_little_time() {
    // 200,000 keys in one object with equal first and last bytes: every tag collides.
    let keys: Vec<String> = (0..200_000).map(|n| format!(r#""aaaaaaaa{n:07}zzzzzzzz":0"#)).collect();
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, keys.join(","));
    let start = std::time::Instant::now();
    assert!(read_all(body.as_bytes()).is_ok());
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    let twice = body.replacen(r#""aaaaaaaa0199999"#, r#""aaaaaaaa0000000"#, 1);
    assert_eq!(read_all(twice.as_bytes()).unwrap_err().flaw, Flaw::DuplicateKey);
}

#[test]
fn an_answer_of_the_gateway_says_who_why_where_and_what_to_do() {
    let id = request(r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#).id;
    let data = ErrorData { reason: "malformed", record: Some("log/7"), help: "send\n\"it\" once\u{1}" };
    let body = error_body(Some(&id), -32600, "no \\ way", &data);
    let text = String::from_utf8(body.clone()).unwrap();
    assert!(text.contains(r#""id":1.0,"#) && !text.contains('\n'), "{text}");
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        value,
        serde_json::json!({"jsonrpc": "2.0", "id": 1.0, "error": {"code": -32600, "message": "no \\ way", "data": {
            "gateway": "mcp-gateway", "reason": "malformed", "record": "log/7", "help": "send\n\"it\" once\u{1}"}}})
    );
    let anonymous = error_body(None, -32700, "x", &ErrorData { record: None, ..data });
    assert_eq!(summary(&read_all(&anonymous).unwrap()), "error none -32700");
}

/// Any JSON value as text, spelt with white space and escapes at random; keys may repeat.
fn json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[a-c]{0,2}".prop_map(|s| format!("\"{s}\"")),
        "[ -~é😀]{0,20}".prop_map(|s| serde_json::to_string(&s).unwrap()),
        prop::collection::vec(prop_oneof![Just("\\u0061"), Just("a"), Just("\\n"), Just("\\ud83d\\ude00")], 0..4)
            .prop_map(|parts| format!("\"{}\"", parts.concat())),
    ]
    .boxed();
    let leaf = prop_oneof![
        string.clone(),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let space = prop_oneof![Just(""), Just(" "), Just("\r\n\t")];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..8), space.clone())
                .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},{s}")))),
            (prop::collection::vec((string.clone(), inner), 0..8), space).prop_map(|(members, s)| {
                let members: Vec<String> = members.iter().map(|(k, v)| format!("{k}{s}:{s}{v}")).collect();
                format!("{{{s}{}{s}}}", members.join(","))
            }),
        ]
    })
}

/// A JSON document as `serde_json` reads it, refusing a key that stands twice.
struct Strict;

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Strict;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
                while seq.next_element::<Strict>()?.is_some() {}
                Ok(Strict)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut keys = std::collections::HashSet::new();
                while let Some((key, _)) = map.next_entry::<String, Strict>()? {
                    if !keys.insert(key) {
                        return Err(serde::de::Error::custom("twice"));
                    }
                }
                Ok(Strict)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_scanner_takes_exactly_what_serde_takes_but_for_repeated_keys(value in json()) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"acme/x","params":{{"x":{value}}}}}"#);
        let ours = read_all(body.as_bytes());
        match serde_json::from_str::<Strict>(&body) {
            Ok(_) => prop_assert!(ours.is_ok(), "{}: {}", body, ours.unwrap_err()),
            Err(_) => prop_assert_eq!(ours.unwrap_err().flaw, Flaw::DuplicateKey),
        }
    }

    #[test]
    fn what_is_broken_is_read_only_if_serde_reads_it(
        value in json(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![Just(b'"'), Just(b'\\'), Just(b','), Just(b'}'), Just(b'0'), Just(b' '), any::<u8>()],
        cut in any::<bool>(),
    ) {
        let mut body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"acme/x","params":{{"x":{value}}}}}"#).into_bytes();
        let at = at.index(body.len());
        if cut { body.remove(at); } else { body[at] = byte; }
        if read_all(&body).is_ok() {
            prop_assert!(serde_json::from_slice::<Strict>(&body).is_ok(), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_is_extracted_is_what_serde_reads(
        name in "[ -~é😀\u{0}-\u{1f}]{0,12}", id in any::<i32>(), code in any::<i64>(), failed in any::<bool>(),
    ) {
        let body = serde_json::json!({"params": {"arguments": {}, "name": name}, "method": "tools/call", "id": id, "jsonrpc": "2.0"});
        let call = request(&body.to_string());
        prop_assert_eq!(call.name, Some(name.clone()));
        prop_assert_eq!(call.id.raw(), id.to_string());
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": name, "result": {"isError": failed}});
        let Ok(Payload::Single(Message::Response(answer))) = read_all(answer.to_string().as_bytes()) else { panic!() };
        let matches = matches!(answer.outcome, Outcome::Result { is_error, .. } if is_error == failed);
        prop_assert!(matches);
        let error = serde_json::json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": name}});
        let Ok(Payload::Single(Message::Response(error))) = read_all(error.to_string().as_bytes()) else { panic!() };
        let matches = matches!(error.outcome, Outcome::Error { code: c, message, .. } if c == code && message == name);
        prop_assert!(matches);
    }

    #[test]
    fn any_number_of_keys_is_compared_alike(
        keys in prop::collection::vec("[abAB]{1,3}", 0..40), escaped in any::<u64>(), level in 0usize..2,
    ) {
        let spelt: Vec<String> = keys.iter().enumerate().map(|(i, key)| {
            let key = if escaped >> (i % 64) & 1 == 1 {
                key.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()
            } else { key.clone() };
            format!(r#""{key}":0"#)
        }).collect();
        let arguments = format!("{{{}}}", spelt.join(","));
        let arguments = if level == 0 { arguments } else { format!(r#"{{"deep":{arguments}}}"#) };
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"q","arguments":{arguments}}}}}"#);
        let one_spelling = |key: &String| if level == 0 { key.to_lowercase() } else { key.clone() };
        let distinct: std::collections::HashSet<String> = keys.iter().map(one_spelling).collect();
        prop_assert_eq!(read_all(body.as_bytes()).is_ok(), distinct.len() == keys.len(), "{}", body);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        let _ = endpoint_event(&bytes, Base { scheme: "http", authority: "a", target: "/sse" });
    }

    #[test]
    fn nearly_json_never_panics(text in "[\\[\\]{}:,\"\\\\u0-9a-fD8.eE+ ntrueфſ-]{0,60}") {
        let _ = read_all(text.as_bytes());
        let _ = read_all(format!(r#"{{"jsonrpc":"2.0","id":{text}}}"#).as_bytes());
        let _ = read_all(format!(r#"{{"jsonrpc":"2.0","id":"{text}","params":{{"{text}":{text}}}}}"#).as_bytes());
    }
}
