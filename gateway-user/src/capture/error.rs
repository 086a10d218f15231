//! What can go wrong between the gateway and the kernel programs.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why the gateway could not do something with the kernel programs.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// There is no guard.
    #[error("no guard is up: {} does not exist; start it with `mcp-gateway guard up`", path.display())]
    NoGuard {
        /// The pin that is missing.
        path: PathBuf,
    },
    /// The pins are another user's.
    #[error("{} may not be opened by this user; `mcp-gateway guard up` gives the pins to the user that the gateway runs as", path.display())]
    NotOurs {
        /// The pin.
        path: PathBuf,
    },
    /// A pin could not be used.
    #[error("the pinned map {} cannot be used: {source}; if guard and gateway are of different versions, run `mcp-gateway guard up` of this version", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A map operation failed.
    #[error("the kernel refused to {what}: {source}")]
    Map {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel cannot tell network namespaces apart.
    #[error("the network namespace's cookie cannot be read: {0}; Linux 5.14 or newer is needed")]
    NetnsCookie(io::Error),
}

impl CaptureError {
    pub(crate) fn pin(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoGuard { path },
            io::ErrorKind::PermissionDenied => Self::NotOurs { path },
            _ => Self::Pin { path, source },
        }
    }

    pub(crate) fn map(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Map { what, source }
    }
}
