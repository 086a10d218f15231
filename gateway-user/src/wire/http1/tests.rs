#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::wire::corpus;

const LIMIT: usize = 64 * 1024;

fn request(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    Ok(parse_request(&mut BytesMut::from(bytes), LIMIT)?.expect("the head is complete"))
}

fn response(bytes: &[u8]) -> ResponseHead {
    parse_response(&mut BytesMut::from(bytes), &Method::Post, LIMIT).unwrap().unwrap()
}

fn expected_framing(text: &str) -> Framing {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("none", _) => Framing::None,
        ("length", n) => Framing::Length(n.parse().unwrap()),
        ("chunked", _) => Framing::Chunked,
        ("until", _) => Framing::UntilClose,
        _ => panic!("framing: {text}"),
    }
}

/// Feeds `bytes` one at a time, with nothing said early and nothing lost at the end.
fn byte_by_byte<T>(bytes: &[u8], mut read: impl FnMut(&mut BytesMut) -> Result<Option<T>, HeadError>) -> Result<T, HeadError> {
    let mut buf = BytesMut::new();
    for byte in bytes {
        buf.extend_from_slice(&[*byte]);
        if let Some(head) = read(&mut buf)? {
            return Ok(head);
        }
    }
    panic!("neither a head nor an error")
}

#[test]
fn corpus_of_requests() {
    for block in corpus::blocks("http/requests.txt") {
        let bytes = block.bytes();
        let whole = request(&bytes);
        let split = byte_by_byte(&bytes, |buf| parse_request(buf, LIMIT));
        match (block.get("framing"), whole) {
            (Some(framing), Ok(head)) => {
                assert_eq!(head.framing, expected_framing(framing), "{}", block.name());
                assert_eq!(split.unwrap(), head, "{}", block.name());
            }
            (None, Err(error)) => {
                assert_eq!(error.status.to_string(), block.get("status").unwrap(), "{}: {error}", block.name());
                assert!(split.is_err(), "{}", block.name());
            }
            (_, other) => panic!("{}: {other:?}", block.name()),
        }
    }
}

#[test]
fn corpus_of_responses() {
    for block in corpus::blocks("http/responses.txt") {
        let to = Method::from_token(block.get("to").unwrap());
        let bytes = block.bytes();
        let whole = parse_response(&mut BytesMut::from(&bytes[..]), &to, LIMIT).map(Option::unwrap);
        match (block.get("framing"), whole) {
            (Some(framing), Ok(head)) => {
                assert_eq!(head.framing, expected_framing(framing), "{}", block.name());
                assert_eq!(byte_by_byte(&bytes, |buf| parse_response(buf, &to, LIMIT)).unwrap(), head);
            }
            (None, Err(error)) => assert_eq!(error.status, 502, "{}: {error}", block.name()),
            (_, other) => panic!("{}: {other:?}", block.name()),
        }
    }
}

/// Feeds the pieces and returns the body, and what is left in the buffer.
fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Headers, Vec<u8>), BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut buf, mut body, mut end) = (BytesMut::new(), Vec::new(), None);
    for piece in pieces {
        buf.extend_from_slice(piece);
        while end.is_none() {
            match decoder.decode(&mut buf)? {
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Decoded::NeedMore => break,
                Decoded::End { trailers } => end = Some(trailers),
            }
        }
    }
    match end {
        Some(trailers) => Ok((body, trailers, buf.to_vec())),
        None => decoder.finish_on_eof().map(|()| (body, Headers::new(), Vec::new())),
    }
}

#[test]
fn corpus_of_chunked_bodies() {
    for block in corpus::blocks("http/chunked.txt") {
        let bytes = block.bytes();
        for split in 0..bytes.len() {
            let (a, b) = bytes.split_at(split);
            match (block.get("data"), decode(Framing::Chunked, &[a, b])) {
                (Some(data), Ok((body, _, rest))) => {
                    assert_eq!(body, data.as_bytes(), "{} split at {split}", block.name());
                    assert!(rest.is_empty());
                }
                (None, Err(error)) => {
                    let part = block.get("error").unwrap();
                    assert!(error.to_string().contains(part), "{} split at {split}: {error}", block.name());
                }
                (_, other) => panic!("{} split at {split}: {other:?}", block.name()),
            }
        }
    }
}

