//! Logins begin, are renewed, and end. Each is on the record before it counts.

use std::{collections::HashMap, fs, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;
use tokio::{sync::Mutex, task::JoinHandle};

use super::{
    Flow, FlowError, Granted, Login, Logins, Person,
    store::{Kept, Store, StoreError},
};
use crate::{
    audit::{AppendError, Appender, Durability, Effect, Entry, Kind},
    capture::process,
    config::IdentityConfig,
    identity::{How, Identity, Issuers, Principal, Strength, now},
};

/// How often it is looked for logins that are to be renewed, or have ended.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a renewal that failed the next is tried.
const RETRY: u64 = 5;
/// How long after a start a login whose tokens have ended meanwhile may still be renewed, in seconds.
const GRACE: u64 = 60;

/// Who asks: a process of this host, as the kernel says.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its number.
    pub pid: u32,
    /// Its cgroup, if that can be told.
    pub cgroup: Option<String>,
}

impl Peer {
    /// A process.
    #[must_use]
    pub fn new(uid: u32, pid: u32) -> Self {
        let cgroup = process::current(pid).cgroup.known().cloned();
        Peer { uid, pid, cgroup }
    }

    /// The cgroup that a login of the peer's session is tied to: the session's scope, or else the peer's own.
    fn session(&self) -> Result<String, LoginError> {
        let own = self.cgroup.as_deref().ok_or(LoginError::NoSession("its cgroup cannot be read"))?;
        let scope = own.split('/').position(|part| part.starts_with("session-") && part.ends_with(".scope"));
        let session = scope.map_or(own.to_owned(), |at| own.split('/').take(at + 1).collect::<Vec<_>>().join("/"));
        if session == "/" {
            Err(LoginError::NoSession("its cgroup is the root, in which every process of the host is"))
        } else {
            Ok(session)
        }
    }
}

