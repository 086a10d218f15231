use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, sync::Semaphore};

use super::super::{
    CredentialError, Label, Problem,
    slot::{PAUSE, Slot, Timed},
};

const HOUR: Duration = Duration::from_secs(3600);

fn label() -> Label {
    Label { server: "clinic".into(), asked: "the test".into() }
}

fn error(problem: Problem) -> CredentialError {
    label().failed(problem)
}

/// A source that counts, and that answers when it is let.
#[derive(Clone)]
struct Fetches {
    count: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
}

impl Fetches {
    fn new(open: bool) -> Self {
        Fetches { count: Arc::default(), gate: Arc::new(Semaphore::new(if open { Semaphore::MAX_PERMITS } else { 0 })) }
    }

    fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS - self.gate.available_permits());
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// The value is the number of the fetch. It is due and ends so long after now.
    fn fetch(&self, due: Duration, until: Duration) -> impl Future<Output = Result<Timed<u32>, CredentialError>> + Send + 'static {
        let fetches = self.clone();
        async move {
            let asked = Instant::now();
            let value = fetches.count.fetch_add(1, Ordering::SeqCst) + 1;
            drop(fetches.gate.acquire().await.unwrap());
            Ok(Timed { value, asked, due: asked + due, until: asked + until })
        }
    }

    fn fail(&self, problem: Problem) -> impl Future<Output = Result<Timed<u32>, CredentialError>> + Send + 'static {
        let count = self.count.clone();
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            Err(error(problem))
        }
    }
}

/// Until what runs beside has come to rest; what never does fails instead of hanging.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(done(), "it does not come to rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_that_find_it_over_wait_for_one_fetch() {
    let (slot, fetches, runtime) = (Slot::of_token(&label()), Fetches::new(true), Handle::current());
    assert_eq!(slot.get(&runtime, || fetches.fetch(Duration::ZERO, Duration::ZERO)).await.unwrap(), 1);
    let second = Fetches { count: fetches.count.clone(), gate: Arc::new(Semaphore::new(0)) };
    let all = (0..1000).map(|_| {
        let (slot, second, runtime) = (slot.clone(), second.clone(), runtime.clone());
        tokio::spawn(async move { slot.get(&runtime, || second.fetch(HOUR, HOUR)).await })
    });
    let all: Vec<_> = all.collect();
    until(|| second.count() >= 2).await;
    second.open();
    for got in join_all(all).await {
        assert_eq!(got.unwrap().unwrap(), 2);
    }
    assert_eq!(fetches.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_counts_nobody_waits_and_one_fetches_it_anew() {
    let (slot, fetches, runtime) = (Slot::of_token(&label()), Fetches::new(true), Handle::current());
    assert_eq!(slot.get(&runtime, || fetches.fetch(Duration::ZERO, HOUR)).await.unwrap(), 1);
    let second = Fetches { count: fetches.count.clone(), gate: Arc::new(Semaphore::new(0)) };
    // It does not answer yet: whoever waited for it would wait for ever.
    for _ in 0..1000 {
        assert_eq!(slot.get(&runtime, || second.fetch(HOUR, HOUR)).await.unwrap(), 1);
    }
    until(|| second.count() >= 2).await;
    second.open();
    let newer = || async { slot.get(&runtime, || second.fetch(HOUR, HOUR)).await.unwrap() };
    while newer().await == 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((newer().await, fetches.count()), (2, 2));
}

#[tokio::test]
async fn a_failed_fetch_leaves_a_token_until_its_own_end_and_is_the_answer_after_that() {
    let (slot, fetches, runtime) = (Slot::of_token(&label()), Fetches::new(true), Handle::current());
    let lasts = Duration::from_millis(300);
    slot.get(&runtime, || fetches.fetch(Duration::ZERO, lasts)).await.unwrap();
    let refused = || Problem::Refused { code: "invalid_client".into() };
    assert_eq!(slot.get(&runtime, || fetches.fail(refused())).await.unwrap(), 1);
    until(|| slot.is_over(Instant::now())).await;
    // It was asked just now: it is not asked by every call.
    for _ in 0..10 {
        assert_eq!(slot.get(&runtime, || fetches.fail(Problem::Gone)).await.unwrap_err(), error(refused()));
    }
    assert_eq!(fetches.count(), 2);
}

#[tokio::test]
async fn a_secret_ends_when_its_source_says_so_and_not_when_it_is_silent() {
    let (slot, fetches, runtime) = (Slot::of_secret(&label()), Fetches::new(true), Handle::current());
    slot.get(&runtime, || fetches.fetch(Duration::ZERO, HOUR)).await.unwrap();
    let (now, silent) = (Instant::now(), || Problem::Unreachable("no answer".into()));
    slot.renew(&runtime, now, || fetches.fail(silent()));
    until(|| fetches.count() >= 2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!slot.is_over(Instant::now()));
    slot.renew(&runtime, now + PAUSE, || fetches.fail(Problem::Denied("no".into())));
    assert_eq!(fetches.count(), 2, "within the pause nothing is asked");
    slot.renew(&runtime, now + PAUSE * 2, || fetches.fail(Problem::Denied("no".into())));
    until(|| slot.is_over(Instant::now())).await;
    assert_eq!(slot.get(&runtime, || fetches.fetch(HOUR, HOUR)).await.unwrap_err(), error(Problem::Denied("no".into())));
}

#[tokio::test]
async fn what_the_server_refused_is_forgotten_unless_it_is_fresh_or_another() {
    let (slot, fetches, runtime) = (Slot::of_token(&label()), Fetches::new(true), Handle::current());
    slot.get(&runtime, || fetches.fetch(HOUR, HOUR)).await.unwrap();
    let now = Instant::now();
    slot.forget(now, |kept| *kept == 1);
    slot.forget(now + PAUSE, |kept| *kept == 7);
    assert!(!slot.is_over(now));
    slot.forget(now + PAUSE, |kept| *kept == 1);
    assert!(slot.is_over(now));
    assert_eq!(slot.get(&runtime, || fetches.fetch(HOUR, HOUR)).await.unwrap(), 2);
}

#[tokio::test]
async fn it_ends_at_its_time_by_the_clock_that_is_given() {
    let (slot, fetches, runtime) = (Slot::of_token(&label()), Fetches::new(true), Handle::current());
    slot.get(&runtime, || fetches.fetch(HOUR / 2, HOUR)).await.unwrap();
    let now = Instant::now();
    assert!(!slot.is_over(now) && !slot.is_over(now + HOUR - Duration::from_secs(60)) && slot.is_over(now + HOUR));
    slot.renew(&runtime, now + HOUR / 4, || fetches.fetch(HOUR, HOUR));
    assert_eq!(fetches.count(), 1, "it is not due");
}
