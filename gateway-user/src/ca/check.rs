//! Starts the runtimes that are installed, and sees whether each trusts the authority.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use gateway_user::tls::authority::{Authority, Host, stranger};
use rustix::fs::MemfdFlags;
use rustls::{ServerConfig, ServerConnection, Stream, crypto::aws_lc_rs, sign::SingleCertAndKey};
use serde::Serialize;

use super::{
    machine::Machine,
    trust::{VARIABLES, units},
};

/// A runtime that takes longer for one handshake is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was found out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The server that the probe was.
    host: String,
    /// Whether the variables that `trust` sets for services are installed here.
    variables: bool,
    units: Vec<String>,
    runtimes: Vec<Row>,
    trusted: bool,
}

/// A runtime, or a library of one.
#[derive(Debug, Serialize)]
struct Row {
    runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    library: Option<String>,
    /// With nothing in its environment.
    by_itself: Verdict,
    /// With the variables that `trust` sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_variables: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "trusts", content = "why")]
enum Verdict {
    Yes,
    No(String),
    /// It accepts a stranger's certificate as well: verification is switched off in it.
    Anybody,
    /// It cannot be found out.
    Unknown(String),
}

#[derive(Clone, Copy)]
enum Kind {
    Curl,
    Python,
    Node,
    Deno,
    Java,
}

const KINDS: [(&str, Kind); 5] =
    [("curl", Kind::Curl), ("python3", Kind::Python), ("node", Kind::Node), ("deno", Kind::Deno), ("java", Kind::Java)];

/// What one start of a runtime said: of each library, whether it shook hands, or why not.
type Said = Vec<(String, Result<(), String>)>;

/// Probes every runtime of the host with a server that is certified by this authority for this host name.
///
/// # Errors
/// The probe's own server cannot run.
pub(super) fn check(machine: &Machine, authority: &Authority, host: &Host) -> anyhow::Result<Report> {
    let ours = serve(authority, host)?;
    // Nobody trusts this one. Who accepts it accepts anybody.
    let strange = serve(&stranger(std::slice::from_ref(host))?, host)?;
    let variables = variables(machine);
    let mut runtimes = Vec::new();
    for (program, kind) in installed(machine) {
        let probe = |port, variables: &[(String, String)]| ask(kind.command(machine, &program, host, port), kind, variables);
        let by_itself = probe(ours, &[]);
        let with_variables = variables.as_ref().map(|variables| probe(ours, variables));
        let control = probe(strange, variables.as_deref().unwrap_or_default());
        for (place, (library, _)) in by_itself.iter().enumerate() {
            let anybody = control.get(place).is_some_and(|(_, outcome)| outcome.is_ok());
            let judge = |said: &Said| match said.get(place) {
                _ if anybody => Verdict::Anybody,
                Some((_, Ok(()))) => Verdict::Yes,
                Some((_, Err(why))) if why.starts_with(NO_COMPILER) => Verdict::Unknown(why.clone()),
                Some((_, Err(why))) => Verdict::No(why.clone()),
                None => Verdict::No("it did not answer".into()),
            };
            runtimes.push(Row {
                runtime: program.clone(),
                library: Some(library.clone()).filter(|library| !library.is_empty()),
                by_itself: judge(&by_itself),
                with_variables: with_variables.as_ref().map(&judge),
            });
        }
    }
    let trusted = !runtimes.is_empty() && runtimes.iter().all(|row| matches!(row.verdict(), Verdict::Yes | Verdict::Unknown(_)));
    Ok(Report { host: host.to_string(), variables: variables.is_some(), units: units(machine)?, runtimes, trusted })
}

impl Report {
    /// Whether every runtime trusts the authority.
    pub(super) fn is_fine(&self) -> bool {
        self.trusted
    }

    /// As a table.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{:44} {:11} {}\n", "RUNTIME", "BY ITSELF", if self.variables { "WITH THE VARIABLES" } else { "" });
        for row in &self.runtimes {
            let name = row.library.as_ref().map_or(row.runtime.clone(), |library| format!("{} ({library})", row.runtime));
            let with = row.with_variables.as_ref().map_or("", Verdict::word);
            text.push_str(format!("{name:44} {:11} {with}", row.by_itself.word()).trim_end());
            text.push('\n');
            if let Verdict::No(why) | Verdict::Unknown(why) = row.verdict() {
                text.push_str(&format!("    {why}\n"));
            }
        }
        if self.runtimes.is_empty() {
            text.push_str("no runtime was found on the path\n");
        }
        text.push_str(&match (self.variables, self.units.is_empty()) {
            (true, true) => format!(
                "The variables are in {VARIABLES}: for users' services. For a system service, `mcp-gateway ca trust --unit NAME`.\n"
            ),
            (true, false) => {
                format!("The variables are in {VARIABLES}, for users' services, and in the units {}.\n", self.units.join(", "))
            }
            (false, _) => "`sudo mcp-gateway ca trust` makes this host's runtimes trust the gateway.\n".into(),
        });
        text
    }
}

