//! Requests signed as AWS has it: Signature Version 4, as the gateway itself or in a session of a role for each person.
//!
//! The gateway's own keys come from the AWS chain or a profile (`chain`). With `assume_role` they sign nothing but calls of STS, which
//! gives a session for each person (`session`, under the names that `person` makes). What signs is a [`Signer`]; where a server's clock is
//! another, `skew` tells by its answer.

mod chain;
mod keys;
mod person;
mod session;
mod sign;
mod skew;
#[cfg(test)]
mod vectors;

use std::{fmt, sync::Arc};

use tokio::runtime::Handle;

use super::{CredentialError, For, Held, Label, Problem};
use crate::{config::SigV4Config, outbound::Outbound};
use chain::Chain;
use keys::Kept;
use session::Sessions;
use skew::Clock;

pub use sign::Signer;
pub use skew::Answer;

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
        let asked = match &config.assume_role {
            Some(assume) => format!("the role `{}`", assume.role),
            None => chain.to_string(),
        };
        let label = Label { server: server.clone(), asked: asked.into() };
        let own = Arc::new(chain.kept(server, runtime));
        let sessions = config.assume_role.as_ref().map(|assume| Sessions::new(assume, own.clone(), label.clone(), runtime));
        let (service, region) = (config.service.as_str().into(), config.region.as_deref().map(Into::into));
        SigV4 { label, service, region, own, sessions, clock: Arc::default() }
    }

    /// What signs this caller's requests. Keys that are kept are there without waiting.
    ///
    /// # Errors
    /// [`CredentialError`], which names the chain, the profile or the role.
    pub async fn get(&self, whom: &For<'_>) -> Result<Held, CredentialError> {
        let keys = match &self.sessions {
            None => self.own.get().await?,
            Some(sessions) => sessions.of(whom).ok_or_else(|| self.label.failed(Problem::Nobody))?.get().await?,
        };
        let region = self.region.clone().or_else(|| keys.region.clone());
        let nowhere = || Problem::Unusable("says no AWS region, and beside it there is none: it must get a `region`".into());
        let region = region.ok_or_else(|| self.label.failed(nowhere()))?;
        Ok(Held::Aws(Signer::new(keys, self.service.clone(), region, self.clock.clone(), self.label.clone())))
    }

    /// The server did not take what this caller's request was signed with: the keys are fetched anew, unless they have only just been.
    pub fn refused(&self, whom: &For<'_>, held: &Held) {
        let Held::Aws(signer) = held else { return };
        match &self.sessions {
            None => self.own.forget(signer.keys()),
            Some(sessions) => {
                if let Some(session) = sessions.of(whom) {
                    session.forget(signer.keys());
                }
            }
        }
    }

    /// Has the gateway's own keys fetched if that is due; nobody waits for it.
    pub fn keep_up(&self) {
        self.own.renew();
    }
}

impl fmt::Debug for SigV4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigV4").field("from", &self.label.asked).field("service", &self.service).finish_non_exhaustive()
    }
}
