//! What a word comes to, as far as that is known without running anything.

use brush_parser::{
    ParserOptions,
    word::{Parameter, ParameterExpr, WordPiece, WordPieceWithSource, parse, parse_heredoc},
};

/// A word of a command.
#[derive(Debug, Default, Clone)]
pub(super) struct Word {
    /// Its text, without quotes; what is not known is left out.
    pub(super) text: String,
    /// Something was left out.
    pub(super) is_dynamic: bool,
    /// The commands whose output stands in it.
    pub(super) runs: Vec<String>,
    /// It is the end of a pipe: `<(…)`.
    pub(super) is_pipe: bool,
}

/// The words that one in a script comes to.
pub(super) fn words(raw: &str) -> Vec<Word> {
    if !raw.contains(['\'', '"', '\\', '$', '`', '{', '~']) {
        return vec![Word { text: raw.to_owned(), ..Word::default() }];
    }
    let mut words = Vec::new();
    for raw in braces(raw) {
        let mut into = Into { words: vec![Word::default()] };
        match parse(&raw, &ParserOptions::default()) {
            Ok(pieces) => into.pieces(&pieces, false),
            Err(_) => {
                into.last().text = raw.replace(['\'', '"', '\\'], "");
                into.last().is_dynamic = true;
            }
        }
        words.append(&mut into.words);
    }
    words
}

/// A here-document that is expanded.
pub(super) fn document(raw: &str) -> Word {
    let mut into = Into { words: vec![Word::default()] };
    match parse_heredoc(raw, &ParserOptions::default()) {
        Ok(pieces) => into.pieces(&pieces, true),
        Err(_) => into.last().text = raw.to_owned(),
    }
    into.words.pop().unwrap_or_default()
}

/// `a{b,c}` is `ab ac`: the first braces only, which is enough to tell a command by.
fn braces(raw: &str) -> Vec<String> {
    let group = raw.find('{').and_then(|open| Some((open, open + raw[open..].find('}')?)));
    match group {
        Some((open, close))
            if !raw[..open].ends_with('$') && raw[open..close].contains(',') && !raw[open..close].contains(['\'', '"', '$', '`']) =>
        {
            raw[open + 1..close].split(',').map(|item| format!("{}{item}{}", &raw[..open], &raw[close + 1..])).collect()
        }
        _ => vec![raw.to_owned()],
    }
}

struct Into {
    words: Vec<Word>,
}

impl Into {
    fn last(&mut self) -> &mut Word {
        if self.words.is_empty() {
            self.words.push(Word::default());
        }
        let at = self.words.len() - 1;
        &mut self.words[at]
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource], is_quoted: bool) {
        for piece in pieces {
            match &piece.piece {
                WordPiece::Text(text) | WordPiece::SingleQuotedText(text) => self.last().text.push_str(text),
                WordPiece::AnsiCQuotedText(text) => {
                    let text = ansi_c(text);
                    self.last().text.push_str(&text);
                }
                WordPiece::DoubleQuotedSequence(inner) | WordPiece::GettextDoubleQuotedSequence(inner) => self.pieces(inner, true),
                WordPiece::TildeExpansion(_) => self.last().text.push('~'),
                WordPiece::ParameterExpansion(ParameterExpr::Parameter { parameter: Parameter::Named(name), .. })
                    if name == "IFS" && !is_quoted =>
                {
                    self.words.push(Word::default());
                }
                WordPiece::ParameterExpansion(parameter) => self.parameter(parameter),
                WordPiece::CommandSubstitution(script) => self.last().runs.push(script.clone()),
                WordPiece::BackquotedCommandSubstitution(script) => {
                    self.last().runs.push(script.replace("\\`", "`").replace("\\$", "$").replace("\\\\", "\\"));
                }
                WordPiece::EscapeSequence(escape) => {
                    let escaped = escape.strip_prefix('\\').unwrap_or(escape);
                    if escaped != "\n" {
                        self.last().text.push_str(escaped);
                    }
                }
                WordPiece::ArithmeticExpression(expression) => {
                    self.last().is_dynamic = true;
                    self.inner(&expression.value, false);
                }
            }
            if matches!(piece.piece, WordPiece::CommandSubstitution(_) | WordPiece::BackquotedCommandSubstitution(_)) {
                self.last().is_dynamic = true;
            }
        }
    }

    /// A default is what the variable most likely comes to; commands in any part of an expansion are run.
    fn parameter(&mut self, parameter: &ParameterExpr) {
        use ParameterExpr as Expr;
        self.last().is_dynamic = true;
        match parameter {
            Expr::UseDefaultValues { default_value: Some(value), .. }
            | Expr::AssignDefaultValues { default_value: Some(value), .. }
            | Expr::UseAlternativeValue { alternative_value: Some(value), .. } => self.inner(value, true),
            Expr::IndicateErrorIfNullOrUnset { error_message: Some(part), .. }
            | Expr::RemoveSmallestSuffixPattern { pattern: Some(part), .. }
            | Expr::RemoveLargestSuffixPattern { pattern: Some(part), .. }
            | Expr::RemoveSmallestPrefixPattern { pattern: Some(part), .. }
            | Expr::RemoveLargestPrefixPattern { pattern: Some(part), .. }
            | Expr::Parameter { parameter: Parameter::NamedWithIndex { index: part, .. }, .. } => self.inner(part, false),
            Expr::ReplaceSubstring { pattern, replacement, .. } => {
                self.inner(pattern, false);
                self.inner(replacement.as_deref().unwrap_or_default(), false);
            }
            Expr::Substring { offset, length, .. } => {
                self.inner(&offset.value, false);
                self.inner(length.as_ref().map_or("", |length| &length.value), false);
            }
            _ => {}
        }
    }

    fn inner(&mut self, raw: &str, keep_text: bool) {
        if !keep_text && !raw.contains(['$', '`']) {
            return;
        }
        for word in words(raw) {
            self.last().runs.extend(word.runs);
            if keep_text {
                self.last().text.push_str(&word.text);
            }
        }
    }
}

/// `$'…'`: `\x72` and `\162` are `r`.
fn ansi_c(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let mut chars = rest[at + 1..].chars();
        let kind = chars.next();
        rest = chars.as_str();
        let (radix, most) = match kind {
            Some('x') => (16, 2),
            Some('u') => (16, 4),
            Some('U') => (16, 8),
            Some('0'..='7') => {
                rest = &text[text.len() - rest.len() - 1..];
                (8, 3)
            }
            Some(other) => {
                plain.push(match other {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'e' | 'E' => '\u{1b}',
                    other => other,
                });
                continue;
            }
            None => break,
        };
        let digits = rest.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        plain.extend(u32::from_str_radix(&rest[..digits], radix).ok().and_then(char::from_u32));
        rest = &rest[digits..];
    }
    plain.push_str(rest);
    plain
}
