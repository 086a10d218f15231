//! What a parsed statement does: the tables that it touches, and writes without a bound.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Delete, Expr, FromTable, InTarget, ObjectName, Query, Select, SetExpr, Statement, TableFactor, UnaryOperator, Update,
    UtilityOption, Value, Visit, Visitor,
};

use super::super::Found;

/// Labels a statement.
pub(super) fn label(statement: &Statement, found: &mut Found) {
    let mut walk = Walk { found, queries: Vec::new(), explains: false, functions: 0 };
    let _: ControlFlow<()> = statement.visit(&mut walk);
}

/// Labels a table: by its whole name, and by the last part of it, for a schema may be left out.
pub(super) fn table(name: &str, found: &mut Found) {
    found.name("sql:table:", name);
    if let Some((_, last)) = name.rsplit_once('.') {
        found.name("sql:table:", last);
    }
}

fn table_name(name: &ObjectName, found: &mut Found) {
    let part = |lower: bool| {
        let parts = name.0.iter().map(|part| match part.as_ident() {
            Some(ident) if ident.quote_style.is_some() && !lower => ident.value.clone(),
            Some(ident) => ident.value.to_lowercase(),
            None => part.to_string().to_lowercase(),
        });
        parts.collect::<Vec<_>>().join(".")
    };
    let spelt = part(false);
    // Servers that quote with backticks and brackets do not tell cases apart even so.
    let lower = part(true);
    table(&spelt, found);
    if lower != spelt {
        table(&lower, found);
    }
}

/// A query, while it is walked through.
struct Open {
    /// The names of its common table expressions, in order.
    names: Vec<String>,
    /// How many of them may be used already: one may not refer to itself, unless it is recursive.
    known: usize,
}

struct Walk<'a> {
    found: &'a mut Found,
    queries: Vec<Open>,
    explains: bool,
    /// Relations to come that are functions.
    functions: usize,
}

