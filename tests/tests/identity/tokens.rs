//! Bearer tokens of a real provider, from the request to the record.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use anyhow::Context;
use gateway_tests::{
    Gateway, Netns, Oidc, ServerEntry,
    http::{Message, request_to},
    oidc::INTROSPECTOR,
    raw::Wire,
    refusal::Refusal,
    servers::{self, Transport},
    wait_until,
};
use serde_json::{Value, json};

use crate::{LIMIT, Result, Scene, oidc};

#[test]
fn a_call_with_a_token_is_the_persons_and_the_token_goes_no_further() -> Result {
    let scene = Scene::new("algorithms = [\"RS256\", \"ES256\"]")?;
    for alg in ["RS256", "ES256"] {
        let token = scene.idp.token_with(&json!({ "account": "ada", "alg": alg }))?;
        let identity = scene.identity_of(&token)?;
        assert_eq!((&identity["kind"], &identity["strength"]), (&json!("person"), &json!("token")), "{identity}");
        assert_eq!((&identity["issuer"], &identity["subject"]), (&json!(scene.idp.issuer()), &json!("ada")));
        assert_eq!(identity["groups"], json!(["dba", "staff"]));
        assert_eq!((&identity["how"]["method"], &identity["how"]["idp"]), (&json!("token"), &json!("corp")));
        assert_eq!(identity["how"]["kid"], json!(scene.idp.kid(alg)?));
        assert!(identity["how"]["jti"].is_string() && identity["how"]["expires"].is_u64(), "{identity}");
        let seen = scene.server.seen();
        let request = &seen.last().expect("the call");
        assert_eq!(request.field("authorization"), None, "the server must not get the gateway's token");
        let log = fs::read_dir(scene.gateway.audit_dir())?.map(|file| Ok(fs::read(file?.path())?)).collect::<anyhow::Result<Vec<_>>>()?;
        let secret = token.rsplit('.').next().unwrap_or_default();
        assert!(!log.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(secret)), "the token's signature is in the log");
        assert!(!scene.gateway.said().contains(secret));
    }
    // A client with a token of its own.
    let agent = scene.identity_of(&scene.idp.token_of_agent()?)?;
    assert_eq!((&agent["subject"], &agent["how"]["client"]), (&json!("agent"), &json!("agent")), "{agent}");
    Ok(())
}

#[test]
fn who_has_no_token_is_told_where_one_is_got() -> Result {
    let scene = Scene::new("")?;
    let answer = scene.call("")?;
    let refusal = scene.refused(&answer, 401, "identity")?;
    assert!(refusal.message.contains("nobody") && refusal.id == json!(1), "{}", refusal.message);
    let challenge = answer.field("www-authenticate").unwrap_or_default().to_owned();
    let metadata = challenge.split('"').nth(1).unwrap_or_default();
    assert_eq!(metadata, format!("http://{}/.well-known/oauth-protected-resource/vault", scene.endpoint), "{challenge}");
    // RFC 9728: where the client learns who gives tokens, without having one.
    let path = metadata.split_once(&scene.endpoint.to_string()).map(|(_, path)| path).unwrap_or_default();
    let answer = scene.ask("GET", path, "", b"")?;
    let told = answer.json()?;
    assert_eq!(told["resource"], json!(format!("http://{}/vault", scene.endpoint)), "{told}");
    assert_eq!(told["authorization_servers"], json!([scene.idp.issuer()]));
    assert!(scene.server.seen().is_empty());
    // A token for that very URL is taken (RFC 8707), and one for another server is not.
    let of = |audience: &str| scene.idp.token_with(&json!({ "account": "ada", "audience": audience }));
    assert_eq!(scene.call_as(&of(&format!("http://{}/vault", scene.endpoint))?)?.status(), 200);
    assert_eq!(scene.call_as(&of(&scene.url)?)?.status(), 200, "the server's own URL");
    let answer = scene.call_as(&of("https://other.example/mcp")?)?;
    scene.refused(&answer, 401, "identity")?;
    assert!(answer.field("www-authenticate").is_some_and(|challenge| challenge.contains("error=\"invalid_token\"")), "{answer:?}");
    Ok(())
}

#[test]
fn groups_come_from_the_claim_that_is_set_and_what_cannot_be_told_is_an_error() -> Result {
    let scene = Scene::new("")?;
    assert_eq!(scene.identity_of(&scene.idp.token("stringy")?)?["groups"].as_array().map(Vec::len), Some(1));
    assert_eq!(scene.identity_of(&scene.idp.token("loner")?)?["groups"], json!([]));
    let refusal = scene.refused(&scene.call_as(&scene.idp.token("overage")?)?, 401, "identity")?;
    assert!(refusal.message.contains("overage"), "{}", refusal.message);
    let nested = Scene::new("groups = \"realm_access.roles\"")?;
    let identity = nested.identity_of(&nested.idp.token("nested")?)?;
    assert!(identity["groups"].as_array().is_some_and(|groups| !groups.is_empty()), "{identity}");
    Ok(())
}

