//! `[[mask]]`, `[[detector]]` and `[masking]`: what nobody reads, or not everybody.

use std::{path::PathBuf, sync::Arc};

use gateway_mask::{Detectors, How, Kind, Masker, Own, Rule, RuleError, Validator, Wanted, What};

use super::reader::{Faults, Section};
use crate::{glob::Glob, policy::Who};

const KEY: &str = "/var/lib/mcp-gateway/masking/key";
/// Names of several kinds at once.
const GROUPS: [&str; 2] = ["secrets", "all"];
/// Characters that `partial` keeps.
const KEPT: u8 = 4;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Who reads what a rule masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Whoever reads the audit log.
    Record,
    /// The client: messages of the server.
    Client,
    /// The server: messages of the client.
    Server,
}

/// What becomes of an answer of which it cannot be told what the query called its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfollowed {
    /// Every detector looks at it.
    Detect,
    /// The call is refused.
    Refuse,
}

/// How far a token of a value is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScope {
    /// In one session.
    Session,
    /// With one server.
    Server,
    /// Everywhere.
    Everywhere,
}

/// `[[mask]]`
#[derive(Debug, Clone)]
pub struct MaskRule {
    /// The servers that it is for; all when absent.
    pub server: Option<Glob>,
    /// The methods; all when absent.
    pub method: Option<Glob>,
    /// The tools; all, and what is no tool's, when absent.
    pub tool: Option<Glob>,
    /// The ways of messages.
    pub ways: Vec<Way>,
    /// From whom it is hidden.
    pub to: Vec<Reader>,
    /// Who may read it all the same, but in no record.
    pub unless: Vec<Who>,
    /// What becomes of answers whose columns cannot be followed.
    pub unfollowed: Unfollowed,
    /// What it masks, and how.
    pub rule: Rule,
}

/// `[masking]`
#[derive(Debug, Clone)]
pub struct MaskingConfig {
    /// The key of commitments and tokens.
    pub key_file: PathBuf,
    /// How far a token of a value is the same.
    pub tokens: TokenScope,
    /// Whether text of log messages and of progress is masked over several events as one.
    pub joins_pieces: bool,
    /// Whether secrets are kept out of records without a rule.
    pub secrets: bool,
    /// The operator's own detectors.
    pub detectors: Vec<Own>,
    /// The rules, in file order.
    pub rules: Vec<MaskRule>,
}

pub(super) fn read(top: &mut Section<'_, '_>, faults: &mut Faults<'_>, servers: Option<&[&str]>) -> MaskingConfig {
    let mut section = top.section(faults, "masking");
    let key_file = section.path(faults, "key_file").unwrap_or_else(|| KEY.into());
    let scopes = [("session", TokenScope::Session), ("server", TokenScope::Server), ("everywhere", TokenScope::Everywhere)];
    let tokens = section.choice(faults, "tokens", &scopes);
    let joins_pieces = section.choice(faults, "pieces", &[("whole", false), ("joined", true)]);
    let secrets = section.choice(faults, "secrets", &[("hide", true), ("record", false)]);
    section.finish(faults);
    let detectors: Vec<Own> = top.tables(faults, "detector").into_iter().map(|section| detector(section, faults)).collect();
    let sections = top.tables(faults, "mask");
    // Only for rules: they take a while, and every command reads the configuration. Where they cannot be made, that is a fault of a
    // detector's own already.
    let made = if sections.is_empty() { None } else { Detectors::new(detectors.clone()).ok().map(Arc::new) };
    let mut rules: Vec<MaskRule> = Vec::new();
    for section in sections {
        let default_name = format!("mask-{}", rules.len() + 1);
        let span = section.span_of("name");
        let rule = rule(section, faults, servers, &detectors, default_name, made.as_ref());
        if rules.iter().any(|other| other.rule.name == rule.rule.name) {
            faults.add(span, "mask.name", format!("`{}` is the name of another rule already", rule.rule.name));
        }
        rules.push(rule);
    }
    MaskingConfig { key_file, tokens, joins_pieces, secrets, detectors, rules }
}

