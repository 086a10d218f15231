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

/// A table that says of each byte whether it is one of these.
pub(crate) const fn set_of(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] = true;
        i += 1;
    }
    table
}
