//! Text that streams in pieces: what may leave now, and what must wait for what follows.

use std::sync::Arc;

use crate::masker::Masker;
use crate::outcome::{Failure, Keys, Mark};
use crate::pass::{Around, Pass};

/// Bytes before a segment that tell what stands in it, and bytes behind it that may.
const AROUND: usize = 128;
/// Bytes that are held for a value that does not end. What is longer is masked as a whole.
const LONGEST: usize = 64 << 10;
/// Bytes of a text that is held as a whole, for rules that select by place.
const WHOLE: usize = 1 << 20;

/// A text that comes in pieces, such as the deltas of a stream of events.
///
/// What leaves does not depend on where the pieces begin and end: the text is cut into segments by what is in it alone, where no value
/// can go on over the cut. A segment is held until its last byte is known, and if it has a digit or a word that detectors know, until what
/// may follow such a value is known as well. Rules that select by place need the whole text, which is held up to 1 MiB then.
pub struct Window {
    masker: Arc<Masker>,
    /// What came and has not left, after up to [`AROUND`] bytes that have.
    held: String,
    /// Where what has not left begins.
    from: usize,
    /// How far the end of the segment was looked for.
    looked: usize,
    /// Where it ends, if that was found.
    cut: Option<usize>,
    /// A value too long to hold is masked until it ends.
    overlong: bool,
}

/// What may leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Masked text.
    pub text: String,
    /// What was masked in it.
    pub marks: Vec<Mark>,
}

impl Window {
    /// At the begin of a text.
    #[must_use]
    pub fn new(masker: Arc<Masker>) -> Window {
        Window { masker, held: String::new(), from: 0, looked: 0, cut: None, overlong: false }
    }

    /// Takes the next piece, and gives what may leave.
    ///
    /// # Errors
    /// A limit is met. Nothing more of the text may leave then.
    pub fn push(&mut self, piece: &str, keys: &Keys<'_>) -> Result<Passed, Failure> {
        self.held.push_str(piece);
        if self.masker.is_empty() {
            return Ok(Passed { text: std::mem::take(&mut self.held), marks: Vec::new() });
        }
        let mut passed = Passed::default();
        if self.masker.selects_places() {
            return if self.held.len() > WHOLE { Err(Failure::Work { limit: WHOLE, path: "$".to_owned() }) } else { Ok(passed) };
        }
        while let Some(end) = self.segment() {
            if self.held.len() < end + AROUND && !self.is_quiet(end) {
                break;
            }
            self.leave(end, keys, &mut passed)?;
        }
        Ok(passed)
    }

    /// The text is over: gives the rest.
    ///
    /// # Errors
    /// A limit is met. Nothing more of the text may leave then.
    pub fn finish(mut self, keys: &Keys<'_>) -> Result<Passed, Failure> {
        let mut passed = Passed::default();
        if self.masker.selects_places() {
            let masked = self.masker.mask(self.held.as_bytes(), crate::Form::Text { name: None }, keys)?;
            let text = String::from_utf8_lossy(&crate::applied(self.held.as_bytes(), &masked.edits)).into_owned();
            return Ok(Passed { text, marks: masked.marks });
        }
        while let Some(end) = self.segment() {
            self.leave(end, keys, &mut passed)?;
        }
        self.leave(self.held.len(), keys, &mut passed)?;
        Ok(passed)
    }

    /// Where the first segment of what is held ends, if that is known.
    fn segment(&mut self) -> Option<usize> {
        let bytes = self.held.as_bytes();
        while self.cut.is_none() {
            let here = self.looked.max(self.from) + 1;
            // A cut needs the character behind it: without that, nothing is known of this place.
            let next = *bytes.get(here)?;
            self.looked = here;
            let cut = ends(bytes.get(self.from..here).unwrap_or_default(), next) || here - self.from >= LONGEST;
            self.cut = Some(here).filter(|here| cut && self.held.is_char_boundary(*here));
        }
        self.cut
    }

    /// Whether no detector could tell anything of the segment, whatever follows.
    fn is_quiet(&self, end: usize) -> bool {
        let digits = self.held.get(self.from..end).unwrap_or_default().bytes().any(|byte| byte.is_ascii_digit());
        let known = self.held.get(..end).unwrap_or_default();
        !digits && self.masker.detectors.candidates(known.as_bytes()).next().is_none()
    }

    fn leave(&mut self, end: usize, keys: &Keys<'_>, passed: &mut Passed) -> Result<(), Failure> {
        let overlong = end - self.from >= LONGEST;
        let behind = boundary(&self.held, (end + AROUND).min(self.held.len()));
        let around = Around { text: self.held.get(..behind).unwrap_or_default(), start: self.from, end, quiet: self.is_quiet(end) };
        if self.overlong || overlong {
            if !self.overlong {
                passed.text.push_str("[masked: too long to tell]");
            }
            self.overlong = overlong;
        } else {
            let (text, marks) = Pass::segment(&self.masker, around, keys)?;
            passed.text.push_str(&text);
            crate::outcome::add(&mut passed.marks, marks);
        }
        let before = boundary(&self.held, end.saturating_sub(AROUND));
        self.held.drain(..before);
        self.from = end - before;
        self.looked = self.from;
        self.cut = None;
        Ok(())
    }
}

/// The last boundary of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Whether no value that begins in the segment can go on with `next`.
///
/// Words with digits may be groups of one number, and a private key is many lines.
fn ends(segment: &[u8], next: u8) -> bool {
    let Some((last, before)) = segment.split_last() else { return false };
    if *last == b'\n' {
        return !is_open(segment);
    }
    if !last.is_ascii_whitespace() || next.is_ascii_whitespace() || next.is_ascii_digit() || matches!(next, b'+' | b'(' | b'=' | b':') {
        return false;
    }
    let word = before.rsplit(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
    let plain = word.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b',' | b';' | b'!' | b'?') || *byte >= 0x80);
    plain && !is_open(segment)
}

/// A block of PEM (RFC 7468) has begun and is not over.
fn is_open(segment: &[u8]) -> bool {
    match memchr::memmem::rfind(segment, b"-----BEGIN") {
        None => false,
        Some(begin) => memchr::memmem::find(&segment[begin..], b"-----END").is_none(),
    }
}
