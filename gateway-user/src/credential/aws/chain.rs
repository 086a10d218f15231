//! The gateway's own AWS keys: the default chain, or a profile.

use std::{fmt, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::{runtime::Handle, time::Instant};

use super::{
    super::Problem,
    kept::{Kept, Keys},
};
use crate::outbound::Outbound;

/// A request to AWS, with those that repeat it.
const ANSWER: Duration = Duration::from_secs(10);
/// Until a connection is open.
const CONNECT: Duration = Duration::from_secs(3);

/// Where the keys are from.
#[derive(Clone)]
pub(super) struct Chain {
    profile: Option<String>,
    region: Option<String>,
    http: SharedHttpClient,
}

impl Chain {
    pub(super) fn new(profile: Option<String>, region: Option<String>, outbound: &Outbound) -> Self {
        Chain { profile, region, http: outbound.aws() }
    }

    pub(super) fn kept(self, runtime: &Handle) -> Arc<Kept> {
        Kept::new(self.to_string(), runtime, move || {
            let chain = self.clone();
            Box::pin(async move { chain.fetch().await })
        })
    }

    /// The chain is read anew each time: what it keeps by itself may have ended or been replaced.
    async fn fetch(&self) -> Result<Keys, Problem> {
        let asked = Instant::now().into_std();
        let sdk = load(self.http.clone(), self.region.as_deref(), self.profile.as_deref()).await;
        let provider = sdk.credentials_provider().ok_or_else(nothing)?;
        let credentials = provider.provide_credentials().await.map_err(|error| self.explain(&error))?;
        let region = sdk.region().map(|region| region.as_ref().into());
        Ok(Keys::new(credentials, region, sdk, asked, None))
    }

    /// In our words, for callers; the log has the source's own.
    fn explain(&self, error: &CredentialsError) -> Problem {
        tracing::warn!("{self}: {}", DisplayErrorContext(error));
        match error {
            CredentialsError::CredentialsNotLoaded(_) => nothing(),
            CredentialsError::ProviderTimedOut(_) => Problem::Unreachable("it did not answer in time".into()),
            CredentialsError::InvalidConfiguration(_) => Problem::Unusable("is not configured as AWS has it".into()),
            _ => Problem::Unreachable("one of its sources failed; the gateway's log says which".into()),
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

/// How the gateway asks AWS: the region and the profile that are given, and for all else as the environment says.
pub async fn sdk_config(outbound: &Outbound, region: Option<&str>, profile: Option<&str>) -> SdkConfig {
    load(outbound.aws(), region, profile).await
}

async fn load(http: SharedHttpClient, region: Option<&str>, profile: Option<&str>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_timeout(ANSWER).connect_timeout(CONNECT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(RetryConfig::standard())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let Some(profile) = profile else { return loader.load().await };
    let sdk = loader.profile_name(profile).load().await;
    // In the chain, keys of the environment would come before those of the profile that was asked for.
    let provider = ProviderConfig::default().with_http_client(http).with_region(sdk.region().cloned());
    let provider = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile).build();
    sdk.into_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}