#[test]
fn the_head_is_consumed_and_what_follows_is_left() {
    let mut buf = BytesMut::from(&b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET"[..]);
    let before = buf.as_ptr() as usize..buf.as_ptr() as usize + buf.len();
    let head = parse_request(&mut buf, LIMIT).unwrap().unwrap();
    assert_eq!(&buf[..], b"{}GET");
    let host = head.headers.get("HOST").unwrap();
    assert_eq!(host, b"a");
    assert!(before.contains(&(host.as_ptr() as usize)), "a value was copied");
}

#[test]
fn an_incomplete_head_is_left_alone() {
    let mut buf = BytesMut::from(&b"POST /mcp HTTP/1.1\r\nHost: a\r\n"[..]);
    assert_eq!(parse_request(&mut buf, LIMIT).unwrap(), None);
    assert_eq!(buf.len(), 29);
}

#[test]
fn limits_are_named_with_431() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(200));
    let error = parse_request(&mut BytesMut::from(long.as_bytes()), 100).unwrap_err();
    assert_eq!(error.status, 431);
    assert!(error.to_string().contains("100 bytes"), "{error}");
    let endless = parse_request(&mut BytesMut::from(&long.as_bytes()[..100]), 100).unwrap_err();
    assert_eq!(endless.status, 431);
    let exact = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(10));
    assert!(parse_request(&mut BytesMut::from(exact.as_bytes()), exact.len()).unwrap().is_some());
    assert!(parse_request(&mut BytesMut::from(exact.as_bytes()), exact.len() - 1).is_err());

    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    let error = request(many.as_bytes()).unwrap_err();
    assert_eq!((error.status, error.flaw), (431, HeadFlaw::TooManyHeaders { limit: MAX_HEADERS }));
    let as_many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS - 1));
    assert_eq!(request(as_many.as_bytes()).unwrap().headers.len(), MAX_HEADERS);
}

