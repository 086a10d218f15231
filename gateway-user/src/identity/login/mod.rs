//! Logins on this host: a person who has shown who he is, tied to a Unix user.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{Identity, workload::is_within};

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
        let logins = self.by_uid.load();
        let valid = || logins.get(&uid).into_iter().flatten().filter(|login| login.ends > now);
        let in_session = valid().find(|login| login.cgroup.as_deref().zip(cgroup).is_some_and(|(outer, cgroup)| is_within(cgroup, outer)));
        in_session.or_else(|| valid().find(|login| login.cgroup.is_none())).map(|login| login.identity.clone())
    }

    /// From now on these hold, and no others.
    pub fn replace(&self, logins: Vec<Arc<Login>>) {
        let mut by_uid: HashMap<u32, Vec<Arc<Login>>> = HashMap::new();
        for login in logins {
            by_uid.entry(login.uid).or_default().push(login);
        }
        self.by_uid.store(Arc::new(by_uid));
    }
}
