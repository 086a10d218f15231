//! Secrets in AWS Secrets Manager and in Systems Manager Parameter Store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{CredentialError, Label, Problem, Secret, slot::Timed};
use crate::outbound::Outbound;

/// When the store could not be asked for so many times the time after which it is asked anew, what it said last is not used any more.
const CONFIRMED: u32 = 3;
/// But for so long it is: one request that fails shall not deny calls.
const AT_LEAST: Duration = Duration::from_secs(30);
/// From a request to its answer, with the tries that the SDK makes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
pub(super) enum Kind {
    SecretsManager { id: String, json_key: Option<String> },
    Parameter { name: String },
}

/// One secret in a store.
pub(super) struct Store {
    label: Label,
    kind: Kind,
    region: Option<String>,
    refresh: Duration,
    outbound: Outbound,
    /// Found out when it is first needed: the default chain may ask the instance's metadata service.
    config: OnceCell<SdkConfig>,
}

impl Store {
    pub(super) fn new(label: Label, kind: Kind, region: Option<String>, refresh: Duration, outbound: Outbound) -> Self {
        Store { label, kind, region, refresh, outbound, config: OnceCell::new() }
    }

    /// Asks for it once.
    pub(super) async fn fetch(self: Arc<Self>) -> Result<Timed<Secret>, CredentialError> {
        let asked = Instant::now();
        let answer = self.text().await.and_then(|text| self.secret(&text));
        let value = answer.map_err(|problem| self.label.failed(problem))?;
        Ok(Timed { value, asked, due: asked + self.refresh, until: asked + AT_LEAST.max(self.refresh * CONFIRMED) })
    }

    async fn text(&self) -> Result<Zeroizing<String>, Problem> {
        let config = self.config.get_or_init(|| self.load()).await;
        if config.region().is_none() {
            return Err(Problem::Unusable("is in no region that the gateway knows of: set `region` beside it".into()));
        }
        let text = match &self.kind {
            Kind::SecretsManager { id, .. } => {
                let asked = aws_sdk_secretsmanager::Client::new(config).get_secret_value().secret_id(id).send().await;
                asked.map_err(|error| self.problem(&error))?.secret_string
            }
            Kind::Parameter { name } => {
                let asked = aws_sdk_ssm::Client::new(config).get_parameter().name(name).with_decryption(true).send().await;
                asked.map_err(|error| self.problem(&error))?.parameter.and_then(|parameter| parameter.value)
            }
        };
        text.map(Zeroizing::new).ok_or_else(|| Problem::Unusable("holds no text".into()))
    }

    async fn load(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(self.outbound.aws()).timeout_config(timeouts);
        match &self.region {
            Some(region) => loader.region(Region::new(region.clone())).load().await,
            None => loader.load().await,
        }
    }

    fn secret(&self, text: &str) -> Result<Secret, Problem> {
        let unusable = |what: &str| Problem::Unusable(what.to_owned());
        let Kind::SecretsManager { json_key: Some(key), .. } = &self.kind else {
            return Secret::sendable(text).map_err(unusable);
        };
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|_| unusable("is no JSON object, and `json_key` is set"))?;
        let member = object.get(key).and_then(serde_json::Value::as_str);
        let member = member.ok_or_else(|| Problem::Unusable(format!("has no text under `{key}`, which is its `json_key`")))?;
        Secret::sendable(member).map_err(|what| Problem::Unusable(format!("has a text under `{key}` that {what}")))
    }

    /// What a failure means. Callers are told AWS's code for it, the log the rest, which may name roles and accounts.
    fn problem<E>(&self, error: &SdkError<E, HttpResponse>) -> Problem
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Label { server, asked } = &self.label;
        tracing::warn!(server = &**server, "{asked}: {}", DisplayErrorContext(error));
        match error {
            SdkError::ServiceError(answer) => meaning(answer.raw().status().as_u16(), answer.err().code().unwrap_or("no code")),
            SdkError::TimeoutError(_) => Problem::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs())),
            SdkError::ResponseError(_) => Problem::Unreachable("what it answers cannot be read".into()),
            // There are no keys to ask with, or no connection came about.
            _ => Problem::Unreachable(
                "it was not reached, or there are no keys of AWS's to ask it with (the gateway's log says which)".into(),
            ),
        }
    }
}

/// What an answer that is an error means for a secret that was got before: only what has to do with this moment leaves it as it is.
fn meaning(status: u16, code: &str) -> Problem {
    let is_of_the_moment = ["Throttl", "TooManyRequests", "RequestLimitExceeded", "RequestTimeout", "SlowDown"];
    match code {
        _ if status >= 500 || status == 429 || is_of_the_moment.iter().any(|word| code.contains(word)) => {
            Problem::Unreachable(format!("it answers `{code}`"))
        }
        "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => Problem::Gone,
        _ => Problem::Denied(format!("`{code}`")),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn store(json_key: Option<&str>) -> Store {
        let label = Label { server: "clinic".into(), asked: "the Secrets Manager secret `clinic/key`".into() };
        let kind = Kind::SecretsManager { id: "clinic/key".into(), json_key: json_key.map(str::to_owned) };
        Store::new(label, kind, None, Duration::from_secs(300), Outbound::default())
    }

    #[test]
    fn a_store_that_says_no_ends_what_it_said_before_and_one_that_is_busy_does_not() {
        for (status, code) in [(400, "ResourceNotFoundException"), (400, "ParameterNotFound"), (400, "AccessDeniedException")] {
            assert!(meaning(status, code).is_final(), "{code}");
        }
        for (status, code) in
            [(400, "DecryptionFailure"), (400, "InvalidRequestException"), (400, "UnrecognizedClientException"), (403, "no code")]
        {
            assert!(meaning(status, code).is_final(), "{code}");
        }
        for (status, code) in [(400, "ThrottlingException"), (500, "InternalServiceError"), (503, "no code"), (429, "no code")] {
            assert!(!meaning(status, code).is_final(), "{code}");
        }
    }

    #[test]
    fn a_member_of_a_json_object_is_taken_and_what_is_missing_is_told_without_the_rest() {
        let object = r#"{"username":"gateway","password":"s3cret-pa55word"}"#;
        assert_eq!(store(Some("password")).secret(object).unwrap().expose(), "s3cret-pa55word");
        assert_eq!(store(None).secret("s3cret-pa55word\n").unwrap().expose(), "s3cret-pa55word");
        for (key, text) in [("token", object), ("password", "s3cret-pa55word"), ("password", r#"{"password":"s3cret"}"#)] {
            let told = store(Some(key)).secret(text).unwrap_err().to_string();
            assert!(told.contains(key) || told.contains("json_key"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
