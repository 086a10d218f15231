//! Whether a call goes on: the tool's definition, the policies in force, and quotas say so, and all of that is in its record.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

use super::{
    connection::Connection,
    refusal::{Refusal, Side},
};
use crate::{
    config::OnToolChange,
    identity::{Identity, now},
    mcp::{self, Id, Message, Revision},
    policy::{Arguments, Facts, Labeller, PolicySet, ProcessFacts, Question, Ruling, Verdict},
    tools::{Known, Tools},
    usage::{Attempt, Exceeded, Usage},
};
use arc_swap::ArcSwap;

/// The JSON-RPC error code of a call that may not be made. A tool that does not exist is -32602.
const DENIED: i64 = -32040;
const ASK: &str = "The same call gets the same answer: do not repeat it. Ask the operator of the gateway if you need it.";
const HELD: &str = "This gateway has nobody yet who could release held calls, so the call was not made. Ask its operator.";
const CHANGED: &str = "Have the operator look at the tool's new definition, and accept it (`mcp-gateway tools accept`).";
const LATER: &str = "Wait for as long as Retry-After says, and call again.";

/// What calls are decided by.
pub struct Rules {
    /// The set in force; none where no policy is configured.
    policies: Option<ArcSwap<PolicySet>>,
    labeller: Labeller,
    /// What servers say their tools are.
    pub tools: Tools,
    /// What has been used.
    pub usage: Usage,
}

impl Rules {
    /// With the set in force now.
    #[must_use]
    pub fn new(policies: Option<PolicySet>, labeller: Labeller, tools: Tools, usage: Usage) -> Self {
        Rules { policies: policies.map(ArcSwap::from_pointee), labeller, tools, usage }
    }

    /// The set in force.
    #[must_use]
    pub fn policies(&self) -> Option<Arc<PolicySet>> {
        self.policies.as_ref().map(ArcSwap::load_full)
    }

    /// Calls that begin from now on go by this set.
    pub fn enforce(&self, set: PolicySet) {
        if let Some(policies) = &self.policies {
            policies.store(Arc::new(set));
        }
    }
}

/// A decision.
#[derive(Clone)]
pub(super) struct Decision {
    pub verdict: Verdict,
    pub reason: String,
    /// The policies that determined it.
    pub policies: Vec<Arc<str>>,
    /// The set that they are of.
    pub set: Option<Arc<PolicySet>>,
    /// What was known beside who, what and with which arguments.
    pub facts: Option<Box<Facts>>,
}

impl Decision {
    /// What carries no call, and is not decided on.
    pub(super) fn unasked(reason: &str) -> Self {
        Decision { verdict: Verdict::Allow, reason: reason.into(), policies: Vec::new(), set: None, facts: None }
    }
}

/// A decision, and what the caller is told if it is not to allow.
pub(super) struct Judged {
    pub decision: Decision,
    pub refusal: Option<Refusal>,
}

/// What is asked for.
struct Asked<'a> {
    method: &'a str,
    name: Option<&'a str>,
    arguments: Option<&'a [u8]>,
    id: Option<&'a Id>,
}

impl<'a> Asked<'a> {
    fn of(message: &'a Message, body: &'a [u8]) -> Self {
        match message {
            Message::Request(request) => Asked {
                method: &request.method,
                name: request.name.as_deref(),
                arguments: request.arguments.map(|span| span.of(body)),
                id: Some(&request.id),
            },
            Message::Notification(note) => Asked { method: &note.method, name: None, arguments: None, id: None },
            Message::Response(_) => Asked { method: "response", name: None, arguments: None, id: None },
        }
    }

    fn tool(&self) -> Option<&'a str> {
        self.name.filter(|_| self.method == "tools/call")
    }

    fn what(&self) -> String {
        match self.name {
            Some(name) => format!("{} of `{name}`", self.method),
            None => self.method.to_owned(),
        }
    }
}

impl Connection {
    /// Decides on the messages of a POST: all of them go on, or none.
    pub(super) fn judge(&self, body: &[u8], payload: &mcp::Payload, revision: &Revision, session: &str) -> Judged {
        let mut last = None;
        for message in payload.messages() {
            let judged = self.decide(&Asked::of(message, body), Some(revision.as_str()), session);
            if judged.refusal.is_some() {
                return judged;
            }
            last = Some(judged);
        }
        // A batch has one message at least.
        last.unwrap_or_else(|| Judged { decision: Decision::unasked("there is nothing to decide"), refusal: None })
    }

    /// Decides on what carries no message, by the method that it stands for.
    ///
    /// # Errors
    /// It may not go on.
    pub(super) fn allowed(&self, method: &str, session: &str) -> Result<Decision, Refusal> {
        let Judged { decision, refusal } = self.decide(&Asked { method, name: None, arguments: None, id: None }, None, session);
        refusal.map_or(Ok(decision), Err)
    }

