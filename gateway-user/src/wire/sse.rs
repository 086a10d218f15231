//! Server-sent events (WHATWG HTML, section 9.2), split without being changed.
//!
//! The pieces that come out hold, together with what [`Splitter::finish`] returns, exactly the bytes that went
//! in: a relay that sends `raw` of each event sends what it received. An event is released by the very byte
//! that completes it.

use bytes::{Bytes, BytesMut};

/// One block of a stream: an event, or comments and blank lines between events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The exact bytes, with the blank line that ends the block. Sent on as they are.
    pub raw: Bytes,
    /// The `event` field; a client takes `message` when there is none.
    pub event: Option<Bytes>,
    /// The `data` lines joined by LF, or nothing when there were none: then a client sees no event. With one
    /// data line it is a slice of `raw`.
    pub data: Option<Bytes>,
    /// The `id` field; one with a NUL does not count.
    pub id: Option<Bytes>,
    /// The `retry` field, in milliseconds.
    pub retry: Option<u64>,
}

impl Event {
    /// The event type that a client sees.
    pub fn kind(&self) -> &[u8] {
        self.event.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(b"message")
    }

    /// The bytes of the same event with other data.
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let mut raw = BytesMut::with_capacity(data.len() + 64);
        let mut field = |name: &[u8], value: &[u8]| {
            for part in [name, b": ", value, b"\n"] {
                raw.extend_from_slice(part);
            }
        };
        if let Some(event) = &self.event {
            field(b"event", event);
        }
        if let Some(id) = &self.id {
            field(b"id", id);
        }
        if let Some(retry) = self.retry {
            field(b"retry", retry.to_string().as_bytes());
        }
        // CR and LF both end a line.
        data.split(|byte| matches!(byte, b'\r' | b'\n')).for_each(|line| field(b"data", line));
        raw.extend_from_slice(b"\n");
        raw.freeze()
    }
}

/// Why a stream cannot be split further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event that does not end.
    #[error("a server-sent event is longer than the limit of {limit} bytes; raise the limit or have the server send less at once")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Splits a stream into [`Event`]s.
///
/// ```
/// use gateway_user::wire::sse::Splitter;
///
/// let mut stream = Splitter::new(1 << 20);
/// stream.push("id: 7\ndata: {}\n\n: still here".into());
/// let event = stream.next()?.expect("complete");
/// assert_eq!(event.data.as_deref(), Some(&b"{}"[..]));
/// assert!(stream.next()?.is_none());
/// # Ok::<(), gateway_user::wire::sse::SseError>(())
/// ```
///
/// Each byte is looked at twice, once to find the end and once to read the fields. A chunk that is pushed while
/// nothing is left over is not copied.
#[derive(Debug)]
pub struct Splitter {
    max_event: usize,
    pending: Pending,
    /// Where the search for the next line end continues.
    at: usize,
    /// Where the line begins that `at` is in.
    line: usize,
    /// The last byte looked at was a CR: an LF that follows belongs to that line end.
    after_cr: bool,
    /// So it was when the last block was released.
    starts_after_cr: bool,
    /// Nothing was released yet, so a byte order mark may come.
    first: bool,
}

#[derive(Debug)]
enum Pending {
    Shared(Bytes),
    Owned(BytesMut),
}

