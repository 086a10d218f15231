//! An unmodified client of the official SDK, which is told only the server's URL, gets a token by itself.

use std::io::Write;

use anyhow::Context;
use gateway_tests::{Browser, Gateway, Launch, Oidc, ServerEntry, binaries, oidc::LOGIN_CLIENT, servers, wait::wait_for};
use serde_json::{Value, json};

use crate::{LIMIT, Result, oidc};

#[test]
fn a_client_of_the_official_sdk_starts_its_own_flow_and_calls_as_the_person() -> Result {
    let idp = Oidc::start()?;
    let clinic = servers::clinic_on_loopback()?;
    let gateway = Gateway::at_an_endpoint().endpoint("").identity(&oidc(&idp, "token_scopes = [\"openid\", \"mcp\"]"));
    let gateway = gateway.server(ServerEntry::new("clinic", &clinic.url)).start()?;
    let url = gateway.url("clinic")?;
    let mut client = Launch::new("node").arg(binaries::root().join("tests/node/oauth.mjs")).args([&url, LOGIN_CLIENT]).start_piped()?;
    let mut stdin = client.stdin().context("no standard input")?;
    let goes_to = wait_for("the client to ask for a login", LIMIT, || {
        anyhow::ensure!(client.ended()?.is_none(), "it ended: {}{}", client.stdout(), client.stderr());
        Ok(client.stdout().split_once('\n').map(|(line, _)| line.to_owned()))
    })?;
    assert!(goes_to.starts_with(idp.issuer()), "it found the issuer by the gateway's metadata: {goes_to}");
    let page = Browser::new()?.stops_before("http://127.0.0.1:9/").login(&goes_to, "ada")?;
    writeln!(stdin, "{}", page.url)?;
    let done = client.finish(LIMIT)?.ok()?;
    let last: Value = serde_json::from_str(done.stdout.lines().last().unwrap_or_default())?;
    assert_eq!(last["rows"], json!([{ "one": 1 }]), "{}", done.stdout);
    let call = gateway.record("the call", |record| record.kind() == "request" && record.name() == Some("query"))?;
    let identity = &call.body()["caller"]["identity"];
    assert_eq!((&identity["subject"], &identity["strength"]), (&json!("ada"), &json!("token")), "{identity}");
    Ok(())
}
