//! The credentials of all servers, kept up to date.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, time::MissedTickBehavior};

use super::{CredentialError, For, Held, Secret, SetupError, aws::SigV4, oauth::OAuth, source::Source};
use crate::{
    config::{Config, CredentialConfig, Place, StaticConfig},
    outbound::Outbound,
};

/// How often it is looked whether something is due, or a file has changed.
const LOOK: Duration = Duration::from_secs(1);

/// All servers' credentials. They are fetched on the tokio runtime and may be asked for on any other: one that is there is there at once.
pub struct Credentials {
    /// By the server's place in the configuration.
    all: Vec<Option<Credential>>,
}

/// A server's own credential.
pub struct Credential {
    kind: Kind,
}

enum Kind {
    Nothing,
    Static(Static),
    OAuth(OAuth),
    Aws(Box<SigV4>),
}

/// One value for everybody.
struct Static {
    source: Source,
    place: Place,
    /// What was made of the value that the source gave last.
    made: ArcSwapOption<(Secret, Held)>,
}

impl Credentials {
    /// As the configuration has it. What is on this host is read now, the rest is fetched on this runtime when it is needed, or by
    /// [`Credentials::keep_up`].
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &Config, outbound: &Outbound, runtime: &Handle) -> Result<Arc<Self>, SetupError> {
        let one =
            |server: &crate::config::ServerConfig| Credential::new(&server.name.as_str().into(), &server.credential, outbound, runtime);
        Ok(Arc::new(Credentials { all: config.servers.iter().map(one).collect::<Result<_, _>>()? }))
    }

    /// That of the server at this place of the configuration; `None` where none is configured: the caller's own reaches the server.
    #[must_use]
    pub fn of(&self, server: usize) -> Option<&Credential> {
        self.all.get(server)?.as_ref()
    }

    /// Keeps up with sources, for as long as the gateway runs. Run it on the runtime of [`Credentials::new`].
    pub async fn keep_up(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            for credential in self.all.iter().flatten() {
                credential.keep_up();
            }
        }
    }
}

impl Credential {
    fn new(server: &Arc<str>, config: &CredentialConfig, outbound: &Outbound, runtime: &Handle) -> Result<Option<Self>, SetupError> {
        let kind = match config {
            CredentialConfig::Callers => return Ok(None),
            CredentialConfig::None | CredentialConfig::Mtls => Kind::Nothing,
            CredentialConfig::Static(StaticConfig { place, value }) => {
                let source = Source::new(server, value, outbound, runtime)?;
                Kind::Static(Static { source, place: place.clone(), made: ArcSwapOption::empty() })
            }
            CredentialConfig::OAuth(config) => Kind::OAuth(OAuth::new(server, config, outbound, runtime)?),
            CredentialConfig::SigV4(config) => Kind::Aws(Box::new(SigV4::new(server, config, outbound, runtime))),
        };
        Ok(Some(Credential { kind }))
    }

    /// The credential for one request.
    ///
    /// # Errors
    /// [`CredentialError`]: there is none that its source stands behind.
    pub async fn get(&self, whom: &For<'_>) -> Result<Held, CredentialError> {
        match &self.kind {
            Kind::Nothing => Ok(Held::Nothing),
            Kind::Static(one) => one.get().await,
            Kind::OAuth(oauth) => oauth.get(whom).await,
            Kind::Aws(sigv4) => sigv4.get(whom).await,
        }
    }

    /// The server did not take what this caller's request was sent with (status 401): the next request gets another, if there is one. A
    /// credential that has only just been fetched stays.
    pub fn refused(&self, whom: &For<'_>, held: &Held) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Static(one) => one.refused(held),
            Kind::OAuth(oauth) => oauth.refused(whom, held),
            Kind::Aws(sigv4) => sigv4.refused(whom, held),
        }
    }

    fn keep_up(&self) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Static(one) => one.source.keep_up(),
            Kind::OAuth(oauth) => oauth.keep_up(),
            Kind::Aws(sigv4) => sigv4.keep_up(),
        }
    }
}

impl Static {
    async fn get(&self) -> Result<Held, CredentialError> {
        let secret = self.source.get().await?;
        if let Some((_, held)) = self.made.load().as_deref().filter(|(made_of, _)| made_of.is(&secret)) {
            return Ok(held.clone());
        }
        let held = match &self.place {
            Place::Header { name, prefix } => Held::field(name, prefix, &secret),
            Place::Query { name } => Held::query(name, &secret),
        };
        self.made.store(Some(Arc::new((secret, held.clone()))));
        Ok(held)
    }

    fn refused(&self, held: &Held) {
        if let Some((secret, _)) = self.made.load().as_deref().filter(|(_, made)| made.is(held)) {
            self.source.refused(secret);
        }
    }
}
