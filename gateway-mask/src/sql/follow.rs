//! Follows columns from tables through queries to the result.

mod from;
mod statement;

use std::collections::{BTreeSet, HashMap};

use sqlparser::ast::{
    Expr, Query, RenameSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, TableAlias,
    WildcardAdditionalOptions, With,
};

use super::Positions;
use super::relation::{Column, Columns, Relation, Rest, last, same};
use crate::Names;

/// How many queries are looked at before it is given up: recursive ones are looked at more than once.
const QUERIES: usize = 2000;
/// How often a recursive query is looked at.
const ROUNDS: usize = 8;

/// Where columns come from, statement by statement.
pub(super) struct Follow<'n> {
    pub(super) names: &'n Names,
    /// The items of select lists, as they are spelt.
    pub(super) items: HashMap<String, String>,
    /// The tables that can be named, of the innermost query last.
    pub(super) scopes: Vec<Vec<Relation>>,
    /// Common table expressions, the nearest last.
    tables: Vec<(String, Columns)>,
    /// Tables and views that statements before made.
    made: Vec<(String, Columns)>,
    queries: usize,
    /// Names of result columns that carry a wanted column's value.
    pub(super) found: BTreeSet<String>,
    /// Whether a column of a result surely does.
    pub(super) carries: bool,
    /// Where in a row such columns stand.
    pub(super) positions: BTreeSet<Positions>,
    pub(super) unfollowed: Option<String>,
}

