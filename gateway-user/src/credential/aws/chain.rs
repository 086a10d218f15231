//! The gateway's own AWS keys: the default chain, or a profile.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::runtime::Handle;

use super::{
    super::{Label, Problem, slot::Timed},
    keys::{Kept, Keys},
};
use crate::outbound::Outbound;

/// A request to AWS, with those that repeat it.
const ANSWER: Duration = Duration::from_secs(10);
/// Until a connection is open.
const CONNECT: Duration = Duration::from_secs(3);

/// Where the keys are from.
pub(super) struct Chain {
    profile: Option<String>,
    region: Option<String>,
    http: SharedHttpClient,
    /// The key that it gave last, and its end.
    last: Mutex<Option<(String, SystemTime)>>,
}

impl Chain {
    pub(super) fn new(profile: Option<String>, region: Option<String>, outbound: &Outbound) -> Self {
        Chain { profile, region, http: outbound.aws(), last: Mutex::default() }
    }

    /// Its keys, for this server.
    pub(super) fn kept(self, server: &Arc<str>, runtime: &Handle) -> Kept {
        let label = Label { server: server.clone(), asked: self.to_string().into() };
        let chain = Arc::new(self);
        Kept::new(label, runtime, move || chain.clone().fetch())
    }

    /// The chain is read anew each time: what it keeps by itself may have ended or been replaced.
    async fn fetch(self: Arc<Self>) -> Result<Timed<Arc<Keys>>, Problem> {
        let asked = Instant::now();
        let sdk = self.load().await;
        let provider = sdk.credentials_provider().ok_or_else(nothing)?;
        let credentials = self.end_as_before(provider.provide_credentials().await.map_err(|error| self.explain(&error))?);
        let region = sdk.region().map(|region| region.as_ref().into());
        Keys::new(credentials, region, sdk).timed(asked, None)
    }

    async fn load(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(ANSWER).connect_timeout(CONNECT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let Some(profile) = &self.profile else { return loader.load().await };
        let sdk = loader.profile_name(profile).load().await;
        // In the chain, keys of the environment would come before those of the profile that was asked for.
        let provider = ProviderConfig::default().with_http_client(self.http.clone()).with_region(sdk.region().cloned());
        let provider = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile).build();
        sdk.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
    }

    /// A key does not come to last longer. When an instance's metadata service has only keys that have ended, the SDK says that they hold
    /// for some minutes more.
    fn end_as_before(&self, mut credentials: Credentials) -> Credentials {
        let Some(ends) = credentials.expiry() else { return credentials };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((key, before)) if key == credentials.access_key_id() => *credentials.expiry_mut() = Some(ends.min(*before)),
            _ => *last = Some((credentials.access_key_id().to_owned(), ends)),
        }
        credentials
    }

    /// In our words, for callers; the log has the source's own.
    fn explain(&self, error: &CredentialsError) -> Problem {
        tracing::warn!("{self}: {}", DisplayErrorContext(error));
        match error {
            CredentialsError::CredentialsNotLoaded(_) => nothing(),
            CredentialsError::ProviderTimedOut(_) => Problem::Unreachable("it did not answer in time".into()),
            CredentialsError::InvalidConfiguration(_) => Problem::Unusable("is not configured as AWS has it".into()),
            _ => Problem::Unreachable("one of its sources failed (the gateway's log says which)".into()),
        }
    }
}

fn nothing() -> Problem {
    Problem::Unusable("holds no credentials".into())
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.profile {
            Some(profile) => write!(f, "the AWS profile `{profile}`"),
            None => f.write_str("the AWS credential chain"),
        }
    }
}
