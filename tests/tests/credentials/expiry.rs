//! A credential that ends while a thousand calls are under way.

use std::{
    collections::BTreeSet,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use gateway_tests::{
    Oidc,
    http::{Message, call, request_to},
    oidc::GATEWAY,
    raw::Wire,
};

use crate::{
    Result, Scene,
    oauth::{credential, server, verified},
};

const CALLS: usize = 1000;
/// Seconds that a token lasts.
const LASTS: u64 = 12;
/// So long the server thinks about a call: all are under way at any time.
const ANSWER: Duration = Duration::from_secs(2);

fn now() -> anyhow::Result<f64> {
    Ok(UNIX_EPOCH.elapsed()?.as_secs_f64())
}

/// Calls one after the other, the last one begun after this time; how many were begun before.
fn calls(scene: &Scene, end: f64) -> anyhow::Result<usize> {
    let mut wire = Wire::new(TcpStream::connect(scene.endpoint)?)?;
    let body = call(1).to_string();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for before in 0.. {
        let is_after = now()? > end;
        wire.send(request_to(&scene.endpoint.to_string(), "POST", "/vault", &fields, body.as_bytes()))?;
        let answer: Message = wire.message()?;
        ensure!(answer.status() == 200, "after {before} calls: {}", String::from_utf8_lossy(&answer.body));
        if is_after {
            return Ok(before);
        }
    }
    Ok(0)
}

#[test]
fn a_token_that_ends_during_a_thousand_calls_fails_none_and_none_is_sent_stale() -> Result {
    let idp = Oidc::start()?;
    idp.set_ttl("ClientCredentials", LASTS)?;
    let (keys, answers) = server(&idp)?;
    let credential = credential(&format!("{}/token", idp.issuer()), "");
    let thinking = move |request: &Message| {
        // The token is checked as the call comes.
        let answer = answers(request);
        thread::sleep(ANSWER);
        answer
    };
    let mut scene = Scene::prepare(GATEWAY.1, &credential, "", thinking)?;
    scene.gateway.run()?;
    assert_eq!(scene.call("", "")?.status(), 200);
    let first = verified(&keys, &scene.server.seen()[0])?;
    let end = first["exp"].as_f64().context("the token's end")?;

    let (scene, before) = (&scene, &AtomicUsize::new(0));
    thread::scope(|scope| {
        let caller = || thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, move || calls(scene, end));
        let callers = (0..CALLS).map(|_| caller()).collect::<std::io::Result<Vec<_>>>()?;
        callers.into_iter().try_for_each(|caller| {
            before.fetch_add(caller.join().expect("no panic")?, Ordering::Relaxed);
            anyhow::Ok(())
        })
    })?;
    let (before, got) = (before.load(Ordering::Relaxed), scene.got("authorization"));
    assert!(before >= CALLS, "{before} calls were begun before the token ended");
    assert_eq!(got.len(), 1 + before + CALLS, "each call reached the server once");
    let tokens: BTreeSet<_> = got.into_iter().collect();
    assert!(tokens.len() >= 2, "one token for all, also after it had ended");
    Ok(())
}
