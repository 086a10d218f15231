//! Framing on the wire: HTTP/1.1 heads and bodies, and server-sent events.
//!
//! Everything here is pure: bytes in, values out; no socket, no clock, no runtime. What is returned are slices
//! of the buffers that were received, so a body is never copied to be framed.
//!
//! The rule throughout: where two readers could take the same bytes for different messages, they are refused
//! here, because the other reader is the server behind us.
#![forbid(unsafe_code)]

#[cfg(test)]
pub(crate) mod corpus;
pub mod http1;
pub mod media;
pub mod sse;
