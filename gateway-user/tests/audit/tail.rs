use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::*;
use gateway_user::audit::{
    Durability, Effect, Entry, Kind, Log, Options,
    tail::{TailError, TailOptions, run},
};

fn shown(options: &TailOptions) -> Vec<String> {
    let mut out = Vec::new();
    run(options, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn call(server: &str, method: &str, name: &str) -> Entry {
    let body = serde_json::json!({
        "server": server,
        "call": { "method": method, "name": name },
        "caller": { "process": { "pid": 4242, "comm": "python3", "exe": "/usr/bin/python3" }, "origin": { "uid": 1000 } },
    });
    Entry { kind: Kind::Request, body: body.to_string().into_bytes(), effect: Effect::Opens }
}

fn answer(to: u64) -> Entry {
    let body = serde_json::json!({
        "server": "clinic-db", "call": { "method": "tools/call", "name": "query" },
        "outcome": { "status": 200, "is_error": false, "took_us": 7934 },
    });
    Entry { kind: Kind::Answer, body: body.to_string().into_bytes(), effect: Effect::Closes(to) }
}

#[test]
fn a_call_reads_as_a_line_and_filters_pick_it() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let put = |entry| block_on(log.appender().append(entry, Durability::Sync)).unwrap();
    let seq = put(call("clinic-db", "tools/call", "query"));
    put(call("other", "tools/list", "x"));
    put(answer(seq));
    put(entry("{\"server\":7,\"call\":[],\"outcome\":\"?\"}", Effect::None));

    let options = TailOptions { dir: dir.path().to_owned(), ..Default::default() };
    let all = shown(&options);
    assert_eq!(all.len(), 4);
    assert!(all[0].ends_with("  #0  request  clinic-db  tools/call query  python3[4242] uid 1000"), "{}", all[0]);
    assert!(all[2].ends_with("  #2  answer of #0  clinic-db  tools/call query  ok 200  7.9 ms"), "{}", all[2]);

    assert_eq!(shown(&TailOptions { server: Some("other".into()), ..options.clone() }), &all[1..2]);
    assert_eq!(shown(&TailOptions { method: Some("tools/call".into()), ..options.clone() }), [&all[0][..], &all[2]]);
    assert_eq!(shown(&TailOptions { last: Some(2), ..options.clone() }), &all[2..]);
    let raw: Vec<String> = lines(dir.path()).into_iter().map(|line| String::from_utf8(line).unwrap().trim_end().to_owned()).collect();
    assert_eq!(shown(&TailOptions { json: true, ..options }), raw);
}

#[test]
fn the_newest_come_from_as_many_segments_as_it_takes() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let bodies: Vec<_> = (0..150).map(|n| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1000))).collect();
    append_all(&log.appender(), &bodies, Durability::Sync);
    let options = TailOptions { dir: dir.path().to_owned(), json: true, ..Default::default() };
    let all = shown(&options);
    assert_eq!(all.len(), 150 + segments(dir.path()).len() - 1);
    assert_eq!(shown(&TailOptions { last: Some(100), ..options.clone() }), &all[all.len() - 100..]);
    assert_eq!(shown(&TailOptions { last: Some(1000), ..options }), all);
}

#[test]
fn what_a_terminal_would_obey_is_shown() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let nasty = "a\u{1b}]0;x\u{7}\n2026 #9 stop\u{9b}2J\u{202e}evil\u{200b}";
    block_on(log.appender().append(call(nasty, nasty, nasty), Durability::Sync)).unwrap();
    let other = Entry { kind: Kind::Connection, body: serde_json::json!({ "why": nasty }).to_string().into_bytes(), effect: Effect::None };
    block_on(log.appender().append(other, Durability::Sync)).unwrap();
    log.close().unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&segments(dir.path())[0])
        .and_then(|mut file| file.write_all(b"\x1b[31mrubbish\xff\n"))
        .unwrap();
    let all = shown(&TailOptions { dir: dir.path().to_owned(), ..Default::default() });
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].contains("a\\u{1b}]0;x\\u{7}\\u{a}2026"), "{}", all[0]);
    assert!(all[2].contains("damaged line"), "{}", all[2]);
    for line in all {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{200b}'), "{line:?}");
    }
}

