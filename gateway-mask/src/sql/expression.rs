//! Expressions: what they read, and what servers call a column that is one.

use std::ops::ControlFlow;

use sqlparser::ast::{AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Visit, Visitor};

use super::{
    follow::Follow,
    relation::{Rest, last},
    text::folded,
};

/// Looks for a wanted column's value in an expression.
struct Reads<'f, 'n> {
    follow: &'f mut Follow<'n>,
    /// Queries within the expression: they are followed for what they give, not for what they read.
    queries: usize,
    /// What tells how many there are, or whether there are any, carries no value.
    counts: usize,
}

impl Follow<'_> {
    /// Whether the value of an expression, or of several, carries a wanted column's.
    pub(super) fn reads(&mut self, expression: &impl Visit) -> bool {
        let mut reads = Reads { follow: self, queries: 0, counts: 0 };
        expression.visit(&mut reads).is_break()
    }

    /// What servers call a column that is this expression without a name.
    pub(super) fn unnamed(&mut self, expression: &Expr) -> Vec<String> {
        if let Expr::Identifier(name) = expression {
            return vec![name.value.clone()];
        }
        if let Expr::CompoundIdentifier(names) = expression {
            return names.last().map(|name| vec![name.value.clone()]).unwrap_or_default();
        }
        let (_, postgres) = self.postgres(expression);
        let mut names = vec![postgres];
        // MySQL and SQLite use the text.
        let shown = expression.to_string();
        match self.items.get(&folded(&shown)) {
            Some(spelt) => names.push(spelt.clone()),
            // It is shown otherwise than it is spelt: any of those that are no plain name.
            None => names
                .extend(self.items.values().filter(|item| item.contains(|c: char| !(c.is_alphanumeric() || "_.".contains(c)))).cloned()),
        }
        names.push(shown);
        match expression {
            // `extract` before version 14, and what the standard's forms call inside.
            Expr::Extract { .. } => names.push("date_part".to_owned()),
            Expr::Trim { .. } => names.extend(["ltrim", "rtrim", "trim"].map(str::to_owned)),
            Expr::Substring { .. } => names.push("substr".to_owned()),
            _ => {}
        }
        names.dedup();
        names
    }

    /// PostgreSQL's name (`FigureColname` of its parser), and whether it is a column's or function's rather than a type's.
    fn postgres(&mut self, expression: &Expr) -> (bool, String) {
        let named = |name: &str| (true, name.to_owned());
        match expression {
            Expr::Identifier(name) => named(&name.value),
            Expr::CompoundIdentifier(names) => named(names.last().map_or("?column?", |name| &name.value)),
            Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => self.postgres(inner),
            Expr::Cast { expr, data_type, .. } => match self.postgres(expr) {
                (true, name) => (true, name),
                _ => (false, type_name(&data_type.to_string())),
            },
            Expr::Case { else_result, .. } => match else_result.as_deref().map(|result| self.postgres(result)) {
                Some((true, name)) => (true, name),
                _ => (false, "case".to_owned()),
            },
            Expr::Function(function) => named(last(&function.name).unwrap_or("?column?")),
            Expr::CompoundFieldAccess { root, access_chain } => match access_chain.iter().rev().find_map(field) {
                Some(name) => named(&name.value),
                None => self.postgres(root),
            },
            Expr::Subquery(query) => {
                let columns = self.query(query).known;
                named(columns.first().and_then(|column| column.names.first()).map_or("?column?", |name| name.as_str()))
            }
            Expr::Extract { .. } => named("extract"),
            Expr::Substring { .. } => named("substring"),
            Expr::Trim { .. } => named("btrim"),
            Expr::Position { .. } => named("position"),
            Expr::Overlay { .. } => named("overlay"),
            Expr::Ceil { .. } => named("ceil"),
            Expr::Floor { .. } => named("floor"),
            Expr::AtTimeZone { .. } => named("timezone"),
            Expr::Convert { .. } => named("convert"),
            Expr::Array(_) => named("array"),
            Expr::Tuple(_) => named("row"),
            _ => (false, "?column?".to_owned()),
        }
    }

    /// Whether a name, which may be qualified, is that of a column that carries a wanted one's value.
    fn resolve(&self, parts: &[Ident]) -> bool {
        let Some((column, qualifiers)) = parts.split_last() else { return false };
        let is_wanted = self.names.find(&column.value).is_some();
        let Some(qualifier) = qualifiers.last() else { return self.resolve_one(&column.value) };
        match self.relation(&qualifier.value) {
            Some(relation) => relation.column(&column.value).unwrap_or(match relation.columns.rest {
                // The names that servers give to expressions are guessed.
                Rest::None => relation.columns.known.iter().any(|column| column.carries && column.names.len() > 1),
                Rest::Own => is_wanted,
                Rest::Any => true,
            }),
            // A field of a column.
            None => is_wanted || (qualifiers.len() == 1 && self.resolve_one(&qualifier.value)),
        }
    }

    fn resolve_one(&self, name: &str) -> bool {
        let is_wanted = self.names.find(name).is_some();
        for scope in self.scopes.iter().rev() {
            let mut known = scope.iter().filter_map(|relation| relation.column(name)).peekable();
            if known.peek().is_some() {
                return known.any(|carries| carries);
            }
            let rest = scope.iter().map(|relation| relation.columns.rest).max().unwrap_or_default();
            if rest == Rest::Any || (rest == Rest::Own && is_wanted) {
                return true;
            }
            // The whole row.
            if let Some(relation) = scope.iter().find(|relation| relation.is(name)) {
                return relation.columns.may_carry();
            }
        }
        is_wanted
    }
}

