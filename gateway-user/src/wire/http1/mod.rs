//! HTTP/1.1 (RFC 9112), read strictly and written anew.
//!
//! ```
//! use bytes::BytesMut;
//! use gateway_user::wire::http1::{BodyDecoder, Decoded, parse_request};
//!
//! let mut received = BytesMut::from(
//!     &b"POST /mcp HTTP/1.1\r\nHost: mcp.clinic.internal\r\nContent-Length: 2\r\n\r\n{}"[..],
//! );
//! let head = parse_request(&mut received, 64 * 1024)?.expect("the head is complete");
//! assert_eq!(head.target, "/mcp");
//! let mut body = BodyDecoder::new(head.framing);
//! assert!(matches!(body.decode(&mut received)?, Decoded::Data(data) if data == "{}"));
//! assert!(matches!(body.decode(&mut received)?, Decoded::End { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A head costs one pass to find its end and one through `httparse`; names and values are slices of the
//! received bytes. What the relay sends on is rebuilt by [`write_request_head`] and [`write_response_head`]:
//! hop-by-hop fields and framing are always our own.

mod body;
mod error;
mod head;
mod headers;
mod sniff;
mod write;

#[cfg(test)]
mod tests;

pub use body::{BodyDecoder, BodyError, Decoded};
pub use error::{HeadError, HeadFlaw};
pub use head::{MAX_HEADERS, RequestHead, ResponseHead, parse_request, parse_response};
pub use headers::Headers;
pub(crate) use sniff::is_token;
pub use sniff::{Sniff, sniff};
pub use write::{CHUNK_END, LAST_CHUNK, Rewrite, WriteError, sent_fields, write_chunk_head, write_request_head, write_response_head};

/// A request method (RFC 9110 section 9). Case-sensitive, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// Any other token, as received.
    Other(String),
}

impl Method {
    /// The method that `token` spells; the caller has checked that it is a token.
    pub fn from_token(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other(token) => token,
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; answers only.
    UntilClose,
}
