//! What `mcp-gateway doctor` says of a real provider, and of a token.

use std::{fs, process::Command};

use gateway_tests::Launch;
use serde_json::{Value, json};

use crate::{LIMIT, Result, Scene};

impl Scene {
    /// What it says of a token: the exit code, and the page.
    fn judged(&self, token: &str) -> anyhow::Result<(Option<i32>, String)> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), token)?;
        let mut doctor = Command::new(self.gateway.program());
        doctor.args(["doctor", "--token", "--config"]).arg(self.gateway.config()).stdin(fs::File::open(file.path())?);
        let output = doctor.output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

#[test]
fn the_doctor_tells_what_is_wrong_with_a_provider() -> Result {
    let scene = Scene::new("")?;
    let said = scene.gateway.cli(&["doctor"]).run(LIMIT)?.ok()?.stdout;
    for line in
        ["discovery: http://127.0.0.1", "key set: ", &scene.idp.kid("RS256")?, "clock: this host's is ", "login: with a device code"]
    {
        assert!(said.contains(line), "not said: {line}\n{said}");
    }
    let findings: Value = scene.gateway.cli(&["doctor", "--json"]).run(LIMIT)?.json()?;
    assert!(findings["findings"].as_array().is_some_and(|all| all.iter().all(|finding| finding["verdict"] != "wrong")), "{findings}");
    let program = scene.gateway.program().display().to_string();
    let config = scene.gateway.config().display().to_string();
    let late = Launch::new("faketime").args(["-f", "+1h", &program, "doctor", "--config", &config]).run(LIMIT)?;
    assert_eq!(late.code(), Some(1), "{}", late.stdout);
    let clock = late.stdout.lines().find(|line| line.contains("clock:")).unwrap_or_default();
    assert!(clock.contains("WRONG") && clock.contains("ahead") && clock.contains("NTP"), "{}", late.stdout);
    scene.idp.failing(503)?;
    let failed = scene.gateway.cli(&["doctor"]).run(LIMIT)?;
    assert_eq!(failed.code(), Some(1));
    assert!(failed.stdout.contains("WRONG") && failed.stdout.contains("discovery failed"), "{}", failed.stdout);
    Ok(())
}

#[test]
fn the_doctor_judges_a_token_as_a_call_would_be_and_shows_no_signature() -> Result {
    let scene = Scene::with("", |server| server.setting("allow_groups", "[\"dba\"]"))?;
    let token = scene.idp.token("ada")?;
    let (code, said) = scene.judged(&format!("Bearer {token}\n"))?;
    assert_eq!(code, Some(0), "{said}");
    for line in ["stands for ada in the groups dba, staff", "server vault", "it may call", "\"sub\": \"ada\""] {
        assert!(said.contains(line), "not said: {line}\n{said}");
    }
    assert!(!said.contains(token.rsplit('.').next().unwrap_or_default()), "the signature is a part of the secret");
    let (_, said) = scene.judged(&scene.idp.token("bob")?)?;
    assert!(said.contains("none of the server's `allow_groups`"), "{said}");
    let (code, said) = scene.judged(&scene.idp.token_with(&json!({ "account": "ada", "claims": { "exp": 1, "groups": null } }))?)?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it is refused: the token ended") && said.contains("should stand in `groups`, and does not"), "{said}");
    Ok(())
}
