//! The demo stays up: for the user's own calls.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    thread,
    time::{Duration, Instant},
};

use gateway_tests::needs::on_path;
use serde_json::json;

use crate::{calls::Curl, page::Page, scene::Scene, stop::Stop};

const POLL: Duration = Duration::from_millis(100);
/// How long a gateway that the user killed stays dead: long enough to see what that means.
const DEAD: Duration = Duration::from_secs(15);

/// Says how to make calls, and shows what is recorded until someone ends it.
///
/// # Errors
/// The log cannot be followed, or the gateway cannot be started again.
pub(crate) fn until_interrupted(scene: &mut Scene, page: &Page, stop: &Stop) -> anyhow::Result<()> {
    explain(scene, page)?;
    let tail = scene.gateway.tail(&["-n", "0", "--follow"]).start()?;
    let mut said = File::open(tail.stdout_path())?;
    let mut dead_since: Option<Instant> = None;
    while !stop.asked() {
        page.output(&whole_lines(&mut said)?)?;
        match dead_since {
            None => {
                if let Some(status) = scene.gateway.ended()? {
                    page.say(&format!("The gateway has ended ({status}): calls are refused. It is started again in {DEAD:?}."))?;
                    dead_since = Some(Instant::now());
                }
            }
            Some(since) if since.elapsed() > DEAD => {
                dead_since = None;
                match scene.gateway.run() {
                    Ok(()) => page.say(&format!("The gateway is there again, pid {}.", scene.gateway.pid()?))?,
                    // The user may have tried what it makes of a damaged log.
                    Err(error) => page.not_held(&format!("{error:#}"))?,
                }
            }
            Some(_) => {}
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn explain(scene: &Scene, page: &Page) -> anyhow::Result<()> {
    let root = rustix::process::geteuid().is_root();
    let sudo = if root && on_path("sudo") { "sudo " } else { "" };
    page.part("Now you: Ctrl-C ends the demo and removes everything")?;
    let url = scene.url()?;
    let mut page_of_server = format!("http://{}/", scene.clinic.address);
    if let Some(cgroup) = &scene.cgroup {
        page.say("A shell whose connections are captured, in another terminal; it ends with the demo:")?;
        let ada =
            scene.agent().map(|user| format!("setpriv --reuid {} --regid {} --clear-groups ", user.uid, user.gid)).unwrap_or_default();
        page.command(&format!("{sudo}sh -c 'echo $$ > {}/cgroup.procs; exec {ada}bash'", cgroup.path().display()), "ada's")?;
        page.say("There, a call; and something that is not MCP:")?;
    } else {
        page_of_server = scene.gateway.url("clinic/")?;
        page.say("In another terminal, a call; and something that is not MCP:")?;
    }
    let sql = "SELECT count(*) FROM patients";
    page.command(&Curl::tool(&url, 7, "query", &json!({ "sql": sql })).shown(), "")?;
    page.command(&format!("curl -sS {page_of_server}"), "")?;
    page.say("Anywhere:")?;
    page.command(&format!("{sudo}{} audit verify {}", scene.gateway.program().display(), scene.gateway.audit_dir().display()), "")?;
    page.command(&format!("{sudo}kill -9 {}", scene.gateway.pid()?), "the gateway; then call again")?;
    page.say("")?;
    page.say("What is recorded from here on:")?;
    Ok(())
}

/// What was written since the last time, up to the last line's end.
fn whole_lines(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let unfinished = i64::try_from(bytes.len() - end).unwrap_or(0);
    file.seek(SeekFrom::Current(-unfinished))?;
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}
