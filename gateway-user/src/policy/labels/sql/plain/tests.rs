use proptest::{collection::vec, prelude::*, sample::select};
use sqlparser::keywords::ALL_KEYWORDS;

use super::{
    super::{
        super::{Found, tests::sql::RULES as EXAMPLES},
        lexer, parse, parse_text, scan,
    },
    NAMES, tables,
};

/// How many statements of a text are told by their words; each of them must be told as the parser tells it.
fn told(text: &str) -> usize {
    let mut told = 0;
    for reading in lexer::readings(text) {
        for span in scan::statements(&reading).into_iter().filter(|span| tables(&reading, *span).is_some()) {
            let (mut ours, mut parsers) = (Found::default(), Found::default());
            let alone = reading.without_comments(span.from, span.to);
            assert!(parse_text(&reading, &alone, span.to - span.from, false, &mut parsers), "no parser reads {text:?}");
            assert!(parse(&reading, span, false, &mut ours));
            assert_eq!(ours.finish(false), parsers.finish(false), "{text:?}");
            told += 1;
        }
    }
    told
}

/// With a name in every place.
fn around(name: &str) -> Vec<String> {
    let texts = [
        "SELECT ? FROM t",
        "SELECT ?, a FROM t",
        "SELECT a, ?.b, ?.* FROM t",
        "SELECT a.? FROM t",
        "SELECT a.?, b.?.c FROM t",
        "SELECT a AS ? FROM t",
        "SELECT a ? FROM t",
        "SELECT a ?, b",
        "SELECT 1 AS ?, 'x' ?, f(a) ?",
        "SELECT ?(*) FROM t",
        "SELECT ?(a, 'x', 1), ?() FROM t",
        "SELECT f(?, a), f(t.?)",
        "SELECT DISTINCT ? FROM t",
        "SELECT * FROM ?",
        "SELECT * FROM ?, t",
        "SELECT * FROM ?.t JOIN t.? ON ?.a = t.? WHERE a = 1",
        "SELECT * FROM t ? WHERE a = 1",
        "SELECT * FROM t AS ? LEFT JOIN s ? ON ?.a = s.a",
        "SELECT * FROM t WHERE ? = 1 AND ? < 'x' OR a = ?",
        "SELECT * FROM t WHERE ? IS NULL AND t.? IS NOT NULL",
        "SELECT * FROM t WHERE ? LIKE 'x' AND ? NOT IN (?, 1)",
        "SELECT * FROM t GROUP BY ?, t.? ORDER BY ? DESC, ? LIMIT 5",
    ];
    texts.iter().map(|text| text.replace('?', name)).collect()
}

#[test]
fn plain_selects_need_no_parser() {
    for text in around("patients") {
        assert_eq!(told(&text), 1, "{text}");
    }
    for text in [
        "SELECT patients.a AS c00, patients.b AS c01 FROM patients JOIN visits ON visits.patient = patients.id WHERE patients.id = 4711",
        "select p.id, p.name, count(*) from public.patients p join visits v on v.patient = p.id where v.day > '2026-01-01' group by 1, 2",
        "SELECT * FROM Public.Patients /* all of them */ WHERE day <= '2026-01-01' AND day>='2025' AND a<>b AND c != 1.5 ORDER BY day LIMIT 10",
        "SELECT max(total), lower(status) FROM orders WHERE type = 'x' AND date > '2026-01-01'",
    ] {
        assert_eq!(told(text), 1, "{text}");
    }
    let many = (0..1500).map(|n| format!("t{n}")).collect::<Vec<_>>().join(", ");
    assert_eq!(told(&format!("SELECT {many} FROM {many} WHERE a = 1{}", " AND a = 1".repeat(300))), 1);
}

#[test]
fn what_is_more_than_a_plain_select_is_the_parsers() {
    for text in [
        "SELECT 1.",
        "SELECT .5",
        "SELECT a. b",
        "SELECT 1a",
        "SELECT 'it''s'",
        "SELECT N'x'",
        "SELECT 'x' 'y'",
        "SELECT 'unterminated",
        "SELECT 'unterminated''",
        "SELECT date '2026-01-01'",
        "SELECT \"a\"",
        "SELECT @a",
        "SELECT a INTO b",
        "SELECT a FROM (SELECT 1)",
        "SELECT a FROM f(1)",
        "SELECT a FROM t UNION SELECT 1",
        "SELECT a FROM t WHERE a < = 1",
        "SELECT a FROM t JOIN s",
        "SELECT ä",
        "WITH x AS (SELECT 1) SELECT a FROM x",
    ] {
        assert_eq!(told(text), 0, "{text}");
    }
}

#[test]
fn each_keyword_in_each_place_is_told_as_the_parser_does() {
    for word in ALL_KEYWORDS {
        for text in around(word).iter().chain(&around(&word.to_lowercase())) {
            told(text);
        }
    }
    for name in NAMES {
        for text in around(name) {
            assert_eq!(told(&text), 1, "{text}");
        }
    }
}

