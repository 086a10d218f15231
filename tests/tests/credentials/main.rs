//! With whose credentials a call reaches its server: the gateway's own, and never the caller's.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::Duration,
};

use gateway_tests::{
    Gateway, ServerEntry,
    http::{Message, answer, call, request_to, result},
    raw::{Stub, Wire},
    refusal::Refusal,
    wait_until,
};
use serde_json::json;

mod expiry;
mod metadata;
mod oauth;
mod persons;
mod signed;
mod stores;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "clinic-key-0123456789abcdef";

/// A server behind an endpoint, and a key in a file.
struct Scene {
    gateway: Gateway,
    server: Stub,
    endpoint: SocketAddr,
    key: PathBuf,
    _files: tempfile::TempDir,
}

/// Puts a secret where the gateway's user alone can read it.
fn keep(file: &PathBuf, secret: &str) -> anyhow::Result<()> {
    fs::write(file, secret)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    let user = gateway_tests::User::nobody()?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(file, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// What a gateway has written and said, all of it.
fn everything(gateway: &Gateway) -> anyhow::Result<String> {
    let mut all = gateway.said();
    for file in fs::read_dir(gateway.audit_dir())? {
        all.push_str(&String::from_utf8_lossy(&fs::read(file?.path())?));
    }
    Ok(all)
}

/// An answer of the gateway's own for want of a credential, with this status and the same on record.
fn denied(gateway: &Gateway, answer: &Message, status: u16) -> anyhow::Result<Refusal> {
    let refusal = Refusal::read(gateway, &answer.body)?;
    assert_eq!((refusal.reason.as_str(), answer.status()), ("credential", status), "{}", refusal.message);
    let outcome = refusal.record.as_ref().map(|record| record.body()["outcome"].clone()).unwrap_or_default();
    assert!(outcome["gateway"] == "credential" && outcome["message"] == refusal.message, "{outcome}");
    Ok(refusal)
}

impl Scene {
    /// With a credential in which FILE stands for the key's file, and a server that answers so.
    fn new(credential: &str, answers: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> anyhow::Result<Self> {
        let mut scene = Self::prepare(KEY, credential, "", answers)?;
        scene.gateway.run()?;
        Ok(scene)
    }

    /// The same with a key, for callers that are known as this has it (what follows `[identity]`); the gateway does not run yet.
    fn prepare(
        secret: &str,
        credential: &str,
        identity: &str,
        answers: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
        let key = files.path().join("key");
        keep(&key, secret)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let server = Stub::on(listener, answers);
        let credential = credential.replace("FILE", &format!("{key:?}"));
        let entry = ServerEntry::new("vault", &url).durability("os").setting("credential", credential);
        let setup = Gateway::at_an_endpoint().endpoint("").server(entry);
        let gateway = if identity.is_empty() { setup } else { setup.identity(identity) }.prepare()?;
        let endpoint = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
        Ok(Self { gateway, server, endpoint, key, _files: files })
    }

    /// The answer to a call on a connection of its own, with more fields and to this query.
    fn call(&self, query: &str, fields: &str) -> anyhow::Result<Message> {
        let body = call(1).to_string();
        let fields = format!("{fields}Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let mut wire = Wire::new(TcpStream::connect(self.endpoint)?)?;
        wire.send(request_to(&self.endpoint.to_string(), "POST", &format!("/vault{query}"), &fields, body.as_bytes()))?;
        wire.message()
    }

    /// The answer to a call with this token.
    fn call_as(&self, token: &str) -> anyhow::Result<Message> {
        self.call("", &format!("Authorization: Bearer {token}\r\n"))
    }

    /// A call that is [`denied`], and does not reach the server.
    fn denied(&self, call: impl FnOnce() -> anyhow::Result<Message>, status: u16) -> anyhow::Result<Refusal> {
        let before = self.server.seen().len();
        let refusal = denied(&self.gateway, &call()?, status)?;
        assert_eq!(self.server.seen().len(), before, "it reached the server");
        Ok(refusal)
    }

    /// What the server got in this field, one for each request.
    fn got(&self, field: &str) -> Vec<String> {
        self.server.seen().iter().map(|request| request.field(field).unwrap_or_default().to_owned()).collect()
    }

    /// See [`everything`].
    fn everything(&self) -> anyhow::Result<String> {
        everything(&self.gateway)
    }
}

fn plain(request: &Message) -> Vec<u8> {
    answer(&result(&request.json().map(|call| call["id"].clone()).unwrap_or_default()))
}

const HEADER: &str = r#"{ kind = "static", header = "Authorization", prefix = "Bearer ", file = FILE }"#;

#[test]
fn the_server_gets_the_gateways_credential_and_nothing_of_the_callers() -> Result {
    let scene = Scene::new(HEADER, plain)?;
    let theirs = "Authorization: Bearer callers-own-token\r\nCookie: sid=callers-cookie\r\nX-Api-Key: callers-api-key\r\nX-Trace: kept\r\n";
    let done = scene.call("?x=1&access_token=callers-query&y=2", theirs)?;
    assert_eq!(done.status(), 200, "{}", String::from_utf8_lossy(&done.body));
    let seen = scene.server.seen();
    let request = seen.last().expect("the call");
    assert_eq!(request.field("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!((request.field("cookie"), request.field("x-api-key"), request.field("x-trace")), (None, None, Some("kept")));
    assert!(request.start.contains("?x=1&y=2 "), "{}", request.start);
    let all = scene.everything()?;
    assert!(!all.contains(KEY) && !all.contains("callers-"), "a credential is on record, or was said");
    let records = scene.gateway.records()?;
    let answered = records.iter().rev().find(|record| record.kind() == "answer").expect("an answer");
    assert_eq!(answered.body()["credential"], json!({ "kind": "static" }), "{}", answered.line);
    Ok(())
}

#[test]
fn a_credential_in_the_query_takes_the_callers_place_there() -> Result {
    let scene = Scene::new(r#"{ kind = "static", query = "api_key", file = FILE }"#, plain)?;
    assert_eq!(scene.call("?api_key=callers-key&x=1", "")?.status(), 200);
    let seen = scene.server.seen();
    assert!(seen.last().is_some_and(|request| request.start.contains(&format!("?x=1&api_key={KEY} "))), "{:?}", seen.last());
    assert!(!scene.everything()?.contains(KEY));
    Ok(())
}

#[test]
fn with_none_the_callers_are_dropped_and_without_the_setting_they_pass() -> Result {
    let scene = Scene::new(r#"{ kind = "none" }"#, plain)?;
    assert_eq!(scene.call("", "Authorization: Bearer callers-own-token\r\n")?.status(), 200);
    assert_eq!(scene.server.seen().last().and_then(|request| request.field("authorization").map(str::to_owned)), None);
    Ok(())
}

#[test]
fn an_echo_is_masked_in_every_shape_of_answer_and_in_the_record() -> Result {
    let spelled: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let text = format!("your key is {KEY}, or {spelled}");
    let json = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [{ "type": "text", "text": text }] } }).to_string();
    let whole =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Echo: {KEY}\r\nContent-Length: {}\r\n\r\n{json}", json.len());
    let (one, two) = json.split_at(json.find("key-0").unwrap_or_default());
    let event = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
    let events = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{}{}{}0\r\n\r\n",
        event("data: "),
        event(one),
        event(&format!("{two}\n\n"))
    );
    let failed = format!("HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\nno such key: {KEY}", KEY.len() + 13);
    for (name, sent) in [("whole", whole), ("events", events), ("failed", failed)] {
        let scene = Scene::new(HEADER, move |_| sent.clone().into_bytes())?;
        let got = scene.call("", "Accept: application/json, text/event-stream\r\n")?;
        let body = String::from_utf8_lossy(&got.body).into_owned();
        assert!(!body.contains(KEY) && !body.contains(&spelled) && body.contains("****"), "{name}: {body}");
        assert_ne!(got.field("x-echo"), Some(KEY), "{name}");
        assert!(!scene.everything()?.contains(KEY), "{name}: it is on record");
        let answered = scene.gateway.record("the answer", |record| record.kind() == "answer")?;
        assert!(answered.body()["credential"]["echoed"].as_u64().is_some_and(|count| count >= 1), "{name}: {}", answered.line);
    }
    Ok(())
}

#[test]
fn a_new_key_is_used_as_soon_as_it_is_there_and_without_one_nothing_is_sent() -> Result {
    let scene = Scene::new(HEADER, plain)?;
    assert_eq!(scene.call("", "")?.status(), 200);
    let other = "another-key-fedcba9876543210";
    keep(&scene.key, other)?;
    let used = |key: &str| {
        let wanted = format!("Bearer {key}");
        scene.call("", "").is_ok_and(|done| done.status() == 200)
            && scene.server.seen().last().is_some_and(|request| request.field("authorization") == Some(&wanted))
    };
    wait_until("the new key is used", LIMIT, || used(other))?;
    // Gone: never the old one, never none.
    fs::remove_file(&scene.key)?;
    wait_until("calls are denied", LIMIT, || scene.call("", "").is_ok_and(|done| done.status() != 200))?;
    let refusal = scene.denied(|| scene.call("", ""), 502)?;
    assert!(refusal.message.contains("`vault`") && refusal.message.contains("does not exist"), "{}", refusal.message);
    keep(&scene.key, KEY)?;
    wait_until("it is back", LIMIT, || used(KEY))?;
    Ok(())
}

#[test]
fn that_the_server_does_not_take_the_credential_is_said_and_is_not_for_the_caller_to_mend() -> Result {
    let scene = Scene::new(HEADER, |_| b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n".to_vec())?;
    let denied = scene.call("", "")?;
    let refusal = Refusal::read(&scene.gateway, &denied.body)?;
    assert_eq!((refusal.reason.as_str(), denied.status(), denied.field("www-authenticate")), ("credential", 502, None));
    assert!(refusal.message.contains("does not take the gateway's credential"), "{}", refusal.message);
    let help = denied.json()?["error"]["data"]["help"].to_string();
    assert!(help.contains("refused the call"), "the server did get it: {help}");
    Ok(())
}
