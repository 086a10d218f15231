//! A value that is fetched, kept while it counts, and fetched anew before it ends.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::Mutex};

use super::{CredentialError, Label, Problem};

/// After a failure nothing is asked for so long: what came of it is the answer for all. Nor is a value taken for old that is younger.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// A value and how long it counts.
#[derive(Clone, Copy)]
pub(super) struct Timed<T> {
    pub value: T,
    /// When it was asked for.
    pub asked: Instant,
    /// When it is fetched anew, while it still counts.
    pub due: Instant,
    /// When it ends.
    pub until: Instant,
}

/// One value, the same for all who ask. What it is fetched with is given by who asks.
pub(super) struct Slot<T> {
    label: Label,
    kept: ArcSwapOption<Timed<T>>,
    failed: ArcSwapOption<Failure>,
    asking: Arc<Mutex<()>>,
    /// Whether the value ends when its source says that it has none, whatever its time.
    ends_with_source: bool,
}

/// The last attempt, which gave nothing.
struct Failure {
    begun: Instant,
    ended: Instant,
    error: CredentialError,
}

impl<T> Timed<T> {
    fn counts(&self, now: Instant) -> bool {
        now < self.until
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }
}

impl Failure {
    /// Whether it is the answer for who has asked since then, too.
    fn answers(&self, since: Instant, now: Instant) -> bool {
        self.begun > since || now < self.ended + PAUSE
    }
}

impl<T: Clone + Send + Sync + 'static> Slot<T> {
    /// For a value that holds until its time, such as a token.
    pub(super) fn of_token(label: &Label) -> Arc<Self> {
        Self::new(label, false)
    }

    /// For a value that holds while its source stands behind it.
    pub(super) fn of_secret(label: &Label) -> Arc<Self> {
        Self::new(label, true)
    }

    fn new(label: &Label, ends_with_source: bool) -> Arc<Self> {
        let (kept, failed) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Arc::new(Slot { label: label.clone(), kept, failed, asking: Arc::default(), ends_with_source })
    }

    /// The value: at once while it counts, and then it is fetched anew beside the caller if it is due; else when it is there. One fetches at
    /// a time, and on this runtime: who asks may have another.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub(super) async fn get<F>(self: &Arc<Self>, runtime: &Handle, fetch: impl FnOnce() -> F) -> Result<T, CredentialError>
    where
        F: Future<Output = Result<Timed<T>, CredentialError>> + Send + 'static,
    {
        let now = Instant::now();
        if let Some(value) = self.value(now) {
            self.renew(runtime, now, fetch);
            return Ok(value);
        }
        let (slot, fetch) = (self.clone(), fetch());
        let asked = runtime.spawn(async move {
            let _alone = slot.asking.lock().await;
            let again = Instant::now();
            if let Some(value) = slot.value(again) {
                return Ok(value);
            }
            match slot.failed.load_full() {
                Some(failure) if failure.answers(now, again) => Err(failure.error.clone()),
                _ => slot.ask(fetch).await,
            }
        });
        asked.await.unwrap_or_else(|_| Err(self.label.failed(Problem::Stopping)))
    }

    /// Fetches it anew if it is due, or not there, and nobody is at it; nobody waits for that.
    pub(super) fn renew<F>(self: &Arc<Self>, runtime: &Handle, now: Instant, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Timed<T>, CredentialError>> + Send + 'static,
    {
        if !self.is_due(now) || self.failed.load().as_ref().is_some_and(|failure| failure.answers(now, now)) {
            return;
        }
        let Ok(alone) = self.asking.clone().try_lock_owned() else { return };
        let (slot, fetch) = (self.clone(), fetch());
        runtime.spawn(async move {
            // Whoever was at it until just now may have fetched it.
            if slot.is_due(Instant::now()) {
                drop(slot.ask(fetch).await);
            }
            drop(alone);
        });
    }

    /// The server did not take it: it is not given out any more, unless it has only just been fetched and would be the same again.
    pub(super) fn forget(&self, now: Instant, is_it: impl FnOnce(&T) -> bool) {
        let kept = self.kept.load();
        if kept.as_ref().is_some_and(|kept| now >= kept.asked + PAUSE && is_it(&kept.value)) {
            self.kept.compare_and_swap(&*kept, None);
        }
    }

    /// Whether there is nothing that counts.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.kept.load().as_ref().is_none_or(|kept| !kept.counts(now))
    }

    fn value(&self, now: Instant) -> Option<T> {
        self.kept.load().as_ref().filter(|kept| kept.counts(now)).map(|kept| kept.value.clone())
    }

    fn is_due(&self, now: Instant) -> bool {
        self.kept.load().as_ref().is_none_or(|kept| kept.is_due(now))
    }

    async fn ask(&self, fetch: impl Future<Output = Result<Timed<T>, CredentialError>>) -> Result<T, CredentialError> {
        let begun = Instant::now();
        match fetch.await {
            Ok(timed) => {
                let value = timed.value.clone();
                self.kept.store(Some(Arc::new(timed)));
                if self.failed.swap(None).is_some() {
                    tracing::info!(server = &*self.label.server, "{} can be had again", self.label.asked);
                }
                Ok(value)
            }
            Err(error) => {
                if self.ends_with_source && error.problem.is_final() {
                    self.kept.store(None);
                }
                let is_in_use = !self.is_over(Instant::now());
                tracing::warn!(server = &*error.server, is_in_use, "{error}");
                self.failed.store(Some(Arc::new(Failure { begun, ended: Instant::now(), error: error.clone() })));
                Err(error)
            }
        }
    }
}
