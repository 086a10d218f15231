//! What is behind `FROM`.

use sqlparser::ast::{TableAlias, TableFactor, TableWithJoins, Visit};

use super::{
    super::relation::{Column, Columns, Relation, Rest, last},
    Follow,
};

impl Follow<'_> {
    /// Brings tables into the innermost scope, one by one: what is lateral sees those before.
    pub(super) fn from(&mut self, from: &[TableWithJoins]) {
        for table in from {
            self.joined(table);
        }
    }

    pub(super) fn joined(&mut self, table: &TableWithJoins) {
        self.factor(&table.relation);
        for join in &table.joins {
            self.factor(&join.relation);
        }
    }

    pub(super) fn factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => match args {
                Some(args) => self.function(&args.args, last(name), alias.as_ref()),
                None => {
                    let own = last(name).unwrap_or_default();
                    // Only a name by itself can be a common table expression's.
                    let columns = if name.0.len() == 1 { self.table(own) } else { Columns::own() };
                    let mut relation = Relation::new(columns, alias.as_ref());
                    relation.name.get_or_insert_with(|| own.to_owned());
                    self.scope().push(relation);
                }
            },
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.query(subquery);
                self.scope().push(Relation::new(columns, alias.as_ref()));
            }
            TableFactor::Function { name, args, alias, .. } => self.function(args, last(name), alias.as_ref()),
            TableFactor::TableFunction { expr, alias } => self.function(expr, None, alias.as_ref()),
            TableFactor::UNNEST { array_exprs, alias, .. } => self.function(array_exprs, Some("unnest"), alias.as_ref()),
            TableFactor::JsonTable { json_expr, alias, .. } | TableFactor::OpenJsonTable { json_expr, alias, .. } => {
                self.function(json_expr, None, alias.as_ref());
            }
            TableFactor::XmlTable { row_expression, passing, alias, .. } => {
                let carries = self.reads(row_expression) || self.reads(passing);
                self.rows(carries, None, alias.as_ref());
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let before = self.scope().len();
                self.joined(table_with_joins);
                if alias.is_some() {
                    let inner = self.scope().split_off(before);
                    let mut columns = Columns::default();
                    inner.iter().for_each(|relation| columns.extend(&relation.columns));
                    self.scope().push(Relation::new(columns, alias.as_ref()));
                }
            }
            TableFactor::Pivot { alias, .. } | TableFactor::Unpivot { alias, .. } => {
                self.give_up("the SQL turns rows into columns (PIVOT, UNPIVOT), which is not followed");
                self.scope().push(Relation::new(Columns::own(), alias.as_ref()));
            }
            TableFactor::MatchRecognize { alias, .. } | TableFactor::SemanticView { alias, .. } => {
                self.give_up("the SQL reads a table in a way that is not followed");
                self.scope().push(Relation::new(Columns::own(), alias.as_ref()));
            }
            TableFactor::UnpivotExpr { .. } => self.give_up("the SQL turns rows into columns (UNPIVOT), which is not followed"),
        }
    }

    /// A function that gives rows.
    fn function(&mut self, args: &impl Visit, name: Option<&str>, alias: Option<&TableAlias>) {
        let carries = self.reads(args);
        self.rows(carries, name, alias);
    }

    fn rows(&mut self, carries: bool, name: Option<&str>, alias: Option<&TableAlias>) {
        let own = alias.map(|alias| alias.name.value.as_str()).or(name);
        let mut known: Vec<Column> = alias
            .iter()
            .flat_map(|alias| &alias.columns)
            .map(|column| Column { names: vec![column.name.value.clone()], carries })
            .collect();
        let is_named = !known.is_empty();
        if !is_named {
            // A function that gives one column calls it as itself.
            known.extend(own.map(|own| Column { names: vec![own.to_owned()], carries }));
        }
        let is_one = is_named
            || name.is_some_and(|name| {
                ["unnest", "regexp_split_to_table", "string_to_table"].iter().any(|one| name.eq_ignore_ascii_case(one))
            });
        let rest = match (carries, is_one) {
            (true, false) => Rest::Any,
            (true, true) => Rest::None,
            // What it gives is called as it likes.
            (false, _) => Rest::Own,
        };
        self.scope().push(Relation { name: own.map(str::to_owned), columns: Columns { known, rest } });
    }
}
