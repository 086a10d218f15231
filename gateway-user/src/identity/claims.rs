//! What of an identity provider's claims says who someone is, and which groups he is in.

use serde_json::{Map, Value};
use thiserror::Error;

/// Where a claim stands: its name, `outer.inner` for one inside another, or a JSON Pointer (RFC 6901) that begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

/// Why the groups of a person cannot be told.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ClaimError {
    /// Entra ID leaves the groups out when there are many, and gives a URL to ask instead.
    #[error(
        "the identity provider left the groups out because there are too many (Entra ID's groups overage): have it emit only the groups that are \
         assigned to the application, or app roles, and set `groups` to that claim"
    )]
    Overage,
    /// The claim is neither a text nor a list of texts.
    #[error(
        "the claim `{claim}` is {found}, and groups are a text or a list of texts: set `groups` of the issuer to the claim that holds them"
    )]
    Shape {
        /// The claim.
        claim: String,
        /// What it is instead.
        found: &'static str,
    },
}

impl ClaimPath {
    /// From the way it is written in the configuration.
    #[must_use]
    pub fn new(path: &str) -> Self {
        ClaimPath(path.to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands there. A claim whose own name has dots in it, such as a URL, goes before one inside another.
    #[must_use]
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        if let Some(found) = claims.get(&self.0) {
            return Some(found);
        }
        if let Some(pointer) = self.0.strip_prefix('/') {
            let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
            let outer = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
            return rest.map_or(Some(outer), |rest| outer.pointer(&format!("/{rest}")));
        }
        let (first, rest) = self.0.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, name| value.get(name))
    }

    /// A text that stands there.
    #[must_use]
    pub fn text<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c str> {
        self.find(claims)?.as_str().filter(|text| !text.is_empty())
    }

    /// The groups that stand there; none where nothing does.
    ///
    /// # Errors
    /// [`ClaimError`]: they were left out, or are in no shape that can be read. Nobody is then taken to be in no group.
    pub fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<String>, ClaimError> {
        let left_out =
            claims.get("_claim_names").and_then(|names| names.get(&self.0)).is_some() || self.0 == "groups" && has(claims, "hasgroups");
        let shape = |found| ClaimError::Shape { claim: self.0.clone(), found };
        match self.find(claims) {
            None | Some(Value::Null) if left_out => Err(ClaimError::Overage),
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(group)) => Ok(vec![group.clone()]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| shape("a list of something else than texts")))
                .collect(),
            Some(Value::Object(_)) => Err(shape("an object")),
            Some(Value::Number(_)) => Err(shape("a number")),
            Some(Value::Bool(_)) => Err(shape("true or false")),
        }
    }
}

fn has(claims: &Map<String, Value>, name: &str) -> bool {
    claims.get(name).is_some_and(|value| *value == Value::Bool(true) || value.as_str() == Some("true"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn groups(path: &str, claims: &str) -> Result<Vec<String>, ClaimError> {
        ClaimPath::new(path).groups(&serde_json::from_str(claims).unwrap())
    }

    #[test]
    fn groups_are_found_wherever_they_stand_and_in_each_shape() {
        let both = Ok(vec!["dba".to_owned(), "staff".to_owned()]);
        for (path, claims) in [
            ("groups", r#"{"groups":["dba","staff"]}"#),
            ("realm_access.roles", r#"{"realm_access":{"roles":["dba","staff"]}}"#),
            ("resource_access.gateway.roles", r#"{"resource_access":{"gateway":{"roles":["dba","staff"]}}}"#),
            ("https://example.com/groups", r#"{"https://example.com/groups":["dba","staff"]}"#),
            ("/a~1b/c", r#"{"a/b":{"c":["dba","staff"]}}"#),
            ("/a/0/b", r#"{"a":[{"b":["dba","staff"]}]}"#),
            ("/groups", r#"{"groups":["dba","staff"]}"#),
            ("a.b", r#"{"a.b":["dba","staff"],"a":{"b":["root"]}}"#),
        ] {
            assert_eq!(groups(path, claims), both, "{path} in {claims}");
        }
        assert_eq!(groups("groups", r#"{"groups":"dba"}"#), Ok(vec!["dba".into()]));
        for none in [r#"{}"#, r#"{"groups":[]}"#, r#"{"groups":null}"#, r#"{"realm_access":{"roles":["x"]}}"#, r#"{"hasgroups":false}"#] {
            assert_eq!(groups("groups", none), Ok(vec![]), "{none}");
        }
    }

    #[test]
    fn groups_that_were_left_out_or_cannot_be_read_are_an_error() {
        let entra = r#"{"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example/getMemberObjects"}}}"#;
        assert_eq!(groups("groups", entra), Err(ClaimError::Overage));
        assert_eq!(groups("groups", r#"{"hasgroups":true}"#), Err(ClaimError::Overage));
        assert_eq!(groups("roles", entra), Ok(vec![]), "what was left out is not what is asked for");
        for (bad, found) in [
            (r#"{"groups":{"a":1}}"#, "an object"),
            (r#"{"groups":7}"#, "a number"),
            (r#"{"groups":["a",7]}"#, "a list of something else than texts"),
            (r#"{"groups":true}"#, "true or false"),
        ] {
            assert_eq!(groups("groups", bad), Err(ClaimError::Shape { claim: "groups".into(), found }), "{bad}");
        }
    }
}
