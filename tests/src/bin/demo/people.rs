//! Two people, who log in once: then their agents' calls are theirs.

use std::time::Duration;

use anyhow::Context;
use gateway_tests::{Browser, User, wait::wait_for};
use serde_json::{Value, json};

use crate::{
    calls::{Curl, answer},
    page::Page,
    scene::Scene,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Nobody may call; ada logs in, and where there are several Unix users, bob.
///
/// # Errors
/// Something does not hold, or cannot be done.
pub(crate) fn log_in(scene: &Scene, page: &mut Page) -> anyhow::Result<()> {
    page.step("Two people log in, each once")?;
    page.say(
        "The clinic may be called by the group dba. At the identity provider, ada is in dba and staff, and bob is in staff. Nobody's call \
         is refused; a client that can would now get a token by itself.",
    )?;
    refused(scene, page, None, "identity", "nobody is refused, and told what to do")?;
    page.say("So ada logs in, with a code that she types in a browser on any device. The demo's browser is a scripted one.")?;
    person(scene, page, "ada", scene.agent())?;
    let Some(bob) = scene.other() else {
        return Ok(page.say("Without root there is one Unix user here, and so one person at a time: bob is not shown.")?);
    };
    person(scene, page, "bob", Some(bob))?;
    refused(scene, page, Some(bob), "not-allowed", "bob is known, and is in none of the groups that may call")
}

/// Logs a Unix user in as a person.
fn person(scene: &Scene, page: &Page, name: &str, user: Option<User>) -> anyhow::Result<()> {
    let as_user = user.map(|user| format!("as uid {}", user.uid)).unwrap_or_default();
    page.command(&format!("mcp-gateway login --device --config {}", scene.gateway.config().display()), &as_user)?;
    let login = scene.gateway.cli(&["login", "--device"]);
    let mut login = if let Some(user) = user { login.user(user) } else { login }.start()?;
    let url = wait_for("the login's URL", LIMIT, || {
        anyhow::ensure!(login.ended()?.is_none(), "login ended: {}{}", login.stdout(), login.stderr());
        Ok(login.stdout().lines().find_map(|line| Some(line.strip_prefix("or open ")?.split(',').next()?.to_owned())))
    })?;
    Browser::new()?.login(&url, name)?;
    let said = login.finish(LIMIT)?.ok()?.stdout;
    let last = said.lines().last().context("login says nothing")?;
    page.output(last)?;
    page.hold(last.contains(&format!("count as {name} ")), &format!("{name} is logged in; there is no token on this side"), || said.clone())
}

/// A call that the gateway refuses.
fn refused(scene: &Scene, page: &Page, user: Option<User>, reason: &str, what: &str) -> anyhow::Result<()> {
    let call = Curl::tool(&scene.url()?, 1, "query", &json!({ "sql": "SELECT 1 AS one" }));
    let who = user.map(|user| format!("query: SELECT 1 AS one; as uid {}", user.uid));
    page.command("curl …", &who.unwrap_or_else(|| "query: SELECT 1 AS one".into()))?;
    let done = match user {
        None => scene.client(call.launch()),
        Some(user) => scene.captured(call.launch()).user(user),
    };
    let done = done.run(LIMIT)?;
    let error: Value = answer(&done.stdout)?["error"].clone();
    page.output(error["message"].as_str().unwrap_or(&done.stdout))?;
    page.hold(error["data"]["reason"] == reason, what, || done.stdout.clone())
}
