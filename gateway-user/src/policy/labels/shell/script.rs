//! Through a script, command by command.

use std::io::Cursor;

use brush_parser::{
    Parser, ParserOptions,
    ast::{
        AndOr, Command, CommandPrefixOrSuffixItem as Item, CompoundCommand, CompoundList, ExtendedTestExpr, IoFileRedirectKind,
        IoFileRedirectTarget, IoRedirect, Pipeline, ProcessSubstitutionKind, Program, SeparatorOperator, SimpleCommand, SubshellCommand,
    },
};

use super::{
    super::{DEPTH, Found, with_stack},
    command,
    word::{self, Word},
};

/// What is longer is not parsed, in bytes.
const LONGEST: usize = 64 << 10;
/// How deep parentheses and braces may nest, and how many compound commands there may be.
const NESTING: usize = 10;
const CASES: usize = 6;
const COMPOUNDS: usize = 200;
const STACK: usize = 8 << 20;

/// What one command is given on its standard input.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// It comes from another command.
    pub(super) is_piped: bool,
    /// Texts that stand in the script.
    pub(super) texts: Vec<Word>,
}

/// Labels a script.
pub(super) struct Shell<'a> {
    pub(super) found: &'a mut Found,
    depth: usize,
    /// The function whose body is looked at.
    function: Option<String>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(found: &'a mut Found) -> Self {
        Self { found, depth: 0, function: None }
    }

    /// Labels a script, and says whether it could be parsed.
    pub(super) fn run(&mut self, text: &str) -> bool {
        if self.depth > DEPTH + 1 {
            self.found.add("shell:unparsed");
            return false;
        }
        let program = (self.depth <= DEPTH && is_parsable(text)).then(|| with_stack(stack(text), || self.parsed(text)));
        let is_parsed = program == Some(true);
        if !is_parsed {
            self.found.add("shell:unparsed");
            self.by_words(text);
        }
        is_parsed
    }

    fn parsed(&mut self, text: &str) -> bool {
        let parsed: Result<Program, _> = Parser::new(Cursor::new(text), &ParserOptions::default()).parse_program();
        let Ok(program) = parsed else { return false };
        if program.complete_commands.len() > 1 {
            self.found.add("shell:multi");
        }
        program.complete_commands.iter().for_each(|list| self.list(list, false));
        true
    }

    /// A script inside another; says whether it fetches something.
    pub(super) fn nested(&mut self, text: &str) -> bool {
        let mut inner = Found::default();
        Shell { found: &mut inner, depth: self.depth + 1, function: None }.run(text);
        let fetches = inner.labels.iter().any(|label| label == "shell:download");
        self.found.more |= inner.more;
        inner.labels.into_iter().for_each(|label| self.found.push(label));
        fetches
    }

    fn list(&mut self, list: &CompoundList, is_piped: bool) {
        if list.0.len() > 1 {
            self.found.add("shell:multi");
        }
        for item in &list.0 {
            if matches!(item.1, SeparatorOperator::Async) {
                self.found.add("shell:background");
            }
            self.pipeline(&item.0.first, is_piped);
            for AndOr::And(pipeline) | AndOr::Or(pipeline) in &item.0.additional {
                self.found.add("shell:multi");
                self.pipeline(pipeline, is_piped);
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, is_piped: bool) {
        if let Some(function) = &self.function {
            let calls_itself = |command: &&Command| matches!(command, Command::Simple(simple) if simple.word_or_name.as_ref().is_some_and(|name| name.value == *function));
            if pipeline.seq.iter().filter(calls_itself).count() > 1 {
                self.found.add("shell:fork-bomb");
            }
        }
        for (at, command) in pipeline.seq.iter().enumerate() {
            self.command(command, is_piped || at > 0);
        }
    }

    fn command(&mut self, command: &Command, is_piped: bool) {
        let mut input = Input { is_piped, texts: Vec::new() };
        match command {
            Command::Simple(simple) => self.simple(simple, input),
            Command::Compound(compound, redirects) => {
                redirects.iter().flat_map(|list| &list.0).for_each(|redirect| self.redirect(redirect, &mut input));
                self.compound(compound, input.is_piped);
            }
            Command::Function(function) => {
                let outer = self.function.replace(function.fname.value.clone());
                function.body.1.iter().flat_map(|list| &list.0).for_each(|redirect| self.redirect(redirect, &mut input));
                self.compound(&function.body.0, input.is_piped);
                self.function = outer;
            }
            Command::ExtendedTest(test, redirects) => {
                redirects.iter().flat_map(|list| &list.0).for_each(|redirect| self.redirect(redirect, &mut input));
                self.test(&test.expr);
            }
        }
    }

    fn compound(&mut self, compound: &CompoundCommand, is_piped: bool) {
        match compound {
            CompoundCommand::Arithmetic(arithmetic) => {
                let text = &arithmetic.expr.value;
                self.value(text);
                // The parser takes `( (` for `((`, and the shell takes `((` for `( (` where it is no arithmetic.
                if may_be_commands(text) {
                    self.nested(text);
                }
            }
            CompoundCommand::ArithmeticForClause(clause) => {
                [&clause.initializer, &clause.condition, &clause.updater].into_iter().flatten().for_each(|expr| self.value(&expr.value));
                self.list(&clause.body.list, is_piped);
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list, is_piped),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list, is_piped),
            CompoundCommand::ForClause(clause) => {
                clause.values.iter().flatten().for_each(|value| self.value(&value.value));
                self.list(&clause.body.list, is_piped);
            }
            CompoundCommand::CaseClause(clause) => {
                self.value(&clause.value.value);
                for case in &clause.cases {
                    case.patterns.iter().for_each(|pattern| self.value(&pattern.value));
                    case.cmd.iter().for_each(|list| self.list(list, is_piped));
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, is_piped);
                self.list(&clause.then, is_piped);
                for branch in clause.elses.iter().flatten() {
                    branch.condition.iter().for_each(|list| self.list(list, is_piped));
                    self.list(&branch.body, is_piped);
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0, is_piped);
                self.list(&clause.1.list, is_piped);
            }
            CompoundCommand::Coprocess(coprocess) => {
                self.found.add("shell:background");
                self.command(&coprocess.body, is_piped);
            }
        }
    }

    fn test(&mut self, test: &ExtendedTestExpr) {
        match test {
            ExtendedTestExpr::And(one, other) | ExtendedTestExpr::Or(one, other) => {
                self.test(one);
                self.test(other);
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => self.test(inner),
            ExtendedTestExpr::UnaryTest(_, word) => self.value(&word.value),
            ExtendedTestExpr::BinaryTest(_, one, other) => {
                self.value(&one.value);
                self.value(&other.value);
            }
        }
    }

    /// A word that is no command's: only what it runs counts.
    fn value(&mut self, raw: &str) {
        for run in word::words(raw).iter().flat_map(|word| &word.runs) {
            self.nested(run);
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, mut input: Input) {
        let mut words = Vec::new();
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item, true, &mut words, &mut input);
        }
        words.extend(simple.word_or_name.iter().flat_map(|name| word::words(&name.value)));
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, false, &mut words, &mut input);
        }
        command::label(self, &words, &input);
    }

    fn item(&mut self, item: &Item, is_before: bool, words: &mut Vec<Word>, input: &mut Input) {
        match item {
            Item::IoRedirect(redirect) => self.redirect(redirect, input),
            Item::AssignmentWord(_, raw) if is_before => self.value(&raw.value),
            Item::Word(raw) | Item::AssignmentWord(_, raw) => words.extend(word::words(&raw.value)),
            Item::ProcessSubstitution(kind, subshell) => {
                self.process(kind, subshell);
                words.push(Word { is_pipe: matches!(kind, ProcessSubstitutionKind::Read), ..Word::default() });
            }
        }
    }

    fn process(&mut self, kind: &ProcessSubstitutionKind, subshell: &SubshellCommand) {
        self.list(&subshell.list, matches!(kind, ProcessSubstitutionKind::Write));
    }

    fn redirect(&mut self, redirect: &IoRedirect, input: &mut Input) {
        match redirect {
            IoRedirect::File(_, kind, target) => {
                let writes = !matches!(kind, IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput);
                match target {
                    IoFileRedirectTarget::Filename(name) | IoFileRedirectTarget::Duplicate(name) => self.file(&name.value, writes),
                    IoFileRedirectTarget::ProcessSubstitution(kind, subshell) => {
                        self.process(kind, subshell);
                        input.is_piped |= matches!(kind, ProcessSubstitutionKind::Read);
                    }
                    IoFileRedirectTarget::Fd(_) => {}
                }
            }
            IoRedirect::OutputAndError(name, _) => self.file(&name.value, true),
            IoRedirect::HereString(_, raw) => input.texts.extend(word::words(&raw.value)),
            IoRedirect::HereDocument(_, here) => {
                let text = &here.doc.value;
                input.texts.push(if here.requires_expansion {
                    word::document(text)
                } else {
                    Word { text: text.clone(), ..Word::default() }
                });
            }
        }
    }

    fn file(&mut self, raw: &str, writes: bool) {
        self.value(raw);
        let name: String = word::words(raw).into_iter().map(|word| word.text).collect();
        let is_descriptor = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if writes && !is_descriptor && !command::is_harmless_device(&name) {
            self.found.add("shell:redirect-write");
            if name.starts_with("/dev/") {
                self.found.add("shell:device-write");
            }
        }
    }

    /// What no parser reads: every word behind a separator is taken for a command.
    fn by_words(&mut self, text: &str) {
        let mut is_piped = false;
        for part in text.split_inclusive([';', '|', '&', '\n', '(', ')', '`', '{', '}']) {
            let words = part.trim_end_matches([';', '|', '&', '\n', '(', ')', '`', '{', '}']).split_whitespace();
            let plain = |word: &str| Word { text: word.replace(['\'', '"', '\\'], ""), ..Word::default() };
            let words: Vec<Word> = words.map(plain).collect();
            // One level more, so that what is parsed no further is not parsed again and again.
            let mut inner = Shell { found: self.found, depth: self.depth.max(DEPTH), function: None };
            command::label(&mut inner, &words, &Input { is_piped, texts: Vec::new() });
            is_piped = part.ends_with('|') || (is_piped && words.is_empty());
        }
    }
}

