//! The turns of a worker's loop, and how it waits between them: asleep, or for a bounded while awake.
//!
//! To be woken from sleep costs a call more than the call itself, where one comes upon the other. Looking for work instead costs a core.
//! So a worker looks only while what it waits for usually comes within the bound, never longer than that, and not while others want the
//! core.

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
    /// How many had when the present turn began, and the one before.
    static TURNS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Something has come.
pub(super) fn arrived() {
    ARRIVALS.set(ARRIVALS.get().wrapping_add(1));
}

fn turn() {
    let (now, _) = TURNS.get();
    TURNS.set((ARRIVALS.get(), now));
}

/// Whether much comes at a time: then there is more to do in one system call.
pub(super) fn is_busy() -> bool {
    let (now, before) = TURNS.get();
    ARRIVALS.get().wrapping_sub(now) > 1 || now.wrapping_sub(before) > 1
}

/// Runs a future, and what it spawns, to its end.
pub(super) fn block_on<F: Future>(runtime: &Runtime, future: F, busy_poll: Option<Duration>) -> F::Output {
    let mut future = pin!(future);
    // The runtime polls what it is blocked on at every turn.
    let mut turning = std::future::poll_fn(|cx| {
        turn();
        future.as_mut().poll(cx)
    });
    let Some(bound) = busy_poll else { return runtime.block_on(turning) };
    runtime.enter(|| {
        let waker = runtime.waker();
        let mut waits = Waits::new(bound);
        loop {
            if let Poll::Ready(output) = pin!(&mut turning).poll(&mut Context::from_waker(&waker)) {
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
    let mut now = since;
    while waits.may_be_short(now) && now - since < waits.bound {
        runtime.poll_with(Some(Duration::ZERO));
        runtime.run();
        let last = std::mem::replace(&mut now, Instant::now());
        if ARRIVALS.get() != before {
            return waits.looked(now - since);
        }
        waits.look_took(now - last, now);
    }
    runtime.poll();
    waits.slept(since.elapsed());
}

/// How long the last waits were.
struct Waits {
    bound: Duration,
    usual: Duration,
    /// Others want the core until then.
    wanted_until: Option<Instant>,
}

/// What it takes to be woken, on a virtual machine: a wait in sleep is so much longer than it would have been awake.
const WAKING: Duration = Duration::from_micros(50);
/// A look for work that takes so long was interrupted by somebody else who runs.
const INTERRUPTED: Duration = Duration::from_micros(15);
const STANDS_BACK: Duration = Duration::from_millis(10);

impl Waits {
    fn new(bound: Duration) -> Self {
        Waits { bound, usual: bound * 2, wanted_until: None }
    }

    fn may_be_short(&self, now: Instant) -> bool {
        self.usual <= self.bound && self.wanted_until.is_none_or(|until| until <= now)
    }

    fn looked(&mut self, waited: Duration) {
        // A moving average, in which one long rest is soon forgotten.
        self.usual = (self.usual * 7 + waited.min(self.bound * 8)) / 8;
    }

    fn slept(&mut self, waited: Duration) {
        self.looked(waited.saturating_sub(WAKING));
    }

    fn look_took(&mut self, took: Duration, now: Instant) {
        if took > INTERRUPTED {
            self.wanted_until = Some(now + STANDS_BACK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_micros(50);

    fn after(slept: &[u64]) -> Waits {
        let mut known = Waits::new(BOUND);
        slept.iter().for_each(|micros| known.slept(Duration::from_micros(*micros)));
        known
    }

    fn spins(waits: &Waits) -> bool {
        waits.may_be_short(Instant::now())
    }

    #[test]
    fn a_worker_sleeps_until_waits_have_been_short() {
        assert!(!spins(&after(&[])));
        assert!(!spins(&after(&[60, 60])));
        assert!(spins(&after(&[60; 12])), "most of such a wait is the waking");
        assert!(!spins(&after(&[200; 1000])));
    }

    #[test]
    fn a_worker_that_waits_in_vain_goes_back_to_sleep_and_soon_knows_better() {
        assert!(!spins(&after(&[&[60; 20][..], &[1_000_000; 2]].concat())));
        assert!(spins(&after(&[&[1_000_000; 1000][..], &[60; 30]].concat())));
    }

    #[test]
    fn a_worker_stands_back_while_others_want_the_core() {
        let (mut waits, now) = (after(&[60; 12]), Instant::now());
        waits.look_took(Duration::from_micros(2), now);
        assert!(waits.may_be_short(now));
        waits.look_took(Duration::from_millis(1), now);
        assert!(!waits.may_be_short(now + STANDS_BACK / 2));
        assert!(waits.may_be_short(now + STANDS_BACK));
    }

    #[test]
    fn everything_runs_to_its_end_with_and_without() -> std::io::Result<()> {
        for busy_poll in [None, Some(BOUND)] {
            let runtime = Runtime::new()?;
            let timer = async { compio::runtime::spawn(compio::time::sleep(Duration::from_millis(5))).await.is_ok() };
            assert!(block_on(&runtime, timer, busy_poll));
        }
        Ok(())
    }

    #[test]
    fn a_turn_that_brings_much_is_busy() {
        for (arrivals, busy) in [(1, false), (2, true), (0, true), (1, false)] {
            turn();
            (0..arrivals).for_each(|_| arrived());
            assert_eq!(is_busy(), busy, "{arrivals}");
        }
    }
}
