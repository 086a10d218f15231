//! What a statement does by its words alone: what no parser knows of, or reads otherwise than the server, is seen all the same.

use std::sync::LazyLock;

use super::{
    super::{Found, words::Words},
    lexer::{Reading, What},
};

/// What may stand before a verb that begins no statement: in T-SQL one may follow another with nothing between.
const BEFORE_NO_VERB: [&str; 27] = [
    "SELECT", "DISTINCT", "ALL", "ON", "FOR", "BEFORE", "AFTER", "OF", "OR", "AND", "NOT", "WHERE", "BY", "SET", "GRANT", "REVOKE", "DENY",
    "WITH", "NO", "KEY", "OPTION", "HAVING", "IN", "LIKE", "INTO", "FROM", "TABLE",
];
/// The words that [`act`] looks at.
const ACTS: [&str; 18] = [
    "INSERT", "DELETE", "UPDATE", "MERGE", "REPLACE", "TRUNCATE", "COPY", "LOAD", "INTO", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE",
    "DENY", "EXEC", "EXECUTE", "CALL",
];
const DDL_KINDS: [&str; 24] = [
    "TABLE",
    "DATABASE",
    "SCHEMA",
    "INDEX",
    "VIEW",
    "USER",
    "ROLE",
    "FUNCTION",
    "PROCEDURE",
    "PROC",
    "TRIGGER",
    "SEQUENCE",
    "TYPE",
    "EXTENSION",
    "LOGIN",
    "UNIQUE",
    "TEMPORARY",
    "TEMP",
    "MATERIALIZED",
    "EVENT",
    "SERVER",
    "POLICY",
    "RULE",
    "OR",
];
/// Functions and procedures that reach files, other servers or the system.
const DANGEROUS: [&str; 59] = [
    "pg_read_file",
    "pg_read_binary_file",
    "pg_ls_dir",
    "pg_stat_file",
    "pg_file_write",
    "pg_logdir_ls",
    "lo_import",
    "lo_export",
    "lo_put",
    "lo_from_bytea",
    "dblink",
    "dblink_exec",
    "dblink_connect",
    "dblink_connect_u",
    "dblink_send_query",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_execute_server_program",
    "pg_sleep",
    "set_config",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "table_to_xml",
    "database_to_xml",
    "schema_to_xml",
    "cursor_to_xml",
    "xmlparse_file",
    "load_file",
    "sys_exec",
    "sys_eval",
    "sys_get",
    "sys_set",
    "load_extension",
    "readfile",
    "writefile",
    "edit",
    "fts3_tokenizer",
    "openrowset",
    "opendatasource",
    "openquery",
    "bulk",
    "xp_cmdshell",
    "xp_regread",
    "xp_regwrite",
    "xp_dirtree",
    "xp_fileexist",
    "xp_servicecontrol",
    "sp_configure",
    "sp_oacreate",
    "sp_oamethod",
    "sp_addextendedproc",
    "sp_execute_external_script",
    "sp_addlinkedserver",
    "sp_add_job",
    "sp_start_job",
    "utl_http",
    "utl_file",
    "dbms_scheduler",
];
/// Words of statements whose strings may be run.
const RUNNERS: [&str; 11] =
    ["EXEC", "EXECUTE", "IMMEDIATE", "PREPARE", "DO", "SP_EXECUTESQL", "SP_PREPEXEC", "DECLARE", "FUNCTION", "PROCEDURE", "OPENQUERY"];
/// All that is looked for among a statement's words.
static TELLING: LazyLock<Words> = LazyLock::new(|| Words::new(ACTS.into_iter().chain(DANGEROUS).chain(RUNNERS)));

/// Of the dangerous ones, procedures: they are called without parentheses.
fn is_procedure(name: &str) -> bool {
    name.starts_with("xp_") || name.starts_with("sp_") || name.starts_with("utl_") || name.starts_with("dbms_")
}

