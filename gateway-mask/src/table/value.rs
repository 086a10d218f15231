//! The value behind a name: where it ends, and how it is written.

use std::ops::Range;

use super::{Quoting, page::Page};

/// What is around a value.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// What stands right before the name, if it is a quote.
    pub(super) quote: Option<char>,
    /// The name is in quotes.
    pub(super) is_quoted: bool,
    /// `=` is between.
    pub(super) is_equals: bool,
    /// It is not `key=value` without spaces.
    pub(super) is_spaced: bool,
    /// Name and value are the two of a tuple.
    pub(super) is_pair: bool,
    /// A bracket is open.
    pub(super) in_brackets: bool,
    /// Nothing is before the name.
    pub(super) begins_line: bool,
}

/// A value that was read.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) place: Range<usize>,
    pub(super) quoting: Quoting,
    /// The line behind the one in which it ends.
    pub(super) next: usize,
    /// It is the rest of its line, and may go on below.
    pub(super) goes_to_end: bool,
}

/// What may stand behind a value in quotes or brackets.
const BEHIND: &[char] = &[',', ')', ']', '}', ';', '&', '|', '<', '>', ':', '.', '"', '\'', '`', '│'];

/// Reads the value that begins here in a line.
pub(super) fn read(page: &Page<'_>, at: usize, from: usize, around: &Around) -> Value {
    let line = page.line(at);
    let start = page.start(at) + from;
    let rest = &line[from..];
    if let Some(end) = escaped_quote(rest) {
        let body = rest.len() - rest.trim_start_matches('\\').len() + 1;
        let quoting = Quoting::Quoted(char::from(rest.as_bytes()[body - 1]));
        return Value { place: start + body..start + end, quoting, next: at + 1, goes_to_end: false };
    }
    let prefix = if rest.starts_with(['b', 'B', 'u', 'U', 'r', 'R', 'f', 'N', 'E']) { 1 } else { 0 };
    if let Some(quote) = [r#"""""#, "'''"].into_iter().find(|quote| rest[prefix..].starts_with(*quote)) {
        let body = start + prefix + quote.len();
        let limit = paragraph_end(page, at, body, |line| line.contains(quote));
        let end = page.text[body..limit].find(quote).map_or(limit, |end| body + end);
        let quoting = Quoting::Quoted(if quote.starts_with('"') { '"' } else { '\'' });
        return Value { place: body..end, quoting, next: page.line_after(at, end), goes_to_end: false };
    }
    if let Some(quote) = rest[prefix..].chars().next().filter(|c| "\"'`".contains(*c))
        && Some(quote) != around.quote.filter(|_| !around.is_quoted)
    {
        let body = start + prefix + 1;
        if let Some(end) = closing_quote(page, at, body, quote) {
            let behind = page.text[end + 1..].chars().next();
            if behind.is_none_or(|c| c.is_whitespace() || BEHIND.contains(&c)) {
                return Value { place: body..end, quoting: Quoting::Quoted(quote), next: page.line_after(at, end), goes_to_end: false };
            }
        }
    }
    if rest.starts_with(['[', '(', '{'])
        && let Some(end) = closing_bracket(page, at, start)
        && (end < page.end(at) || page.text[..end].ends_with([']', ')', '}']))
    {
        let behind = page.text[end..].chars().next();
        if end > page.end(at) || around.in_brackets || behind.is_none_or(|c| c.is_whitespace() || BEHIND.contains(&c)) {
            let is_whole = page.text[end..].lines().next().is_none_or(|rest| rest.trim().is_empty());
            if end > page.end(at) || around.in_brackets || is_whole {
                return Value { place: start..end, quoting: literal(around), next: page.line_after(at, end), goes_to_end: false };
            }
        }
    }
    let bare = bare(rest, around);
    let text = rest[..bare.length].trim_end();
    Value { place: start..start + text.len(), quoting: bare.quoting, next: at + 1, goes_to_end: bare.length == rest.len() }
}

/// Where a value in escaped quotes (`\"…\"`) ends.
fn escaped_quote(rest: &str) -> Option<usize> {
    let slashes = rest.len() - rest.trim_start_matches('\\').len();
    let open = rest.get(..slashes + 1).filter(|open| slashes > 0 && open.ends_with(['"', '\'']))?;
    let mut closing = rest.match_indices(open).map(|(at, _)| at).skip(1);
    // One with more backslashes is within the value.
    closing.find(|at| !rest[..*at].ends_with('\\'))
}

fn literal(around: &Around) -> Quoting {
    Quoting::Literal(around.quote.filter(|_| around.is_quoted).unwrap_or('\''))
}

/// Where the quote is closed, in this line or, before a blank one, below.
fn closing_quote(page: &Page<'_>, at: usize, body: usize, quote: char) -> Option<usize> {
    let bytes = page.text.as_bytes();
    let limit = paragraph_end(page, at, body, |line| line.contains(quote));
    let mut place = body;
    while place < limit {
        match bytes[place] {
            b'\\' => place += 2,
            byte if char::from(byte) == quote => {
                // A doubled quote stands for one.
                if place > body && bytes.get(place + 1) == Some(&byte) && quote != '`' {
                    place += 2;
                } else {
                    return Some(place);
                }
            }
            _ => place += 1,
        }
    }
    None
}

