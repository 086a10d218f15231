//! What may happen: each call is decided by Cedar policies over who calls, what, and with which arguments.
//!
//! ```
//! use gateway_user::{identity::Identity, policy::{Arguments, Facts, PolicySet, Question, Verdict}};
//!
//! let text = r#"
//!     permit(principal, action == Action::"tools/call", resource in Server::"clinic");
//!     @message("patients are off limits")
//!     forbid(principal, action, resource) when { context.arguments.hasTag("table") && context.arguments.getTag("table") == "patients" };
//! "#;
//! let set = PolicySet::from_sources(vec![("clinic.cedar".into(), text.into())]).map_err(|errors| errors.to_string())?;
//! let (identity, facts, arguments) = (Identity::nobody(), Facts::default(), Arguments::read(br#"{"table":"patients"}"#));
//! let question = Question {
//!     identity: &identity, server: "clinic", method: "tools/call", name: Some("query"), arguments: &arguments, facts: &facts,
//! };
//! let ruling = set.decide(&question);
//! assert_eq!(ruling.verdict, Verdict::Deny);
//! assert_eq!(ruling.message.as_deref(), Some("patients are off limits"));
//! # Ok::<(), String>(())
//! ```
//!
//! The path of a decision: [`PolicySet::decide`] takes the policies whose scope fits (`scope`), tells the plain ones of their
//! conditions itself (`direct`), lets Cedar evaluate the others over what these read (`question`), and puts what applies together. `files` reads policies, `schema` is what they are written about. All of
//! it is pure but for [`PolicySet::load`].

pub mod recorded;

mod arguments;
mod direct;
mod error;
mod files;
mod labels;
mod question;
mod reads;
mod schema;
mod scope;
mod set;
#[cfg(test)]
mod tests;
mod who;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Strength};

pub use arguments::Arguments;
pub use error::{Fault, PolicyErrors};
pub use files::{Effect, PolicyInfo};
pub use labels::{CustomLabel, LabelError, Labeller, Labels};
pub use schema::SESSION_POLICY;
pub use set::{PolicySet, sources};
pub use who::Who;

/// What is decided on, live or read back from a record.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Who calls.
    pub identity: &'a Identity,
    /// The server's name in the configuration.
    pub server: &'a str,
    /// The JSON-RPC method. A client's answer to the server's question is `response`; what is no JSON-RPC but passes is `other`.
    pub method: &'a str,
    /// The tool, the prompt, or the resource's URI.
    pub name: Option<&'a str>,
    /// With which arguments.
    pub arguments: &'a Arguments,
    /// What else is known.
    pub facts: &'a Facts,
}

/// What is known beside who, what and with which arguments. It stands in the record, so that a decision can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Facts about the arguments.
    pub labels: Labels,
    /// When, in seconds since 1970.
    pub time: u64,
    /// How sure it is that the call is the principal's own.
    pub strength: Strength,
    /// The process behind it.
    #[serde(default)]
    pub process: ProcessFacts,
    /// The MCP revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The session so far.
    #[serde(default)]
    pub session: Counters,
    /// The principal so far.
    #[serde(default)]
    pub person: Counters,
    /// What the server says of its tool.
    #[serde(default)]
    pub annotations: Annotations,
    /// SHA-256 of the tool's definition, hexadecimal, if it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Whether it differs from the one that was accepted.
    #[serde(default)]
    pub definition_changed: bool,
}

/// Of nobody, at the beginning of 1970.
impl Default for Facts {
    fn default() -> Self {
        Facts {
            labels: Labels::default(),
            time: 0,
            strength: Strength::None,
            process: ProcessFacts::default(),
            revision: None,
            session: Counters::default(),
            person: Counters::default(),
            annotations: Annotations::default(),
            definition: None,
            definition_changed: false,
        }
    }
}

/// The process behind a call, as the kernel knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessFacts {
    /// Its executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Its systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its user's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// What went before the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counters {
    /// Calls.
    pub calls: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Different tools.
    pub tools: u64,
}

/// The hints of a tool's annotations, as the server gave them when it listed its tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Annotations {
    /// It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may destroy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Twice is as once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It reaches beyond the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It is refused.
    Deny,
    /// It waits for approval.
    Hold,
}

impl Verdict {
    /// As it stands in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Hold => "hold",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A decision, with what determined it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ruling {
    /// The decision.
    pub verdict: Verdict,
    /// The ids of the policies that determined it, sorted; none where no policy permits.
    pub policies: Vec<Arc<str>>,
    /// What the caller is told: `@message` of the first policy that determined it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
    /// Why it is held: the text of `@hold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Arc<str>>,
    /// Policies that could not be evaluated. A forbid among them denies, a permit does not apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}
