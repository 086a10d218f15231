//! Keys that end while calls are under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::{FutureExt, future::join_all};
use gateway_user::credential::Problem;

use crate::{
    aws::{ROLE, assuming, get, person},
    emulator::{self, Process},
    relay::{Fate, Gate, Relay},
};

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_end_during_a_thousand_calls_fail_none_and_are_used_by_none_after() {
    const LASTS: Duration = Duration::from_secs(5);
    let moto = Process::moto();
    let sts = Relay::start(moto.1, |_| Fate::Until(LASTS));
    let clinic = Arc::new(assuming(emulator::profile(&sts.url), "sts"));
    let until = Instant::now() + 3 * LASTS;
    let calls = (0..1000).map(|_| {
        let (clinic, sts) = (clinic.clone(), sts.clone());
        tokio::spawn(async move {
            let ada = person("ada", &["dba"]);
            let mut times = 0;
            while Instant::now() < until {
                let signer = get(&clinic, &ada).await.unwrap();
                assert!(SystemTime::now() < sts.end_of(signer.key_id()), "they have ended");
                times += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            times
        })
    });
    let times: usize = join_all(calls).await.into_iter().map(Result::unwrap).sum();
    let asked = sts.calls().len();
    assert!((3..=6).contains(&asked), "STS was asked {asked} times for {times} calls");
    sts.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_keys_hold_no_call_waits_for_fresh_ones() {
    let moto = Process::moto();
    let gate = Arc::new(Gate::default());
    let hold = gate.clone();
    let sts = Relay::start(moto.1, move |before| if before == 0 { Fate::Until(Duration::from_secs(10)) } else { Fate::Held(hold.clone()) });
    let (clinic, ada) = (assuming(emulator::profile(&sts.url), "sts"), person("ada", &[]));
    let first = get(&clinic, &ada).await.unwrap();
    // With a fifth of their life left, fresh ones are asked for; the answer does not come.
    while sts.calls().len() < 2 {
        let at_once = get(&clinic, &ada).now_or_never().unwrap().unwrap();
        assert_eq!(at_once.key_id(), first.key_id());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(SystemTime::now() < sts.end_of(first.key_id()), "they were asked for too late");
    for _ in 0..20 {
        assert_eq!(get(&clinic, &ada).now_or_never().unwrap().unwrap().key_id(), first.key_id());
    }
    assert_eq!(sts.calls().len(), 2, "one asks for all");
    gate.open();
    while get(&clinic, &ada).await.unwrap().key_id() == first.key_id() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sts.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sts_keys_are_used_until_they_end_and_no_longer() {
    let moto = Process::moto();
    let is_up = Arc::new(AtomicBool::new(true));
    let up = is_up.clone();
    let fate = move |_| if up.load(Ordering::Relaxed) { Fate::Until(Duration::from_secs(4)) } else { Fate::Cut };
    let sts = Relay::start(moto.1, fate);
    let (clinic, ada) = (assuming(emulator::profile(&sts.url), "sts"), person("ada", &[]));
    let first = get(&clinic, &ada).await.unwrap();
    let ends = sts.end_of(first.key_id());
    is_up.store(false, Ordering::Relaxed);
    let error = loop {
        let before = SystemTime::now();
        match get(&clinic, &ada).await {
            Ok(signer) => assert!(signer.key_id() == first.key_id() && before < ends),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // The last twentieth of their life may be too short for a call.
    assert!(SystemTime::now() > ends - Duration::from_millis(250), "they were given up too early");
    assert!(matches!(error.problem, Problem::Unreachable(_)) && error.to_string().contains(ROLE), "{error}");
    is_up.store(true, Ordering::Relaxed);
    while get(&clinic, &ada).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sts.stop();
}
