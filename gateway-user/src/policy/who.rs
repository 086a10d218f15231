//! Principals, told as in the scope of a policy.

use std::{fmt, sync::Arc};

use cedar_policy::{Policy, PrincipalConstraint};

use super::{Arguments, Facts, Question, question::Case, schema::TYPES, scope::Scope};
use crate::identity::Identity;

/// Some of those who call: what a policy's scope says of its principal, such as `principal in Group::"dba"`.
#[derive(Clone)]
pub struct Who {
    text: String,
    scope: Arc<Scope>,
}

impl Who {
    /// Reads it.
    ///
    /// # Errors
    /// It is not what a scope can say, or names a type that no principal has. The text says so, for people.
    pub fn parse(text: &str) -> Result<Who, String> {
        let example = "`principal in Group::\"dba\"`, `principal == Person::\"issuer|subject\"` or `principal is Workload`";
        let wrong = |why: String| format!("expected what a policy's scope says of its principal, such as {example}: {why}");
        let policy = Policy::parse(None, format!("permit({text}, action, resource);")).map_err(|error| wrong(error.to_string()))?;
        let types = match policy.principal_constraint() {
            PrincipalConstraint::Any => Vec::new(),
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => vec![uid.type_name().clone()],
            PrincipalConstraint::Is(name) => vec![name],
            PrincipalConstraint::IsIn(name, uid) => vec![name, uid.type_name().clone()],
        };
        let known = [&TYPES.person, &TYPES.workload, &TYPES.nobody, &TYPES.group];
        if !text.trim_start().starts_with("principal") || policy.has_non_scope_constraint() {
            return Err(wrong("it says more than that".into()));
        }
        match types.iter().find(|name| !known.contains(name)) {
            Some(name) => Err(wrong(format!("there is no type `{name}` of principals or groups"))),
            None => Ok(Who { text: text.to_owned(), scope: Arc::new(Scope::of(&policy)) }),
        }
    }

    /// Whether somebody is among them.
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        let (arguments, facts) = (Arguments::empty(), Facts::default());
        let case = Case::of(&Question { identity, server: "", method: "", name: None, arguments: &arguments, facts: &facts });
        self.scope.fits(&case.principal, &case.resource)
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::identity::{How, Principal, Strength};

    fn ada() -> Identity {
        let groups = vec!["dba".into(), "staff".into()];
        let person = Principal::Person { issuer: "https://idp.example".into(), subject: "ada".into(), name: None, groups };
        Identity::new(person, How::Nothing, Strength::Token)
    }

    #[test]
    fn somebody_is_told_as_in_a_policy() {
        let nobody = Identity::new(Principal::Nobody, How::Nothing, Strength::None);
        for (text, is_ada, is_nobody) in [
            ("principal", true, true),
            ("principal in Group::\"dba\"", true, false),
            ("principal in Group::\"admins\"", false, false),
            ("principal == Person::\"https://idp.example|ada\"", true, false),
            ("principal == Person::\"https://other.example|ada\"", false, false),
            ("principal is Person", true, false),
            ("principal is Person in Group::\"staff\"", true, false),
            ("principal is Workload", false, false),
            ("principal is Nobody", false, true),
        ] {
            let who = Who::parse(text).unwrap();
            assert_eq!((who.is(&ada()), who.is(&nobody)), (is_ada, is_nobody), "{text}");
        }
    }

    #[test]
    fn what_a_scope_does_not_say_is_refused() {
        for text in [
            "",
            "Group::\"dba\"",
            "principal in Grup::\"dba\"",
            "principal in Group::\"dba\", action, resource) when { true }; forbid(principal",
            "resource",
            "principal in [Group::\"a\"]",
            "principal, action, resource) unless { false }; //",
        ] {
            assert!(Who::parse(text).is_err(), "{text}");
        }
    }
}