impl Visitor for Reads<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.queries == 0 && self.counts == 0 && self.follow.query(query).may_carry() {
            return ControlFlow::Break(());
        }
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if self.queries > 0 {
            return ControlFlow::Continue(());
        }
        if is_count(expression) {
            self.counts += 1;
        }
        let carries = self.counts == 0
            && match expression {
                Expr::Identifier(name) => self.follow.resolve(std::slice::from_ref(name)),
                Expr::CompoundIdentifier(names) => self.follow.resolve(names),
                Expr::Function(function) => self.follow.reads_rows(function),
                _ => false,
            };
        if carries { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if self.queries == 0 && is_count(expression) {
            self.counts -= 1;
        }
        ControlFlow::Continue(())
    }
}

impl Follow<'_> {
    /// Whether a function is given whole rows that may hold a wanted column: `to_json(p.*)`.
    fn reads_rows(&self, function: &Function) -> bool {
        let FunctionArguments::List(list) = &function.args else { return false };
        list.args.iter().any(|arg| {
            let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = arg;
            match arg {
                FunctionArgExpr::Expr(_) => false,
                FunctionArgExpr::QualifiedWildcard(name) => {
                    last(name).and_then(|name| self.relation(name)).is_none_or(|relation| relation.columns.may_carry())
                }
                FunctionArgExpr::Wildcard | FunctionArgExpr::WildcardWithOptions(_) => {
                    self.scopes.last().is_some_and(|scope| scope.iter().any(|relation| relation.columns.may_carry()))
                }
            }
        })
    }
}

fn is_count(expression: &Expr) -> bool {
    match expression {
        Expr::Exists { .. } => true,
        Expr::Function(function) => last(&function.name)
            .is_some_and(|name| ["count", "count_big", "approx_count_distinct"].iter().any(|count| name.eq_ignore_ascii_case(count))),
        _ => false,
    }
}

fn field(access: &AccessExpr) -> Option<&Ident> {
    match access {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
        _ => None,
    }
}

/// PostgreSQL's own name of a type, for those that the standard calls otherwise.
fn type_name(name: &str) -> String {
    let base = name.split(['(', '[']).next().unwrap_or_default().trim().to_lowercase();
    let own = match base.as_str() {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "decimal" => "numeric",
        "character varying" => "varchar",
        "char" | "character" => "bpchar",
        "boolean" => "bool",
        "real" => "float4",
        "double precision" => "float8",
        "timestamp with time zone" => "timestamptz",
        other => other,
    };
    own.to_owned()
}