#[test]
fn expect_upgrade_and_keep_alive_are_read() {
    let head = |fields: &str, version: u8| request(format!("POST / HTTP/1.{version}\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
    assert!(head("Expect: 100-Continue\r\n", 1).expect_continue);
    assert!(!head("Expect: 100-continue\r\n", 0).expect_continue);
    assert!(head("Upgrade: websocket\r\n", 1).asks_upgrade());
    assert!(head("Connection: keep-alive, Upgrade\r\n", 1).asks_upgrade());
    assert!(!head("", 1).asks_upgrade());
    assert!(head("", 1).keep_alive);
    assert!(!head("Connection: x, Close\r\n", 1).keep_alive);
    assert!(!head("", 0).keep_alive);
    assert!(head("Connection: Keep-Alive\r\n", 0).keep_alive);
    assert!(!head("Connection: Keep-Alive\r\nConnection: close\r\n", 0).keep_alive);
    assert!(!response(b"HTTP/1.1 200 OK\r\n\r\n").keep_alive);
    assert!(response(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n").keep_alive);
}

#[test]
fn a_truncated_body_is_an_error_and_one_until_close_is_not() {
    assert_eq!(decode(Framing::Length(3), &[b"ab"]), Err(BodyError::Truncated));
    assert_eq!(decode(Framing::Chunked, &[b"3\r\nabc\r\n"]), Err(BodyError::Truncated));
    assert_eq!(decode(Framing::Chunked, &[b"3\r\nabc\r\n0\r\n"]), Err(BodyError::Truncated));
    assert_eq!(decode(Framing::UntilClose, &[b"ab", b"c"]).unwrap().0, b"abc");
    assert_eq!(decode(Framing::None, &[b"GET"]).unwrap(), (vec![], Headers::new(), b"GET".to_vec()));
    assert_eq!(decode(Framing::Length(2), &[b"abGET"]).unwrap().2, b"GET");
    assert_eq!(decode(Framing::Chunked, &[b"1\r\na\r\n0\r\n\r\nGET"]).unwrap().2, b"GET");
}

#[test]
fn trailers_are_returned_and_bounded() {
    let (_, trailers, _) = decode(Framing::Chunked, &[b"0\r\nX-Sum:  9 \r\n\r\n"]).unwrap();
    assert_eq!(trailers.get("x-sum"), Some(&b"9"[..]));
    let long = format!("0\r\nX: {}\r\n\r\n", "a".repeat(9000));
    assert_eq!(decode(Framing::Chunked, &[long.as_bytes()]), Err(BodyError::TrailersTooLarge));
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let many = "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(100);
    assert_eq!(decode(Framing::Chunked, &[many.as_bytes()]), Err(BodyError::Extensions));
}

#[test]
fn a_decoder_stays_failed() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert!(decoder.decode(&mut BytesMut::from(&b"zz\r\n"[..])).is_err());
    assert_eq!(decoder.decode(&mut BytesMut::from(&b"0\r\n\r\n"[..])), Err(BodyError::Failed));
    assert_eq!(decoder.finish_on_eof(), Err(BodyError::Truncated));
}

#[test]
fn body_pieces_are_slices_of_the_buffer() {
    let mut buf = BytesMut::from(&b"5\r\nabcde\r\n0\r\n\r\n"[..]);
    let start = buf.as_ptr() as usize;
    let Decoded::Data(data) = BodyDecoder::new(Framing::Chunked).decode(&mut buf).unwrap() else { panic!() };
    assert_eq!(data.as_ptr() as usize, start + 3);
}

fn rewrite<'a>(framing: Framing) -> Rewrite<'a> {
    Rewrite { target: None, framing, set: &[], remove: &[], keep_alive: true }
}

fn text(bytes: &BytesMut) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_request_head_is_rebuilt_without_hop_by_hop_fields() {
    let received = b"POST /mcp?a=b HTTP/1.0\r\nHost: a.example\r\nX-One: 1\r\nConnection: keep-alive, X-Hop\r\n\
        X-Hop: gone\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nProxy-Odd: 1\r\nTE: trailers\r\n\
        Trailer: X\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nContent-Length: 2\r\nAccept: application/json\r\n\
        aUTHORIZATION: Bearer old\r\nX-One: 2\r\nDrop: me\r\n\r\n";
    let head = request(received).unwrap();
    let mut out = BytesMut::from(&b"before"[..]);
    let with = Rewrite {
        target: None,
        framing: Framing::Length(2),
        set: &[("Authorization", b"Bearer new")],
        remove: &["drop"],
        keep_alive: false,
    };
    write_request_head(&mut out, &head, &with).unwrap();
    assert_eq!(
        text(&out),
        "beforePOST /mcp?a=b HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\nAccept: application/json\r\nX-One: 2\r\n\
         Authorization: Bearer new\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_response_head_is_rebuilt() {
    let head = response(b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n");
    let mut out = BytesMut::new();
    write_response_head(&mut out, &head, &Method::Post, &rewrite(Framing::Chunked)).unwrap();
    assert_eq!(text(&out), "HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");

    let to = Method::Head;
    let head = parse_response(&mut BytesMut::from(&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"[..]), &to, LIMIT);
    out.clear();
    write_response_head(&mut out, &head.unwrap().unwrap(), &to, &rewrite(Framing::None)).unwrap();
    assert_eq!(text(&out), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");

    out.clear();
    let head = response(b"HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n");
    write_response_head(&mut out, &head, &Method::Post, &rewrite(Framing::None)).unwrap();
    assert_eq!(text(&out), "HTTP/1.1 204 \r\n\r\n");
    let wrong = write_response_head(&mut out, &head, &Method::Post, &rewrite(Framing::Length(1)));
    assert_eq!(wrong, Err(WriteError::Framing(Framing::Length(1))));
}

#[test]
fn nothing_that_breaks_a_head_is_written() {
    let head = request(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut out = BytesMut::from(&b"kept"[..]);
    for (name, value) in [("X-A", &b"b\r\nX-B: c"[..]), ("X A", b"b"), ("", b"b"), ("X-A", b"b\0")] {
        let set = [(name, value)];
        let with = Rewrite { set: &set, ..rewrite(Framing::None) };
        assert!(matches!(write_request_head(&mut out, &head, &with), Err(WriteError::Field(_))), "{name}");
    }
    for name in ["Content-Length", "transfer-encoding", "Connection"] {
        let set = [(name, &b"5"[..])];
        let with = Rewrite { set: &set, ..rewrite(Framing::None) };
        assert!(matches!(write_request_head(&mut out, &head, &with), Err(WriteError::Reserved(_))), "{name}");
    }
    let split = RequestHead { target: "/a b".to_owned(), ..head.clone() };
    assert_eq!(write_request_head(&mut out, &split, &rewrite(Framing::None)), Err(WriteError::Target));
    assert!(write_request_head(&mut out, &head, &rewrite(Framing::UntilClose)).is_err());
    let made_up = ResponseHead { reason: Bytes::from_static(b"OK\r\nX: y"), ..response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") };
    let written = write_response_head(&mut out, &made_up, &Method::Get, &rewrite(Framing::Length(0)));
    assert_eq!(written, Err(WriteError::Status));
    assert_eq!(text(&out), "kept");
}

#[test]
fn sniffing_lets_nothing_through_that_a_server_might_take_for_http() {
    let cases: [(&[u8], Sniff); 24] = [
        (b"", Sniff::NeedMore),
        (b"P", Sniff::NeedMore),
        (b"POST /mcp HTTP/1.1\r\n", Sniff::Http),
        (b"POST ", Sniff::Http),
        (b"post /mcp", Sniff::Http),
        (b"GET\t/", Sniff::Http),
        (b"\r\nPOST / HTTP/1.1", Sniff::Http),
        (b"\n", Sniff::Http),
        (b" GET / HTTP/1.1", Sniff::Http),
        (b"PRI ", Sniff::NeedMore),
        (b"PRI * HTTP/2.0\r\n", Sniff::Http2Preface),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniff::Http2Preface),
        (b"PRI * HTTP/1.1\r\n", Sniff::Http),
        (b"PRI /", Sniff::Http),
        (b"\x16", Sniff::NeedMore),
        (b"\x16\x03", Sniff::Tls),
        (b"\x16\x03\x01\x02\x00", Sniff::Tls),
        (b"\x16\x04", Sniff::Other),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Sniff::Other),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Sniff::Other),
        (b"GET\r\n", Sniff::Other),
        (b"*1\r\n$4\r\nPING\r\n", Sniff::Other),
        (b"(x) y", Sniff::Other),
        (&[b'A'; 65], Sniff::Other),
    ];
    for (bytes, expected) in cases {
        assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn any_split_of_a_chunked_body_gives_the_same(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut wire = BytesMut::new();
        for chunk in &chunks {
            write_chunk_head(&mut wire, NonZeroUsize::new(chunk.len()).unwrap());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(CHUNK_END);
        }
        wire.extend_from_slice(LAST_CHUNK);
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(wire.len() + 1)).collect();
        at.extend([0, wire.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
        let (body, _, rest) = decode(Framing::Chunked, &pieces).unwrap();
        prop_assert_eq!(body, chunks.concat());
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&mut BytesMut::from(&bytes[..]), 200);
        let _ = parse_response(&mut BytesMut::from(&bytes[..]), &Method::Get, 200);
        let _ = decode(Framing::Chunked, &[&bytes]);
        let _ = sniff(&bytes);
    }

    #[test]
    fn nearly_http_never_panics_and_what_is_read_can_be_written(
        line in "(GET|POST|X) (/|/mcp|\\*|[ -~]{0,6}) HTTP/1\\.[0-2]",
        fields in prop::collection::vec(
            "(Host|Content-Length|Transfer-Encoding|Connection|X-[a-z]{1,3})( )?: ?(chunked|close|[0-9]{1,3}|[ -~]{0,8})", 0..5),
    ) {
        let head = format!("{line}\r\n{}\r\n\r\n", fields.join("\r\n"));
        if let Ok(Some(head)) = parse_request(&mut BytesMut::from(head.as_bytes()), LIMIT) {
            let mut out = BytesMut::new();
            write_request_head(&mut out, &head, &rewrite(head.framing)).unwrap();
            if head.minor_version == 1 {
                let again = parse_request(&mut out, LIMIT).unwrap().unwrap();
                prop_assert_eq!(again.target, head.target);
                let same = again.framing == head.framing || again.framing == Framing::Length(0);
                prop_assert!(same, "{:?} became {:?}", head.framing, again.framing);
            }
        }
    }
}
