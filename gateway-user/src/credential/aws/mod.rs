//! Requests signed as AWS has it: Signature Version 4, as the gateway itself or in a session of a role for each person.
//!
//! The gateway's own keys come from the AWS chain or a profile (`chain`). With `assume_role` they sign nothing but calls of STS, which
//! gives a session for each person (`session`, under the names that `person` makes). All are `kept`: fetched anew before they end, without
//! a call that waits. What signs is a [`Signer`]; where a server's clock is another, `skew` tells by its answer.

mod chain;
mod kept;
mod person;
mod session;
mod sign;
mod skew;
#[cfg(test)]
mod vectors;

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{CredentialError, For, Label, Problem};
use crate::{config::SigV4Config, outbound::Outbound};
use chain::Chain;
use kept::Kept;
use person::Asked;
use session::Sessions;
use skew::Clock;

pub use chain::sdk_config;
pub use sign::Signer;
pub use skew::Answer;

/// How often it is seen to that keys nobody asks for are fetched anew in time.
const LOOK: Duration = Duration::from_secs(30);

/// `kind = "sigv4"` of one server.
pub struct SigV4 {
    label: Label,
    service: Arc<str>,
    region: Option<Arc<str>>,
    own: Arc<Kept>,
    sessions: Option<Sessions>,
    clock: Arc<Clock>,
}

impl SigV4 {
    /// As a server's configuration has it. Nothing is asked yet; keys are fetched on this runtime.
    #[must_use]
    pub fn new(server: &Arc<str>, config: &SigV4Config, outbound: &Outbound, runtime: &Handle) -> Self {
        let chain = Chain::new(config.profile.clone(), config.region.clone(), outbound);
        let named: Arc<str> = match &config.assume_role {
            Some(assume) => format!("the role `{}`", assume.role).into(),
            None => chain.to_string().into(),
        };
        let own = chain.kept(runtime);
        let sessions = config.assume_role.as_ref().map(|assume| Sessions::new(assume, own.clone(), runtime));
        SigV4 {
            label: Label { server: server.clone(), asked: named },
            service: config.service.as_str().into(),
            region: config.region.as_deref().map(Into::into),
            own,
            sessions,
            clock: Arc::default(),
        }
    }

    /// What signs this caller's requests. Keys that are kept are there without waiting.
    ///
    /// # Errors
    /// [`CredentialError`], which names the chain, the profile or the role.
    pub async fn get(&self, whom: &For<'_>) -> Result<Signer, CredentialError> {
        let failed = |problem| self.label.failed(problem);
        let keys = match &self.sessions {
            None => self.own.get().await,
            Some(sessions) => match sessions.of(whom) {
                Some(session) => session.get().await,
                None => Err(Problem::Nobody),
            },
        };
        let keys = keys.map_err(failed)?;
        let region = self.region.clone().or_else(|| keys.region.clone());
        let region = region.ok_or_else(|| {
            failed(Problem::Unusable("says no AWS region, and the server's `credential` has none: it must get a `region`".into()))
        })?;
        Ok(Signer::new(keys, self.service.clone(), region, self.clock.clone(), self.label.clone()))
    }

    /// The server does not take what this caller's requests were signed with: it is asked for anew.
    pub fn refused(&self, whom: &For<'_>, signer: &Signer) {
        match &self.sessions {
            None => self.own.forget(signer.keys()),
            Some(sessions) => {
                if let Some(session) = sessions.of(whom) {
                    session.forget(signer.keys());
                }
            }
        }
    }

    /// Fetches the gateway's own keys now and anew before they end, until aborted.
    pub async fn keep_up(&self) {
        loop {
            // Where it fails, `kept` has told so; callers are told when they ask.
            let _ = self.own.get().await;
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl fmt::Debug for SigV4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigV4").field("from", &self.label.asked).field("service", &self.service).finish_non_exhaustive()
    }
}
