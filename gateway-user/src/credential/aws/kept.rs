//! Keys that end, kept: fetched anew in the background before they end, and never used after.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
};

use super::super::Problem;

/// What is left of keys when they are fetched anew; a fifth of their life if that is less.
const EARLY: Duration = Duration::from_secs(300);
/// With so little left, a signature may arrive too late: they are over. A twentieth of their life if that is less.
const LAST: Duration = Duration::from_secs(10);
/// Keys without an end are looked at so often: whoever changes them expects that they are used.
const ENDLESS: Duration = Duration::from_secs(300);
/// Between two tries to fetch anew, while there are keys that hold.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// So long, a failure is the answer for whoever asks after it: a source that denies is not asked by each call.
const DENIED: Duration = Duration::from_secs(2);

/// Keys of AWS's, in hand.
pub(super) struct Keys {
    pub(super) credentials: Credentials,
    pub(super) region: Option<Arc<str>>,
    /// How AWS is asked with them.
    pub(super) sdk: SdkConfig,
    taken: Instant,
    ends: Option<SystemTime>,
    lasts: Option<Duration>,
}

impl Keys {
    /// Keys that were asked for at `asked`, and last for no longer than `granted` from then, whatever their source's clock says.
    pub(super) fn new(
        credentials: Credentials,
        region: Option<Arc<str>>,
        sdk: SdkConfig,
        asked: Instant,
        granted: Option<Duration>,
    ) -> Self {
        let ends = credentials.expiry();
        let said = ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
        let lasts = match (said, granted) {
            (Some(said), Some(granted)) => Some(said.min(granted)),
            (said, granted) => said.or(granted),
        };
        Keys { credentials, region, sdk, taken: asked, ends, lasts }
    }

    /// By whichever clock is ahead; `None`: they have no end.
    fn left(&self) -> Option<Duration> {
        let lasts = self.lasts?;
        let by_our_own = lasts.saturating_sub(self.taken.elapsed());
        let by_the_date = self.ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
        Some(by_the_date.map_or(by_our_own, |left| left.min(by_our_own)))
    }

    fn last(&self) -> Duration {
        self.lasts.map_or(LAST, |lasts| LAST.min(lasts / 20))
    }

    fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left <= self.last())
    }

    fn is_due(&self) -> bool {
        match (self.left(), self.lasts) {
            (Some(left), Some(lasts)) => left <= EARLY.min(lasts / 5) + self.last(),
            _ => self.taken.elapsed() >= ENDLESS,
        }
    }

    /// The same keys do not come to last longer: a source that says so has none that are fresh.
    fn or_end_as(mut self, before: Option<&Keys>) -> Self {
        if let Some(before) = before.filter(|before| before.credentials.access_key_id() == self.credentials.access_key_id())
            && let (Some(ends), Some(then)) = (self.ends, before.ends)
            && then < ends
        {
            self.ends = Some(then);
        }
        self
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.credentials.access_key_id()).field("ends", &self.ends).finish_non_exhaustive()
    }
}

pub(super) type Fetching = Pin<Box<dyn Future<Output = Result<Keys, Problem>> + Send>>;
type Fetch = Box<dyn Fn() -> Fetching + Send + Sync>;

/// One source, and the keys that it gave last.
pub(super) struct Kept {
    /// For the log.
    source: String,
    fetch: Fetch,
    runtime: Handle,
    keys: ArcSwapOption<Keys>,
    /// One asks at a time; what came of it, if it failed.
    asking: Mutex<Option<Failure>>,
    /// One renews at a time.
    renewing: Arc<Semaphore>,
}

struct Failure {
    begun: Instant,
    ended: Instant,
    problem: Problem,
}

impl Kept {
    /// Of which nothing is known yet. `fetch` runs on this runtime.
    pub(super) fn new(source: String, runtime: &Handle, fetch: impl Fn() -> Fetching + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Kept {
            source,
            fetch: Box::new(fetch),
            runtime: runtime.clone(),
            keys: ArcSwapOption::empty(),
            asking: Mutex::new(None),
            renewing: Arc::new(Semaphore::new(1)),
        })
    }

    /// Keys that hold, at once if there are any.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<Keys>, Problem> {
        if let Some(keys) = self.current() {
            if keys.is_due()
                && let Ok(alone) = self.renewing.clone().try_acquire_owned()
            {
                self.runtime.spawn(self.clone().renew(alone));
            }
            return Ok(keys);
        }
        let (kept, since) = (self.clone(), Instant::now());
        let asked = self.runtime.spawn(async move { kept.first(since).await });
        asked.await.unwrap_or(Err(Problem::Stopping))
    }

    /// These are not taken: they are not given out any more.
    pub(super) fn forget(&self, refused: &Arc<Keys>) {
        let is_kept = self.keys.load().as_ref().is_some_and(|kept| Arc::ptr_eq(kept, refused));
        if is_kept {
            self.keys.store(None);
        }
    }

    fn current(&self) -> Option<Arc<Keys>> {
        self.keys.load_full().filter(|keys| !keys.is_over())
    }

    /// Asks the source, for all that wait since before it was asked.
    async fn first(&self, since: Instant) -> Result<Arc<Keys>, Problem> {
        let mut last = self.asking.lock().await;
        if let Some(keys) = self.current() {
            return Ok(keys);
        }
        if let Some(failure) = last.as_ref().filter(|failure| failure.begun > since || failure.ended.elapsed() < DENIED) {
            return Err(failure.problem.clone());
        }
        self.ask(&mut last).await
    }

    async fn ask(&self, last: &mut Option<Failure>) -> Result<Arc<Keys>, Problem> {
        let begun = Instant::now();
        let before = self.keys.load_full();
        let answer = (self.fetch)().await.map(|keys| Arc::new(keys.or_end_as(before.as_deref())));
        let answer = match answer {
            Ok(keys) if keys.is_over() => Err(Problem::Unusable("gives keys whose time is over".into())),
            answer => answer,
        };
        match &answer {
            Ok(keys) => {
                self.keys.store(Some(keys.clone()));
                *last = None;
            }
            Err(problem) => {
                tracing::warn!("{} {problem}", self.source);
                *last = Some(Failure { begun, ended: Instant::now(), problem: problem.clone() });
            }
        }
        answer
    }

    /// Until there are fresh ones, or the old ones are over: then whoever asks waits for the source, and is told what it says.
    async fn renew(self: Arc<Self>, alone: OwnedSemaphorePermit) {
        let mut pause = PAUSES.0;
        while self.current().is_some_and(|keys| keys.is_due()) {
            let asked = self.ask(&mut *self.asking.lock().await).await;
            match asked {
                Ok(keys) if !keys.is_due() => tracing::debug!("{} gave fresh keys", self.source),
                Ok(_) => tracing::debug!("{} has no fresh keys yet", self.source),
                Err(_) => tracing::warn!("{}: the keys that it gave before are used until they end; it is asked again", self.source),
            }
            if self.current().is_some_and(|keys| keys.is_due()) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        drop(alone);
    }
}
