//! A credential in hand, and what a request becomes with it.

use std::{borrow::Cow, sync::Arc};

use form_urlencoded::byte_serialize;

use super::{CredentialError, aws::Signer, echo::Echoes, secret::Secret};

/// A credential for one request, in hand. A copy costs nothing.
#[derive(Debug, Clone)]
pub enum Held {
    /// Nothing is put in; what the caller sent is dropped all the same.
    Nothing,
    /// A header field.
    Field(Placed),
    /// A parameter of the query.
    Query(Placed),
    /// A signature, as AWS has it.
    Aws(Signer),
}

/// A credential and where it stands.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The field's or the parameter's name.
    name: Arc<str>,
    /// What stands there, as it is sent.
    value: Secret,
    echoes: Echoes,
}

/// A request that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Host and port, as the server is called in `Host`.
    pub authority: &'a str,
    /// Its header, as it will be sent but for the credential.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its body, whole.
    pub body: &'a [u8],
}

/// What a request becomes.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Header fields that are set.
    pub set: Vec<(Arc<str>, Secret)>,
    /// Path and query, where they change.
    pub target: Option<Secret>,
    /// What must not come back in the answer.
    pub echoes: Echoes,
}

impl Applied {
    /// Whether a header field of the caller's is left out: it carries a credential, or ours stands in its place.
    #[must_use]
    pub fn removes(&self, name: &str) -> bool {
        carries_credential(name) || self.set.iter().any(|(ours, _)| ours.eq_ignore_ascii_case(name))
    }
}

impl Held {
    /// A header field of this name, with `prefix` before the secret. What was made of [`Secret::sendable`] is what may stand there.
    #[must_use]
    pub fn field(name: &str, prefix: &str, secret: &Secret) -> Self {
        let value = if prefix.is_empty() { secret.clone() } else { Secret::new([prefix, secret.expose()].concat()) };
        Held::Field(Placed { name: name.into(), value, echoes: Echoes::of(&[secret.expose()]) })
    }

    /// A parameter of the query.
    #[must_use]
    pub fn query(name: &str, secret: &Secret) -> Self {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let value = Secret::new([encoded(name), encoded(secret.expose())].join("="));
        Held::Query(Placed { name: name.into(), value, echoes: Echoes::of(&[secret.expose()]) })
    }

    /// Whether it is a copy of this one.
    #[must_use]
    pub fn is(&self, other: &Held) -> bool {
        match (self, other) {
            (Held::Field(one), Held::Field(other)) | (Held::Query(one), Held::Query(other)) => one.value.is(&other.value),
            _ => false,
        }
    }

    /// What the request becomes, signed last over what is sent. Every credential of the caller's is dropped, see [`Applied::removes`].
    ///
    /// # Errors
    /// [`CredentialError`]: it could not be signed.
    pub fn apply(&self, outgoing: &Outgoing<'_>) -> Result<Applied, CredentialError> {
        Ok(match self {
            Held::Aws(signer) => return signer.apply(outgoing),
            Held::Nothing => Applied { set: Vec::new(), target: without(outgoing.target, None, None), echoes: Echoes::default() },
            Held::Field(field) => Applied {
                set: vec![(field.name.clone(), field.value.clone())],
                target: without(outgoing.target, None, None),
                echoes: field.echoes.clone(),
            },
            Held::Query(query) => Applied {
                set: Vec::new(),
                target: without(outgoing.target, Some(&query.name), Some(&query.value)),
                echoes: query.echoes.clone(),
            },
        })
    }
}

/// The target without the parameters that carry a credential and the one of this name, and with ours at its end; `None` if that changes
/// nothing. What else stands in it stays byte for byte.
pub(super) fn without(target: &str, name: Option<&str>, ours: Option<&Secret>) -> Option<Secret> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let parts = || query.into_iter().flat_map(|query| query.split('&'));
    let goes = |part: &&str| {
        let found = parameter(part);
        carries_credential(&found) || name.is_some_and(|name| found == name)
    };
    if ours.is_none() && !parts().any(|part| goes(&part)) {
        return None;
    }
    let kept = parts().filter(|part| !goes(part)).filter(|part| !part.is_empty() || ours.is_none());
    let query = kept.chain(ours.map(Secret::expose)).collect::<Vec<_>>().join("&");
    Some(Secret::new(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }))
}

/// The name of a parameter of a query, as the server reads it.
pub(crate) fn parameter(part: &str) -> Cow<'_, str> {
    form_urlencoded::parse(part.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

/// Whether a header field or query parameter of this name is taken to hold a credential. Names are matched by what they contain: a
/// value withheld without need costs a line of the record, one recorded without need costs a secret. MCP's own never are.
#[must_use]
pub fn carries_credential(name: &str) -> bool {
    const TELLING: [&str; 13] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "api-key",
        "api_key",
        "apikey",
        "credential",
        "signature",
        "auth-key",
        "access-key",
    ];
    // Those of nearly every request; none holds a telling word.
    const PLAIN: [&str; 5] = ["host", "accept", "content-type", "content-length", "user-agent"];
    if PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(name)) || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("mcp-")) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    name == "auth" || name == "key" || name == "sig" || name == "x-auth" || TELLING.iter().any(|telling| name.contains(telling))
}
