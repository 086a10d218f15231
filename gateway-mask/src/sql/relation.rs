//! Tables as a query sees them.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, TableAlias};

/// A column of a table or of a result.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Column {
    /// What it may be called: servers differ for expressions without a name.
    pub(super) names: Vec<String>,
    /// Whether it carries the value of a wanted column.
    pub(super) carries: bool,
}

/// Columns that are not known one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Rest {
    /// There are none.
    #[default]
    None,
    /// Those of a table, under their own names.
    Own,
    /// They may carry anything.
    Any,
}

/// What a query gives, or a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Columns {
    pub(super) known: Vec<Column>,
    pub(super) rest: Rest,
}

impl Columns {
    /// A table of which nothing is known.
    pub(super) fn own() -> Columns {
        Columns { known: Vec::new(), rest: Rest::Own }
    }

    /// Whether something in it may be a wanted column's value.
    pub(super) fn may_carry(&self) -> bool {
        self.rest != Rest::None || self.known.iter().any(|column| column.carries)
    }

    pub(super) fn extend(&mut self, other: &Columns) {
        self.known.extend(other.known.iter().cloned());
        self.rest = self.rest.max(other.rest);
    }

    /// Calls the columns otherwise, from the first on.
    pub(super) fn rename<'a>(&mut self, names: impl Iterator<Item = &'a Ident>) {
        for (at, name) in names.enumerate() {
            let names = vec![name.value.clone()];
            match self.known.get_mut(at) {
                Some(column) => column.names = names,
                // Which of a table's columns this is cannot be told.
                None if self.rest != Rest::None => self.known.push(Column { names, carries: true }),
                None => {}
            }
        }
    }
}

/// A table in a `FROM`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Relation {
    pub(super) name: Option<String>,
    pub(super) columns: Columns,
}

impl Relation {
    pub(super) fn new(columns: Columns, alias: Option<&TableAlias>) -> Relation {
        let mut relation = Relation { name: alias.map(|alias| alias.name.value.clone()), columns };
        if let Some(alias) = alias {
            relation.columns.rename(alias.columns.iter().map(|column| &column.name));
        }
        relation
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| same(own, name))
    }

    /// Whether it has a column of this name, and whether that carries anything.
    pub(super) fn column(&self, name: &str) -> Option<bool> {
        let mut columns = self.columns.known.iter().filter(|column| column.names.iter().any(|own| same(own, name))).peekable();
        columns.peek()?;
        Some(columns.any(|column| column.carries))
    }
}

/// Servers differ in whether case counts: here it never does.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

/// The last part of a name.
pub(super) fn last(name: &ObjectName) -> Option<&str> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(&ident.value),
        ObjectNamePart::Function(function) => Some(&function.name.value),
    }
}