/// The first words of statements, with what they do.
pub(super) fn verb(word: &str) -> Option<&'static str> {
    const VERBS: [(&str, &str); 61] = [
        ("SELECT", "sql:select"),
        ("WITH", ""),
        ("VALUES", "sql:select"),
        ("TABLE", "sql:select"),
        ("FROM", "sql:select"),
        ("INSERT", "sql:write"),
        ("UPDATE", "sql:write"),
        ("DELETE", "sql:write"),
        ("MERGE", "sql:write"),
        ("REPLACE", "sql:write"),
        ("UPSERT", "sql:write"),
        ("TRUNCATE", "sql:write"),
        ("COPY", ""),
        ("LOAD", "sql:file"),
        ("BULK", "sql:write"),
        ("IMPORT", "sql:write"),
        ("CREATE", "sql:ddl"),
        ("ALTER", "sql:ddl"),
        ("DROP", "sql:ddl"),
        ("RENAME", "sql:ddl"),
        ("COMMENT", "sql:ddl"),
        ("REINDEX", "sql:ddl"),
        ("GRANT", "sql:grant"),
        ("REVOKE", "sql:grant"),
        ("DENY", "sql:grant"),
        ("REASSIGN", "sql:grant"),
        ("CALL", "sql:call"),
        ("EXEC", "sql:call"),
        ("EXECUTE", "sql:call"),
        ("DO", "sql:call"),
        ("PREPARE", "sql:call"),
        ("DECLARE", "sql:call"),
        ("BEGIN", "sql:transaction"),
        ("START", "sql:transaction"),
        ("COMMIT", "sql:transaction"),
        ("ROLLBACK", "sql:transaction"),
        ("SAVEPOINT", "sql:transaction"),
        ("RELEASE", "sql:transaction"),
        ("ABORT", "sql:transaction"),
        ("END", "sql:transaction"),
        ("EXPLAIN", "sql:explain"),
        ("DESCRIBE", "sql:explain"),
        ("DESC", "sql:explain"),
        ("SHOW", "sql:explain"),
        ("SET", "sql:admin"),
        ("RESET", "sql:admin"),
        ("PRAGMA", "sql:admin"),
        ("ATTACH", "sql:admin"),
        ("DETACH", "sql:admin"),
        ("VACUUM", "sql:admin"),
        ("ANALYZE", "sql:admin"),
        ("KILL", "sql:admin"),
        ("SHUTDOWN", "sql:admin"),
        ("BACKUP", "sql:admin"),
        ("RESTORE", "sql:admin"),
        ("DBCC", "sql:admin"),
        ("RECONFIGURE", "sql:admin"),
        ("INSTALL", "sql:admin"),
        ("USE", "sql:admin"),
        ("LOCK", "sql:admin"),
        ("HANDLER", "sql:select"),
    ];
    VERBS.iter().find(|(verb, _)| verb.eq_ignore_ascii_case(word)).map(|(_, label)| *label)
}

/// A statement of a reading: the tokens from one `;` to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// What words tell of a statement.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where a further statement may begin although no `;` is before it.
    pub(super) starts: Vec<usize>,
    /// Whether it holds more than its first word says: then one parser's reading is not enough.
    pub(super) is_risky: bool,
    /// Whether strings in it may be run.
    pub(super) runs_strings: bool,
}

/// The statements of a reading, without empty ones.
pub(super) fn statements(reading: &Reading<'_>) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = 0;
    for to in 0..=reading.tokens.len() {
        if to == reading.tokens.len() || reading.mark(to, b';') {
            if to > from {
                spans.push(Span { from, to });
            }
            from = to + 1;
        }
    }
    spans
}

/// The first word that is not a parenthesis.
pub(super) fn first_word(reading: &Reading<'_>, span: Span) -> usize {
    (span.from..span.to).find(|at| !reading.mark(*at, b'(')).unwrap_or(span.from)
}

/// Labels one statement.
pub(super) fn scan(reading: &Reading<'_>, span: Span, found: &mut Found) -> Seen {
    let mut seen = Seen::default();
    let first = first_word(reading, span);
    if reading.tokens[first].kind == What::Word
        && let Some(label) = verb(reading.spelt(first)).filter(|label| !label.is_empty())
        && !is_block(reading, first, span)
    {
        found.add(label);
    }
    let explains_only =
        reading.is_any(first, &["EXPLAIN", "DESCRIBE", "DESC"]) && !(first..span.to).any(|at| reading.is_any(at, &["ANALYZE", "ANALYSE"]));
    let mut depth = 0_usize;
    for at in span.from..span.to {
        match reading.tokens[at].kind {
            What::Mark(b'(') => depth += 1,
            What::Mark(b')') => depth = depth.saturating_sub(1),
            What::Word => {
                seen.runs_strings |= reading.spelt(at).get(..6).is_some_and(|start| start.eq_ignore_ascii_case("dblink"));
                if !TELLING.has(reading.spelt(at)) {
                    continue;
                }
                let acts = !explains_only && act(reading, span, first, at, found);
                if acts && at > first {
                    seen.is_risky = true;
                    if depth == 0 {
                        seen.starts.push(at);
                    }
                }
                dangerous(reading, at, found);
                seen.runs_strings |= reading.is_any(at, &RUNNERS);
            }
            What::Quoted => dangerous(reading, at, found),
            _ => {}
        }
    }
    seen
}

/// `BEGIN` of a block of statements, not of a transaction.
fn is_block(reading: &Reading<'_>, first: usize, span: Span) -> bool {
    const KINDS: [&str; 11] =
        ["TRANSACTION", "TRAN", "WORK", "DEFERRED", "IMMEDIATE", "EXCLUSIVE", "CONCURRENT", "ISOLATION", "READ", "NOT", "DISTRIBUTED"];
    reading.is(first, "BEGIN") && first + 1 < span.to && !reading.is_any(first + 1, &KINDS)
}

