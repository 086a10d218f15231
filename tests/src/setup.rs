//! A gateway that is to be started: what it is told.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Cgroup, Gateway, Slot, User, aws::KEYS, binaries, kinesis::Kinesis, needs};

/// One `[[server]]` of the configuration.
#[derive(Debug, Clone)]
pub struct ServerEntry {
    name: String,
    url: String,
    settings: Vec<(&'static str, String)>,
}

impl ServerEntry {
    /// A governed server.
    #[must_use]
    pub fn new(name: &str, url: &str) -> Self {
        Self { name: name.into(), url: url.into(), settings: Vec::new() }
    }

    /// What becomes of what is not MCP: `deny` or `pass`.
    #[must_use]
    pub fn other(self, what: &str) -> Self {
        self.set("other", what)
    }

    /// When a record counts as written: `sync` or `os`.
    #[must_use]
    pub fn durability(self, when: &str) -> Self {
        self.set("durability", when)
    }

    /// The authorities that may vouch for it, as PEM.
    #[must_use]
    pub fn ca_file(self, path: &Path) -> Self {
        self.set("ca_file", &path.display().to_string())
    }

    /// What the gateway shows to it.
    #[must_use]
    pub fn client_certificate(self, certificate: &Path, key: &Path) -> Self {
        self.set("client_certificate", &certificate.display().to_string()).set("client_key", &key.display().to_string())
    }

    /// More of its settings: a key, and its value as TOML.
    #[must_use]
    pub fn setting(mut self, key: &'static str, toml: impl Into<String>) -> Self {
        self.settings.push((key, toml.into()));
        self
    }

