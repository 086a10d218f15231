//! What the demo prints: numbered steps of prose, commands, what they said, and what was seen to hold.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use crate::stop::Interrupted;

/// No line is longer, in characters.
pub(crate) const WIDTH: usize = 100;

const BOLD: &str = "1";
const FAINT: &str = "2";
const RED: &str = "1;31";
const GREEN: &str = "32";
const BLUE: &str = "36";

/// Something that the demo says is so, and was not.
#[derive(Debug)]
pub(crate) struct NotHeld {
    expected: String,
    seen: String,
}

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nseen instead: {}", self.expected, self.seen)
    }
}

impl std::error::Error for NotHeld {}

/// Standard output, with colours where it is a terminal and nobody objects (<https://no-color.org>).
pub(crate) struct Page {
    colour: bool,
    steps: usize,
}

impl Page {
    pub(crate) fn new() -> Self {
        let objected = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { colour: io::stdout().is_terminal() && !objected && !dumb, steps: 0 }
    }

    /// The headline.
    pub(crate) fn title(&self, text: &str) -> io::Result<()> {
        self.line(&self.paint(BOLD, text))
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        self.line("")?;
        self.line(&self.paint(BOLD, &format!("{}  {title}", self.steps)))
    }

    /// Begins something that is not a step.
    pub(crate) fn part(&self, title: &str) -> io::Result<()> {
        self.line("")?;
        self.line(&self.paint(BOLD, title))
    }

    /// Prose.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        wrap(text, 3, 3, WIDTH).iter().try_for_each(|line| self.line(line))
    }

    /// A command, as it was run or can be, with a note on it. Too long a line goes on in the next.
    pub(crate) fn command(&self, shown: &str, note: &str) -> io::Result<()> {
        let mut lines: Vec<String> = Vec::new();
        for line in shown.lines() {
            let mut parts = wrap(line, 5, 9, WIDTH - 2);
            if let Some((_, before)) = parts.split_last_mut() {
                before.iter_mut().for_each(|part| part.push_str(" \\"));
            }
            lines.append(&mut parts);
        }
        let length = lines.last().map_or(0, |line| line.chars().count());
        let beside = lines.len() == 1 && length + 5 + note.chars().count() <= WIDTH;
        let mut end = String::new();
        if !note.is_empty() {
            let note = self.paint(FAINT, &format!("# {note}"));
            if beside { end = format!("   {note}") } else { self.line(&format!("     {note}"))? }
        }
        for (index, line) in lines.iter().enumerate() {
            let mark = if index == 0 { "$" } else { " " };
            self.line(&format!("   {} {}{end}", self.paint(BLUE, mark), self.paint(BLUE, &line[5..])))?;
        }
        Ok(())
    }

    /// What a program said. It may repeat what came from elsewhere: control characters are shown, and not obeyed.
    pub(crate) fn output(&self, text: &str) -> io::Result<()> {
        text.lines().flat_map(|line| wrap(&harmless(line), 5, 9, WIDTH)).try_for_each(|line| self.line(&self.paint(FAINT, &line)))
    }

    /// A table's line, which fits.
    pub(crate) fn row(&self, text: &str) -> io::Result<()> {
        self.line(&format!("   {}", harmless(text)))
    }

    /// Something that was seen to be so.
    pub(crate) fn held(&self, what: &str) -> io::Result<()> {
        self.marked(&self.paint(GREEN, "✓"), what)
    }

    /// Something that was seen not to be so.
    pub(crate) fn not_held(&self, what: &str) -> io::Result<()> {
        self.marked(&self.paint(RED, "✗"), what)
    }

    fn marked(&self, mark: &str, text: &str) -> io::Result<()> {
        for (index, line) in text.lines().flat_map(|line| wrap(&harmless(line), 5, 5, WIDTH)).enumerate() {
            self.line(&format!("   {} {}", if index == 0 { mark } else { " " }, &line[5..]))?;
        }
        Ok(())
    }

    /// Says that something is so, if it is.
    ///
    /// # Errors
    /// [`NotHeld`]: it is not.
    pub(crate) fn hold(&self, so: bool, what: &str, seen: impl FnOnce() -> String) -> anyhow::Result<()> {
        if !so {
            return Err(NotHeld { expected: what.to_owned(), seen: seen() }.into());
        }
        Ok(self.held(what)?)
    }

    /// Why the story ended before its end.
    pub(crate) fn ended_early(&self, error: &anyhow::Error) -> io::Result<()> {
        // Whoever interrupted it knows.
        if error.is::<Interrupted>() {
            return Ok(());
        }
        let text = if error.is::<NotHeld>() { error.to_string() } else { format!("the demo cannot go on: {error:#}") };
        self.not_held(&text)
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }
}

/// Text with its control characters spelled out.
fn harmless(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// No more than so many characters: what is cut off becomes an ellipsis.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Lines of one line's words, none longer than `width`: the first begins `first` characters from the left, the others `rest`.
fn wrap(text: &str, first: usize, rest: usize, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut indent = first;
    let mut left: Vec<char> = text.chars().collect();
    loop {
        let room = width - indent;
        let end = if left.len() <= room {
            left.len()
        } else {
            // A word longer than a line is broken where the line ends.
            left[..=room].iter().rposition(|c| *c == ' ').filter(|at| *at > 0).unwrap_or(room)
        };
        let line: String = left.drain(..end).collect();
        lines.push(format!("{:indent$}{}", "", line.trim_end()));
        let blanks = left.iter().take_while(|c| **c == ' ').count();
        left.drain(..blanks);
        if left.is_empty() {
            return lines;
        }
        indent = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::{WIDTH, harmless, wrap};

    #[test]
    fn no_line_is_longer_than_the_page() {
        let words = "two words ".repeat(40);
        let long = "x".repeat(250);
        for text in [words.as_str(), long.as_str(), ""] {
            let lines = wrap(text, 3, 9, WIDTH);
            assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
            let kept: String = lines.iter().flat_map(|line| line.chars()).filter(|c| *c != ' ').collect();
            assert_eq!(kept, text.replace(' ', ""));
        }
        assert_eq!(wrap("short", 3, 9, WIDTH), ["   short"]);
    }

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
