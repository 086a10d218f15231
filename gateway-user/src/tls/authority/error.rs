//! Why the authority cannot do what it was asked.

use std::{io, path::PathBuf};

use thiserror::Error;

/// What is wrong with the certificate authority, with which file, and what to do.
#[derive(Debug, Error)]
pub enum CaError {
    /// There is none yet.
    #[error("{} holds no certificate authority: make one with `mcp-gateway ca init`, or bring one with `mcp-gateway ca import`", dir.display())]
    NoCa {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is one already.
    #[error(
        "{} holds a certificate authority already: `mcp-gateway ca rotate` replaces it and keeps its clients; to begin anew, \
         move that directory away",
        dir.display()
    )]
    Exists {
        /// Where it is.
        dir: PathBuf,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {what}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read, or could replace, what only the gateway may see.
    #[error("{} {why}: {fix}", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// How.
        why: String,
        /// What to do.
        fix: String,
    },
    /// The authority's file is not as this program wrote it.
    #[error("{} cannot be used: {why}; restore it from a backup, or move it away and make a new authority", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was brought cannot serve as the authority.
    #[error("{} cannot be the gateway's authority: {why}", path.display())]
    Unsuitable {
        /// Which file.
        path: PathBuf,
        /// Why, and what is needed.
        why: String,
    },
    /// Its time is over, or has not come.
    #[error("the authority `{subject}` is valid from {from} to {to}, and not now: replace it with {with}, or set this host's clock right")]
    OutOfDate {
        /// Its name.
        subject: String,
        /// Its first day.
        from: String,
        /// Its last day.
        to: String,
        /// The command that replaces it.
        with: &'static str,
    },
    /// Its name constraints do not let it vouch for this name.
    #[error("the authority `{subject}` may not vouch for {host}: make one that may with {with}, then `mcp-gateway ca trust`")]
    NotCovered {
        /// Its name.
        subject: String,
        /// The name that was asked for.
        host: String,
        /// The command that replaces it.
        with: &'static str,
    },
    /// No certificate can be for this.
    #[error("`{host}` is neither a host name nor an address that a certificate could be for")]
    NotAHost {
        /// What was asked for.
        host: String,
    },
    /// There is nothing that the authority could be for.
    #[error("no https:// server is configured, and an authority that may vouch for nothing is of no use: add a [[server]] first")]
    NoHosts,
    /// An imported authority has an issuer, who alone can make its successor.
    #[error(
        "the authority `{subject}` was imported, and only its issuer can make its successor: bring that with `mcp-gateway ca import \
         --replace`"
    )]
    Imported {
        /// Its name.
        subject: String,
    },
    /// Clients that trust only an older root would no longer trust the gateway.
    #[error(
        "this would cut off every client that trusts only {}: run `mcp-gateway ca trust` on their hosts first, then say \
         --without-overlap",
        roots.join(" and only ")
    )]
    CutsOff {
        /// The roots.
        roots: Vec<String>,
    },
    /// Another command is at work on the same directory.
    #[error("{}: another `mcp-gateway ca` is at work on it: try again when it has ended", dir.display())]
    Busy {
        /// Which.
        dir: PathBuf,
    },
    /// A key or certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Making(#[from] rcgen::Error),
    /// A made certificate cannot be used for TLS.
    #[error("a certificate could not be made: {0}")]
    Tls(#[from] rustls::Error),
}
