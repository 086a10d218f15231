//! What the story plays on: a server in a network namespace, and a gateway over a cgroup; or, where nothing can be captured, a server
//! on loopback, and a gateway's endpoint.

use std::{
    env, fs,
    io::Read,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use anyhow::Context;
use gateway_tests::{
    Cgroup, Gateway, Launch, Netns, Oidc, ServerEntry, User, binaries,
    clinic::PATIENTS,
    oidc::{AUDIENCE, LOGIN_CLIENT},
    servers::{self, ClinicServer},
};
use serde_json::Value;

use crate::{page::Page, stop::Stop, traces::Traces};

/// Dropped in this order: the gateway first, the network last.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    /// Whose connections are captured; without it, none are.
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) clinic: ClinicServer,
    /// The key that the clinic demands, and only the gateway has.
    pub(crate) key: String,
    _idp: Oidc,
    _netns: Option<Netns>,
    /// Who the clients run as; without root, whoever runs the demo.
    agent: Option<User>,
    pub(crate) rmcp_client: PathBuf,
    pub(crate) files: tempfile::TempDir,
}

/// Whoever is not in dba sees the end of a patient's number, and no record has more.
const MASKS: &str = r#"
[[mask]]
name = "ssn"
columns = ["ssn"]
how = "partial"
unless = ['principal in Group::"dba"']
"#;

/// Who may do what at the clinic.
pub(crate) const POLICIES: &str = r#"@id("staff-read")
permit(principal in Group::"staff", action == Action::"tools/call", resource in Server::"clinic")
  unless { context.labels.contains("sql:write") || context.labels.contains("sql:ddl") || resource == Tool::"clinic/execute" };

@id("dba-write")
permit(principal in Group::"dba", action == Action::"tools/call", resource in Server::"clinic");
"#;

/// CAP_SYS_PTRACE alone, of linux/capability.h, as /proc/PID/status has it.
const ONLY_PTRACE: u64 = 1 << 19;

impl Scene {
    /// The first two steps: server, guard, gateway.
    ///
    /// # Errors
    /// One of them cannot be had, or does not hold; what was made before is gone then.
    pub(crate) fn set(page: &mut Page, stop: &Stop, traces: &mut Traces, captures: bool) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("mcp-gateway-demo-").tempdir()?;
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
        traces.note("files of the demo", files.path());
        let program = for_everyone(binaries::gateway()?, files.path())?;
        let rmcp_client = for_everyone(binaries::own("rmcp-client")?, files.path())?;

        page.step("An MCP server, somewhere on the network")?;
        let place = if captures {
            "It runs in a network namespace of its own: this machine reaches it by its address, as it would another host."
        } else {
            "It runs at a loopback address of its own."
        };
        page.say(&format!(
            "A clinic's database on the official Rust SDK (rmcp) and SQLite: {PATIENTS} made-up patients; the tools query, execute and \
             export. {place}"
        ))?;
        let netns = captures.then(Netns::new).transpose()?;
        if let Some(netns) = &netns {
            traces.note("network namespace", netns.path());
        }
        let key_file = files.path().join("clinic.key");
        let key = key(&key_file)?;
        let clinic = servers::clinic_with_key(netns.as_ref(), &key_file)?;
        traces.note("files of the server", clinic.seen.parent().unwrap_or(&clinic.seen));
        let place = netns.as_ref().map(|netns| format!(", in namespace {}", netns.name())).unwrap_or_default();
        page.held(&format!("it takes connections: {} (pid {}{place})", clinic.url, clinic.pid()))?;
        page.say("It demands a key in X-Api-Key. The key is in a file that only the gateway's user can read: no caller has it.")?;
        let idp = Oidc::start()?;
        page.held(&format!("an OpenID Connect provider (oidc-provider) is there too: {}", idp.issuer()))?;
        let identity = format!(
            "[[identity.oidc]]\nname = \"idp\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\nclient_id = \"{LOGIN_CLIENT}\"\n",
            idp.issuer()
        );
        stop.check()?;

