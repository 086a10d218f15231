//! SQL as text: whether it is any, and how the items of its select lists are spelt.

use std::collections::HashMap;

use sqlparser::tokenizer::{Token, Whitespace};

/// The first words of statements that may give rows, or hide what gives them.
const VERBS: [&str; 29] = [
    "select", "with", "values", "table", "from", "insert", "update", "delete", "merge", "replace", "call", "exec", "execute", "do",
    "prepare", "declare", "begin", "fetch", "explain", "copy", "create", "set", "if", "while", "use", "truncate", "describe", "show",
    "start",
];

/// Whether the first word, behind comments and parentheses, begins a statement.
pub(super) fn begins_like_sql(sql: &str) -> bool {
    first_word(sql).is_some_and(|word| {
        let word = word.to_ascii_lowercase();
        VERBS.contains(&word.as_str()) || word.starts_with("sp_") || word.starts_with("xp_")
    })
}

fn first_word(sql: &str) -> Option<&str> {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';' || c == '\u{feff}');
        if rest.starts_with("--") || rest.starts_with('#') {
            rest = rest.split_once('\n')?.1;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            // MySQL runs what is in `/*! … */`.
            if let Some(executable) = comment.strip_prefix('!') {
                rest = executable.trim_start_matches(|c: char| c.is_ascii_digit());
            } else {
                rest = comment.split_once("*/")?.1;
            }
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    rest.get(..end).filter(|word| !word.is_empty())
}

/// Whether no sentence of a language looks like it.
pub(super) fn is_evident(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    let first = first_word(&lower).unwrap_or_default();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    let has_marks =
        sql.contains(['=', '*', '(', ')', ';', '<', '>', '"', '`', '[', '@', '$', '|']) || has_string(sql) || lower.contains("_");
    let second = words.iter().skip_while(|word| **word != first).nth(1).copied().unwrap_or_default();
    match first {
        "select" => {
            let is_sentence = sql.trim_end().ends_with(['.', '?', '!']);
            let has_clauses = has(&["where", "join", "group", "order", "limit", "having", "union"]);
            (has(&["from"]) && (has_marks || has_clauses || sql.contains(','))) || (has_marks && !is_sentence)
        }
        "with" | "from" => has(&["select"]) && has_marks,
        "insert" | "replace" | "merge" => second == "into" && has_marks,
        "update" => has(&["set"]) && has_marks,
        "delete" => second == "from" && has_marks,
        "exec" | "execute" | "call" => words.len() <= 2 || has_marks,
        "create" => has(&["table", "view", "procedure", "proc", "function", "trigger"]) && has_marks,
        "do" | "begin" | "declare" | "prepare" | "copy" | "fetch" | "explain" | "values" | "table" | "if" | "while" | "set" => {
            has_marks && has(&["select", "from", "execute", "exec", "call", "values", "to"])
        }
        _ if first.starts_with("sp_") || first.starts_with("xp_") => true,
        _ => has_marks && has(&["select"]) && has(&["from"]),
    }
}

fn has_string(sql: &str) -> bool {
    sql.match_indices('\'').any(|(at, _)| !sql[..at].ends_with(char::is_alphanumeric))
}

/// SQL with a value in place of each `%s` and `%(name)s`, which Python's drivers put values in for; none if there are none.
pub(super) fn without_placeholders(sql: &str) -> Option<String> {
    let mut plain = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        let length = match after.strip_prefix('(').and_then(|name| name.split_once(")s")) {
            Some((name, _)) => name.len() + 3,
            None => usize::from(after.starts_with('s')),
        };
        plain.push_str(&rest[..at]);
        plain.push_str(if length > 0 { "NULL" } else { "%" });
        rest = &after[length..];
    }
    plain.push_str(rest);
    (plain != sql).then_some(plain)
}

/// The items of all select lists as they are spelt, by [`folded`] text: MySQL and SQLite call columns so.
pub(super) fn items(tokens: &[Token]) -> HashMap<String, String> {
    let mut items = HashMap::new();
    // For each parenthesis that is open, where the item began that is being read.
    let mut begun: Vec<Option<usize>> = vec![None];
    for (at, token) in tokens.iter().enumerate() {
        let word = match token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
            _ => String::new(),
        };
        let ends = matches!(token, Token::Comma | Token::SemiColon | Token::RParen | Token::EOF) || ENDS.contains(&word.as_str());
        if let Some(Some(from)) = begun.last().copied().filter(|_| ends) {
            add(&mut items, &tokens[from..at]);
            begun.pop();
            begun.push(matches!(token, Token::Comma).then_some(at + 1));
        }
        match token {
            Token::LParen => begun.push(None),
            Token::RParen if begun.len() > 1 => drop(begun.pop()),
            _ if word == "select" || word == "returning" || word == "distinct" || word == "output" => {
                begun.pop();
                begun.push(Some(at + 1));
            }
            _ => {}
        }
    }
    if let Some(Some(from)) = begun.last().copied() {
        add(&mut items, &tokens[from..]);
    }
    items
}

const ENDS: [&str; 14] =
    ["from", "into", "where", "group", "having", "order", "limit", "union", "except", "intersect", "offset", "fetch", "window", "for"];

fn add(items: &mut HashMap<String, String>, tokens: &[Token]) {
    let mut spelt = String::new();
    for token in tokens {
        match token {
            // A comment is not part of the name.
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {}
            token => spelt.push_str(&token.to_string()),
        }
    }
    let spelt = spelt.trim();
    items.insert(folded(spelt), spelt.to_owned());
}

/// A text without what does not count in SQL: case, and white space.
pub(super) fn folded(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}
