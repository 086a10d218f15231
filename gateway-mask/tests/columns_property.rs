//! Random tables, in each of the forms: exactly the column's cells are found, and what takes their place is read back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod form;

use form::{FORMS, Form, Table};
use gateway_mask::{Cell, Names, cells};
use proptest::prelude::*;

/// Cells with what separators, quotes and markup are made of.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{1,8}",
        2 => "[0-9]{3}-[0-9]{2}-[0-9]{4}",
        1 => Just(String::new()),
        3 => "[a-c0-9 ,;|\"'<>&\\\\_.+-]{0,10}",
        1 => "[a-cé漢字Ж ]{1,6}",
        1 => "[a-c]{1,3}\n[a-c]{1,3}",
    ]
}

fn table() -> impl Strategy<Value = Table> {
    (1_usize..5, 1_usize..6).prop_flat_map(|(columns, rows)| {
        (0..columns, prop::collection::vec(prop::collection::vec(cell(), columns), rows)).prop_map(move |(wanted, rows)| {
            let header = ["id", "name", "city", "note", "zip"].iter().take(columns).map(|name| (*name).to_owned()).collect();
            let mut table = Table { header, rows, wanted };
            table.header[wanted] = "ssn".to_owned();
            table
        })
    })
}

fn check_places(text: &str, found: &[Cell]) {
    let mut at = 0;
    for cell in found {
        assert!(cell.start >= at && cell.start < cell.end && cell.end <= text.len(), "{cell:?} in {text:?}");
        assert!(text.is_char_boundary(cell.start) && text.is_char_boundary(cell.end), "{cell:?} in {text:?}");
        at = cell.end;
    }
}

fn masked(text: &str, found: &[Cell], with: &str) -> String {
    let mut masked = String::new();
    let mut at = 0;
    for cell in found {
        masked.push_str(&text[at..cell.start]);
        masked.push_str(&cell.with(text, with));
        at = cell.end;
    }
    masked + &text[at..]
}

fn check(form: &Form, table: &Table) {
    let Some(table) = (form.fit)(table) else { return };
    let text = (form.write)(&table);
    let names = Names::new(&["ssn"]);
    let found = cells(&text, &names);
    check_places(&text, &found);
    let wanted: Vec<String> = table.rows.iter().map(|row| row[table.wanted].clone()).filter(|value| !value.trim().is_empty()).collect();
    let values: Vec<String> = found.iter().map(|cell| cell.value(&text).into_owned()).collect();
    assert_eq!(values, wanted, "{}:\n{text}", form.name);
    if let Some(read) = form.read {
        for with in ["x", "a|b, \"c'\" <d> & \\e;"] {
            let with = if form.any_value { with } else { "x" };
            let text = masked(&text, &found, with);
            let mut expected = table.clone();
            for row in &mut expected.rows {
                if !row[table.wanted].trim().is_empty() {
                    row[table.wanted] = with.to_owned();
                }
            }
            assert_eq!(read(&text, &table), expected.rows, "{}:\n{text}", form.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_cells_of_the_column_are_found(table in table()) {
        for form in FORMS {
            check(form, &table);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![
        "[ssn:=|,;\t\n \"'<>/+*()\\[\\]{}&#.`\\\\-]{0,80}",
        "(ssn|name|1|[|]|---|[+]|\n| |<td>|</td>|<ssn|\"|'|,|:|=|漢|│|─|┼|row|[*]{3} 1. row [*]{3}|-\\[ RECORD 1 \\]-|\\(|\\)|\\[|\\]){0,40}",
        "\\PC{0,60}",
    ]) {
        let names = Names::new(&["ssn", "name"]);
        check_places(&text, &cells(&text, &names));
        let with = masked(&text, &cells(&text, &names), "a|b\"\n");
        check_places(&with, &cells(&with, &names));
    }

    #[test]
    fn a_table_is_found_between_other_lines(table in table(), before in "[a-z .,]{0,30}", after in "[a-z .,]{0,30}") {
        let form = FORMS.iter().find(|form| form.name == "csv").unwrap();
        let text = format!("{before}\n\n{}\n{after}", (form.write)(&table));
        let names = Names::new(&["ssn"]);
        let wanted = table.rows.iter().filter(|row| !row[table.wanted].trim().is_empty()).count();
        prop_assume!(table.header.len() > 1 && !before.contains("ssn") && !after.contains("ssn"));
        prop_assert_eq!(cells(&text, &names).len(), wanted, "{}", text);
    }
}