impl Pending {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    fn split_to(&mut self, at: usize) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes.split_to(at),
            Self::Owned(bytes) => bytes.split_to(at).freeze(),
        }
    }
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Splitter {
    /// Refuses events of more than `max_event` bytes.
    pub fn new(max_event: usize) -> Self {
        let pending = Pending::Shared(Bytes::new());
        Self { max_event, pending, at: 0, line: 0, after_cr: false, starts_after_cr: false, first: true }
    }

    /// Adds what was received.
    pub fn push(&mut self, chunk: Bytes) {
        match &mut self.pending {
            pending if pending.bytes().is_empty() => self.pending = Pending::Shared(chunk),
            Pending::Shared(rest) => {
                let mut joined = BytesMut::with_capacity((rest.len() + chunk.len()).next_power_of_two());
                joined.extend_from_slice(rest);
                joined.extend_from_slice(&chunk);
                self.pending = Pending::Owned(joined);
            }
            Pending::Owned(rest) => rest.extend_from_slice(&chunk),
        }
    }

    /// The next complete block, or `None` until more is pushed.
    ///
    /// # Errors
    /// [`SseError::TooLarge`] when a block is longer than the limit.
    #[expect(clippy::should_implement_trait, reason = "it is fallible and resumes: not an Iterator")]
    pub fn next(&mut self) -> Result<Option<Event>, SseError> {
        let end = match self.find_end() {
            Some(found) => found,
            None if self.pending.bytes().len() > self.max_event => return Err(self.too_large()),
            None => return Ok(None),
        };
        if end > self.max_event {
            return Err(self.too_large());
        }
        let event = read_block(self.pending.split_to(end), self.starts_after_cr, self.first);
        self.at = 0;
        self.line = 0;
        self.first = false;
        self.starts_after_cr = self.after_cr;
        Ok(Some(event))
    }

    fn too_large(&self) -> SseError {
        SseError::TooLarge { limit: self.max_event }
    }

    /// The end of the first blank line, with its LF if that is here already.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = self.pending.bytes();
        loop {
            let next = bytes.get(self.at)?;
            if std::mem::take(&mut self.after_cr) && *next == b'\n' {
                self.at += 1;
                self.line = self.at;
                continue;
            }
            let Some(found) = memchr::memchr2(b'\r', b'\n', &bytes[self.at..]) else {
                self.at = bytes.len();
                return None;
            };
            let end = self.at + found;
            let blank = self.line == end || (self.first && self.line == 0 && &bytes[..end] == BOM);
            self.at = end + 1;
            if bytes[end] == b'\r' {
                match bytes.get(self.at) {
                    Some(b'\n') => self.at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line = self.at;
            if blank {
                return Some(self.at);
            }
        }
    }

    /// The stream has ended: what is left over, which no blank line completed. Clients are told to discard it
    /// (WHATWG HTML section 9.2.6), but not every client does, so it is read like an event.
    pub fn finish(mut self) -> Option<Event> {
        let len = self.pending.bytes().len();
        (len > 0).then(|| read_block(self.pending.split_to(len), self.starts_after_cr, self.first))
    }
}

fn read_block(raw: Bytes, starts_after_cr: bool, first: bool) -> Event {
    let mut event = Event { raw: raw.clone(), event: None, data: None, id: None, retry: None };
    let mut joined: Option<BytesMut> = None;
    let mut at = 0;
    if starts_after_cr && raw.starts_with(b"\n") {
        at = 1;
    } else if first && raw.starts_with(BOM) {
        at = BOM.len();
    }
    while at < raw.len() {
        let end = memchr::memchr2(b'\r', b'\n', &raw[at..]).map_or(raw.len(), |found| at + found);
        let line = at..end;
        at = if raw[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        let colon = memchr::memchr(b':', &raw[line.clone()]).map_or(line.end, |found| line.start + found);
        let mut value = (colon + 1).min(line.end)..line.end;
        if raw.get(value.start) == Some(&b' ') && !value.is_empty() {
            value.start += 1;
        }
        match &raw[line.start..colon] {
            b"data" => match (&mut event.data, &mut joined) {
                (None, _) => event.data = Some(raw.slice(value)),
                (Some(_), Some(joined)) => {
                    joined.extend_from_slice(b"\n");
                    joined.extend_from_slice(&raw[value]);
                }
                (Some(data), None) => {
                    let mut both = BytesMut::with_capacity(data.len() + 1 + value.len());
                    both.extend_from_slice(data);
                    both.extend_from_slice(b"\n");
                    both.extend_from_slice(&raw[value]);
                    joined = Some(both);
                }
            },
            b"event" => event.event = Some(raw.slice(value)),
            b"id" if !raw[value.clone()].contains(&0) => event.id = Some(raw.slice(value)),
            b"retry" => {
                let digits = raw[value]
                    .iter()
                    .try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u64::from(b - b'0'))));
                event.retry = digits.or(event.retry);
            }
            _ => {}
        }
    }
    if let Some(joined) = joined {
        event.data = Some(joined.freeze());
    }
    event
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
