//! Two people, who log in once: then their agents' calls are theirs.

use std::time::Duration;

use anyhow::Context;
use gateway_tests::{Browser, Launch, User, wait::wait_for};
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
        "A policy, in Cedar, lets the group staff read at the clinic, and the group dba do all. At the identity provider, ada is in dba and \
         staff, and bob is in staff. A mask hides the column ssn from whoever is not in dba, and from every record. Nobody's call is refused; a client that can would now get a token by itself.",
    )?;
    refused(scene, page, None, READ, "identity", "nobody is refused, and told what to do")?;
    page.say("So ada logs in, with a code that she types in a browser on any device. The demo's browser is a scripted one.")?;
    person(scene, page, "ada", scene.agent())?;
    let Some(bob) = scene.other() else {
        return Ok(page.say("Without root there is one Unix user here, and so one person at a time: bob is not shown.")?);
    };
    person(scene, page, "bob", Some(bob))?;
    let number = number_for(page, "ada", scene.client(tool(scene, READ)?.launch()))?;
    let shown = number_for(page, "bob", scene.captured(tool(scene, READ)?.launch()).user(bob))?;
    page.hold(true, "bob may read, with a key that he does not have: the gateway puts it in", String::new)?;
    let is_masked = shown.contains('*') && shown.ends_with(&number[number.len() - 4..]) && !number.contains('*');
    page.hold(is_masked, "ada sees the patient's number, and bob the end of it, by whatever name it is asked for", || shown.clone())?;
    let grep = Launch::new("grep").args(["-rc", "-e", &number]).arg(scene.gateway.audit_dir()).run(LIMIT)?;
    page.hold(grep.code() == Some(1), "no record has more of it, not of ada's call either", || grep.stdout.clone())?;
    refused(scene, page, Some(bob), WRITE, "policy", "and he may not write: no policy permits it, and that is on record")?;
    directly(scene, page)
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

/// A tool and its SQL.
type Asked = (&'static str, &'static str);

const READ: Asked = ("query", "SELECT ssn AS number FROM patients WHERE id = 1");
const WRITE: Asked = ("execute", "DELETE FROM visits WHERE id = 1");

fn tool(scene: &Scene, (tool, sql): Asked) -> anyhow::Result<Curl> {
    Ok(Curl::tool(&scene.url()?, 1, tool, &json!({ "sql": sql })))
}

/// What somebody gets of the patient's number.
fn number_for(page: &Page, name: &str, call: Launch) -> anyhow::Result<String> {
    page.command("curl …", &format!("{}: {}; as {name}", READ.0, READ.1))?;
    let read = call.run(LIMIT)?;
    let rows = answer(&read.stdout)?["result"]["structuredContent"]["rows"].clone();
    page.output(&rows.to_string())?;
    rows[0]["number"].as_str().map(str::to_owned).with_context(|| format!("no rows came: {}", read.stdout))
}

/// Past the gateway, where nothing is captured, the server lets nobody in.
fn directly(scene: &Scene, page: &Page) -> anyhow::Result<()> {
    let call = Curl::tool(&scene.clinic.url, 1, READ.0, &json!({ "sql": READ.1 })).telling_status();
    page.command("curl …", "the same, by a process that is not captured, and so without the key")?;
    let done = call.launch().run(LIMIT)?;
    page.output(done.stdout.trim())?;
    page.hold(done.stdout.trim() == "401", "the server does not let in who has no key", || done.stdout.clone())
}

/// A call that the gateway refuses.
fn refused(scene: &Scene, page: &Page, user: Option<User>, asked: Asked, reason: &str, what: &str) -> anyhow::Result<()> {
    let call = tool(scene, asked)?;
    let who = user.map(|user| format!("; as uid {}", user.uid)).unwrap_or_default();
    page.command("curl …", &format!("{}: {}{who}", asked.0, asked.1))?;
    let done = match user {
        None => scene.client(call.launch()),
        Some(user) => scene.captured(call.launch()).user(user),
    };
    let done = done.run(LIMIT)?;
    let error: Value = answer(&done.stdout)?["error"].clone();
    page.output(error["message"].as_str().unwrap_or(&done.stdout))?;
    page.hold(error["data"]["reason"] == reason, what, || done.stdout.clone())
}
