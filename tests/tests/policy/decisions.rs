//! Who may do what, with which arguments.

use std::fs;

use anyhow::Context;
use gateway_tests::wait_until;
use serde_json::json;

use crate::{LIMIT, Result, Scene};

const POLICIES: &str = r#"
@id("staff-reads")
permit(principal in Group::"staff", action == Action::"tools/call", resource == Tool::"vault/query");

@id("dba-writes")
permit(principal in Group::"dba", action == Action::"tools/call", resource == Tool::"vault/execute");

@id("no-unbounded")
@message("Say which rows: add a WHERE.")
forbid(principal, action, resource) when { context.labels.contains("sql:unbounded-write") };

@id("ddl-is-held")
@hold("the schema changes")
forbid(principal, action, resource) when { context.labels.contains("sql:ddl") };

@id("salaries")
@message("Nobody reads salaries here.")
forbid(principal, action, resource) when { context.arguments.hasTag("table") && context.arguments.getTag("table") == "salaries" };
"#;

#[test]
fn one_of_two_people_may_and_the_other_is_told_why_not_and_goes_on() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    let (mut ada, mut bob) = (scene.caller("ada")?, scene.caller("bob")?);
    let delete = json!({ "sql": "DELETE FROM visits WHERE id = 1" });
    assert!(ada.may("execute", &delete)?);
    let record = scene.latest()?;
    let decision = &record.body()["decision"];
    assert_eq!((&decision["verdict"], &decision["policies"]), (&json!("allow"), &json!(["dba-writes"])), "{decision}");
    let labels = decision["facts"]["labels"].as_array().context("no labels")?;
    assert!(labels.contains(&json!("sql:write")) && labels.contains(&json!("sql:table:visits")), "{decision}");

    let before = scene.server.seen().len();
    let answer = bob.call("execute", &delete)?;
    let refusal = scene.denied(&answer, "policy")?;
    assert_eq!((answer.status(), &refusal.id), (200, &json!(7)), "to the client, the call has failed, and not HTTP");
    // What a server says of a tool that it does not have (server/tools, "Error Handling").
    assert_ne!(refusal.code, -32602);
    assert_eq!(refusal.message, "no policy permits tools/call of `execute` on `vault` to bob");
    assert_eq!(scene.server.seen().len(), before, "the server must not see it");
    let record = refusal.record.context("no record")?;
    let decision = &record.body()["decision"];
    assert_eq!((&decision["verdict"], decision.get("policies")), (&json!("deny"), None), "{decision}");
    let labels = decision["facts"]["labels"].as_array().context("no labels")?;
    assert!(labels.contains(&json!("sql:write")), "by what it was denied: {decision}");
    assert_eq!(record.body()["call"]["name"], "execute");
    assert_eq!(record.body()["caller"]["identity"]["subject"], "bob");
    let tokens = scene.server.seen().iter().filter(|call| call.field("authorization").is_some()).count();
    assert_eq!(tokens, 0, "the token was for the gateway");
    // The same connection goes on.
    assert!(bob.may("query", &json!({ "sql": "SELECT 1" }))?);

    // The set that a decision names is on record in full.
    let records = scene.gateway.records()?;
    let sets = records.iter().filter(|record| record.kind() == "policies").collect::<Vec<_>>();
    assert_eq!(sets.len(), 1);
    assert_eq!((&sets[0].body()["set"], &sets[0].body()["sources"][0]["text"]), (&decision["set"], &json!(POLICIES)));
    Ok(())
}

#[test]
fn what_the_arguments_do_decides_too() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    let mut ada = scene.caller("ada")?;
    for sql in ["DELETE FROM visits", "delete /* all */ from visits where 1=1", "SELECT 1; TRUNCATE visits"] {
        let refusal = scene.denied(&ada.call("execute", &json!({ "sql": sql }))?, "policy")?;
        let told = "tools/call of `execute` on `vault` is denied to ada by the policy `no-unbounded`: Say which rows: add a WHERE.";
        assert_eq!(refusal.message, told, "{sql}");
        assert_eq!(refusal.record.context("no record")?.body()["decision"]["policies"], json!(["no-unbounded"]));
    }
    assert!(scene.denied(&ada.call("query", &json!({ "table": "salaries" }))?, "policy")?.message.contains("salaries"));
    assert!(ada.may("query", &json!({ "table": "patients" }))?);
    assert!(scene.server.seen().iter().all(|call| !String::from_utf8_lossy(&call.body).contains("salaries")));

    let refusal = scene.denied(&ada.call("execute", &json!({ "sql": "DROP TABLE visits" }))?, "hold")?;
    let told = "tools/call of `execute` on `vault` by ada is held for approval by the policy `ddl-is-held` (the schema changes)";
    assert_eq!(refusal.message, told);
    let decision = refusal.record.context("no record")?.body()["decision"].clone();
    assert_eq!((&decision["verdict"], &decision["policies"]), (&json!("hold"), &json!(["ddl-is-held"])));
    Ok(())
}

