//! Reading an HTTP/1.1 message as it comes, and holding its body against the one expected, byte for byte: a proxy that answers
//! wrongly, or not all of it, is not fast.

use anyhow::{Context, bail, ensure};
use memchr::memmem;

/// A message of which a part may have come.
#[derive(Debug, Default)]
pub struct Reading {
    state: State,
    /// Bytes of the body that have come, and were those expected.
    matched: usize,
    first_line: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Length,
    ChunkHead,
    Chunk {
        left: usize,
    },
    ChunkEnd,
    End,
}

/// What was made of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// So many are done with.
    pub bytes: usize,
    /// The message is whole with them.
    pub whole: bool,
}

impl Reading {
    /// The first line of the message that came last.
    #[must_use]
    pub fn first_line(&self) -> &[u8] {
        &self.first_line
    }

    /// Takes what it can of what has come and was not taken before. A message begins with `start`.
    ///
    /// # Errors
    /// It is another message than the one expected.
    pub fn take(&mut self, came: &[u8], start: &[u8], body: &[u8]) -> anyhow::Result<Taken> {
        let mut rest = came;
        let whole = loop {
            match self.step(rest, start, body) {
                Ok(Some((used, state))) => {
                    rest = &rest[used..];
                    let done = matches!(self.state, State::Length | State::End) && state == State::Head;
                    self.state = state;
                    if done {
                        ensure!(self.matched == body.len(), "the body ended after {} of {} bytes", self.matched, body.len());
                        self.matched = 0;
                        break true;
                    }
                }
                Ok(None) => break false,
                Err(error) => return Err(error.context(format!("not the message expected:\n{}", shown(rest)))),
            }
            // Of the body, everything is taken that is there.
            if rest.is_empty() {
                break false;
            }
        };
        Ok(Taken { bytes: came.len() - rest.len(), whole })
    }

    /// How many bytes the next part takes, and what comes then; `None` while it is not there.
    fn step(&mut self, came: &[u8], start: &[u8], body: &[u8]) -> anyhow::Result<Option<(usize, State)>> {
        Ok(match self.state {
            State::Head => {
                let Some(end) = memmem::find(came, b"\r\n\r\n") else { return Ok(None) };
                let (head, used) = (&came[..end], end + 4);
                ensure!(head.starts_with(start), "it does not begin with `{}`", shown(start));
                self.first_line.clear();
                self.first_line.extend_from_slice(head.split(|byte| *byte == b'\r').next().unwrap_or_default());
                if let Some(length) = field(head, b"content-length:") {
                    let length: usize = std::str::from_utf8(length)?.parse()?;
                    ensure!(length == body.len(), "a body of {length} bytes, where {} are expected", body.len());
                    Some((used, State::Length))
                } else {
                    let coding = field(head, b"transfer-encoding:").context("neither Content-Length nor Transfer-Encoding")?;
                    ensure!(coding.eq_ignore_ascii_case(b"chunked"), "Transfer-Encoding: {}", shown(coding));
                    Some((used, State::ChunkHead))
                }
            }
            State::Length => {
                let used = self.compare(came, body.len() - self.matched, body)?;
                Some((used, if self.matched == body.len() { State::Head } else { State::Length }))
            }
            State::ChunkHead => {
                let Some(end) = memmem::find(came, b"\r\n") else { return Ok(None) };
                let size = came[..end].split(|byte| *byte == b';').next().unwrap_or_default();
                let left = usize::from_str_radix(std::str::from_utf8(size)?.trim(), 16).context("the size of a chunk")?;
                Some((end + 2, if left == 0 { State::End } else { State::Chunk { left } }))
            }
            State::Chunk { left } => {
                let used = self.compare(came, left, body)?;
                Some((used, if used == left { State::ChunkEnd } else { State::Chunk { left: left - used } }))
            }
            // After a chunk, and after the last of them: no trailers are expected.
            State::ChunkEnd | State::End => {
                if came.len() < 2 {
                    return Ok(None);
                }
                ensure!(came.starts_with(b"\r\n"), "a line break is expected after a chunk");
                Some((2, if self.state == State::End { State::Head } else { State::ChunkHead }))
            }
        })
    }

    fn compare(&mut self, came: &[u8], most: usize, body: &[u8]) -> anyhow::Result<usize> {
        let (came, left) = (&came[..came.len().min(most)], &body[self.matched..]);
        if !left.starts_with(came) {
            let same = came.iter().zip(left).take_while(|(one, other)| one == other).count();
            bail!("the body differs from its byte {} on", self.matched + same);
        }
        self.matched += came.len();
        Ok(came.len())
    }
}

/// The value of a header field, whose name is given in lower case with its colon.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        found.eq_ignore_ascii_case(name).then_some(value.trim_ascii())
    })
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"HTTP/1.1 200";
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";

    /// Gives the bytes as a socket may: what was not taken is seen again, with `piece` more.
    fn read(message: &[u8], piece: usize, body: &[u8]) -> anyhow::Result<bool> {
        let (mut reading, mut from, mut whole) = (Reading::default(), 0, false);
        for to in (0..message.len()).step_by(piece).map(|at| (at + piece).min(message.len())) {
            let taken = reading.take(&message[from..to], START, body)?;
            (from, whole) = (from + taken.bytes, taken.whole);
        }
        Ok(whole)
    }

    #[test]
    fn a_message_is_whole_with_its_last_byte_however_it_comes() -> anyhow::Result<()> {
        for message in [LENGTH, CHUNKED] {
            for piece in 1..=message.len() {
                assert!(read(message, piece, b"hello")?, "pieces of {piece}");
                assert!(!read(&message[..message.len() - 1], piece, b"hello")?, "pieces of {piece}, cut");
            }
        }
        Ok(())
    }

    #[test]
    fn what_follows_a_message_is_left_alone() -> anyhow::Result<()> {
        let taken = Reading::default().take(&[LENGTH, b"HTTP"].concat(), START, b"hello")?;
        assert_eq!(taken, Taken { bytes: LENGTH.len(), whole: true });
        Ok(())
    }

    #[test]
    fn another_message_is_found() {
        let failed = |message: &[u8], body| read(message, 7, body).is_err();
        assert!(failed(LENGTH, b"hellO") && failed(CHUNKED, b"hellO"), "another body");
        assert!(failed(LENGTH, b"hello!") && failed(CHUNKED, b"hello!"), "a body that ends too early");
        assert!(failed(LENGTH, b"hell") && failed(CHUNKED, b"hell"), "a body that goes on");
        assert!(failed(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello", b"hello"), "another status");
        assert!(failed(b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"), "no length");
    }
}
