//! What was decided on, read back from a record.

use serde_json::Value;

use super::{Facts, Verdict};
use crate::identity::{How, Identity, Principal, Strength};

/// Who called, from a record's `body.caller.identity`. How that was established is not read back: nothing is decided by it.
///
/// # Errors
/// What is not as the gateway writes it.
pub fn identity(value: &Value) -> Result<Identity, Unreadable> {
    let principal: Principal = read("caller.identity", value)?;
    let strength: Strength = read("caller.identity.strength", &value["strength"])?;
    Ok(Identity::new(principal, How::Nothing, strength))
}

/// A record's `body.decision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What became of the call.
    pub verdict: Verdict,
    /// The ids of the policies that determined it.
    pub policies: Vec<String>,
    /// The hash of the set that was in force.
    pub set: String,
    /// What was known.
    pub facts: Facts,
}

/// What was decided, from a record's `body.decision`; `None` when no policies were in force.
///
/// # Errors
/// What is not as the gateway writes it.
pub fn decided(value: &Value) -> Result<Option<Decided>, Unreadable> {
    let (Some(set), Some(facts)) = (value.get("set").and_then(Value::as_str), value.get("facts")) else { return Ok(None) };
    Ok(Some(Decided {
        verdict: read("decision.verdict", &value["verdict"])?,
        policies: read("decision.policies", &value["policies"])?,
        set: set.to_owned(),
        facts: read("decision.facts", facts)?,
    }))
}

/// The arguments of a recorded call, as JSON, from a record's `body.payload`; `None` when they are not all on record.
#[must_use]
pub fn arguments(payload: &Value) -> Option<Value> {
    let message = payload.get("json")?;
    Some(message.pointer("/params/arguments").cloned().unwrap_or_default())
}

/// A part of a record is not as the gateway writes it.
#[derive(Debug, thiserror::Error)]
#[error("the record's `{part}` cannot be read ({source}): was it written by another version of the gateway?")]
pub struct Unreadable {
    part: &'static str,
    source: serde_json::Error,
}

fn read<T: serde::de::DeserializeOwned>(part: &'static str, value: &Value) -> Result<T, Unreadable> {
    serde_json::from_value(value.clone()).map_err(|source| Unreadable { part, source })
}
