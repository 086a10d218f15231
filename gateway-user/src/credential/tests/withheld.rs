use super::super::{EchoStream, Echoes, Held, Outgoing, Secret};

const KEY: &str = "s3cret-key-1";

#[test]
fn nothing_that_can_be_printed_holds_the_secret() {
    let secret = Secret::sendable(KEY).unwrap();
    let outgoing = Outgoing { method: "GET", target: "/mcp", authority: "x", headers: &[], body: b"" };
    let mut printed = vec![format!("{secret} {secret:?} {secret:#?}"), format!("{:?}", Echoes::of(&[KEY]))];
    for held in [Held::Nothing, Held::field("X", "Key ", &secret), Held::query("k", &secret)] {
        let applied = held.apply(&outgoing).unwrap();
        printed.push(format!("{held:?} {held:#?} {applied:?} {applied:#?}"));
    }
    for text in printed {
        assert!(!text.contains("s3cret") && !text.contains("czNjcmV0"), "{text}");
    }
}

#[test]
fn what_is_held_back_of_a_stream_is_masked_too() {
    let mut stream = EchoStream::new(Echoes::of(&[KEY]));
    let mut out = Vec::new();
    for byte in KEY.bytes() {
        stream.push(&[byte], &mut out);
        assert!(out.iter().all(|byte| *byte == b'*'));
    }
    assert_eq!(out, [b'*'; KEY.len()]);
}
