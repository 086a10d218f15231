//! The story: nine steps, each of which is checked as it is told.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use gateway_tests::{Finished, Launch, wait::wait_for};
use serde_json::{Value, json};

use crate::{
    calls::{Curl, Logged, answer, logged},
    page::Page,
    people,
    scene::{Scene, runs_as, said},
    stay,
    stop::Stop,
    traces::Traces,
};

const LIMIT: Duration = Duration::from_secs(30);
/// curl's exit code for a connection that was refused.
const REFUSED: i32 = 7;
/// And for one that was reset.
const RESET: i32 = 56;
const QUESTION: &str = "SELECT name, diagnosis FROM patients WHERE id = 7";
const CHANGE: &str = "UPDATE patients SET balance_cents = 0 WHERE id = 7";

/// Tells all of it, and on a terminal stays until it is interrupted. All that was made is gone when this returns.
///
/// # Errors
/// Something does not hold, cannot be done, or someone interrupted it.
pub(crate) fn tell(page: &mut Page, stop: &Stop, traces: &mut Traces, captures: bool, stays: bool) -> anyhow::Result<()> {
    page.title("MCP Gateway: what agents ask of MCP servers, on the record before it happens")?;
    let place =
        if captures { "in a network namespace and a cgroup of the demo's own" } else { "on loopback, without root and without eBPF" };
    page.say(&format!(
        "All of this happens now, on this machine, {place}. What has a ✓ was checked; indented lines are what programs said."
    ))?;
    let mut scene = Scene::set(page, stop, traces, captures)?;
    stop.check()?;
    people::log_in(&scene, page)?;
    stop.check()?;
    let made = calls(&scene, page)?;
    stop.check()?;
    who(&scene, page, &made)?;
    stop.check()?;
    log(&scene, page)?;
    stop.check()?;
    killed(&mut scene, page)?;
    stop.check()?;
    recovered(&mut scene, page)?;
    stop.check()?;
    malformed(&scene, page)?;
    if stays { stay::until_interrupted(&mut scene, page, stop) } else { Ok(()) }
}

/// A call that a client made.
struct Made {
    tool: &'static str,
    pid: u32,
    exe: PathBuf,
}

fn calls(scene: &Scene, page: &mut Page) -> anyhow::Result<[Made; 3]> {
    page.step(if scene.cgroup.is_some() {
        "Three calls, by clients that know nothing of a gateway"
    } else {
        "Three calls, by clients of which nothing is changed but the URL"
    })?;
    let url = &scene.url()?;
    let curl_exe = installed("curl")?;

    let curl = Curl::tool(url, 1, "query", &json!({ "sql": QUESTION }));
    let curl = if scene.cgroup.is_some() { curl.telling_peer() } else { curl };
    page.command(&curl.shown(), "")?;
    let queried = scene.client(curl.launch()).run(LIMIT)?;
    let rows = result(&queried)?["structuredContent"]["rows"].clone();
    page.output(&rows.to_string())?;
    page.hold(rows[0]["name"].is_string(), "curl has its answer", || queried.stdout.clone())?;
    if scene.cgroup.is_some() {
        let peer = queried.stdout.lines().last().unwrap_or_default();
        let address = scene.clinic.address.to_string();
        page.hold(peer == address, &format!("curl sees itself connected to {address}, the server: nothing was reconfigured"), || {
            peer.to_owned()
        })?;
    }

    page.command(&format!("rmcp-client {url} export --progress"), "the official Rust SDK")?;
    let exported = scene.client(Launch::new(&scene.rmcp_client).args([url, "export", "--progress"])).run(LIMIT)?;
    let summary = exported.clone().json()?;
    let text = summary["result"]["content"][0]["text"].as_str().unwrap_or_default();
    page.output(&format!(
        "revision {}, {} lines of CSV, progress reports: {}",
        summary["protocol"].as_str().unwrap_or_default(),
        text.lines().count(),
        summary["progress"],
    ))?;
    page.hold(summary["progress"] == json!([1.0, 2.0, 3.0, 4.0, 5.0]), "progress reports pass the gateway one by one", || {
        summary["progress"].to_string()
    })?;

    let curl = Curl::tool(url, 2, "execute", &json!({ "sql": CHANGE }));
    page.command("curl …", &format!("as above, execute: {CHANGE}"))?;
    let executed = scene.client(curl.launch()).run(LIMIT)?;
    let changed = result(&executed)?["structuredContent"].clone();
    page.output(&changed.to_string())?;
    page.hold(changed["rows_affected"] == 1, "one patient's balance is changed", || executed.stdout.clone())?;
    if scene.cgroup.is_some() {
        let redirected = scene.gateway.metric("mcp_gateway_kernel_redirected_total")?;
        page.hold(
            redirected >= 3.0,
            &format!("the kernel redirected their connections to the gateway: its counter says {redirected}"),
            || redirected.to_string(),
        )?;
    }
    Ok([
        Made { tool: "query", pid: queried.pid, exe: curl_exe.clone() },
        Made { tool: "export", pid: exported.pid, exe: fs::canonicalize(&scene.rmcp_client)? },
        Made { tool: "execute", pid: executed.pid, exe: curl_exe },
    ])
}

