//! The data plane: the only code that does network I/O for calls.
//!
//! The path of a connection, in the order of the files: `worker` accepts it, `connection` learns its origin and reads heads,
//! `identify` finds out whose a
//! request is, `exchange` reads and records it, `decide` says whether it goes on, `forward` forwards it, `answer` records and gives back what the server says,
//! `events` does so for streams of events.
//!
//! There are two ways in. `connection` serves what the kernel redirected, and `secure` shakes hands with such clients; `endpoint` serves
//! those who call the gateway itself, and `entrance` finds the server in the path and leads answers back. Behind a request's head they are
//! one. `tunnel` copies what is not HTTP. What is decided from bytes is decided in [`crate::wire`] and [`crate::mcp`], without I/O.

mod answer;
mod body;
mod caller;
mod connection;
mod credential;
mod decide;
mod endpoint;
mod entrance;
mod events;
mod exchange;
mod forward;
mod identify;
mod lists;
mod masks;
mod metrics;
mod owners;
mod pieces;
mod record;
mod refusal;
mod secure;
mod servers;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;
mod veil;
mod wait;
mod worker;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use crate::{
    audit::{Appender, Durability, Effect, Entry, Kind, MAX_DEPTH},
    capture::Capture,
    config::Config,
    credential::Credentials,
    identity::Identities,
    mask::Masking,
    mcp,
    tls::Tls,
};

use veil::Shown;

pub use decide::Rules;
pub use identify::resource;
pub use metrics::{Metrics, counter, metric};
pub use owners::Owners;
pub use servers::Servers;
pub use worker::{StartError, Workers, start};

/// What all workers share. Nothing in it is locked on the path of an ordinary call.
pub struct Shared {
    /// The configuration in force.
    pub config: Config,
    /// The hold on the kernel programs, where connections are captured.
    pub capture: Option<Capture>,
    /// The log.
    pub audit: Appender,
    /// What `https` servers need.
    pub tls: Tls,
    /// Who calls.
    pub identities: Arc<Identities>,
    /// What calls are decided by.
    pub rules: Rules,
    /// What of it is masked.
    pub masking: Masking,
    /// With whose credentials they reach their servers.
    pub credentials: Arc<Credentials>,
    /// Which server an address belongs to.
    pub servers: Servers,
    /// What is counted.
    pub metrics: Metrics,
    /// No new connections are wanted.
    pub draining: AtomicBool,
    /// When each worker last showed that it runs, in milliseconds of the monotonic clock.
    beats: Vec<AtomicU64>,
    sessions: session::Sessions,
    owners: Owners,
    reading: mcp::Limits,
}

/// What a data plane is made of.
pub struct Parts {
    /// The configuration.
    pub config: Config,
    /// The hold on the kernel programs, where connections are captured.
    pub capture: Option<Capture>,
    /// What `https` servers need.
    pub tls: Tls,
    /// Who calls.
    pub identities: Arc<Identities>,
    /// What calls are decided by.
    pub rules: Rules,
    /// What of it is masked.
    pub masking: Masking,
    /// With whose credentials they reach their servers.
    pub credentials: Arc<Credentials>,
    /// Whose sessions are.
    pub owners: Owners,
    /// The log.
    pub audit: Appender,
}

impl Shared {
    /// For so many workers.
    pub fn new(parts: Parts, workers: usize) -> Arc<Self> {
        let Parts { config, capture, tls, identities, rules, masking, credentials, owners, audit } = parts;
        let reading = mcp::Limits { max_bytes: config.limits.inspected_body, max_depth: MAX_DEPTH, ..mcp::Limits::default() };
        Arc::new(Shared {
            servers: Servers::new(&config),
            config,
            capture,
            tls,
            identities,
            rules,
            masking,
            credentials,
            owners,
            audit,
            metrics: Metrics::default(),
            draining: AtomicBool::new(false),
            beats: (0..workers).map(|_| AtomicU64::new(worker::now_ms())).collect(),
            sessions: session::Sessions::default(),
            reading,
        })
    }

    /// Forgets sessions that nothing was heard of for an hour, and records that the outcome of calls left in them is not known.
    pub fn forget_sessions(&self) {
        for (session, waiting) in self.sessions.expire() {
            let body = record::Answer {
                request: Some(waiting.seq),
                server: session.split(':').next().unwrap_or_default(),
                session: Some(&session),
                call: Some(&waiting.call),
                outcome: record::Outcome {
                    message: Some(Shown::own("no answer came on any connection of the session")),
                    gateway: Some("upstream"),
                    took_us: record::micros(waiting.since.elapsed()),
                    ..record::Outcome::default()
                },
                withheld: Vec::new(),
                upstream: None,
                tls: None,
                credential: None,
                masked: None,
                payload: None,
            };
            let entry = Entry { kind: Kind::OutcomeUnknown, body: record::bytes(&body), effect: Effect::Closes(waiting.seq) };
            // Nothing waits for it, and a log that cannot be written says so itself.
            drop(self.audit.append(entry, Durability::Os));
        }
    }
}
