//! `[policy]`, `[[quota]]` and `[tools]`: what may happen, how often, and what a changed tool means.

use std::{path::PathBuf, time::Duration};

use super::{
    reader::{Faults, Section},
    value,
};
use crate::{
    policy::{CustomLabel, Labeller},
    usage::Limited,
};

const TOOLS: &str = "/var/lib/mcp-gateway/tools";

/// `[policy]`
#[derive(Debug, Clone)]
pub struct PolicyConfig {
    /// The directory of the policies, `*.cedar`.
    pub dir: PathBuf,
}

/// For whom a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// A person or workload, over all sessions.
    Person,
    /// A session.
    Session,
}

/// So much in so long a time: what is not used is saved up to `amount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Calls, bytes or tools.
    pub amount: u64,
    /// In which time.
    pub period: Duration,
}

/// `[[quota]]`
#[derive(Debug, Clone)]
pub struct QuotaConfig {
    /// For whom it counts.
    pub per: Per,
    /// Only for calls of this server; for all when absent.
    pub server: Option<String>,
    /// Calls of tools, prompts and resources.
    pub calls: Option<Rate>,
    /// Bytes of answers.
    pub bytes_out: Option<Rate>,
    /// Different tools.
    pub distinct_tools: Option<Rate>,
}

impl QuotaConfig {
    /// Whether calls of a server count.
    #[must_use]
    pub fn is_for(&self, server: &str) -> bool {
        self.server.as_deref().is_none_or(|name| name == server)
    }

    /// What it limits.
    pub fn rates(&self) -> impl Iterator<Item = (Limited, Rate)> + use<> {
        let rates = [(Limited::Calls, self.calls), (Limited::BytesOut, self.bytes_out), (Limited::Tools, self.distinct_tools)];
        rates.into_iter().filter_map(|(what, rate)| Some((what, rate?)))
    }
}

/// What becomes of calls of a tool whose definition is another than the accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnToolChange {
    /// The change is recorded, and calls go on.
    Allow,
    /// They are held for approval.
    Hold,
    /// They are denied until the change is accepted.
    Deny,
}

/// `[tools]`
#[derive(Debug, Clone)]
pub struct ToolsConfig {
    /// Where it is kept what is known of tools.
    pub dir: PathBuf,
}

pub(super) fn policy(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> PolicyConfig {
    let policy = PolicyConfig { dir: section.required(faults, "dir").into() };
    section.finish(faults);
    policy
}

pub(super) fn label(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> CustomLabel {
    let text = |text: &str| Ok(text.to_owned());
    let label = CustomLabel {
        name: section.required(faults, "name"),
        pattern: section.required(faults, "pattern"),
        tool: section.text(faults, "tool"),
        argument: section.text(faults, "argument"),
        matches: section.list(faults, "matches", text),
        misses: section.list(faults, "misses", text),
    };
    // Each alone: an error then stands at its own place.
    if let Err(error) = Labeller::new(std::slice::from_ref(&label)) {
        faults.add(section.span_of("name"), &section.named("name"), error.to_string());
    }
    section.finish(faults);
    label
}

pub(super) fn tools(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> ToolsConfig {
    let tools = ToolsConfig { dir: section.path(faults, "dir").unwrap_or_else(|| TOOLS.into()) };
    section.finish(faults);
    tools
}

pub(super) fn quota(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> QuotaConfig {
    let per = section.choice(faults, "per", &[("person", Per::Person), ("session", Per::Session)]);
    let server = section.text(faults, "server");
    let calls = section.parsed(faults, "calls", |text| rate(text, "\"100/1m\"", count));
    let bytes_out = section.parsed(faults, "bytes_out", |text| rate(text, "\"50MiB/1h\"", value::size));
    let distinct_tools = section.parsed(faults, "distinct_tools", |text| rate(text, "\"20/1h\"", count));
    let quota = QuotaConfig { per, server, calls, bytes_out, distinct_tools };
    if !["calls", "bytes_out", "distinct_tools"].iter().any(|key| section.has(key)) {
        let message = "limits nothing: add `calls`, `bytes_out` or `distinct_tools`";
        faults.add(section.span(), &section.named("per"), message.into());
    }
    section.finish(faults);
    quota
}

fn rate(text: &str, example: &str, amount: impl Fn(&str) -> Result<u64, String>) -> Result<Rate, String> {
    let (many, period) = text.split_once('/').ok_or_else(|| format!("expected an amount in a time such as {example}, got \"{text}\""))?;
    Ok(Rate { amount: amount(many.trim())?, period: value::duration(period.trim())? })
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("expected a number above zero, got \"{text}\"")),
        Ok(count) => Ok(count),
    }
}
