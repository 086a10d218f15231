//! How a worker waits: asleep, or for a bounded while awake.
//!
//! To be woken from sleep costs a call more than the call itself, where one comes upon the other. Looking for work instead costs a core.
//! So a worker looks only while what it waits for usually comes within the bound, and never longer than that.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use compio::runtime::Runtime;

thread_local! {
    /// Reads of this worker's sockets that have completed.
    static ARRIVALS: Cell<u64> = const { Cell::new(0) };
}

/// Something has come.
pub(super) fn arrived() {
    ARRIVALS.set(ARRIVALS.get().wrapping_add(1));
}

/// Runs a future, and what it spawns, to its end.
pub(super) fn block_on<F: Future>(runtime: &Runtime, future: F, busy_poll: Option<Duration>) -> F::Output {
    let Some(bound) = busy_poll else { return runtime.block_on(future) };
    runtime.enter(|| {
        let mut future = pin!(future);
        let waker = runtime.waker();
        let mut waits = Waits::new(bound);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            match runtime.run() {
                true => runtime.poll_with(Some(Duration::ZERO)),
                false => wait(runtime, &mut waits),
            }
        }
    })
}

fn wait(runtime: &Runtime, waits: &mut Waits) {
    let (since, before) = (Instant::now(), ARRIVALS.get());
    let mut waited = Duration::ZERO;
    while waits.may_be_short() && waited < waits.bound && ARRIVALS.get() == before {
        runtime.poll_with(Some(Duration::ZERO));
        runtime.run();
        waited = since.elapsed();
    }
    if ARRIVALS.get() == before {
        runtime.poll();
        waited = since.elapsed();
    }
    waits.note(waited);
}

/// How long the last waits were.
struct Waits {
    bound: Duration,
    usual: Duration,
}

impl Waits {
    fn new(bound: Duration) -> Self {
        Waits { bound, usual: bound * 2 }
    }

    fn may_be_short(&self) -> bool {
        self.usual <= self.bound
    }

    /// A moving average, in which one long rest is soon forgotten.
    fn note(&mut self, waited: Duration) {
        self.usual = (self.usual * 7 + waited.min(self.bound * 4)) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_micros(50);

    fn after(waits: &[u64]) -> Waits {
        let mut known = Waits::new(BOUND);
        waits.iter().for_each(|micros| known.note(Duration::from_micros(*micros)));
        known
    }

    #[test]
    fn a_worker_sleeps_until_waits_have_been_short() {
        assert!(!after(&[]).may_be_short());
        assert!(!after(&[10, 10]).may_be_short());
        assert!(after(&[10; 12]).may_be_short());
    }

    #[test]
    fn a_worker_that_waits_in_vain_goes_back_to_sleep_and_soon_knows_better() {
        assert!(after(&[&[10; 20][..], &[1_000_000]].concat()).may_be_short(), "one rest is no change");
        assert!(!after(&[&[10; 20][..], &[1_000_000; 3]].concat()).may_be_short());
        assert!(after(&[&[1_000_000; 1000][..], &[10; 20]].concat()).may_be_short());
    }

    #[test]
    fn everything_runs_to_its_end_with_and_without() -> std::io::Result<()> {
        for busy_poll in [None, Some(BOUND)] {
            let runtime = Runtime::new()?;
            let ended = block_on(
                &runtime,
                async {
                    let timer = compio::runtime::spawn(compio::time::sleep(Duration::from_millis(5)));
                    timer.await.is_ok()
                },
                busy_poll,
            );
            assert!(ended);
        }
        Ok(())
    }
}
