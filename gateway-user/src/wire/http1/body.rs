use bytes::{Bytes, BytesMut};

use super::head::MAX_HEADERS;
use super::{Framing, Headers};

/// The longest line that may announce a chunk, extension and line end included.
const MAX_CHUNK_LINE: usize = 128;
/// All chunk extensions of one body together: they are ignored, so nobody needs many
/// (unbounded ones were CVE-2023-39326 of Go's `net/http`).
const MAX_EXTENSIONS: usize = 4096;
/// The trailer section, in bytes.
const MAX_TRAILERS: usize = 8192;

/// Finds the end of a body while it arrives.
///
/// Feed it the connection's receive buffer: it takes what belongs to the body from the front and leaves what
/// follows. The pieces are slices of the buffer, and any split of the input gives the same bytes.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    extensions: usize,
    trailers: Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
    Failed,
}

/// One step of a [`BodyDecoder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body, never empty.
    Data(Bytes),
    /// The buffer has nothing more for now: receive, and call again.
    NeedMore,
    /// The body is complete. Repeated at every further call.
    End {
        /// The fields after a chunked body; otherwise none.
        trailers: Headers,
    },
}

/// Why a body cannot be read to its end. The connection cannot be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The line that announces a chunk is not a hexadecimal size, an optional extension, and CRLF.
    #[error("the chunked body is malformed: {0}")]
    Chunk(&'static str),
    /// A chunk size that no counter holds.
    #[error("the chunked body announces a chunk of 2^63 bytes or more")]
    ChunkTooLarge,
    /// Extensions beyond any use.
    #[error("the chunk extensions are longer than {MAX_CHUNK_LINE} bytes in one line or {MAX_EXTENSIONS} bytes in all; leave them out")]
    Extensions,
    /// The trailer section is longer than the limit.
    #[error("the trailers of the chunked body are longer than {MAX_TRAILERS} bytes or {MAX_HEADERS} fields")]
    TrailersTooLarge,
    /// A trailer that would change how the message is read.
    #[error("the trailer `{0}` would change how the message is read; it must stand in the head")]
    TrailerForbidden(String),
    /// The connection closed before the end.
    #[error("the connection closed before the end of the body")]
    Truncated,
    /// Called again after an error.
    #[error("the body failed before")]
    Failed,
}

impl BodyDecoder {
    /// For a body framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0, trailers: Headers::new() }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes are certain to follow without interruption: to size a receive buffer by.
    pub fn expected(&self) -> Option<u64> {
        match self.state {
            State::Length(n) | State::ChunkData(n) => Some(n),
            _ => None,
        }
    }

    /// Takes the next piece of the body from the front of `buf`.
    ///
    /// # Errors
    /// [`BodyError`] when the chunked coding is broken or could be read in two ways.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyError> {
        let step = self.step(buf);
        if step.is_err() {
            self.state = State::Failed;
        }
        step
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            if self.state == State::Done {
                return Ok(Decoded::End { trailers: self.trailers.clone() });
            }
            if self.state == State::Failed {
                return Err(BodyError::Failed);
            }
            if buf.is_empty() {
                return Ok(Decoded::NeedMore);
            }
            match self.state {
                State::Length(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Decoded::Data(data));
                }
                State::UntilClose => return Ok(Decoded::Data(buf.split().freeze())),
                State::ChunkData(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkLine => match self.chunk_line(buf)? {
                    None => return Ok(Decoded::NeedMore),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::ChunkData(size),
                },
                State::ChunkEnd => match &buf[..] {
                    [b'\r'] => return Ok(Decoded::NeedMore),
                    [b'\r', b'\n', ..] => {
                        drop(buf.split_to(2));
                        self.state = State::ChunkLine;
                    }
                    _ => {
                        return Err(BodyError::Chunk("a chunk is longer or shorter than it announced"));
                    }
                },
                State::Trailers => match trailers(buf)? {
                    None => return Ok(Decoded::NeedMore),
                    Some(trailers) => {
                        self.trailers = trailers;
                        self.state = State::Done;
                    }
                },
                State::Done | State::Failed => {}
            }
        }
    }

    /// The size of the next chunk, once its line is whole.
    fn chunk_line(&mut self, buf: &mut BytesMut) -> Result<Option<u64>, BodyError> {
        let window = &buf[..buf.len().min(MAX_CHUNK_LINE)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            return if window.len() == MAX_CHUNK_LINE { Err(BodyError::Extensions) } else { Ok(None) };
        };
        let Some(line) = window[..end].strip_suffix(b"\r") else {
            return Err(BodyError::Chunk("the line of a chunk size ends in LF without CR"));
        };
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits == 0 {
            return Err(BodyError::Chunk("a chunk size does not begin with a hexadecimal digit"));
        }
        let mut size: u64 = 0;
        for digit in &line[..digits] {
            if size >> 59 != 0 {
                return Err(BodyError::ChunkTooLarge);
            }
            size = size << 4 | u64::from(hex_digit(*digit));
        }
        let extension = &line[digits..];
        if !extension.is_empty() && extension[0] != b';' {
            return Err(BodyError::Chunk("a chunk size is followed by something other than `;` or CRLF"));
        }
        if !extension.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b)) {
            return Err(BodyError::Chunk("a chunk extension holds a byte that is not visible ASCII"));
        }
        self.extensions += extension.len();
        if self.extensions > MAX_EXTENSIONS {
            return Err(BodyError::Extensions);
        }
        drop(buf.split_to(end + 1));
        Ok(Some(size))
    }

    /// The connection was closed by the other side: fine when nothing was missing.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] when the body was not complete.
    pub fn finish_on_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => {
                self.state = State::Failed;
                Err(BodyError::Truncated)
            }
        }
    }
}

fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    let taken = buf.split_to(here).freeze();
    let left = left - u64::try_from(here).unwrap_or(left);
    (taken, left)
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn trailers(buf: &mut BytesMut) -> Result<Option<Headers>, BodyError> {
    let mut line = 0;
    let mut whole = None;
    for end in memchr::memchr_iter(b'\n', &buf[..buf.len().min(MAX_TRAILERS)]) {
        if end == 0 || buf[end - 1] != b'\r' {
            return Err(BodyError::Chunk("a trailer line ends in LF without CR"));
        }
        if end - line == 1 {
            whole = Some(end + 1);
            break;
        }
        line = end + 1;
    }
    let Some(whole) = whole else {
        return if buf.len() >= MAX_TRAILERS { Err(BodyError::TrailersTooLarge) } else { Ok(None) };
    };
    let section = buf.split_to(whole).freeze();
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(&section, &mut fields) {
        Ok(httparse::Status::Complete((len, fields))) if len == section.len() => {
            let trailers = Headers::received(section.clone(), fields);
            for (name, _) in trailers.iter() {
                if is_forbidden_trailer(name) {
                    return Err(BodyError::TrailerForbidden(String::from_utf8_lossy(name).into_owned()));
                }
            }
            Ok(Some(trailers))
        }
        Err(httparse::Error::TooManyHeaders) => Err(BodyError::TrailersTooLarge),
        _ => Err(BodyError::Chunk("a trailer is not a header field")),
    }
}

/// Framing, routing, authentication and content fields (RFC 9110 section 6.5.1), which a server that merges
/// trailers into the head would obey.
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 14] = [
        b"transfer-encoding",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"host",
        b"connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"authorization",
        b"cookie",
        b"set-cookie",
    ];
    NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)) || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"mcp-"))
}
