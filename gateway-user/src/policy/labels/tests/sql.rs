use serde_json::json;

use super::{Rule, check, labels, of};

pub(in super::super) const RULES: &[Rule] = &[
    (
        "sql:select",
        &[
            "SELECT 1",
            "(select a from t)",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "VALUES (1)",
            "TABLE t",
            "INSERT INTO t SELECT * FROM s",
            "SELECT TOP 5 [a b] FROM [dbo].[t]",
        ],
        &["INSERT INTO t VALUES (1)", "DELETE FROM t WHERE a = 1", "CREATE TABLE t (a INT)"],
    ),
    (
        "sql:write",
        &[
            "INSERT INTO t VALUES (1)",
            "insert into t (a) values ('x') on conflict (a) do update set a = 'y'",
            "INSERT INTO t SET a = 1",
            "INSERT IGNORE INTO t VALUES (1)",
            "INSERT OR REPLACE INTO t VALUES (1)",
            "INSERT t VALUES (1)",
            "UPDATE t SET a = 1 WHERE b = 2",
            "UPDATE ONLY t SET a = 1 WHERE b = 2",
            "DELETE FROM t WHERE a = 1",
            "DELETE t FROM t JOIN s ON t.id = s.id WHERE s.a = 1",
            "DELETE TOP (5) FROM t WHERE a = 1",
            "REPLACE INTO t VALUES (1)",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE;",
            "TRUNCATE TABLE t",
            "COPY t FROM STDIN",
            "COPY t (a, b) FROM '/tmp/x'",
            "LOAD DATA INFILE '/tmp/x' INTO TABLE t",
            "SELECT * INTO new FROM t",
            "SELECT a INTO TEMP new FROM t WHERE b = 1",
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "WITH x AS (SELECT 1), y AS (UPDATE t SET a = 1 WHERE b = 2 RETURNING a) SELECT * FROM y",
            "WITH x AS (SELECT 1) DELETE FROM t WHERE a IN (SELECT * FROM x)",
            "SELECT 1; DELETE FROM t",
            "SELECT 1 DELETE FROM t",
            "SELECT * FROM a WHERE id = 1 UPDATE t SET a = 1 WHERE b = 2",
            "SELECT 1 INSERT INTO t VALUES (1)",
            "SELECT 1 /*! ; DELETE FROM t */",
            "/*!50001 DELETE FROM t */",
            "/*M!100100 DELETE FROM t */",
            "SELECT '\\'; DELETE FROM t; -- '",
            "SELECT '\\\\'; DELETE FROM t; -- '",
            "SELECT 1 --1; DELETE FROM t\n; DELETE FROM t",
            "SELECT 1 /* /* */ ; DELETE FROM t -- */",
            "SELECT $$ ; DELETE FROM t; -- $$",
            "SELECT '\\''; DELETE FROM t; -- '",
            "SELECT 1 /* /* */ -- */ ; DELETE FROM t",
            "SELECT $$'$$; DELETE FROM t; --'",
            "SELECT 1 # '\n; DELETE FROM t; -- '",
            "SELECT `'`; DELETE FROM t; -- '",
            "SELECT 1 # \n; DELETE FROM t",
            "SELECT a[']; DELETE FROM t; --']",
            "EXPLAIN ANALYZE DELETE FROM t",
            "EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1",
            "EXEC('DELETE FROM t')",
            "EXEC sp_executesql N'UPDATE t SET a = 1'",
            "EXECUTE IMMEDIATE 'DELETE FROM t'",
            "PREPARE p FROM 'DELETE FROM t'",
            "PREPARE p AS DELETE FROM t",
            "DECLARE @s NVARCHAR(99) = N'DELETE FROM t'; EXEC(@s)",
            "DO $$ BEGIN DELETE FROM t; END $$",
            "DO $body$ BEGIN EXECUTE 'DELETE FROM t'; END $body$",
            "BEGIN; DELETE FROM t; COMMIT",
            "BEGIN DELETE FROM t END",
            "IF 1 = 1 DELETE FROM t",
            "\u{feff}DELETE FROM t",
            "\u{200b}DEL\u{200b}ETE FROM t",
            "\0DELETE\0FROM t",
            "\u{ff24}\u{ff25}\u{ff2c}\u{ff25}\u{ff34}\u{ff25} FROM t",
            "SELECT '\u{ff07}; DELETE FROM t --'",
            "DELETE\u{a0}FROM t",
            "/* a */ -- b\n ((DELETE FROM t WHERE a = 1))",
            "dElEtE/**/fRoM/**/t",
            "select 1 where 1::int = 1; delete from t where a = cast('1' as int)",
            "UPDATE t SET a = 1 this is nonsense",
            "SELECT 1;;; DROP; DELETE FROM t",
        ],
        &[
            "SELECT * FROM t",
            "SELECT 'DELETE FROM t'",
            "SELECT \"delete\" FROM t",
            "SELECT 1 -- DELETE FROM t",
            "SELECT 1 /* DELETE FROM t */",
            "SELECT REPLACE(a, 'x', 'y') FROM t",
            "SELECT INSERT(a, 1, 2, 'y') FROM t",
            "SELECT TRUNCATE(1.5, 1)",
            "SELECT * FROM t FOR UPDATE",
            "SELECT a AS update FROM t",
            "SELECT t.delete, update_time FROM t",
            "EXPLAIN DELETE FROM t",
            "GRANT DELETE, UPDATE ON t TO u",
            "CREATE TABLE t (a INT REFERENCES s ON DELETE CASCADE ON UPDATE SET NULL)",
            "SELECT a INTO @x FROM t",
            "COPY t TO STDOUT",
            "SELECT a FROM t INTO OUTFILE '/tmp/x'",
        ],
    ),
    (
        "sql:ddl",
        &[
            "CREATE TABLE t (a INT)",
            "DROP TABLE IF EXISTS t CASCADE",
            "ALTER TABLE t ADD COLUMN a INT",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "SELECT 1; DROP TABLE t",
            "SELECT 1 DROP TABLE t",
            "create unique index i on t (a)",
            "DO $$ BEGIN DROP TABLE t; END $$",
            "ALTER USER u WITH PASSWORD 'x'",
        ],
        &["SELECT 'DROP TABLE t'", "SELECT a AS \"create\" FROM t", "INSERT INTO t VALUES ('x')", "SELECT create_time FROM t"],
    ),
    (
        "sql:unbounded-write",
        &[
            "DELETE FROM t",
            "UPDATE t SET a = 1",
            "TRUNCATE t",
            "TRUNCATE TABLE a.b, c",
            "DELETE FROM t WHERE 1=1",
            "DELETE FROM t WHERE true",
            "DELETE FROM t WHERE 1",
            "DELETE FROM t WHERE '1' = '1'",
            "DELETE FROM t WHERE a = a",
            "DELETE FROM t WHERE a = 5 OR 1 = 1",
            "DELETE FROM t WHERE (NOT (FALSE))",
            "DELETE FROM t WHERE 2 > 1 AND 'a' = 'a'",
            "DELETE FROM t WHERE 1 IN (1, 2)",
            "DELETE FROM t WHERE 1 BETWEEN 0 AND 2",
            "DELETE FROM t WHERE a LIKE '%'",
            "DELETE FROM t WHERE EXISTS (SELECT 1)",
            "DELETE FROM t WHERE 1::boolean",
            "DELETE FROM t WHERE 1 + 1 = 2",
            "DELETE FROM t WHERE a = 1 || 1",
            "DELETE FROM t WHERE 1 IS NOT NULL",
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "WITH x AS (SELECT 1 a) DELETE FROM t",
            "SELECT 1 DELETE FROM t",
            "DELETE FROM t -- WHERE a = 1",
            "DELETE FROM t /* WHERE a = 1 */",
            "EXEC('UPDATE t SET a = 1')",
            "EXPLAIN ANALYZE DELETE FROM t",
            "DELETE FROM t RETURNING nonsense nonsense nonsense",
            "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE; TRUNCATE TABLE a",
        ],
        &[
            "DELETE FROM t WHERE id = 1",
            "UPDATE t SET a = 1 WHERE id = 2",
            "DELETE FROM t WHERE 1 = 2",
            "DELETE FROM t WHERE false",
            "DELETE FROM t WHERE a = 1 AND 1 = 1",
            "DELETE FROM t WHERE a = b",
            "DELETE FROM t WHERE a LIKE 'x%'",
            "DELETE FROM t WHERE a IN (1, 2)",
            "DELETE FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.a = t.a)",
            "INSERT INTO t VALUES (1)",
            "SELECT * FROM t",
            "EXPLAIN DELETE FROM t",
            "SELECT TRUNCATE(1.5, 1)",
        ],
    ),
    (
        "sql:multi",
        &[
            "SELECT 1; SELECT 2",
            "BEGIN; SELECT 1; COMMIT;",
            "SELECT 1 DELETE FROM t",
            "SELECT ';' ; SELECT 2",
            "SELECT '\\'; SELECT 2; -- '",
        ],
        &[
            "SELECT 1",
            "SELECT 1;",
            ";;SELECT ';'; ",
            "SELECT 1 -- ; SELECT 2",
            "WITH x AS (SELECT 1) DELETE FROM t",
            "INSERT INTO t SELECT 1",
        ],
    ),
    (
        "sql:grant",
        &[
            "GRANT ALL ON t TO u",
            "REVOKE SELECT ON t FROM u",
            "DENY SELECT ON t TO u",
            "SELECT 1; GRANT a TO b",
            "SELECT 1 GRANT SELECT ON t TO u",
        ],
        &["SELECT 'GRANT ALL ON t TO u'", "SELECT grants FROM t", "SHOW GRANTS"],
    ),
    (
        "sql:transaction",
        &["BEGIN", "COMMIT", "START TRANSACTION; SELECT 1", "ROLLBACK TO SAVEPOINT a", "BEGIN TRANSACTION"],
        &["SELECT 1", "SELECT 'COMMIT'", "SELECT begin_date FROM t"],
    ),
    (
        "sql:explain",
        &["EXPLAIN SELECT 1", "EXPLAIN (ANALYZE) SELECT 1", "DESCRIBE t", "SHOW TABLES", "EXPLAIN QUERY PLAN SELECT 1"],
        &["SELECT 1", "SELECT 'EXPLAIN'", "SELECT explain FROM t"],
    ),
    (
        "sql:call",
        &["CALL p(1)", "EXEC p 1", "SELECT 1 EXEC p", "PREPARE p AS SELECT 1", "DO $$ BEGIN NULL; END $$"],
        &["SELECT 1", "SELECT 'EXEC p'", "SELECT call_id FROM calls"],
    ),
    (
        "sql:admin",
        &["SET ROLE admin", "PRAGMA writable_schema = 1", "ATTACH DATABASE '/tmp/x' AS y", "VACUUM", "KILL 5", "SELECT 1; SHUTDOWN"],
        &["SELECT 1", "UPDATE t SET a = 1 WHERE b = 2", "SELECT 'PRAGMA'"],
    ),
    (
        "sql:program",
        &[
            "COPY t TO PROGRAM 'curl x'",
            "COPY t FROM PROGRAM 'id'",
            "COPY (SELECT 1) TO PROGRAM 'sh'",
            "select 1; copy t from/**/program 'id'",
        ],
        &["COPY t FROM STDIN", "SELECT program FROM t", "SELECT 'COPY t FROM PROGRAM'"],
    ),
    (
        "sql:file",
        &[
            "SELECT * FROM t INTO OUTFILE '/tmp/x'",
            "SELECT 1 INTO DUMPFILE '/tmp/x'",
            "COPY t TO '/tmp/x'",
            "COPY (SELECT * FROM t) TO '/tmp/x'",
            "COPY t FROM '/etc/passwd'",
            "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
        ],
        &["COPY t TO STDOUT", "SELECT * FROM outfile", "SELECT * INTO t FROM s"],
    ),
    (
        "sql:dangerous-function",
        &[
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT LOAD_FILE('/etc/passwd')",
            "SELECT \"pg_read_file\"('/etc/passwd')",
            "SELECT pg_catalog.pg_ls_dir('/')",
            "EXEC xp_cmdshell 'dir'",
            "xp_cmdshell 'dir'",
            "EXEC master..xp_cmdshell 'dir'",
            "EXEC [master].[dbo].[xp_cmdshell] 'dir'",
            "SELECT lo_import('/etc/passwd')",
            "SELECT * FROM dblink('host=x', 'SELECT 1') AS t(a int)",
            "SELECT load_file /**/ ('/x')",
            "SELECT * FROM OPENROWSET('a', 'b', 'c')",
            "SELECT load_extension('x')",
            "WITH x AS (SELECT pg_sleep(10)) SELECT * FROM x",
        ],
        &["SELECT count(*) FROM t", "SELECT 'pg_read_file(1)'", "SELECT load_file FROM t", "SELECT lower(a) FROM t"],
    ),
    (
        "sql:table:public.patients",
        &[
            "SELECT * FROM public.patients",
            "SELECT * FROM Public.Patients p JOIN x ON x.id = p.id",
            "DELETE FROM \"public\".\"patients\" WHERE id = 1",
            "SELECT (SELECT count(*) FROM public . patients)",
            "INSERT INTO public.patients VALUES (1)",
            "UPDATE public.patients SET a = 1 WHERE id = 1",
            "SELECT * FROM `public`.`patients`",
            "SELECT * FROM [public].[Patients]",
            "TRUNCATE public.patients",
            "DROP TABLE public.patients",
            "ALTER TABLE public.patients ADD a INT",
            "CREATE TABLE public.patients (a INT)",
            "COPY public.patients TO STDOUT",
            "TABLE public.patients",
            "SELECT * FROM public.patients nonsense nonsense nonsense",
            "DO $$ BEGIN DELETE FROM public.patients; END $$",
            "SELECT 1 DELETE FROM public.patients",
            "SELECT * FROM a, public.patients",
            "SELECT * FROM a WHERE EXISTS (SELECT 1 FROM public.patients)",
            "CREATE VIEW v AS SELECT * FROM public.patients",
        ],
        &["SELECT 'public.patients'", "SELECT * FROM patients", "SELECT public.patients FROM t"],
    ),
    (
        "sql:table:users",
        &[
            "SELECT * FROM users",
            "WITH users AS (SELECT * FROM users) SELECT * FROM users",
            "WITH a AS (SELECT 1), users AS (SELECT * FROM users) SELECT * FROM users",
            "SELECT * FROM users UNION (WITH users AS (SELECT 1) SELECT * FROM users)",
            "WITH users AS (SELECT 1) DELETE FROM users",
            "SELECT * FROM app.users",
            "SELECT * FROM (WITH users AS (SELECT 1) SELECT * FROM users) x, users",
        ],
        &[
            "WITH users AS (SELECT 1) SELECT * FROM users",
            "WITH RECURSIVE users AS (SELECT 1 UNION SELECT * FROM users) SELECT * FROM users",
            "SELECT users FROM t",
            "WITH users AS (SELECT 1), b AS (SELECT * FROM users) SELECT * FROM b",
        ],
    ),
    (
        "sql:unparsed",
        &["SELECT the best option", "SELECT FROM WHERE", "DELETE FROM t WHERE ((", "SELECT 'unterminated", "this is no SQL"],
        &[
            "SELECT 1",
            "SELECT [a b] FROM [t]",
            "SELECT `a` FROM `t`",
            "SELECT a::int FROM t",
            "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE;",
            "",
        ],
    ),
];

