//! What queries call the columns of their results.

use gateway_mask::{Names, Renamed, renamed};

fn read(sql: &str) -> Renamed {
    renamed(sql, &Names::new(&["ssn"]))
}

/// The names, for queries that are followed.
fn follow(sql: &str) -> Vec<String> {
    let renamed = read(sql);
    assert_eq!(renamed.unfollowed, None, "{sql}");
    renamed.names
}

/// Each query, and names that its result's columns must have among those that are given; none where none is given.
const FOLLOWED: &[(&str, &[&str])] = &[
    // Its own name: nothing more to look for.
    ("select ssn from patients", &[]),
    ("select p.ssn, p.name from patients p", &[]),
    ("select * from patients", &[]),
    ("select p.* from patients p", &[]),
    ("select name as n from patients where ssn = '1'", &[]),
    ("select 1 as one, now() as t", &[]),
    ("select count(ssn) as n from patients", &[]),
    ("select count(*) as n from patients p", &[]),
    ("select exists (select 1 from p where ssn = '1') as known", &[]),
    ("select name from p order by ssn", &[]),
    // Aliases.
    ("select ssn as x from patients", &["x"]),
    ("select ssn x from patients", &["x"]),
    ("select p.ssn AS \"X\" from patients p", &["X"]),
    ("select \"p\".\"ssn\" as y from patients as \"p\"", &["y"]),
    ("select db.patients.ssn as y from db.patients", &["y"]),
    ("SELECT SSN AS Y FROM PATIENTS", &["Y"]),
    ("select `ssn` as `my x` from `patients`", &["my x"]),
    ("select [ssn] as [my x] from [patients]", &["my x"]),
    ("select top 5 ssn as x from patients", &["x"]),
    ("select x = ssn from patients", &["x"]),
    ("select distinct on (ssn) ssn as x from patients", &["x"]),
    ("select name, ssn as x, ssn as z from patients", &["x", "z"]),
    // Expressions.
    ("select substr(ssn, 1, 3) as y from p", &["y"]),
    ("select coalesce(ssn, '') as y from p", &["y"]),
    ("select ssn || '' as y from p", &["y"]),
    ("select 'a' + ssn as y from p", &["y"]),
    ("select cast(ssn as text) as y from p", &["y"]),
    ("select ssn::text as y from p", &["y"]),
    ("select case when ssn = '1' then 'a' else 'b' end as y from p", &["y"]),
    ("select max(ssn) as y from p group by name", &["y"]),
    ("select string_agg(ssn, ',') as y from p", &["y"]),
    ("select group_concat(ssn separator ';') as y from p", &["y"]),
    ("select lag(ssn) over (order by id) as y from p", &["y"]),
    ("select first_value(ssn) over w as y from p window w as (order by id)", &["y"]),
    ("select json_build_object('a', ssn) as y from p", &["y"]),
    ("select row_to_json(p) as y from patients p", &["y"]),
    ("select to_jsonb(p.*) as y from patients p", &["y"]),
    ("select json_object('a', ssn) as y from p", &["y"]),
    ("select array_agg(ssn) as y from p", &["y"]),
    ("select array[ssn, name] as y from p", &["y"]),
    ("select concat(name, ' ', ssn) as y from p", &["y"]),
    ("select (select ssn from p limit 1) as y", &["y"]),
    ("select array(select ssn from p) as y", &["y"]),
    // Expressions without a name.
    ("select substr(ssn, 1, 3) from p", &["substr", "substr(ssn, 1, 3)"]),
    ("select SUBSTR(ssn,1,3) from p", &["substr", "SUBSTR(ssn,1,3)"]),
    ("select ssn || '' from p", &["?column?", "ssn || ''"]),
    ("select ssn||'-'  ||  name from p", &["?column?", "ssn||'-'  ||  name"]),
    ("select max(ssn), min(name) from p", &["max", "max(ssn)"]),
    ("select upper( ssn ) from p", &["upper", "upper( ssn )"]),
    ("select '1'::text || ssn, ssn::int from p", &["?column?"]),
    ("select cast(upper(ssn) as char(9)) from p", &["upper", "cast(upper(ssn) as char(9))"]),
    ("select case when true then 'a' else ssn end from p", &["case when true then 'a' else ssn end"]),
    ("select case when ssn = '1' then 'a' end from p", &["case"]),
    ("select trim(ssn) from p", &["btrim", "trim(ssn)"]),
    ("select (select max(ssn) from p)", &["max"]),
    ("select array[ssn] from p", &["array"]),
    ("select substring(ssn from 1 for 3) from p", &["substring", "substring(ssn from 1 for 3)"]),
    // Tables within.
    ("select x from (select ssn as x from p) t", &["x"]),
    ("select t.x as y from (select ssn as x from p) t", &["y"]),
    ("select t.* from (select ssn as x, name from p) t", &["x"]),
    ("select * from (select ssn as x, name from p) t", &["x"]),
    ("select * from (select ssn, name from p) as t(a, b)", &["a"]),
    ("select b from (select ssn, name from p) as t(a, b)", &[]),
    ("select upper(x) as z from (select ssn as x from p) t", &["z"]),
    ("select substr from (select substr(ssn, 1, 3) from p) t", &["substr"]),
    ("select q.* from (select t.* from (select ssn as x from p) t) q", &["x"]),
    // Common table expressions.
    ("with t as (select ssn as x from p) select x from t", &["x"]),
    ("with t(a) as (select ssn from p) select a from t", &["a"]),
    ("with t(a, b) as (select name, ssn from p) select a, b as c from t", &["c"]),
    ("with t as (select * from p), u as (select ssn as x from t) select * from u", &["x"]),
    ("with recursive t(a, n) as (select ssn, 1 from p union all select a, n + 1 from t where n < 3) select * from t", &["a"]),
    ("with recursive t(a, b) as (select name, ssn from p union all select b, a from t) select a, b from t", &["a", "b"]),
    (
        "with recursive t as (select id, boss, ssn as x from p union all select p.id, p.boss, t.x from p join t on p.boss = t.id) select x from t",
        &["x"],
    ),
    ("with p as (select name as ssn2, ssn as x from patients) select p.x from p", &["x"]),
    // Unions go by position.
    ("select name as a from p union select ssn from q", &["a"]),
    ("select name as a, id as b from p union all select 'x', ssn from q", &["b"]),
    ("(select name as a from p) union (select ssn from q)", &["a"]),
    ("select name as a from p except select ssn from q", &[]),
    ("select * from p union all select * from q", &[]),
    // Lists of values and columns.
    ("select * from (values (1, 'a')) as t(a, b)", &[]),
    ("select * from (values ((select ssn from p), 'a')) as t(a, b)", &["a"]),
    ("select a from patients as p(a, b)", &["a"]),
    // Rows as wholes.
    ("select p from patients p", &["p"]),
    ("select (p).ssn as y from patients p", &["y"]),
    ("select row_to_json(p) from patients p", &["row_to_json"]),
    ("select json_agg(t) from (select ssn as x from p) t", &["json_agg"]),
    ("select json_agg(t) from (select name as x from p) t", &[]),
    // Joins.
    ("select o.id, l.x from orders o, lateral (select ssn as x from p where p.id = o.id) l", &["x"]),
    ("select l.x from orders o left join lateral (select o.ssn as x) l on true", &["x"]),
    ("select l.y from (select ssn as x from p) o cross apply (select o.x as y) l", &["y"]),
    ("select a.x, b.x as z from (select ssn as x from p) a join (select name as x from p) b on true", &["x"]),
    ("select u.x from p, unnest(array[p.ssn]) as u(x)", &["x"]),
    ("select u from p, unnest(array[p.ssn]) as u", &["u"]),
    // Statements that change rows.
    ("insert into p (ssn, name) values ('1', 'a') returning ssn as x", &["x"]),
    ("update p set name = 'a' where id = 1 returning p.ssn as x, name", &["x"]),
    ("delete from p where id = 1 returning upper(ssn)", &["upper"]),
    ("delete from p output deleted.ssn as x where id = 1", &["x"]),
    ("with d as (delete from p returning ssn as x) select * from d", &["x"]),
    // Several statements.
    ("select 1; select ssn as x from p;", &["x"]),
    ("create temp table t as select ssn as x from p; select x as y from t", &["y"]),
    ("select ssn as x into #t from p; select x from #t", &["x"]),
    ("create view v(a) as select ssn from p; select a from v", &["a"]),
    // Placeholders.
    ("select ssn as x from p where id = ? and a = $1 and b = :b", &["x"]),
    ("select ssn as x from p where id = %s and n = %(name)s", &["x"]),
    // Comments, and what is read before.
    ("/* hello */ -- there\n select ssn as x from p", &["x"]),
    ("explain select ssn as x from p", &[]),
    ("select ssn /* the number */ as x from p -- all", &["x"]),
];

