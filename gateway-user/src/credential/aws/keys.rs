//! AWS's keys, in hand, and how long they count.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use tokio::runtime::Handle;

use super::super::{
    CredentialError, Echoes, Label, Problem,
    slot::{Slot, Timed},
};

/// What is left of keys when they are fetched anew; a fifth of their life if that is less.
const EARLY: Duration = Duration::from_secs(300);
/// With so little left, a signature may arrive too late: they are over. A twentieth of their life if that is less.
const LAST: Duration = Duration::from_secs(10);
/// Keys without an end are looked at so often: whoever changes them expects that they are used.
const ENDLESS: Duration = Duration::from_secs(300);
/// And so long they count when their source cannot be asked.
const CONFIRMED: Duration = Duration::from_secs(900);

/// Keys of AWS's, in hand.
pub(super) struct Keys {
    pub(super) credentials: Credentials,
    pub(super) region: Option<Arc<str>>,
    /// How AWS is asked with them.
    pub(super) sdk: SdkConfig,
    /// What must not come back in an answer to what they sign, but for the signature.
    pub(super) echoes: Echoes,
}

impl Keys {
    pub(super) fn new(credentials: Credentials, region: Option<Arc<str>>, sdk: SdkConfig) -> Self {
        let echoes = Echoes::of(&[credentials.secret_access_key(), credentials.session_token().unwrap_or_default()]);
        Keys { credentials, region, sdk, echoes }
    }

    /// For as long as they count: they were asked for at `asked`, and last for no longer than `granted` from then, whatever their source's
    /// clock says.
    pub(super) fn timed(self, asked: Instant, granted: Option<Duration>) -> Result<Timed<Arc<Keys>>, Problem> {
        let left = self.credentials.expiry().map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
        if left == Some(Duration::ZERO) {
            return Err(Problem::Unusable("gives keys whose time is over".into()));
        }
        // What is left now, seen from then.
        let said = left.map(|left| asked.elapsed() + left);
        let (due, until) = match said.into_iter().chain(granted).min() {
            None => (ENDLESS, CONFIRMED),
            Some(lasts) => {
                let until = lasts - LAST.min(lasts / 20);
                (until - EARLY.min(lasts / 5), until)
            }
        };
        Ok(Timed { value: Arc::new(self), asked, due: asked + due, until: asked + until })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.credentials.access_key_id()).finish_non_exhaustive()
    }
}

type Fetching = Pin<Box<dyn Future<Output = Result<Timed<Arc<Keys>>, Problem>> + Send>>;

/// Where keys are from, and those that it gave last.
pub(super) struct Kept {
    label: Label,
    slot: Arc<Slot<Arc<Keys>>>,
    runtime: Handle,
    fetch: Box<dyn Fn() -> Fetching + Send + Sync>,
}

impl Kept {
    /// None yet. They are fetched on this runtime.
    pub(super) fn new<F>(label: Label, runtime: &Handle, fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Timed<Arc<Keys>>, Problem>> + Send + 'static,
    {
        Kept { slot: Slot::of_token(&label), label, runtime: runtime.clone(), fetch: Box::new(move || Box::pin(fetch())) }
    }

    /// Keys that count, at once if there are any.
    pub(super) async fn get(&self) -> Result<Arc<Keys>, CredentialError> {
        self.slot.get(&self.runtime, || self.fetch()).await
    }

    /// Fetches them if they are due; nobody waits for that.
    pub(super) fn renew(&self) {
        self.slot.renew(&self.runtime, Instant::now(), || self.fetch());
    }

    /// These are not taken.
    pub(super) fn forget(&self, refused: &Arc<Keys>) {
        self.slot.forget(Instant::now(), |kept| Arc::ptr_eq(kept, refused));
    }

    fn fetch(&self) -> impl Future<Output = Result<Timed<Arc<Keys>>, CredentialError>> + Send + 'static {
        let (fetching, label) = ((self.fetch)(), self.label.clone());
        async move { fetching.await.map_err(|problem| label.failed(problem)) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// When keys are due and when they are over, in seconds after they were asked for.
    fn timed(ends_in: Option<u64>, granted: Option<u64>) -> Result<(f64, f64), Problem> {
        let ends = ends_in.map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
        let keys = Keys::new(Credentials::new("id", "secret", None, ends, "test"), None, SdkConfig::builder().build());
        let asked = Instant::now();
        let timed = keys.timed(asked, granted.map(Duration::from_secs))?;
        Ok(((timed.due - asked).as_secs_f64().round(), (timed.until - asked).as_secs_f64().round()))
    }

    #[test]
    fn keys_are_due_well_before_they_end_and_over_shortly_before() {
        assert_eq!(timed(Some(3600), None).unwrap(), (3290.0, 3590.0));
        assert_eq!(timed(Some(900), None).unwrap(), (710.0, 890.0));
        assert_eq!(timed(Some(100), None).unwrap(), (75.0, 95.0));
        assert_eq!(timed(None, None).unwrap(), (300.0, 900.0), "those without an end are looked at");
    }

    #[test]
    fn keys_last_no_longer_than_was_asked_for_whatever_the_clocks_say() {
        assert_eq!(timed(Some(3600 + 1800), Some(3600)).unwrap(), (3290.0, 3590.0), "our clock is behind");
        assert_eq!(timed(Some(900), Some(3600)).unwrap(), (710.0, 890.0));
        assert!(timed(Some(0), None).is_err());
    }
}