impl<'n> Follow<'n> {
    pub(super) fn new(names: &'n Names, items: HashMap<String, String>) -> Follow<'n> {
        let (scopes, tables, made) = (Vec::new(), Vec::new(), Vec::new());
        Follow {
            names,
            items,
            scopes,
            tables,
            made,
            queries: 0,
            found: BTreeSet::new(),
            carries: false,
            positions: BTreeSet::new(),
            unfollowed: None,
        }
    }

    pub(super) fn give_up(&mut self, why: &str) {
        self.unfollowed.get_or_insert_with(|| why.to_owned());
    }

    /// The table that a name stands for in the expression that is being read.
    pub(super) fn relation(&self, name: &str) -> Option<&Relation> {
        self.scopes.iter().rev().find_map(|scope| scope.iter().find(|relation| relation.is(name)))
    }

    /// What a query gives.
    pub(super) fn query(&mut self, query: &Query) -> Columns {
        self.queries += 1;
        if self.queries > QUERIES {
            self.give_up("the SQL has too many queries in it");
            return Columns { known: Vec::new(), rest: Rest::Any };
        }
        let outer = self.tables.len();
        if let Some(with) = &query.with {
            self.with(with);
        }
        let columns = self.set(&query.body);
        self.tables.truncate(outer);
        if !query.pipe_operators.is_empty() {
            self.give_up("the SQL uses pipe operators, which are not followed");
        }
        columns
    }

    fn with(&mut self, with: &With) {
        for table in &with.cte_tables {
            let name = table.alias.name.value.clone();
            let mut columns = Columns::default();
            // One that reads itself is looked at until nothing new is found.
            let rounds = if with.recursive || mentions(&table.query, &name) { ROUNDS } else { 1 };
            for round in 0..rounds {
                self.tables.push((name.clone(), columns.clone()));
                let mut next = self.query(&table.query);
                self.tables.pop();
                rename(&mut next, &table.alias);
                let is_same = next == columns;
                columns = next;
                if is_same {
                    break;
                }
                if round + 1 == ROUNDS {
                    columns.known.iter_mut().for_each(|column| column.carries = true);
                }
            }
            self.tables.push((name, columns));
        }
    }

    fn set(&mut self, body: &SetExpr) -> Columns {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, right, .. } => {
                let mut columns = self.set(left);
                let other = self.set(right);
                if !matches!(op, SetOperator::Except | SetOperator::Minus) {
                    self.unite(&mut columns, &other);
                }
                columns
            }
            SetExpr::Values(values) => {
                let width = values.rows.first().map_or(0, |row| row.content.len());
                let mut known = Vec::with_capacity(width);
                for at in 0..width {
                    let carries = values.rows.iter().any(|row| row.content.get(at).is_some_and(|value| self.reads(value)));
                    known.push(Column { names: vec![format!("column{}", at + 1), format!("column_{at}")], carries });
                }
                Columns { known, rest: Rest::None }
            }
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) | SetExpr::Merge(statement) => {
                self.changed(statement)
            }
            SetExpr::Table(table) => table.table_name.as_ref().map_or_else(Columns::own, |name| self.table(&name.value)),
        }
    }

    /// The columns of a union are called as those of its first part.
    fn unite(&mut self, columns: &mut Columns, other: &Columns) {
        if columns.rest == Rest::None && other.rest == Rest::None {
            for (column, other) in columns.known.iter_mut().zip(&other.known) {
                column.carries |= other.carries;
            }
            return;
        }
        let renames = |columns: &Columns| columns.known.iter().any(|column| column.carries) || columns.rest == Rest::Any;
        // `*` on both sides: the columns are the same ones.
        if renames(other) || renames(columns) || columns.rest != other.rest {
            self.give_up("the SQL unites `*` with columns that are named, and which are which cannot be told");
        }
        columns.rest = columns.rest.max(other.rest);
    }

    fn select(&mut self, select: &Select) -> Columns {
        self.scopes.push(Vec::new());
        self.from(&select.from);
        for view in &select.lateral_views {
            let carries = self.reads(&view.lateral_view);
            let known = view.lateral_col_alias.iter().map(|name| Column { names: vec![name.value.clone()], carries }).collect();
            let relation =
                Relation { name: last(&view.lateral_view_name).map(str::to_owned), columns: Columns { known, rest: Rest::None } };
            self.scope().push(relation);
        }
        let columns = self.items(&select.projection);
        self.scopes.pop();
        if let Some(into) = &select.into {
            for target in &into.targets {
                if target.to_string().starts_with('@') && columns.may_carry() {
                    self.give_up("the SQL puts a masked column into a variable");
                }
                self.make(&target.to_string(), columns.clone());
            }
            return Columns::default();
        }
        columns
    }

    fn scope(&mut self) -> &mut Vec<Relation> {
        if self.scopes.is_empty() {
            self.scopes.push(Vec::new());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// A table that later statements can read.
    fn make(&mut self, name: &str, columns: Columns) {
        let name = name.rsplit('.').next().unwrap_or(name).trim_matches(['"', '`', '[', ']']).to_owned();
        self.made.push((name, columns));
    }

    /// What a table has.
    fn table(&self, name: &str) -> Columns {
        self.made
            .iter()
            .chain(&self.tables)
            .rev()
            .find(|(own, _)| same(own, name))
            .map_or_else(Columns::own, |(_, columns)| columns.clone())
    }

    /// What the items of a select list give.
    fn items(&mut self, items: &[SelectItem]) -> Columns {
        let mut columns = Columns::default();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let carries = self.reads(expr);
                    if carries && assigns_variable(expr) {
                        self.give_up("the SQL puts a masked column into a variable");
                    }
                    let names = self.unnamed(expr);
                    columns.known.push(Column { names, carries });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let carries = self.reads(expr);
                    if carries && alias.value.starts_with('@') {
                        self.give_up("the SQL puts a masked column into a variable");
                    }
                    columns.known.push(Column { names: vec![alias.value.clone()], carries });
                }
                SelectItem::ExprWithAliases { expr, aliases } => {
                    let carries = self.reads(expr);
                    columns.known.extend(aliases.iter().map(|alias| Column { names: vec![alias.value.clone()], carries }));
                }
                SelectItem::Wildcard(options) => {
                    let mut all = Columns::default();
                    self.scopes.last().into_iter().flatten().for_each(|relation| all.extend(&relation.columns));
                    self.options(&mut all, options);
                    columns.extend(&all);
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let mut all = match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            last(name).and_then(|name| self.relation(name)).map_or_else(Columns::own, |relation| relation.columns.clone())
                        }
                        SelectItemQualifiedWildcardKind::Expr(expr) => match self.reads(expr) {
                            true => Columns { known: Vec::new(), rest: Rest::Any },
                            false => Columns::own(),
                        },
                    };
                    self.options(&mut all, options);
                    columns.extend(&all);
                }
            }
        }
        columns
    }

    /// `* REPLACE (… AS x)`, `* RENAME (ssn AS x)`.
    fn options(&mut self, columns: &mut Columns, options: &WildcardAdditionalOptions) {
        let renames = match &options.opt_rename {
            Some(RenameSelectItem::Single(item)) => std::slice::from_ref(item),
            Some(RenameSelectItem::Multiple(items)) => items,
            None => &[],
        };
        for item in renames {
            let known = columns.known.iter_mut().find(|column| column.names.iter().any(|name| same(name, &item.ident.value)));
            match known {
                Some(column) => column.names = vec![item.alias.value.clone()],
                None => {
                    let carries = columns.rest == Rest::Any || self.names.find(&item.ident.value).is_some();
                    columns.known.push(Column { names: vec![item.alias.value.clone()], carries });
                }
            }
        }
        for item in options.opt_replace.iter().flat_map(|replace| &replace.items) {
            let carries = self.reads(&item.expr);
            columns.known.push(Column { names: vec![item.column_name.value.clone()], carries });
        }
    }
}

/// `@x = ssn`, `@x := ssn`
fn assigns_variable(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryOp { left, .. } if left.to_string().starts_with('@'))
}

fn rename(columns: &mut Columns, alias: &TableAlias) {
    columns.rename(alias.columns.iter().map(|column| &column.name));
}

/// Whether a query may read a table of this name.
fn mentions(query: &Query, name: &str) -> bool {
    let mut found = false;
    let _ = sqlparser::ast::visit_relations(query, |relation| {
        found |= last(relation).is_some_and(|last| same(last, name));
        std::ops::ControlFlow::<()>::Continue(())
    });
    found
}
