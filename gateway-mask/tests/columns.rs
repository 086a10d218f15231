//! Named columns are found in whatever table a server writes.

mod columns {
    pub(super) mod shapes;
}

use columns::shapes::SHAPES;
use gateway_mask::{Names, cells};

/// The values of the columns `ssn` and `birth_date`, in their order.
fn values(text: &str) -> Vec<String> {
    let names = Names::new(&["ssn", "birth_date"]);
    cells(text, &names).iter().map(|cell| cell.value(text).into_owned()).collect()
}

#[test]
fn the_cells_of_the_column_are_found_in_every_shape() {
    let mut wrong = Vec::new();
    for (shape, text, expected) in SHAPES {
        let found = values(text);
        if found != *expected {
            wrong.push(format!("{shape}:\n{text}\n  wanted {expected:?}\n  found  {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_replacement_leaves_the_table_as_it_was() {
    let mut wrong = Vec::new();
    for (shape, text, expected) in SHAPES.iter().filter(|(_, _, expected)| !expected.is_empty()) {
        let names = Names::new(&["ssn", "birth_date"]);
        let mut masked = String::new();
        let mut at = 0;
        for cell in cells(text, &names) {
            masked.push_str(&text[at..cell.start]);
            masked.push_str(&cell.with(text, "0"));
            at = cell.end;
        }
        masked.push_str(&text[at..]);
        let found = values(&masked);
        if found.len() != expected.len() || found.iter().any(|value| value.trim_matches(['\'', '"']) != "0") {
            wrong.push(format!("{shape}:\n{masked}\n  found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn text_without_the_names_has_no_cells() {
    for text in ["", "\n\n", "name,city\nBob,Paris\n", "{ssnx: 1}", "no table here", "my_ssn: 1\nssn2: 2\nassn=3"] {
        assert_eq!(values(text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(cells("ssn: 1", &Names::default()), []);
}
