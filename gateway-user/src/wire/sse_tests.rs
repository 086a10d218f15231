#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

fn events(pieces: &[&[u8]]) -> (Vec<Event>, Option<Event>) {
    let mut splitter = Splitter::new(LIMIT);
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(event) = splitter.next().unwrap() {
            events.push(event);
        }
    }
    (events, splitter.finish())
}

/// What a client sees of events: without blocks that have no data.
fn seen(events: &[Event]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    events.iter().filter_map(|e| Some((text(e.kind()), text(e.data.as_deref()?)))).collect()
}

fn one(stream: &str) -> Event {
    let (mut events, rest) = events(&[stream.as_bytes()]);
    assert_eq!((events.len(), rest), (1, None), "{stream:?}");
    events.remove(0)
}

#[test]
fn fields_are_read_as_the_standard_says() {
    let event = one("event: endpoint\nid: 7\nretry: 3000\ndata: a\ndata:b\ndata\ndata:  c\n\n");
    assert_eq!(event.kind(), b"endpoint");
    assert_eq!(event.data.as_deref(), Some(&b"a\nb\n\n c"[..]));
    assert_eq!(event.id.as_deref(), Some(&b"7"[..]));
    assert_eq!(event.retry, Some(3000));

    let odd = one("Data: x\nid: a\0b\nretry: 3s\nevent\n: comment\nunknown: y\n\n");
    assert_eq!((odd.data, odd.id, odd.retry), (None, None, None));
    assert_eq!(one("data\n\n").data.as_deref(), Some(&b""[..]));
    assert_eq!(one("data:\n\n").data.as_deref(), Some(&b""[..]));
    assert_eq!(one("data: x\n\n").kind(), b"message");
    assert_eq!(one("event:\ndata: x\n\n").kind(), b"message");
}

#[test]
fn comments_and_blank_lines_pass_without_data() {
    let (events, rest) = events(&[b": ping\n\n\n\r\n:\r\n\r\ndata: x\n\n"]);
    assert_eq!(events.iter().map(|e| &e.raw[..]).collect::<Vec<_>>(), [&b": ping\n\n"[..], b"\n", b"\r\n", b":\r\n\r\n", b"data: x\n\n"]);
    assert_eq!(seen(&events), [("message".to_owned(), "x".to_owned())]);
    assert_eq!(rest, None);
}

#[test]
fn a_complete_event_is_released_by_its_last_byte() {
    for end in ["\n\n", "\r\r", "\r\n\r", "\n\r", "\r\n\n"] {
        let mut splitter = Splitter::new(LIMIT);
        let (last, before) = end.as_bytes().split_last().unwrap();
        splitter.push(Bytes::from_static(b"data: x"));
        splitter.push(Bytes::copy_from_slice(before));
        assert_eq!(splitter.next().unwrap(), None, "{end:?}");
        splitter.push(Bytes::copy_from_slice(&[*last]));
        assert!(splitter.next().unwrap().is_some(), "{end:?}");
    }
}

#[test]
fn an_lf_that_comes_later_belongs_to_the_cr() {
    let (events, rest) = events(&[b"data: x\r\n\r", b"\n", b"data: y\r\n\r\n"]);
    assert_eq!(events.len(), 2);
    assert_eq!(&events[0].raw[..], b"data: x\r\n\r");
    assert_eq!(&events[1].raw[..], b"\ndata: y\r\n\r\n");
    assert_eq!(events[1].data.as_deref(), Some(&b"y"[..]));
    assert_eq!(rest, None);
}

#[test]
fn a_byte_order_mark_counts_only_at_the_start() {
    let bom = "\u{feff}";
    let (both, _) = events(&[format!("{bom}data: x\n\n{bom}data: y\n\n").as_bytes()]);
    assert_eq!(seen(&both), [("message".to_owned(), "x".to_owned())]);
    let (only, rest) = events(&[format!("{bom}\ndata: y\n\n").as_bytes()]);
    assert_eq!((only.len(), rest), (2, None));
}

#[test]
fn an_unfinished_event_is_the_rest() {
    let (events, rest) = events(&[b"data: x\n\ndata: y\nid: 3"]);
    assert_eq!(events.len(), 1);
    let rest = rest.unwrap();
    assert_eq!((&rest.raw[..], rest.data.as_deref()), (&b"data: y\nid: 3"[..], Some(&b"y"[..])));
}

#[test]
fn an_event_beyond_the_limit_is_an_error_that_names_it() {
    let mut endless = Splitter::new(100);
    endless.push(Bytes::from(vec![b'a'; 101]));
    let error = endless.next().unwrap_err();
    assert_eq!(error, SseError::TooLarge { limit: 100 });
    assert!(error.to_string().contains("100 bytes"));
    let mut complete = Splitter::new(10);
    complete.push(Bytes::from_static(b"data: 1\n\ndata: 1234567\n\n"));
    assert!(complete.next().unwrap().is_some());
    assert!(complete.next().is_err());
}

#[test]
fn a_single_line_is_not_copied() {
    let chunk = Bytes::from_static(b"data: x\n\ndata: yz\n\n");
    let mut splitter = Splitter::new(LIMIT);
    splitter.push(chunk.clone());
    splitter.next().unwrap();
    let data = splitter.next().unwrap().unwrap().data.unwrap();
    assert_eq!(data.as_ptr() as usize, chunk.as_ptr() as usize + 15);
}

/// The standard, word for word and without any regard for speed.
fn by_the_book(stream: &str) -> Vec<(String, String)> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
    let Some((complete, _)) = lines.rsplit_once('\n') else {
        return Vec::new();
    };
    let (mut events, mut data, mut kind) = (Vec::new(), String::new(), String::new());
    for line in complete.split('\n') {
        if line.is_empty() {
            if data.pop().is_some() {
                let kind = if kind.is_empty() { "message" } else { &kind };
                events.push((kind.to_owned(), std::mem::take(&mut data)));
            }
            data.clear();
            kind.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.extend([value, "\n"]),
            "event" => value.clone_into(&mut kind),
            _ => {}
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_split_keeps_the_bytes_and_the_events(
        stream in "(\u{feff})?(data|event|id|:|: |x|\r|\n|\r\n|\n\n|\r\r|\u{feff}){0,30}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bytes = stream.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let (events, rest) = events(&pieces);
        let mut raw: Vec<u8> = events.iter().flat_map(|e| e.raw.to_vec()).collect();
        raw.extend_from_slice(rest.as_ref().map_or(&[][..], |e| &e.raw));
        prop_assert_eq!(raw, bytes);
        prop_assert_eq!(seen(&events), by_the_book(&stream));
    }
}
