//! The gateway's end of the control socket.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
};

use super::{Ask, MAX_LINE, Say, Way};
use crate::{
    capture::process,
    config::IdentityConfig,
    identity::{
        Identities, Issuer,
        login::{Flow, Granted, Hosts, Peer, Shown, StoreError, Waiting},
        now,
    },
};

/// So many connections of one user are served at once.
const MOST_OF_ONE: usize = 16;
/// And of all users.
const MOST: usize = 512;
/// How long the first line may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a browser may take to come back.
const BROWSER: Duration = Duration::from_secs(600);

/// Why the socket cannot be made.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another gateway has it.
    #[error("{} belongs to a gateway that runs: stop it, or set `identity.socket` to another path", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be made there.
    #[error("the control socket {} cannot be made: {source}; make its directory writable for the gateway's user, or set `identity.socket`", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Makes the socket; one that a gateway left behind is replaced. Every user may connect.
///
/// # Errors
/// [`ControlError`]
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ControlError::Taken { path: path.to_owned() });
    }
    let make = || {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    make().map_err(|source| ControlError::Bind { path: path.to_owned(), source })
}

/// What the socket serves.
pub struct Control {
    /// Who is who.
    pub identities: Arc<Identities>,
    /// The logins.
    pub hosts: Arc<Hosts>,
    /// Terminals that wait for the console.
    pub waiting: Arc<Waiting>,
    /// The identity providers that can be logged in to at the console.
    pub at_console: Vec<String>,
    /// Where the console is.
    pub console: Option<String>,
    open: Mutex<HashMap<u32, usize>>,
}

/// The answer is no, and why.
struct Refused(String);

impl<E: std::error::Error> From<E> for Refused {
    fn from(error: E) -> Self {
        Refused(error.to_string())
    }
}

/// One connection: who is at its other end, and the two ways.
struct Client {
    peer: Peer,
    lines: BufReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Client {
    /// The next line; `None` at the end.
    async fn ask(&mut self) -> Result<Option<Ask>, Refused> {
        let mut line = Vec::new();
        (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(None);
        }
        let asked = serde_json::from_slice(&line);
        asked
            .map(Some)
            .map_err(|error| Refused(format!("the gateway does not understand what was asked ({error}): are both of one version?")))
    }

    async fn say(&mut self, say: &Say) -> Result<(), Refused> {
        let mut line = serde_json::to_vec(say)?;
        line.push(b'\n');
        Ok(self.out.write_all(&line).await?)
    }

    /// Resolves when the other end has left.
    async fn left(&mut self) {
        let mut rest = [0; 64];
        while matches!(self.lines.read(&mut rest).await, Ok(count) if count > 0) {}
    }
}

impl Control {
    /// For the logins of this gateway.
    #[must_use]
    pub fn new(
        config: &IdentityConfig,
        console: Option<String>,
        identities: Arc<Identities>,
        hosts: Arc<Hosts>,
        waiting: Arc<Waiting>,
    ) -> Self {
        let at_console = config.saml.iter().map(|provider| provider.name.clone()).collect();
        Control { identities, hosts, waiting, at_console, console, open: Mutex::default() }
    }

