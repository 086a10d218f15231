//! How a person shows who he is to an OpenID Connect provider: with a device code (RFC 8628), or with a browser on this host (RFC 8252).
//!
//! The gateway is the client: verifier, nonce and tokens stay here. What the person's terminal sees are URLs and a code.

use std::{sync::Arc, time::Instant};

use openidconnect::{
    AccessToken, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, TokenResponse,
    core::{
        CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreDeviceAuthorizationResponse, CoreErrorResponseType,
        CoreJwsSigningAlgorithm, CoreTokenResponse,
    },
    http,
    url::form_urlencoded,
};
use serde_json::{Map, Value};
use thiserror::Error;

use super::Person;
use crate::{
    config::LoginConfig,
    control::Way,
    identity::{ClaimError, Issuer, Known, Unavailable, Unverified, http::causes, now, secret},
};

type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Why somebody could not log in, or stay so.
#[derive(Debug, Error)]
pub enum FlowError {
    /// The provider does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It does not do this.
    #[error("the identity provider `{idp}` offers no {what}: use {instead}")]
    NotOffered {
        /// Its name.
        idp: String,
        /// What was asked for.
        what: &'static str,
        /// What may work.
        instead: &'static str,
    },
    /// It said no, or the person did.
    #[error("the identity provider `{idp}` refused: {why}")]
    Refused {
        /// Its name.
        idp: String,
        /// In its words.
        why: String,
    },
    /// The grant is over: the person must log in again.
    #[error("the identity provider `{idp}` no longer renews the login: {why}")]
    Over {
        /// Its name.
        idp: String,
        /// In its words.
        why: String,
    },
    /// What came back is not the answer to what was asked.
    #[error("the login was broken off: {0}. Nobody was logged in; begin again")]
    Mixed(&'static str),
    /// The ID token is not right.
    #[error("the ID token of `{idp}` is refused: {why}")]
    Token {
        /// Its name.
        idp: String,
        /// What is wrong with it.
        why: String,
    },
    /// Who it is can be told, and the groups cannot.
    #[error(transparent)]
    Groups(#[from] ClaimError),
    /// The gateway's own settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// What a provider has granted.
pub struct Granted {
    /// Who has logged in.
    pub person: Person,
    /// With which the login is renewed.
    pub refresh: Option<String>,
    /// When the tokens end, in seconds since 1970.
    pub ends: u64,
}

/// A client of one provider, for as long as its keys count.
pub struct Flow {
    issuer: Arc<Issuer>,
    known: Arc<Known>,
    client: Client,
    scopes: Vec<Scope>,
}

impl Flow {
    /// Towards this provider.
    ///
    /// # Errors
    /// It is not known, or is not for logging in.
    pub async fn new(issuer: &Arc<Issuer>) -> Result<Self, FlowError> {
        let settings = login(issuer)?;
        let known = match issuer.known() {
            Ok(known) => known,
            Err(_) => {
                issuer.ask(Instant::now()).await?;
                issuer.known()?
            }
        };
        let secret = settings.client_secret_file.as_deref().map(secret).transpose().map_err(FlowError::Settings)?;
        let secret = secret.map(|secret| ClientSecret::new(secret.to_string()));
        let client = CoreClient::from_provider_metadata(known.metadata.clone(), ClientId::new(settings.client_id.clone()), secret);
        let scopes = settings.scopes.iter().cloned().map(Scope::new).collect();
        Ok(Flow { issuer: issuer.clone(), known, client, scopes })
    }

    fn idp(&self) -> String {
        self.issuer.config.name.clone()
    }

    /// The way that the provider offers: a device code if it can, as agents' hosts have no browser.
    #[must_use]
    pub fn way(&self) -> Way {
        match self.known.metadata.additional_metadata().device_authorization_endpoint {
            Some(_) => Way::Device,
            None => Way::Browser,
        }
    }

    /// Begins with a device code: the person goes to a URL, on whatever device, and types the code.
    ///
    /// # Errors
    /// [`FlowError`]
    pub async fn device(&self) -> Result<CoreDeviceAuthorizationResponse, FlowError> {
        let url = self.known.metadata.additional_metadata().device_authorization_endpoint.clone();
        let url = url.ok_or_else(|| FlowError::NotOffered { idp: self.idp(), what: "device code", instead: "`--browser`" })?;
        let client = self.client.clone().set_device_authorization_url(url);
        let asked = client.exchange_device_code().add_scopes(self.scopes.clone()).request_async(&self.issuer.http).await;
        asked.map_err(|error| self.refused(&error))
    }

    /// Waits until the person has typed the code.
    ///
    /// # Errors
    /// [`FlowError`]
    pub async fn device_granted(&self, device: &CoreDeviceAuthorizationResponse) -> Result<Granted, FlowError> {
        let request = self.client.exchange_device_access_token(device).map_err(|error| FlowError::Settings(error.to_string()))?;
        let answer = request.request_async(&self.issuer.http, tokio::time::sleep, None).await.map_err(|error| self.refused(&error))?;
        self.granted(&answer, None, None).await
    }

    /// Begins with a browser that comes back to this port of the host's loopback.
    ///
    /// # Errors
    /// [`FlowError`]
    pub fn browser(self, port: u16) -> Result<Browser, FlowError> {
        let url = RedirectUrl::new(format!("http://127.0.0.1:{port}/callback")).map_err(|error| FlowError::Settings(error.to_string()))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client.clone().set_redirect_uri(url.clone());
        let request = client.authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random);
        let mut request = request.add_scopes(self.scopes.clone()).set_pkce_challenge(challenge);
        if self.scopes.iter().any(|scope| scope.as_str() == "offline_access") {
            // OpenID Connect Core 1.0 section 11: without it, no refresh token is given.
            request = request.add_prompt(CoreAuthPrompt::Consent);
        }
        let (goes_to, state, nonce) = request.url();
        Ok(Browser { flow: self, comes_back: url, goes_to: goes_to.to_string(), verifier, state, nonce })
    }

    /// Renews a login: what the provider says of this person now.
    ///
    /// # Errors
    /// [`FlowError::Over`]: the login is over. Any other may pass.
    pub async fn renew(&self, refresh: &str, person: &Person) -> Result<Granted, FlowError> {
        let token = RefreshToken::new(refresh.to_owned());
        let request = self.client.exchange_refresh_token(&token).map_err(|error| FlowError::Settings(error.to_string()))?;
        let answer = match request.request_async(&self.issuer.http).await {
            Ok(answer) => answer,
            Err(RequestTokenError::ServerResponse(answer)) if *answer.error() == CoreErrorResponseType::InvalidGrant => {
                return Err(FlowError::Over { idp: self.idp(), why: answer.to_string() });
            }
            Err(error) => return Err(self.refused(&error)),
        };
        let mut granted = self.granted(&answer, None, Some(person)).await?;
        if granted.person.subject != person.subject {
            return Err(FlowError::Over { idp: self.idp(), why: "it answered with another person's token".into() });
        }
        // RFC 6749 section 6: without a new one, the old one goes on.
        granted.refresh.get_or_insert_with(|| refresh.to_owned());
        Ok(granted)
    }

    /// Takes a refresh token back (RFC 7009), where the provider lets it.
    pub async fn revoke(&self, refresh: &str) {
        let Some(url) = &self.known.metadata.additional_metadata().revocation_endpoint else { return };
        let Ok(settings) = login(&self.issuer) else { return };
        let form = [("token", refresh), ("token_type_hint", "refresh_token")];
        if let Err(error) = self.issuer.post(url, &settings.client_id, settings.client_secret_file.as_deref(), &form).await {
            tracing::warn!(idp = self.issuer.config.name, "a refresh token could not be taken back: {error}; it ends by itself");
        }
    }

    /// What an answer of the token endpoint comes to. A renewal may come without an ID token, and says then nothing new of the person.
    async fn granted(&self, answer: &CoreTokenResponse, nonce: Option<&Nonce>, before: Option<&Person>) -> Result<Granted, FlowError> {
        let mut ends = answer.expires_in().map(|lasts| now() + lasts.as_secs());
        let person = match (answer.id_token(), before) {
            (Some(token), _) => {
                let refused = |why: String| FlowError::Token { idp: self.idp(), why };
                let algorithms = self
                    .issuer
                    .config
                    .algorithms
                    .iter()
                    .filter_map(|algorithm| serde_json::from_value::<CoreJwsSigningAlgorithm>(Value::from(algorithm.name())).ok());
                let verifier = self.client.id_token_verifier().set_allowed_algs(algorithms);
                let check = |found: Option<&Nonce>| match nonce {
                    None => Ok(()),
                    Some(wanted) if found.is_some_and(|found| found.secret() == wanted.secret()) => Ok(()),
                    Some(_) => Err("its nonce is not the one that was sent".to_owned()),
                };
                let claims = token.claims(&verifier, check).map_err(|error| refused(error.to_string()))?;
                ends = ends.or_else(|| u64::try_from(claims.expiration().timestamp()).ok());
                let text = token.to_string();
                let read = Unverified::read(&text).map_err(|error| refused(error.to_string()))?;
                self.person(read.claims().clone(), answer.access_token()).await?
            }
            (None, Some(before)) => before.clone(),
            (None, None) => {
                return Err(FlowError::Token { idp: self.idp(), why: "there is none: is `openid` a scope of this client?".into() });
            }
        };
        let refresh = answer.refresh_token().map(|token| token.secret().clone());
        Ok(Granted { person, refresh, ends: ends.unwrap_or_else(now) })
    }

    /// The person that claims of a verified ID token speak of. Groups that are not in it may be at the userinfo endpoint.
    async fn person(&self, mut claims: Map<String, Value>, access: &AccessToken) -> Result<Person, FlowError> {
        let config = &self.issuer.config;
        if config.groups.find(&claims).is_none() && claims.get("_claim_names").is_none() {
            for (name, value) in self.userinfo(&claims, access).await? {
                claims.entry(name).or_insert(value);
            }
        }
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = config.display_name.text(&claims).map(str::to_owned);
        Ok(Person { issuer: config.issuer.clone(), subject, name, groups: config.groups.groups(&claims)? })
    }

    /// OpenID Connect Core 1.0 section 5.3: its answer counts only if it is about the same subject.
    async fn userinfo(&self, claims: &Map<String, Value>, access: &AccessToken) -> Result<Map<String, Value>, FlowError> {
        let Some(url) = self.known.metadata.userinfo_endpoint() else { return Ok(Map::new()) };
        let request = http::Request::get(url.as_str()).header("authorization", format!("Bearer {}", access.secret())).body(Vec::new());
        let request = request.map_err(|error| FlowError::Settings(error.to_string()))?;
        let answer = self
            .issuer
            .http
            .fetch(request)
            .await
            .map_err(|error| FlowError::Unavailable(self.issuer.unavailable("its userinfo is needed", &error)))?;
        let found: Map<String, Value> = serde_json::from_slice(answer.body()).unwrap_or_default();
        let is_about = answer.status() == http::StatusCode::OK && found.get("sub").is_some() && found.get("sub") == claims.get("sub");
        Ok(if is_about { found } else { Map::new() })
    }

    fn refused<E: std::error::Error + 'static>(&self, error: &E) -> FlowError {
        FlowError::Refused { idp: self.idp(), why: causes(error) }
    }
}

fn login(issuer: &Issuer) -> Result<&LoginConfig, FlowError> {
    issuer.config.login.as_ref().ok_or_else(|| {
        FlowError::Settings(format!("nobody can log in to `{}`: the operator has set no `client_id` for it", issuer.config.name))
    })
}

/// A person who is at a browser.
pub struct Browser {
    flow: Flow,
    comes_back: RedirectUrl,
    /// Where the browser is to go.
    pub goes_to: String,
    verifier: PkceCodeVerifier,
    state: CsrfToken,
    nonce: Nonce,
}

impl Browser {
    /// The browser has come back, with this query.
    ///
    /// # Errors
    /// [`FlowError`]
    pub async fn granted(self, query: &str) -> Result<Granted, FlowError> {
        let all = |wanted: &'static str| form_urlencoded::parse(query.as_bytes()).filter(move |(name, _)| name == wanted);
        if ["state", "iss", "error", "code"].iter().any(|name| all(name).count() > 1) {
            return Err(FlowError::Mixed("the browser came back with a parameter twice"));
        }
        let get = |wanted| all(wanted).next().map(|(_, value)| value.into_owned());
        if get("state").as_deref() != Some(self.state.secret()) {
            return Err(FlowError::Mixed("the browser came back with another `state` than it was sent with"));
        }
        // RFC 9207 section 2.4: an answer of another authorization server.
        let promised = self.flow.known.metadata.additional_metadata().authorization_response_iss_parameter_supported;
        let iss = get("iss");
        if iss.is_none() && promised || iss.is_some_and(|iss| iss != self.flow.issuer.config.issuer) {
            return Err(FlowError::Mixed("the answer is another identity provider's (`iss`)"));
        }
        if let Some(error) = get("error") {
            let why = get("error_description").map_or(error.clone(), |description| format!("{error}: {description}"));
            return Err(FlowError::Refused { idp: self.flow.idp(), why });
        }
        let code = get("code").ok_or(FlowError::Mixed("the browser came back without a code"))?;
        let client = self.flow.client.clone().set_redirect_uri(self.comes_back);
        let request = client.exchange_code(AuthorizationCode::new(code)).map_err(|error| FlowError::Settings(error.to_string()))?;
        let answer = request.set_pkce_verifier(self.verifier).request_async(&self.flow.issuer.http).await;
        let answer = answer.map_err(|error| self.flow.refused(&error))?;
        self.flow.granted(&answer, Some(&self.nonce), None).await
    }
}
