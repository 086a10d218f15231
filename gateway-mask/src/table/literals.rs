//! Lists as languages print them: rows as tuples or lists, under a list of the columns' names.

use std::ops::Range;

use super::{
    Quoting,
    page::{Page, could_be, is_header_like, trimmed},
};

/// Reads the rows below the list of names that begins in this line.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> Option<usize> {
    let line = page.line(at);
    if memchr::memchr2(b'[', b'(', line.as_bytes()).is_none() || !page.has_name(line) {
        return None;
    }
    let start = page.start(at);
    let open = open_before(page, line)?;
    let mut scan = Scan::new(page.text, start + open);
    let header = scan.group()?;
    let named = |(column, element): (usize, &Range<usize>)| Some((column, page.name(&page.text[element.clone()])?));
    let wanted: Vec<_> = header.iter().enumerate().filter_map(named).collect();
    let is_names = header.iter().all(|element| is_header_like(&page.text[element.clone()]));
    // `('ssn', '123')` is a pair.
    if wanted.is_empty() || !is_names || header.len() < 2 {
        return None;
    }
    if let ([(0, name)], [_, value], '(', true) =
        (&wanted[..], &header[..], line[open..].chars().next().unwrap_or(' '), line[..open].trim_end().ends_with(['[', ',']))
    {
        let place = value.start + 1..value.end - 1;
        page.give(place, *name, Quoting::Quoted('\''));
    }
    let (columns, end) = (header.len(), rows_end(page, at));
    let cells = scan.rows(&wanted, columns, end);
    for (place, name) in cells {
        let text = &page.text[place.clone()];
        match text.chars().next().filter(|c| "\"'".contains(*c) && text.len() > 1 && text.ends_with(*c)) {
            Some(quote) => page.give(place.start + 1..place.end - 1, name, Quoting::Quoted(quote)),
            None => page.give(place, name, Quoting::Literal('\'')),
        }
    }
    Some(page.line_after(at, end.saturating_sub(1).max(start)))
}

/// The innermost bracket around the first name in quotes that is an element of a list.
fn open_before(page: &Page<'_>, line: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut counted = 0;
    for hit in page.hits(line) {
        for (at, byte) in line.bytes().enumerate().take(hit).skip(counted) {
            match byte {
                b'(' | b'[' | b'{' => open.push(at),
                b')' | b']' | b'}' => drop(open.pop()),
                _ => {}
            }
        }
        counted = hit;
        let Some((_, end)) = page.name_at(line, hit) else { continue };
        let Some(quote) = line[..hit].chars().next_back().filter(|c| "\"'".contains(*c)) else { continue };
        let is_element = line[end..].strip_prefix(quote).is_some_and(|rest| rest.trim_start().starts_with([',', ')', ']']));
        if let Some(&bracket) = open.last().filter(|_| is_element)
            && !line[bracket..].starts_with('{')
        {
            return Some(bracket);
        }
    }
    None
}

/// The end of the lines that may hold rows.
fn rows_end(page: &Page<'_>, at: usize) -> usize {
    let mut line = at + 1;
    let holds_rows = |text: &str| {
        let text = text.trim_start();
        let before = text.find(['[', '(', '{']).map_or(text, |bracket| text[..bracket].trim_end());
        text.starts_with(['[', '(', '{', ']', ')', '}', '"', '\'', ','])
            || (before.len() < text.len() && before.len() <= 32 && before.ends_with([':', '=']))
    };
    while line < page.len() {
        let is_more = if page.is_blank(line) {
            line + 1 < page.len() && holds_rows(page.line(line + 1))
        } else {
            holds_rows(page.line(line)) || is_deep(page, line)
        };
        if !is_more {
            break;
        }
        line += 1;
    }
    page.end(line - 1)
}

/// A line of a list that is written over many.
fn is_deep(page: &Page<'_>, line: usize) -> bool {
    page.line(line).starts_with([' ', '\t'])
}

