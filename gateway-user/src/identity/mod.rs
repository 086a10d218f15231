//! Who calls: a person that the company's identity provider vouches for, or a workload that the operator declared.
//!
//! An [`Identity`] comes from the first of these that fits: a bearer token in the request (`token`), a login on this host ([`login`]),
//! a declared workload ([`workload`]). Where none does, the caller is nobody. What is decided from bytes, `claims`, `token`, `keys`, has no
//! clock and no I/O; `issuer` asks the identity providers.

pub mod instance;
pub mod login;
pub mod saml;
pub mod workload;

mod cache;
mod claims;
mod http;
mod issuer;
mod keys;
#[cfg(test)]
mod tests;
mod token;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{config::IdentityConfig, outbound::Outbound};

pub use cache::{NotTaken, TokenCache, now};
pub use claims::{ClaimError, ClaimPath};
pub use http::{FetchError, Http};
pub use issuer::{Endpoints, Issuer, Issuers, Known, Metadata, SetupError, Unavailable, secret};
pub use keys::{Algorithm, KeySet};
pub use token::{Claims, Rules, TokenError, Unverified};

/// Who is behind a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Principal {
    /// A person, or a client with a token of its own.
    Person {
        /// Who vouches: the token's issuer, or the SAML identity provider's entity id.
        issuer: Arc<str>,
        /// The issuer's name of the person: with the issuer, it alone says who it is.
        subject: String,
        /// A name for people. It decides nothing.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The groups that the issuer says the person is in.
        groups: Vec<String>,
    },
    /// A service that the operator declared.
    Workload {
        /// Its name in the configuration.
        name: String,
        /// Its groups in the configuration.
        groups: Vec<String>,
    },
    /// Nobody vouches for the caller.
    Nobody,
}

/// How an identity was established.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum How {
    /// A token in the request.
    Token {
        /// The issuer's name in the configuration.
        idp: String,
        /// The token's own id.
        #[serde(skip_serializing_if = "Option::is_none")]
        jti: Option<String>,
        /// The client that it was given to.
        #[serde(skip_serializing_if = "Option::is_none")]
        client: Option<String>,
        /// The key that signed it; a token that only the issuer can read has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<String>,
        /// When it ends, in seconds since 1970.
        expires: u64,
    },
    /// A login on this host.
    HostLogin {
        /// The identity provider's name in the configuration.
        idp: String,
        /// The login's number.
        login: String,
        /// The Unix user that it is tied to.
        uid: u32,
        /// The login session's cgroup, if it is tied to that too.
        #[serde(skip_serializing_if = "Option::is_none")]
        cgroup: Option<String>,
        /// When it began, in seconds since 1970.
        since: u64,
    },
    /// A table of the configuration.
    Workload {
        /// What of the process fitted.
        by: Vec<&'static str>,
    },
    /// Nothing.
    Nothing,
}

/// How sure it is that the request is the principal's own, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Nobody vouches.
    None,
    /// The operator's word on a process of this host.
    Declared,
    /// That, and the instance has the role that it should have.
    DeclaredOnInstance,
    /// A person has logged in; every process of the Unix user counts as the person's.
    HostLogin,
    /// A person has logged in; every process of the login session does.
    SessionLogin,
    /// The request itself carries a proof.
    Token,
}

impl Strength {
    /// As it stands in records and policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Strength::None => "none",
            Strength::Declared => "declared",
            Strength::DeclaredOnInstance => "declared-on-instance",
            Strength::HostLogin => "host-login",
            Strength::SessionLogin => "session-login",
            Strength::Token => "token",
        }
    }
}

/// Who is behind a request, how that was established, and how sure it is. Spelled out once, as it stands in records.
#[derive(Clone)]
pub struct Identity {
    principal: Principal,
    how: How,
    strength: Strength,
    key: Arc<str>,
    spelled: Box<RawValue>,
}

impl Identity {
    /// A principal, as it was established.
    #[must_use]
    pub fn new(principal: Principal, how: How, strength: Strength) -> Self {
        #[derive(Serialize)]
        struct Spelled<'a> {
            #[serde(flatten)]
            principal: &'a Principal,
            strength: Strength,
            how: &'a How,
        }
        // Strings, numbers and lists always serialise.
        let spelled = to_raw_value(&Spelled { principal: &principal, strength, how: &how }).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let key = match &principal {
            // No issuer has a line break in it, so no two pairs make one key.
            Principal::Person { issuer, subject, .. } => format!("person\n{issuer}\n{subject}"),
            Principal::Workload { name, .. } => format!("workload\n{name}"),
            Principal::Nobody => "nobody".into(),
        };
        Identity { principal, how, strength, key: key.into(), spelled }
    }

    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Identity::new(Principal::Nobody, How::Nothing, Strength::None)
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// How that was established.
    #[must_use]
    pub fn how(&self) -> &How {
        &self.how
    }

    /// How sure it is.
    #[must_use]
    pub fn strength(&self) -> Strength {
        self.strength
    }

    /// The same for the same principal, however it was established, and different for different ones.
    #[must_use]
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Whether nobody vouches.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.principal == Principal::Nobody
    }

    /// The groups that the principal is in.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        match &self.principal {
            Principal::Person { groups, .. } | Principal::Workload { groups, .. } => groups,
            Principal::Nobody => &[],
        }
    }
}

/// All that says who calls.
pub struct Identities {
    /// Who vouches for tokens.
    pub issuers: Arc<Issuers>,
    /// Who has logged in on this host.
    pub logins: Arc<login::Logins>,
    /// What the operator declared.
    pub workloads: workload::Workloads,
    /// Whoever none of them knows.
    pub nobody: Arc<Identity>,
}

impl Identities {
    /// As the configuration has it. Identity providers are asked on this runtime.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(config: &IdentityConfig, outbound: &Outbound, runtime: tokio::runtime::Handle) -> Result<Self, SetupError> {
        Ok(Identities {
            issuers: Arc::new(Issuers::new(&config.oidc, outbound, runtime)?),
            logins: Arc::default(),
            workloads: workload::Workloads::new(&config.workloads),
            nobody: Arc::new(Identity::nobody()),
        })
    }
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spelled.serialize(serializer)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spelled.get())
    }
}

/// For people.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.principal {
            Principal::Person { name: Some(name), subject, .. } if name != subject => write!(f, "{name} ({subject})"),
            Principal::Person { subject, .. } => f.write_str(subject),
            Principal::Workload { name, .. } => write!(f, "workload {name}"),
            Principal::Nobody => f.write_str("nobody"),
        }
    }
}
