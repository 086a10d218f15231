//! What is known of the issuers of tokens: their keys, kept up to date, and what they say of a token when they are asked.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::{Engine, prelude::BASE64_STANDARD};
use openidconnect::{
    AdditionalProviderMetadata, DeviceAuthorizationUrl, HttpResponse, IssuerUrl, ProviderMetadata,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
    },
    http,
    url::{Url, form_urlencoded},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use zeroize::Zeroizing;

use super::{
    http::{Http, causes},
    keys::KeySet,
    token::{Rules, TokenError},
};
use crate::{
    config::{Introspection, OidcConfig},
    outbound::Outbound,
    tls::TlsConfigError,
};

/// Keys are fetched anew so often.
const REFRESH: Duration = Duration::from_secs(300);
/// And no more often than this, whatever tokens are presented.
const LEAST: Duration = Duration::from_secs(5);
/// So many requests may wait for the same fetch.
const WAITING: usize = 1024;

/// An identity provider cannot say what must be known to decide.
#[derive(Debug, Clone, Error)]
#[error("the identity provider `{idp}` cannot be asked, and {what}: {cause}")]
pub struct Unavailable {
    /// Its name in the configuration.
    pub idp: String,
    /// What is missing.
    pub what: &'static str,
    /// What happened.
    pub cause: String,
}

/// What of the configuration of an identity provider cannot be used.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The issuer is no URL.
    #[error("identity provider `{idp}`: {issuer} is not a URL")]
    Issuer {
        /// Its name.
        idp: String,
        /// What it is.
        issuer: String,
    },
    /// Its authorities cannot be read.
    #[error("identity provider `{idp}`: {source}")]
    Tls {
        /// Its name.
        idp: String,
        /// What is wrong.
        source: Box<TlsConfigError>,
    },
    /// A file cannot be read.
    #[error("identity provider `{idp}`: {} cannot be read: {cause}", path.display())]
    File {
        /// Its name.
        idp: String,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        cause: std::io::Error,
    },
}

/// What a discovery document says beyond OpenID Connect Discovery 1.0: RFC 8414, RFC 8628.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoints {
    /// Where a device code is got (RFC 8628 section 4).
    pub device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
    /// Where a token is asked about (RFC 7662).
    pub introspection_endpoint: Option<Url>,
    /// Where a token is taken back (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Whether it says in its answers who it is (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Endpoints {}

/// A discovery document.
pub type Metadata = ProviderMetadata<
    Endpoints,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What the issuer said of itself when it was last asked.
pub struct Known {
    /// Its discovery document.
    pub metadata: Metadata,
    /// Its keys.
    pub keys: KeySet,
    /// The keys as they came.
    listed: Value,
    /// When.
    pub fetched: Instant,
}

/// One issuer of the configuration.
pub struct Issuer {
    /// What is asked of its tokens.
    pub rules: Rules,
    /// Its settings.
    pub config: OidcConfig,
    /// How it is asked.
    pub http: Http,
    url: IssuerUrl,
    known: ArcSwapOption<Known>,
    fetching: Mutex<Option<Attempt>>,
    waiting: Semaphore,
    revoked: ArcSwap<HashSet<String>>,
    /// It was told that the list of revoked tokens cannot be read, and has not been readable since.
    told_unreadable: AtomicBool,
}

/// The last time that it was asked.
struct Attempt {
    begun: Instant,
    failed: Option<Unavailable>,
}