#[test]
fn a_session_can_be_opened_by_whoever_may_do_nothing_in_it() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    let mut loner = scene.caller("loner")?;
    for method in ["initialize", "ping", "tools/list"] {
        let answer = loner.request(method, &json!({}))?;
        assert!(answer.json()?.get("result").is_some(), "{method}: {}", String::from_utf8_lossy(&answer.body));
    }
    let accepted = loner.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
    assert_eq!(accepted.status(), 202);
    for (method, params) in [
        ("tools/call", json!({ "name": "query" })),
        ("prompts/get", json!({ "name": "query" })),
        ("resources/read", json!({ "uri": "file:///x" })),
        ("tasks/cancel", json!({ "taskId": "1" })),
        ("vendor/anything", json!({})),
    ] {
        scene.denied(&loner.request(method, &params)?, "policy")?;
    }
    Ok(())
}

#[test]
fn of_a_batch_all_goes_on_or_nothing() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    let mut bob = scene.caller("bob")?;
    let call = |id: u64, tool: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool } });
    let fields =
        |body: &str| format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", bob.token, body.len());
    // A revision that has batches.
    for tools in [["query", "execute"], ["execute", "query"]] {
        let body = json!([call(1, tools[0]), call(2, tools[1])]).to_string();
        bob.wire.send(gateway_tests::http::request_to(&bob.host, "POST", "/vault", &fields(&body), body.as_bytes()))?;
        let answer = bob.wire.message()?;
        assert_eq!(answer.status(), 403);
        let refusal = scene.denied(&answer, "policy")?;
        assert!(refusal.message.contains("`execute`"), "{}", refusal.message);
        assert_eq!(refusal.record.context("no record")?.body()["batch"].as_array().map(Vec::len), Some(2));
    }
    assert!(scene.server.seen().is_empty());
    Ok(())
}

#[test]
fn policies_that_change_are_in_force_at_once_and_wrong_ones_change_nothing() -> Result {
    let scene = Scene::ruled(POLICIES)?;
    let mut bob = scene.caller("bob")?;
    let (file, query) = (scene.gateway.policies(), json!({ "sql": "SELECT 1" }));
    assert!(bob.may("query", &query)?);

    // Wrong: nothing changes, and it is said where and why.
    fs::write(&file, format!("{POLICIES}\npermit(principal, action, resource) when {{ context.lables.contains(\"x\") }};"))?;
    // The metric is set before it is said.
    wait_until("the wrong policies are told of", LIMIT, || {
        let said = scene.gateway.said();
        let is_told = ["site.cedar:", "lables", "stay in force"].iter().all(|part| said.contains(part));
        is_told && scene.gateway.metric("mcp_gateway_policies_outdated").is_ok_and(|are| are == 1.0)
    })?;
    let said = scene.gateway.said();
    assert_eq!(said.matches("lables").count(), 1, "once is enough: {said}");
    assert!(bob.may("query", &query)?);
    let check = scene.gateway.cli(&["check"]).run(LIMIT)?;
    assert!(!check.status.success() && check.stderr.contains("site.cedar:"), "{}", check.stderr);

    fs::write(&file, "permit(principal in Group::\"dba\", action, resource);")?;
    wait_until("the new policies are in force", LIMIT, || bob.may("query", &query).is_ok_and(|may| !may))?;
    assert!(scene.caller("ada")?.may("query", &query)?);
    assert_eq!(scene.gateway.metric("mcp_gateway_policies_outdated")?, 0.0);
    // On record before the first decision by them.
    let records = scene.gateway.records()?;
    let set = records.iter().rev().find(|record| record.kind() == "policies").context("no policies")?;
    assert_eq!(set.body()["sources"][0]["text"], "permit(principal in Group::\"dba\", action, resource);");
    let first = records.iter().find(|record| record.body()["decision"]["set"] == set.body()["set"]).context("no decision")?;
    assert!(set.seq() < first.seq());
    // Gone is as wrong as broken.
    fs::remove_file(&file)?;
    wait_until("the missing policies are told of", LIMIT, || {
        scene.gateway.metric("mcp_gateway_policies_outdated").is_ok_and(|are| are == 1.0)
    })?;
    assert!(!bob.may("query", &query)? && scene.caller("ada")?.may("query", &query)?);
    Ok(())
}

#[test]
fn a_gateway_does_not_start_with_policies_that_are_wrong() -> Result {
    let mut gateway = gateway_tests::Gateway::at_an_endpoint()
        .server(gateway_tests::ServerEntry::new("vault", "http://127.0.0.1:9/mcp"))
        .policies("permit(principal, action, resource)")
        .prepare()?;
    gateway.launch()?;
    let ended = gateway.finish().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(ended.contains("exit status: 3") && ended.contains("site.cedar:1:"), "{ended}");
    Ok(())
}