struct Sink(mpsc::Sender<String>, Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        while let Some(end) = self.1.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.1.drain(..=end).collect();
            self.0.send(String::from_utf8(line).unwrap()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn following_shows_every_record_once_over_segments_and_ends_with_its_reader() {
    let dir = dir();
    let (log, _) = Log::open(Options { segment_size: 64 << 10, ..options(dir.path()) }).unwrap();
    let appender = log.appender();
    append(&appender, "{\"n\":0}", Effect::None, Durability::Sync).unwrap();
    let (to, from) = mpsc::channel();
    let options = TailOptions { dir: dir.path().to_owned(), follow: true, json: true, ..Default::default() };
    let follower = thread::spawn(move || run(&options, &mut Sink(to, Vec::new())));
    let writer = thread::spawn(move || {
        for n in 1..400 {
            let body = format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1000));
            append(&appender, &body, Effect::None, Durability::Os).unwrap();
            if n % 100 == 0 {
                thread::sleep(Duration::from_millis(300));
            }
        }
        appender
    });
    let (mut next, mut seq) = (0, 0);
    while next < 400 {
        let line: serde_json::Value = serde_json::from_str(&from.recv_timeout(Duration::from_secs(20)).unwrap()).unwrap();
        assert_eq!(line["head"]["seq"], seq);
        seq += 1;
        if line["head"]["kind"] == "request" {
            assert_eq!(line["body"]["n"], next);
            next += 1;
        }
    }
    drop(from);
    let appender = writer.join().unwrap();
    append(&appender, "{}", Effect::None, Durability::Sync).unwrap();
    follower.join().unwrap().unwrap();
}

#[test]
fn a_caller_of_the_endpoint_from_elsewhere_is_shown_by_its_address() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    let caller = "{\"origin\":{\"via\":\"endpoint\",\"peer\":\"192.0.2.7:4000\"},\"process\":{\"unknown\":\"remote\"}}";
    append(&log.appender(), &format!("{{\"server\":\"a\",\"caller\":{caller}}}"), Effect::None, Durability::Sync).unwrap();
    let lines = shown(&TailOptions { dir: dir.path().to_owned(), ..Default::default() });
    assert!(lines[0].ends_with("  a  192.0.2.7:4000"), "{}", lines[0]);
}

#[test]
fn who_called_stands_before_the_process() {
    let dir = dir();
    let (log, _) = Log::open(options(dir.path())).unwrap();
    for (identity, shows) in [
        (r#"{"kind":"person","issuer":"https://login.example","subject":"00u1","name":"ada@example.com"}"#, "  ada@example.com  7[42]"),
        (r#"{"kind":"person","issuer":"https://login.example","subject":"00u1"}"#, "  00u1  7[42]"),
        (r#"{"kind":"workload","name":"nightly-report"}"#, "  workload nightly-report  7[42]"),
        (r#"{"kind":"nobody"}"#, "  7[42]"),
        ("{\"kind\":\"person\",\"subject\":\"\u{1b}[2Jroot\"}", "  \\u{1b}[2Jroot  7[42]"),
    ] {
        let identity = identity.replace('\u{1b}', "\\u001b");
        let body = format!(r#"{{"server":"s","caller":{{"identity":{identity},"process":{{"pid":42,"exe":"/7"}}}}}}"#);
        block_on(log.appender().append(entry(&body, Effect::None), Durability::Sync)).unwrap();
        let all = shown(&TailOptions { dir: dir.path().to_owned(), last: Some(1), ..Default::default() });
        assert!(all[0].ends_with(shows), "{}", all[0]);
    }
}

#[test]
fn no_log_is_said_to_be_none() {
    let dir = dir();
    let error = run(&TailOptions { dir: dir.path().to_owned(), ..Default::default() }, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, TailError::NoLog { .. }), "{error}");
}