/// Why a login did not come about.
#[derive(Debug, Error)]
pub enum LoginError {
    /// Root's processes are the whole host's.
    #[error("the user is root: every service of this host would count as yours. Log in with `--session`, or as another user")]
    Root,
    /// There is no session to tie it to.
    #[error("this terminal has no login session to tie a login to: {0}. Log in without `--session`")]
    NoSession(&'static str),
    /// It cannot be recorded.
    #[error("the login cannot be recorded, and so does not count: {0}")]
    Audit(#[from] AppendError),
    /// It cannot be kept.
    #[error("the login cannot be kept: {0}")]
    Store(#[from] StoreError),
}

/// A login, for people.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct Shown {
    /// Names it.
    pub id: String,
    /// The Unix user.
    pub uid: u32,
    /// The login session's cgroup, if it is tied to that.
    pub cgroup: Option<String>,
    /// The identity provider's name.
    pub idp: String,
    /// Who it is.
    pub person: Person,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it ends, unless it is renewed.
    pub ends: u64,
    /// Whether it can be renewed.
    pub renews: bool,
}

/// The logins on this host.
pub struct Hosts {
    logins: Arc<Logins>,
    issuers: Arc<Issuers>,
    audit: Appender,
    lifetime: u64,
    boot: String,
    /// When the gateway was started, in seconds since 1970.
    started: u64,
    state: Mutex<State>,
}

struct State {
    store: Store,
    kept: Vec<Kept>,
    /// What is on disk is not what holds.
    unkept: bool,
}

impl Hosts {
    /// With the logins that were kept. Those that ended meanwhile, or were tied to what a reboot has taken away, are gone.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(
        config: &IdentityConfig,
        logins: Arc<Logins>,
        issuers: Arc<Issuers>,
        audit: Appender,
    ) -> Result<Arc<Self>, StoreError> {
        let (store, kept) = Store::open(&config.dir)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let state = Mutex::new(State { store, kept, unkept: false });
        let hosts = Arc::new(Hosts { logins, issuers, audit, lifetime: config.login_lifetime.as_secs(), boot, started: now(), state });
        {
            let mut state = hosts.state.lock().await;
            hosts.sweep(&mut state).await;
            hosts.show(&state);
        }
        Ok(hosts)
    }

    /// Ties a person to the peer's Unix user, or only to its login session. A login that was tied to the same ends.
    ///
    /// # Errors
    /// [`LoginError`]; then nothing has changed.
    pub async fn begin(&self, peer: &Peer, session: bool, idp: &str, how: &str, granted: Granted) -> Result<Shown, LoginError> {
        let cgroup = self.place(peer, session)?;
        let since = now();
        let kept = Kept {
            id: id(),
            uid: peer.uid,
            cgroup,
            idp: idp.to_owned(),
            how: how.to_owned(),
            since,
            ends: granted.ends,
            at_last: since + self.lifetime,
            person: granted.person,
            refresh: granted.refresh.map(Into::into),
            boot: self.boot.clone(),
        };
        let mut state = self.state.lock().await;
        self.record(Kind::Login, &kept, "logged in").await?;
        let others = |other: &Kept| (other.uid, &other.cgroup) != (kept.uid, &kept.cgroup);
        if let Err(error) = state.store.keep(state.kept.iter().filter(|other| others(other)).chain([&kept])) {
            self.ended(&kept, "it cannot be kept, and never counted").await;
            return Err(error.into());
        }
        let (stay, replaced): (Vec<Kept>, Vec<Kept>) = std::mem::take(&mut state.kept).into_iter().partition(others);
        state.kept = stay;
        let shown = shown(&kept);
        state.kept.push(kept);
        self.show(&state);
        for other in &replaced {
            self.ended(other, "another login took its place").await;
        }
        Ok(shown)
    }

    /// Where a login of this peer's would be tied to.
    ///
    /// # Errors
    /// [`LoginError`]
    pub fn place(&self, peer: &Peer, session: bool) -> Result<Option<String>, LoginError> {
        match session {
            true => peer.session().map(Some),
            false if peer.uid == 0 => Err(LoginError::Root),
            false => Ok(None),
        }
    }

    /// Ends the logins that `which` names, and says which those were. From then on they count for no call.
    ///
    /// # Errors
    /// They have ended, and that cannot be written where a restart would find it. It is tried again.
    pub async fn end(&self, which: impl Fn(&Shown) -> bool, why: &str) -> Result<Vec<Shown>, StoreError> {
        let mut state = self.state.lock().await;
        let (gone, stay) = std::mem::take(&mut state.kept).into_iter().partition(|kept| which(&shown(kept)));
        state.kept = stay;
        self.show(&state);
        let kept_without = self.keep(&mut state);
        drop(state);
        let gone: Vec<Kept> = gone;
        for kept in &gone {
            self.ended(kept, why).await;
        }
        let shown = gone.iter().map(shown).collect();
        for kept in gone {
            // A provider that does not answer must not hold up who logs out.
            let issuers = self.issuers.clone();
            tokio::spawn(async move { revoke(&issuers, &kept).await });
        }
        kept_without.map(|()| shown)
    }

    /// All logins.
    pub async fn all(&self) -> Vec<Shown> {
        self.state.lock().await.kept.iter().map(shown).collect()
    }

    /// Renews and ends logins, for as long as the gateway runs.
    pub async fn keep_up(self: Arc<Self>) {
        let mut tried: HashMap<String, (u64, JoinHandle<()>)> = HashMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let due: Vec<Kept> = {
                let mut state = self.state.lock().await;
                self.sweep(&mut state).await;
                if state.unkept {
                    // It is told there when that fails again.
                    let _ = self.keep(&mut state);
                }
                state.kept.iter().filter(|kept| is_due(kept)).cloned().collect()
            };
            tried.retain(|id, (_, trying)| due.iter().any(|kept| kept.id == *id) || !trying.is_finished());
            for kept in due {
                // Beside one another: a provider that hangs must not end logins at another.
                let rests = tried.get(&kept.id).is_none_or(|(last, trying)| trying.is_finished() && now() >= *last + RETRY);
                if rests {
                    let hosts = self.clone();
                    tried.insert(kept.id.clone(), (now(), tokio::spawn(async move { hosts.renew(kept).await })));
                }
            }
        }
    }

    async fn renew(&self, kept: Kept) {
        let (Some(issuer), Some(refresh)) = (self.issuers.named(&kept.idp), &kept.refresh) else { return };
        let renewed = match Flow::new(issuer).await {
            Ok(flow) => flow.renew(refresh, &kept.person).await,
            Err(error) => Err(error),
        };
        match renewed {
            Ok(granted) => {
                let mut state = self.state.lock().await;
                let Some(found) = state.kept.iter_mut().find(|found| found.id == kept.id) else {
                    // It ended meanwhile; the token that was given for it must end too.
                    drop(state);
                    return revoke(&self.issuers, &Kept { refresh: granted.refresh.map(Into::into), ..kept }).await;
                };
                found.ends = granted.ends;
                found.refresh = granted.refresh.map(Into::into);
                let is_new = found.person != granted.person;
                found.person = granted.person;
                let found = found.clone();
                // A refresh token is often used once: the new one is kept before anything else.
                let _ = self.keep(&mut state);
                if is_new && let Err(error) = self.record(Kind::Login, &found, "renewed, with another name or other groups").await {
                    tracing::error!(login = kept.id, "a renewed login cannot be recorded, and so ends: {error}");
                    state.kept.retain(|found| found.id != kept.id);
                    let _ = self.keep(&mut state);
                }
                self.show(&state);
            }
            Err(error @ (FlowError::Over { .. } | FlowError::Groups(_))) => {
                // That it cannot be kept is told there.
                let _ = self.end(|shown| shown.id == kept.id, &error.to_string()).await;
            }
            Err(error) => {
                tracing::warn!(login = kept.id, idp = kept.idp, "a login could not be renewed, and is tried again until it ends: {error}")
            }
        }
    }