/// Whether two words follow one another with no operator between, or one stands alone.
fn may_be_commands(text: &str) -> bool {
    let ends = |word: &str| word.ends_with(|c: char| c.is_ascii_alphanumeric() || "_'\"}".contains(c));
    let begins = |word: &str| {
        word.len() > 1 && word.starts_with(['-', '/', '.', '~', '$', '\'', '"', '<', '>'])
            || word.starts_with(|c: char| c.is_ascii_alphanumeric())
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_alone =
        words.len() == 1 && !words[0].bytes().all(|byte| byte.is_ascii_digit()) && !words[0].contains(['+', '=', '<', '>', '*', '%', '?']);
    is_alone || text.contains([';', '(']) || words.windows(2).any(|pair| ends(pair[0]) && begins(pair[1]))
}

/// Whether the parser can be given a text: it recurses, and its time doubles with each parenthesis or `case` in another.
fn is_parsable(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let cases = text.split_whitespace().filter(|word| *word == "case").count();
    // Those begin commands inside commands without any parenthesis.
    let compounds =
        text.split_whitespace().filter(|word| matches!(*word, "if" | "while" | "until" | "for" | "select" | "coproc" | "!" | "[["));
    text.len() <= LONGEST && deepest <= NESTING && cases <= CASES && compounds.count() <= COMPOUNDS
}

/// The stack that the text may take.
fn stack(text: &str) -> usize {
    if text.len() < 256 && !text.contains(['(', '{', '!']) { 512 << 10 } else { STACK }
}
