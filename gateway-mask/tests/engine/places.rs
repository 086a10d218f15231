//! What stands at a place: fields, columns and paths, in every shape and layer.

use crate::help::{columns, fields, form, kinds, masker, message, paths, recorded, result, rule};
use gateway_mask::{Failure, Form, How, RuleError, Wanted, What};

const REDACT: How = How::Redact;

#[test]
fn a_field_is_masked_at_any_depth_and_whatever_its_type() {
    for (given, masked) in [
        (r#"{"a":[{"b":{"SSN":"123-45-6789"}}]}"#, r#"{"a":[{"b":{"SSN":"[masked: private]"}}]}"#),
        (r#"{"ssn":123456789, "x":1.50}"#, r#"{"ssn":"[masked: private]", "x":1.50}"#),
        (r#"{"ssn":{"n":1}}"#, r#"{"ssn":"[masked: private]"}"#),
        (r#"{"ssn":null,"ssn2":"a"}"#, r#"{"ssn":null,"ssn2":"a"}"#),
        (r#"{"\u0073sn":"1"}"#, r#"{"\u0073sn":"[masked: private]"}"#),
        (r#"{"structuredContent":{"ssn":12,"s":{"ssn":true}}}"#, r#"{"structuredContent":{"ssn":0,"s":{"ssn":false}}}"#),
    ] {
        assert_eq!(result(REDACT, fields(&["ssn"]), given), masked);
    }
}

#[test]
fn json_in_text_keeps_its_spelling_around_what_is_masked() {
    for (given, masked) in [
        (r#"{"text":"{\"ssn\" : \"1\",\n \"n\":1.0e2}"}"#, r#"{"text":"{\"ssn\" : \"[masked: private]\",\n \"n\":1.0e2}"}"#),
        (r#"{"text":"Here: {\"ssn\":\"1\"} \u00e9 done"}"#, r#"{"text":"Here: {\"ssn\":\"[masked: private]\"} \u00e9 done"}"#),
        (r#"{"text":"{\"a\":\"{\\\"ssn\\\":\\\"1\\\"}\"}"}"#, r#"{"text":"{\"a\":\"{\\\"ssn\\\":\\\"[masked: private]\\\"}\"}"}"#),
        (r#"{"text":"{\"ssn\":1}\n{\"ssn\":2}\n"}"#, r#"{"text":"{\"ssn\":\"[masked: private]\"}\n{\"ssn\":\"[masked: private]\"}\n"}"#),
    ] {
        assert_eq!(result(REDACT, fields(&["ssn"]), given), masked);
    }
}

#[test]
fn what_only_looks_like_an_encoding_is_plain_text() {
    for given in [r#"{"a":"100%FF of?%FF ","ssn":[],"b":"aGVsbG8gd29ybGQgaGVsbG8=!","c":"{not json","d":"[]"}"#, r#"{"ssn":[]}"#] {
        assert_eq!(result(REDACT, columns(&["ssn"]), given), given);
    }
}

#[test]
fn json_that_is_cut_off_is_masked_as_far_as_it_goes() {
    for (given, masked) in [
        (
            r#"{"text":"[{\"ssn\":\"1\"},{\"ssn\": \"123-4"}"#,
            r#"{"text":"[{\"ssn\":\"[masked: private]\"},{\"ssn\": \"[masked: private]"}"#,
        ),
        (r#"{"text":"{\"ssn\":12, \"x\":"}"#, r#"{"text":"{\"ssn\":[masked: private], \"x\":"}"#),
    ] {
        assert_eq!(result(REDACT, fields(&["ssn"]), given), masked);
    }
}

#[test]
fn a_column_that_sql_renames_is_followed_into_the_answer() {
    let masker = masker(vec![rule(REDACT, columns(&["ssn"]))]);
    let followed = masker.follow(br#"{"method":"tools/call","params":{"name":"query","arguments":{"sql":"select ssn as x, id from p"}}}"#);
    assert_eq!(followed.unfollowed(), None);
    let given = r#"{"result":{"structuredContent":{"rows":[{"x":"a","id":1}]},"content":[{"type":"text","text":"x,id\na,1\n"}]}}"#;
    let masked = form(&masker, given.as_bytes(), Form::Message(&followed)).unwrap().0;
    assert_eq!(masked, given.replace(r#":"a""#, r#":"[masked: private]""#).replace("na,1", "n[masked: private],1"));
}

#[test]
fn a_column_without_a_name_is_told_by_where_the_query_puts_it() {
    let masker = masker(vec![rule(REDACT, columns(&["note"]))]);
    let followed =
        masker.follow(br#"{"method":"tools/call","params":{"name":"query","arguments":{"sql":"select id, upper(note) from p"}}}"#);
    let text = r#"[[1,"b"],[2,"c"]]"#;
    let given =
        format!(r#"{{"result":{{"rows":[[1,"b"],[2,"c"]],"other":[["x","y","z"]],"content":[{{"type":"text","text":{text:?}}}]}}}}"#);
    let masked = form(&masker, given.as_bytes(), Form::Message(&followed)).unwrap().0;
    let mask = |text: &str| text.replace(r#""b""#, r#""[masked: private]""#).replace(r#""c""#, r#""[masked: private]""#);
    let expected = mask(&given).replace(&format!("{text:?}"), &format!("{:?}", mask(text)));
    assert_eq!(masked, expected);
    // Where the rows have names, those tell.
    let named = r#"{"result":{"rows":[["id","note"],[1,"b"]]}}"#;
    assert_eq!(form(&masker, named.as_bytes(), Form::Message(&followed)).unwrap().0, mask(named));
}

#[test]
fn base64_is_written_again_in_its_own_alphabet_and_padding() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        let given = format!(r#"{{"blob":"{}"}}"#, engine.encode(r#"{"ssn":"123-45-6789","z":"??>>~~é"}"#));
        let masked = format!(r#"{{"blob":"{}"}}"#, engine.encode(r#"{"ssn":"[masked: private]","z":"??>>~~é"}"#));
        assert_eq!(result(REDACT, fields(&["ssn"]), &given), masked);
        let url = given.replace(r#":""#, r#":"data:text/plain;base64,"#);
        assert_eq!(result(REDACT, fields(&["ssn"]), &url), masked.replace(r#":""#, r#":"data:text/plain;base64,"#));
    }
}

#[test]
fn base64_of_a_text_that_is_not_utf_8_is_read_and_written_again() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let latin1 = |text: &str| text.chars().map(|char| u8::try_from(char).unwrap()).collect::<Vec<u8>>();
    let utf16 = |text: &str| format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let bare_utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let blob = |data: Vec<u8>| format!(r#"{{"blob":"{}","mimeType":"text/csv"}}"#, STANDARD.encode(data));
    let (given, masked) = ("name,ssn\nJ\u{fc}rgen,123-45-6789\n", "name,ssn\nJ\u{fc}rgen,[masked: private]\n");
    for (given, masked) in [(latin1(given), latin1(masked)), (utf16(given), utf16(masked)), (bare_utf16(given), bare_utf16(masked))] {
        assert_eq!(result(REDACT, columns(&["ssn"]), &blob(given)), blob(masked));
    }
}

#[test]
fn gzip_in_base64_is_read_and_written_again() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::io::{Read as _, Write as _};
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(br#"{"ssn":"123-45-6789"}"#).unwrap();
    let given = format!(r#"{{"blob":"{}","mimeType":"application/gzip"}}"#, STANDARD.encode(encoder.finish().unwrap()));
    let masked: serde_json::Value = serde_json::from_str(&result(REDACT, fields(&["ssn"]), &given)).unwrap();
    let data = STANDARD.decode(masked["blob"].as_str().unwrap()).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(data.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, r#"{"ssn":"[masked: private]"}"#);
}

#[test]
fn gzip_that_grows_beyond_the_limit_is_a_failure() {
    use base64::Engine as _;
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..1100 {
        encoder.write_all(&[b' '; 64 << 10]).unwrap();
    }
    let bomb = base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap());
    let masker = masker(vec![rule(REDACT, fields(&["ssn"]))]);
    assert!(matches!(message(&masker, &format!(r#"{{"result":{{"blob":"{bomb}"}}}}"#)), Err(Failure::Work { .. })));
}

#[test]
fn a_column_is_masked_in_every_shape_of_table() {
    for (given, masked) in [
        (r#"[["id","ssn"],[1,"a"],[2,null]]"#, r#"[["id","ssn"],[1,"[masked: private]"],[2,null]]"#),
        (r#"{"columns":["id","ssn"],"rows":[[1,"a"]]}"#, r#"{"columns":["id","ssn"],"rows":[[1,"[masked: private]"]]}"#),
        (
            r#"{"rows":[["a",1]],"fields":[{"name":"ssn"},{"name":"id"}]}"#,
            r#"{"rows":[["[masked: private]",1]],"fields":[{"name":"ssn"},{"name":"id"}]}"#,
        ),
        (
            r#"{"schema":{"fields":[{"name":"ssn"}]},"data":[["a"]]}"#,
            r#"{"schema":{"fields":[{"name":"ssn"}]},"data":[["[masked: private]"]]}"#,
        ),
        (r#"{"ssn":["a",5,null],"id":[1,2,3]}"#, r#"{"ssn":["[masked: private]","[masked: private]",null],"id":[1,2,3]}"#),
        (r#"[{"ssn":"a"},{"ssn":"b"}]"#, r#"[{"ssn":"[masked: private]"},{"ssn":"[masked: private]"}]"#),
        (
            r#"[{"name":"ssn","value":"a"},{"name":"id","value":"b"}]"#,
            r#"[{"name":"ssn","value":"[masked: private]"},{"name":"id","value":"b"}]"#,
        ),
        (r#"{"text":"[\"ssn\",\"id\"]\n[\"a\",1]"}"#, r#"{"text":"[\"ssn\",\"id\"]\n[\"[masked: private]\",1]"}"#),
        (r#"{"text":"id,ssn\n1,\"a, b\"\n2,c\n"}"#, r#"{"text":"id,ssn\n1,\"[masked: private]\"\n2,[masked: private]\n"}"#),
    ] {
        let given = format!(r#"{{"r":{given}}}"#);
        assert_eq!(result(REDACT, columns(&["ssn"]), &given), format!(r#"{{"r":{masked}}}"#));
    }
}

#[test]
fn a_dropped_cell_leaves_its_position_and_a_dropped_member_takes_its_comma() {
    let drop = |what, given: &str| result(How::Drop, what, given);
    assert_eq!(drop(columns(&["ssn"]), r#"{"r":[["id","ssn"],[1,"a"]]}"#), r#"{"r":[["id","ssn"],[1,null]]}"#);
    for (given, masked) in [
        (r#"{"a":1, "ssn":2, "b":3}"#, r#"{"a":1, "b":3}"#),
        (r#"{ "ssn":2, "b":3}"#, r#"{ "b":3}"#),
        (r#"{"a":1, "ssn":2 }"#, r#"{"a":1 }"#),
        (r#"{"ssn":2}"#, r"{}"),
        (r#"{"a":1, "ssn":2, "s_sn":0, "Ssn":3}"#, r#"{"a":1, "s_sn":0}"#),
        (r#"{"x":[1,{"ssn":2},3]}"#, r#"{"x":[1,{},3]}"#),
    ] {
        assert_eq!(drop(fields(&["ssn"]), given), masked);
    }
    assert_eq!(drop(paths(&["$.result.x[0,2]"]), r#"{"x":[1, 2, 3]}"#), r#"{"x":[2]}"#);
}

#[test]
fn a_path_selects_what_it_says_and_its_copy_as_text() {
    let what = || paths(&["$.result.structuredContent.rows[*].ssn"]);
    let given = r#"{"content":[{"type":"text","text":"{\"rows\":[{\"ssn\":\"a\",\"n\":1}]}"}],"structuredContent":{"rows":[{"ssn":"a"}],"ssn":"b"}}"#;
    let masked = r#"{"content":[{"type":"text","text":"{\"rows\":[{\"ssn\":\"[masked: private]\",\"n\":1}]}"}],"structuredContent":{"rows":[{"ssn":"[masked: private]"}],"ssn":"b"}}"#;
    assert_eq!(result(REDACT, what(), given), masked);
    let batch = r#"[{"result":{"structuredContent":{"rows":[{"ssn":"a"}]}}}]"#;
    assert_eq!(
        message(&masker(vec![rule(REDACT, what())]), batch).unwrap().0,
        r#"[{"result":{"structuredContent":{"rows":[{"ssn":"[masked: private]"}]}}}]"#
    );
}

#[test]
fn control_fields_never_change_and_the_same_names_elsewhere_do() {
    let what = || fields(&["id", "method", "name", "cursor", "requestState", "type", "code", "progressToken"]);
    let given = r#"{"jsonrpc":"2.0","id":"i","method":"tools/call","params":{"name":"n","cursor":"c","requestState":"s","_meta":{"progressToken":"p"},"arguments":{"id":"i","name":"n"}}}"#;
    let masked =
        given.replace(r#""arguments":{"id":"i","name":"n"}"#, r#""arguments":{"id":"[masked: private]","name":"[masked: private]"}"#);
    assert_eq!(message(&masker(vec![rule(REDACT, what())]), given).unwrap().0, masked);
    let record = masked
        .replace(r#""c""#, r#""[masked: private]""#)
        .replace(r#""s""#, r#""[masked: private]""#)
        .replace(r#""p""#, r#""[masked: private]""#);
    assert_eq!(recorded(vec![rule(REDACT, what())], given), record);
    let error = r#"{"id":1,"error":{"code":-32000,"message":"m","data":{"code":"c"}}}"#;
    assert_eq!(recorded(vec![rule(REDACT, what())], error), error.replace(r#""c""#, r#""[masked: private]""#));
    // A path that selects a whole result leaves what others steer by.
    let whole = r#"{"content":[{"type":"text","text":"secret"}],"isError":false,"resultType":"complete"}"#;
    assert_eq!(result(REDACT, paths(&["$.result"]), whole), whole.replace("secret", "[masked: private]"));
}

#[test]
fn the_schema_of_a_field_stays_and_its_examples_do_not() {
    let given = r#"{"tools":[{"name":"q","inputSchema":{"type":"object","properties":{"ssn":{"type":"string","default":"123"}}}}]}"#;
    assert_eq!(result(REDACT, fields(&["ssn"]), given), given.replace("123", "[masked: private]"));
}

#[test]
fn the_earlier_of_two_rules_is_applied_to_all_that_both_select() {
    let partial = rule(How::Partial { keep: 4 }, kinds(Wanted::all()));
    let whole = rule(REDACT, fields(&["contact"]));
    let given = r#"{"result":{"contact":"mail ada.lovelace@example.com now"}}"#;
    let masked = message(&masker(vec![partial, whole]), given).unwrap().0;
    assert_eq!(masked, r#"{"result":{"contact":"**** ***.********@*******.**m now"}}"#);
}

#[test]
fn urls_are_masked_by_the_names_of_their_queries() {
    let masker = masker(vec![rule(REDACT, fields(&["ssn"])), rule(REDACT, kinds(Wanted::all()))]);
    let url = |given: &str| form(&masker, given.as_bytes(), Form::Url).unwrap().0;
    assert_eq!(url("/a/b?ssn=12%2D3&x=1"), "/a/b?ssn=%5Bmasked%3A%20private%5D&x=1");
    assert!(!url("/a/ada%40example.com?x=1").contains("example"));
    assert_eq!(url("/plain?x=1"), "/plain?x=1");
}

#[test]
fn rules_that_cannot_hold_are_refused() {
    let new = |what| gateway_mask::Masker::new(crate::help::detectors(), vec![rule(REDACT, what)]).err();
    assert!(matches!(new(What::default()), Some(RuleError::Empty { .. })));
    assert!(matches!(new(paths(&["$.["])), Some(RuleError::Path { .. })));
    assert!(matches!(new(fields(&[" _ "])), Some(RuleError::Name { .. })));
}
