use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};

use super::{Framing, HeadError, HeadFlaw, Headers, Method};

/// The most header fields that a head or the trailers of a body may have.
pub const MAX_HEADERS: usize = 128;

/// The head of a request: request line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Path and query as received (origin form, or `*` with OPTIONS). Visible ASCII.
    pub target: String,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The fields as received.
    pub headers: Headers,
    /// How the body ends; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Whether the connection may be used again after this exchange.
    pub keep_alive: bool,
}

impl RequestHead {
    /// Whether the client asks to leave HTTP/1.1 for another protocol (WebSocket, h2c).
    pub fn asks_upgrade(&self) -> bool {
        self.headers.contains("upgrade") || self.headers.contains_token("connection", "upgrade")
    }

    /// The value of Host; absent only in HTTP/1.0.
    pub fn host(&self) -> Option<&[u8]> {
        self.headers.get("host")
    }
}

/// The head of an answer: status line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code, 100 to 599.
    pub status: u16,
    /// Reason phrase as received; may be empty.
    pub reason: Bytes,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The fields as received.
    pub headers: Headers,
    /// How the body ends, given the method of the request that it answers.
    pub framing: Framing,
    /// Whether the connection may be used again after this exchange.
    pub keep_alive: bool,
}

/// Reads the head of a request from the front of `buf` and removes it from there; `Ok(None)` when it is not
/// complete yet, and then nothing is removed.
///
/// # Errors
/// [`HeadError`] when the head is longer than `max_head` bytes (431), malformed, or could be read in two ways.
pub fn parse_request(buf: &mut BytesMut, max_head: usize) -> Result<Option<RequestHead>, HeadError> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
    if buf.starts_with(PREFACE) {
        return Err(HeadError { status: 505, flaw: HeadFlaw::Http2 });
    }
    let Some(head) = take_head(buf, max_head)? else {
        return Ok(None);
    };
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&head, &mut fields) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(HeadError::bad(HeadFlaw::Syntax("it ends early"))),
        Err(e) => return Err(explain(e, &head)),
    }
    let (Some(method), Some(target), Some(minor_version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::bad(HeadFlaw::Syntax("the request line is not complete")));
    };
    let method = Method::from_token(method);
    let target = checked_target(&method, target)?.to_owned();
    let headers = Headers::received(head.clone(), parsed.headers);
    check_host(&headers, minor_version)?;
    check_names(&headers)?;
    let framing = match framing_fields(&headers, minor_version)? {
        Declared::Nothing => Framing::None,
        Declared::Length(n) => Framing::Length(n),
        Declared::Chunked => Framing::Chunked,
    };
    let expect_continue = expects_continue(&headers)? && minor_version == 1;
    let keep_alive = keeps_alive(&headers, minor_version);
    Ok(Some(RequestHead { method, target, minor_version, headers, framing, expect_continue, keep_alive }))
}

/// Reads the head of the answer to a request of method `to` from the front of `buf` and removes it from there;
/// `Ok(None)` when it is not complete yet, and then nothing is removed.
///
/// Answers of status 1xx are returned like any other: read on for the final one.
///
/// # Errors
/// [`HeadError`] with status 502 when the head is longer than `max_head` bytes, malformed, or could be read in
/// two ways.
pub fn parse_response(buf: &mut BytesMut, to: &Method, max_head: usize) -> Result<Option<ResponseHead>, HeadError> {
    response(buf, to, max_head).map_err(|e| HeadError { status: 502, ..e })
}

