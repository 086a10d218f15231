//! End-to-end tests, and what they are made of.
//!
//! A test stands a real MCP server in a network namespace of its own, puts a cgroup of its own under the guard, runs the gateway
//! as an unprivileged user, and sends unmodified clients to the server's own address:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use gateway_tests::{Cgroup, Gateway, Netns, ServerEntry, servers};
//!
//! let netns = Netns::new()?;
//! let clinic = servers::clinic(&netns)?;
//! let cgroup = Cgroup::new()?;
//! let gateway = Gateway::over(&cgroup).server(ServerEntry::new("clinic", &clinic.url)).start()?;
//! // a client started in the cgroup goes through the gateway; one started outside it does not
//! # Ok(())
//! # }
//! ```
//!
//! Everything that is made is named after a [`Slot`] that no other test holds, and is gone when it is dropped: also when the test
//! panics, and when it was killed, as the next holder of the slot cleans up first.
//!
//! A missing privilege or kernel feature *fails* a test by name ([`needs::require`]): a skipped test looks green.

pub mod aws;
pub mod binaries;
pub mod browser;
pub mod cgroup;
pub mod clients;
pub mod clinic;
pub mod dice;
pub mod gateway;
pub mod http;
pub mod jwt;
pub mod kinesis;
pub mod load;
pub mod login;
pub mod needs;
pub mod netns;
pub mod oidc;
pub mod pki;
pub mod process;
pub mod raw;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod saml;
pub mod servers;
pub mod setup;
pub mod slot;
pub mod tls;
pub mod wait;

pub use aws::Aws;
pub use browser::Browser;
pub use cgroup::Cgroup;
pub use gateway::Gateway;
pub use netns::Netns;
pub use oidc::Oidc;
pub use process::{Finished, Launch, Proc, User};
pub use record::Record;
pub use relay::Relay;
pub use saml::SamlIdp;
pub use setup::ServerEntry;
pub use slot::Slot;
pub use wait::wait_until;