fn detector(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Own {
    let text = |text: &str| Ok(text.to_owned());
    let own = Own {
        name: section.required(faults, "name"),
        pattern: section.required(faults, "pattern"),
        keywords: section.list(faults, "keywords", text),
        validator: section.parsed(faults, "validator", |name| {
            Validator::from_name(name).ok_or_else(|| format!("expected one of {}, got \"{name}\"", names(Validator::ALL)))
        }),
        matches: section.list(faults, "matches", text),
        mismatches: section.list(faults, "mismatches", text),
    };
    if Kind::from_name(&own.name).is_some() || GROUPS.contains(&own.name.as_str()) {
        faults.add(section.span_of("name"), "detector.name", format!("`{}` is a kind of the gateway's own: choose another name", own.name));
    }
    // Each alone: an error then stands at its own place.
    if let Err(error) = Detectors::new(vec![own.clone()]) {
        faults.add(section.span_of("name"), &section.named("name"), error.to_string());
    }
    section.finish(faults);
    own
}

fn rule(
    mut section: Section<'_, '_>,
    faults: &mut Faults<'_>,
    servers: Option<&[&str]>,
    own: &[Own],
    default_name: String,
    made: Option<&Arc<Detectors>>,
) -> MaskRule {
    let glob = |text: &str| Glob::new(text).map_err(|error| format!("cannot be used: {error}"));
    let server = section.parsed(faults, "server", glob);
    let method = section.parsed(faults, "method", glob);
    let tool = section.parsed(faults, "tool", glob);
    let ways =
        section.choice(faults, "on", &[("both", &[Way::Up, Way::Down][..]), ("request", &[Way::Up][..]), ("response", &[Way::Down][..])]);
    let to = section.list(faults, "to", reader);
    let to = if section.has("to") { to } else { vec![Reader::Record, Reader::Client] };
    let unless = section.list(faults, "unless", Who::parse);
    let unfollowed = section.choice(faults, "unfollowed", &[("detect", Unfollowed::Detect), ("refuse", Unfollowed::Refuse)]);
    let rule = Rule {
        name: section.text(faults, "name").unwrap_or(default_name),
        what: what(&mut section, faults, own),
        how: how(&mut section, faults),
    };
    let mask = MaskRule { server, method, tool, ways: ways.to_vec(), to, unless, unfollowed, rule };
    can_match(&section, faults, servers, &mask);
    if let Some(Err(error)) = made.map(|made| Masker::new(made.clone(), vec![mask.rule.clone()])) {
        let key = match &error {
            RuleError::Path { .. } => "paths",
            RuleError::Name { .. } | RuleError::Empty { .. } => "name",
        };
        faults.add(section.span_of(key), &section.named(key), error.to_string());
    }
    section.finish(faults);
    mask
}

fn names<T>(named: &[(&str, T)]) -> String {
    named.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn reader(name: &str) -> Result<Reader, String> {
    match name {
        "record" => Ok(Reader::Record),
        "client" => Ok(Reader::Client),
        "server" => Ok(Reader::Server),
        _ => Err(format!("expected \"record\", \"client\" or \"server\", got \"{name}\"")),
    }
}

fn what(section: &mut Section<'_, '_>, faults: &mut Faults<'_>, own: &[Own]) -> What {
    let text = |text: &str| Ok(text.to_owned());
    let wanted = section.list(faults, "kinds", |name| wanted(name, own));
    What {
        paths: section.list(faults, "paths", text),
        fields: section.list(faults, "fields", text),
        columns: section.list(faults, "columns", text),
        detect: wanted.into_iter().fold(Wanted::NONE, Wanted::union),
    }
}

fn wanted(name: &str, own: &[Own]) -> Result<Wanted, String> {
    if let Some(at) = own.iter().position(|own| own.name == name) {
        return Ok(Wanted::own(at));
    }
    match (name, Kind::from_name(name)) {
        ("secrets", _) => Ok(Wanted::secrets()),
        ("all", _) => Ok(Wanted::all()),
        (_, Some(kind)) => Ok(Wanted::kinds(&[kind])),
        (_, None) => {
            let known = || Kind::ALL.iter().map(|kind| kind.name()).chain(GROUPS).chain(own.iter().map(|own| own.name.as_str()));
            let near = known().min_by_key(|known| strsim::damerau_levenshtein(known, name));
            Err(match near.filter(|near| strsim::damerau_levenshtein(near, name) <= 3) {
                Some(near) => format!("there is no kind `{name}`; did you mean `{near}`?"),
                None => format!("there is no kind `{name}`; known: {}", known().collect::<Vec<_>>().join(", ")),
            })
        }
    }
}

fn how(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> How {
    let keep = section.integer(faults, "keep", 1..=32);
    let kept = keep.and_then(|keep| u8::try_from(keep).ok()).unwrap_or(KEPT);
    let hows = [
        ("redact", How::Redact),
        ("partial", How::Partial { keep: kept }),
        ("token", How::Token),
        ("drop", How::Drop),
        ("format", How::Format),
    ];
    let how = section.choice(faults, "how", &hows);
    if keep.is_some() && !matches!(how, How::Partial { .. }) {
        faults.add(section.span_of("keep"), &section.named("keep"), "is for how = \"partial\"".into());
    }
    how
}

/// A rule that never masks anything is a mistake: whoever wrote it believes in it.
fn can_match(section: &Section<'_, '_>, faults: &mut Faults<'_>, servers: Option<&[&str]>, mask: &MaskRule) {
    let mut never = |key: &str, message: String| faults.add(section.span_of(key), &section.named(key), message);
    let no_server = |glob: &&Glob| servers.is_some_and(|servers| !servers.iter().any(|server| glob.fits(server)));
    if let Some(glob) = mask.server.as_ref().filter(no_server) {
        never("server", format!("no server is called `{}`", glob.as_str()));
    }
    if let (Some(_), Some(method)) = (&mask.tool, mask.method.as_ref().filter(|method| !method.fits("tools/call"))) {
        never("method", format!("`{}` is not tools/call, and only calls of tools have a `tool`", method.as_str()));
    }
    let reaches = |reader: &Reader| match reader {
        Reader::Record => true,
        Reader::Client => mask.ways.contains(&Way::Down),
        Reader::Server => mask.ways.contains(&Way::Up),
    };
    if section.has("to") && (mask.to.is_empty() || !mask.to.iter().all(reaches)) {
        never("to", "a client reads responses and a server requests: name at least one that reads what the rule is `on`".into());
    }
}
