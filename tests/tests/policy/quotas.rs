//! How much may happen.

use std::{thread, time::Duration};

use gateway_tests::http::answer;
use serde_json::json;

use crate::{Result, Scene};

#[test]
fn over_a_quota_a_call_is_denied_until_the_time_that_it_is_told() -> Result {
    let scene = Scene::new(None, "[[quota]]\ncalls = \"3/6s\"", |server| server)?;
    let (mut ada, mut bob) = (scene.caller("ada")?, scene.caller("bob")?);
    for _ in 0..3 {
        assert!(ada.may("query", &json!({}))?);
    }
    let denied = ada.call("query", &json!({}))?;
    let refusal = scene.denied(&denied, "quota")?;
    assert_eq!(denied.status(), 429);
    assert!(refusal.message.contains("3 calls in 6 s for each person"), "{}", refusal.message);
    let wait: u64 = denied.field("retry-after").unwrap_or_default().parse()?;
    assert!((1..=2).contains(&wait), "{wait} s");
    assert!(bob.may("query", &json!({}))?, "another person has a quota of his own");
    assert!(ada.request("ping", &json!({}))?.json()?.get("result").is_some(), "what is no call does not count");
    // Another connection of the same person is the same person.
    scene.denied(&scene.caller("ada")?.call("query", &json!({}))?, "quota")?;
    thread::sleep(Duration::from_secs(wait));
    assert!(ada.may("query", &json!({}))?);
    Ok(())
}

#[test]
fn answers_and_different_tools_are_limited_too() -> Result {
    let sections = "[[quota]]\nbytes_out = \"10KiB/1h\"\n[[quota]]\nper = \"session\"\ndistinct_tools = \"2/1h\"\nserver = \"vault\"";
    let scene = Scene::new(None, sections, |server| server)?;
    scene.answers(|call| {
        let text = "x".repeat(if call["params"]["name"] == "large" { 20_000 } else { 1 });
        answer(&json!({ "jsonrpc": "2.0", "id": call["id"], "result": { "content": [{ "type": "text", "text": text }] } }))
    });
    let mut ada = scene.caller("ada")?;
    assert!(ada.may("a", &json!({}))? && ada.may("b", &json!({}))? && ada.may("a", &json!({}))?);
    let refusal = scene.denied(&ada.call("c", &json!({}))?, "quota")?;
    assert!(refusal.message.contains("2 different tools"), "{}", refusal.message);
    let mut bob = scene.caller("bob")?;
    assert!(bob.may("large", &json!({}))?, "what an answer takes is known when it has come");
    let refusal = scene.denied(&bob.call("a", &json!({}))?, "quota")?;
    assert!(refusal.message.contains("bytes of answers"), "{}", refusal.message);
    Ok(())
}

#[test]
fn each_session_of_a_person_has_a_quota_of_its_own_and_all_share_the_persons() -> Result {
    let sections = "[[quota]]\nper = \"session\"\ncalls = \"1/1h\"\n[[quota]]\ncalls = \"2/1h\"\n\
                    [[quota]]\ncalls = \"1/1h\"\nserver = \"other\"\n[[server]]\nname = \"other\"\nurl = \"http://127.0.0.1:9/\"\n";
    let scene = Scene::new(None, sections, |server| server)?;
    let mut ada = scene.caller("ada")?;
    let mut in_session = |session: &str| {
        ada.fields = format!("Mcp-Session-Id: {session}\r\n");
        ada.call("query", &json!({}))
    };
    assert!(in_session("one")?.json()?.get("result").is_some());
    let refusal = scene.denied(&in_session("one")?, "quota")?;
    assert!(refusal.message.contains("1 calls in 3600 s for each session"), "{}", refusal.message);
    assert!(in_session("two")?.json()?.get("result").is_some(), "another session, and another server's quota does not count");
    let refusal = scene.denied(&in_session("three")?, "quota")?;
    assert!(refusal.message.contains("2 calls in 3600 s for each person"), "{}", refusal.message);
    Ok(())
}