fn response(buf: &mut BytesMut, to: &Method, max_head: usize) -> Result<Option<ResponseHead>, HeadError> {
    let Some(head) = take_head(buf, max_head)? else {
        return Ok(None);
    };
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &head, &mut fields) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(HeadError::bad(HeadFlaw::Syntax("it ends early"))),
        Err(e) => return Err(explain(e, &head)),
    }
    let (Some(status), Some(minor_version)) = (parsed.code, parsed.version) else {
        return Err(HeadError::bad(HeadFlaw::Syntax("the status line is not complete")));
    };
    if !(100..600).contains(&status) {
        return Err(HeadError::bad(HeadFlaw::Syntax("the status is not between 100 and 599")));
    }
    let reason = parsed.reason.filter(|r| !r.is_empty()).map_or_else(Bytes::new, |r| head.slice_ref(r.as_bytes()));
    let headers = Headers::received(head.clone(), parsed.headers);
    check_names(&headers)?;
    let declared = framing_fields(&headers, minor_version)?;
    let bodiless = matches!(status, 100..200 | 204);
    if bodiless && !matches!(declared, Declared::Nothing | Declared::Length(0)) {
        return Err(HeadError::bad(HeadFlaw::BodyForbidden { status }));
    }
    let framing = match declared {
        _ if bodiless || status == 304 || *to == Method::Head => Framing::None,
        Declared::Nothing => Framing::UntilClose,
        Declared::Length(n) => Framing::Length(n),
        Declared::Chunked => Framing::Chunked,
    };
    let keep_alive = framing != Framing::UntilClose && keeps_alive(&headers, minor_version);
    Ok(Some(ResponseHead { status, reason, minor_version, headers, framing, keep_alive }))
}

/// Takes the bytes up to and with the first empty line.
///
/// Each line must end in CRLF: this is checked here, because `httparse` takes LF alone.
fn take_head(buf: &mut BytesMut, max_head: usize) -> Result<Option<Bytes>, HeadError> {
    if let Some(b'\r' | b'\n' | b' ' | b'\t') = buf.first() {
        return Err(HeadError::bad(HeadFlaw::LeadingBlank));
    }
    let too_large = || HeadError { status: 431, flaw: HeadFlaw::TooLarge { limit: max_head } };
    let mut line = 0;
    for end in memchr::memchr_iter(b'\n', buf) {
        if end >= max_head {
            return Err(too_large());
        }
        if end == 0 || buf[end - 1] != b'\r' {
            return Err(HeadError::bad(HeadFlaw::BareLf));
        }
        if end - line == 1 {
            return Ok(Some(buf.split_to(end + 1).freeze()));
        }
        line = end + 1;
        if line > 0 && matches!(buf.get(line), Some(b' ' | b'\t')) {
            return Err(HeadError::bad(HeadFlaw::Folded));
        }
    }
    if buf.len() >= max_head { Err(too_large()) } else { Ok(None) }
}

fn explain(error: httparse::Error, head: &[u8]) -> HeadError {
    use httparse::Error as E;
    let what = match error {
        E::TooManyHeaders => {
            return HeadError { status: 431, flaw: HeadFlaw::TooManyHeaders { limit: MAX_HEADERS } };
        }
        E::Version => {
            // `httparse` says this of anything after the target that is not HTTP/1.x.
            let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
            let spaces = line.iter().filter(|b| **b == b' ').count();
            let status = if spaces == 2 { 505 } else { 400 };
            return HeadError { status, flaw: HeadFlaw::Version };
        }
        E::HeaderName => "a field name is not a token directly followed by a colon",
        E::HeaderValue => "a field value holds a control character",
        E::NewLine => "a line ends in something other than CRLF",
        E::Status => "the status is not three digits",
        E::Token => "the start line has a byte that does not belong there",
    };
    HeadError::bad(HeadFlaw::Syntax(what))
}

fn checked_target<'t>(method: &Method, target: &'t str) -> Result<&'t str, HeadError> {
    if *method == Method::Other("CONNECT".to_owned()) {
        return Err(HeadError { status: 405, flaw: HeadFlaw::Connect });
    }
    if target == "*" {
        return if *method == Method::Options { Ok(target) } else { Err(HeadError::bad(HeadFlaw::Asterisk)) };
    }
    if !target.starts_with('/') {
        let flaw = if target.contains("://") { HeadFlaw::AbsoluteTarget } else { HeadFlaw::Target };
        return Err(HeadError::bad(flaw));
    }
    if target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') { Ok(target) } else { Err(HeadError::bad(HeadFlaw::Target)) }
}

