//! What was decided on, read back from a record, so that it can be decided again.

use std::borrow::Cow;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{Arguments, Facts, Question, Verdict};
use crate::identity::{How, Identity, Principal, Strength};

/// A call as its record has it.
pub struct Recorded {
    /// Who called.
    pub identity: Identity,
    /// The server.
    pub server: String,
    /// The method, as [`Question::method`] has it.
    pub method: String,
    /// The tool, the prompt, or the resource's URI.
    pub name: Option<String>,
    /// The arguments; `None` when they are not all on record.
    pub arguments: Option<Arguments>,
    /// What was decided.
    pub decided: Decided,
}

/// A record's `body.decision`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Decided {
    /// What became of the call.
    pub verdict: Verdict,
    /// Why, in a word.
    #[serde(default)]
    pub reason: String,
    /// The ids of the policies that determined it.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The hash of the set that was in force.
    pub set: String,
    /// What was known.
    pub facts: Facts,
}

/// A decision made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// It can be made.
    Ruling(super::Ruling),
    /// Policies read arguments that are not all on record.
    Unknown,
}

impl Recorded {
    /// From the body of a record of kind `request` or `refused`; `None` when no policies were asked about it.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(body: &[u8]) -> Result<Option<Recorded>, Unreadable> {
        let body: Body<'_> = serde_json::from_slice(body).map_err(|source| Unreadable { part: "body", source })?;
        let (Some(decision), Some(server)) = (body.decision.filter(|decision| decision.get("facts").is_some()), body.server) else {
            return Ok(None);
        };
        let identity = body.caller.and_then(|caller| caller.identity);
        // A batch is decided item by item, and which of them this was is not said.
        let Some(call) = body.call else { return Ok(None) };
        let method = call.method.map_or_else(|| if call.kind == "response" { "response" } else { "other" }.to_owned(), Cow::into_owned);
        Ok(Some(Recorded {
            identity: identity.as_ref().map_or_else(|| Ok(Identity::nobody()), self::identity)?,
            server: server.into_owned(),
            method,
            name: call.name.map(Cow::into_owned),
            arguments: match body.payload {
                _ if body.masked.has_arguments() => None,
                Some(payload) => payload.arguments(),
                None => Some(Arguments::empty()),
            },
            decided: part("body.decision", &decision)?,
        }))
    }

    /// Decides again, by another set.
    #[must_use]
    pub fn again(&self, set: &super::PolicySet) -> Again {
        let none = Arguments::empty();
        let question = Question {
            identity: &self.identity,
            server: &self.server,
            method: &self.method,
            name: self.name.as_deref(),
            arguments: self.arguments.as_ref().unwrap_or(&none),
            facts: &self.decided.facts,
        };
        if self.arguments.is_none() && set.reads_arguments(&question) { Again::Unknown } else { Again::Ruling(set.decide(&question)) }
    }
}

/// Who called, from a record's `body.caller.identity`. How that was established is not read back: nothing is decided by it.
///
/// # Errors
/// [`Unreadable`]
pub fn identity(value: &Value) -> Result<Identity, Unreadable> {
    let principal: Principal = part("body.caller.identity", value)?;
    let strength: Strength = part("body.caller.identity.strength", &value["strength"])?;
    Ok(Identity::new(principal, How::Nothing, strength))
}

/// A part of a record is not as the gateway writes it.
#[derive(Debug, thiserror::Error)]
#[error("the record's `{part}` cannot be read ({source}): was it written by another version of the gateway?")]
pub struct Unreadable {
    part: &'static str,
    source: serde_json::Error,
}

fn part<T: DeserializeOwned>(part: &'static str, value: &Value) -> Result<T, Unreadable> {
    serde_json::from_value(value.clone()).map_err(|source| Unreadable { part, source })
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    server: Option<Cow<'a, str>>,
    caller: Option<Caller>,
    #[serde(borrow)]
    call: Option<Call<'a>>,
    decision: Option<Value>,
    #[serde(default)]
    masked: Masked,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
}

/// What the record shows otherwise than it was.
#[derive(Deserialize, Default)]
struct Masked {
    marks: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    to: String,
    path: String,
}

impl Masked {
    fn has_arguments(&self) -> bool {
        self.marks.iter().any(|mark| mark.to == "record" && mark.path.starts_with("$.params.arguments"))
    }
}

#[derive(Deserialize)]
struct Caller {
    identity: Option<Value>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// As `audit::Payload` writes it.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default)]
    truncated: bool,
    size: u64,
}

impl Payload<'_> {
    /// As they were spelled; `None` when they are not all here.
    fn arguments(&self) -> Option<Arguments> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            params: Option<Params<'a>>,
        }
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            arguments: Option<&'a RawValue>,
        }
        if self.size == 0 {
            return Some(Arguments::empty());
        }
        let text = self.json.map(RawValue::get).or(self.text.as_deref()).filter(|_| !self.truncated)?;
        let message: Message<'_> = serde_json::from_str(text).ok()?;
        Some(
            message.params.and_then(|params| params.arguments).map_or_else(Arguments::empty, |json| Arguments::read(json.get().as_bytes())),
        )
    }
}
