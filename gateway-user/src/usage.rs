//! What persons and sessions have used, and how much more they may: token buckets.
//!
//! Pure: who asks says what time it is.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    config::{Per, QuotaConfig, Rate},
    policy::Counters,
};

/// Whoever nothing was heard of for longer, and for the longest time of a quota, begins anew.
const FORGET: Duration = Duration::from_secs(3600);
/// So many persons, and so many sessions, are remembered; the stalest go first.
const MOST: usize = 65_536;
/// So many tools are told apart for each of them; more count as new each time.
const MOST_TOOLS: usize = 1024;

/// A call, for those who count.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Who calls: [`crate::identity::Identity::key`].
    pub person: &'a Arc<str>,
    /// In which session.
    pub session: &'a str,
    /// The server's name.
    pub server: &'a str,
    /// The tool, if it is one that is called.
    pub tool: Option<&'a str>,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Calls.
    Calls,
    /// Bytes of answers.
    BytesOut,
    /// Different tools.
    Tools,
}

/// A call that is over a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// What there is too much of.
    pub what: Limited,
    /// For whom it is counted.
    pub per: Per,
    /// The quota.
    pub rate: Rate,
    /// After how long the same call would be let through, if nothing else is called meanwhile.
    pub retry_after: Duration,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Limited::Calls => "calls",
            Limited::BytesOut => "bytes of answers",
            Limited::Tools => "different tools",
        };
        let per = match self.per {
            Per::Person => "person",
            Per::Session => "session",
        };
        let Rate { amount, period } = self.rate;
        write!(f, "the quota of {amount} {what} in {} s for each {per} is used up", period.as_secs_f64())
    }
}

/// Tokens that are used, and come back at a steady rate. It may be in debt.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn at(&mut self, rate: Rate, now: Instant) -> &mut f64 {
        #[expect(clippy::cast_precision_loss, reason = "amounts beyond 2^53 need no precision")]
        let amount = rate.amount as f64;
        let back = now.saturating_duration_since(self.at).as_secs_f64() * amount / rate.period.as_secs_f64();
        self.tokens = (self.tokens + back).min(amount);
        self.at = now;
        &mut self.tokens
    }

    /// How long until it holds so many tokens.
    fn wait(&self, wanted: f64, rate: Rate) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let amount = rate.amount as f64;
        let missing = (wanted - self.tokens).max(0.0);
        Duration::try_from_secs_f64(missing * rate.period.as_secs_f64() / amount).unwrap_or(Duration::MAX)
    }
}

struct Used {
    counters: Counters,
    /// When each tool was last called.
    tools: HashMap<String, Instant>,
    /// For each quota: calls, bytes, tools.
    buckets: HashMap<usize, [Option<Bucket>; 3]>,
    heard: Instant,
}

impl Used {
    fn new(now: Instant) -> Self {
        Used { counters: Counters::default(), tools: HashMap::new(), buckets: HashMap::new(), heard: now }
    }

    /// How many tokens a call takes before it is answered. A tool that was called of late takes none.
    fn price(&self, what: Limited, call: &Attempt<'_>, rate: Rate, now: Instant) -> f64 {
        let is_recent = |tool: &str| self.tools.get(tool).is_some_and(|last| now.saturating_duration_since(*last) < rate.period);
        match what {
            Limited::Calls => 1.0,
            Limited::Tools if call.tool.is_some_and(|tool| !is_recent(tool)) => 1.0,
            Limited::Tools | Limited::BytesOut => 0.0,
        }
    }

    fn bucket(&mut self, quota: usize, what: Limited, rate: Rate, now: Instant) -> &mut Bucket {
        #[expect(clippy::cast_precision_loss, reason = "amounts beyond 2^53 need no precision")]
        let full = Bucket { tokens: rate.amount as f64, at: now };
        self.buckets.entry(quota).or_default()[what as usize].get_or_insert(full)
    }
}

#[derive(Default)]
struct Ledger {
    persons: HashMap<Arc<str>, Used>,
    sessions: HashMap<Arc<str>, Used>,
}

/// What everybody has used.
pub struct Usage {
    quotas: Vec<QuotaConfig>,
    forget: Duration,
    ledger: Option<Mutex<Ledger>>,
}

impl Usage {
    /// With these quotas. It counts when there is one, or `counts` says so.
    #[must_use]
    pub fn new(quotas: Vec<QuotaConfig>, counts: bool) -> Self {
        let periods = quotas.iter().flat_map(|quota| quota.rates()).map(|(_, rate)| rate.period);
        let forget = periods.fold(FORGET, Duration::max);
        let ledger = (counts || !quotas.is_empty()).then(Mutex::default);
        Usage { quotas, forget, ledger }
    }

