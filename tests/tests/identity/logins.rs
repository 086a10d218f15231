//! Host logins at a real provider, by people with a scripted browser, through the command line.

use std::time::Duration;

use anyhow::Context;
use gateway_tests::{
    Browser, Finished, Launch, User,
    login::{device, shown},
    wait_until,
};
use serde_json::{Value, json};

use crate::{LIMIT, Result, Scene};

/// A Unix user of the host, without any privilege.
fn user(uid: u32) -> User {
    User { uid, gid: uid, ptrace: false }
}

const ADA: u32 = 4201;
const BOB: u32 = 4202;

impl Scene {
    /// A call by a process of this Unix user: the status, and the answer.
    fn call_by(&self, as_user: User) -> anyhow::Result<(u16, Value)> {
        let call = gateway_tests::clients::tool_call(1, "look", &json!({}));
        let done = curl(&self.gateway.url("vault")?, &call).user(as_user).run(LIMIT)?.ok()?;
        let (body, status) = done.stdout.rsplit_once('\n').context("curl says the status")?;
        Ok((status.parse()?, serde_json::from_str(body)?))
    }

    fn status_of(&self, as_user: User) -> anyhow::Result<u16> {
        Ok(self.call_by(as_user)?.0)
    }

    fn whoami(&self, as_user: User) -> anyhow::Result<Finished> {
        self.gateway.cli(&["whoami"]).user(as_user).run(LIMIT)
    }
}

fn curl(url: &str, message: &Value) -> Launch {
    // The address is taken by curl from the last argument: the status is written after the body.
    gateway_tests::clients::curl(url, message).args(["--write-out", "\n%{http_code}"])
}

#[test]
fn a_login_with_a_device_code_makes_the_users_calls_the_persons_until_the_logout() -> Result {
    let scene = Scene::new("")?;
    assert_eq!(scene.status_of(user(ADA))?, 401);
    let done = device(&scene.gateway, user(ADA), "ada", &[])?;
    assert!(done.stdout.contains("Logged in: calls of all processes of user 4201 count as ada"), "{}", done.stdout);
    assert!(done.stdout.contains("groups dba, staff"), "{}", done.stdout);
    assert_eq!(scene.status_of(user(ADA))?, 200);
    let record = scene.latest()?;
    let identity = &record.body()["caller"]["identity"];
    assert_eq!((&identity["subject"], &identity["strength"]), (&json!("ada"), &json!("host-login")), "{identity}");
    assert_eq!((&identity["how"]["method"], &identity["how"]["uid"]), (&json!("host-login"), &json!(ADA)));
    assert_eq!(scene.status_of(user(BOB))?, 401, "another user of the host is nobody still");

    let who = scene.whoami(user(ADA))?.ok()?.stdout;
    assert!(who.contains("user 4201 count as ada (corp, groups dba, staff)"), "{who}");
    assert_eq!(scene.whoami(user(BOB))?.code(), Some(1));
    let seen = |as_user: User| scene.gateway.cli(&["sessions", "--json"]).user(as_user).run(LIMIT)?.json();
    assert_eq!(seen(user(BOB))?, json!([]), "the logins of others are not for everybody");
    assert_eq!(seen(user(ADA))?[0]["person"]["subject"], json!("ada"));

    let said = scene.gateway.cli(&["logout"]).user(user(BOB)).run(LIMIT)?.ok()?.stdout;
    assert!(said.contains("not logged in"), "{said}");
    assert_eq!(scene.status_of(user(ADA))?, 200, "nobody logs others out");
    scene.gateway.cli(&["logout"]).user(user(ADA)).run(LIMIT)?.ok()?;
    let (status, answer) = scene.call_by(user(ADA))?;
    assert_eq!((status, &answer["error"]["data"]["reason"]), (401, &json!("identity")));
    assert!(answer["error"]["data"]["help"].as_str().is_some_and(|help| help.contains("mcp-gateway login")), "{answer}");
    for kind in ["login", "logout"] {
        let record = scene.gateway.record(kind, |record| record.kind() == kind)?;
        assert_eq!((&record.body()["identity"]["subject"], &record.body()["uid"]), (&json!("ada"), &json!(ADA)), "{}", record.line);
    }
    Ok(())
}

