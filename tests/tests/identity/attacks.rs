//! What an attacker tries with tokens, each refused for its own reason. More of them, signed with keys of the test's own, are in the corpus.

use gateway_tests::{Oidc, http::call};
use serde_json::{Value, json};

use crate::{Result, Scene};

#[test]
fn attacks_with_tokens_are_refused_each_for_its_reason() -> Result {
    let scene = Scene::new("clients = [\"agent\", \"mcp-gateway-login\"]")?;
    let foreign = Oidc::start()?;
    let with = |wish: Value| scene.idp.token_with(&wish);
    assert_eq!(scene.call_as(&scene.idp.token_of_agent()?)?.status(), 200);
    let changed = {
        let token = scene.idp.token_of_agent()?;
        let parts: Vec<&str> = token.split('.').collect();
        let other = with(json!({ "account": "bob", "client": "agent" }))?;
        format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap_or_default(), parts[2])
    };
    for (what, token, says) in [
        ("a foreign issuer's", foreign.token_of_agent()?, "no issuer of this gateway"),
        ("a foreign issuer's under our issuer's name", foreign.token_with(&json!({ "account": "ada", "client": "agent", "claims": { "iss": scene.idp.issuer() } }))?, "key"),
        ("foreign, under a key's name of ours", foreign.token_with(&json!({ "account": "ada", "client": "agent", "claims": { "iss": scene.idp.issuer() }, "header": { "kid": scene.idp.kid("RS256")? } }))?, "signature"),
        ("with other claims", changed, "signature"),
        ("for another audience", with(json!({ "account": "ada", "client": "agent", "audience": "billing" }))?, "not for this gateway"),
        ("ended", with(json!({ "account": "ada", "client": "agent", "claims": { "exp": 1_700_000_000 } }))?, "ended"),
        ("not yet", with(json!({ "account": "ada", "client": "agent", "claims": { "nbf": 4_000_000_000_u64 } }))?, "begins to hold"),
        ("of another client", with(json!({ "account": "ada", "client": "introspector" }))?, "client"),
        ("an ID token", with(json!({ "account": "ada", "client": "agent", "header": { "typ": "JWT" }, "claims": { "nonce": "n" } }))?, "ID token"),
        ("with a key in its header", with(json!({ "account": "ada", "client": "agent", "header": { "jwk": { "kty": "RSA" } } }))?, "jwk"),
        ("with a place for keys", with(json!({ "account": "ada", "client": "agent", "header": { "jku": "http://127.0.0.1:9/" } }))?, "jku"),
        ("signed in a way that is not configured", with(json!({ "account": "ada", "client": "agent", "alg": "PS256" }))?, "PS256"),
        ("bound to a key", with(json!({ "account": "ada", "client": "agent", "claims": { "cnf": { "jkt": "x" } } }))?, "cnf"),
        ("nothing", "x".into(), "no JWT"),
    ] {
        let answer = scene.call_as(&token)?;
        let refusal = scene.refused(&answer, 401, "identity")?;
        assert!(refusal.message.contains(says), "{what}: {}", refusal.message);
    }
    assert_eq!(scene.server.seen().len(), 1, "only the right one came through");
    Ok(())
}

#[test]
fn tokens_elsewhere_than_in_one_authorization_header_are_refused() -> Result {
    let scene = Scene::new("")?;
    let token = scene.idp.token("ada")?;
    let body = call(1).to_string();
    let fields = format!("Content-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n", body.len());
    let answer = scene.ask("POST", &format!("/vault?access_token={token}"), &fields, body.as_bytes())?;
    assert!(scene.refused(&answer, 400, "identity")?.message.contains("URL"));
    let answer = scene.call(&format!("Authorization: Bearer {token}\r\nAuthorization: Bearer x\r\n"))?;
    assert!(scene.refused(&answer, 400, "identity")?.message.contains("more than one"));
    // No other scheme says who calls.
    let answer = scene.call("Authorization: Basic YWRhOmFkYQ==\r\n")?;
    scene.refused(&answer, 401, "identity")?;
    Ok(())
}
