//! Which masks are for which call and for whom.
//!
//! What they find in bytes, and what takes its place, is [`gateway_mask`]'s. Here the rules that apply are chosen, by server, method, tool
//! and principal, and what they become together is kept: there are few such sets, and each is made once.

mod keys;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use gateway_mask::{Controls, Detectors, Followed, Form, Found, How, Keys, Masked, Masker, OwnError, Rule, RuleError, Wanted, What};
use thiserror::Error;

pub use keys::{MaskKeys, mac};

use crate::{
    config::{MaskRule, MaskingConfig, Reader, TokenScope, Unfollowed, Way},
    identity::Identity,
    key_file::KeyFileError,
};

/// The name of the rule that keeps secrets out of records.
pub const SECRETS: &str = "secrets";

/// Why nothing can be masked.
#[derive(Debug, Error)]
pub enum MaskingError {
    /// The key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A detector of the operator's cannot be used.
    #[error(transparent)]
    Detector(#[from] OwnError),
    /// A rule cannot be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
}

/// What a call is, as far as rules ask.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Who calls.
    pub identity: &'a Identity,
    /// The server's name; none where it is not known yet.
    pub server: Option<&'a str>,
    /// The method; none of what belongs to no call that is known.
    pub method: Option<&'a str>,
    /// The tool, for calls of tools.
    pub tool: Option<&'a str>,
}

/// The rules, and what has been made of them.
pub struct Masking {
    rules: Vec<MaskRule>,
    detectors: Arc<Detectors>,
    /// The operator's own, by their places.
    own: Vec<String>,
    keys: MaskKeys,
    tokens: TokenScope,
    /// Whether text that several events may carry is masked as one.
    pub joins_pieces: bool,
    plans: Mutex<HashMap<Chosen, Arc<Plan>>>,
}

/// The rules of a plan, by their places: for the record and for the other side, each way.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Chosen {
    sides: [Vec<usize>; 4],
    /// Rules of columns look at everything: what the columns are called cannot be told.
    is_wide: bool,
}

/// The masks of one call.
pub struct Plan {
    /// Of what goes to the server.
    pub up: Sides,
    /// Of what comes from the server.
    pub down: Sides,
    /// The rule that refuses a call whose columns cannot be followed.
    pub refuses_unfollowed: Option<String>,
    chosen: Chosen,
}

/// The masks of messages that go one way.
pub struct Sides {
    /// For the record.
    pub record: Side,
    /// For the server or the client, whoever gets the message.
    pub reader: Side,
}

/// The masks of one reader.
pub struct Side {
    /// What cannot be made masks nothing, and lets nothing through.
    masker: Result<Arc<Masker>, RuleError>,
    names: Vec<String>,
    /// Which rules are for columns.
    of_columns: Vec<bool>,
}

impl Side {
    /// What is changed in bytes.
    ///
    /// # Errors
    /// They cannot be masked, and must not be shown. The text says why, for people.
    pub fn mask(&self, bytes: &[u8], form: Form<'_>, keys: &Keys<'_>) -> Result<Masked, String> {
        let masker = self.masker.as_ref().map_err(ToString::to_string)?;
        masker.mask(bytes, form, keys).map_err(|failure| failure.to_string())
    }

    /// What masks text that comes in pieces.
    ///
    /// # Errors
    /// As [`Side::mask`].
    pub fn masker(&self) -> Result<&Arc<Masker>, String> {
        self.masker.as_ref().map_err(ToString::to_string)
    }

    /// What a request's query calls the columns of its answer.
    #[must_use]
    pub fn follow(&self, request: &[u8]) -> Followed {
        self.masker.as_ref().map(|masker| masker.follow(request)).unwrap_or_default()
    }

    /// The name of the rule at a place of the masker.
    #[must_use]
    pub fn rule(&self, place: usize) -> &str {
        self.names.get(place).map_or("", String::as_str)
    }

