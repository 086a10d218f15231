//! Tokens of a real authorization server: the gateway's own, and in exchange for the caller's.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use gateway_tests::{
    Launch, Oidc, Relay, User,
    clients::{curl, tool_call},
    http::{Message, answer, result},
    jwt::Keys,
    login::device,
    oidc::{AUDIENCE, GATEWAY, LOGIN_CLIENT},
    refusal::Refusal,
    wait_until,
};
use serde_json::{Value, json};

use crate::{LIMIT, Result, Scene, keep};

/// For whom the server's tokens are.
const CLINIC: &str = "urn:clinic";
const EXCHANGE: &str = r#", grant = "token-exchange""#;

/// What is in a bearer token that holds now, is of this issuer and for the clinic.
pub(crate) fn verified(keys: &Keys, request: &Message) -> anyhow::Result<Value> {
    let shown = request.field("authorization").unwrap_or_default();
    let claims = keys.claims(shown.trim_start_matches("Bearer "))?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs_f64();
    let ends = claims["exp"].as_f64().unwrap_or_default();
    anyhow::ensure!(claims["aud"] == CLINIC && now < ends, "at {now}: {claims}");
    Ok(claims)
}

/// A server that takes the provider's tokens, and what it takes of their claims.
pub(crate) fn server(idp: &Oidc) -> anyhow::Result<(Arc<Keys>, impl Fn(&Message) -> Vec<u8> + use<>)> {
    let keys = Arc::new(Keys::of(idp)?);
    let ours = keys.clone();
    let answers = move |request: &Message| match verified(&ours, request) {
        Ok(_) => answer(&result(&request.json().map(|call| call["id"].clone()).unwrap_or_default())),
        Err(_) => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    Ok((keys, answers))
}

pub(crate) fn credential(token_url: &str, more: &str) -> String {
    let client = GATEWAY.0;
    format!(
        r#"{{ kind = "oauth", token_url = "{token_url}", client_id = "{client}", client_secret = {{ file = FILE }}, resource = "{CLINIC}"{more} }}"#
    )
}

fn identity(idp: &Oidc) -> String {
    let issuer = idp.issuer();
    format!("[[identity.oidc]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\nclient_id = \"{LOGIN_CLIENT}\"\n")
}

/// The gateway with a secret, and its tokens' issuer, to which something happens before.
fn own(secret: &str, before: impl FnOnce(&Oidc) -> Result) -> anyhow::Result<(Oidc, Scene, Arc<Keys>)> {
    let idp = Oidc::start()?;
    let (keys, answers) = server(&idp)?;
    let mut scene = Scene::prepare(secret, &credential(&format!("{}/token", idp.issuer()), ""), "", answers)?;
    before(&idp)?;
    scene.gateway.run()?;
    Ok((idp, scene, keys))
}

#[test]
fn the_server_gets_a_token_that_was_issued_to_the_gateway_and_it_is_kept_to_the_gateway() -> Result {
    let (idp, scene, keys) = own(GATEWAY.1, |_| Ok(()))?;
    let callers = idp.token_with(&json!({ "account": "ada", "audience": CLINIC }))?;
    for _ in 0..3 {
        let done = scene.call_as(&callers)?;
        assert_eq!(done.status(), 200, "{}", String::from_utf8_lossy(&done.body));
    }
    let claims = verified(&keys, scene.server.seen().last().expect("the call"))?;
    assert_eq!((&claims["sub"], &claims["client_id"], &claims["iss"]), (&json!("gateway"), &json!("gateway"), &json!(idp.issuer())));
    let got: BTreeSet<String> = scene.got("authorization").into_iter().collect();
    let token = got.first().map(|field| field.trim_start_matches("Bearer ").to_owned()).unwrap_or_default();
    assert!(got.len() == 1 && idp.active(&token)?, "one token for all, which its issuer stands behind: {got:?}");
    assert_eq!(idp.fetches()?["/token"], 1);
    let all = scene.everything()?;
    for secret in [&token, &callers].map(|token| token.rsplit('.').next().unwrap_or_default()).into_iter().chain([GATEWAY.1]) {
        assert!(!all.contains(secret), "on record, or said: {secret}");
    }
    let answered = scene.gateway.record("the answer", |record| record.kind() == "answer")?;
    assert_eq!(answered.body()["credential"], json!({ "kind": "oauth" }), "{}", answered.line);
    Ok(())
}

#[test]
fn a_client_that_the_issuer_does_not_know_gets_no_call_through_until_its_secret_is_right() -> Result {
    let (idp, scene, _) = own("not-the-secret-of-the-gateway", |_| Ok(()))?;
    let refusal = scene.denied(|| scene.call("", ""), 502)?;
    let source = format!("the authorization server at {}/token", idp.issuer());
    for part in ["`vault`", &source, "`invalid_client`"] {
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    assert!(!scene.everything()?.contains("not-the-secret"));
    keep(&scene.key, GATEWAY.1)?;
    wait_until("the right secret is used", LIMIT, || scene.call("", "").is_ok_and(|done| done.status() == 200))
}

#[test]
fn an_issuer_that_is_away_is_named_and_its_token_is_used_until_it_ends_and_not_after() -> Result {
    let (idp, scene, _) = own(GATEWAY.1, |idp| idp.set_ttl("ClientCredentials", 4).and_then(|()| idp.down()))?;
    let refusal = scene.denied(|| scene.call("", ""), 502)?;
    let source = format!("the authorization server at {}/token cannot be asked now", idp.issuer());
    assert!(refusal.message.contains(&source), "{}", refusal.message);
    idp.up()?;
    wait_until("it is asked again", LIMIT, || scene.call("", "").is_ok_and(|done| done.status() == 200))?;
    idp.down()?;
    let (before, mut went) = (scene.server.seen().len(), 0);
    wait_until("the token to end", LIMIT, || {
        let done = scene.call("", "").is_ok_and(|done| done.status() == 200);
        went += usize::from(done);
        !done
    })?;
    assert!(went > 0, "the token that is there is used");
    scene.denied(|| scene.call("", ""), 502)?;
    assert_eq!(scene.server.seen().len(), before + went, "the server took all that it got");
    Ok(())
}

#[test]
fn each_person_has_a_token_of_ones_own_in_exchange_for_the_one_that_was_shown() -> Result {
    let idp = Oidc::start()?;
    let issuer: SocketAddr = idp.issuer().trim_start_matches("http://").parse()?;
    let (relay, (keys, answers)) = (Relay::to(issuer)?, server(&idp)?);
    let credential = credential(&format!("{}/token", relay.url()), EXCHANGE);
    let mut scene = Scene::prepare(GATEWAY.1, &credential, &identity(&idp), answers)?;
    scene.gateway.run()?;
    let (ada, bob) = (idp.token("ada")?, idp.token("bob")?);
    for token in [&ada, &bob, &ada, &bob] {
        let done = scene.call_as(token)?;
        assert_eq!(done.status(), 200, "{}", String::from_utf8_lossy(&done.body));
    }
    let claims = scene.server.seen().iter().map(|request| verified(&keys, request)).collect::<anyhow::Result<Vec<_>>>()?;
    let subjects: Vec<_> = claims.iter().map(|claims| (&claims["sub"], &claims["act"]["sub"])).collect();
    let (of_ada, of_bob, by) = (json!("ada"), json!("bob"), json!("gateway"));
    assert_eq!(subjects, [(&of_ada, &by), (&of_bob, &by), (&of_ada, &by), (&of_bob, &by)]);
    let got = scene.got("authorization");
    assert!(got[0] == got[2] && got[1] == got[3] && got[0] != got[1], "kept for each, and for nobody else");
    let exchanged: Vec<_> = relay.asked().iter().map(|asked| asked.form().remove("subject_token").unwrap_or_default()).collect();
    assert_eq!(exchanged, [ada.clone(), bob], "the callers' own tokens");

    // Nobody's token is exchanged, nor one that was forged: the gateway has verified it before.
    let forged = ada.replace(ada.rsplit('.').next().unwrap_or_default(), got[0].rsplit('.').next().unwrap_or_default());
    assert_eq!(scene.call_as(&forged)?.status(), 401);
    assert_eq!(scene.call("", "")?.status(), 401);
    // Nor one that its issuer does not stand behind, and that is for its owner to mend.
    let taken_back = idp.token("ada")?;
    idp.revoke(&taken_back)?;
    let refusal = scene.denied(|| scene.call_as(&taken_back), 403)?;
    assert!(refusal.message.contains("does not take the caller's token: `invalid_request`"), "{}", refusal.message);
    assert_eq!((relay.asked().len(), scene.server.seen().len()), (3, 4));
    let all = scene.everything()?;
    for token in got.iter().map(String::as_str).chain([&*ada, &taken_back, GATEWAY.1]) {
        assert!(!all.contains(token.rsplit('.').next().unwrap_or_default()), "on record, or said: {token}");
    }
    Ok(())
}

#[test]
fn who_is_logged_in_on_the_host_and_shows_no_token_is_told_that_one_is_needed() -> Result {
    const ADA: User = User { uid: 4203, gid: 4203, ptrace: false };
    let idp = Oidc::start()?;
    let (_, answers) = server(&idp)?;
    let credential = credential(&format!("{}/token", idp.issuer()), EXCHANGE);
    let mut scene = Scene::prepare(GATEWAY.1, &credential, &identity(&idp), answers)?;
    scene.gateway.run()?;
    device(&scene.gateway, ADA, "ada", &[])?;
    let call = |launch: Launch| launch.user(ADA).run(LIMIT)?.ok();
    let asked = curl(&scene.gateway.url("vault")?, &tool_call(1, "look", &json!({})));
    let refusal = Refusal::read(&scene.gateway, call(asked)?.stdout.as_bytes())?;
    assert_eq!(refusal.reason, "credential", "{}", refusal.message);
    assert!(refusal.message.contains("only in exchange for the caller's own token"), "{}", refusal.message);
    let record = refusal.record.expect("on record");
    assert_eq!(record.body()["outcome"]["message"], json!(refusal.message), "{}", record.line);
    assert!(scene.server.seen().is_empty());
    // With a token, it is.
    let token = format!("Authorization: Bearer {}", idp.token("ada")?);
    let asked = curl(&scene.gateway.url("vault")?, &tool_call(1, "look", &json!({}))).args(["--header", &token]);
    assert!(call(asked)?.stdout.contains("\"result\""));
    Ok(())
}
