//! Tokens of an authorization server: for the gateway itself (RFC 6749 section 4.4), or in exchange for the caller's (RFC 8693).

use std::{collections::HashMap, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use base64::{Engine, prelude::BASE64_STANDARD};
use form_urlencoded::{Serializer, byte_serialize};
use openidconnect::{HttpRequest, http};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::{
    CredentialError, For, Held, Label, Problem, Secret, SetupError, answer,
    slot::{Slot, Timed},
    source::Source,
};
use crate::{
    audit::{Digest, Sha256},
    config::{ClientAuth, Grant, OAuthConfig},
    identity::Http,
    outbound::Outbound,
};

/// So many callers' tokens are remembered for one server; when there are more, those that have ended go, and then all.
const MOST: usize = 4096;

/// Tokens for one server.
pub(super) struct OAuth {
    client: Arc<Client>,
    runtime: Handle,
    tokens: Tokens,
}

enum Tokens {
    /// The gateway's own.
    Own(Arc<Slot<Held>>),
    /// One for each of the callers' tokens.
    Exchanged(ArcSwap<HashMap<Key, Arc<Slot<Held>>>>),
}

/// Whose token, and which. Who it is was found out before, so that nobody gets what another's token was exchanged for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    identity: Arc<str>,
    token: Sha256,
}

/// The gateway, as the authorization server knows it.
struct Client {
    label: Label,
    config: OAuthConfig,
    secret: Source,
    http: Http,
}

impl OAuth {
    /// Of which there is no token yet.
    ///
    /// # Errors
    /// [`SetupError`]
    pub(super) fn new(server: &Arc<str>, config: &OAuthConfig, outbound: &Outbound, runtime: &Handle) -> Result<Self, SetupError> {
        let asked = format!("the authorization server at {}", config.token_url).into();
        let label = Label { server: server.clone(), asked };
        let http = Http::new(outbound, config.ca_file.as_deref(), config.token_url.scheme() == "https")
            .map_err(|source| SetupError::Tls { server: server.clone(), source: Box::new(source) })?;
        let tokens = match config.grant {
            Grant::ClientCredentials => Tokens::Own(Slot::of_token(&label)),
            Grant::TokenExchange => Tokens::Exchanged(ArcSwap::default()),
        };
        let secret = Source::new(server, &config.client_secret, outbound, runtime)?;
        Ok(OAuth { client: Arc::new(Client { label, config: config.clone(), secret, http }), runtime: runtime.clone(), tokens })
    }

    /// A token for this caller.
    ///
    /// # Errors
    /// [`CredentialError`]
    pub(super) async fn get(&self, whom: &For<'_>) -> Result<Held, CredentialError> {
        match &self.tokens {
            Tokens::Own(slot) => slot.get(&self.runtime, || self.client.clone().fetch(None)).await,
            Tokens::Exchanged(all) => {
                let token = whom.token.ok_or_else(|| self.client.label.failed(Problem::NoToken))?;
                let key = Key::of(whom, token);
                let known = all.load().get(&key).cloned();
                let slot = known.unwrap_or_else(|| self.add(all, &key));
                slot.get(&self.runtime, || self.client.clone().fetch(Some(Secret::new(token.to_owned())))).await
            }
        }
    }

    /// The server did not take a token of this caller's.
    pub(super) fn refused(&self, whom: &For<'_>, held: &Held) {
        let forget = |slot: &Slot<Held>| slot.forget(Instant::now(), |kept| kept.is(held));
        match (&self.tokens, whom.token) {
            (Tokens::Own(slot), _) => forget(slot),
            (Tokens::Exchanged(all), Some(token)) => {
                if let Some(slot) = all.load().get(&Key::of(whom, token)) {
                    forget(slot);
                }
            }
            (Tokens::Exchanged(_), None) => {}
        }
    }

    /// Keeps up with the client's secret and the gateway's own token. Callers' tokens are not kept, so theirs are fetched when they call.
    pub(super) fn keep_up(&self) {
        self.client.secret.keep_up();
        if let Tokens::Own(slot) = &self.tokens {
            slot.renew(&self.runtime, Instant::now(), || self.client.clone().fetch(None));
        }
    }

    fn add(&self, all: &ArcSwap<HashMap<Key, Arc<Slot<Held>>>>, key: &Key) -> Arc<Slot<Held>> {
        let new = Slot::of_token(&self.client.label);
        let before = all.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= MOST {
                let now = Instant::now();
                known.retain(|_, slot| !slot.is_over(now));
            }
            if known.len() >= MOST {
                known.clear();
            }
            known.entry(key.clone()).or_insert_with(|| new.clone());
            known
        });
        // Another worker may have put its own there first.
        before.get(key).cloned().unwrap_or(new)
    }
}

impl Key {
    fn of(whom: &For<'_>, token: &str) -> Self {
        Key { identity: whom.identity.key().clone(), token: Digest::of(token.as_bytes()) }
    }
}

impl Client {
    /// Asks for a token once.
    async fn fetch(self: Arc<Self>, subject: Option<Secret>) -> Result<Timed<Held>, CredentialError> {
        let secret = self.secret.get().await?;
        let asked = Instant::now();
        let failed = |problem| self.label.failed(problem);
        let request = request(&self.config, &secret, subject.as_ref());
        let answer = self.http.fetch(request.map_err(failed)?).await;
        let answer = answer.map_err(|error| failed(Problem::Unreachable(error.to_string())))?;
        let status = answer.status().as_u16();
        let read = answer::read(status, &Zeroizing::new(answer.into_body()), asked);
        read.map_err(|refusal| {
            let hidden = [Some(&secret), subject.as_ref()];
            refusal.log(&self.label, hidden.into_iter().flatten());
            if refusal.is_about_client() {
                self.secret.refused(&secret);
            }
            failed(refusal.problem(subject.is_some()))
        })
    }
}

/// The request for a token.
fn request(config: &OAuthConfig, secret: &Secret, subject: Option<&Secret>) -> Result<HttpRequest, Problem> {
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
    let mut form = Serializer::new(String::new());
    match subject {
        None => form.append_pair("grant_type", "client_credentials"),
        // RFC 8693 section 2.1
        Some(subject) => form
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("subject_token", subject.expose())
            .append_pair("subject_token_type", ACCESS_TOKEN)
            .append_pair("requested_token_type", ACCESS_TOKEN),
    };
    if !config.scopes.is_empty() {
        form.append_pair("scope", &config.scopes.join(" "));
    }
    for (name, value) in [("resource", &config.resource), ("audience", &config.audience)] {
        form.extend_pairs(value.iter().map(|value| (name, value)));
    }
    let mut request = http::Request::post(config.token_url.as_str())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json");
    match config.auth {
        ClientAuth::Basic => {
            // RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let basic = Zeroizing::new(format!("{}:{}", encoded(&config.client_id), encoded(secret.expose())));
            request = request.header("authorization", format!("Basic {}", BASE64_STANDARD.encode(basic.as_bytes())));
        }
        ClientAuth::Post => {
            form.append_pair("client_id", &config.client_id).append_pair("client_secret", secret.expose());
        }
    }
    request.body(form.finish().into_bytes()).map_err(|_| Problem::Unusable("cannot be asked as its `credential` says".into()))
}
