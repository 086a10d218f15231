//! With whose credentials a call reaches its server: the gateway's own, which no caller holds.
//!
//! A server's [`Credential`] is asked for every request who it is [`For`], and gives one that is [`Held`]; the request is sent as that
//! [`Applied`] says, and what comes back is searched for [`Echoes`]. A credential that its source does not stand behind is never used: the
//! call is denied with a [`CredentialError`] instead.

mod answer;
pub mod aws;
mod echo;
mod error;
mod held;
mod oauth;
mod secret;
mod server;
mod slot;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::identity::Identity;

pub use echo::{EchoStream, Echoes};
pub use error::{CredentialError, FileProblem, Label, Problem, SetupError};
pub(crate) use held::parameter;
pub use held::{Applied, Held, Outgoing, Placed, carries_credential};
pub use secret::Secret;
pub use server::{Credential, Credentials};

/// Who a credential is asked for.
#[derive(Clone, Copy)]
pub struct For<'a> {
    /// Who calls.
    pub identity: &'a Arc<Identity>,
    /// The bearer token that the caller showed to the gateway.
    pub token: Option<&'a str>,
    /// The session of the call.
    pub session: &'a str,
}
