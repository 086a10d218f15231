//! The tags of a text.

use std::ops::Range;

/// A longer tag is none, in bytes.
const LONGEST: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Open,
    Close,
    /// `<a/>`
    Alone,
}

/// A tag.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    /// From `<` to behind `>`.
    pub(super) place: Range<usize>,
    /// Names, and where the values are, without their quotes.
    pub(super) attributes: Vec<(&'a str, Range<usize>)>,
}

impl Tag<'_> {
    /// Where the value of an attribute is.
    pub(super) fn attribute(&self, name: &str) -> Option<Range<usize>> {
        self.attributes.iter().find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, place)| place.clone())
    }
}

/// Reads tags; comments, CDATA and declarations are passed over.
pub(super) struct Tags<'a> {
    text: &'a str,
    at: usize,
    /// A comment, a CDATA section: each is looked for once if it has no end.
    has_end: [bool; 3],
}

impl<'a> Tags<'a> {
    pub(super) fn new(text: &'a str) -> Tags<'a> {
        Tags { text, at: 0, has_end: [true; 3] }
    }

    /// Goes behind what begins with one of these and ends with the other.
    fn skip(&mut self) -> bool {
        for (which, (begin, end)) in [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>")].into_iter().enumerate() {
            if self.has_end[which] && self.text[self.at..].starts_with(begin) {
                match memchr::memmem::find(&self.text.as_bytes()[self.at + begin.len()..], end.as_bytes()) {
                    Some(found) => {
                        self.at += begin.len() + found + end.len();
                        return true;
                    }
                    None => self.has_end[which] = false,
                }
            }
        }
        false
    }

    /// The tag that begins here; else how far what looked like one went.
    fn tag(&self) -> Result<Tag<'a>, usize> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let limit = bytes.len().min(start + LONGEST);
        let is_close = bytes.get(start + 1) == Some(&b'/');
        let mut at = start + 1 + usize::from(is_close);
        let name = self.word(at, limit);
        if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Err(start + 1);
        }
        at += name.len();
        let mut attributes = Vec::new();
        loop {
            at += bytes[at..limit].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            match bytes.get(at).filter(|_| at < limit) {
                Some(b'>') => {
                    let kind = if is_close { Kind::Close } else { Kind::Open };
                    return Ok(Tag { kind, name, place: start..at + 1, attributes });
                }
                Some(b'/') if bytes.get(at + 1) == Some(&b'>') => {
                    return Ok(Tag { kind: Kind::Alone, name, place: start..at + 2, attributes });
                }
                Some(b'/') => at += 1,
                None | Some(b'<') => return Err(at.max(start + 1)),
                Some(_) => {
                    let key = self.word(at, limit);
                    if key.is_empty() {
                        return Err(start + 1);
                    }
                    at += key.len();
                    let gap = bytes[at..limit].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    if bytes.get(at + gap) == Some(&b'=') && at + gap < limit {
                        at += gap + 1;
                        at += bytes[at..limit].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                        let place = self.value(at, limit).ok_or(start + 1)?;
                        at = if place.start > at { place.end + 1 } else { place.end };
                        attributes.push((key, place));
                    }
                }
            }
        }
    }

    fn word(&self, at: usize, limit: usize) -> &'a str {
        let rest = &self.text[at.min(self.text.len())..];
        let end = rest.find(|c: char| c.is_whitespace() || "<>/=\"'`".contains(c)).unwrap_or(rest.len().min(LONGEST));
        let end = if at + end <= limit { end } else { 0 };
        rest.get(..end).unwrap_or_default()
    }

    /// A value in quotes or without.
    fn value(&self, at: usize, limit: usize) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        match bytes.get(at)? {
            quote @ (b'"' | b'\'') => {
                let end = memchr::memchr(*quote, bytes.get(at + 1..limit)?)?;
                Some(at + 1..at + 1 + end)
            }
            _ => {
                let length = bytes[at..limit].iter().take_while(|byte| !byte.is_ascii_whitespace() && !b"<>\"'`".contains(byte)).count();
                Some(at..at + length)
            }
        }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            self.at += memchr::memchr(b'<', self.text.as_bytes().get(self.at..)?)?;
            if self.skip() {
                continue;
            }
            match self.tag() {
                Ok(tag) => {
                    self.at = tag.place.end;
                    return Some(tag);
                }
                Err(behind) => self.at = behind,
            }
        }
    }
}
