//! How a value is written in a table, and how another is written in its place.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

/// How a value is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// The rest of a line, or a part of one.
    Plain,
    /// A column whose values are padded with spaces to one width. Line breaks and upright bars cannot be written there: spaces and `¦` are.
    Padded,
    /// RFC 4180, with this separator. A value in quotes keeps them.
    Csv {
        /// What stands between fields.
        separator: char,
        /// Whether the value is in quotes, which belong to the cell.
        quoted: bool,
    },
    /// A Markdown table: `\|` is an upright bar, `<br>` a line break.
    Markdown,
    /// Text or elements of XML or HTML.
    Xml,
    /// Within an attribute of XML or HTML, between its quotes.
    XmlAttribute,
    /// Between these quotes, with backslashes before what would end it.
    Quoted(char),
    /// A literal without quotes where strings have these: a number, `None`, `date(1970, 1, 2)`.
    Literal(char),
    /// A word between spaces (logfmt): quoted if it needs it.
    Word,
}

impl Quoting {
    /// `value` as it is written here, in place of what is `width` columns wide on a terminal.
    #[must_use]
    pub fn quote(&self, value: &str, width: usize) -> String {
        match self {
            Quoting::Plain => plain(value),
            Quoting::Padded => padded(value.replace(LINE_BREAKS, " ").replace(BARS, "¦"), width),
            Quoting::Csv { separator, quoted } => csv(value, *separator, *quoted),
            Quoting::Markdown => padded(value.replace("\r\n", "<br>").replace(LINE_BREAKS, "<br>").replace('|', "\\|"), width),
            Quoting::Xml | Quoting::XmlAttribute => xml(value),
            Quoting::Quoted(quote) => escaped(value, *quote),
            Quoting::Literal(quote) if is_number(value) => value.to_owned().replace(*quote, ""),
            Quoting::Literal(quote) => format!("{quote}{}{quote}", escaped(value, *quote)),
            Quoting::Word if value.is_empty() || value.contains(|c: char| c.is_whitespace() || "\"'=&;".contains(c)) => {
                format!("\"{}\"", escaped(value, '"'))
            }
            Quoting::Word => value.to_owned(),
        }
    }

    /// What is written here as `raw`.
    pub(super) fn value<'a>(&self, raw: &'a str) -> Cow<'a, str> {
        match self {
            Quoting::Plain | Quoting::Word | Quoting::Literal(_) => Cow::Borrowed(raw),
            Quoting::Padded => Cow::Borrowed(raw.trim()),
            Quoting::Csv { quoted: false, .. } => Cow::Borrowed(raw),
            Quoting::Csv { .. } => {
                let inner = raw.strip_prefix('"').unwrap_or(raw);
                let inner = inner.strip_suffix('"').unwrap_or(inner);
                if inner.contains('"') { Cow::Owned(inner.replace("\"\"", "\"")) } else { Cow::Borrowed(inner) }
            }
            Quoting::Markdown => {
                let raw = raw.trim();
                if raw.contains("\\|") { Cow::Owned(raw.replace("\\|", "|")) } else { Cow::Borrowed(raw) }
            }
            Quoting::Xml => without_markup(raw),
            Quoting::XmlAttribute => entities(raw),
            Quoting::Quoted(quote) => unescaped(raw, *quote),
        }
    }
}

const LINE_BREAKS: &[char] = &['\n', '\r'];
const BARS: &[char] = &['|', '│', '┃', '║', '┆', '┊'];

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// One line; in quotes if YAML would take it for something else than a string.
fn plain(value: &str) -> String {
    let value = value.replace(LINE_BREAKS, " ");
    let is_mark = value.starts_with(['*', '&', '!', '|', '>', '%', '@', '`']) || value.contains(": ") || value.contains(" #");
    if is_mark { format!("\"{}\"", escaped(&value, '"')) } else { value }
}

fn padded(mut value: String, to: usize) -> String {
    let has = width(&value);
    value.extend(std::iter::repeat_n(' ', to.saturating_sub(has)));
    value
}

fn csv(value: &str, separator: char, quoted: bool) -> String {
    let needs = value.contains([separator, '"', '\n', '\r']) || value.starts_with(' ') || value.ends_with(' ');
    if quoted || needs { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

fn xml(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            // XML 1.0, section 2.2: no document may hold these.
            c if c < ' ' && !"\t\n\r".contains(c) => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

fn escaped(value: &str, quote: char) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            c if c == quote => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text
}

fn unescaped(raw: &str, quote: char) -> Cow<'_, str> {
    if !raw.contains(['\\', quote]) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            if c == quote && chars.as_str().starts_with(quote) {
                chars.next();
            }
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(kind @ ('x' | 'u' | 'U')) => {
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let code = chars.as_str().get(..digits).and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
                match code {
                    Some(code) => {
                        text.push(code);
                        chars.by_ref().take(digits).for_each(drop);
                    }
                    None => text.extend(['\\', kind]),
                }
            }
            Some(other) => text.push(other),
            None => text.push('\\'),
        }
    }
    Cow::Owned(text)
}

/// The text of an element's content: its tags left out, its CDATA and entities read.
fn without_markup(raw: &str) -> Cow<'_, str> {
    let raw = raw.trim();
    if !raw.contains('<') {
        return entities(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('<') {
        text.push_str(&entities(&rest[..at]));
        rest = &rest[at..];
        if let Some(data) = rest.strip_prefix("<![CDATA[") {
            let end = data.find("]]>").unwrap_or(data.len());
            text.push_str(&data[..end]);
            rest = data.get(end + 3..).unwrap_or_default();
        } else {
            rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    text.push_str(&entities(rest));
    Cow::Owned(text.trim().to_owned())
}

fn entities(raw: &str) -> Cow<'_, str> {
    if !raw.contains('&') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        match end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
            Some((end, c)) => {
                text.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let code = name.strip_prefix('#')?;
            let code = match code.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => code.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
}