    /// What the session and the person have used, in this order.
    #[must_use]
    pub fn counters(&self, person: &str, session: &str) -> (Counters, Counters) {
        let of = |used: Option<&Used>| used.map(|used| used.counters).unwrap_or_default();
        self.with(|ledger| (of(ledger.sessions.get(&*own(person, session))), of(ledger.persons.get(person)))).unwrap_or_default()
    }

    /// Counts a call, unless that would be over a quota.
    ///
    /// # Errors
    /// [`Exceeded`]; then nothing was counted.
    pub fn take(&self, call: &Attempt<'_>, now: Instant) -> Result<(), Exceeded> {
        self.with(|ledger| {
            let (persons, sessions) = ledger.of(call.person, call.session, self.forget, now);
            for (at, quota) in self.quotas.iter().enumerate().filter(|(_, quota)| quota.is_for(call.server)) {
                let used = if quota.per == Per::Person { &mut *persons } else { &mut *sessions };
                for (what, rate) in quota.rates() {
                    // Of bytes there must be any left: how many it takes is known when the answer has come.
                    let wanted = if what == Limited::BytesOut { f64::MIN_POSITIVE } else { used.price(what, call, rate, now) };
                    let bucket = used.bucket(at, what, rate, now);
                    if *bucket.at(rate, now) < wanted {
                        let retry_after = bucket.wait(wanted, rate);
                        return Err(Exceeded { what, per: quota.per, rate, retry_after });
                    }
                }
            }
            for (at, quota) in self.quotas.iter().enumerate().filter(|(_, quota)| quota.is_for(call.server)) {
                let used = if quota.per == Per::Person { &mut *persons } else { &mut *sessions };
                for (what, rate) in quota.rates() {
                    let price = used.price(what, call, rate, now);
                    *used.bucket(at, what, rate, now).at(rate, now) -= price;
                }
            }
            for used in [persons, sessions] {
                used.counters.calls += 1;
                if let Some(tool) = call.tool {
                    let is_new = !used.tools.contains_key(tool);
                    used.counters.tools += u64::from(is_new);
                    if !is_new || used.tools.len() < MOST_TOOLS {
                        used.tools.insert(tool.to_owned(), now);
                    }
                }
            }
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    /// Counts bytes of an answer that were given.
    pub fn gave(&self, call: &Attempt<'_>, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.with(|ledger| {
            let (persons, sessions) = ledger.of(call.person, call.session, self.forget, now);
            for (at, quota) in self.quotas.iter().enumerate().filter(|(_, quota)| quota.is_for(call.server)) {
                let used = if quota.per == Per::Person { &mut *persons } else { &mut *sessions };
                if let Some(rate) = quota.bytes_out {
                    #[expect(clippy::cast_precision_loss, reason = "amounts beyond 2^53 need no precision")]
                    let given = bytes as f64;
                    *used.bucket(at, Limited::BytesOut, rate, now).at(rate, now) -= given;
                }
            }
            for used in [persons, sessions] {
                used.counters.bytes_out += bytes;
            }
        });
    }

    fn with<T>(&self, then: impl FnOnce(&mut Ledger) -> T) -> Option<T> {
        // What is behind the lock is whole after every statement: a panic elsewhere does not spoil it.
        self.ledger.as_ref().map(|ledger| then(&mut ledger.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Ledger {
    fn of(&mut self, person: &Arc<str>, session: &str, forget: Duration, now: Instant) -> (&mut Used, &mut Used) {
        (find(&mut self.persons, person, forget, now), find(&mut self.sessions, &own(person, session), forget, now))
    }
}

/// A session's name may be that of a process, and several persons call through one.
fn own(person: &str, session: &str) -> String {
    [person, session].join("\n")
}

fn find<'a>(used: &'a mut HashMap<Arc<str>, Used>, key: &str, forget: Duration, now: Instant) -> &'a mut Used {
    if used.len() >= MOST && !used.contains_key(key) {
        used.retain(|_, used| now.saturating_duration_since(used.heard) < forget);
        while used.len() >= MOST {
            let Some(stalest) = used.iter().min_by_key(|(_, used)| used.heard).map(|(key, _)| key.clone()) else { break };
            used.remove(&stalest);
        }
    }
    let fresh = match used.get(key) {
        Some(found) => now.saturating_duration_since(found.heard) >= forget,
        None => true,
    };
    if fresh {
        used.insert(key.into(), Used::new(now));
    }
    // It is there: it was found, or has just been put in.
    let found = used.entry(key.into()).or_insert_with(|| Used::new(now));
    found.heard = now;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn quota(per: Per) -> QuotaConfig {
        QuotaConfig { per, server: None, calls: None, bytes_out: None, distinct_tools: None }
    }

    struct Caller {
        person: Arc<str>,
        session: &'static str,
    }

    impl Caller {
        fn call<'a>(&'a self, tool: &'a str) -> Attempt<'a> {
            Attempt { person: &self.person, session: self.session, server: "clinic", tool: Some(tool) }
        }
    }

    fn caller(person: &str, session: &'static str) -> Caller {
        Caller { person: person.into(), session }
    }

    #[test]
    fn calls_over_a_quota_are_told_when_to_come_again_and_then_let_through() {
        let rate = Rate { amount: 3, period: MINUTE };
        let usage = Usage::new(vec![QuotaConfig { calls: Some(rate), ..quota(Per::Person) }], false);
        let (ada, bob, now) = (caller("ada", "s"), caller("bob", "s"), Instant::now());
        for _ in 0..3 {
            assert_eq!(usage.take(&ada.call("q"), now), Ok(()));
        }
        let over = usage.take(&ada.call("q"), now);
        assert_eq!(over, Err(Exceeded { what: Limited::Calls, per: Per::Person, rate, retry_after: MINUTE / 3 }));
        assert_eq!(usage.take(&bob.call("q"), now), Ok(()), "another person has a quota of his own");
        assert_eq!(usage.take(&ada.call("q"), now + MINUTE / 3), Ok(()), "after the time that was told");
        assert!(usage.take(&ada.call("q"), now + MINUTE / 3).is_err());
        let (session, person) = usage.counters("ada", "s");
        assert_eq!(
            (session.calls, person.calls),
            (4, 4),
            "what was denied was not counted, nor what others call in a session of that name"
        );
    }

    #[test]
    fn a_quota_for_sessions_and_servers_is_for_these() {
        let rate = Rate { amount: 1, period: MINUTE };
        let usage = Usage::new(vec![QuotaConfig { calls: Some(rate), server: Some("clinic".into()), ..quota(Per::Session) }], false);
        let (one, two, now) = (caller("ada", "1"), caller("ada", "2"), Instant::now());
        assert!(usage.take(&one.call("q"), now).is_ok());
        assert!(usage.take(&one.call("q"), now).is_err());
        assert!(usage.take(&two.call("q"), now).is_ok());
        let elsewhere = Attempt { server: "other", ..one.call("q") };
        assert!(usage.take(&elsewhere, now).is_ok());
    }

    #[test]
    fn answers_that_were_too_large_hold_up_the_next_call() {
        let rate = Rate { amount: 1000, period: MINUTE };
        let usage = Usage::new(vec![QuotaConfig { bytes_out: Some(rate), ..quota(Per::Person) }], false);
        let (ada, now) = (caller("ada", "s"), Instant::now());
        assert!(usage.take(&ada.call("q"), now).is_ok());
        usage.gave(&ada.call("q"), 2000, now);
        let over = usage.take(&ada.call("q"), now);
        assert!(over.is_err_and(|over| over.what == Limited::BytesOut && over.retry_after.as_secs() == 60));
        assert!(usage.take(&ada.call("q"), now + MINUTE + Duration::from_millis(1)).is_ok());
        assert_eq!(usage.counters("ada", "s").0.bytes_out, 2000);
    }

    #[test]
    fn only_tools_that_were_not_called_of_late_count_as_different_ones() {
        let rate = Rate { amount: 2, period: MINUTE };
        let usage = Usage::new(vec![QuotaConfig { distinct_tools: Some(rate), ..quota(Per::Session) }], false);
        let (ada, now) = (caller("ada", "s"), Instant::now());
        for tool in ["a", "b", "a", "b", "a"] {
            assert!(usage.take(&ada.call(tool), now).is_ok(), "{tool}");
        }
        assert!(usage.take(&ada.call("c"), now).is_err_and(|over| over.what == Limited::Tools));
        assert!(usage.take(&ada.call("a"), now).is_ok());
        assert!(usage.take(&ada.call("c"), now + MINUTE / 2).is_ok());
        assert_eq!(usage.counters("ada", "s").0.tools, 3);
    }

    #[test]
    fn without_quotas_nothing_is_counted_unless_it_is_asked_for() {
        let (ada, now) = (caller("ada", "s"), Instant::now());
        for (counts, calls) in [(false, 0), (true, 1)] {
            let usage = Usage::new(Vec::new(), counts);
            assert!(usage.take(&ada.call("q"), now).is_ok());
            assert_eq!(usage.counters("ada", "s").0.calls, calls);
        }
    }

    #[test]
    fn whoever_was_not_heard_of_for_long_begins_anew() {
        let usage = Usage::new(Vec::new(), true);
        let (ada, now) = (caller("ada", "s"), Instant::now());
        assert!(usage.take(&ada.call("q"), now).is_ok());
        assert!(usage.take(&ada.call("q"), now + FORGET).is_ok());
        assert_eq!(usage.counters("ada", "s").0.calls, 1);
    }
}
