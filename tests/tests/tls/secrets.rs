//! Who has the authority's key can pretend to be the servers. It is in nothing that the gateway writes, and other users and processes
//! can read it neither from a core dump nor from memory.

use std::{fs, os::unix::process::ExitStatusExt, path::Path, process::ExitStatus, time::Duration};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use gateway_tests::{
    Cgroup, Gateway, Launch, Netns, Proc, ServerEntry, User,
    http::{call, post_to},
    pki::Pki,
    raw::Stage,
    tls::{self, Ending, HOST},
    wait::wait_for,
    wait_until,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

use crate::{Result, Scene, answers, serves};

const LIMIT: Duration = Duration::from_secs(20);

/// The private key in a file, in every shape in which it could be printed.
fn shapes(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
    let text = fs::read_to_string(file)?;
    let (_, body) = text.split_once(BEGIN).context("no private key")?;
    let (body, _) = body.split_once("-----END").context("no end of the private key")?;
    let der = STANDARD.decode(body.replace('\n', ""))?;
    // PKCS #8 of P-256: version 1, then the number as an octet string of 32 bytes (RFC 5915 section 3).
    let at = der.windows(5).position(|bytes| bytes == [2, 1, 1, 4, 32]).context("not a P-256 key")? + 5;
    // A part is enough to know it by, and may be all of it that a line has.
    let number = &der[at..at + 16];
    let ends = body.lines().filter_map(|line| line.as_bytes().get(line.len().checked_sub(16)?..));
    Ok(ends.chain([number]).flat_map(spelled).collect())
}

/// Bytes as they are, and as numbers.
fn spelled(bytes: &[u8]) -> [Vec<u8>; 5] {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    let words = [hex.to_uppercase(), hex, decimal.join(", "), decimal.join(",")].map(String::into_bytes);
    let [upper, lower, wide, narrow] = words;
    [bytes.to_vec(), upper, lower, wide, narrow]
}

fn is_in(haystack: &[u8], shapes: &[Vec<u8>]) -> bool {
    shapes.iter().any(|shape| haystack.windows(shape.len()).any(|window| window == shape))
}

#[test]
fn no_key_is_in_anything_that_is_written() -> Result {
    let pki = Pki::new()?;
    let ours = pki.client("gateway.test")?;
    let mut stage = Stage::secure(&pki, |server| server.client_certificate(&ours.certificate, &ours.key), "")?;
    stage.gateway.drain()?;
    stage.gateway.env("RUST_LOG", "trace");
    stage.gateway.run()?;
    let issued = pki.server(&[HOST])?;
    let server = stage.serve_securely(tls::server_of(rustls::DEFAULT_VERSIONS, &issued, Some(&pki))?, Ending::Said, answers)?;
    let mut scene = Scene { stage, server, pki, issued };
    let authority = scene.stage.gateway.authority_file();
    let mut keys = [shapes(&authority)?, shapes(&ours.key)?].concat();
    for file in [&authority, &ours.key] {
        assert!(is_in(&fs::read(file)?, &keys), "what would not be found could not be missed");
    }

    let mut client = scene.shake(scene.client()?, HOST)?;
    serves(&scene.stage, &mut client, 1)?;
    // Handshakes that fail, requests that are refused, and keys that are replaced and damaged, have most to say.
    assert!(scene.shake(tls::client(&scene.pki.ca_file())?, HOST).is_err());
    client.send(post_to("elsewhere.test", &call(2)))?;
    assert_eq!(client.message()?.status(), 421);
    scene.stage.gateway.ca(&["rotate"])?;
    keys.extend(shapes(&authority)?);
    let renewed = || scene.stage.gateway.metric("mcp_gateway_tls_renewed_total").is_ok_and(|count| count > 0.5);
    wait_until("the rotation to be taken up", LIMIT, renewed)?;
    for file in [&authority, &ours.key] {
        let whole = fs::read_to_string(file)?;
        let cut = &whole[..whole.len() / 2];
        for damaged in
            [&whole.replacen("KEY-----\n", "KEY", 1), &whole.replacen("PRIVATE KEY", "PRIVATE", 1), &whole.replacen('M', "!", 1), cut]
        {
            let before = scene.stage.gateway.said().matches("cannot be used").count();
            fs::write(file, damaged)?;
            scene.stage.gateway.hang_up()?;
            let said = || scene.stage.gateway.said().matches("cannot be used").count() > before;
            wait_until("the damage to be found", LIMIT, said)?;
        }
    }

    let mut written = vec![scene.stage.gateway.said().into_bytes()];
    for page in ["/metrics", "/readyz", "/healthz"] {
        written.push(scene.stage.gateway.admin(page)?.1.into_bytes());
    }
    scene.stage.gateway.drain()?;
    for entry in fs::read_dir(scene.stage.gateway.audit_dir())? {
        written.push(fs::read(entry?.path())?);
    }
    // Nor in what a start says that fails for it.
    let failed = scene.stage.gateway.run().err().context("it started without a key")?;
    written.push(format!("{failed:#}").into_bytes());
    for bytes in &written {
        assert!(!is_in(bytes, &keys), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(10_000)]));
    }
    Ok(())
}

fn pid(process: u32) -> anyhow::Result<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw).context("a process id is a positive number")
}

/// What is started from now on may leave dumps of any size: that is what `ulimit -c unlimited` says.
fn allow_dumps() -> Result {
    let limit = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Core, limit).context("dumps are not allowed here (ulimit -Hc)")
}

/// A user without privileges, and a folder of its own.
fn nobody() -> anyhow::Result<(User, tempfile::TempDir)> {
    let user = User { ptrace: false, ..User::nobody()? };
    let home = tempfile::tempdir()?;
    std::os::unix::fs::chown(home.path(), Some(user.uid), Some(user.gid))?;
    Ok((user, home))
}