/// The end of the lines up to a blank one, or the first below that fits.
fn paragraph_end(page: &Page<'_>, at: usize, from: usize, fits: impl Fn(&str) -> bool) -> usize {
    if fits(&page.text[from..page.end(at).max(from)]) {
        return page.end(at);
    }
    let mut line = at + 1;
    while line < page.len() && !page.is_blank(line) {
        if fits(page.line(line)) {
            return page.end(line);
        }
        line += 1;
    }
    page.end(line.saturating_sub(1).max(at))
}

/// Behind the bracket that closes this one; the end of the paragraph if none does.
fn closing_bracket(page: &Page<'_>, at: usize, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut line = at;
    while line < page.len() && (line == at || !page.is_blank(line)) {
        let from = page.start(line).max(start);
        let mut escaped = false;
        for (place, c) in page.text[from..page.end(line)].char_indices() {
            match (c, quote) {
                _ if escaped => escaped = false,
                ('\\', Some(_)) => escaped = true,
                (c, Some(open)) if c == open => quote = None,
                (_, Some(_)) => {}
                ('"' | '\'', None) => quote = Some(c),
                ('(' | '[' | '{', None) => depth += 1,
                (')' | ']' | '}', None) => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(from + place + 1);
                    }
                }
                _ => {}
            }
        }
        line += 1;
    }
    Some(page.end(line - 1))
}

struct Bare {
    length: usize,
    quoting: Quoting,
}

/// The end of a value without quotes.
fn bare(rest: &str, around: &Around) -> Bare {
    let mut end = rest.len();
    let mut quoting = Quoting::Plain;
    if around.in_brackets || around.is_quoted {
        end = end_in_brackets(rest);
        let is_prose = !around.is_quoted && !around.is_equals && !around.is_pair;
        quoting = if is_prose { Quoting::Plain } else { literal(around) };
    } else {
        if let Some(next) = next_pair(rest) {
            end = next;
        } else if around.is_equals && !around.is_spaced && !around.begins_line {
            end = end_of_word(rest);
        }
        if around.is_equals && !around.is_spaced {
            end = rest[..end].find(['&', ';']).unwrap_or(end);
            quoting = Quoting::Word;
        }
    }
    // `"ssn: 123"` ends with its quote, `<li>ssn: 123</li>` before the tag.
    if let Some(quote) = around.quote.filter(|_| !around.is_quoted) {
        end = rest[..end].find(quote).unwrap_or(end);
    }
    let end = before_tag(&rest[..end]);
    let text = rest[..end].trim_end();
    let length = if end == rest.len() { end } else { text.trim_end_matches([',', ';', '|']).trim_end().len() };
    Bare { length, quoting }
}

fn end_in_brackets(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, c) in rest.char_indices() {
        match c {
            c if Some(c) == quote => quote = None,
            _ if quote.is_some() => {}
            '"' | '\'' if depth > 0 => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => return at,
            _ => {}
        }
    }
    rest.len()
}

/// The end of a word, and of the groups of digits behind it: `123 45 6789`.
fn end_of_word(rest: &str) -> usize {
    let mut end = 0;
    for word in rest.split_inclusive(' ') {
        let is_number = word.chars().any(|c| c.is_ascii_digit()) && !word.chars().any(char::is_alphabetic);
        if end > 0 && !is_number {
            break;
        }
        end += word.len();
    }
    rest[..end].trim_end().len()
}

/// Before a tag that closes what was opened before the value, or breaks the line.
fn before_tag(rest: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in rest.match_indices('<') {
        let tag = &rest[at + 1..];
        if tag.starts_with('/') {
            if depth == 0 {
                return at;
            }
            depth -= 1;
        } else if tag.get(..2).is_some_and(|name| name.eq_ignore_ascii_case("br")) {
            return at;
        } else if tag.starts_with(|c: char| c.is_ascii_alphabetic()) {
            depth += 1;
        }
    }
    rest.len()
}

/// Names of further pairs are not longer, in bytes.
const LONGEST_KEY: usize = 64;

/// Where a further pair begins in a text: `, name: x`, ` name=x`.
pub(super) fn next_pair(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    for (sign, _) in text.match_indices([':', '=']) {
        let after = bytes.get(sign + 1);
        let is_colon = bytes[sign] == b':';
        if is_colon && !after.is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'=".contains(byte))
            || (sign > 0 && b":=<>!".contains(&bytes[sign - 1]))
        {
            continue;
        }
        let head = text[..sign].trim_end_matches(['"', '\'', '*', ' ']);
        let mut from = head.len().saturating_sub(LONGEST_KEY);
        while !head.is_char_boundary(from) {
            from += 1;
        }
        let near = &head[from..];
        // Behind a comma a name may be several words.
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || "_-. ".contains(c))
        };
        let cut =
            |at: usize| near[at..].len() - near[at..].trim_start_matches([',', ';', '|', '&', ' ', '\t', '"', '\'', '*', '-']).len() + at;
        if let Some(comma) = near.rfind([',', ';', '|', '&'])
            && is_name(&near[cut(comma)..])
            && near[cut(comma)..].split(' ').count() <= 4
        {
            return Some(from + comma);
        }
        if let Some(space) = near.rfind(char::is_whitespace)
            && is_name(&near[cut(space)..])
        {
            return Some(from + space);
        }
    }
    None
}
