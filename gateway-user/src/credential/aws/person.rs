//! A person's session as AWS sees it: the names and tags that CloudTrail shows and policies may ask for. Pure.

use std::sync::LazyLock;

use regex::Regex;

use crate::{audit::Digest, config::SessionTag, identity::Principal};

/// Characters that a name may have: `RoleSessionName` and `SourceIdentity` of AssumeRole.
const NAME: (usize, usize) = (2, 64);
/// Characters that a tag's value may have.
const VALUE: usize = 256;
/// Hexadecimal digits of a hash that stands for what could not.
const HASH: usize = 16;
/// Before a workload's name: no person has a `SourceIdentity` like it.
const WORKLOAD: &str = "workload=";

/// What is asked of STS for one caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// `RoleSessionName`: for people. The name that the identity provider shows, or else the subject.
    pub(super) session_name: String,
    /// `SourceIdentity`: who it is, whatever the session does later.
    pub(super) source_identity: String,
    /// Session tags, all of them transitive.
    pub(super) tags: Vec<(&'static str, String)>,
}

impl Asked {
    /// For a caller; `None` for nobody.
    pub(super) fn of(principal: &Principal, session: &str, wanted: &[SessionTag]) -> Option<Self> {
        let (session_name, source_identity, groups, person) = match principal {
            Principal::Person { issuer, subject, name, groups } => {
                let is_taken = subject.starts_with(WORKLOAD);
                let source = if is_taken { hashed(subject, is_name, NAME.1) } else { fitted(subject, is_name, NAME) };
                let shown = fitted(name.as_deref().filter(|name| !name.is_empty()).unwrap_or(subject), is_name, NAME);
                (shown, source, groups, vec![("person", value(subject)), ("issuer", value(issuer))])
            }
            Principal::Workload { name, groups } => {
                let source = fitted(&format!("{WORKLOAD}{name}"), is_name, NAME);
                (fitted(name, is_name, NAME), source, groups, vec![("workload", value(name))])
            }
            Principal::Nobody => return None,
        };
        let mut tags = Vec::new();
        if wanted.contains(&SessionTag::Person) {
            tags.extend(person);
        }
        if wanted.contains(&SessionTag::Groups) {
            tags.push(("groups", joined(groups)));
        }
        if wanted.contains(&SessionTag::Session) {
            tags.push(("session", value(session)));
        }
        Some(Asked { session_name, source_identity, tags })
    }
}

/// `:readers:writers:`, so that a policy can ask for `*:readers:*`: sorted, and no more whole names than a value holds.
fn joined(groups: &[String]) -> String {
    let mut names: Vec<String> = groups.iter().map(|group| fitted(group, |c| c != ':' && is_value(c), (1, VALUE - 2))).collect();
    names.sort();
    names.dedup();
    let mut joined = String::from(":");
    for name in names {
        if joined.chars().count() + name.chars().count() < VALUE {
            joined.push_str(&name);
            joined.push(':');
        }
    }
    joined
}

fn value(text: &str) -> String {
    fitted(text, is_value, (0, VALUE))
}

/// The text itself if it may stand there. If not, what may of its beginning, and a hash of it all: two texts never become one.
fn fitted(text: &str, may_stand: impl Fn(char) -> bool, (least, most): (usize, usize)) -> String {
    let length = text.chars().count();
    if (least..=most).contains(&length) && text.chars().all(&may_stand) { text.to_owned() } else { hashed(text, may_stand, most) }
}

fn hashed(text: &str, may_stand: impl Fn(char) -> bool, most: usize) -> String {
    let beginning = text.chars().take(most - HASH - 1).map(|c| if may_stand(c) { c } else { '_' });
    let hash = Digest::of(text.as_bytes()).to_string();
    beginning.chain(['-']).chain(hash.chars().take(HASH)).collect()
}

/// `[\w+=,.@-]`
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`; of the separators only the space, which is all that CloudTrail shows as it is.
fn is_value(c: char) -> bool {
    static BEYOND_ASCII: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}]$").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c);
    }
    BEYOND_ASCII.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}
