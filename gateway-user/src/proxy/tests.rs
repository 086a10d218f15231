//! What cannot be brought about from outside: a fault in the gateway itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::Ipv4Addr,
    rc::Rc,
    thread,
};

use compio::net::TcpListener;
use futures_channel::oneshot;
use futures_util::FutureExt;
use serde_json::Value;

use super::{Owners, Parts, Rules, Shared, endpoint, upstream::Pool, worker::Worker};
use crate::{
    audit::{Log, Options},
    config,
    credential::Credentials,
    identity::Identities,
    mask::{MaskKeys, Masking},
    outbound::Outbound,
    policy::Labeller,
    tls::Tls,
    tools::Tools,
    usage::Usage,
};

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"look"}}"#;

/// The records of a log of one segment.
fn records(dir: &std::path::Path) -> Vec<Value> {
    let segment = std::fs::read_to_string(dir.join("00000000000000000000.jsonl")).unwrap();
    segment.lines().take_while(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[expect(clippy::await_holding_refcell_ref, reason = "it is what makes the fault")]
fn a_fault_in_an_exchange_ends_its_connection_and_closes_its_request_on_record() {
    let temp = tempfile::tempdir().unwrap();
    let toml = format!(
        "[endpoint]\n[[server]]\nname = \"server\"\nurl = \"http://127.0.0.1:9/mcp\"\n[audit]\ndir = {:?}\nsegment = \"4MiB\"\n",
        temp.path()
    );
    let config = config::parse("test", &toml).unwrap();
    let options = Options { segment_size: config.audit.segment, ..Options::new(&config.audit.dir) };
    let (log, _) = Log::open(options).unwrap();
    let tls = Tls::new(&config).unwrap();
    let control = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rules = Rules::new(None, Labeller::default(), Tools::default(), Usage::new(Vec::new(), false));
    let identities = Identities::new(&config.identity, &Outbound::default(), control.handle().clone()).unwrap().into();
    let credentials = Credentials::new(&config, &Outbound::default(), control.handle()).unwrap();
    let masking = Masking::with_key(&config.masking, MaskKeys::new(&[7; 32])).unwrap();
    let owners = Owners::default();
    let parts = Parts { config, capture: None, tls, identities, rules, masking, credentials, owners, audit: log.appender() };
    let shared = Shared::new(parts, 1);
    shared.servers.learn(0, 9, [Ipv4Addr::LOCALHOST.into()]);

    let runtime = compio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (_draining, drained) = oneshot::channel();
        let worker = Rc::new(Worker {
            shared,
            pool: RefCell::new(Pool::default()),
            tokens: RefCell::default(),
            drained: drained.shared(),
            exchanges: Rc::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let client = thread::spawn(move || {
            let mut client = std::net::TcpStream::connect(to).unwrap();
            let head =
                format!("POST /server HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", CALL.len());
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(CALL.as_bytes()).unwrap();
            let mut answer = Vec::new();
            let read = client.read_to_end(&mut answer);
            (read.is_ok(), answer)
        });
        let (stream, peer) = listener.accept().await.unwrap();
        // Whoever borrows it now panics: on the way to the server, between the record of the call and that of its outcome.
        let held = worker.pool.borrow_mut();
        endpoint::serve(worker.clone(), stream, peer).await;
        drop(held);
        let (ended, answer) = client.join().unwrap();
        assert!(ended && answer.is_empty(), "{answer:?}");
    });
    log.close().unwrap();

    let records = records(temp.path());
    let of = |kind: &str| records.iter().find(|record| record["head"]["kind"] == kind).unwrap();
    let (request, answer) = (of("request"), of("answer"));
    assert_eq!(answer["head"]["closes"], request["head"]["seq"]);
    assert_eq!((&answer["body"]["call"]["id"], &answer["body"]["outcome"]["gateway"]), (&7.into(), &"fault".into()));
}