impl Row {
    /// The one that counts for a service.
    fn verdict(&self) -> &Verdict {
        self.with_variables.as_ref().unwrap_or(&self.by_itself)
    }
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Verdict::Yes => "yes",
            Verdict::No(_) => "NO",
            Verdict::Anybody => "ANYBODY: it does not verify",
            Verdict::Unknown(_) => "?",
        }
    }
}

/// The variables that `trust` has installed here, if it has.
fn variables(machine: &Machine) -> Option<Vec<(String, String)>> {
    let text = fs::read_to_string(machine.path(VARIABLES)).ok()?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Some(lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn installed(machine: &Machine) -> Vec<(String, Kind)> {
    let mut found = Vec::new();
    for (name, kind) in KINDS {
        let mut programs = machine.programs(name);
        if matches!(kind, Kind::Java) {
            let homes = machine.java_homes().into_iter().map(|home| format!("{home}/bin/java"));
            let known: Vec<_> = programs.iter().map(|program| machine.real(program)).collect();
            programs.extend(homes.filter(|java| !known.contains(&machine.real(java))));
        }
        found.extend(programs.into_iter().map(|program| (program, kind)));
    }
    found
}

impl Kind {
    /// One handshake with `host`, which is at this port of loopback.
    fn command(self, machine: &Machine, program: &str, host: &Host, port: u16) -> Command {
        let mut command = machine.command(program);
        let (name, number) = (host.to_string(), port.to_string());
        match self {
            Kind::Curl => {
                let authority = if name.contains(':') { format!("[{name}]") } else { name };
                // Without its own configuration file, which may say anything.
                command.args(["-q", "--silent", "--show-error", "--output", "/dev/null", "--noproxy", "*", "--max-time", "20"]);
                command.args(["--connect-to", &format!("{authority}:{port}:127.0.0.1:{port}"), &format!("https://{authority}:{port}/")]);
            }
            Kind::Python => _ = command.args(["-c", include_str!("probes/probe.py"), &name, &number]),
            Kind::Node => _ = command.args(["-e", include_str!("probes/probe.js"), "--", &name, &number]),
            Kind::Deno => _ = command.args(["eval", include_str!("probes/probe.deno.js"), &name, &number]),
            // Any file name will do when the version is said; 11 is the first that takes source.
            Kind::Java => _ = command.args(["--source", "11", "/dev/stdin", &name, &number]),
        }
        command
    }
}

const NO_COMPILER: &str = "not checked: this Java has no compiler (JDK) for the probe";

/// Starts a runtime with these variables and no others, and hears what it says.
fn ask(mut command: Command, kind: Kind, variables: &[(String, String)]) -> Said {
    let kept = ["PATH", "HOME", "LANG"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept).envs(variables.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let source = matches!(kind, Kind::Java).then(|| in_memory(include_str!("probes/Probe.java")));
    let finished = source.transpose().and_then(|source| {
        if let Some(source) = source {
            command.stdin(source);
        }
        finish(command)
    });
    let (status, out, error) = match finished {
        Ok(finished) => finished,
        Err(error) => return vec![(String::new(), Err(error.to_string()))],
    };
    let first = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    if matches!(kind, Kind::Curl) {
        return vec![(String::new(), if status { Ok(()) } else { Err(first.to_owned()) })];
    }
    let outcome = |line: &str| {
        let (library, said) = line.split_once('\t')?;
        Some((library.to_owned(), if said == "ok" { Ok(()) } else { Err(said.to_owned()) }))
    };
    let said: Said = out.lines().filter_map(outcome).collect();
    if !said.is_empty() {
        return said;
    }
    let why = if matches!(kind, Kind::Java) && error.contains("jdk.compiler") { NO_COMPILER } else { first };
    vec![(String::new(), Err(why.to_owned()))]
}

/// A file that only this process has. Java reads its source more than once, which a pipe does not allow.
fn in_memory(text: &str) -> anyhow::Result<Stdio> {
    let mut file = File::from(rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

/// Runs to the end: whether it went well, and what it said on both ways out.
fn finish(mut command: Command) -> anyhow::Result<(bool, String, String)> {
    let mut child = command.spawn().context("it cannot be started")?;
    let (out, error) = (child.stdout.take(), child.stderr.take());
    let hear = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut pipe) = pipe {
                // What came until then is of use too.
                let _ = pipe.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = hear(out.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let error = hear(error.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("it did not end within {} seconds", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    };
    Ok((status.success(), out.join().unwrap_or_default(), error.join().unwrap_or_default()))
}

/// A TLS server on loopback with a certificate for this host, for as long as this process lives. Gives its port.
fn serve(authority: &Authority, host: &Host) -> anyhow::Result<u16> {
    let leaf = authority.leaf(&host.to_string())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the probe cannot listen on loopback")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let config = config.clone();
            // What goes wrong, the client says.
            thread::spawn(move || answer(connection, config));
        }
    });
    Ok(port)
}

fn answer(mut connection: TcpStream, config: Arc<ServerConfig>) -> anyhow::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut session = ServerConnection::new(config)?;
    let mut stream = Stream::new(&mut session, &mut connection);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut connection)?;
    }
    Ok(())
}