/// Any program of a user's, which runs.
fn sleep(user: User, home: &Path) -> anyhow::Result<Proc> {
    let sleep = Launch::new("sleep").arg("600").user(user).directory(home).start()?;
    let comm = format!("/proc/{}/comm", sleep.pid());
    // Until then it is what makes it the user's.
    wait_until("sleep to run", LIMIT, || fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep"))?;
    Ok(sleep)
}

/// Whether a program of that user's, in that folder, leaves a dump when it is ended so.
fn dumps(mut process: Proc, signal: Signal) -> anyhow::Result<bool> {
    process.signal(signal)?;
    let status = process.wait(LIMIT)?;
    ensure!(status.signal() == Some(signal.as_raw()), "{status}");
    Ok(status.core_dumped())
}

/// As it is on a host where nothing but `PR_SET_DUMPABLE` keeps the kernel from it: the limit is off, the folder is the user's.
fn governing(names: &Path, cgroup: &Cgroup) -> anyhow::Result<Gateway> {
    let server = ServerEntry::new("server", &format!("https://{HOST}/mcp"));
    Gateway::over(cgroup).server(server).hosts(names).unprivileged().start()
}

#[test]
fn a_crash_leaves_no_core_dump() -> Result {
    gateway_tests::needs::require()?;
    allow_dumps()?;
    let (netns, cgroup) = (Netns::new()?, Cgroup::new()?);
    let names = netns.names(HOST)?;
    for signal in [Signal::ABORT, Signal::SEGV] {
        let (user, home) = nobody()?;
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
        ensure!(
            dumps(sleep(user, home.path())?, signal)?,
            "no program leaves a dump here, so this proves nothing: kernel.core_pattern is {pattern}"
        );

        let mut gateway = governing(names.path(), &cgroup)?;
        let killed = pid(gateway.pid()?)?;
        let status: ExitStatus = wait_for("its end", LIMIT, || {
            // A handler of Rust's takes the first SIGSEGV for a stack that overflowed, and lets the next have its way.
            let _ = kill_process(killed, signal);
            gateway.ended()
        })?;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert!(!status.core_dumped(), "{status}");
        let files: Vec<_> = fs::read_dir(gateway.audit_dir())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        assert!(!files.iter().any(|name| name.to_string_lossy().contains("core")), "{files:?}");
    }
    Ok(())
}

/// Not even of a command that has an authority in its hands.
#[test]
fn a_command_that_crashes_leaves_no_core_dump() -> Result {
    gateway_tests::needs::require()?;
    allow_dumps()?;
    let (netns, cgroup) = (Netns::new()?, Cgroup::new()?);
    let names = netns.names(HOST)?;
    let gateway = governing(names.path(), &cgroup)?;
    let (user, home) = nobody()?;
    let fifo = home.path().join("key.pem");
    Launch::new("mkfifo").args(["-m", "666"]).arg(&fifo).run(LIMIT)?.ok()?;
    let import = Launch::new(gateway.program()).args(["ca", "import", "--certificate"]).arg(&fifo).arg("--key").arg(&fifo);
    let import = import.arg("--config").arg(gateway.config()).user(user).directory(home.path()).start()?;
    let state = format!("/proc/{}/wchan", import.pid());
    let waits = || fs::read_to_string(&state).is_ok_and(|wchan| wchan.contains("wait_for_partner") || wchan.contains("fifo_open"));
    wait_until("it to wait for the key", LIMIT, waits).with_context(|| import.stderr())?;
    assert!(!dumps(import, Signal::ABORT)?);
    Ok(())
}

/// Tries to stop a process and read it, as a debugger does.
const ATTACH: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH = 16
if libc.ptrace(PTRACE_ATTACH, int(sys.argv[1]), None, None) == -1:
    sys.exit(os.strerror(ctypes.get_errno()))
";

/// What a user finds open of a process.
fn open_to(user: User, process: u32) -> anyhow::Result<Vec<&'static str>> {
    let mut open = Vec::new();
    for file in ["mem", "maps", "smaps", "environ", "auxv", "pagemap"] {
        let path = format!("/proc/{process}/{file}");
        let done = Launch::new("sh").args(["-c", r#"exec 3<"$0""#, &path]).user(user).run(LIMIT)?;
        match done.code() {
            Some(0) => open.push(file),
            _ => ensure!(done.stderr.contains("Permission denied") || done.stderr.contains("not permitted"), "{}", done.stderr),
        }
    }
    let done = Launch::new("/usr/bin/python3").args(["-c", ATTACH, &process.to_string()]).user(user).run(LIMIT)?;
    match done.code() {
        Some(0) => open.push("ptrace"),
        _ => ensure!(done.stderr.contains("not permitted"), "{}", done.stderr),
    }
    Ok(open)
}

/// Neither by another user, nor by another process of its own: an agent may well run as the same user.
#[test]
fn its_memory_is_closed_to_others() -> Result {
    gateway_tests::needs::require()?;
    let (netns, cgroup) = (Netns::new()?, Cgroup::new()?);
    let names = netns.names(HOST)?;
    let gateway = governing(names.path(), &cgroup)?;
    let (own, home) = nobody()?;
    let other = User { uid: 54_321, gid: 54_321, ptrace: false };
    let beside = sleep(own, home.path())?;
    let seen = open_to(own, beside.pid())?;
    ensure!(seen.contains(&"mem") && seen.contains(&"maps"), "not even of its own other processes: this proves nothing: {seen:?}");
    for user in [own, other] {
        assert_eq!(open_to(user, gateway.pid()?)?, [] as [&str; 0], "to user {}", user.uid);
    }
    Ok(())
}