    fn decide(&self, asked: &Asked<'_>, revision: Option<&str>, session: &str) -> Judged {
        let (rules, server) = (&self.worker.shared.rules, self.config());
        let known = asked.tool().and_then(|tool| rules.tools.of(&server.name, tool));
        let set = rules.policies();
        let (ruling, facts) = match &set {
            Some(set) => {
                let arguments = asked.arguments.map_or_else(Arguments::empty, Arguments::read);
                let mut facts = self.facts(revision, session, known.as_ref());
                facts.labels = rules.labeller.labels(asked.name.unwrap_or_default(), &arguments);
                (Some(set.decide(&self.question(asked.method, asked.name, &arguments, &facts))), Some(Box::new(facts)))
            }
            None => (None, None),
        };
        let is_changed = known.as_ref().is_some_and(Known::is_changed);
        let refusal = self.changed(asked, is_changed).or_else(|| self.ruled(asked, ruling.as_ref())).or_else(|| {
            let attempt = self.attempt(session, asked.tool());
            let taken = asked.name.map_or(Ok(()), |_| rules.usage.take(&attempt, Instant::now()));
            taken.err().map(|exceeded| over(&exceeded))
        });
        let verdict = match &refusal {
            None => Verdict::Allow,
            Some(refusal) if refusal.reason == "hold" => Verdict::Hold,
            Some(_) => Verdict::Deny,
        };
        let reason = match (&refusal, &ruling) {
            (Some(refusal), _) => refusal.message.to_string(),
            (None, Some(_)) => "permitted".into(),
            (None, None) => "no policy is configured: every call is recorded and allowed".into(),
        };
        let policies = ruling.map(|ruling| ruling.policies).unwrap_or_default();
        Judged {
            decision: Decision { verdict, reason, policies, set, facts },
            refusal: refusal.map(|refusal| refusal.answering(asked.id.cloned())),
        }
    }

    pub(super) fn question<'a>(
        &'a self,
        method: &'a str,
        name: Option<&'a str>,
        arguments: &'a Arguments,
        facts: &'a Facts,
    ) -> Question<'a> {
        Question { identity: self.identity(), server: &self.config().name, method, name, arguments, facts }
    }

    /// What is known beside who, what and with which arguments.
    pub(super) fn facts(&self, revision: Option<&str>, session: &str, known: Option<&Known>) -> Facts {
        let identity: &Identity = self.identity();
        let process = self.process.known();
        let (session, person) = self.worker.shared.rules.usage.counters(identity.key(), session);
        Facts {
            time: now(),
            strength: identity.strength(),
            process: ProcessFacts {
                exe: process.and_then(|process| process.exe.known()).map(|exe| exe.to_string_lossy().into_owned()),
                unit: process.and_then(|process| process.unit.clone()),
                uid: self.uid(),
                cgroup: process.and_then(|process| process.cgroup.known()).cloned(),
            },
            revision: revision.map(str::to_owned),
            session,
            person,
            ..Facts::default()
        }
        .of(known)
    }

    pub(super) fn attempt<'a>(&'a self, session: &'a str, tool: Option<&'a str>) -> Attempt<'a> {
        Attempt { person: self.identity().key(), session, server: &self.config().name, tool }
    }

    fn changed(&self, asked: &Asked<'_>, is_changed: bool) -> Option<Refusal> {
        let reason = match self.config().on_tool_change {
            OnToolChange::Deny if is_changed => "tool-changed",
            OnToolChange::Hold if is_changed => "hold",
            _ => return None,
        };
        let message = format!(
            "the definition of the tool `{}` of `{}` is another than the one that was accepted",
            asked.name.unwrap_or_default(),
            self.config().name
        );
        Some(Refusal { code: DENIED, ..Refusal::client(403, reason, message, CHANGED) })
    }

    fn ruled(&self, asked: &Asked<'_>, ruling: Option<&Ruling>) -> Option<Refusal> {
        let ruling = ruling.filter(|ruling| ruling.verdict != Verdict::Allow)?;
        let (what, server, identity) = (asked.what(), &self.config().name, self.identity());
        let by = ruling.policies.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let said = ruling.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let denied = |reason, message, help| Refusal { code: DENIED, ..Refusal::client(403, reason, message, help) };
        Some(match ruling.verdict {
            Verdict::Hold => {
                let why = ruling.hold.as_deref().unwrap_or_default();
                denied("hold", format!("{what} on `{server}` by {identity} is held for approval by the policy {by} ({why}){said}"), HELD)
            }
            _ if !ruling.errors.is_empty() => {
                let message =
                    format!("whether {what} on `{server}` is allowed to {identity} cannot be told, as a policy cannot be evaluated");
                Refusal { side: Side::Gateway, ..denied("policy", format!("{message}: {}", ruling.errors.join("; ")), ASK) }
            }
            _ if ruling.policies.is_empty() => denied("policy", format!("no policy permits {what} on `{server}` to {identity}"), ASK),
            _ => denied("policy", format!("{what} on `{server}` is denied to {identity} by the policy {by}{said}"), ASK),
        })
    }
}

fn over(exceeded: &Exceeded) -> Refusal {
    // Whole seconds (RFC 9110 section 10.2.3), and not too early.
    let seconds = exceeded.retry_after.as_secs() + u64::from(exceeded.retry_after.subsec_nanos() > 0);
    let retry_after = NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX));
    let message = format!("{exceeded}; there is room again in {seconds} s");
    Refusal { code: DENIED, retry_after, ..Refusal::client(429, "quota", message, LATER) }
}

impl Facts {
    /// With what is known of the tool.
    pub(super) fn of(self, known: Option<&Known>) -> Self {
        Facts {
            annotations: known.map(|known| known.annotations).unwrap_or_default(),
            definition: known.map(|known| known.current.to_string()),
            definition_changed: known.is_some_and(Known::is_changed),
            ..self
        }
    }
}
