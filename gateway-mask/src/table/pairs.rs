//! A name and its value: `key: value`, `key = value`, logfmt, YAML, and what languages print of their objects.

use super::{
    Quoting,
    page::{Page, is_tag, trimmed},
    value::{self, Around, Value},
};

/// A name with what follows it, in bytes of its line.
#[derive(Debug)]
struct Key {
    name: usize,
    /// Where the value begins.
    value: usize,
    around: Around,
    /// Nothing but marks of lists stands before it in the line.
    begins_line: bool,
}

/// Reads the pairs of this line, and the lines that their values go on over: gives the line behind.
pub(super) fn read(page: &mut Page<'_>, at: usize) -> usize {
    let line = page.line(at);
    let mut next = at + 1;
    let mut from = 0;
    let mut brackets = Brackets::default();
    for hit in page.hits(line) {
        if hit < from {
            continue;
        }
        let Some(mut key) = key(page, line, hit) else { continue };
        key.around.in_brackets = brackets.open_before(line, hit);
        let (start, found) = (page.start(at), value::read(page, at, key.value, &key.around));
        let is_head = key.begins_line && found.goes_to_end && found.quoting == Quoting::Plain;
        if !is_head || !is_block(page.text.get(found.place.clone()).unwrap_or_default()) {
            page.give(found.place.clone(), key.name, found.quoting);
        }
        from = found.place.end.saturating_sub(start).max(key.value);
        if found.next > next {
            // The value ends in a later line: what is behind it there is not read again.
            return found.next;
        }
        if key.begins_line && !key.around.in_brackets && found.goes_to_end {
            next = go_on(page, at, &key, &found);
        }
    }
    next
}

/// Brackets that are open, counted once from left to right.
#[derive(Debug, Default)]
struct Brackets {
    depth: usize,
    counted: usize,
}

