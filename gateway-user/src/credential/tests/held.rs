use proptest::{collection::vec, prelude::*};

use super::super::{Applied, Held, Outgoing, Secret, carries_credential};

const KEY: &str = "s3cret key/+";

fn applied(held: &Held, target: &str) -> Applied {
    let outgoing = Outgoing { method: "POST", target, authority: "clinic.example", headers: &[], body: b"{}" };
    held.apply(&outgoing).unwrap()
}

fn target(held: &Held, before: &str) -> String {
    applied(held, before).target.map_or(before.to_owned(), |after| after.expose().to_owned())
}

fn field() -> Held {
    Held::field("X-Clinic", "Key ", &Secret::sendable(KEY).unwrap())
}

fn query() -> Held {
    Held::query("k[1]", &Secret::sendable(KEY).unwrap())
}

#[test]
fn a_field_takes_the_place_of_the_callers_and_of_all_that_carries_credentials() {
    let applied = applied(&field(), "/mcp");
    let [(name, value)] = &applied.set[..] else { unreachable!("one field is set") };
    assert_eq!((&**name, value.expose()), ("X-Clinic", "Key s3cret key/+"));
    assert!(applied.target.is_none());
    for name in ["x-clinic", "X-CLINIC", "Authorization", "cookie", "X-Api-Key"] {
        assert!(applied.removes(name), "{name}");
    }
    for name in ["Accept", "Mcp-Session-Id", "Mcp-Param-Token", "traceparent"] {
        assert!(!applied.removes(name), "{name}");
    }
    let mut answer = b"you sent Key s3cret key/+".to_vec();
    assert_eq!(applied.echoes.mask(&mut answer), 1);
    assert_eq!(answer, b"you sent Key ************");
}

#[test]
fn a_parameter_stands_at_the_end_encoded_and_the_callers_own_are_gone() {
    const OURS: &str = "k%5B1%5D=s3cret+key%2F%2B";
    let cases = [
        ("/mcp", "/mcp?"),
        ("/mcp?", "/mcp?"),
        ("/mcp?x=1", "/mcp?x=1&"),
        ("/mcp?k[1]=a&x=%2f+&k%5b1%5d=b", "/mcp?x=%2f+&"),
        ("/mcp?api%5Fkey=mine&X=a=b&y", "/mcp?X=a=b&y&"),
    ];
    for (before, after) in cases {
        assert_eq!(target(&query(), before), format!("{after}{OURS}"), "{before}");
    }
    assert!(applied(&query(), "/mcp").set.is_empty());
    let mut answer = format!("GET /mcp?{OURS}").into_bytes();
    assert_eq!(applied(&query(), "/mcp").echoes.mask(&mut answer), 1);
    assert!(!String::from_utf8(answer).unwrap().contains("s3cret"));
}

#[test]
fn where_nothing_is_put_in_the_callers_credentials_are_dropped_all_the_same() {
    let applied = applied(&Held::Nothing, "/mcp?token=mine");
    assert!(applied.set.is_empty() && applied.echoes.is_empty() && applied.removes("Authorization"));
    assert_eq!(target(&Held::Nothing, "/mcp?token=mine"), "/mcp");
    assert_eq!(target(&Held::Nothing, "/mcp?a=1&token=mine&&b=%20"), "/mcp?a=1&&b=%20");
    for untouched in ["/mcp", "/mcp?", "/mcp?a=1&&b", "/a?b?c"] {
        assert_eq!(target(&Held::Nothing, untouched), untouched);
    }
}

#[test]
fn what_carries_a_credential_is_known_by_its_name_and_mcps_own_never_do() {
    for name in ["Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Amz-Security-Token", "X-Auth-Token", "key"]
    {
        assert!(carries_credential(name), "{name}");
    }
    for name in ["Accept", "Mcp-Session-Id", "Mcp-Name", "MCP-Protocol-Version", "Host", "User-Agent", "mcp-param-api-key", "é", ""] {
        assert!(!carries_credential(name), "{name}");
    }
}

proptest! {
    #[test]
    fn what_else_stands_in_a_target_stays_byte_for_byte(path in "/[a-z%./]{0,20}", parts in vec("[xyz][a-j%=+]{0,8}", 0..6)) {
        let query_part = parts.join("&");
        let before = if parts.is_empty() { path } else { format!("{path}?{query_part}") };
        prop_assert_eq!(target(&field(), &before), before.clone());
        let joint = if parts.is_empty() { '?' } else { '&' };
        let start = format!("{before}{joint}k%5B1%5D=");
        prop_assert!(target(&query(), &before).starts_with(&start));
    }
}
