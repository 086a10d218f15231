//! Reading MCP: JSON-RPC messages of all five revisions, strictly, over the bytes as received.
//!
//! ```
//! use gateway_user::mcp::{self, Limits, Message, Payload};
//!
//! let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query"}}"#;
//! let Payload::Single(Message::Request(call)) = mcp::read(body, &Limits::default())? else { panic!() };
//! assert_eq!((call.method.as_str(), call.name.as_deref()), ("tools/call", Some("query")));
//! # Ok::<(), mcp::Refusal>(())
//! ```
//!
//! # What is refused, and why
//!
//! The gateway decides on what it reads here, and the server then reads the same bytes with another parser. So
//! whatever two parsers in the field read differently is refused:
//!
//! - **A key twice in one object**, at any depth, compared after its escapes are decoded. Parsers take the
//!   first, the last, or both.
//! - **A key that is nearly one that the gateway reads** (`Method`, `na\u006de\u0000`, `parameſ`): in the message
//!   itself and in `params`, `_meta`, `result` and `error`. Parsers that ignore case (Go's `encoding/json`,
//!   CVE-2026-27896) or stop at a NUL (GHSA-q382-vc8q-7jhj) take it for the real one.
//! - **Two keys that differ in case only** in those same objects and among the arguments of a call, because
//!   a tool's parameters are names that rules decide on. Deeper in the arguments, and in results, such keys are
//!   data (`{"a":1,"A":2}` is a legitimate row) and pass; [`Limits::folded_levels`] moves that line.
//! - **Text that is not UTF-8**, byte order marks, lone surrogates, numbers beyond a double, anything after the
//!   message, nesting beyond [`Limits::max_depth`].
//! - **Ids that do not survive a double** (2^53 + 1): a server that reads them as doubles answers another id.
//! - **A message of two kinds** (`method` beside `result`), a known request sent as a notification, a
//!   `notifications/…` with an id, the same id twice in a batch.
//!
//! Members and methods that are merely unknown pass.
#![forbid(unsafe_code)]

mod answer;
mod classify;
mod confirm;
mod endpoint;
mod id;
mod keys;
mod listing;
mod members;
mod message;
mod read;
mod refusal;
mod scan;
mod text;

#[cfg(test)]
mod tests;

pub use answer::{ErrorData, error_body};
pub use confirm::{Revision, confirm};
pub use endpoint::{Base, EndpointError, endpoint_event};
pub use id::{Id, IdKind};
pub use listing::{List, Listed, Listing, edited, listing, made_private};
pub use message::{ClientInfo, Message, Meta, Notification, Outcome, Payload, Request, Response, Span};
pub use read::{Limits, read};
pub use refusal::{Flaw, Refusal, code};