#[test]
fn only_the_groups_that_a_server_allows_may_call_it() -> Result {
    let scene = Scene::with("", |server| server.setting("allow_groups", "[\"dba\", \"ops\"]"))?;
    assert_eq!(scene.call_as(&scene.idp.token("ada")?)?.status(), 200);
    for account in ["bob", "loner"] {
        let refusal = scene.refused(&scene.call_as(&scene.idp.token(account)?)?, 403, "not-allowed")?;
        assert!(refusal.message.contains(account) && refusal.message.contains("vault"), "{}", refusal.message);
        let record = refusal.record.expect("a record");
        assert_eq!(record.body()["caller"]["identity"]["subject"], json!(account), "who was refused is on record");
        assert!(record.line.contains("\"method\":\"tools/call\"") || record.body()["payload"].is_object(), "and what: {}", record.line);
    }
    Ok(())
}

#[test]
fn keys_are_rotated_under_load_without_a_lost_call() -> Result {
    let scene = Scene::new("")?;
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let caller = || -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let answer = scene.call_as(&scene.idp.token("ada")?)?;
            anyhow::ensure!(answer.status() == 200, "{}", String::from_utf8_lossy(&answer.body));
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
        let rotated = (0..3).try_for_each(|_| -> anyhow::Result<()> {
            let before = done.load(Ordering::Relaxed);
            scene.idp.rotate()?;
            // With the new key, each caller calls again before the next rotation; or one has failed.
            wait_until("calls with the new key", LIMIT, || {
                done.load(Ordering::Relaxed) >= before + 12 || callers.iter().any(thread::ScopedJoinHandle::is_finished)
            })
        });
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.join().expect("no panic")?;
        }
        rotated
    })?;
    assert!(done.load(Ordering::Relaxed) >= 36, "{done:?}");
    Ok(())
}

#[test]
fn a_key_that_the_issuer_no_longer_has_signs_nothing() -> Result {
    let scene = Scene::new("")?;
    let old = scene.idp.token("ada")?;
    assert_eq!(scene.call_as(&old)?.status(), 200);
    scene.idp.rotate()?;
    scene.idp.forget_old_keys()?;
    // A token of the new key makes the gateway ask; from then on the old key is gone, and with it what was cached.
    assert_eq!(scene.call_as(&scene.idp.token("ada")?)?.status(), 200);
    let refusal = scene.refused(&scene.call_as(&old)?, 401, "identity")?;
    assert!(refusal.message.contains("key"), "{}", refusal.message);
    Ok(())
}

#[test]
fn unknown_keys_make_the_issuer_be_asked_now_and_then_and_not_for_each_token() -> Result {
    let scene = &Scene::new("")?;
    assert_eq!(scene.call_as(&scene.idp.token("ada")?)?.status(), 200);
    let before = scene.idp.key_fetches()?;
    let forged = &|n: u32| scene.idp.token_with(&json!({ "account": "ada", "header": { "kid": format!("unknown-{n}") } }));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..20).map(|n| scope.spawn(move || scene.call_as(&forged(n)?))).collect();
        callers.into_iter().try_for_each(|caller| {
            let refusal = scene.refused(&caller.join().expect("no panic")?, 401, "identity")?;
            assert!(refusal.message.contains("key"), "{}", refusal.message);
            anyhow::Ok(())
        })
    })?;
    let asked = scene.idp.key_fetches()? - before;
    assert!((1..=3).contains(&asked), "20 tokens made {asked} requests");
    Ok(())
}

