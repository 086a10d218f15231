use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use futures_util::future::join_all;
use tokio::{net::TcpListener, runtime::Handle};

use super::super::{Credentials, For, Held, Outgoing, Problem, answer};
use crate::{
    config,
    identity::{How, Identity, Principal, Strength},
    outbound::Outbound,
};

const SECRET: &str = "s3cret of the client/+";

/// A token endpoint.
#[derive(Clone, Default)]
struct Endpoint {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Instead of a token.
    says: Arc<Mutex<Option<(u16, String)>>>,
    /// Seconds that tokens last.
    lasts: Arc<AtomicU32>,
    /// When each token was given.
    given: Arc<Mutex<BTreeMap<String, Instant>>>,
    at_once: Arc<AtomicU32>,
    most_at_once: Arc<AtomicU32>,
}

#[derive(Clone)]
struct Seen {
    authorization: Option<String>,
    form: BTreeMap<String, String>,
}

impl Endpoint {
    async fn start(lasts: u32) -> (Self, String) {
        let endpoint = Endpoint::default();
        endpoint.lasts.store(lasts, Ordering::SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let router = Router::new().route("/token", post(answer)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (endpoint, url)
    }

    fn say(&self, status: u16, body: &str) {
        *self.says.lock().unwrap() = Some((status, body.to_owned()));
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State(endpoint): State<Endpoint>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let at_once = endpoint.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    endpoint.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let given = Instant::now();
    let number = {
        let mut seen = endpoint.seen.lock().unwrap();
        let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        seen.push(Seen { authorization, form: form_urlencoded::parse(body.as_bytes()).into_owned().collect() });
        seen.len()
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    endpoint.at_once.fetch_sub(1, Ordering::SeqCst);
    if let Some((status, body)) = endpoint.says.lock().unwrap().clone() {
        return (StatusCode::from_u16(status).unwrap(), body);
    }
    let token = format!("t0ken-number-{number}");
    endpoint.given.lock().unwrap().insert(token.clone(), given);
    let lasts = endpoint.lasts.load(Ordering::SeqCst);
    (StatusCode::OK, format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{lasts}}}"#))
}

/// The credentials of one server that gets tokens from there.
fn credentials(dir: &tempfile::TempDir, url: &str, rest: &str) -> Arc<Credentials> {
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[[identity.oidc]]\nissuer = \"https://idp.example\"\naudience = \"gateway\"\n[[server]]\nname = \"clinic\"\nurl = \
         \"https://clinic.example/mcp\"\ncredential = {{ kind = \"oauth\", token_url = \"{url}\", client_id = \"gate:way\", client_secret = \
         {{ file = \"{}\" }}{rest} }}\n",
        secret.display()
    );
    let config = config::parse("g.toml", &text).unwrap();
    Credentials::new(&config, &Outbound::default(), &Handle::current()).unwrap()
}

fn person(subject: &str) -> Arc<Identity> {
    let principal = Principal::Person { issuer: "https://idp.example".into(), subject: subject.into(), name: None, groups: Vec::new() };
    Arc::new(Identity::new(principal, How::Nothing, Strength::Token))
}

fn whom<'a>(identity: &'a Arc<Identity>, token: Option<&'a str>) -> For<'a> {
    For { identity, token, session: "s" }
}

/// What stands in the field `Authorization` of a request.
fn authorization(held: &Held) -> String {
    let outgoing = Outgoing { method: "POST", target: "/mcp", authority: "clinic.example", headers: &[], body: b"" };
    let applied = held.apply(&outgoing).unwrap();
    assert_eq!(&*applied.set[0].0, "authorization");
    applied.set[0].1.expose().to_owned()
}

#[tokio::test]
async fn the_gateway_gets_a_token_of_its_own_and_keeps_it() {
    let (endpoint, url) = Endpoint::start(3600).await;
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials(&dir, &url, r#", scopes = ["a", "b"], resource = "https://clinic.example/mcp", audience = "x""#);
    for subject in ["ada", "bob"] {
        let held = credentials.of(0).unwrap().get(&whom(&person(subject), None)).await.unwrap();
        assert_eq!(authorization(&held), "Bearer t0ken-number-1");
    }
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 1);
    // RFC 6749 section 2.3.1: `gate%3Away` and the secret, each encoded as in a form.
    assert_eq!(seen[0].authorization.as_deref(), Some("Basic Z2F0ZSUzQXdheTpzM2NyZXQrb2YrdGhlK2NsaWVudCUyRiUyQg=="));
    let form = [("audience", "x"), ("grant_type", "client_credentials"), ("resource", "https://clinic.example/mcp"), ("scope", "a b")];
    assert_eq!(seen[0].form, form.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn a_client_may_show_its_secret_in_the_form() {
    let (endpoint, url) = Endpoint::start(3600).await;
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials(&dir, &url, r#", auth = "post""#);
    credentials.of(0).unwrap().get(&whom(&person("ada"), None)).await.unwrap();
    let seen = endpoint.seen().remove(0);
    assert_eq!((seen.authorization, &*seen.form["client_id"], &*seen.form["client_secret"]), (None, "gate:way", SECRET));
}

#[tokio::test]
async fn a_callers_token_is_exchanged_once_and_for_nobody_else() {
    let (endpoint, url) = Endpoint::start(3600).await;
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials(&dir, &url, r#", grant = "token-exchange""#);
    let credential = credentials.of(0).unwrap();
    let (ada, bob) = (person("ada"), person("bob"));
    let mut got = Vec::new();
    for (identity, token) in [(&ada, "token-of-ada"), (&ada, "token-of-ada"), (&ada, "newer-of-ada"), (&bob, "token-of-ada")] {
        got.push(authorization(&credential.get(&whom(identity, Some(token))).await.unwrap()));
    }
    assert_eq!(got, ["Bearer t0ken-number-1", "Bearer t0ken-number-1", "Bearer t0ken-number-2", "Bearer t0ken-number-3"]);
    let form = &endpoint.seen()[0].form;
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!((&*form["subject_token"], &*form["subject_token_type"]), ("token-of-ada", "urn:ietf:params:oauth:token-type:access_token"));
    let error = credential.get(&whom(&ada, None)).await.unwrap_err();
    assert_eq!(error.problem, Problem::NoToken);
    assert!(error.to_string().contains("exchange for the caller's own token"), "{error}");
    assert_eq!(endpoint.seen().len(), 3);
}

#[tokio::test]
async fn a_refusal_is_named_by_its_code_and_tells_no_secret() {
    let (endpoint, url) = Endpoint::start(3600).await;
    let dir = tempfile::tempdir().unwrap();
    endpoint.say(401, &format!(r#"{{"error":"invalid_client","error_description":"wrong secret {SECRET}"}}"#));
    let error = credentials(&dir, &url, "").of(0).unwrap().get(&whom(&person("ada"), None)).await.unwrap_err();
    assert_eq!(error.problem, Problem::Refused { code: "invalid_client".into() });
    let told = format!("{error} {error:?}");
    assert!(told.contains(&format!("server `clinic`: the authorization server at {url} gave no token: `invalid_client`")), "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    endpoint.say(400, r#"{"error":"invalid_grant"}"#);
    let exchanging = credentials(&dir, &url, r#", grant = "token-exchange""#);
    let error = exchanging.of(0).unwrap().get(&whom(&person("ada"), Some("token-of-ada"))).await.unwrap_err();
    assert_eq!(error.problem, Problem::Subject { code: "invalid_grant".into() });
    assert!(!error.to_string().contains("token-of-ada"));
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = credentials(&dir, "http://127.0.0.1:1/token", "").of(0).unwrap().get(&whom(&person("ada"), None)).await.unwrap_err();
    assert!(matches!(&error.problem, Problem::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1/token"), "{error}");
}

#[test]
fn answers_that_give_no_usable_token_are_told_apart() {
    let problem = |status, body: &str| answer::read(status, body.as_bytes(), Instant::now()).err().map(|refusal| refusal.problem(false));
    let token = |rest: &str| format!(r#"{{"access_token":"s3cret-token"{rest}}}"#);
    assert_eq!(problem(200, &token(r#","token_type":"Bearer","expires_in":"3600""#)), None);
    assert_eq!(problem(200, &token(r#","token_type":"Bearer""#)), None);
    for (status, body) in [(200, token(r#","token_type":"DPoP""#)), (200, token(r#","token_type":"bearer","expires_in":0"#))] {
        assert!(matches!(problem(status, &body), Some(Problem::Unusable(_))), "{body}");
    }
    for body in [r#"{"access_token":"short","token_type":"bearer"}"#, r#"{"access_token":"s3cret\r\nX: y","token_type":"bearer"}"#] {
        let told = problem(200, body).unwrap().to_string();
        assert!(told.contains("gives a token that") && !told.contains("s3cret"), "{told}");
    }
    for (status, body) in [(200, token("")), (200, "<html>".into()), (502, "<html>".into()), (404, "{}".into()), (302, String::new())] {
        assert!(matches!(problem(status, &body), Some(Problem::Unreachable(_))), "{status} {body}");
    }
    assert!(matches!(problem(503, r#"{"error":"temporarily_unavailable"}"#), Some(Problem::Unreachable(_))));
    let Some(Problem::Refused { code }) = problem(400, r#"{"error":"your s3cret is wrong"}"#) else { unreachable!("it is refused") };
    assert!(!code.contains("s3cret"));
}

#[test]
fn a_token_is_fetched_anew_before_its_end_and_given_to_nobody_right_before_it() {
    let asked = Instant::now();
    for (lasts, due, until) in [(3600.0, 3540.0, 3590.0), (100.0, 80.0, 90.0), (60.0, 48.0, 53.0), (4.0, 1.9, 2.6), (1.0, 0.25, 0.5)] {
        let body = format!(r#"{{"access_token":"s3cret-token","token_type":"bearer","expires_in":{lasts}}}"#);
        let timed = answer::read(200, body.as_bytes(), asked).ok().unwrap();
        let within = |found: Instant, expected: f64| (found.duration_since(asked).as_secs_f64() - expected).abs() < 1e-6;
        assert!(within(timed.due, due) && within(timed.until, until), "{lasts}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_during_a_thousand_calls_fails_none_and_none_is_stale() {
    let (endpoint, url) = Endpoint::start(3).await;
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials(&dir, &url, "");
    let begun = Instant::now();
    let calls = (0..1000).map(|_| {
        let (credentials, endpoint) = (credentials.clone(), endpoint.clone());
        tokio::spawn(async move {
            let mut tokens = BTreeSet::new();
            while begun.elapsed() < Duration::from_millis(3500) {
                let asked = Instant::now();
                let held = credentials.of(0).unwrap().get(&whom(&person("ada"), None)).await.unwrap();
                let token = authorization(&held).replace("Bearer ", "");
                let given = endpoint.given.lock().unwrap()[&token];
                assert!(asked.saturating_duration_since(given) < Duration::from_secs(2), "{token} may have ended when it was given out");
                tokens.insert(token);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokens
        })
    });
    let all: BTreeSet<String> = join_all(calls.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(all.len() >= 3, "{all:?}");
    assert_eq!(endpoint.most_at_once.load(Ordering::SeqCst), 1, "one asks at a time");
    assert!(endpoint.seen().len() <= 5, "one fetch for each token that has ended, not for each call: {}", endpoint.seen().len());
}

#[test]
fn it_can_be_asked_from_a_worker_that_has_another_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, credentials) = runtime.block_on(async {
        let (endpoint, url) = Endpoint::start(3600).await;
        (endpoint, credentials(&dir, &url, ""))
    });
    let worker = std::thread::spawn(move || {
        compio::runtime::Runtime::new().unwrap().block_on(async {
            let held = credentials.of(0).unwrap().get(&whom(&person("ada"), None)).await.unwrap();
            authorization(&held)
        })
    });
    assert_eq!(worker.join().unwrap(), "Bearer t0ken-number-1");
    assert_eq!(endpoint.seen().len(), 1);
}