    /// Serves whoever connects, until the task is aborted.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(self.clone().connection(stream))),
                Err(error) => {
                    tracing::warn!("a connection to the control socket could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: UnixStream) {
        let Ok(credentials) = stream.peer_cred() else { return };
        let uid = credentials.uid();
        let Some(_open) = Open::count(&self, uid) else { return };
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        let (lines, out) = stream.into_split();
        let mut client = Client { peer: Peer::new(uid, pid), lines: BufReader::new(lines), out };
        let asked = tokio::time::timeout(PATIENCE, client.ask()).await.unwrap_or(Ok(None));
        let answer = match asked {
            Ok(None) => return,
            Ok(Some(ask)) => self.answer(ask, &mut client).await,
            Err(refused) => Err(refused),
        };
        let say = answer.unwrap_or_else(|Refused(message)| Say::No { message });
        // Who has left needs no answer.
        let _ = client.say(&say).await;
    }

    async fn answer(&self, ask: Ask, client: &mut Client) -> Result<Say, Refused> {
        let peer = client.peer.clone();
        match ask {
            Ask::Login { idp, way, session, port } => {
                // What will not be must not be asked of the person.
                self.hosts.place(&peer, session)?;
                let idp = self.choose(idp)?;
                let (how, granted) = self.grant(&idp, way, port, client).await?;
                let login = self.hosts.begin(&peer, session, &idp, how, granted).await?;
                Ok(Say::LoggedIn { login })
            }
            Ask::Callback { .. } => Err(Refused("no login waits for a browser".into())),
            Ask::Logout { session } => {
                let cgroup = if session { self.hosts.place(&peer, true)? } else { None };
                let own = |shown: &Shown| shown.uid == peer.uid && (!session || shown.cgroup == cgroup);
                Ok(Say::Ended { logins: self.hosts.end(own, "logged out").await.map_err(not_kept)? })
            }
            Ask::Whoami => Ok(self.whoami(peer).await),
            Ask::Sessions => {
                let mut logins = self.hosts.all().await;
                logins.retain(|shown| is_admin(&peer) || shown.uid == peer.uid);
                Ok(Say::Sessions { logins })
            }
            Ask::End { id } => {
                let own = |shown: &Shown| shown.id == id && (is_admin(&peer) || shown.uid == peer.uid);
                let why = if is_admin(&peer) { "ended by an administrator" } else { "logged out" };
                let logins = self.hosts.end(own, why).await.map_err(not_kept)?;
                if logins.is_empty() {
                    Err(Refused(format!("there is no login {id} that you may end: see `mcp-gateway sessions`")))
                } else {
                    Ok(Say::Ended { logins })
                }
            }
        }
    }

    /// The identity provider that is meant.
    fn choose(&self, named: Option<String>) -> Result<String, Refused> {
        let with_login = self.identities.issuers.all().iter().filter(|issuer| issuer.config.login.is_some());
        let known: Vec<String> = with_login.map(|issuer| issuer.config.name.clone()).chain(self.at_console.clone()).collect();
        match (named, &known[..]) {
            (Some(named), known) if known.contains(&named) => Ok(named),
            (None, [only]) => Ok(only.clone()),
            (_, []) => Err(Refused(
                "this gateway has no identity provider to log in to: the operator must set `client_id` of one, or add a SAML one".into(),
            )),
            (Some(named), known) => {
                Err(Refused(format!("there is no identity provider `{named}` to log in to; there is: {}", known.join(", "))))
            }
            (None, known) => Err(Refused(format!("say which identity provider: --idp {}", known.join(" or --idp ")))),
        }
    }

    /// Waits until the person has shown who he is, or has left.
    async fn grant(&self, idp: &str, way: Option<Way>, port: u16, client: &mut Client) -> Result<(&'static str, Granted), Refused> {
        match self.identities.issuers.named(idp) {
            Some(issuer) => self.grant_by_oidc(issuer, way, port, client).await,
            None => self.grant_at_console(idp, client).await.map(|granted| ("saml", granted)),
        }
    }

    async fn grant_by_oidc(
        &self,
        issuer: &Arc<Issuer>,
        way: Option<Way>,
        port: u16,
        client: &mut Client,
    ) -> Result<(&'static str, Granted), Refused> {
        let flow = Flow::new(issuer).await?;
        if way.unwrap_or(flow.way()) == Way::Device {
            let device = flow.device().await?;
            let say = Say::Code {
                url: device.verification_uri().to_string(),
                complete: device.verification_uri_complete().map(|url| url.secret().clone()),
                code: device.user_code().secret().clone(),
                lasts: device.expires_in().as_secs(),
            };
            client.say(&say).await?;
            return tokio::select! {
                granted = flow.device_granted(&device) => Ok(("device", granted?)),
                () = client.left() => Err(Refused("the terminal has left".into())),
            };
        }
        let browser = flow.browser(port)?;
        client.say(&Say::Go { url: browser.goes_to.clone() }).await?;
        match tokio::time::timeout(BROWSER, client.ask()).await {
            Ok(Ok(Some(Ask::Callback { query }))) => Ok(("browser", browser.granted(&query).await?)),
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(_)) => Err(Refused("the terminal has left".into())),
            Err(_) => Err(Refused("no browser has come back within ten minutes: begin again".into())),
        }
    }

    async fn grant_at_console(&self, idp: &str, client: &mut Client) -> Result<Granted, Refused> {
        let console = self.console.as_ref().ok_or_else(|| Refused("there is no console to log in at".into()))?;
        let user = user_name(client.peer.uid);
        let begun = self.waiting.begin(client.peer.uid, &user, idp);
        let (number, code, waits) = begun.ok_or_else(|| Refused("too many of your terminals wait for a login already".into()))?;
        let say = Say::Code { url: format!("{console}/login/host/{number}"), complete: None, code, lasts: BROWSER.as_secs() };
        client.say(&say).await?;
        tokio::select! {
            () = tokio::time::sleep(BROWSER) => Err(Refused("nobody has logged in within ten minutes: begin again".into())),
            granted = waits => granted.map_err(|_| Refused("nobody has logged in within ten minutes, or a wrong code was typed three times: begin again".into())),
            () = client.left() => Err(Refused("the terminal has left".into())),
        }
    }

    /// What a call of the peer's would be attributed to.
    async fn whoami(&self, peer: Peer) -> Say {
        if let Some(login) = self.identities.logins.login_of(peer.uid, peer.cgroup.as_deref(), now()) {
            let shown = self.hosts.all().await.into_iter().find(|shown| shown.id == login.id);
            return Say::you(&login.identity, shown);
        }
        let identities = self.identities.clone();
        // It may read a large executable.
        let found = tokio::task::spawn_blocking(move || identities.workloads.of(Some(peer.uid), &process::current(peer.pid))).await;
        match found {
            Ok(Some(workload)) => Say::you(&workload, None),
            _ => Say::you(&self.identities.nobody, None),
        }
    }
}

/// The logins have ended, and would be back after a restart.
fn not_kept(error: StoreError) -> Refused {
    Refused(format!(
        "logged out for now, but a restart of the gateway could bring the login back: {error}. It is tried again; tell the operator"
    ))
}

/// The host's administrator, and the gateway itself.
fn is_admin(peer: &Peer) -> bool {
    peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw()
}

fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = users.find(|fields| fields.get(2).is_some_and(|field| *field == uid.to_string()));
    found.map_or_else(|| format!("uid {uid}"), |fields| fields[0].to_owned())
}

/// A connection of a user, counted while it is open: one user cannot shut the others out.
struct Open<'c> {
    control: &'c Control,
    uid: u32,
}

impl<'c> Open<'c> {
    fn count(control: &'c Control, uid: u32) -> Option<Self> {
        let mut open = control.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let count = open.entry(uid).or_insert(0);
        (all < MOST && *count < MOST_OF_ONE).then(|| {
            *count += 1;
            Open { control, uid }
        })
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.control.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}