    /// Whether a column was found by its name.
    #[must_use]
    pub fn found_columns(&self, masked: &Masked) -> bool {
        masked.marks.iter().any(|mark| mark.kind.is_none() && self.of_columns.get(mark.rule) == Some(&true))
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Masking {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// [`MaskingError`]
    pub fn new(config: &MaskingConfig) -> Result<Masking, MaskingError> {
        Masking::with_key(config, MaskKeys::open(&config.key_file)?)
    }

    /// The same with a key that is in no file.
    ///
    /// # Errors
    /// [`MaskingError`]
    pub fn with_key(config: &MaskingConfig, keys: MaskKeys) -> Result<Masking, MaskingError> {
        let mut rules = config.rules.clone();
        if config.secrets {
            rules.push(secrets());
        }
        let detectors = Arc::new(Detectors::new(config.detectors.clone())?);
        for rule in &rules {
            // A mistake shows at the start, and not at the first call.
            Masker::new(detectors.clone(), vec![rule.rule.clone()])?;
        }
        Ok(Masking {
            rules,
            detectors,
            own: config.detectors.iter().map(|own| own.name.clone()).collect(),
            keys,
            tokens: config.tokens,
            joins_pieces: config.joins_pieces,
            plans: Mutex::default(),
        })
    }

    /// The keys of what masks leave behind.
    #[must_use]
    pub fn keys(&self) -> &MaskKeys {
        &self.keys
    }

    /// In which scope a value of a session has one token.
    #[must_use]
    pub fn token_scope(&self, server: &str, session: &str) -> String {
        match self.tokens {
            TokenScope::Session => format!("session {session}"),
            TokenScope::Server => format!("server {server}"),
            TokenScope::Everywhere => "everywhere".into(),
        }
    }

    /// The names of the rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.rule.name.as_str())
    }

    /// What a detector is called in records.
    #[must_use]
    pub fn kind(&self, found: Found) -> &str {
        match found {
            Found::Kind(kind) => kind.name(),
            Found::Own(at) => self.own.get(at).map_or("", String::as_str),
        }
    }

    /// The masks of a call, or of a message that belongs to none.
    #[must_use]
    pub fn plan(&self, about: &About<'_>) -> Arc<Plan> {
        let fits: Vec<usize> = (0..self.rules.len()).filter(|at| self.rules[*at].fits(about)).collect();
        let exempt: Vec<usize> =
            fits.iter().copied().filter(|at| self.rules[*at].unless.iter().any(|who| who.is(about.identity))).collect();
        let side = |way, reader| {
            let is_for = |at: &usize| {
                let rule = &self.rules[*at];
                rule.ways.contains(&way) && rule.to.contains(&reader) && (reader == Reader::Record || !exempt.contains(at))
            };
            fits.iter().copied().filter(is_for).collect()
        };
        let sides = [(Way::Up, Reader::Record), (Way::Up, Reader::Server), (Way::Down, Reader::Record), (Way::Down, Reader::Client)];
        self.made(Chosen { sides: sides.map(|(way, reader)| side(way, reader)), is_wide: false })
    }

    /// The same masks where what the columns are called cannot be told: rules of columns look for every kind.
    #[must_use]
    pub fn widened(&self, plan: &Plan) -> Arc<Plan> {
        self.made(Chosen { is_wide: true, ..plan.chosen.clone() })
    }

    fn made(&self, chosen: Chosen) -> Arc<Plan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&chosen) {
            return plan.clone();
        }
        let side = |at: usize, controls| {
            let rules: Vec<Rule> = chosen.sides[at].iter().map(|at| self.rules[*at].compiled(chosen.is_wide)).collect();
            let names = rules.iter().map(|rule| rule.name.clone()).collect();
            let of_columns = rules.iter().map(|rule| !rule.what.columns.is_empty()).collect();
            Side { masker: Masker::new(self.detectors.clone(), rules).map(|masker| Arc::new(masker.controls(controls))), names, of_columns }
        };
        let sides = |at| Sides { record: side(at, Controls::Record), reader: side(at + 1, Controls::Keep) };
        let refuses = chosen.sides[2..].iter().flatten().map(|at| &self.rules[*at]).find(|rule| rule.refuses_unfollowed());
        let plan = Arc::new(Plan {
            up: sides(0),
            down: sides(2),
            refuses_unfollowed: refuses.map(|rule| rule.rule.name.clone()),
            chosen: chosen.clone(),
        });
        plans.insert(chosen, plan.clone());
        plan
    }
}

/// Secrets never come to rest.
fn secrets() -> MaskRule {
    let what = What { detect: Wanted::secrets(), ..What::default() };
    MaskRule {
        server: None,
        method: None,
        tool: None,
        ways: vec![Way::Up, Way::Down],
        to: vec![Reader::Record],
        unless: Vec::new(),
        unfollowed: Unfollowed::Detect,
        rule: Rule { name: SECRETS.into(), what, how: How::Redact },
    }
}

impl MaskRule {
    /// Whether it is for a call. Of what belongs to no known call, it cannot be told that it is not.
    fn fits(&self, about: &About<'_>) -> bool {
        let server = self.server.as_ref().zip(about.server).is_none_or(|(glob, server)| glob.fits(server));
        let method = self.method.as_ref().zip(about.method).is_none_or(|(glob, method)| glob.fits(method));
        let tool = match (&self.tool, about.method, about.tool) {
            (None, ..) | (Some(_), None, None) => true,
            (Some(glob), _, Some(tool)) => glob.fits(tool),
            (Some(_), Some(_), None) => false,
        };
        server && method && tool
    }