/// Labels what the word does if it is a verb in a verb's place, and says whether it is.
fn act(reading: &Reading<'_>, span: Span, first: usize, at: usize, found: &mut Found) -> bool {
    let word = reading.spelt(at);
    let is = |verb: &str| word.eq_ignore_ascii_case(verb);
    if !ACTS.iter().any(|verb| is(verb)) {
        return false;
    }
    let begins = at == first;
    let goes_on = |word: &str| (at + 1..span.to).any(|later| reading.is(later, word));
    let next = at + 1;
    let has_name = next < span.to && reading.is_name(next);
    let is_alias = !begins
        && reading.is(at - 1, "AS")
        && verb(reading.spelt(first)).is_some_and(|does| matches!(does, "sql:select" | "sql:write" | ""));
    let could_begin = begins || !(is_alias || reading.is_any(at - 1, &BEFORE_NO_VERB) || is_inside_expression(reading, at - 1));
    let label = if is("INSERT") && could_begin && has_name && !reading.is(at.wrapping_sub(1), "THEN")
        || is("DELETE") && could_begin && has_name && !reading.is_any(next, &["WHEN", "OUTPUT"])
        || is("UPDATE") && could_begin && (has_name || reading.is(next, "ONLY")) && !reading.is(next, "SET") && goes_on("SET")
        || is("MERGE") && could_begin && has_name && goes_on("USING")
        || is("REPLACE") && (begins || (could_begin && reading.is(next, "INTO")))
    {
        "sql:write"
    } else if is("TRUNCATE") && could_begin && (begins || has_name) {
        found.add("sql:unbounded-write");
        "sql:write"
    } else if is("COPY") && could_begin && (has_name || reading.mark(next, b'(')) {
        if goes_on("PROGRAM") {
            found.add("sql:program");
        }
        let direction = (next..span.to).find(|later| reading.is_any(*later, &["FROM", "TO"]) && !is_within(reading, next, *later));
        match direction.map(|at| (reading.is(at, "FROM"), reading.is(at + 1, "STDIN") || reading.is(at + 1, "STDOUT"))) {
            Some((true, std)) => {
                if !std {
                    found.add("sql:file");
                }
                "sql:write"
            }
            Some((false, false)) => "sql:file",
            _ => return false,
        }
    } else if is("LOAD") && begins && goes_on("INTO") {
        "sql:write"
    } else if is("INTO") {
        return into(reading, first, at, found);
    } else if (is("CREATE") || is("ALTER") || is("DROP")) && could_begin && (begins || reading.is_any(next, &DDL_KINDS)) {
        // A column or a constraint is altered as a part of a table.
        if reading.is(first, "ALTER") && !begins {
            return false;
        }
        "sql:ddl"
    } else if (is("GRANT") || is("REVOKE") || is("DENY")) && could_begin && has_name && (goes_on("TO") || goes_on("FROM")) {
        "sql:grant"
    } else if (is("EXEC") || is("EXECUTE") || is("CALL"))
        && could_begin
        && (begins || has_name || is_string(reading, next) || reading.mark(next, b'('))
    {
        "sql:call"
    } else {
        return false;
    };
    found.add(label);
    true
}

/// `SELECT … INTO`: a table, a file, or a variable.
fn into(reading: &Reading<'_>, first: usize, at: usize, found: &mut Found) -> bool {
    if reading.is_any(at + 1, &["OUTFILE", "DUMPFILE"]) {
        found.add("sql:file");
        return true;
    }
    let of_write = at > first
        && reading.is_any(
            at - 1,
            &["INSERT", "MERGE", "REPLACE", "IGNORE", "UPSERT", "ABORT", "FAIL", "ROLLBACK", "DELAYED", "LOW_PRIORITY", "HIGH_PRIORITY"],
        );
    let of_output = reading.is_any(first, &["FETCH", "LOAD"]);
    if of_write || of_output || reading.spelt(at + 1).starts_with('@') || !reading.is_name(at + 1) {
        return false;
    }
    found.add("sql:write");
    true
}

fn is_string(reading: &Reading<'_>, at: usize) -> bool {
    reading.tokens.get(at).is_some_and(|token| token.kind == What::Text)
}

/// Whether the token before a word makes it an operand.
fn is_inside_expression(reading: &Reading<'_>, before: usize) -> bool {
    matches!(reading.tokens.get(before).map(|token| token.kind), Some(What::Mark(mark)) if b",.=<>+-/%|&^~!:".contains(&mark))
}

/// Whether parentheses are open between two places.
fn is_within(reading: &Reading<'_>, from: usize, at: usize) -> bool {
    let marks = |mark| (from..at).filter(|at| reading.mark(*at, mark)).count();
    marks(b'(') > marks(b')')
}

fn dangerous(reading: &Reading<'_>, at: usize, found: &mut Found) {
    let spelt = reading.content(at);
    let bytes = spelt.as_bytes();
    // Nearly all words end here.
    if bytes.len() < 4 || !b"bcdeflopqrstuwx".contains(&bytes[0].to_ascii_lowercase()) {
        return;
    }
    let Some(name) = DANGEROUS.iter().find(|name| name.eq_ignore_ascii_case(&spelt)) else { return };
    let is_called = reading.mark(at + 1, b'(') || (*name == "bulk" && reading.is(at + 1, "INSERT"));
    if is_called || is_procedure(name) {
        found.add("sql:dangerous-function");
    }
}