fn who(scene: &Scene, page: &mut Page, made: &[Made]) -> anyhow::Result<()> {
    page.step("What is on record: which process did what, and how it ended")?;
    let calls = logged(scene.gateway.records()?);
    page.say("In the log each has much more: parent, cgroup, start time, headers (without credentials), both bodies in full.")?;
    page.row(&Logged::head())?;
    calls.iter().try_for_each(|call| page.row(&call.row()))?;
    let uid = scene.uid();
    let wrong: Vec<String> = made
        .iter()
        .filter(|made| {
            !calls.iter().any(|call| {
                call.request.name() == Some(made.tool)
                    && call.request.pid() == Some(made.pid)
                    && call.request.exe().map(Path::new) == Some(&made.exe)
                    && call.request.body()["caller"]["origin"]["uid"] == uid
                    && call.outcome() == "ok"
            })
        })
        .map(|made| format!("no such record: {} by {}, pid {}, uid {uid}, ended well", made.tool, made.exe.display(), made.pid))
        .collect();
    page.hold(wrong.is_empty(), "executable, pid and uid are those of the processes started in step 4", || wrong.join("; "))?;
    let whose = |call: &Logged| if call.request.body()["caller"]["origin"]["uid"] == uid { "ada" } else { "bob" };
    let wrong: Vec<&str> = calls
        .iter()
        .filter(|call| call.request.body()["caller"]["identity"]["subject"] != whose(call))
        .map(|call| call.request.line.as_str())
        .collect();
    page.hold(wrong.is_empty(), "and each is ada's or bob's on record, though no client has sent a token", || wrong.join("; "))?;
    server_saw_nothing_else(scene, page)
}

/// Every call that the server noted is in the log.
fn server_saw_nothing_else(scene: &Scene, page: &Page) -> anyhow::Result<()> {
    let calls = logged(scene.gateway.records()?);
    let seen = scene.clinic.seen()?;
    let missing: Vec<_> = seen
        .iter()
        .filter(|seen| !calls.iter().any(|call| call.request.name() == Some(&seen.tool) && call.request.body()["call"]["id"] == seen.id))
        .collect();
    page.hold(missing.is_empty(), &format!("the server's own list has {} tool calls, and each is in this log", seen.len()), || {
        format!("not in the log: {missing:?}")
    })
}