#[test]
fn each_example_is_told_as_the_parser_does() {
    for (_, matches, misses) in EXAMPLES {
        for text in matches.iter().chain(*misses) {
            told(text);
        }
    }
}

const WORDS: [&str; 24] = [
    "a", "t", "_x", "Patients", "c00", "xml", "_utf8", "n", "e", "x", "count", "a.b", "t.a.b", "a.select", "name", "type", "date", "1",
    "4711", "1.5", "'x'", "''", "NULL", "true",
];
const REST: [&str; 44] = [
    "SELECT", "DISTINCT", "FROM", "JOIN", "LEFT", "OUTER", "INNER", "ON", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "GROUP",
    "ORDER", "BY", "DESC", "LIMIT", "OFFSET", "AS", ",", ".", "*", "(", ")", "=", "<", ">", "<>", "!=", "<=", ">=", "!", "-", "+", ":",
    "||", "'", "INTO", "UNION", "@",
];

/// A statement of the grammar, in pieces.
fn plain() -> impl Strategy<Value = Vec<String>> {
    let word = || prop_oneof![4 => select(WORDS.to_vec()), 1 => select(NAMES.to_vec())].prop_map(str::to_owned);
    let call = move || (word(), vec(word(), 0..3)).prop_map(|(name, of)| format!("{name} ( {} )", of.join(" , ")));
    let value = move || prop_oneof![5 => word(), 1 => call(), 1 => Just("count(*)".to_owned())];
    let named = |of: BoxedStrategy<String>| (of, select(vec!["", "", "AS a", "b"])).prop_map(|(of, alias)| format!("{of} {alias}"));
    let item = move || prop_oneof![6 => named(value().boxed()), 1 => Just("*".to_owned()), 1 => Just("t.*".to_owned())];
    let test = move || {
        (
            value(),
            select(vec!["=", "<", ">=", "<>", "!=", "is null", "IS NOT NULL", "LIKE 'x%'", "in ( 1 , a )", "NOT IN ( 'x' )"]),
            value(),
        )
            .prop_map(
                |(left, relation, right)| {
                    if relation.len() > 2 { format!("{left} {relation}") } else { format!("{left} {relation} {right}") }
                },
            )
    };
    let tests = move || {
        vec((test(), select(vec!["AND", "or"])), 0..3).prop_flat_map(move |more| {
            test().prop_map(move |first| more.iter().fold(first, |all, (test, glue)| format!("{all} {glue} {test}")))
        })
    };
    let joins = (select(vec!["JOIN", "left join", "INNER JOIN", "FULL OUTER JOIN", ","]), named(word().boxed()), tests())
        .prop_map(|(kind, table, on)| if kind == "," { format!(", {table}") } else { format!("{kind} {table} ON {on}") });
    let end = select(vec!["", "", "GROUP BY a , 2", "ORDER BY a DESC , t.b", "ORDER BY a LIMIT 10 OFFSET 5", "LIMIT 3", "LIMIT a"]);
    (vec(item(), 1..4), prop::option::of((named(word().boxed()), vec(joins, 0..3))), prop::option::of(tests()), end).prop_map(
        |(items, from, tests, end)| {
            let mut text = format!("SELECT {}", items.join(" , "));
            if let Some((table, joins)) = from {
                text = format!("{text} FROM {table} {}", joins.join(" "));
            }
            if let Some(tests) = tests {
                text = format!("{text} WHERE {tests}");
            }
            format!("{text} {end}").split_whitespace().map(str::to_owned).collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_by_words_is_what_the_parser_tells(
        mut pieces in plain(),
        changes in vec((any::<prop::sample::Index>(), 0..4_u8, 0..1000_usize), 0..3),
        glue in vec(select(vec![" ", " ", " ", "", "\n", "/**/"]), 64),
    ) {
        for (place, how, with) in changes {
            let word = if with < 500 { REST[with % REST.len()] } else { ALL_KEYWORDS[with * 7919 % ALL_KEYWORDS.len()] };
            let place = place.index(pieces.len());
            match how {
                0 if pieces.len() > 1 => drop(pieces.remove(place)),
                1 => pieces[place] = word.to_owned(),
                _ => pieces.insert(place, word.to_owned()),
            }
        }
        let mut text = String::new();
        for (place, piece) in pieces.iter().enumerate() {
            // Words that would grow together are told apart.
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let glue = glue[place % glue.len()];
            let apart = glue.is_empty() && text.ends_with(is_word) && piece.starts_with(is_word);
            text.push_str(if apart { " " } else { glue });
            text.push_str(piece);
        }
        told(&text);
        told(&pieces.join(" "));
    }

    #[test]
    fn pieces_in_any_order_are_told_as_the_parser_does(pieces in vec(prop_oneof![select(WORDS.to_vec()), select(REST.to_vec())], 0..12)) {
        told(&format!("SELECT {}", pieces.join(" ")));
        told(&format!("SELECT {}", pieces.concat()));
    }
}
