use std::num::NonZeroUsize;

use bytes::{BufMut, BytesMut};

use super::head::plain_decimal;
use super::headers::HopByHop;
use super::sniff::is_token;
use super::{Framing, Headers, Method, RequestHead, ResponseHead};

/// Follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is to be different in a head that is sent on.
#[derive(Debug, Clone, Copy)]
pub struct Rewrite<'a> {
    /// A request's target, where it is another than the received one.
    pub target: Option<&'a str>,
    /// How the body is framed on the connection that the head goes to.
    pub framing: Framing,
    /// Fields that take the place of all received fields of the same name.
    pub set: &'a [(&'a str, &'a [u8])],
    /// Names of received fields that are left out.
    pub remove: &'a [&'a str],
    /// Without it, `Connection: close` is written.
    pub keep_alive: bool,
}

/// Why a head was not written. Nothing was added to the output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A name or value that would break the head apart.
    #[error("the header field `{0}` has a name that is no token or a value with a control character")]
    Field(String),
    /// A field of ours that belongs to framing or to the connection.
    #[error("the header field `{0}` is written by the framing and cannot be set")]
    Reserved(String),
    /// A target with white space or control characters.
    #[error("the request target has a byte that does not belong in one")]
    Target,
    /// A status outside 100 to 599, or a reason phrase with a control character.
    #[error("the status line has a status or reason that cannot be written")]
    Status,
    /// A request cannot end with its connection, and some answers cannot have a body.
    #[error("framing {0:?} does not fit this message")]
    Framing(Framing),
}

/// Writes the head of `head` anew, as HTTP/1.1: hop-by-hop fields left out, framing as `rewrite` says, all
/// other fields in their order and spelling.
///
/// # Errors
/// [`WriteError`] when something would not fit in a head; then `out` is as it was.
pub fn write_request_head(out: &mut BytesMut, head: &RequestHead, rewrite: &Rewrite<'_>) -> Result<(), WriteError> {
    atomically(out, |out| {
        let token = head.method.as_str();
        let target = rewrite.target.unwrap_or(&head.target);
        let target_fits = target.bytes().all(|b| b.is_ascii_graphic());
        if token.is_empty() || !token.bytes().all(is_token) || target.is_empty() || !target_fits {
            return Err(WriteError::Target);
        }
        out.put_slice(token.as_bytes());
        out.put_u8(b' ');
        out.put_slice(target.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        fields(out, &head.headers, rewrite)?;
        match rewrite.framing {
            Framing::None if matches!(head.method, Method::Post | Method::Put | Method::Patch) => {
                length(out, 0);
            }
            Framing::None => {}
            Framing::Length(n) => length(out, n),
            Framing::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => return Err(WriteError::Framing(Framing::UntilClose)),
        }
        end(out, rewrite);
        Ok(())
    })
}

/// Writes the head of the answer `head` to a request of method `to` anew, as HTTP/1.1: hop-by-hop fields left
/// out, framing as `rewrite` says, all other fields in their order and spelling.
///
/// A client that speaks HTTP/1.0 must be given [`Framing::Length`] or [`Framing::UntilClose`].
///
/// # Errors
/// [`WriteError`] when something would not fit in a head; then `out` is as it was.
pub fn write_response_head(out: &mut BytesMut, head: &ResponseHead, to: &Method, rewrite: &Rewrite<'_>) -> Result<(), WriteError> {
    atomically(out, |out| {
        let reason_fits = is_value(&head.reason);
        if !(100..600).contains(&head.status) || !reason_fits {
            return Err(WriteError::Status);
        }
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(itoa::Buffer::new().format(head.status).as_bytes());
        out.put_u8(b' ');
        out.put_slice(&head.reason);
        out.put_slice(b"\r\n");
        fields(out, &head.headers, rewrite)?;
        let bodiless = matches!(head.status, 100..200 | 204 | 304) || *to == Method::Head;
        match rewrite.framing {
            Framing::None if matches!(head.status, 100..200 | 204) => {}
            Framing::None if bodiless => {
                // What a GET would have answered: for the client to know, not to wait for.
                if let Some(n) = head.headers.get("content-length").and_then(plain_decimal) {
                    length(out, n);
                }
            }
            Framing::None => length(out, 0),
            other if bodiless => return Err(WriteError::Framing(other)),
            Framing::Length(n) => length(out, n),
            Framing::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose if rewrite.keep_alive => {
                return Err(WriteError::Framing(Framing::UntilClose));
            }
            Framing::UntilClose => {}
        }
        end(out, rewrite);
        Ok(())
    })
}

/// Writes the line that announces a chunk of `len` bytes; the data and [`CHUNK_END`] follow.
///
/// An empty chunk would end the body, so there is none.
pub fn write_chunk_head(out: &mut BytesMut, len: NonZeroUsize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let first = (usize::BITS - 1 - len.leading_zeros()) / 4;
    for digit in (0..=first).rev() {
        out.put_u8(DIGITS[(len.get() >> (digit * 4)) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

fn atomically(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let before = out.len();
    let written = write(out);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// The fields of a head as they are sent on, name and value: those that were received and stay, then those that are set. Framing adds its
/// own.
pub fn sent_fields<'a>(headers: &'a Headers, rewrite: &'a Rewrite<'_>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let hop_by_hop = HopByHop::of(headers);
    let stays = move |name: &[u8]| {
        let replaced = rewrite.set.iter().any(|(n, _)| name.eq_ignore_ascii_case(n.as_bytes()));
        let removed = rewrite.remove.iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()));
        !(replaced || removed || hop_by_hop.includes(name))
    };
    headers.iter().filter(move |(name, _)| stays(name)).chain(rewrite.set.iter().map(|(name, value)| (name.as_bytes(), *value)))
}

fn fields(out: &mut BytesMut, headers: &Headers, rewrite: &Rewrite<'_>) -> Result<(), WriteError> {
    let none = Headers::new();
    let ours = HopByHop::of(&none);
    if let Some((name, _)) = rewrite.set.iter().find(|(name, _)| ours.includes(name.as_bytes())) {
        return Err(WriteError::Reserved((*name).to_owned()));
    }
    sent_fields(headers, rewrite).try_for_each(|(name, value)| field(out, name, value))
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) -> Result<(), WriteError> {
    let name_fits = !name.is_empty() && name.iter().all(|b| is_token(*b));
    if !name_fits || !value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)) {
        return Err(WriteError::Field(String::from_utf8_lossy(name).into_owned()));
    }
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
    Ok(())
}

/// No control character but tab: without a branch a byte, so that it runs on vectors.
fn is_value(value: &[u8]) -> bool {
    !value.iter().fold(false, |any, b| any | (*b < b' ' && *b != b'\t') | (*b == 0x7f))
}

fn length(out: &mut BytesMut, n: u64) {
    out.put_slice(b"Content-Length: ");
    out.put_slice(itoa::Buffer::new().format(n).as_bytes());
    out.put_slice(b"\r\n");
}

fn end(out: &mut BytesMut, rewrite: &Rewrite<'_>) {
    if !rewrite.keep_alive {
        out.put_slice(b"Connection: close\r\n");
    }
    out.put_slice(b"\r\n");
}