fn log(scene: &Scene, page: &mut Page) -> anyhow::Result<()> {
    page.step("The audit log: JSON Lines, each line bound to the one before by its hash")?;
    page.command("mcp-gateway audit tail --method tools/call", "each is a line of JSON; this is for people")?;
    page.output(&scene.gateway.tail(&["--method", "tools/call"]).run(LIMIT)?.ok()?.stdout)?;
    verified(scene, page)?;
    let grep = Launch::new("grep").args(["-rc", &scene.key]).arg(scene.gateway.audit_dir()).run(LIMIT)?;
    page.command("grep -r <the clinic's key> the log", "")?;
    let nowhere = grep.code() == Some(1) && !scene.gateway.said().contains(&scene.key);
    page.hold(nowhere, "the key that the server demands is neither in the log nor in what the gateway says", || grep.stdout.clone())?;
    // What a forger would like: that it was another patient who was read.
    let forge = format!("cp -r {} forged; sed -i 's/id = 7/id = 8/' forged/*.jsonl", scene.gateway.audit_dir().display());
    page.command(&forge, "")?;
    Launch::new("sh").args(["-ec", &forge]).directory(scene.files.path()).run(LIMIT)?.ok()?;
    page.command("mcp-gateway audit verify forged", "")?;
    let verdict = Launch::new(scene.gateway.program()).args(["audit", "verify", "forged"]).directory(scene.files.path()).run(LIMIT)?;
    page.output(&verdict.stdout)?;
    page.hold(verdict.code() == Some(1) && verdict.stdout.contains("TAMPERED: record "), "one digit was changed, and it is found", || {
        format!("{}: {}{}", verdict.status, verdict.stdout, verdict.stderr)
    })
}

fn verified(scene: &Scene, page: &Page) -> anyhow::Result<()> {
    page.command(&format!("mcp-gateway audit verify {}", scene.gateway.audit_dir().display()), "")?;
    let verdict = scene.gateway.verify()?;
    page.output(&verdict.stdout)?;
    page.hold(verdict.code() == Some(0), "the log is whole and unchanged", || format!("{}: {}", verdict.status, verdict.stderr))
}

fn killed(scene: &mut Scene, page: &mut Page) -> anyhow::Result<()> {
    let title = if scene.cgroup.is_some() { ": there is no way around it" } else { "" };
    page.step(&format!("The gateway is killed in the middle of a call{title}"))?;
    // The server is halted, so that the call is certain to be in flight.
    scene.clinic.freeze()?;
    let url = scene.url()?;
    let call = Curl::tool(&url, 3, "execute", &json!({ "sql": "DELETE FROM visits" }));
    let mut caller = scene.client(call.launch()).start()?;
    let pid = caller.pid();
    scene.gateway.record("the request of the call in flight", |record| record.kind() == "request" && record.pid() == Some(pid))?;
    page.command("curl … &", "execute: DELETE FROM visits. The server is halted for a moment: the call waits")?;
    page.command(&format!("kill -9 {}", scene.gateway.pid()?), "the gateway")?;
    scene.gateway.kill()?;
    let status = caller.wait(LIMIT)?;
    page.output(&caller.stderr())?;
    page.hold(!status.success(), "the caller learns that its call was cut off", || status.to_string())?;
    scene.clinic.thaw()?;

    // The kernel takes a ring's sockets down a moment after its process: until then a connect is reset, and not yet refused.
    let refused = wait_for("the gateway's sockets to be gone", LIMIT, || {
        let done = scene.client(Curl::tool(&url, 4, "query", &json!({ "sql": QUESTION })).launch()).run(LIMIT)?;
        Ok((done.code() != Some(RESET)).then_some(done))
    })?;
    page.command("curl …", "the query of step 4")?;
    page.output(&refused.stderr)?;
    if scene.cgroup.is_none() {
        page.hold(refused.code() == Some(REFUSED), "refused: nobody listens at the endpoint", || {
            format!("{}: {}", refused.status, refused.stdout)
        })?;
        return Ok(page.say(
            "That the server is not called past the gateway is for the network to see to here; capture does it on the caller's host.",
        )?);
    }
    page.hold(refused.code() == Some(REFUSED), "refused by the kernel, at once: curl ends with 7, connection refused", || {
        format!("{}: {}", refused.status, refused.stdout)
    })?;
    let direct = TcpStream::connect_timeout(&scene.clinic.address, Duration::from_secs(5));
    page.command("mcp-gateway guard status | grep 'count *gateway-'", "")?;
    let status = scene.gateway.guard_status()?.ok()?.stdout;
    let counts: Vec<&str> = status.lines().filter(|line| line.starts_with("count") && line.contains(" gateway-")).collect();
    page.output(&counts.join("\n"))?;
    page.hold(!counts.is_empty(), "counted by the kernel, with its reason", || status.clone())?;
    page.hold(direct.is_ok(), "the server is up meanwhile: a process outside the captured cgroup connects to it", || format!("{direct:?}"))
}

