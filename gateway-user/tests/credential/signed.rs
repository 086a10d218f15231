//! What the gateway signs, checked by botocore.

use std::{io::Write, net::TcpStream};

use gateway_user::{
    config::SigV4Config,
    credential::{
        Held, Outgoing,
        aws::{Answer, Signer},
    },
};

use crate::{
    aws::{assuming, get, person, sigv4},
    emulator::{self, Process, SECRET},
    relay::{Fate, Relay, message},
};

#[derive(Clone)]
pub(crate) struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, target: &'a str, body: &'a [u8]) -> Self {
        Request { method, target, headers: Vec::new(), body }
    }

    pub(crate) fn field(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value.as_bytes()));
        self
    }
}

/// What a server answers to a request that is signed as `as_if`, and sent as it is.
fn exchange(port: u16, request: &Request<'_>, signer: Option<&Signer>, as_if: &Request<'_>) -> String {
    let authority = format!("127.0.0.1:{port}");
    let mut head =
        format!("{} {} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {}\r\n", request.method, request.target, request.body.len())
            .into_bytes();
    let mut field = |name: &str, value: &[u8]| head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    match signer {
        None => request.headers.iter().for_each(|(name, value)| field(name, value)),
        Some(signer) => {
            let outgoing =
                Outgoing { method: as_if.method, target: as_if.target, authority: &authority, headers: &as_if.headers, body: as_if.body };
            let applied = Held::Aws(signer.clone()).apply(&outgoing).unwrap();
            assert!(applied.removes("x-amz-content-sha256") && applied.removes("x-amz-date"));
            request.headers.iter().filter(|(name, _)| !applied.removes(name)).for_each(|(name, value)| field(name, value));
            applied.set.iter().for_each(|(name, value)| field(name, value.expose().as_bytes()));
        }
    }
    head.extend(b"\r\n");
    head.extend(request.body);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&head).unwrap();
    String::from_utf8(message(&mut stream).unwrap().unwrap()).unwrap()
}

fn read(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) fn send(port: u16, request: &Request<'_>, signer: Option<&Signer>) -> (u16, String) {
    read(&exchange(port, request, signer, request))
}

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"q":"\u00e9"}}}"#;

fn call() -> Request<'static> {
    Request::new("POST", "/mcp", CALL)
        .field("content-type", "application/json")
        .field("accept", "application/json, text/event-stream")
        .field("mcp-protocol-version", "2025-06-18")
        .field("mcp-session-id", "s 1  2")
        .field("user-agent", "agent/1")
        .field("accept-encoding", "gzip")
        .field("x-forwarded-for", "10.0.0.1")
}

fn requests() -> Vec<Request<'static>> {
    vec![
        call(),
        Request { target: "/mcp?b=2&a=1&a=0&empty=&flag", ..call() },
        Request { target: "/runtimes/arn%3Aaws%3Abedrock-agentcore%3A1%2Fx/invocations?qualifier=DEFAULT", ..call() },
        Request { target: "/a//b/./c/../d%20e/~tilde", ..call() },
        Request { target: "/mcp?q=a%20b%2Bc%2Fd~%C3%A9", ..call() },
        call().field("x-amz-meta", "  two   spaces ").field("mcp-name", "look").field("mcp-name", "again"),
        call().field("x-note", "caf\u{e9}"),
        Request { headers: vec![("x-raw", b"\xff"), ("X-Raw", b"text"), ("mcp-name", b"look")], ..call() },
        // What a caller sends in the signature's place is dropped.
        call().field("x-amz-date", "20200101T000000Z").field("x-amz-security-token", "stale").field("authorization", "Bearer x"),
    ]
}

async fn own(service: &str) -> (Signer, String) {
    let profile = emulator::profile("http://127.0.0.1:9");
    let config = SigV4Config { service: service.into(), region: None, profile: Some(profile.clone()), assume_role: None };
    (get(&sigv4(config), &person("ada", &[])).await.unwrap(), format!("{profile}={SECRET}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_what_botocore_signs() {
    for service in ["bedrock-agentcore", "s3"] {
        let (signer, key) = own(service).await;
        let server = Process::verifier(&["--service", service, "--region", "eu-central-1", "--key", &key]);
        for request in requests() {
            let (status, body) = send(server.1, &request, Some(&signer));
            assert_eq!(status, 200, "{service} {}: {body}", request.target);
            assert!(body.contains(signer.key_id()), "{body}");
        }
        assert_eq!(send(server.1, &call(), None).0, 403);
        let large = [CALL, &vec![b' '; 1 << 20]].concat();
        assert_eq!(send(server.1, &Request { body: &large, ..call() }, Some(&signer)).0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_after_it_was_signed_is_refused() {
    let (signer, key) = own("execute-api").await;
    let server = Process::verifier(&["--service", "execute-api", "--region", "eu-central-1", "--key", &key]);
    let mut renamed = call();
    renamed.headers[2].1 = b"2024-11-05";
    let body = String::from_utf8(CALL.to_vec()).unwrap().replace("echo", "drop");
    for (what, sent) in [
        ("method", Request { method: "DELETE", ..call() }),
        ("target", Request { target: "/mcp?admin", ..call() }),
        ("field", renamed),
        ("body", Request { body: body.as_bytes(), ..call() }),
    ] {
        assert_eq!(read(&exchange(server.1, &sent, Some(&signer), &call())).0, 403, "{what}");
    }
    // Whoever is on the way may add to these.
    let mut passed_on = call();
    passed_on.headers[4].1 = b"proxy/2";
    passed_on.headers[6].1 = b"10.0.0.1, 10.0.0.2";
    assert_eq!(read(&exchange(server.1, &passed_on, Some(&signer), &call())).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_clock_is_another_is_signed_for_by_its_own() {
    for ahead in ["1500", "-1500"] {
        let (signer, key) = own("execute-api").await;
        let server = Process::verifier(&["--service", "execute-api", "--region", "eu-central-1", "--ahead", ahead, "--key", &key]);
        let refused = exchange(server.1, &call(), Some(&signer), &call());
        let (status, body) = read(&refused);
        assert_eq!(status, 403, "{body}");
        let field = |name: &str| {
            refused.lines().find_map(|line| line.split_once(": ").filter(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| value))
        };
        let answer = Answer { status, date: field("date"), error: field("x-amzn-errortype"), body: body.as_bytes() };
        assert!(signer.is_skewed(&answer), "{refused}");
        assert_eq!(send(server.1, &call(), Some(&signer)).0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_persons_sign_with_keys_of_their_own() {
    let moto = Process::moto();
    let sts = Relay::start(moto.1, |_| Fate::Pass);
    let clinic = assuming(emulator::profile(&sts.url), "execute-api");
    let server =
        Process::verifier(&["--service", "execute-api", "--region", "eu-central-1", "--moto", &format!("http://127.0.0.1:{}", moto.1)]);
    let mut signed = Vec::new();
    for subject in ["ada", "bob"] {
        let signer = get(&clinic, &person(subject, &[])).await.unwrap();
        let (status, body) = send(server.1, &call(), Some(&signer));
        assert!(status == 200 && body.contains(signer.key_id()), "{status} {body}");
        signed.push(signer.key_id().to_owned());
    }
    assert_ne!(signed[0], signed[1]);
    sts.stop();
}