impl Walk<'_> {
    fn write(&mut self, selection: Option<Option<&Expr>>) {
        if self.explains {
            return;
        }
        self.found.add("sql:write");
        if selection.is_some_and(|selection| selection.is_none_or(is_always_true)) {
            self.found.add("sql:unbounded-write");
        }
    }

    fn target(&mut self, factor: &TableFactor) {
        if let TableFactor::Table { name, .. } = factor {
            table_name(name, self.found);
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Explain { analyze, options, .. } => {
                let option = |option: &UtilityOption| option.name.value.to_ascii_lowercase().starts_with("analy");
                self.explains = !analyze && !options.iter().flatten().any(option);
            }
            Statement::Delete(Delete { selection, from, tables, .. }) => {
                self.write(Some(selection.as_ref()));
                // What is written is no common table expression, whatever they are called.
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
                from.iter().for_each(|table| self.target(&table.relation));
                tables.iter().for_each(|name| table_name(name, self.found));
            }
            Statement::Update(Update { selection, table, .. }) => {
                self.write(Some(selection.as_ref()));
                self.target(&table.relation);
            }
            Statement::Insert(_) => self.write(None),
            Statement::Merge(merge) => {
                self.write(None);
                self.target(&merge.table);
            }
            Statement::Truncate(truncate) => truncate.table_names.iter().for_each(|target| table_name(&target.name, self.found)),
            Statement::Drop { names, object_type: sqlparser::ast::ObjectType::Table | sqlparser::ast::ObjectType::View, .. } => {
                names.iter().for_each(|name| table_name(name, self.found));
            }
            Statement::Copy { source: sqlparser::ast::CopySource::Table { table_name: name, .. }, .. } => table_name(name, self.found),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let (names, recursive) = query.with.as_ref().map_or((Vec::new(), false), |with| {
            (with.cte_tables.iter().map(|cte| cte.alias.name.value.to_lowercase()).collect(), with.recursive)
        });
        let known = if recursive { names.len().min(1) } else { 0 };
        self.queries.push(Open { names, known });
        if let SetExpr::Table(named) = query.body.as_ref() {
            let parts = [named.schema_name.as_ref(), named.table_name.as_ref()];
            let name = parts.into_iter().flatten().map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(".");
            table(&name, self.found);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.queries.pop();
        // The first queries inside one are its common table expressions: from here on this one has its name.
        if let Some(outer) = self.queries.last_mut() {
            outer.known = (outer.known + 1).min(outer.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.found.add("sql:select");
        if select.into.as_ref().is_some_and(|into| !into.targets.iter().all(is_variable)) {
            self.write(None);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.functions += usize::from(matches!(factor, TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. }));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if self.functions > 0 {
            self.functions -= 1;
            return ControlFlow::Continue(());
        }
        let is_common = match name.0.as_slice() {
            [part] => part.as_ident().is_some_and(|ident| {
                let ident = ident.value.to_lowercase();
                self.queries.iter().any(|query| query.names.iter().take(query.known).any(|name| *name == ident))
            }),
            _ => false,
        };
        if !is_common {
            table_name(name, self.found);
        }
        ControlFlow::Continue(())
    }
}

/// `@name`, which MySQL can select into.
fn is_variable(expr: &Expr) -> bool {
    // What PostgreSQL would take for an absolute value.
    matches!(expr, Expr::UnaryOp { op: UnaryOperator::PGAbs, .. }) || matches!(expr, Expr::Identifier(name) if name.value.starts_with('@'))
}

/// A value that does not depend on any row.
#[derive(Debug, PartialEq)]
enum Constant {
    Number(f64),
    Text(String),
    Null,
}

impl Constant {
    fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => {
                let text = text.trim().to_ascii_lowercase();
                matches!(text.as_str(), "t" | "true" | "y" | "yes" | "on") || leading_number(&text) != 0.0
            }
            Self::Null => false,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Null => None,
        }
    }
}

/// A text where MySQL wants a number.
fn leading_number(text: &str) -> f64 {
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    text[..end].parse().unwrap_or(0.0)
}

/// Whether a condition holds for every row, as far as that can be told without looking at one.
fn is_always_true(condition: &Expr) -> bool {
    constant(condition).is_some_and(|value| value.is_true())
}

fn truth(value: bool) -> Option<Constant> {
    Some(Constant::Number(f64::from(u8::from(value))))
}

fn constant(expr: &Expr) -> Option<Constant> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.to_string().parse().ok().map(Constant::Number),
            Value::Boolean(value) => truth(*value),
            Value::Null => Some(Constant::Null),
            Value::SingleQuotedString(text)
            | Value::DoubleQuotedString(text)
            | Value::NationalStringLiteral(text)
            | Value::EscapedStringLiteral(text) => Some(Constant::Text(text.clone())),
            _ => None,
        },
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => constant(inner),
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr } => truth(!constant(expr)?.is_true()),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(Constant::Number(-constant(expr)?.number()?)),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => constant(expr),
        Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => truth(constant(inner)?.is_true()),
        Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => truth(!constant(inner)?.is_true()),
        Expr::IsNull(inner) => truth(constant(inner)? == Constant::Null),
        Expr::IsNotNull(inner) => truth(constant(inner)? != Constant::Null),
        Expr::Like { pattern, negated: false, .. } | Expr::ILike { pattern, negated: false, .. } => match constant(pattern)? {
            Constant::Text(text) if !text.is_empty() && text.bytes().all(|byte| byte == b'%') => truth(true),
            _ => None,
        },
        Expr::In { expr, target: InTarget::List(list), negated, .. } => {
            let value = constant(expr);
            let holds = list.iter().any(|item| item == &**expr || (value.is_some() && constant(item) == value));
            let is_known = holds || (value.is_some() && list.iter().all(|item| constant(item).is_some()));
            is_known.then(|| truth(holds != *negated)).flatten()
        }
        Expr::Between { expr, low, high, negated: false } => {
            let (value, low, high) = (constant(expr)?.number()?, constant(low)?.number()?, constant(high)?.number()?);
            truth(low <= value && value <= high)
        }
        Expr::Exists { subquery, negated: false } => match subquery.body.as_ref() {
            SetExpr::Select(select) if select.from.is_empty() && select.selection.is_none() => truth(true),
            _ => None,
        },
        Expr::BinaryOp { left, op, right } => binary(left, op, right),
        _ => None,
    }
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Constant> {
    use BinaryOperator as Op;
    let (one, other) = (constant(left), constant(right));
    let is_true = |value: &Option<Constant>| value.as_ref().map(Constant::is_true);
    match op {
        // To MySQL `||` is OR.
        Op::Or | Op::StringConcat => match (is_true(&one), is_true(&other)) {
            (Some(true), _) | (_, Some(true)) => truth(true),
            (Some(false), Some(false)) => truth(false),
            _ => None,
        },
        Op::And => match (is_true(&one), is_true(&other)) {
            (Some(true), Some(true)) => truth(true),
            (Some(false), _) | (_, Some(false)) => truth(false),
            _ => None,
        },
        Op::Eq | Op::GtEq | Op::LtEq | Op::Spaceship if left == right => truth(true),
        // To MySQL `a = b || 1` is `(a = b) OR 1`.
        Op::Eq | Op::NotEq | Op::Gt | Op::Lt | Op::GtEq | Op::LtEq if ends_in_or_true(right) => truth(true),
        Op::Eq | Op::Spaceship => truth(equal(&one?, &other?)),
        Op::NotEq => truth(!equal(&one?, &other?)),
        Op::Gt => truth(one?.number()? > other?.number()?),
        Op::Lt => truth(one?.number()? < other?.number()?),
        Op::GtEq => truth(one?.number()? >= other?.number()?),
        Op::LtEq => truth(one?.number()? <= other?.number()?),
        Op::Plus => Some(Constant::Number(one?.number()? + other?.number()?)),
        Op::Minus => Some(Constant::Number(one?.number()? - other?.number()?)),
        Op::Multiply => Some(Constant::Number(one?.number()? * other?.number()?)),
        Op::Divide => Some(Constant::Number(one?.number()? / other?.number()?)),
        _ => None,
    }
}

fn ends_in_or_true(expr: &Expr) -> bool {
    let Expr::BinaryOp { op: BinaryOperator::StringConcat, right, .. } = expr else { return false };
    constant(right).is_some_and(|value| matches!(value, Constant::Number(_)) && value.is_true())
}

fn equal(one: &Constant, other: &Constant) -> bool {
    match (one, other) {
        (Constant::Text(one), Constant::Text(other)) => one.eq_ignore_ascii_case(other),
        _ => one.number().is_some_and(|number| other.number() == Some(number)),
    }
}