    fn compiled(&self, is_wide: bool) -> Rule {
        let mut rule = self.rule.clone();
        if is_wide && !rule.what.columns.is_empty() {
            rule.what.detect = rule.what.detect.union(Wanted::all());
        }
        rule
    }

    fn refuses_unfollowed(&self) -> bool {
        self.unfollowed == Unfollowed::Refuse && !self.rule.what.columns.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::identity::{How as Way, Principal, Strength};

    fn masking(rules: &str) -> Masking {
        let server = "[endpoint]\n[[server]]\nname = \"clinic-db\"\nurl = \"http://127.0.0.1:9/\"\n";
        let config = crate::config::parse("test", &format!("{server}{rules}")).unwrap();
        Masking::with_key(&config.masking, MaskKeys::new(&[7; 32])).unwrap()
    }

    fn in_groups(groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Identity::new(Principal::Person { issuer: "i".into(), subject: "s".into(), name: None, groups }, Way::Nothing, Strength::Token)
    }

    fn names(side: &Side) -> Vec<&str> {
        side.names.iter().map(String::as_str).collect()
    }

    const RULES: &str = r#"
        [[mask]]
        name = "numbers"
        server = "clinic-*"
        tool = "query"
        on = "response"
        columns = ["ssn"]
        unless = ['principal in Group::"dba"']
        [[mask]]
        name = "cards"
        method = "tools/*"
        kinds = ["card"]
        to = ["server"]
    "#;

    #[test]
    fn rules_are_for_what_they_name_and_the_record_has_no_exceptions() {
        let masking = masking(RULES);
        let (nurse, dba) = (in_groups(&["staff"]), in_groups(&["dba"]));
        let query = About { identity: &nurse, server: Some("clinic-db"), method: Some("tools/call"), tool: Some("query") };
        let plan = masking.plan(&query);
        assert_eq!((names(&plan.down.record), names(&plan.down.reader)), (vec!["numbers", SECRETS], vec!["numbers"]));
        assert_eq!((names(&plan.up.record), names(&plan.up.reader)), (vec![SECRETS], vec!["cards"]));
        let plan = masking.plan(&About { identity: &dba, ..query });
        assert_eq!((names(&plan.down.record), names(&plan.down.reader)), (vec!["numbers", SECRETS], vec![]));
        for other in [
            About { server: Some("vault"), ..query },
            About { tool: Some("report"), ..query },
            About { method: Some("tools/list"), tool: None, ..query },
        ] {
            assert_eq!(names(&masking.plan(&other).down.reader), [""; 0]);
        }
        assert_eq!(names(&masking.plan(&About { method: Some("ping"), tool: None, ..query }).up.reader), [""; 0]);
    }

    #[test]
    fn what_is_not_known_is_masked_by_all_that_could_be_for_it() {
        let masking = masking(RULES);
        let nurse = in_groups(&[]);
        let unknown = About { identity: &nurse, server: None, method: None, tool: None };
        let plan = masking.plan(&unknown);
        assert_eq!((names(&plan.down.reader), names(&plan.up.reader)), (vec!["numbers"], vec!["cards"]));
    }

    #[test]
    fn where_columns_cannot_be_followed_their_rules_look_for_every_kind() {
        let masking = masking(RULES);
        let nurse = in_groups(&[]);
        let plan = masking.plan(&About { identity: &nurse, server: None, method: None, tool: None });
        let keys = Keys { commit: &|_| [0; 32], token: &|_| [0; 32] };
        let answer = br#"{"jsonrpc":"2.0","id":1,"result":{"x":"4111 1111 1111 1111"}}"#;
        let edits = |plan: &Plan| plan.down.reader.mask(answer, Form::Message(&Followed::nothing()), &keys).unwrap().edits.len();
        assert_eq!((edits(&plan), edits(&masking.widened(&plan))), (0, 1));
        assert!(Arc::ptr_eq(&masking.widened(&plan), &masking.widened(&plan)), "it is made once");
    }

    #[test]
    fn secrets_can_be_recorded_where_that_is_wanted() {
        let masking = masking("[masking]\nsecrets = \"record\"\n");
        let nurse = in_groups(&[]);
        let plan = masking.plan(&About { identity: &nurse, server: None, method: None, tool: None });
        assert!(plan.up.record.is_empty() && plan.down.record.is_empty());
    }
}
