use super::Framing;

/// Why a head was refused, and the status to answer with.
///
/// For a request the status goes to the client (400, 405, 417, 431, 501 or 505); for an answer of the server
/// it is 502, which is what the client of a broken server is told. The connection cannot be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flaw}")]
pub struct HeadError {
    /// HTTP status to answer with.
    pub status: u16,
    /// What was wrong.
    pub flaw: HeadFlaw,
}

impl HeadError {
    pub(super) fn bad(flaw: HeadFlaw) -> Self {
        Self { status: 400, flaw }
    }
}

/// What is wrong with a head. The text names the fault and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFlaw {
    /// The head is longer than the limit.
    #[error("the HTTP head is longer than the limit of {limit} bytes; send fewer or shorter header fields, or raise the limit")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More header fields than the limit.
    #[error("the HTTP head has more than {limit} header fields; send fewer")]
    TooManyHeaders {
        /// The limit, in fields.
        limit: usize,
    },
    /// Something other than a request or status line comes first.
    #[error("the message begins with an empty line or white space; start with the request or status line")]
    LeadingBlank,
    /// A line that ends in LF alone (RFC 9112 section 2.2 lets a reader take it or not: so readers differ).
    #[error("a line of the HTTP head ends in LF without CR; end lines with CRLF")]
    BareLf,
    /// A header line that continues the one before.
    #[error("a header field is folded over two lines (obs-fold, RFC 9112 section 5.2); send it in one line")]
    Folded,
    /// The grammar of the start line or of a field was broken.
    #[error("the HTTP head is malformed: {0}")]
    Syntax(&'static str),
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("only HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    /// The connection speaks HTTP/2 in plain text.
    #[error("this is HTTP/2 with prior knowledge; only HTTP/1.1 is spoken here")]
    Http2,
    /// `GET http://host/path`: the form for proxies.
    #[error("the request target is in absolute form, as for a forward proxy; send the path only, and the host in Host")]
    AbsoluteTarget,
    /// `CONNECT`.
    #[error("CONNECT is not served: this is no forward proxy")]
    Connect,
    /// `*` with another method than OPTIONS.
    #[error("the request target `*` goes with OPTIONS only")]
    Asterisk,
    /// Any other target that does not begin with `/`, or that has bytes which do not belong in one.
    #[error("the request target is not a path: it must begin with `/` and hold visible ASCII without `#`")]
    Target,
    /// HTTP/1.1 without Host.
    #[error("the Host field is missing (RFC 9112 section 3.2)")]
    HostMissing,
    /// More than one Host.
    #[error("the Host field stands more than once; which server is meant is not certain")]
    HostRepeated,
    /// Host is not a host with an optional port.
    #[error("the Host field is not a host name or address with an optional port")]
    HostInvalid,
    /// Content-Length and Transfer-Encoding together: the classic of request smuggling.
    #[error("Content-Length and Transfer-Encoding stand together; where the body ends is not certain")]
    LengthAndEncoding,
    /// More than one Content-Length, or a list in one.
    #[error("Content-Length stands more than once; where the body ends is not certain")]
    LengthRepeated,
    /// A length that is not a plain decimal number.
    #[error("Content-Length is not a plain decimal number below 2^63 without sign or leading zeros")]
    LengthInvalid,
    /// Transfer-Encoding is anything but `chunked`, once.
    #[error("Transfer-Encoding is not exactly `chunked`, once; no other coding is read here")]
    Encoding,
    /// Transfer-Encoding in an HTTP/1.0 message.
    #[error("Transfer-Encoding in an HTTP/1.0 message; where the body ends is not certain")]
    EncodingIn10,
    /// A framing field in a message that has no body.
    #[error("an answer with status {status} must not have a body, but announces one")]
    BodyForbidden {
        /// The status of the answer.
        status: u16,
    },
    /// A framing field spelt with `_`, which CGI-like servers read as `-`.
    #[error("a field is spelt with `_` where `-` belongs, and some servers take it for `{0}`")]
    Underscore(&'static str),
    /// Connection names a field that must arrive.
    #[error("Connection names `{0}` as hop-by-hop, which would remove a field that decides on the request")]
    ConnectionNames(String),
    /// An Expect other than 100-continue.
    #[error("Expect asks for something other than 100-continue; leave it out")]
    Expect,
    /// A body that this kind of message cannot have.
    #[error("framing {0:?} does not fit this message")]
    Framing(Framing),
}