#[test]
fn a_login_with_a_browser_comes_back_to_the_terminal_and_the_tokens_never_do() -> Result {
    let scene = Scene::new("")?;
    let mut login = scene.gateway.cli(&["login", "--browser"]).user(user(ADA)).start()?;
    let url = shown(&mut login, "http")?;
    for needed in ["code_challenge_method=S256", "state=", "nonce="] {
        assert!(url.contains(needed), "{url}");
    }
    // Something else knocks at the port first, with a state of its own.
    let port = url.split("127.0.0.1%3A").nth(1).and_then(|rest| rest.split("%2F").next()).context("the port")?;
    let stray = Launch::new("curl").args(["--silent", &format!("http://127.0.0.1:{port}/callback?code=x&state=y")]).run(LIMIT)?;
    assert!(stray.stdout.contains("nothing here"), "{}", stray.stdout);
    let page = Browser::new()?.login(&url, "ada")?;
    assert!(page.html.contains("Back to the terminal"), "{}", page.html);
    let done = login.finish(LIMIT)?.ok()?;
    assert!(done.stdout.contains("count as ada"), "{}", done.stdout);
    assert!(!done.stdout.contains("eyJ"), "no token is shown: {}", done.stdout);
    assert_eq!(scene.status_of(user(ADA))?, 200);
    Ok(())
}

#[test]
fn a_login_is_renewed_takes_up_new_groups_and_ends_when_the_provider_says_so() -> Result {
    let scene = Scene::new("")?;
    scene.idp.set_ttl("AccessToken", 4)?;
    scene.idp.set_ttl("IdToken", 4)?;
    device(&scene.gateway, user(ADA), "ada", &[])?;
    scene.idp.set_account("ada", &json!({ "groups": ["ops"] }))?;
    let groups = || -> anyhow::Result<Value> {
        assert_eq!(scene.status_of(user(ADA))?, 200, "never denied meanwhile");
        Ok(scene.latest()?.body()["caller"]["identity"]["groups"].clone())
    };
    wait_until("the new groups", LIMIT, || groups().is_ok_and(|groups| groups == json!(["ops"])))?;
    scene.idp.set_account("ada", &Value::Null)?;
    wait_until("the login to end", LIMIT, || scene.status_of(user(ADA)).is_ok_and(|status| status == 401))?;
    let logout = scene.gateway.record("the end", |record| record.kind() == "logout")?;
    assert!(logout.body()["message"].as_str().is_some_and(|why| why.contains("corp")), "{}", logout.line);
    Ok(())
}

#[test]
fn a_login_outlives_the_gateway_and_is_not_readable_at_rest() -> Result {
    let mut scene = Scene::new("")?;
    device(&scene.gateway, user(ADA), "ada", &[])?;
    scene.gateway.kill()?;
    let home = scene.gateway.config().parent().context("a directory")?.join("identity");
    for file in std::fs::read_dir(&home)? {
        let path = file?.path();
        let text = std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        assert!(!text.contains("ada") && !text.contains("staff"), "{}", path.display());
    }
    scene.gateway.run()?;
    assert_eq!(scene.status_of(user(ADA))?, 200);
    Ok(())
}

#[test]
fn who_logs_out_hears_nothing_more_of_a_server() -> Result {
    let scene = Scene::new("")?;
    device(&scene.gateway, user(ADA), "ada", &[])?;
    let listen = ["--silent", "--no-buffer", "-H", "Accept: text/event-stream", "-H", "MCP-Protocol-Version: 2025-11-25"];
    let mut listening = Launch::new("curl").args(listen).arg(scene.gateway.url("vault")?).user(user(ADA)).start()?;
    wait_until("the stream to be open", LIMIT, || scene.server.seen().len() == 1)?;
    assert!(listening.ended()?.is_none());
    scene.gateway.cli(&["logout"]).user(user(ADA)).run(LIMIT)?.ok()?;
    assert!(!listening.wait(LIMIT)?.success(), "the stream is cut, and does not end as if it were whole");
    let end = scene.gateway.record("its end", |record| record.kind() == "answer")?;
    assert_eq!(end.body()["outcome"]["gateway"], json!("identity"), "{}", end.line);
    Ok(())
}

#[test]
fn root_logs_in_only_for_a_session() -> Result {
    let scene = Scene::new("")?;
    let refused = scene.gateway.cli(&["login", "--device"]).run(Duration::from_secs(20))?;
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("--session"), "{}", refused.stderr);
    Ok(())
}
