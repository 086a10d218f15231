//! Whose a call is, on a host with several people and services: of one captured process after the other, with no token in any client.

use std::{
    collections::HashSet,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_tests::{
    Browser, Cgroup, Gateway, Launch, Oidc, Record, ServerEntry, Slot, User, binaries, cgroup, clients,
    clients::tool_call,
    http::{Message, answer, call, post_to, request_to},
    kinesis::Kinesis,
    load::{Answer, Sent},
    oidc::{AUDIENCE, LOGIN_CLIENT},
    process::Proc,
    raw::{Probe, Stub, Wire},
    refusal::Refusal,
    wait::wait_for,
    wait_until,
};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

type Result = anyhow::Result<()>;

/// A Unix user of the host, without any privilege.
fn user(uid: u32) -> User {
    User { uid, gid: uid, ptrace: false }
}

const ADA: u32 = 4201;
const BOB: u32 = 4202;

/// A governed server, whose answers have the call's id in them twice.
struct Vault {
    server: Stub,
    address: SocketAddr,
    url: String,
    _slot: Slot,
}

impl Vault {
    fn open() -> anyhow::Result<Self> {
        let slot = Slot::take()?;
        let listener = TcpListener::bind((std::net::Ipv4Addr::new(127, 77, slot.number(), 2), 0))?;
        let address = listener.local_addr()?;
        let server = Stub::on(listener, |request| {
            let id = request.json().map(|call| call["id"].clone()).unwrap_or_default();
            answer(&json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": id }] } }))
        });
        Ok(Self { server, address, url: format!("http://{address}/mcp"), _slot: slot })
    }

    fn entry(&self) -> ServerEntry {
        ServerEntry::new("vault", &self.url).durability("os")
    }
}

/// The `[[identity.oidc]]` of a provider, with more settings.
fn oidc(idp: &Oidc, more: &str) -> String {
    let issuer = idp.issuer();
    format!(
        "[[identity.oidc]]\nname = \"corp\"\nissuer = \"{issuer}\"\naudience = \"{AUDIENCE}\"\nclient_id = \"{LOGIN_CLIENT}\"\n{more}\n"
    )
}

/// Logs a Unix user in as a person: the terminal shows a code, and the person's browser is somewhere else.
fn log_in(gateway: &Gateway, uid: u32, person: &str) -> Result {
    let mut login = gateway.cli(&["login", "--device"]).user(user(uid)).start()?;
    let url = wait_for("the address with the code", LIMIT, || {
        ensure!(login.ended()?.is_none(), "login ended: {}{}", login.stdout(), login.stderr());
        let said = login.stdout();
        Ok(said.split_once("or open ").and_then(|(_, rest)| rest.split_once(',')).map(|(url, _)| url.to_owned()))
    })?;
    Browser::new()?.login(&url, person)?;
    login.finish(LIMIT)?.ok().map(drop)
}

/// A call with curl, which says the answer and its status.
fn curl(url: &str) -> Launch {
    clients::curl(url, &tool_call(1, "look", &json!({}))).args(["--write-out", "\n%{http_code}"])
}

/// Makes a call: status and answer.
fn called(launch: &Launch) -> anyhow::Result<(u16, Message)> {
    let done = launch.run(LIMIT)?.ok()?;
    let (body, status) = done.stdout.rsplit_once('\n').with_context(|| format!("curl says the status: {}", done.stdout))?;
    Ok((status.parse()?, Message { body: body.as_bytes().to_vec(), ..Message::default() }))
}

/// The records of requests that processes of this Unix user made.
fn requests_of(gateway: &Gateway, uid: u32) -> anyhow::Result<Vec<Record>> {
    let mut records = gateway.records()?;
    records.retain(|record| record.kind() == "request" && record.body()["caller"]["origin"]["uid"] == json!(uid));
    Ok(records)
}

fn identity(record: &Record) -> &Value {
    &record.body()["caller"]["identity"]
}

/// Two people on one host, logged in as two Unix users; the gateway captures both users' connections.
struct Host {
    gateway: Gateway,
    cgroup: Cgroup,
    vault: Vault,
    idp: Oidc,
}

impl Host {
    fn of_two_people() -> anyhow::Result<Self> {
        gateway_tests::needs::require()?;
        let (idp, vault, cgroup) = (Oidc::start()?, Vault::open()?, Cgroup::new()?);
        let gateway = Gateway::over(&cgroup).server(vault.entry()).identity(&oidc(&idp, "")).start()?;
        for (uid, person) in [(ADA, "ada"), (BOB, "bob")] {
            log_in(&gateway, uid, person)?;
        }
        Ok(Self { gateway, cgroup, vault, idp })
    }
}

#[test]
fn a_thousand_calls_of_two_people_on_one_host_are_each_on_record_as_the_right_persons() -> Result {
    const AGENTS: usize = 10;
    const CALLS: usize = 50;
    let Host { gateway, cgroup, vault, idp } = Host::of_two_people()?;
    // curl makes the calls of one agent on one connection; what is behind the # is not sent.
    let calls = format!("{}#[1-{CALLS}]", vault.url);
    let agent =
        |uid| clients::curl(&calls, &tool_call(1, "look", &json!({}))).args(["--output", "/dev/null"]).user(user(uid)).under(&cgroup);
    let agents: Vec<(u32, Proc)> =
        (0..AGENTS).flat_map(|_| [ADA, BOB]).map(|uid| Ok((uid, agent(uid).start()?))).collect::<anyhow::Result<_>>()?;
    for (_, agent) in &mut agents.into_iter() {
        agent.finish(LIMIT)?.ok()?;
    }
    for (uid, person) in [(ADA, "ada"), (BOB, "bob")] {
        let requests = requests_of(&gateway, uid)?;
        assert_eq!(requests.len(), AGENTS * CALLS, "calls of {person}");
        for request in &requests {
            let identity = identity(request);
            assert_eq!((&identity["subject"], &identity["issuer"]), (&json!(person), &json!(idp.issuer())), "{}", request.line);
            assert_eq!((&identity["strength"], &identity["how"]["uid"]), (&json!("host-login"), &json!(uid)), "{}", request.line);
        }
        let mut pids: Vec<_> = requests.iter().filter_map(Record::pid).collect();
        pids.sort_unstable();
        assert!(pids.chunk_by(|one, next| one == next).all(|of_one| of_one.len() == CALLS), "{pids:?}");
    }
    assert_eq!(gateway.records()?.iter().filter(|record| record.kind() == "request").count(), 2 * AGENTS * CALLS);
    let seen = vault.server.seen();
    assert_eq!(seen.len(), 2 * AGENTS * CALLS);
    assert!(seen.iter().all(|request| request.field("authorization").is_none()), "no client has a token, and none is made up");
    Ok(())
}

/// What the same client calls next.
fn next_marker(marker: &str) -> String {
    let (client, number) = marker.rsplit_once('-').unwrap_or((marker, ""));
    format!("{client}-{}", number.parse::<u64>().unwrap_or(0) + 1)
}

#[test]
fn a_logout_ends_the_calls_of_one_person_and_of_nobody_else() -> Result {
    let Host { gateway, cgroup, vault, idp: _idp } = Host::of_two_people()?;
    let load = |uid| -> anyhow::Result<Proc> {
        let program = binaries::reachable(&binaries::own("load")?)?;
        Launch::new(program).args(["--connections", "3", &vault.url]).user(user(uid)).under(&cgroup).start_piped()
    };
    let (mut of_ada, mut of_bob) = (load(ADA)?, load(BOB)?);
    wait_until("calls of both", LIMIT, || [ADA, BOB].iter().all(|uid| requests_of(&gateway, *uid).is_ok_and(|of| of.len() > 50)))?;
    let said = gateway.cli(&["logout"]).user(user(ADA)).run(LIMIT)?.ok()?.stdout;
    let (status, answer) = called(&curl(&vault.url).user(user(ADA)).under(&cgroup))?;
    assert_eq!(status, 401, "{said}");
    assert_eq!(Refusal::read(&gateway, &answer.body)?.reason, "identity");

    let logout = gateway.record("the logout", |record| record.kind() == "logout")?.seq();
    let after = |uid| -> anyhow::Result<usize> { Ok(requests_of(&gateway, uid)?.iter().filter(|request| request.seq() > logout).count()) };
    wait_until("calls of bob after that", LIMIT, || after(BOB).is_ok_and(|calls| calls > 50))?;
    let ended = |load: &mut Proc| -> anyhow::Result<Vec<Sent>> {
        drop(load.stdin());
        load.wait(LIMIT)?;
        load.stdout().lines().map(|line| serde_json::from_str(line).with_context(|| format!("not a call: {line}"))).collect()
    };
    let (of_ada, of_bob) = (ended(&mut of_ada)?, ended(&mut of_bob)?);
    assert!(of_bob.iter().all(|call| call.answer == Answer::Whole), "bob's go on: {:?}", of_bob.iter().find(|c| c.answer != Answer::Whole));
    let is_whole = |call: &Sent| call.answer == Answer::Whole;
    let is_denied = |call: &Sent| matches!(&call.answer, Answer::Other(what) if what.starts_with("401: ") && what.contains("\"identity\""));
    assert!(of_ada.iter().any(is_whole) && of_ada.iter().any(is_denied));
    // A refusal says that the connection ends with it, which this client does not heed.
    let ends: HashSet<String> = of_ada.iter().filter(|call| is_denied(call)).map(|call| next_marker(&call.marker)).collect();
    let is_late = |call: &Sent| call.answer == Answer::Cut && ends.contains(&call.marker);
    let other = of_ada.iter().find(|call| !is_whole(call) && !is_denied(call) && !is_late(call));
    assert!(other.is_none(), "neither answered nor denied: {other:?}");

    assert_eq!(after(ADA)?, 0, "a call of ada's is on record as taken after her logout (record {logout})");
    for (uid, person) in [(ADA, "ada"), (BOB, "bob")] {
        let wrong = requests_of(&gateway, uid)?.into_iter().find(|request| identity(request)["subject"] != json!(person));
        assert!(wrong.is_none(), "a call of user {uid} that is not {person}'s: {wrong:?}");
    }
    Ok(())
}

/// A service's user.
const REPORT: u32 = 4301;
/// A user of whom nothing is declared.
const STRANGER: u32 = 4302;

/// A copy of a shell, as the service's own program: it makes a call, runs `NEXT` in its own place, which makes one on the same connection,
/// and says the status of each.
struct Agent(tempfile::TempDir);

const ASK: &str = r#"ask() {
    printf %s "$REQUEST" >&3
    read -r _ status _ <&3
    while read -r name value <&3 && [[ "$name" == *: ]]; do
        if [[ "${name,,}" == content-length: ]]; then length=${value%$'\r'}; fi
    done
    head -c "$length" <&3 >&2
    echo "$status"
}
"#;

impl Agent {
    fn install() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let agent = Self(dir);
        fs::copy("/bin/bash", agent.program())?;
        Ok(agent)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    fn sha256(&self) -> anyhow::Result<String> {
        let of = digest(&SHA256, &fs::read(self.program())?);
        Ok(of.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Runs this program, which runs the other after its first call: the status of each call, or nothing where the connection has ended.
    fn calls(cgroup: &Cgroup, vault: &Vault, program: &Path, next: &Path) -> anyhow::Result<Vec<String>> {
        let request = String::from_utf8(post_to(&vault.address.to_string(), &call(1)))?;
        let SocketAddr::V4(address) = vault.address else { anyhow::bail!("the vault has an IPv4 address") };
        let first = format!("exec 3<>/dev/tcp/{}/{}\n{ASK}ask\nexec \"$NEXT\" -c \"$THEN\"", address.ip(), address.port());
        let launch = Launch::new(program).arg("-c").arg(first);
        let launch = launch.env("REQUEST", request).env("NEXT", next).env("THEN", format!("{ASK}ask"));
        Ok(launch.user(user(STRANGER)).under(cgroup).run(LIMIT)?.ok()?.stdout.lines().map(str::to_owned).collect())
    }
}

/// Who it was, on record of the latest call that was taken.
fn latest(gateway: &Gateway) -> anyhow::Result<Value> {
    let record = gateway.records()?.into_iter().rev().find(|record| record.kind() == "request").context("no call is on record")?;
    Ok(identity(&record).clone())
}

fn assert_workload(found: &Value, name: &str, by: &[&str], strength: &str) {
    assert_eq!((&found["kind"], &found["name"], &found["strength"]), (&json!("workload"), &json!(name), &json!(strength)), "{found}");
    assert_eq!(found["how"], json!({ "method": "workload", "by": by }));
}

/// A call on a connection that is not in this test's cgroup alone, but in one below it.
fn call_from_below(cgroup: &Cgroup, below: &Path, vault: &Vault) -> anyhow::Result<Message> {
    let mut probe = Probe::under(cgroup)?;
    // Once it answers, it is in the cgroup that it was started in, and can be moved.
    drop(probe.connect(vault.address)?);
    fs::write(below.join("cgroup.procs"), probe.pid().to_string())?;
    let mut wire = Wire::new(probe.connect(vault.address)?)?;
    wire.send(post_to(&vault.address.to_string(), &call(1)))?;
    wire.message()
}

#[test]
fn a_workload_is_known_by_its_cgroup_its_user_or_its_executable_and_others_are_nobody() -> Result {
    gateway_tests::needs::require()?;
    let (vault, cgroup, agent) = (Vault::open()?, Cgroup::new()?, Agent::install()?);
    let below = cgroup.path().join("agents");
    let path = Path::new("/").join(below.strip_prefix(cgroup::mount()?)?);
    let gateway = Gateway::over(&cgroup)
        .server(vault.entry())
        .identity(&format!(
            "[[identity.workload]]\nname = \"placed\"\ncgroup = {path:?}\n\
             [[identity.workload]]\nname = \"report\"\nuid = {REPORT}\ngroups = [\"reports\"]\n\
             [[identity.workload]]\nname = \"agent\"\nexe = {:?}\nsha256 = \"{}\"\n",
            agent.program(),
            agent.sha256()?
        ))
        .start()?;

    fs::create_dir(&below)?;
    let answer = call_from_below(&cgroup, &below, &vault);
    wait_until("the cgroup below to be empty", LIMIT, || fs::remove_dir(&below).is_ok())?;
    assert_eq!(answer?.status(), 200);
    assert_workload(&latest(&gateway)?, "placed", &["cgroup"], "declared");

    assert_eq!(called(&curl(&vault.url).user(user(REPORT)).under(&cgroup))?.0, 200);
    assert_workload(&latest(&gateway)?, "report", &["uid"], "declared");
    assert_eq!(latest(&gateway)?["groups"], json!(["reports"]));

    assert_eq!(Agent::calls(&cgroup, &vault, &agent.program(), &agent.program())?, ["200", "200"]);
    assert_workload(&latest(&gateway)?, "agent", &["exe"], "declared");

    let reached = vault.server.seen().len();
    let (status, answer) = called(&curl(&vault.url).user(user(STRANGER)).under(&cgroup))?;
    let refusal = Refusal::read(&gateway, &answer.body)?;
    assert_eq!((status, refusal.reason.as_str()), (403, "identity"), "{}", refusal.message);
    assert_eq!(identity(&refusal.record.context("it is on record")?)["kind"], json!("nobody"));
    assert_eq!(Agent::calls(&cgroup, &vault, Path::new("/bin/bash"), &agent.program())?, ["403", ""]);
    // The same path, and something else in the file.
    let changed = agent.0.path().join("changed");
    fs::copy(agent.program(), &changed)?;
    fs::write(&changed, [fs::read(agent.program())?, b"changed".to_vec()].concat())?;
    fs::rename(&changed, agent.program())?;
    assert_eq!(Agent::calls(&cgroup, &vault, &agent.program(), &agent.program())?, ["403", ""]);
    assert_eq!(vault.server.seen().len(), reached, "nothing of them reached the server");
    Ok(())
}

#[test]
fn a_program_that_a_workload_runs_in_its_own_place_does_not_inherit_its_open_connection() -> Result {
    gateway_tests::needs::require()?;
    let (vault, cgroup, agent) = (Vault::open()?, Cgroup::new()?, Agent::install()?);
    let declared = format!("[[identity.workload]]\nname = \"agent\"\nexe = {:?}\nsha256 = \"{}\"", agent.program(), agent.sha256()?);
    let gateway = Gateway::over(&cgroup).server(vault.entry()).identity(&declared).start()?;
    assert_eq!(Agent::calls(&cgroup, &vault, &agent.program(), Path::new("/bin/bash"))?, ["200", "403"]);
    assert_eq!(vault.server.seen().len(), 1);
    let refused = gateway.record("the refusal", |record| record.kind() == "refused")?;
    let message = refused.body()["message"].as_str().unwrap_or_default();
    assert!(message.contains("no longer runs what it ran when it connected"), "{}", refused.line);
    Ok(())
}

/// The metadata of an instance whose role is `default-role`, as the emulator of all AWS services has it. It leaves out one field that
/// IMDSv2 has, which is added here: how long a token of its own is good.
fn metadata(emulator: &Kinesis) -> anyhow::Result<(Stub, String)> {
    let address = emulator.endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let pass = move |request: &Message| -> anyhow::Result<Vec<u8>> {
        let (method, rest) = request.start.split_once(' ').context("a request line")?;
        let target = rest.split(' ').next().unwrap_or_default();
        let fields: String =
            request.fields.iter().filter(|(name, _)| name != "host").map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut wire = Wire::new(TcpStream::connect(&address)?)?;
        wire.send(request_to(&address, method, target, &fields, &request.body))?;
        let answer = wire.message()?;
        let (length, text) = (answer.body.len(), String::from_utf8_lossy(&answer.body));
        let ttl =
            request.field("x-aws-ec2-metadata-token-ttl-seconds").map(|ttl| format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl}\r\n"));
        let ttl = ttl.unwrap_or_default();
        Ok(format!("{}\r\nContent-Length: {length}\r\n{ttl}Connection: close\r\n\r\n{text}", answer.start.trim()).into_bytes())
    };
    // While the emulator is away, the connection ends without an answer.
    Ok((Stub::on(listener, move |request| pass(request).unwrap_or_default()), endpoint))
}

#[test]
fn a_role_of_the_instance_strengthens_a_workload_that_is_not_known_without_it() -> Result {
    gateway_tests::needs::require()?;
    let (vault, cgroup, mut service) = (Vault::open()?, Cgroup::new()?, Kinesis::absent()?);
    let (_metadata, endpoint) = metadata(&service)?;
    let declared = format!("[[identity.workload]]\nname = \"report\"\nuid = {REPORT}\ninstance_role = \"default-role\"");
    let mut gateway = Gateway::over(&cgroup).server(vault.entry()).identity(&declared).prepare()?;
    gateway.env("AWS_EC2_METADATA_DISABLED", "false");
    gateway.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint);
    gateway.guard_up()?;
    gateway.run()?;
    let call = || called(&curl(&vault.url).user(user(REPORT)).under(&cgroup));
    wait_until("the gateway to miss the service", LIMIT, || gateway.said().contains("does not say which role"))?;
    let (status, answer) = call()?;
    assert_eq!((status, Refusal::read(&gateway, &answer.body)?.reason.as_str()), (403, "identity"));

    service.bring_up()?;
    gateway.drain()?;
    gateway.run()?;
    wait_until("the role to be known", LIMIT, || call().is_ok_and(|(status, _)| status == 200))?;
    assert_workload(&latest(&gateway)?, "report", &["uid", "instance-role"], "declared-on-instance");
    Ok(())
}

/// A clock that the test sets, and the gateway's program with it.
struct Clock(tempfile::TempDir);

impl Clock {
    fn new() -> anyhow::Result<Self> {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
        ensure!(Path::new(&library).is_file(), "{library} is not there: `cargo xtask test` installs it");
        let clock = Self(tempfile::tempdir()?);
        let gateway = binaries::reachable(&binaries::gateway()?)?;
        // The library is not for the steps before, which run as another user: what they share would not be the gateway's.
        let script = format!(
            "#!/bin/sh\nLD_PRELOAD={library} FAKETIME_NO_CACHE=1 FAKETIME_TIMESTAMP_FILE={} exec {} \"$@\"\n",
            clock.0.path().join("now").display(),
            gateway.display()
        );
        fs::write(clock.program(), script)?;
        for path in [clock.0.path(), &clock.program()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        clock.is_ahead_by("0")?;
        Ok(clock)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("mcp-gateway")
    }

    /// The time between, such as `1h`, passes at once.
    fn is_ahead_by(&self, time: &str) -> Result {
        let next = self.0.path().join("next");
        fs::write(&next, format!("+{time}"))?;
        Ok(fs::rename(next, self.0.path().join("now"))?)
    }
}

#[test]
fn an_hour_without_the_provider_is_survived_and_three_are_not() -> Result {
    let (idp, vault, clock) = (Oidc::start()?, Vault::open()?, Clock::new()?);
    let identity = oidc(&idp, "keys_max_age = \"2h\"");
    let mut gateway =
        Gateway::at_an_endpoint().unprivileged().program(clock.program()).server(vault.entry()).identity(&identity).start()?;
    let url = gateway.url("vault")?;
    let call = |token: &str| called(&curl(&url).args(["-H", &format!("Authorization: Bearer {token}")]));
    let token = || idp.token_with(&json!({ "account": "ada", "ttl": 10 * 3600 }));
    let (early, fresh, late) = (token()?, token()?, token()?);
    assert_eq!(call(&early)?.0, 200);
    idp.failing(503)?;
    clock.is_ahead_by("1h")?;
    assert_eq!(call(&early)?.0, 200);
    assert_eq!(call(&fresh)?.0, 200, "a token that the gateway sees for the first time");
    clock.is_ahead_by("3h")?;
    for token in [&early, &late] {
        let (status, answer) = call(token)?;
        let refusal = Refusal::read(&gateway, &answer.body)?;
        assert_eq!((status, refusal.reason.as_str()), (503, "identity-unavailable"), "{}", refusal.message);
        assert!(refusal.message.contains("corp"), "{}", refusal.message);
    }
    idp.up()?;
    wait_until("the provider's keys anew", LIMIT, || call(&late).is_ok_and(|(status, _)| status == 200))?;
    // The library takes back what it has in /dev/shm only when the program ends by itself.
    gateway.drain().map(drop)
}

#[test]
fn a_call_that_was_begun_before_the_logout_and_sent_after_it_does_not_count_as_the_persons() -> Result {
    let Host { gateway, cgroup, vault, idp: _idp } = Host::of_two_people()?;
    let request = post_to(&vault.address.to_string(), &call(1));
    let (begun, rest) = request.split_at(request.len() - 10);
    let nobody = User::nobody()?.uid;
    log_in(&gateway, nobody, "ada")?;
    let mut wire = Wire::new(Probe::unprivileged(&cgroup)?.connect(vault.address)?)?;
    wire.send(begun)?;
    // The gateway has read what there is by the time that it answers something else.
    assert_eq!(called(&curl(&vault.url).user(user(BOB)).under(&cgroup))?.0, 200);
    std::thread::sleep(Duration::from_millis(300));
    gateway.cli(&["logout"]).user(user(nobody)).run(LIMIT)?.ok()?;
    wire.send(rest)?;
    let answer = wire.message()?;
    assert_eq!(answer.status(), 401, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(Refusal::read(&gateway, &answer.body)?.reason, "identity");
    assert!(requests_of(&gateway, nobody)?.is_empty());
    Ok(())
}

#[test]
fn a_program_that_a_workload_runs_in_its_own_place_does_not_finish_its_call() -> Result {
    gateway_tests::needs::require()?;
    let (vault, cgroup, agent) = (Vault::open()?, Cgroup::new()?, Agent::install()?);
    let declared = format!("[[identity.workload]]\nname = \"agent\"\nexe = {:?}\nsha256 = \"{}\"", agent.program(), agent.sha256()?);
    let _gateway = Gateway::over(&cgroup).server(vault.entry()).identity(&declared).start()?;
    let request = String::from_utf8(post_to(&vault.address.to_string(), &call(1)))?;
    let (begun, rest) = request.split_at(request.len() - 10);
    let (ip, port) = (vault.address.ip(), vault.address.port());
    let first = format!("exec 3<>/dev/tcp/{ip}/{port}; printf %s \"$BEGUN\" >&3; sleep 0.3; exec bash -c \"$THEN\"");
    let launch =
        Launch::new(agent.program()).args(["-c", &first]).env("BEGUN", begun).env("REQUEST", rest).env("THEN", format!("{ASK}ask"));
    let said = launch.user(user(STRANGER)).under(&cgroup).run(LIMIT)?.ok()?.stdout;
    assert_eq!(said.trim(), "403");
    assert!(vault.server.seen().is_empty());
    Ok(())
}
