//! Logins on this host: a person who has shown who he is, tied to a Unix user.
//!
//! [`Logins`] is what each request looks at, [`Hosts`] what changes it; `flow` is how a person shows who he is, `store` how logins outlive
//! the gateway.

mod flow;
mod hosts;
mod store;
mod waiting;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::{Identity, workload::is_within};

pub use flow::{Browser, Flow, FlowError, Granted};
pub use hosts::{Hosts, LoginError, Peer, Shown};
pub use store::StoreError;
pub use waiting::{Terminal, Waiting};

/// A person, as an identity provider knows him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who vouches: an OpenID Connect issuer, or a SAML entity id.
    pub issuer: String,
    /// The provider's name of the person.
    pub subject: String,
    /// A name for people.
    pub name: Option<String>,
    /// The person's groups.
    pub groups: Vec<String>,
}

/// A person who has logged in on this host.
#[derive(Debug, Clone)]
pub struct Login {
    /// Names it in records and commands.
    pub id: String,
    /// The Unix user whose processes count as the person's.
    pub uid: u32,
    /// The login session's cgroup, if only processes in it do.
    pub cgroup: Option<String>,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When it ends, in seconds since 1970.
    pub ends: u64,
    /// Who it is.
    pub identity: Arc<Identity>,
}

/// The logins that hold now. Readers see a snapshot, and nothing locks.
#[derive(Default)]
pub struct Logins {
    by_uid: ArcSwap<HashMap<u32, Vec<Arc<Login>>>>,
}

impl Logins {
    /// Whose a process of this user, in this cgroup, counts as. A login of its session goes before one of its user. `now` is in seconds
    /// since 1970.
    #[must_use]
    pub fn of(&self, uid: u32, cgroup: Option<&str>, now: u64) -> Option<Arc<Identity>> {
        self.login_of(uid, cgroup, now).map(|login| login.identity.clone())
    }

    /// As [`Logins::of`], with all that is known of the login.
    #[must_use]
    pub fn login_of(&self, uid: u32, cgroup: Option<&str>, now: u64) -> Option<Arc<Login>> {
        let logins = self.by_uid.load();
        let valid = || logins.get(&uid).into_iter().flatten().filter(|login| login.ends > now);
        // Of sessions inside one another, the innermost.
        let in_session = valid()
            .filter(|login| login.cgroup.as_deref().zip(cgroup).is_some_and(|(outer, cgroup)| is_within(cgroup, outer)))
            .max_by_key(|login| login.cgroup.as_ref().map_or(0, String::len));
        in_session.or_else(|| valid().find(|login| login.cgroup.is_none())).cloned()
    }

    /// From now on these hold, and no others.
    pub fn replace(&self, logins: impl Iterator<Item = Login>) {
        let mut by_uid: HashMap<u32, Vec<Arc<Login>>> = HashMap::new();
        for login in logins {
            by_uid.entry(login.uid).or_default().push(Arc::new(login));
        }
        self.by_uid.store(Arc::new(by_uid));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::identity::{How, Principal, Strength};

    fn login(id: &str, uid: u32, cgroup: Option<&str>, ends: u64) -> Login {
        let principal = Principal::Person { issuer: "https://login.example".into(), subject: id.into(), name: None, groups: vec![] };
        let identity = Arc::new(Identity::new(principal, How::Nothing, Strength::HostLogin));
        Login { id: id.into(), uid, cgroup: cgroup.map(Into::into), since: 0, ends, identity }
    }

    #[test]
    fn a_session_goes_before_its_user_and_nobody_elses_login_counts() {
        let logins = Logins::default();
        logins.replace(
            [
                login("ada", 1000, None, 100),
                login("ada-admin", 1000, Some("/user.slice/session-3.scope"), 100),
                login("inner", 1000, Some("/user.slice/session-3.scope/agents"), 50),
                login("bob", 1001, None, 100),
            ]
            .into_iter(),
        );
        let of = |uid, cgroup: &str, now| logins.login_of(uid, Some(cgroup), now).map(|login| login.id.clone());
        assert_eq!(of(1000, "/user.slice/session-4.scope", 10).as_deref(), Some("ada"));
        assert_eq!(of(1000, "/user.slice/session-3.scope", 10).as_deref(), Some("ada-admin"));
        assert_eq!(of(1000, "/user.slice/session-3.scope/x", 10).as_deref(), Some("ada-admin"));
        assert_eq!(of(1000, "/user.slice/session-3.scope/agents/1", 10).as_deref(), Some("inner"));
        assert_eq!(of(1000, "/user.slice/session-3.scope/agents/1", 60).as_deref(), Some("ada-admin"), "it has ended");
        assert_eq!(of(1000, "/user.slice/session-3.scopes", 10).as_deref(), Some("ada"), "another cgroup");
        assert_eq!(of(1001, "/user.slice/session-3.scope", 10).as_deref(), Some("bob"), "another user, in the same cgroup");
        assert_eq!(of(1002, "/", 10), None);
        assert_eq!(of(1001, "/", 100), None, "it has ended");
        assert_eq!(logins.of(1000, None, 10).unwrap().to_string(), "ada");
    }
}