#[test]
fn renamed_columns_are_followed() {
    let mut wrong = Vec::new();
    for (sql, expected) in FOLLOWED {
        let read = read(sql);
        let has_all = expected.iter().all(|name| read.names.iter().any(|found| found == name));
        if read.unfollowed.is_some() || !has_all || (expected.is_empty() && !read.names.is_empty()) {
            wrong.push(format!("{sql}\n  wanted {expected:?}, found {read:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(FOLLOWED.len() >= 60);
}

#[test]
fn columns_that_carry_nothing_are_not_named() {
    for (sql, expected) in [
        ("select name as n, ssn as x, city as c from p", vec!["x"]),
        ("select t.b, t.a from (select ssn as a, name as b from p) t", vec!["a"]),
        ("select name as a, 2 as b from p union all select ssn, 3 from q", vec!["a"]),
        ("with t(a, b) as (select name, ssn from p) select * from t", vec!["b"]),
        ("select count(ssn) as n, max(ssn) as m, rank() over (order by id) as r from p", vec!["m"]),
        ("select o.status as s, (select p.ssn from p where p.id = o.id) as x from orders o", vec!["x"]),
    ] {
        assert_eq!(follow(sql), expected, "{sql}");
    }
}

#[test]
fn every_spelling_of_the_column_is_followed() {
    let names = Names::new(&["birth_date", "SSN"]);
    for (sql, expected) in [
        ("select \"birthDate\" as b from p", vec!["b"]),
        ("select p.BIRTH_DATE as b, ssn as s from p", vec!["b", "s"]),
        ("select birthdate b from p", vec!["b"]),
        ("select birth as b from p", vec![]),
    ] {
        assert_eq!(renamed(sql, &names).names, expected, "{sql}");
    }
}

#[test]
fn what_cannot_be_followed_says_why() {
    for sql in [
        "execute get_patients(1)",
        "exec sp_executesql N'select ssn as x from p'",
        "EXEC get_patients @id = 1",
        "call get_patients(1)",
        "prepare q as select ssn as x from p; execute q",
        "select * from (select id, kind, ssn from p) t pivot (max(ssn) for kind in ([a], [b])) as q",
        "select id, v from p unpivot (v for k in (ssn, name)) as u",
        "fetch all from c",
        "copy (select ssn from p) to stdout",
        "copy p to stdout",
        "select ssn as x form p where (",
        "select id, name from x union select * from patients",
        "select * from json_each((select row_to_json(p) from patients p limit 1))",
        "insert into notes (body) select ssn from p",
        "update p set note = ssn where id = 1",
        "set @x = (select ssn from p limit 1)",
        "select @x := ssn from p",
        "select ssn into @x from p",
        "select @x = ssn from p",
    ] {
        let read = read(sql);
        let why = read.unfollowed.unwrap_or_default();
        assert!(!why.is_empty(), "{sql}: {:?}", read.names);
    }
}

#[test]
fn what_is_no_sql_gives_nothing() {
    for text in [
        "",
        "   ",
        "ssn",
        "What is the ssn of Bob?",
        "Please select the ssn from the list",
        "Select the patients that have an ssn, please.",
        "Update the notes of the patient",
        "Show me the ssn.",
        "Do not show the ssn to anyone",
        "{\"ssn\": \"123\"}",
        "With kind regards, Bob",
        "Delete old entries",
    ] {
        let read = read(text);
        assert_eq!(read.unfollowed, None, "{text}");
    }
    assert_eq!(renamed("select ssn as x from p", &Names::default()), Renamed::default());
}

#[test]
fn deep_nesting_is_refused_rather_than_followed() {
    for sql in [
        format!("select {}ssn{} as x from p", "(".repeat(4000), ")".repeat(4000)),
        format!("{}select ssn as x from p{}", "select * from (".repeat(400), ") t".repeat(400)),
        format!("select {}ssn{} as x", "coalesce(".repeat(1000), ")".repeat(1000)),
        format!("select ssn as x from p where {}true", "not ".repeat(3500)),
        format!("select ssn as x from p {}", "join q on true ".repeat(80)),
        format!("select '{}' as x, ssn as y from p", "a".repeat(70 << 10)),
    ] {
        let read = read(&sql);
        assert!(read.unfollowed.is_some(), "{}", &sql[..40]);
    }
}

#[test]
fn long_chains_do_not_overflow_the_stack() {
    let chain = vec!["ssn"; 2000].join("||");
    assert_eq!(follow(&format!("select {chain} as x from p")), ["x"]);
    let union = vec!["select ssn as x from p"; 400].join(" union all ");
    assert_eq!(follow(&union), ["x"]);
}

#[test]
fn recursive_queries_in_each_other_end() {
    let mut sql = "select a from t0".to_owned();
    for depth in 0..12 {
        sql = format!(
            "with recursive t{depth}(a) as (select ssn from p union all select a from t{depth} where a in ({sql})) select a from t{depth}"
        );
    }
    let read = read(&sql);
    assert!(read.unfollowed.is_some() || read.names == ["a"], "{read:?}");
}

#[test]
fn nothing_makes_it_panic() {
    for sql in [
        "select",
        "select ;",
        "with",
        "with x",
        "select 'a",
        "select \"a",
        "select /* a",
        "values",
        "values ()",
        "insert into",
        "select ssn from",
        "((((",
        "select *.* from p",
        "select @",
        "exec",
        "select\u{0}ssn",
        "select ssn as \u{1f4a3} from p",
        "table p",
        "with recursive t as (select * from t) select * from t",
    ] {
        for cut in sql.char_indices().map(|(at, _)| at) {
            let _ = read(&sql[..cut]);
            let _ = read(&sql[cut..]);
        }
    }
}
