use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::{labels, of};

const STATEMENTS: [&str; 16] = [
    "SELECT a , b FROM t WHERE a = 1",
    "SELECT * FROM t JOIN s ON t . id = s . id ORDER BY a",
    "SELECT count ( * ) FROM ( SELECT 1 ) x",
    "INSERT INTO t ( a ) VALUES ( 'x' )",
    "INSERT INTO t SELECT * FROM s",
    "UPDATE t SET a = 1 WHERE b = 2",
    "UPDATE t SET a = 1",
    "DELETE FROM t WHERE a = 1",
    "DELETE FROM t",
    "DELETE FROM t WHERE 1 = 1",
    "CREATE TABLE t ( a INT )",
    "DROP TABLE t",
    "TRUNCATE TABLE t",
    "WITH x AS ( DELETE FROM t RETURNING * ) SELECT * FROM x",
    "GRANT SELECT ON t TO u",
    "MERGE INTO t USING s ON t . a = s . a WHEN MATCHED THEN DELETE",
];
const BETWEEN: [&str; 7] = [" ", "\n", "\t  ", " /* c */ ", "/**/", " -- c\n", " /* ; DELETE */ "];
const PIECES: [&str; 60] = [
    "SELECT", "DELETE", "FROM", "t", "UPDATE", "SET", "=", "1", "'", "\"", "`", "[", "]", "(", ")", "/*", "*/", "/*!", "--", "#", "$$",
    "$a$", ";", "\\", "WITH", "AS", "INTO", "EXEC", "N'", "E'", "DO", "BEGIN", "END", "rm", "-rf", "/", "|", "||", "&", "&&", "sh", "-c",
    "$(", "${", "}", "{", "<<E", "<(", ">", "\n", "eval", "sudo", "xargs", "..", "%2e", "http://", "@", "\u{feff}", "\u{ff07}", "ä",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(text in any::<String>(), name in select(vec!["sql", "command", "text", "args"])) {
        labels(name, &text);
        of(&json!({ name: [text.clone(), text] }));
    }

    #[test]
    fn nothing_panics_on_what_looks_like_something(pieces in vec(select(PIECES.to_vec()), 0..40), glue in select(vec!["", " "]), name in select(vec!["sql", "command", "text", "args"])) {
        let text = pieces.join(glue);
        labels(name, &text);
        of(&json!({ name: pieces }));
    }

    #[test]
    fn any_bytes_are_arguments(bytes in vec(any::<u8>(), 0..200)) {
        let arguments = crate::policy::Arguments::read(&bytes);
        prop_assert!(super::Labeller::default().labels("t", &arguments).iter().count() <= 1025);
    }

    #[test]
    fn comments_white_space_and_case_change_no_label(at in 0..STATEMENTS.len(), between in vec(select(BETWEEN.to_vec()), 32), lower in any::<u32>(), around in select(vec!["", " ", "/* c */", "-- c\n"])) {
        let statement = STATEMENTS[at];
        let mut text = around.to_owned();
        for (n, token) in statement.split(' ').enumerate() {
            let is_name = token.starts_with('\'');
            text.push_str(if n == 0 { "" } else { between[n % 32] });
            text.push_str(&if lower >> (n % 32) & 1 == 1 && !is_name { token.to_lowercase() } else { token.to_owned() });
        }
        let sql = |text: &str| labels("sql", text).iter().filter(|label| label.starts_with("sql:")).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(sql(&text), sql(statement), "{}", text);
    }

    #[test]
    fn a_select_before_a_write_hides_nothing(select_at in 0..3_usize, write in 3..10_usize, glue in select(vec!["; ", ";", " ; -- c\n", ";\n/* c */", " "])) {
        let text = format!("{}{glue}{}", STATEMENTS[select_at], STATEMENTS[write]);
        let found = labels("sql", &text);
        prop_assert!(found.contains("sql:write"), "{}: {:?}", text, found);
        let alone = labels("sql", STATEMENTS[write]);
        prop_assert!(alone.iter().all(|label| found.contains(label)), "{}: {:?} {:?}", text, found, alone);
    }

    #[test]
    fn what_a_shell_quotes_it_still_runs(flags in select(vec!["-rf", "-r", "-fr", "--recursive"]), quote in select(vec!["", "'", "\""]), before in select(vec!["", "sudo ", "env A=1 ", "nohup ", "a; ", "a && ", "a | xargs ", "timeout 5 "])) {
        let text = format!("{before}{quote}rm{quote} {quote}{flags}{quote} /x");
        prop_assert!(labels("command", &text).contains("shell:recursive-delete"), "{}", text);
    }
}