impl Issuer {
    /// An issuer of which nothing is known yet.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &OidcConfig, outbound: &Outbound) -> Result<Self, SetupError> {
        let idp = || config.name.clone();
        let url = IssuerUrl::new(config.issuer.clone()).map_err(|_| SetupError::Issuer { idp: idp(), issuer: config.issuer.clone() })?;
        let http = Http::new(outbound, config.ca_file.as_deref(), url.url().scheme() == "https")
            .map_err(|source| SetupError::Tls { idp: idp(), source: Box::new(source) })?;
        let issuer = Issuer {
            rules: config.into(),
            config: config.clone(),
            http,
            url,
            known: ArcSwapOption::empty(),
            fetching: Mutex::new(None),
            waiting: Semaphore::new(WAITING),
            revoked: ArcSwap::default(),
            told_unreadable: AtomicBool::new(false),
        };
        issuer.read_revoked().map_err(|(path, cause)| SetupError::File { idp: idp(), path, cause })?;
        Ok(issuer)
    }

    /// What it said of itself, if that is not too old to count.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub fn known(&self) -> Result<Arc<Known>, Unavailable> {
        let Some(known) = self.known.load_full() else {
            return Err(self.unavailable("its keys are not known yet", &"they could not be fetched since the gateway was started"));
        };
        let age = known.fetched.elapsed();
        if age > self.config.keys_max_age {
            let cause =
                format!("they were last fetched {} s ago, and `keys_max_age` is {} s", age.as_secs(), self.config.keys_max_age.as_secs());
            return Err(self.unavailable("its keys are too old to be trusted", &cause));
        }
        Ok(known)
    }

    /// Asks it for its keys, unless it was asked since then; with all others that want to know, and no more often than every few seconds.
    /// True when the keys have changed.
    ///
    /// # Errors
    /// [`Unavailable`]: what was known before stays.
    pub async fn ask(&self, since: Instant) -> Result<bool, Unavailable> {
        let unavailable = |cause: String| self.unavailable("its keys are needed", &cause);
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(unavailable(format!("{WAITING} requests wait for them already")));
        };
        let mut last = self.fetching.lock().await;
        if let Some(attempt) = last.as_ref() {
            if attempt.begun > since {
                return attempt.failed.clone().map_or(Ok(false), Err);
            }
            tokio::time::sleep(LEAST.saturating_sub(attempt.begun.elapsed())).await;
        }
        let begun = Instant::now();
        let fetched = Metadata::discover_async(self.url.clone(), &self.http).await;
        let answer = fetched.map(|metadata| self.learn(metadata)).map_err(|error| unavailable(causes(&error)));
        *last = Some(Attempt { begun, failed: answer.as_ref().err().cloned() });
        answer
    }

    fn learn(&self, metadata: Metadata) -> bool {
        let listed = serde_json::to_value(metadata.jwks()).unwrap_or_default();
        let is_new = self.known.load().as_ref().is_none_or(|known| known.listed != listed);
        let keys = KeySet::of(&listed);
        self.known.store(Some(Arc::new(Known { metadata, keys, listed, fetched: Instant::now() })));
        is_new
    }

    /// Whether the token of this id was taken back.
    #[must_use]
    pub fn is_revoked(&self, jti: Option<&str>) -> bool {
        jti.is_some_and(|jti| self.revoked.load().contains(jti))
    }

    /// Reads the list of revoked tokens anew. True when it has changed.
    ///
    /// # Errors
    /// It cannot be read; what was read before stays.
    fn read_revoked(&self) -> Result<bool, (PathBuf, std::io::Error)> {
        let Some(path) = &self.config.revoked else { return Ok(false) };
        let text = fs::read_to_string(path).map_err(|error| (path.clone(), error))?;
        let ids = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ids: HashSet<String> = ids.map(str::to_owned).collect();
        let is_new = **self.revoked.load() != ids;
        if is_new {
            self.revoked.store(Arc::new(ids));
        }
        Ok(is_new)
    }

    /// What it says of a token (RFC 7662): its claims, or `None` if it does not hold.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub async fn introspect(&self, settings: &Introspection, token: &str) -> Result<Option<Map<String, Value>>, Unavailable> {
        let unavailable = |cause: String| self.unavailable("it is to be asked about every token", &cause);
        let known = match self.known.load_full() {
            Some(known) => known,
            None => {
                self.ask(Instant::now()).await?;
                self.known()?
            }
        };
        let url = known.metadata.additional_metadata().introspection_endpoint.as_ref();
        let url = url.ok_or_else(|| unavailable("its discovery document has no `introspection_endpoint`".into()))?;
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = self.post(url, &settings.client_id, Some(&settings.client_secret_file), &form).await.map_err(&unavailable)?;
        if answer.status() != http::StatusCode::OK {
            return Err(unavailable(format!("{url} answered with status {}", answer.status())));
        }
        let claims: Map<String, Value> = serde_json::from_slice(answer.body())
            .map_err(|_| unavailable(format!("{url} answered with something else than a JSON object")))?;
        Ok((claims.get("active") == Some(&Value::Bool(true))).then_some(claims))
    }

    /// Sends a form as a client of the issuer's, whatever it answers.
    ///
    /// # Errors
    /// No answer came; or the client's secret cannot be read.
    pub async fn post(
        &self,
        url: &Url,
        client_id: &str,
        secret_file: Option<&Path>,
        form: &[(&str, &str)],
    ) -> Result<HttpResponse, String> {
        let mut form = form.to_vec();
        let mut request = http::Request::post(url.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        if let Some(path) = secret_file {
            let secret = secret(path)?;
            // RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let basic = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(&secret)));
            request = request.header("authorization", format!("Basic {}", BASE64_STANDARD.encode(basic.as_bytes())));
        } else {
            form.push(("client_id", client_id));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.body(body.into_bytes()).map_err(|error| error.to_string())?;
        self.http.fetch(request).await.map_err(|error| error.to_string())
    }

    /// It cannot say what must be known, for this reason.
    pub(super) fn unavailable(&self, what: &'static str, cause: &dyn std::fmt::Display) -> Unavailable {
        Unavailable { idp: self.config.name.clone(), what, cause: cause.to_string() }
    }

    /// Checks that a token was not taken back, as far as that is set.
    ///
    /// # Errors
    /// [`TokenError::Revoked`]
    pub(super) fn check_id(&self, jti: Option<&str>) -> Result<(), TokenError> {
        if self.is_revoked(jti) { Err(TokenError::Revoked) } else { Ok(()) }
    }
}

/// A secret in a file, without the line break at its end.
///
/// # Errors
/// It cannot be read, in words that hold nothing of it.
pub fn secret(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The issuers of the configuration.
pub struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    /// Where they are asked; the workers that want to know have another runtime.
    pub(super) runtime: tokio::runtime::Handle,
    /// Changes when what was found out about tokens must be found out anew.
    generation: AtomicU64,
}

impl Issuers {
    /// Of which nothing is known yet.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &[OidcConfig], outbound: &Outbound, runtime: tokio::runtime::Handle) -> Result<Self, SetupError> {
        let issuers = config.iter().map(|config| Issuer::new(config, outbound).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Issuers { issuers, runtime, generation: AtomicU64::new(0) })
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// The one of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.config.name == name)
    }

    /// Changes when what was found out about tokens before no longer counts.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Keeps up with the keys of one, for as long as the gateway runs.
    pub async fn keep_up(self: Arc<Self>, issuer: Arc<Issuer>) {
        let idp = issuer.config.name.clone();
        let mut failures = 0;
        loop {
            let wait = match issuer.ask(Instant::now()).await {
                Ok(is_new) => {
                    if is_new {
                        self.outdate();
                        let kids = issuer.known().map(|known| known.keys.kids().join(", ")).unwrap_or_default();
                        tracing::info!(idp, kids, "the identity provider's keys were fetched");
                    } else if failures > 0 {
                        tracing::info!(idp, "the identity provider answers again");
                    }
                    failures = 0;
                    REFRESH.min(issuer.config.keys_max_age / 3)
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(idp, failures, "{error}; keys that are known are used for up to `keys_max_age`");
                    LEAST * failures.min(12)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads the lists of revoked tokens anew.
    pub fn read_revoked(&self) {
        for issuer in &self.issuers {
            match issuer.read_revoked() {
                Ok(false) => issuer.told_unreadable.store(false, Ordering::Relaxed),
                Ok(true) => {
                    issuer.told_unreadable.store(false, Ordering::Relaxed);
                    self.outdate();
                    tracing::info!(idp = issuer.config.name, "the list of revoked tokens was read anew");
                }
                Err(_) if issuer.told_unreadable.swap(true, Ordering::Relaxed) => {}
                Err((path, error)) => tracing::error!(
                    idp = issuer.config.name,
                    "the list of revoked tokens {} cannot be read: {error}; what was read before stays in force",
                    path.display()
                ),
            }
        }
    }
}
