//! What is remembered between connections: calls whose answer comes elsewhere, and questions that servers asked.
//!
//! A session is our own correlation of calls. It is looked up only where the protocol lets an answer travel on another
//! connection than its request: HTTP+SSE of 2024-11-05, resumption, questions of the server, and multi-round-trip results.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{masks::CallMasks, record::OpenCall};
use crate::mcp::{Id, Revision};

/// A session that nothing was heard of for longer is forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// So many sessions, endpoints and states are remembered; the stalest go first.
const MOST: usize = 65_536;

/// A call that was forwarded and not answered yet.
pub(super) struct Waiting {
    pub seq: u64,
    pub call: OpenCall,
    pub since: Instant,
}

#[derive(Default)]
struct Session {
    waiting: HashMap<String, Waiting>,
    questions: HashMap<String, u64>,
    revision: Option<Revision>,
    heard: Option<Instant>,
}

impl Session {
    fn stale(&self) -> bool {
        self.heard.is_none_or(|heard| heard.elapsed() > FORGET)
    }
}

/// All sessions of the gateway.
#[derive(Default)]
pub(super) struct Sessions {
    sessions: Mutex<HashMap<String, Session>>,
    /// Paths that a server named in an `endpoint` event, by server and path: there the client posts.
    endpoints: Mutex<HashMap<(usize, String), Instant>>,
    /// Which record's answer carried an opaque `requestState`.
    states: Mutex<HashMap<String, (u64, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the lock is whole after every statement: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// A call whose answer will come on another connection.
    pub(super) fn park(&self, session: &str, waiting: Waiting) {
        self.with(session, |found| {
            found.waiting.insert(key(&waiting.call.id), waiting);
        });
    }

    /// The parked call that has this id.
    pub(super) fn answered(&self, session: &str, id: &Id) -> Option<Waiting> {
        lock(&self.sessions).get_mut(session)?.waiting.remove(&key(id))
    }

    /// What is masked of the parked call that has this id.
    pub(super) fn masks(&self, session: &str, id: &Id) -> Option<Arc<CallMasks>> {
        lock(&self.sessions).get(session)?.waiting.get(&key(id)).map(|waiting| waiting.call.masks.clone())
    }

    /// The session agreed on a revision.
    pub(super) fn agreed(&self, session: &str, revision: Revision) {
        self.with(session, |found| found.revision = Some(revision));
    }

    /// Whether a batch may be sent in this session: not where a revision without them was agreed on, whatever a header says.
    pub(super) fn has_batches(&self, session: &str) -> bool {
        lock(&self.sessions).get(session).and_then(|found| found.revision.as_ref()).is_none_or(Revision::has_batches)
    }

    /// Forgets sessions that nothing was heard of for long; returns the calls in them that never got an answer.
    pub(super) fn expire(&self) -> Vec<(String, Waiting)> {
        let mut sessions = lock(&self.sessions);
        let stale: Vec<String> = sessions.iter().filter(|(_, found)| found.stale()).map(|(name, _)| name.clone()).collect();
        let mut left = Vec::new();
        for name in stale {
            let waiting = sessions.remove(&name).map(|found| found.waiting).unwrap_or_default();
            left.extend(waiting.into_values().map(|waiting| (name.clone(), waiting)));
        }
        left
    }

    /// The server asked something: the record that holds it.
    pub(super) fn asked(&self, session: &str, id: &Id, seq: u64) {
        self.with(session, |found| {
            found.questions.insert(key(id), seq);
        });
    }

    /// The record of the question that the client answers now.
    pub(super) fn question(&self, session: &str, id: &Id) -> Option<u64> {
        lock(&self.sessions).get_mut(session)?.questions.remove(&key(id))
    }

    /// The server named the path to which clients post.
    pub(super) fn endpoint(&self, server: usize, path: String) {
        bounded(&mut lock(&self.endpoints), |since| *since).insert((server, path), Instant::now());
    }

    pub(super) fn is_endpoint(&self, server: usize, path: &str) -> bool {
        let endpoints = lock(&self.endpoints);
        // Few servers still speak HTTP+SSE, and every request asks.
        !endpoints.is_empty() && endpoints.contains_key(&(server, path.to_owned()))
    }

    /// An answer asked for more input and gave this state to come back with.
    pub(super) fn state_given(&self, state: &str, seq: u64) {
        bounded(&mut lock(&self.states), |(_, since)| *since).insert(state.to_owned(), (seq, Instant::now()));
    }

    /// The request whose answer gave this state.
    pub(super) fn state_back(&self, state: &str) -> Option<u64> {
        lock(&self.states).get(state).map(|(seq, _)| *seq)
    }

    fn with(&self, session: &str, change: impl FnOnce(&mut Session)) {
        let mut sessions = lock(&self.sessions);
        // A call in a session that had to make room keeps its place in the log: the next start writes that its outcome is unknown.
        let sessions = bounded(&mut sessions, |session| session.heard.unwrap_or_else(Instant::now));
        let found = sessions.entry(session.to_owned()).or_default();
        found.heard = Some(Instant::now());
        change(found);
    }
}

/// Makes room before something is added.
fn bounded<K: Clone + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, heard: impl Fn(&V) -> Instant) -> &mut HashMap<K, V> {
    if map.len() >= MOST {
        map.retain(|_, value| heard(value).elapsed() < FORGET);
    }
    while map.len() >= MOST {
        let Some(stalest) = map.iter().min_by_key(|(_, value)| heard(value)).map(|(key, _)| key.clone()) else { break };
        map.remove(&stalest);
    }
    map
}

/// `1` and `"1"` are different ids.
fn key(id: &Id) -> String {
    id.to_string()
}
