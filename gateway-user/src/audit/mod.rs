//! The audit log: what is written, how it is made durable, and how anyone can check it.
//!
//! ```no_run
//! use gateway_user::audit::{Durability, Effect, Entry, Kind, Log, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (log, _recovered) = Log::open(Options::new("/var/lib/mcp-gateway/audit"))?;
//! let appender = log.appender();
//! let entry = Entry { kind: Kind::Request, body: br#"{"server":"clinic-db"}"#.to_vec(), effect: Effect::Opens };
//! let seq = appender.append(entry, Durability::Sync).await?; // on disk from here on
//! # let _ = seq;
//! # Ok(()) }
//! ```
//!
//! The main path: [`Appender::append`] hashes the body on the caller's thread. With [`Durability::Os`] it takes the pen that lies
//! there, numbers, chains and writes the record itself, a copy into the kernel's cache. With [`Durability::Sync`] it queues it; the
//! writer (one thread, tokio-uring) takes the pen, numbers and chains what is queued, writes it in one go that ends on the disk,
//! and wakes every caller. [`verify()`] reads the files back and believes nothing but the bytes.
//! The format is `docs/audit-format.md`; [`format`](mod@format) is that page as code, and does no I/O.

mod append;
mod disk;
mod entry;
pub mod format;
mod lines;
mod log;
mod payload;
mod pen;
mod recover;
pub mod segment;
pub mod tail;
mod verify;
mod writer;

pub use append::{AppendError, Appender, LogState};
pub use entry::{Durability, Effect, Entry, Kind, Sha256};
pub use format::LogId;
pub use lines::Lines;
pub use log::{Committed, Log, OpenError, Options, Recovered};
pub use payload::{Digest, MAX_DEPTH, Payload};
pub use recover::Cut;
pub use verify::{Mark, Verdict, VerifyError, verify};
