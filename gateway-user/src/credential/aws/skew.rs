//! A server whose clock is another: signatures are dated as it has the time, once its answer has told. Pure.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::fmt::rfc2822::DateTimeParser;

/// A signature holds for five minutes each way: where the clocks are apart by more than this, that may be what is wrong.
const TELLING: Duration = Duration::from_secs(4 * 60);
/// A clock that is off by more is to be set, not believed: a signature dated far ahead could be used long after it was made.
const MOST: Duration = Duration::from_secs(24 * 3600);
/// An error's code stands at the beginning of a body.
const LOOKED_AT: usize = 8 << 10;

/// What of an answer tells whether it is about the time.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// `Date`.
    pub date: Option<&'a str>,
    /// `x-amzn-errortype`.
    pub error: Option<&'a str>,
    /// Its body, or the beginning of it.
    pub body: &'a [u8],
}

/// A server's time, as an offset to ours.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Milliseconds that its clock is ahead.
    ahead: AtomicI64,
}

impl Clock {
    /// Its time, when ours is this.
    pub(super) fn time(&self, ours: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let time = if ahead < 0 { ours.checked_sub(by) } else { ours.checked_add(by) };
        time.unwrap_or(ours)
    }

    /// Whether an answer that came at this time of ours says that a signature's date is wrong: then the clock is right from now on, and
    /// the request is worth another signature.
    pub(super) fn learn(&self, answer: &Answer<'_>, ours: SystemTime) -> bool {
        let Some(theirs) = answer.date.and_then(date) else { return false };
        if !answer.is_about_time(apart(theirs, self.time(ours))) || apart(theirs, ours) > MOST {
            return false;
        }
        let ahead = since_1970(theirs) - since_1970(ours);
        self.ahead.store(ahead, Ordering::Relaxed);
        true
    }
}

impl Answer<'_> {
    /// `apart`: how far its date and the signature's are.
    fn is_about_time(&self, apart: Duration) -> bool {
        const CERTAIN: [&str; 5] =
            ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "Signature expired", "Signature not yet current"];
        const PERHAPS: [&str; 3] = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"];
        if !matches!(self.status, 400 | 401 | 403) {
            return false;
        }
        let body = &self.body[..self.body.len().min(LOOKED_AT)];
        let says =
            |words: &&str| self.error.is_some_and(|error| error.contains(words)) || memchr::memmem::find(body, words.as_bytes()).is_some();
        CERTAIN.iter().any(says) || (apart > TELLING && PERHAPS.iter().any(says))
    }
}

/// RFC 9110 section 5.6.7.
fn date(text: &str) -> Option<SystemTime> {
    let seconds = DateTimeParser::new().parse_timestamp(text).ok()?.as_second();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|before| before.duration())
}

fn since_1970(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const OURS: u64 = 1_440_938_160;

    fn ours() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(OURS)
    }

    /// An answer of a server whose clock is ahead by so many seconds.
    fn learned(ahead: i64, status: u16, error: Option<&str>, body: &str) -> (bool, i64) {
        let theirs = jiff::Timestamp::from_second(i64::try_from(OURS).unwrap() + ahead).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&theirs).unwrap();
        let clock = Clock::default();
        let learned = clock.learn(&Answer { status, date: Some(&date), error, body: body.as_bytes() }, ours());
        (learned, since_1970(clock.time(ours())) / 1000 - i64::try_from(OURS).unwrap())
    }

    #[test]
    fn an_answer_that_is_about_the_time_sets_the_clock() {
        let expired = r#"{"message":"Signature expired: 20150830T123600Z is now earlier than 20150830T130000Z"}"#;
        assert_eq!(learned(1800, 403, Some("InvalidSignatureException"), expired), (true, 1800));
        assert_eq!(learned(-1800, 400, None, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), (true, -1800));
        assert_eq!(learned(400, 403, None, r#"{"__type":"com.amazon#InvalidSignatureException"}"#), (true, 400));
        assert_eq!(learned(2, 400, Some("RequestExpired:http://internal/"), ""), (true, 2), "it was long under way");
    }

    #[test]
    fn any_other_answer_does_not() {
        for (ahead, status, error, body) in [
            (1800, 403, Some("AccessDeniedException"), "not authorized"),
            (1800, 200, None, "RequestTimeTooSkewed"),
            (1800, 500, None, "RequestTimeTooSkewed"),
            (30, 403, Some("InvalidSignatureException"), "The request signature we calculated does not match"),
            (2 * 24 * 3600, 403, None, "RequestTimeTooSkewed"),
            (-2 * 24 * 3600, 403, None, "RequestTimeTooSkewed"),
        ] {
            assert_eq!(learned(ahead, status, error, body), (false, 0), "{ahead} {status} {error:?} {body}");
        }
        let clock = Clock::default();
        for date in [None, Some(""), Some("yesterday"), Some("2015-08-30T12:36:00Z")] {
            assert!(!clock.learn(&Answer { status: 403, date, error: None, body: b"RequestTimeTooSkewed" }, ours()), "{date:?}");
        }
    }

    #[test]
    fn a_clock_that_was_learned_is_unlearned_when_ours_has_been_set() {
        let (clock, now) = (Clock::default(), ours());
        let skewed = |date| Answer { status: 403, date: Some(date), error: Some("RequestTimeTooSkewed"), body: b"" };
        assert!(clock.learn(&skewed("Sun, 30 Aug 2015 13:36:00 GMT"), now));
        assert_eq!(clock.time(now), now + Duration::from_secs(3600));
        assert!(clock.learn(&skewed("Sun, 30 Aug 2015 12:36:00 GMT"), now));
        assert_eq!(clock.time(now), now);
    }
}