    fn set(self, key: &'static str, value: &str) -> Self {
        self.setting(key, format!("{value:?}"))
    }
}

/// A gateway that is to be started.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Without one, nothing is captured.
    cgroup: Option<&'a Cgroup>,
    endpoint: Option<String>,
    listen: Option<SocketAddr>,
    unprivileged: bool,
    servers: Vec<ServerEntry>,
    stream: Option<(String, String)>,
    heartbeat: &'static str,
    segment: &'static str,
    sections: String,
    identity: Option<String>,
    policies: Option<String>,
    program: Option<PathBuf>,
    hosts: Option<PathBuf>,
    resolve: &'static str,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(cgroup: Option<&'a Cgroup>) -> Self {
        Setup {
            cgroup,
            endpoint: None,
            listen: None,
            unprivileged: false,
            servers: Vec::new(),
            stream: None,
            heartbeat: "2s",
            // A segment is written whole when it is begun: small ones let a gateway start at once.
            segment: "4MiB",
            sections: String::new(),
            identity: None,
            policies: None,
            program: None,
            hosts: None,
            resolve: "30s",
        }
    }

    /// Governs one more server.
    #[must_use]
    pub fn server(mut self, server: ServerEntry) -> Self {
        self.servers.push(server);
        self
    }

    /// Has an endpoint too, with more of its settings as TOML.
    #[must_use]
    pub fn endpoint(mut self, settings: &str) -> Self {
        self.endpoint = Some(settings.into());
        self
    }

    /// The endpoint at another address than the gateway's own.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Without the one capability that the gateway can use.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Ships the log to this emulator.
    #[must_use]
    pub fn kinesis(mut self, kinesis: &Kinesis) -> Self {
        self.stream = Some((kinesis.endpoint.clone(), kinesis.stream.clone()));
        self
    }

    /// With names from this file, in the form of /etc/hosts, which is read anew each second.
    #[must_use]
    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self.resolve = "1s";
        self
    }

    /// After how long without a sign of life the kernel takes the gateway for hung, such as `500ms`.
    #[must_use]
    pub fn heartbeat(mut self, limit: &'static str) -> Self {
        self.heartbeat = limit;
        self
    }

    /// How large a file of the log is, such as `64KiB`.
    #[must_use]
    pub fn segment(mut self, size: &'static str) -> Self {
        self.segment = size;
        self
    }

    /// Another program than the one that was built: every user must be able to reach it.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// More of the configuration, as TOML: whole sections such as `[limits]`.
    #[must_use]
    pub fn section(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self.sections.push('\n');
        self
    }

    /// Knows who calls: what follows `[identity]` in the configuration, whose directory and socket are the gateway's own.
    #[must_use]
    pub fn identity(mut self, toml: &str) -> Self {
        self.identity = Some(toml.into());
        self
    }

    /// Decides by these policies, in Cedar.
    #[must_use]
    pub fn policies(mut self, cedar: &str) -> Self {
        self.policies = Some(cedar.into());
        self
    }

    /// Writes the configuration, brings up the guard if connections are captured, starts the gateway as `nobody`, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// The machine lacks something, by name; or one of these says no, in its own words.
    pub fn start(self) -> anyhow::Result<Gateway> {
        let captures = self.cgroup.is_some();
        let mut gateway = self.prepare()?;
        if captures {
            gateway.guard_up()?;
        }
        gateway.run()?;
        Ok(gateway)
    }

    /// Only writes the configuration, and makes an authority where a server's URL is `https`: nothing is captured and nothing runs.
    ///
    /// # Errors
    /// The machine lacks something, by name; or there can be no authority for such a server.
    pub fn prepare(self) -> anyhow::Result<Gateway> {
        if self.cgroup.is_some() {
            needs::require()?;
        }
        let slot = Slot::take()?;
        // Without root, the gateway runs as whoever runs the test.
        let user = rustix::process::geteuid().is_root().then(User::nobody).transpose()?;
        let user = user.map(|user| User { ptrace: !self.unprivileged, ..user });
        let dir = tempfile::Builder::new().prefix("mcp-gateway-test-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let audit = dir.path().join("audit");
        for own in [&audit, &dir.path().join("identity"), &dir.path().join("tools"), &dir.path().join("masking")] {
            fs::create_dir(own)?;
            if let Some(user) = user {
                chown(own, Some(user.uid), Some(user.gid))?;
            }
        }
        let own = |port| SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 1), port));
        let (admin, listen) = (own(9464), self.listen.unwrap_or(own(8080)));
        let pins = PathBuf::from(format!("/sys/fs/bpf/mcp-gateway-test-{}", slot.number()));

        let mut toml = String::new();
        if let Some(cgroup) = self.cgroup {
            writeln!(
                toml,
                "[capture]\ncgroup = {:?}\npins = {pins:?}\nuser = \"nobody\"\nheartbeat = {:?}\nresolve = {:?}\n",
                cgroup.path(),
                self.heartbeat,
                self.resolve
            )?;
        }
        if let Some(settings) = &self.endpoint {
            writeln!(toml, "[endpoint]\nlisten = \"{listen}\"\n{settings}\n")?;
        }
        writeln!(toml, "[ca]\ndir = {:?}\n", dir.path().join("ca"))?;
        for server in &self.servers {
            writeln!(toml, "[[server]]\nname = {:?}\nurl = {:?}", server.name, server.url)?;
            for (key, value) in &server.settings {
                writeln!(toml, "{key} = {value}")?;
            }
            toml.push('\n');
        }
        if let Some(identity) = &self.identity {
            let home = dir.path().join("identity");
            writeln!(toml, "[identity]\ndir = {home:?}\nsocket = {:?}\n{identity}\n", home.join("control.sock"))?;
        }
        writeln!(toml, "[tools]\ndir = {:?}\n", dir.path().join("tools"))?;
        if let Some(policies) = &self.policies {
            let home = dir.path().join("policies");
            fs::create_dir(&home)?;
            fs::write(home.join("site.cedar"), policies)?;
            writeln!(toml, "[policy]\ndir = {home:?}\n")?;
        }
        // A test may bring one of these of its own, which then goes on from here.
        let mut sections = self.sections.clone();
        for (table, begin) in [
            ("[audit]", format!("[audit]\ndir = {audit:?}\nsegment = {:?}", self.segment)),
            ("[masking]", format!("[masking]\nkey_file = {:?}", dir.path().join("masking/key"))),
        ] {
            if sections.contains(table) {
                sections = sections.replace(table, &begin);
            } else {
                writeln!(toml, "{begin}\n")?;
            }
        }
        writeln!(toml, "{sections}")?;
        if let Some((endpoint, stream)) = &self.stream {
            writeln!(toml, "\n[kinesis]\nstream = {stream:?}\nregion = \"eu-central-1\"\nendpoint_url = {endpoint:?}")?;
        }
        writeln!(toml, "\n[admin]\nlisten = \"{admin}\"")?;
        let config = dir.path().join("gateway.toml");
        fs::write(&config, toml)?;

        let scheme = self.endpoint.map(|settings| if settings.contains("certificate") { "https" } else { "http" });
        let endpoint = scheme.map(|scheme| format!("{scheme}://{listen}"));
        let variables = self.stream.iter().flat_map(|_| KEYS.map(|(name, value)| (name, value.into()))).collect();
        let is_https = self.cgroup.is_some() && self.servers.iter().any(|server| server.url.starts_with("https:"));
        let program = self.program.map_or_else(|| binaries::reachable(&binaries::gateway()?), Ok)?;
        let gateway = Gateway {
            process: None,
            guarded: false,
            program,
            config,
            audit,
            admin,
            endpoint,
            user,
            hosts: self.hosts,
            variables,
            dir,
            _slot: slot,
        };
        // What a test that was killed may have left at this slot.
        if pins.exists() {
            gateway.command(&["guard", "down", "--config"], true).run(Duration::from_secs(20))?;
        }
        if is_https {
            gateway.make_authority()?;
        }
        Ok(gateway)
    }
}
