//! Why the guard could not do its work.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::capture::{CaptureError, sock_diag::SockDiagError};

/// Why the guard did not come up, or go down.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The kernel or the user lacks something.
    #[error("the guard cannot run here; missing: {}", .0.join("; "))]
    Missing(Vec<String>),
    /// The cgroup given cannot be used.
    #[error("{} is not a directory of cgroup version 2: {why}", path.display())]
    Cgroup {
        /// The path that was given.
        path: PathBuf,
        /// What was found there.
        why: String,
    },
    /// The pins cannot be put there.
    #[error("{} is not on a BPF file system; choose a directory under /sys/fs/bpf", path.display())]
    NotBpffs {
        /// The directory for the pins.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The maps of another version are pinned there.
    #[error(
        "a guard of another version is up, and its maps cannot be taken over: {source}. Run `mcp-gateway guard down`, then `up`; in between nothing is captured"
    )]
    OtherVersion {
        /// What differs.
        source: CaptureError,
    },
    /// The kernel programs could not be loaded.
    #[error("the kernel programs cannot be loaded: {source}")]
    Load {
        /// aya's error; a verifier log follows where there is one.
        source: Box<aya::EbpfError>,
    },
    /// One kernel program was refused.
    #[error("the kernel refused the program {name}: {source}")]
    Program {
        /// The program.
        name: &'static str,
        /// aya's error; a verifier log follows where there is one.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object holds no such program.
    #[error("the object file holds no program {name}: it is not of this version")]
    NoProgram {
        /// The program.
        name: &'static str,
    },
    /// A program could not be attached.
    #[error("cannot attach the program {name}: {source}")]
    Attach {
        /// The program.
        name: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A map could not be read or written.
    #[error(transparent)]
    Map(#[from] CaptureError),
    /// Older connections could not be aborted.
    #[error("connections that were open before cannot be aborted: {0}")]
    SockDiag(#[from] SockDiagError),
    /// The test of capture failed.
    #[error("capture does not work: {0}")]
    Canary(String),
}

impl GuardError {
    pub(super) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
