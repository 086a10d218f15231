//! The control socket: how `login`, `logout`, `whoami` and `sessions` speak with the running gateway.
//!
//! One JSON object a line, each way. Who asks is what the kernel says of the socket's other end (`SO_PEERCRED`, unix(7)), and nothing that
//! the line says.

mod server;

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, login::Shown};

pub use server::{Control, ControlError, bind};

/// The longest line.
pub const MAX_LINE: u64 = 16 << 10;

/// What is asked of the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Log in.
    Login {
        /// With this identity provider; with the only one when absent.
        idp: Option<String>,
        /// In this way; in the one that the provider offers when absent.
        way: Option<Way>,
        /// Only the processes of the asking process's login session.
        session: bool,
        /// The loopback port to which a browser can come back.
        port: u16,
    },
    /// A browser has come back with this query.
    Callback {
        /// What stands behind the `?`.
        query: String,
    },
    /// End the user's logins.
    Logout {
        /// Only that of the asking process's login session.
        session: bool,
    },
    /// Whose would a call of the asking process be?
    Whoami,
    /// The logins that the user may see.
    Sessions,
    /// End a login.
    End {
        /// Its number.
        id: String,
    },
}

/// How a person logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// With a code, on any device (RFC 8628).
    Device,
    /// With a browser on this host (RFC 8252).
    Browser,
}

/// What the gateway says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Say {
    /// The person is to go to a URL, on any device, and type the code.
    Code {
        /// Where.
        url: String,
        /// Where the code need not be typed.
        complete: Option<String>,
        /// What.
        code: String,
        /// For how many seconds.
        lasts: u64,
    },
    /// A browser on this host is to go to a URL; it comes back to the port.
    Go {
        /// Where.
        url: String,
    },
    /// The person is logged in.
    LoggedIn {
        /// As what.
        login: Shown,
    },
    /// These logins, or none, were ended.
    Ended {
        /// Which.
        logins: Vec<Shown>,
    },
    /// A call of the asking process would be this one's.
    You {
        /// Who, as in a record.
        identity: serde_json::Value,
        /// For people.
        name: String,
        /// Whether it is nobody.
        nobody: bool,
        /// The login, if it is one.
        login: Option<Shown>,
    },
    /// The logins that the user may see.
    Sessions {
        /// Which.
        logins: Vec<Shown>,
    },
    /// The answer is no.
    No {
        /// Why, and what to do next.
        message: String,
    },
}

impl Say {
    fn you(identity: &Identity, login: Option<Shown>) -> Self {
        let spelled = serde_json::to_value(identity).unwrap_or_default();
        Say::You { identity: spelled, name: identity.to_string(), nobody: identity.is_nobody(), login }
    }
}