/// Reads brackets, strings and commas.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// An open bracket.
struct Frame {
    bracket: u8,
    /// Its elements so far.
    elements: Vec<Range<usize>>,
    /// Where the one that is being read begins.
    element: usize,
    /// How many of the elements are brackets themselves.
    nested: usize,
    /// It follows a name: `Decimal('1')`.
    is_call: bool,
    /// What was found within.
    cells: Vec<(Range<usize>, usize)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, at: usize) -> Scan<'a> {
        Scan { text, at }
    }

    /// The elements of the bracket that begins here, if there are none within them.
    fn group(&mut self) -> Option<Vec<Range<usize>>> {
        let bytes = self.text.as_bytes();
        let mut element = self.at + 1;
        let mut elements = Vec::new();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' | b'\'' => self.string(),
                b'(' | b'[' | b'{' => return None,
                b',' | b')' | b']' | b'}' => {
                    let place = trimmed(&self.text[element..self.at], element);
                    elements.extend(Some(place).filter(|place| !place.is_empty()));
                    self.at += 1;
                    element = self.at;
                    if *byte != b',' {
                        return Some(elements);
                    }
                }
                _ => self.at += 1,
            }
        }
        None
    }

    /// Goes behind a string; one that is not closed in its line is none.
    fn string(&mut self) {
        let bytes = self.text.as_bytes();
        let quote = bytes[self.at];
        let mut at = self.at + 1;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\\' => at += 2,
                b'\n' => break,
                byte if *byte == quote => {
                    self.at = at + 1;
                    return;
                }
                _ => at += 1,
            }
        }
        self.at += 1;
    }

    /// The wanted elements of all brackets up to `end`.
    fn rows(&mut self, wanted: &[(usize, usize)], columns: usize, end: usize) -> Vec<(Range<usize>, usize)> {
        let bytes = self.text.as_bytes();
        let mut found = Vec::new();
        let mut frames: Vec<Frame> = Vec::new();
        let mut before = b' ';
        while self.at < end {
            let byte = bytes[self.at];
            match byte {
                b'"' | b'\'' => self.string(),
                b'(' | b'[' | b'{' => {
                    let is_call = before.is_ascii_alphanumeric() || before == b'_';
                    self.at += 1;
                    frames.push(Frame { bracket: byte, elements: Vec::new(), element: self.at, nested: 0, is_call, cells: Vec::new() });
                }
                b',' | b')' | b']' | b'}' => {
                    if let Some(frame) = frames.last_mut() {
                        let place = trimmed(&self.text[frame.element..self.at], frame.element);
                        frame.elements.extend(Some(place).filter(|place| !place.is_empty()));
                        frame.element = self.at + 1;
                    }
                    self.at += 1;
                    if byte != b','
                        && let Some(frame) = frames.pop()
                    {
                        let is_element = !frame.is_call;
                        let cells = frame.close(wanted, columns);
                        match frames.last_mut() {
                            Some(outer) => {
                                outer.nested += usize::from(is_element);
                                outer.cells.extend(cells);
                            }
                            None => found.extend(cells),
                        }
                    }
                }
                _ => self.at += 1,
            }
            if !byte.is_ascii_whitespace() {
                before = byte;
            }
        }
        // A list that is cut off.
        while let Some(mut frame) = frames.pop() {
            let place = trimmed(&self.text[frame.element.min(end)..end], frame.element.min(end));
            frame.elements.extend(Some(place).filter(|place| !place.is_empty()));
            found.extend(frame.close(wanted, columns));
        }
        found
    }
}

impl Frame {
    /// What the bracket gives: its own elements if it is a row, else what is within.
    fn close(self, wanted: &[(usize, usize)], columns: usize) -> Vec<(Range<usize>, usize)> {
        let is_row = self.bracket != b'{' && !self.is_call && self.nested < self.elements.len();
        if !is_row {
            return if self.is_call { Vec::new() } else { self.cells };
        }
        could_be(wanted, columns, self.elements.len()).into_iter().map(|(element, name)| (self.elements[element].clone(), name)).collect()
    }
}