        let credential = format!("{{ kind = \"static\", header = \"X-Api-Key\", file = {key_file:?} }}");
        let server = ServerEntry::new("clinic", &clinic.url).setting("credential", credential);
        let is_root = rustix::process::geteuid().is_root();
        if !captures {
            page.step("The gateway serves it at an endpoint of its own")?;
            page.say(
                "For callers that cannot be captured: they are given the gateway's URL, with one path a server. The gateway needs neither \
                 root nor eBPF for that. What follows is the same for both ways in.",
            )?;
            // One user for gateway and clients: which process calls is then to be seen without a capability.
            let setup = Gateway::at_an_endpoint().server(server).policies(POLICIES).section(MASKS).identity(&identity);
            let mut gateway = setup.program(program).unprivileged().prepare()?;
            traces.note("configuration, audit log", gateway.config().parent().unwrap_or(gateway.config()));
            run(page, &mut gateway)?;
            let agent = is_root.then(User::nobody).transpose()?.map(|user| User { ptrace: false, ..user });
            return Ok(Self { gateway, cgroup: None, clinic, key, _idp: idp, _netns: None, agent, rmcp_client, files });
        }
        page.step("The guard captures its connections, and the gateway serves them")?;
        let cgroup = Cgroup::new()?;
        traces.note("cgroup", cgroup.path());
        page.say(
            "The guard is root, loads kernel programs (eBPF) and ends. Here they watch one cgroup, the demo's own; on an agent host they \
             watch the whole host. The gateway needs no root.",
        )?;
        let setup = Gateway::over(&cgroup).server(server).policies(POLICIES).section(MASKS).identity(&identity);
        let mut gateway = setup.program(program).prepare()?;
        traces.note("configuration, audit log", gateway.config().parent().unwrap_or(gateway.config()));
        traces.note("kernel programs", pins(gateway.config())?);
        guard(page, &mut gateway)?;
        stop.check()?;
        run(page, &mut gateway)?;
        Ok(Self { gateway, cgroup: Some(cgroup), clinic, key, _idp: idp, _netns: netns, agent: Some(agent()), rmcp_client, files })
    }

    /// The URL that clients are given: the server's own, or where nothing is captured the gateway's.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        if self.cgroup.is_some() { Ok(self.clinic.url.clone()) } else { self.gateway.url("clinic/mcp") }
    }

    /// A client: an ordinary user's process, in the cgroup that is captured if there is one.
    pub(crate) fn client(&self, launch: Launch) -> Launch {
        let launch = self.captured(launch);
        if let Some(agent) = self.agent { launch.user(agent) } else { launch }
    }

    /// A process in the cgroup that is captured, if there is one.
    pub(crate) fn captured(&self, launch: Launch) -> Launch {
        if let Some(cgroup) = &self.cgroup { launch.under(cgroup) } else { launch }
    }

    /// Who the clients run as; without root, whoever runs the demo.
    pub(crate) fn agent(&self) -> Option<User> {
        self.agent
    }

    /// Another Unix user; without root there is none.
    pub(crate) fn other(&self) -> Option<User> {
        let uid = if self.agent?.uid == 1001 { 1002 } else { 1001 };
        Some(User { uid, gid: uid, ptrace: false })
    }

    /// The user id of clients.
    pub(crate) fn uid(&self) -> u32 {
        self.agent.map_or_else(|| rustix::process::getuid().as_raw(), |agent| agent.uid)
    }
}

/// Makes a key, in a file of the gateway's user.
fn key(file: &Path) -> anyhow::Result<String> {
    let mut random = [0; 16];
    fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).context("no key can be made")?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(file, &key)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    if rustix::process::geteuid().is_root() {
        let user = User::nobody()?;
        chown(file, Some(user.uid), Some(user.gid))?;
    }
    Ok(key)
}

fn guard(page: &Page, gateway: &mut Gateway) -> anyhow::Result<()> {
    page.command(&format!("mcp-gateway guard up --config {}", gateway.config().display()), "as root")?;
    let said = gateway.guard_up()?;
    page.output(&said.stdout)?;
    // Before there is a gateway, the only right end of a test connect is a refusal.
    page.hold(
        said.stdout.contains("ready: a test connect was refused"),
        "closed from the start: while there is no gateway, a captured connect is refused",
        || said.stdout.clone(),
    )
}

fn run(page: &Page, gateway: &mut Gateway) -> anyhow::Result<()> {
    page.command(&format!("mcp-gateway run --config {}", gateway.config().display()), &format!("{}, until SIGTERM", runs_as()))?;
    gateway.run()?;
    page.output(&said(gateway, "ready").unwrap_or_default())?;
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid()?)).context("the gateway has ended")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()).unwrap_or_default();
    let (uid, capabilities) = (field("Uid:"), u64::from_str_radix(field("CapEff:"), 16).unwrap_or(u64::MAX));
    let may = if capabilities == 0 { "without a capability" } else { "of capabilities only CAP_SYS_PTRACE, to name executables" };
    page.hold(uid != "0" && capabilities & !ONLY_PTRACE == 0, &format!("it is not root: pid {}, uid {uid}, {may}", gateway.pid()?), || {
        format!("uid {uid}, capabilities {capabilities:#x}")
    })
}

/// Who the gateway runs as.
pub(crate) fn runs_as() -> &'static str {
    if rustix::process::geteuid().is_root() { "as nobody" } else { "as you" }
}

/// The line of the gateway's own log whose message begins so, for people.
pub(crate) fn said(gateway: &Gateway, beginning: &str) -> Option<String> {
    let line = gateway.said().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.starts_with(beginning))
    })?;
    let fields =
        line.as_object()?.iter().filter(|(name, _)| !["timestamp", "level", "message", "target", "log", "port"].contains(&name.as_str()));
    let fields: Vec<String> =
        fields.map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect();
    Some(format!("{}  {}", line["message"].as_str()?, fields.join(" ")))
}

/// Where the configuration has the guard pin what it loads.
fn pins(config: &Path) -> anyhow::Result<PathBuf> {
    let toml = fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let pins = toml.lines().find_map(|line| line.strip_prefix("pins = ")).context("the configuration names no pins")?;
    Ok(pins.trim_matches('"').into())
}

/// Who called for the demo, if sudo says; else the first ordinary user, who need not exist.
fn agent() -> User {
    let id = |name| env::var(name).ok().and_then(|id| id.parse().ok()).filter(|id| *id != 0).unwrap_or(1000);
    User { uid: id("SUDO_UID"), gid: id("SUDO_GID"), ptrace: false }
}

/// The same program where every user can reach it: a checkout may be in a home that only its owner can enter.
fn for_everyone(program: PathBuf, files: &Path) -> anyhow::Result<PathBuf> {
    let enterable = |dir: &Path| dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    if program.ancestors().skip(1).all(enterable) {
        return Ok(program);
    }
    let copy = files.join(program.file_name().context("a program has a name")?);
    fs::copy(&program, &copy).with_context(|| format!("cannot copy {} to {}", program.display(), copy.display()))?;
    Ok(copy)
}
