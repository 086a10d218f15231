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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [SessionTag; 3] = [SessionTag::Person, SessionTag::Groups, SessionTag::Session];

    fn of(subject: &str, name: Option<&str>, groups: &[&str]) -> Asked {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let name = name.map(str::to_owned);
        let person = Principal::Person { issuer: "https://login.test".into(), subject: subject.into(), name, groups };
        Asked::of(&person, "s-1", &ALL).unwrap()
    }

    fn tag<'a>(asked: &'a Asked, key: &str) -> &'a str {
        &asked.tags.iter().find(|(name, _)| *name == key).unwrap().1
    }

    #[test]
    fn what_fits_stands_as_it_is() {
        let ada = of("ada.o@clinic.test", Some("Ada-Okafor"), &["dba", "café staff"]);
        assert_eq!((&*ada.session_name, &*ada.source_identity), ("Ada-Okafor", "ada.o@clinic.test"));
        assert_eq!((tag(&ada, "person"), tag(&ada, "groups")), ("ada.o@clinic.test", ":café staff:dba:"));
        assert_eq!(of("ada", None, &[]).session_name, "ada");
        assert_eq!(of("ada", Some(""), &[]).session_name, "ada");
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_beginning_and_a_hash() {
        let odd = of("auth0|5f7c", Some("Zoë Ünal"), &[]);
        assert!(odd.source_identity.starts_with("auth0_5f7c-") && odd.source_identity.len() == 27, "{}", odd.source_identity);
        assert!(odd.session_name.starts_with("Zo___nal-"), "{}", odd.session_name);
        assert_ne!(odd.source_identity, of("auth0_5f7c", None, &[]).source_identity);
        assert_ne!(tag(&odd, "person"), tag(&of("auth0_5f7c", None, &[]), "person"));
        let long = |end: &str| of(&format!("{}{end}", "x".repeat(70)), None, &[]).source_identity;
        assert_ne!(long("1"), long("2"));
        assert_eq!(long("1").len(), 64);
        assert_eq!(of("a", None, &[]).source_identity.len(), 18, "one character is too short");
    }

    #[test]
    fn no_group_s_name_passes_for_another_s() {
        let asked = of("ada", None, &["ops:dba", "x:dba:y"]);
        assert!(!tag(&asked, "groups").contains(":dba:"), "{}", tag(&asked, "groups"));
        assert_eq!(tag(&of("ada", None, &["b", "a", "b"]), "groups"), tag(&of("ada", None, &["a", "b"]), "groups"));
    }

    #[test]
    fn no_person_passes_for_a_workload() {
        let nightly = Principal::Workload { name: "nightly".into(), groups: vec![] };
        let nightly = Asked::of(&nightly, "s-1", &ALL).unwrap();
        assert_eq!((&*nightly.session_name, &*nightly.source_identity), ("nightly", "workload=nightly"));
        assert_eq!(nightly.tags[0], ("workload", "nightly".to_owned()));
        assert_ne!(of("workload=nightly", None, &[]).source_identity, "workload=nightly");
        assert_eq!(Asked::of(&Principal::Nobody, "s-1", &ALL), None);
    }

    #[test]
    fn only_the_tags_that_are_wanted_are_set() {
        let nightly = Principal::Workload { name: "nightly".into(), groups: vec![] };
        let tags =
            |wanted: &[SessionTag]| Asked::of(&nightly, "s-1", wanted).unwrap().tags.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(tags(&[]), Vec::<&str>::new());
        assert_eq!(tags(&[SessionTag::Session, SessionTag::Groups]), ["groups", "session"]);
    }

    proptest! {
        /// By the patterns of STS's own API reference.
        #[test]
        fn sts_takes_whatever_is_asked(
            subject in any::<String>(), name in any::<Option<String>>(), groups in prop::collection::vec(any::<String>(), 0..40), session in any::<String>()
        ) {
            let person = Principal::Person { issuer: subject.clone().into(), subject, name, groups };
            let asked = Asked::of(&person, &session, &ALL).unwrap();
            let names = Regex::new(r"^[0-9A-Za-z_+=,.@-]{2,64}$").unwrap();
            prop_assert!(names.is_match(&asked.session_name) && names.is_match(&asked.source_identity), "{asked:?}");
            let values = Regex::new(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$").unwrap();
            for (key, value) in &asked.tags {
                prop_assert!(values.is_match(value) && value.chars().count() <= 256, "{key}: {value:?}");
            }
        }

        /// Two persons are two, whatever they are called.
        #[test]
        fn two_subjects_are_two_source_identities(one in "[a-c|_]{1,4}", other in "[a-c|_]{1,4}") {
            let is_same = of(&one, None, &[]).source_identity == of(&other, None, &[]).source_identity;
            prop_assert_eq!(is_same, one == other);
        }
    }
}
