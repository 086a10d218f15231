//! The command line as a person meets it: exit codes, and what is said where.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::process::{Command, Output, Stdio};

fn gateway(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-gateway")).args(words).env("RUST_BACKTRACE", "0").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_answers_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[[server]]\nname = \"a\"\nurl = \"http://127.0.0.1:8000/mcp\"\n").unwrap();
    let fine = gateway(&["check", "--config", path]);
    assert_eq!(fine.status.code(), Some(0), "{}", stderr(&fine));
    assert!(String::from_utf8_lossy(&fine.stdout).contains("http://127.0.0.1:8000/mcp"));

    std::fs::write(&file, "[[servr]]\nname = \"a\"\n").unwrap();
    let wrong = gateway(&["check", "--config", path]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains(&format!("{path}:1: servr: unknown key; did you mean `server`?")), "{}", stderr(&wrong));

    assert_eq!(gateway(&["chek"]).status.code(), Some(2));
    assert_eq!(gateway(&["check", "--config", "/nowhere/g.toml"]).status.code(), Some(3));
}

#[test]
fn what_could_not_be_done_is_told_once() {
    let output = gateway(&["audit", "tail", "--dir", "/nowhere"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr(&output).matches("No such file").count(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("/nowhere"));
}

#[test]
fn a_guard_that_is_down_is_an_answer_of_no() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.toml");
    let pins = dir.path().join("pins");
    let text = format!("[capture]\npins = {pins:?}\n[[server]]\nname = \"a\"\nurl = \"http://127.0.0.1:8000/mcp\"\n");
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let output = gateway(&["guard", "status", "--config", path]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("guard      down"));
    let run = gateway(&["run", "--config", path]);
    assert_eq!(run.status.code(), Some(3));
    assert!(stderr(&run).contains("mcp-gateway guard up"), "what to do next: {}", stderr(&run));
}

#[test]
fn a_configuration_with_only_an_endpoint_has_no_guard() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.toml");
    std::fs::write(&file, "[endpoint]\n[[server]]\nname = \"a\"\nurl = \"http://127.0.0.1:8000/mcp\"\n").unwrap();
    let path = file.to_str().unwrap();
    let check = gateway(&["check", "--config", path]);
    assert!(String::from_utf8_lossy(&check.stdout).contains("1 server(s) at http://127.0.0.1:8080/<server>"), "{}", stderr(&check));
    for command in ["up", "status", "down"] {
        let output = gateway(&["guard", command, "--config", path]);
        assert_eq!(output.status.code(), Some(3), "guard {command}");
        assert!(stderr(&output).contains("captures no connections"), "guard {command}: {}", stderr(&output));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