fn check_host(headers: &Headers, minor_version: u8) -> Result<(), HeadError> {
    match headers.get_one("host") {
        Err(_) => Err(HeadError::bad(HeadFlaw::HostRepeated)),
        Ok(None) if minor_version == 1 => Err(HeadError::bad(HeadFlaw::HostMissing)),
        Ok(None) => Ok(()),
        Ok(Some(host)) => {
            let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(b);
            if !host.is_empty() && host.iter().all(fits) { Ok(()) } else { Err(HeadError::bad(HeadFlaw::HostInvalid)) }
        }
    }
}

/// Fields that would change who reads what, were they renamed or removed on the way.
fn check_names(headers: &Headers) -> Result<(), HeadError> {
    const DASHED: [&str; 3] = ["content-length", "transfer-encoding", "host"];
    const DECIDING: [&str; 11] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "authorization",
        "cookie",
        "origin",
        "accept",
        "last-event-id",
        "date",
        "set-cookie",
    ];
    for (name, _) in headers.iter() {
        if !name.contains(&b'_') {
            continue;
        }
        let alias = DASHED.iter().find(|dashed| {
            dashed.len() == name.len() && dashed.bytes().zip(name).all(|(d, n)| d == n.to_ascii_lowercase() || (d == b'-' && *n == b'_'))
        });
        if let Some(alias) = alias {
            return Err(HeadError::bad(HeadFlaw::Underscore(alias)));
        }
    }
    for token in headers.tokens("connection") {
        let decides = DECIDING.iter().any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
            || token.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"mcp-"));
        if decides {
            let name = String::from_utf8_lossy(token).into_owned();
            return Err(HeadError::bad(HeadFlaw::ConnectionNames(name)));
        }
    }
    Ok(())
}

enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// RFC 9112 sections 6.1 to 6.3, without the leniencies that they allow.
fn framing_fields(headers: &Headers, minor_version: u8) -> Result<Declared, HeadError> {
    let mut lengths = headers.get_all("content-length");
    let mut encodings = headers.get_all("transfer-encoding");
    let (length, encoding) = (lengths.next(), encodings.next());
    if lengths.next().is_some() || length.is_some_and(|v| v.contains(&b',')) {
        return Err(HeadError::bad(HeadFlaw::LengthRepeated));
    }
    match (length, encoding) {
        (Some(_), Some(_)) => Err(HeadError::bad(HeadFlaw::LengthAndEncoding)),
        (None, None) => Ok(Declared::Nothing),
        (Some(length), None) => match plain_decimal(length) {
            Some(n) => Ok(Declared::Length(n)),
            None => Err(HeadError::bad(HeadFlaw::LengthInvalid)),
        },
        (None, Some(_)) if minor_version == 0 => Err(HeadError::bad(HeadFlaw::EncodingIn10)),
        (None, Some(encoding)) => {
            if encodings.next().is_none() && encoding.eq_ignore_ascii_case(b"chunked") {
                Ok(Declared::Chunked)
            } else {
                Err(HeadError { status: 501, flaw: HeadFlaw::Encoding })
            }
        }
    }
}

/// Digits only; no sign, no leading zero (which some readers take for octal), below 2^63.
pub(super) fn plain_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mut n: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    (n <= u64::MAX / 2).then_some(n)
}

fn expects_continue(headers: &Headers) -> Result<bool, HeadError> {
    let refused = HeadError { status: 417, flaw: HeadFlaw::Expect };
    match headers.get_one("expect") {
        Ok(None) => Ok(false),
        Ok(Some(value)) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(refused),
    }
}

fn keeps_alive(headers: &Headers, minor_version: u8) -> bool {
    if headers.contains_token("connection", "close") {
        return false;
    }
    minor_version == 1 || headers.contains_token("connection", "keep-alive")
}
