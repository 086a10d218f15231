//! The demo: every step holds, and whatever happens to it, it leaves nothing behind.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::ensure;
use gateway_tests::{Finished, Launch, User, binaries, needs, wait::wait_for};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(120);

type Result = anyhow::Result<()>;

fn demo() -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_demo")).arg("--once")
}

/// What the demo says that it made: pins, folders, cgroup, network namespace.
fn made(said: &str) -> Vec<String> {
    let words = said.split(|c: char| c.is_whitespace() || c == ')' || c == ',');
    let mut made: Vec<String> = words
        .filter_map(|word| match word {
            word if word.starts_with("mcpgw") => Some(format!("/run/netns/{word}")),
            word if word.starts_with('/') && word.contains("/mcp-gateway-") => Some(word.to_owned()),
            _ => None,
        })
        .collect();
    made.sort();
    made.dedup();
    made
}

/// Looks for itself: the demo's own word for it is not enough.
fn assert_gone(said: &str) {
    let made = made(said);
    assert!(made.len() > 1, "nothing was made in:\n{said}");
    for path in &made {
        assert!(fs::symlink_metadata(path).is_err(), "{path} is still there");
        if let Some(number) = path.strip_prefix("/run/netns/mcpgw") {
            assert!(!Path::new("/sys/class/net").join(format!("mcpgwv{number}")).exists(), "the link to {path} is still there");
        }
    }
    let config = made.iter().find(|path| path.ends_with("/gateway.toml"));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        assert!(config.is_none_or(|config| !words.contains(config)), "a process is left: {words}");
    }
}

#[test]
fn every_step_holds_and_nothing_is_left_behind() -> Result {
    needs::require()?;
    let done = demo().run(LIMIT)?;
    assert_eq!(done.code(), Some(0), "{}\n{}", done.stdout, done.stderr);
    for line in [
        "ready: a test connect was refused, because no gateway runs here yet",
        "✓ it is not root: ",
        "✓ curl has its answer",
        "✓ progress reports pass the gateway one by one",
        "bin/curl ",
        "✓ executable, pid and uid are those of the processes started in step 4",
        "tools/call query  ada  curl[",
        "verified: ",
        "TAMPERED: record ",
        "✓ nobody is refused",
        "✓ ada is logged in",
        "✓ and he may not write: no policy permits it",
        "✓ bob may read, with a key that he does not have",
        "✓ ada sees the patient's number, and bob the end of it",
        "✓ no record has more of it",
        "✓ and each is ada's or bob's on record",
        "✓ the key that the server demands is neither in the log nor in what the gateway says",
        "curl: (7) ",
        "✓ refused by the kernel, at once",
        "calls were in flight when the gateway last ended: their outcome is unknown",
        "✓ calls pass again",
        "\"reason\":\"",
        "✓ the server has seen nothing of it",
        "✓ gone: kernel programs ",
        "Every step held.",
    ] {
        assert!(done.stdout.contains(line), "not said: {line}\n{}", done.stdout);
    }
    assert!(!done.stdout.contains('✗') && !done.stdout.contains('\x1b'), "{}", done.stdout);
    let longest = done.stdout.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
    assert!(longest.chars().count() <= 100, "too long a line: {longest}");
    assert!(done.stdout.contains("✓ gone: network namespace "), "{}", done.stdout);
    assert_gone(&done.stdout);
    Ok(())
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing_behind() -> Result {
    needs::require()?;
    let mut running = demo().start()?;
    // The guard is up, and the gateway is about to be.
    wait_for("the demo to start the gateway", LIMIT, || {
        ensure!(running.ended()?.is_none(), "it ended before: {}\n{}", running.stdout(), running.stderr());
        Ok(running.stdout().contains("$ mcp-gateway run ").then_some(()))
    })?;
    running.signal(Signal::INT)?;
    let status = running.wait(LIMIT)?;
    let said = running.stdout();
    assert_eq!(status.code(), Some(130), "{said}\n{}", running.stderr());
    assert!(!said.contains("Every step held.") && said.contains("✓ gone: network namespace "), "{said}");
    assert_gone(&said);
    Ok(())
}

/// The demo at the endpoint: every step holds, and it names what capture lacks.
fn assert_shows_the_endpoint(done: &Finished, missing: &str) {
    assert_eq!(done.code(), Some(0), "{}\n{}", done.stdout, done.stderr);
    assert!(done.stderr.contains(missing) && done.stderr.contains("nothing is captured"), "{}", done.stderr);
    for line in [
        "without root and without eBPF",
        "/<server>  driver=",
        "✓ it is not root: ",
        "✓ curl has its answer",
        "✓ executable, pid and uid are those of the processes started in step 4",
        "✓ refused: nobody listens at the endpoint",
        "✓ calls pass again",
        "✓ the server has seen nothing of it",
        "Every step held.",
    ] {
        assert!(done.stdout.contains(line), "not said: {line}\n{}", done.stdout);
    }
    assert!(!done.stdout.contains('✗') && !done.stdout.contains("guard"), "{}", done.stdout);
    assert_gone(&done.stdout);
}

#[test]
fn without_root_it_shows_the_endpoint() -> Result {
    needs::require()?;
    let programs = tempfile::tempdir()?;
    fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755))?;
    let demo = Path::new(env!("CARGO_BIN_EXE_demo"));
    let mut reachable = binaries::reachable(demo)?;
    if reachable != demo {
        // It looks for the others beside it.
        for program in [binaries::gateway()?, binaries::own("clinic")?, binaries::own("rmcp-client")?, demo.to_owned()] {
            reachable = programs.path().join(program.file_name().unwrap_or_default());
            fs::copy(&program, &reachable)?;
        }
    }
    let done = Launch::new(reachable).arg("--once").user(User { ptrace: false, ..User::nobody()? }).run(LIMIT)?;
    assert_shows_the_endpoint(&done, "root\n      run it with sudo");
    Ok(())
}

#[test]
fn without_ebpf_it_shows_the_endpoint() -> Result {
    needs::require()?;
    let script = r#"umount /sys/fs/bpf && exec "$0" --once"#;
    let done = Launch::new("unshare").args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_demo")]).run(LIMIT)?;
    assert_shows_the_endpoint(&done, "the BPF filesystem at /sys/fs/bpf");
    Ok(())
}