    /// Ends what has ended by itself.
    async fn sweep(&self, state: &mut State) {
        let (at, started) = (now(), self.started);
        let why = |kept: &Kept| {
            // What was due while the gateway was not running is renewed first; until then it counts for nothing.
            let waits = kept.refresh.is_some() && at < started + GRACE;
            if kept.at_last <= at || (kept.ends <= at && !waits) {
                Some(if kept.at_last <= at { "it has lasted as long as the operator lets it" } else { "its tokens have ended" })
            } else if kept.cgroup.as_deref().is_some_and(|cgroup| kept.boot != self.boot || !is_there(cgroup)) {
                Some("its session has ended")
            } else {
                None
            }
        };
        let (gone, stay): (Vec<Kept>, Vec<Kept>) = std::mem::take(&mut state.kept).into_iter().partition(|kept| why(kept).is_some());
        state.kept = stay;
        if gone.is_empty() {
            return;
        }
        self.show(state);
        let _ = self.keep(state);
        for kept in &gone {
            self.ended(kept, why(kept).unwrap_or_default()).await;
        }
    }

    /// Writes down what is kept; what cannot be written now is tried again.
    fn keep(&self, state: &mut State) -> Result<(), StoreError> {
        let kept = state.store.keep(state.kept.iter());
        state.unkept = kept.is_err();
        if let Err(error) = &kept {
            tracing::error!("logins, and their ends, cannot be kept over a restart, which is tried again: {error}");
        }
        kept
    }

    fn show(&self, state: &State) {
        self.logins.replace(state.kept.iter().map(login));
    }

    async fn record(&self, kind: Kind, kept: &Kept, why: &str) -> Result<(), AppendError> {
        let body = json!({
            "identity": login(kept).identity, "uid": kept.uid, "idp": kept.idp, "by": kept.how, "cgroup": kept.cgroup,
            "ends": kept.ends.min(kept.at_last), "message": why,
        });
        let entry = Entry { kind, body: body.to_string().into_bytes(), effect: Effect::None };
        self.audit.append(entry, Durability::Sync).await.map(drop)
    }

    async fn ended(&self, kept: &Kept, why: &str) {
        tracing::info!(login = kept.id, uid = kept.uid, person = kept.person.subject, "a login has ended: {why}");
        // It has ended whether or not this can be written; the log says itself when it cannot.
        let _ = self.record(Kind::Logout, kept, why).await;
    }
}

/// Takes the refresh token of a login that has ended back.
async fn revoke(issuers: &Issuers, kept: &Kept) {
    let (Some(issuer), Some(refresh)) = (issuers.named(&kept.idp), &kept.refresh) else { return };
    if let Ok(flow) = Flow::new(issuer).await {
        flow.revoke(refresh).await;
    }
}

fn login(kept: &Kept) -> Login {
    let person = &kept.person;
    let principal = Principal::Person {
        issuer: person.issuer.as_str().into(),
        subject: person.subject.clone(),
        name: person.name.clone(),
        groups: person.groups.clone(),
    };
    let how =
        How::HostLogin { idp: kept.idp.clone(), login: kept.id.clone(), uid: kept.uid, cgroup: kept.cgroup.clone(), since: kept.since };
    let strength = if kept.cgroup.is_some() { Strength::SessionLogin } else { Strength::HostLogin };
    Login {
        id: kept.id.clone(),
        uid: kept.uid,
        cgroup: kept.cgroup.clone(),
        since: kept.since,
        ends: kept.ends.min(kept.at_last),
        identity: Arc::new(Identity::new(principal, how, strength)),
    }
}

fn shown(kept: &Kept) -> Shown {
    Shown {
        id: kept.id.clone(),
        uid: kept.uid,
        cgroup: kept.cgroup.clone(),
        idp: kept.idp.clone(),
        person: kept.person.clone(),
        since: kept.since,
        ends: kept.ends.min(kept.at_last),
        renews: kept.refresh.is_some(),
    }
}

/// Whether it is time to renew a login: when a third of what its tokens last is left, and a minute at most.
fn is_due(kept: &Kept) -> bool {
    let left = kept.ends.saturating_sub(now());
    let lasts = kept.ends.saturating_sub(kept.since);
    kept.refresh.is_some() && kept.ends < kept.at_last && left <= (lasts / 3).min(60)
}

/// Whether a cgroup of /proc/<pid>/cgroup still is.
fn is_there(cgroup: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut roots = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| at.to_owned())
    });
    // Systemd's own hierarchy is of version 1, and is looked for like any other.
    roots.any(|root| Path::new(&root).join(cgroup.trim_start_matches('/')).is_dir())
}

/// Eight random bytes, in hexadecimal.
pub(super) fn id() -> String {
    let mut bytes = [0; 8];
    // Without random numbers nothing else would work either; ids that are not unique end each other's logins.
    let _ = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
