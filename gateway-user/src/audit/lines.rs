//! The lines of a segment file, with where they stand. Blank ones are skipped: a segment is
//! filled with newlines before it is written, and 64 MiB of them must cost nothing.

use std::io::{self, Read};

const CHUNK: usize = 1 << 20;

/// No segment that the gateway writes holds a line as long as this: what does is not read on.
const LINE_MAX: usize = 1 << 30;

/// Reads lines from `R`, remembering offsets. The newline is not part of the line.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The unread part of `buffer`.
    start: usize,
    end: usize,
    /// Where `buffer[start]` stands in the file.
    offset: u64,
    eof: bool,
}

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// Where it begins, in bytes from where reading began.
    pub offset: u64,
    /// Its bytes, without the newline.
    pub bytes: &'a [u8],
    /// Whether a newline ends it. If not, the file ends here.
    pub ended: bool,
}

impl<R: Read> Lines<R> {
    /// Reads `reader`, whose first byte stands at `offset` of the file.
    pub fn new(reader: R, offset: u64) -> Lines<R> {
        Lines { reader, buffer: vec![0; CHUNK], start: 0, end: 0, offset, eof: false }
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader; `InvalidData` for a line of more than 1 GiB.
    #[expect(clippy::should_implement_trait, reason = "it lends from itself, which Iterator cannot")]
    pub fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        loop {
            let blank = self.buffer[self.start..self.end].iter().take_while(|b| **b == b'\n').count();
            self.skip(blank);
            if self.start < self.end {
                break;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
        let mut searched = 0;
        let length = loop {
            match memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                Some(at) => break searched + at,
                None => searched = self.end - self.start,
            }
            if !self.fill()? {
                break self.end - self.start;
            }
        };
        let ended = self.start + length < self.end;
        let (offset, start) = (self.offset, self.start);
        self.skip(length + usize::from(ended));
        Ok(Some(RawLine { offset, bytes: &self.buffer[start..start + length], ended }))
    }

    /// Where the next line is looked for.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads more behind `end`; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.eof {
            return Ok(false);
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end >= LINE_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of more than 1 GiB: this is not an audit log"));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.eof = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_skipped_and_offsets_kept() {
        let mut lines = Lines::new(&b"\n\nab\n\nc\n\n\nend"[..], 100);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push((line.offset, line.bytes.to_vec(), line.ended));
        }
        assert_eq!(seen, [(102, b"ab".to_vec(), true), (106, b"c".to_vec(), true), (110, b"end".to_vec(), false)]);
    }

    #[test]
    fn lines_longer_than_the_buffer_come_whole() {
        let long = vec![b'x'; 3 * CHUNK + 7];
        let data = [b"a\n", &long[..], b"\n"].concat();
        let mut lines = Lines::new(&data[..], 0);
        assert_eq!(lines.next().unwrap().unwrap().bytes, b"a");
        assert_eq!(lines.next().unwrap().unwrap().bytes, long);
        assert!(lines.next().unwrap().is_none());
    }
}