#[test]
fn a_token_that_was_taken_back_is_refused_by_list_and_by_introspection() -> Result {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
    let (list, secret) = (dir.path().join("revoked"), dir.path().join("secret"));
    fs::write(&list, "# nothing yet\n")?;
    fs::write(&secret, format!("{}\n", INTROSPECTOR.1))?;
    for file in [&list, &secret] {
        fs::set_permissions(file, PermissionsExt::from_mode(0o644))?;
    }
    let scene = Scene::new(&format!("revoked = {list:?}"))?;
    let (token, other) = (scene.idp.token("ada")?, scene.idp.token("ada")?);
    let jti = scene.identity_of(&token)?["how"]["jti"].as_str().unwrap_or_default().to_owned();
    assert_eq!(scene.call_as(&other)?.status(), 200);
    fs::write(&list, format!("# lost\n{jti}\n"))?;
    wait_until("the list to be read", LIMIT, || scene.call_as(&token).is_ok_and(|answer| answer.status() == 401))?;
    assert!(scene.refused(&scene.call_as(&token)?, 401, "identity")?.message.contains("revoked"));
    assert_eq!(scene.call_as(&other)?.status(), 200, "another token of hers");

    let introspection =
        format!("[identity.oidc.introspection]\nclient_id = \"{}\"\nclient_secret_file = {secret:?}\nttl = \"1s\"", INTROSPECTOR.0);
    let scene = Scene::new(&introspection)?;
    let token = scene.idp.token("ada")?;
    assert_eq!(scene.call_as(&token)?.status(), 200);
    scene.idp.revoke(&token)?;
    // Each worker remembers an answer for a second of its own.
    let is_refused = || scene.call_as(&token).is_ok_and(|answer| answer.status() == 401);
    wait_until("the answer to have been forgotten by all", LIMIT, || (0..8).all(|_| is_refused()))?;
    assert!(scene.refused(&scene.call_as(&token)?, 401, "identity")?.message.contains("revoked"));
    // Where it is to be asked and cannot be, nothing is let through.
    let token = scene.idp.token("ada")?;
    scene.idp.failing(503)?;
    scene.refused(&scene.call_as(&token)?, 503, "identity-unavailable")?;
    Ok(())
}

#[test]
fn a_token_of_the_servers_own_passes_where_that_is_set_and_ours_does_not_even_there() -> Result {
    let scene = Scene::with("", |server| server.setting("authorization", "\"server\"").setting("anonymous", "\"record\""))?;
    let own = scene.idp.token_with(&json!({ "account": "ada", "audience": "https://vault.example" }))?;
    for token in [own.as_str(), "opaque-token-of-the-server"] {
        assert_eq!(scene.call_as(token)?.status(), 200);
        let seen = scene.server.seen();
        assert_eq!(seen.last().expect("the call").field("authorization"), Some(format!("Bearer {token}").as_str()));
        assert_eq!(scene.latest()?.body()["caller"]["identity"]["kind"], json!("nobody"));
    }
    assert_eq!(scene.identity_of(&scene.idp.token("ada")?)?["subject"], json!("ada"));
    assert_eq!(scene.server.seen().last().expect("the call").field("authorization"), None);
    // One that is meant for us and is not right is never taken for the server's.
    let expired = scene.idp.token_with(&json!({ "account": "ada", "claims": { "exp": 1 } }))?;
    scene.refused(&scene.call_as(&expired)?, 401, "identity")?;
    Ok(())
}

#[test]
fn a_session_belongs_to_whoever_it_was_opened_for() -> Result {
    let idp = Oidc::start()?;
    let netns = Netns::new()?;
    let server = servers::everything(&netns, Transport::StreamableHttp)?;
    let gateway = Gateway::at_an_endpoint().endpoint("").identity(&oidc(&idp, ""));
    let mut gateway = gateway.server(ServerEntry::new("everything", &server.url)).start()?;
    let endpoint: SocketAddr = gateway.url("")?.split('/').nth(2).unwrap_or_default().parse()?;
    let post = |token: &str, session: &str, message: Value| -> anyhow::Result<Message> {
        let body = message.to_string();
        let fields = format!(
            "Authorization: Bearer {token}\r\n{session}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut wire = Wire::new(TcpStream::connect(endpoint)?)?;
        wire.send(request_to(&endpoint.to_string(), "POST", "/everything", &fields, body.as_bytes()))?;
        wire.message()
    };
    let (ada, bob) = (idp.token("ada")?, idp.token("bob")?);
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let opened = post(&ada, "", initialize)?;
    let session = format!("Mcp-Session-Id: {}\r\n", opened.field("mcp-session-id").context("no session was opened")?);
    let list = || json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    for _ in 0..2 {
        let stolen = post(&bob, &session, list())?;
        let refusal = Refusal::read(&gateway, &stolen.body)?;
        assert_eq!((stolen.status(), refusal.reason.as_str()), (403, "identity"), "{}", refusal.message);
        // Another token of hers is hers.
        let own = post(&idp.token("ada")?, &session, list())?;
        assert!(String::from_utf8_lossy(&own.body).contains("inputSchema"), "{own:?}");
        // And so after a restart.
        gateway.terminate()?;
        gateway.finish()?.ok()?;
        gateway.run()?;
    }
    Ok(())
}