fn recovered(scene: &mut Scene, page: &mut Page) -> anyhow::Result<()> {
    page.step("It is started again, and the log says what is not known")?;
    page.command(&format!("mcp-gateway run --config {}", scene.gateway.config().display()), runs_as())?;
    scene.gateway.run()?;
    for line in ["calls were in flight", "ready"] {
        page.output(&said(&scene.gateway, line).unwrap_or_default())?;
    }
    let unknown = scene.gateway.record("the record of the call in flight", |record| record.kind() == "outcome_unknown")?;
    page.row(&Logged::head())?;
    let calls = logged(scene.gateway.records()?);
    let cut_off = calls.iter().find(|call| unknown.body()["request"] == call.request.seq());
    page.row(&cut_off.map(Logged::row).unwrap_or_default())?;
    page.hold(
        cut_off.is_some_and(|call| call.request.name() == Some("execute") && call.outcome() == "unknown"),
        "the call that was cut off is on record as one that the server may have carried out",
        || unknown.line.clone(),
    )?;
    let again = scene.client(Curl::tool(&scene.url()?, 5, "query", &json!({ "sql": QUESTION })).launch()).run(LIMIT)?;
    page.command("curl …", "the query of step 4")?;
    page.output(&result(&again)?["structuredContent"]["rows"].to_string())?;
    page.held("calls pass again")?;
    server_saw_nothing_else(scene, page)?;
    verified(scene, page)
}

fn malformed(scene: &Scene, page: &mut Page) -> anyhow::Result<()> {
    page.step("A request that could be read in two ways is not passed on")?;
    page.say("To one reader this only lists tools. A reader that does not mind capitals finds a call in it that deletes all patients.")?;
    let message = r#"{"jsonrpc":"2.0","id":6,"method":"tools/list","METHOD":"tools/call",
      "params":{"name":"execute","arguments":{"sql":"DELETE FROM patients"}}}"#;
    let before = scene.clinic.seen()?.len();
    page.command(&format!("curl … -H 'Mcp-Method: tools/list' --data '{message}'"), "")?;
    let done = scene.client(Curl::post(&scene.url()?, &["-H", "Mcp-Method: tools/list"], message).launch()).run(LIMIT)?;
    page.output(&done.stdout)?;
    let data = answer(&done.stdout)?["error"]["data"].clone();
    page.hold(data["gateway"] == "mcp-gateway" && data["reason"].is_string(), "the gateway answers, and says why and what to do", || {
        done.stdout.clone()
    })?;
    page.command("mcp-gateway audit tail -n 1", "")?;
    let last = scene.gateway.tail(&["-n", "1"]).run(LIMIT)?.ok()?.stdout;
    page.output(&last)?;
    page.hold(last.contains("refused") && last.contains(&format!("curl[{}]", done.pid)), "the attempt is on record", || last.clone())?;
    let after = scene.clinic.seen()?.len();
    page.hold(before == after, "the server has seen nothing of it", || format!("{after} calls where there were {before}"))
}

/// Where a program is that is found by its name.
fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    Ok(fs::canonicalize(found.with_context(|| format!("`{name}` is not on the path"))?)?)
}

fn result(done: &Finished) -> anyhow::Result<Value> {
    let done = done.clone().ok()?;
    Ok(answer(&done.stdout)?["result"].clone())
}
