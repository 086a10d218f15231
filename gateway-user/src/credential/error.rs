//! Why there is no credential.

use std::{path::PathBuf, sync::Arc};

use thiserror::Error;

use crate::tls::TlsConfigError;

/// A credential that could not be had. Its text is what the caller is told: it names the server and the source, and holds no value, no path
/// of this host, and nothing that the source said in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the gateway has no credential for the server `{server}`: {asked} {problem}")]
pub struct CredentialError {
    /// The server's name.
    pub server: Arc<str>,
    /// Where the credential is from, as the operator would say it: "the Secrets Manager secret `clinic/key`".
    pub asked: Arc<str>,
    /// What happened, and what to do next.
    pub problem: Problem,
}

/// What became of it where it is from: what follows the source's name in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is not there.
    #[error("does not exist. It must be put back, or the server's `credential` changed")]
    Gone,
    /// The gateway may not have it.
    #[error("may not be read by the gateway ({0}). It must be given the right to")]
    Denied(String),
    /// What is there is no credential.
    #[error("{0}. It must be put right")]
    Unusable(String),
    /// It cannot be asked now.
    #[error("cannot be asked now: {0}. Try again later")]
    Unreachable(String),
    /// An authorization server gave no token (RFC 6749 section 5.2).
    #[error("gave no token: `{code}`. What the gateway asks it for, and as whom, stands in the server's `credential`")]
    Refused {
        /// Its code for it, such as `invalid_client`.
        code: String,
    },
    /// An authorization server does not take the caller's own token (RFC 8693 section 2.2.2).
    #[error("does not take the caller's token: `{code}`. Get a new one, or ask whoever runs the gateway whether it may be exchanged")]
    Subject {
        /// Its code for it, such as `invalid_request`.
        code: String,
    },
    /// The credential is made from the caller's own token, and there is none.
    #[error("gives one only in exchange for the caller's own token, and the request has none. Send a bearer token that is for the gateway")]
    NoToken,
    /// STS gives no session of a role for the caller.
    #[error("cannot be assumed for the caller: {0}")]
    NotAssumed(String),
    /// The request cannot be signed.
    #[error("signs requests that are as HTTP has them, and this one is not: {0}")]
    Unsigned(&'static str),
    /// There is nobody to give one for.
    #[error("gives one only for a person or a workload, and nobody vouches for the caller. Log in first")]
    Nobody,
    /// The gateway is stopping.
    #[error("is not asked any more: the gateway is stopping. Try again")]
    Stopping,
}

impl Problem {
    /// Whether what the source said before does not count any more either.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Problem::Gone | Problem::Denied(_) | Problem::Unusable(_))
    }
}

/// Whose credential it is and where it is from: what an error says beside what happened.
#[derive(Debug, Clone)]
pub struct Label {
    /// The server's name.
    pub server: Arc<str>,
    /// See [`CredentialError::asked`].
    pub asked: Arc<str>,
}

impl Label {
    /// This happened to it.
    #[must_use]
    pub fn failed(&self, problem: Problem) -> CredentialError {
        CredentialError { server: self.server.clone(), asked: self.asked.clone(), problem }
    }
}

/// A server's `credential` that cannot be used as it is configured. The gateway does not start then.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A file.
    #[error("server `{server}`: the file of its credential, {}, {problem}", path.display())]
    File {
        /// The server's name.
        server: Arc<str>,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// An environment variable.
    #[error("server `{server}`: the environment variable `{name}` {problem}")]
    Environment {
        /// The server's name.
        server: Arc<str>,
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The authorities that vouch for a token endpoint cannot be read.
    #[error("server `{server}`: {source}")]
    Tls {
        /// The server's name.
        server: Arc<str>,
        /// What is wrong.
        source: Box<TlsConfigError>,
    },
}

/// What is wrong with a file that should hold a secret, for who runs the gateway: what follows its name in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileProblem {
    /// It is not there.
    #[error("does not exist")]
    Missing,
    /// The gateway may not read it, or could not.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// Others on this host could have read it.
    #[error(
        "can be read by others on this host (mode {mode:03o}): take the right from them with `chmod 600`, and replace the secret, which they may know"
    )]
    Open {
        /// Its permissions.
        mode: u32,
    },
    /// What it holds is no secret: see [`Secret::sendable`](super::Secret::sendable).
    #[error("{0}")]
    Content(&'static str),
}

impl From<&FileProblem> for Problem {
    fn from(problem: &FileProblem) -> Self {
        match problem {
            FileProblem::Missing => Problem::Gone,
            FileProblem::Unreadable(cause) => Problem::Denied(cause.clone()),
            FileProblem::Open { .. } => Problem::Unusable("can be read by others on the gateway's host (`chmod 600`)".into()),
            FileProblem::Content(what) => Problem::Unusable((*what).into()),
        }
    }
}