impl Brackets {
    fn open_before(&mut self, line: &str, place: usize) -> bool {
        for byte in line[self.counted..place].bytes() {
            match byte {
                b'(' | b'[' | b'{' => self.depth += 1,
                b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.counted = place;
        self.depth > 0
    }
}

/// The name that begins at `hit`, if a value follows it.
fn key(page: &Page<'_>, line: &str, hit: usize) -> Option<Key> {
    let before = &line[..hit];
    // `my-ssn` is another name, `--ssn` is not.
    if before.ends_with('-') && before.trim_end_matches('-').ends_with(char::is_alphanumeric) {
        return None;
    }
    let (name, end) = page.name_at(line, hit)?;
    let quote = before.chars().next_back().filter(|c| "\"'`".contains(*c));
    let mut rest = &line[end..];
    // Quotes may be escaped, in text within text.
    rest = if quote.is_some() { rest.trim_start_matches('\\') } else { rest };
    let is_quoted = quote.is_some_and(|quote| rest.starts_with(quote));
    rest = if is_quoted { &rest[1..] } else { rest };
    rest = behind_remark(rest.trim_start_matches(['*', '`', ']', '.'])).trim_start();
    let mut around = Around { quote, is_quoted, ..Around::default() };
    let tail = |rest: &str| rest.trim_start_matches('*').trim_start().len();
    let prefix = before.trim_start().trim_start_matches("export ");
    let begins_line = prefix.chars().all(|c| c.is_whitespace() || "-*+>#•·\"'`[:.)0123456789│|".contains(c));
    let value = if let Some(after) = ["=>", ":=", "==", "->", "→"].iter().find_map(|sign| rest.strip_prefix(sign)) {
        around.is_spaced = true;
        line.len() - tail(after)
    } else if let Some(after) = rest.strip_prefix('=') {
        around.is_equals = true;
        around.is_spaced = after.starts_with(' ') || line[..line.len() - rest.len()].ends_with(' ');
        line.len() - after.trim_start().len()
    } else if let Some(after) = rest.strip_prefix([':', '：']) {
        if after.starts_with(':') {
            return None;
        }
        around.is_spaced = true;
        line.len() - tail(after)
    } else if let Some(after) = rest.strip_prefix(',').filter(|_| is_quoted) {
        // `('ssn', '123')`
        let open = before[..before.len() - 1].trim_end();
        if !open.ends_with(['(', '[']) {
            return None;
        }
        around.is_pair = true;
        line.len() - after.trim_start().len()
    } else {
        let gap = line[end..].len() - line[end..].trim_start().len();
        let is_alone = line[..hit].trim().is_empty() && (gap > 1 || line[end..].starts_with('\t'));
        // Two words with a gap between, as pandas prints a row.
        if !is_alone || line[end + gap..].contains("  ") {
            return None;
        }
        around.is_spaced = true;
        return Some(Key { name, value: end + gap, around, begins_line: false });
    };
    around.begins_line = begins_line;
    Some(Key { name, value, around, begins_line })
}

/// What follows a remark on a name: `ssn[0]: …`, `ssn (text): …`.
fn behind_remark(rest: &str) -> &str {
    let inner = rest.trim_start();
    let close = match inner.chars().next() {
        Some('(') => ')',
        Some('[') => ']',
        _ => return rest,
    };
    match inner.char_indices().take(32).find(|(_, c)| *c == close) {
        Some((at, _)) if inner[at + 1..].trim_start().starts_with([':', '=']) => &inner[at + 1..],
        _ => rest,
    }
}

/// Gives the lines below that a value goes on over.
fn go_on(page: &mut Page<'_>, at: usize, key: &Key, found: &Value) -> usize {
    let line = page.line(at);
    let indent = indent_of(line);
    let text = page.text[found.place.clone()].trim();
    let is_empty = text.is_empty();
    // YAML: what is indented below, whatever it is.
    let is_block = is_empty || is_block(text);
    let is_item = line.trim_start().starts_with("- ");
    let is_yaml_list = |below: &str| is_empty && !is_item && indent_of(below) == indent && below.trim_start().starts_with("- ");
    // SQLite's line mode writes line breaks as they are.
    let is_plain = key.around.is_equals && key.around.is_spaced;
    let mut next = at + 1;
    while next < page.len() {
        let below = page.line(next);
        if below.trim().is_empty() {
            let goes_on = is_block && !is_empty && next + 1 < page.len() && indent_of(page.line(next + 1)) > indent;
            if !goes_on {
                break;
            }
            next += 1;
            continue;
        }
        let is_deeper = indent_of(below) > indent;
        let has_pair = value::next_pair(below).is_some() || begins_with_pair(below);
        let is_alone = is_empty && next == at + 1 && !has_pair && indent_of(below) == indent;
        let is_more = (is_deeper && (is_block || !has_pair)) || is_yaml_list(below) || is_alone;
        let is_rest = is_plain && !is_empty && !has_pair && !below.starts_with(['[', '#', ';']);
        if is_tag(below) || !(is_more || is_rest) {
            break;
        }
        let skip = below.len() - below.trim_start().trim_start_matches("- ").len();
        let place = trimmed(&below[skip..], page.start(next) + skip);
        page.give(place, key.name, Quoting::Plain);
        next += 1;
    }
    next
}

/// What says in YAML that the value is below.
fn is_block(value: &str) -> bool {
    value.starts_with(['|', '>']) && value[1..].bytes().all(|byte| b"+-123456789".contains(&byte)) && value.len() <= 3
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a line begins with a name and a sign.
fn begins_with_pair(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ").trim_start_matches(['"', '\'', '*']);
    let end = line.find(|c: char| !(c.is_alphanumeric() || "_-. ".contains(c))).unwrap_or(line.len());
    let after = line[end..].trim_start_matches(['"', '\'', '*', ' ']);
    end > 0 && end <= 64 && (after.starts_with('=') || after.starts_with(':') && after[1..].starts_with([' ', '*']) || after == ":")
}