#[test]
fn each_label_is_on_what_does_it_and_on_nothing_else() {
    check("sql", RULES);
}

#[test]
fn sql_is_found_in_arguments_with_any_name() {
    for name in ["text", "input", "code", "userQuery", "sqlText", "SQL"] {
        let found = labels(name, "DELETE FROM users WHERE id = 1");
        assert_eq!(found.iter().collect::<Vec<_>>(), ["sql:table:users", "sql:write"], "{name}");
    }
    assert!(labels("text", "DELETE FROM users WHERE ((nonsense = ").contains("sql:write"));
    assert!(labels("text", "DELETE FROM users WHERE ((nonsense = ").contains("sql:unparsed"));
    assert!(labels("text", "DELETE FROM users AS the").contains("sql:write"));
    assert!(labels("text", "SELECT the FROM users the").contains("sql:table:users"));
    assert!(of(&json!({"statements": ["SELECT 1", "DROP TABLE t"]})).contains("sql:ddl"));
}

#[test]
fn quoted_names_keep_their_case_and_are_there_without_it_too() {
    let found = labels("sql", "SELECT * FROM \"Patients\"");
    assert!(found.contains("sql:table:Patients") && found.contains("sql:table:patients"));
}

#[test]
fn deep_and_long_texts_are_refused_and_labelled() {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    for text in [
        deep("(", ")", 100_000),
        deep("(", "", 20_000),
        deep("(SELECT ", ")", 20_000),
        deep("NOT ", "", 20_000),
        deep("- ", "", 20_000),
        deep("CASE WHEN ", "", 3_000),
        deep("a[", "]", 3_000),
        deep("f(", ")", 2_000),
        deep("", " + 1", 200_000),
        format!("SELECT * FROM {}", "(".repeat(3_000)),
        format!("SELECT * FROM {}t", "a JOIN ".repeat(2_000)),
        "EXPLAIN ".repeat(3_000),
        "BEGIN ".repeat(3_000),
        "IF 1 = 1 ".repeat(2_000),
    ] {
        assert!(labels("sql", &text).contains("sql:unparsed"), "{}", &text[..60]);
    }
    // A long chain within the limits is parsed, on little stack.
    let chain = deep("", " + 1", 4_000);
    let found = std::thread::Builder::new().stack_size(256 << 10).spawn(move || labels("sql", &chain)).unwrap().join().unwrap();
    assert_eq!(found.iter().collect::<Vec<_>>(), ["sql:select"]);
}

#[test]
fn what_lies_behind_the_limits_is_still_seen_by_its_words() {
    let text = format!("SELECT '{}'; DELETE FROM t", "x".repeat(100_000));
    let found = labels("sql", &text);
    assert!(["sql:write", "sql:unparsed", "sql:unbounded-write", "sql:table:t", "sql:multi"].iter().all(|label| found.contains(label)));
}
