//! Statements, and the rows that they give.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Assignment, AssignmentTarget, CopySource, CopyTarget, FromTable, Insert, OutputClause, Query, SelectItem, Statement, TableObject,
    UpdateTableFromKind, Visit, Visitor,
};

use super::{
    super::{
        Positions,
        relation::{Columns, Relation, Rest, last},
    },
    Follow,
};

impl Follow<'_> {
    /// Follows a statement, and adds what it calls the columns of its result.
    pub(in super::super) fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                let columns = self.query(query);
                self.result(columns);
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::Merge(_) => {
                let columns = self.changed(statement);
                self.result(columns);
            }
            Statement::CreateTable(table) => {
                if let Some(query) = &table.query {
                    let mut columns = self.query(query);
                    columns.rename(table.columns.iter().map(|column| &column.name));
                    self.make(&table.name.to_string(), columns);
                }
            }
            Statement::CreateView(view) => {
                let mut columns = self.query(&view.query);
                columns.rename(view.columns.iter().map(|column| &column.name));
                self.make(&view.name.to_string(), columns);
            }
            Statement::Copy { source, to: true, target: CopyTarget::Stdout, .. } => {
                let may_carry = match source {
                    CopySource::Table { columns, .. } => {
                        columns.is_empty() || columns.iter().any(|column| self.names.find(&column.value).is_some())
                    }
                    CopySource::Query(query) => self.query(query).may_carry(),
                };
                if may_carry {
                    self.give_up("COPY gives columns without names");
                }
            }
            Statement::Execute { .. } | Statement::Call(_) | Statement::Prepare { .. } => {
                self.give_up("what a procedure or a prepared statement gives cannot be told");
            }
            Statement::Fetch { .. } => self.give_up("what a cursor gives cannot be told"),
            Statement::Explain { .. } | Statement::ExplainTable { .. } => {}
            Statement::CreateFunction(_) | Statement::CreateProcedure { .. } | Statement::CreateTrigger(_) => {}
            Statement::Set(_) | Statement::Declare { .. } => {
                self.within(statement);
                if self.reads(statement) {
                    self.give_up("the SQL puts a masked column into a variable");
                }
            }
            other => self.within(other),
        }
    }

    /// Statements and queries within another statement: a block, a branch, a cursor.
    fn within(&mut self, statement: &Statement) {
        let mut within = Within { follow: self, depth: 0, queries: 0 };
        let _ = statement.visit(&mut within);
    }

    fn result(&mut self, columns: Columns) {
        if columns.rest == Rest::Any {
            self.give_up("the SQL gives all columns of a function that reads a masked column");
        }
        let at: Vec<usize> = columns.known.iter().enumerate().filter(|(_, column)| column.carries).map(|(at, _)| at).collect();
        if !at.is_empty() && columns.rest == Rest::None {
            self.positions.insert(Positions { width: columns.known.len(), at });
        }
        for column in columns.known.into_iter().filter(|column| column.carries) {
            self.carries = true;
            self.found.extend(column.names.into_iter().filter(|name| self.names.find(name).is_none()));
        }
    }

    /// What a statement that changes rows gives of them.
    pub(super) fn changed(&mut self, statement: &Statement) -> Columns {
        self.scopes.push(Vec::new());
        let columns = self.changed_in_scope(statement);
        self.scopes.pop();
        columns
    }

    fn changed_in_scope(&mut self, statement: &Statement) -> Columns {
        let (returning, output) = match statement {
            Statement::Insert(insert) => {
                self.insert(insert);
                (&insert.returning, &insert.output)
            }
            Statement::Update(update) => {
                self.joined(&update.table);
                if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) = &update.from {
                    self.from(from);
                }
                self.assignments(&update.assignments);
                (&update.returning, &update.output)
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
                self.from(from);
                self.from(delete.using.as_deref().unwrap_or_default());
                (&delete.returning, &delete.output)
            }
            Statement::Merge(merge) => {
                self.factor(&merge.table);
                self.factor(&merge.source);
                (&None, &merge.output)
            }
            other => {
                self.within(other);
                return Columns::default();
            }
        };
        let mut columns = Columns::default();
        if let Some(items) = returning {
            columns.extend(&self.items(items));
        }
        if let Some(OutputClause::Output { select_items, .. } | OutputClause::Returning { select_items, .. }) = output {
            columns.extend(&self.output(select_items));
        }
        columns
    }

    /// T-SQL calls the rows `inserted` and `deleted`.
    fn output(&mut self, items: &[SelectItem]) -> Columns {
        for name in ["inserted", "deleted", "old", "new"] {
            self.scope().push(Relation { name: Some(name.to_owned()), columns: Columns::own() });
        }
        self.items(items)
    }

    fn insert(&mut self, insert: &Insert) {
        let name = match &insert.table {
            TableObject::TableName(name) => last(name).map(str::to_owned),
            _ => None,
        };
        let name = insert.table_alias.as_ref().map(|alias| alias.alias.value.clone()).or(name);
        if let Some(source) = &insert.source {
            let columns = self.query(source);
            for (at, column) in columns.known.iter().enumerate().filter(|(_, column)| column.carries) {
                let target = insert.columns.get(at).and_then(last);
                if target.or(column.names.first().map(String::as_str)).is_none_or(|target| self.names.find(target).is_none()) {
                    self.give_up("the SQL copies a masked column to one of another name");
                }
            }
        }
        self.scope().push(Relation { name, columns: Columns::own() });
        self.assignments(&insert.assignments);
    }

    fn assignments(&mut self, assignments: &[Assignment]) {
        for assignment in assignments {
            let is_wanted = match &assignment.target {
                AssignmentTarget::ColumnName(name) => last(name).is_some_and(|name| self.names.find(name).is_some()),
                AssignmentTarget::Tuple(_) => false,
            };
            if !is_wanted && self.reads(&assignment.value) {
                self.give_up("the SQL copies a masked column to one of another name");
            }
        }
    }
}

struct Within<'f, 'n> {
    follow: &'f mut Follow<'n>,
    depth: usize,
    queries: usize,
}

impl Visitor for Within<'_, '_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth == 2 && self.queries == 0 {
            self.follow.statement(statement);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 1 && self.queries == 0 {
            let columns = self.follow.query(query);
            self.follow.result(columns);
        }
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }
}
