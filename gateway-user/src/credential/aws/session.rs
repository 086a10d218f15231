//! A session of a role for each person, from STS.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;
use aws_credential_types::Credentials;
use aws_sdk_sts::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::assume_role::AssumeRoleError,
    types::Tag,
};
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::runtime::Handle;

use super::{
    super::{For, Label, Problem, slot::Timed},
    keys::{Kept, Keys},
    person::Asked,
};
use crate::config::AssumeRole;

/// So many sessions are kept; of more, a quarter is forgotten: those that were not used for longest.
const MOST: usize = 4096;

/// The sessions of one server's role.
pub(super) struct Sessions {
    role: Arc<Role>,
    label: Label,
    runtime: Handle,
    /// Read by every call without a lock, and copied for every new person.
    all: ArcSwap<HashMap<Arc<Whose>, Arc<Session>>>,
    adding: Mutex<()>,
    /// Counts what is used, to tell what was not for longest.
    uses: AtomicU64,
}

/// The person, and what was asked for: who is in other groups than before gets another session.
type Whose = (Arc<str>, Asked);

struct Session {
    kept: Arc<Kept>,
    used: AtomicU64,
}

struct Role {
    assume: AssumeRole,
    own: Arc<Kept>,
}

impl Sessions {
    pub(super) fn new(assume: &AssumeRole, own: Arc<Kept>, label: Label, runtime: &Handle) -> Self {
        Sessions {
            role: Arc::new(Role { assume: assume.clone(), own }),
            label,
            runtime: runtime.clone(),
            all: ArcSwap::default(),
            adding: Mutex::default(),
            uses: AtomicU64::new(0),
        }
    }

    /// The caller's; `None` for nobody.
    pub(super) fn of(&self, whom: &For<'_>) -> Option<Arc<Kept>> {
        let asked = Asked::of(whom.identity.principal(), whom.session, &self.role.assume.session_tags)?;
        let whose = (whom.identity.key().clone(), asked);
        let use_now = |session: &Arc<Session>| {
            session.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            session.kept.clone()
        };
        if let Some(session) = self.all.load().get(&whose) {
            return Some(use_now(session));
        }
        let _alone = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = HashMap::clone(&self.all.load());
        if all.len() >= MOST {
            let mut uses: Vec<u64> = all.values().map(|session| session.used.load(Ordering::Relaxed)).collect();
            let (_, line, _) = uses.select_nth_unstable(MOST / 4);
            let line = *line;
            all.retain(|_, session| session.used.load(Ordering::Relaxed) >= line);
        }
        let session = all.entry(Arc::new(whose)).or_insert_with_key(|whose| {
            let (role, asked) = (self.role.clone(), whose.1.clone());
            let kept = Kept::new(self.label.clone(), &self.runtime, move || role.clone().session(asked.clone()));
            Arc::new(Session { kept: Arc::new(kept), used: AtomicU64::new(0) })
        });
        let kept = use_now(session);
        self.all.store(Arc::new(all));
        Some(kept)
    }
}

impl Role {
    /// Asks STS for a session.
    async fn session(self: Arc<Self>, asked: Asked) -> Result<Timed<Arc<Keys>>, Problem> {
        let own = self.own.get().await.map_err(|error| Problem::NotAssumed(format!("{} {}", error.asked, error.problem)))?;
        if own.region.is_none() {
            let cause = "no AWS region is known, and STS is asked in one. The server's `credential` must get a `region`";
            return Err(Problem::NotAssumed(cause.into()));
        }
        let config = aws_sdk_sts::config::Builder::from(&own.sdk).credentials_provider(own.credentials.clone());
        let AssumeRole { role, external_id, duration, .. } = &self.assume;
        let tags = asked.tags.iter().filter_map(|(key, value)| Tag::builder().key(*key).value(value).build().ok()).collect();
        let keys = asked.tags.iter().map(|(key, _)| (*key).to_owned()).collect();
        let begun = Instant::now();
        let answer = Client::from_conf(config.build())
            .assume_role()
            .role_arn(role)
            .role_session_name(&asked.session_name)
            .source_identity(&asked.source_identity)
            .set_tags(Some(tags))
            .set_transitive_tag_keys(Some(keys))
            .set_external_id(external_id.clone())
            .duration_seconds(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| self.explain(&own, &error))?;
        let given = answer.credentials.ok_or_else(|| Problem::NotAssumed("STS gives no keys".into()))?;
        let ends = SystemTime::try_from(given.expiration).map_err(|_| Problem::NotAssumed("STS gives keys of no known end".into()))?;
        let credentials =
            Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), Some(ends), "AssumeRole");
        Keys::new(credentials, own.region.clone(), own.sdk.clone()).timed(begun, Some(*duration))
    }

    /// In our words, for callers; the log has AWS's own.
    fn explain(&self, own: &Arc<Keys>, error: &SdkError<AssumeRoleError>) -> Problem {
        tracing::warn!("the role `{}`: {}", self.assume.role, DisplayErrorContext(error));
        let SdkError::ServiceError(answer) = error else {
            return match error {
                SdkError::TimeoutError(_) => Problem::Unreachable("STS did not answer in time".into()),
                SdkError::ResponseError(_) => Problem::Unreachable("what answers is not STS".into()),
                _ => Problem::Unreachable("STS was not reached".into()),
            };
        };
        let code = answer.err().code().unwrap_or("no code");
        let what = match code {
            "AccessDenied" => "its trust policy must let the gateway do sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity",
            "ExpiredToken" | "ExpiredTokenException" | "InvalidClientTokenId" => {
                self.own.forget(own);
                "the gateway's own AWS keys are not taken any more; they are fetched anew"
            }
            "PackedPolicyTooLarge" => "there are too many groups for the session's tags: take `groups` out of `session_tags`",
            "RegionDisabledException" => "STS is switched off in this region",
            "ValidationError" => "the role does not allow this; perhaps its sessions may not last for the `duration` that is set",
            _ if answer.raw().status().is_server_error() => return Problem::Unreachable(format!("STS answers `{code}`")),
            _ => "the gateway's log has STS's reason",
        };
        Problem::NotAssumed(format!("STS answers `{code}`: {what}"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::{How, Identity, Principal, Strength};

    #[tokio::test]
    async fn of_too_many_sessions_those_that_were_not_used_for_longest_are_forgotten() {
        let label = Label { server: "clinic".into(), asked: "the role".into() };
        let own = Kept::new(label.clone(), &Handle::current(), async || Err(Problem::Gone));
        let assume = AssumeRole { role: "role".into(), external_id: None, session_tags: vec![], duration: Duration::from_secs(900) };
        let sessions = Sessions::new(&assume, Arc::new(own), label, &Handle::current());
        let of = |n: usize| {
            let person = Principal::Person { issuer: "https://login.test".into(), subject: n.to_string(), name: None, groups: vec![] };
            let identity = Arc::new(Identity::new(person, How::Nothing, Strength::Token));
            sessions.of(&For { identity: &identity, token: None, session: "s" }).unwrap()
        };
        let (first, second) = (of(1), of(2));
        for n in 1..=MOST + 1 {
            of(n);
            of(1);
        }
        assert_eq!(sessions.all.load().len(), MOST - MOST / 4 + 1);
        assert!(Arc::ptr_eq(&of(1), &first), "it is in use");
        assert!(!Arc::ptr_eq(&of(2), &second), "it is not");
    }
}
