//! Conditions that are told without Cedar, exactly as Cedar would: of the kinds that most policies have. Cedar takes a request, entities and
//! microseconds for each; here nothing is put together. Whatever is not surely one of these kinds is Cedar's, and so is each question that
//! one of them meets an error on.

use cedar_policy::{EntityId, EntityTypeName, EntityUid};
use serde_json::Value;

use super::{Question, question::Case};
use crate::identity::Strength;

/// Deeper ones are Cedar's, so that no policy costs stack.
const DEPTH: usize = 32;

/// What is true or false of a call.
pub(super) enum Test {
    Always(bool),
    Not(Box<Test>),
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    /// `principal in`
    In(EntityUid),
    /// `context.labels.contains`
    Label(String),
    HasText(String),
    HasNumber(String),
    /// `context.process has unit`
    Has(Text),
    HasFlag(Flag),
    Flag(Flag),
    /// Two texts are the same.
    Same(Text, Text),
    Compare(Long, Relation, Long),
}

/// A text of the call's, or one of the policy's.
pub(super) enum Text {
    Literal(String),
    /// `context.arguments.getTag`
    Argument(String),
    Fact(for<'a> fn(&Question<'a>) -> Option<&'a str>),
}

pub(super) enum Long {
    Literal(i64),
    /// `context.numbers.getTag`
    Number(String),
    Fact(fn(&Question<'_>) -> Option<i64>),
}

type Flag = fn(&Question<'_>) -> Option<bool>;

#[derive(Clone, Copy)]
pub(super) enum Relation {
    Equal,
    Less,
    LessOrEqual,
}

impl Test {
    /// Of a policy's conditions in their JSON form, all of which must hold; `None` if they are not all of the kinds here.
    pub(super) fn all(conditions: &[(String, Value)]) -> Option<Self> {
        if conditions.len() > DEPTH {
            return None;
        }
        let one = |(kind, body): &(String, Value)| match kind.as_str() {
            "when" => Test::of(body, DEPTH),
            "unless" => Some(Test::Not(Box::new(Test::of(body, DEPTH)?))),
            _ => None,
        };
        let tests = conditions.iter().map(one).collect::<Option<Vec<_>>>()?;
        tests.into_iter().reduce(|all, next| Test::And(Box::new(all), Box::new(next)))
    }

    fn of(expression: &Value, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let (operator, operand) = only(expression)?;
        let side = |name: &str| operand.get(name);
        let sides = || Some((side("left")?, side("right")?));
        let both = || Some((Box::new(Test::of(side("left")?, depth)?), Box::new(Test::of(side("right")?, depth)?)));
        let not = |test: Test| Test::Not(Box::new(test));
        let compare = |relation, swapped: bool| {
            let (left, right) = sides()?;
            let (left, right) = (Long::of(left)?, Long::of(right)?);
            Some(if swapped { Test::Compare(right, relation, left) } else { Test::Compare(left, relation, right) })
        };
        match operator {
            "Value" => operand.as_bool().map(Test::Always),
            "!" => Some(not(Test::of(side("arg")?, depth)?)),
            "&&" => both().map(|(left, right)| Test::And(left, right)),
            "||" => both().map(|(left, right)| Test::Or(left, right)),
            "." => flag(&path(expression)?).map(Test::Flag),
            "has" => {
                let mut path = path(side("left")?)?;
                path.push(side("attr")?.as_str()?);
                optional_text(&path).map(|fact| Test::Has(Text::Fact(fact))).or_else(|| hint(&path).map(Test::HasFlag))
            }
            "in" => {
                let (left, right) = sides()?;
                (only(left)? == ("Var", &Value::from("principal"))).then_some(())?;
                entity(right).map(Test::In)
            }
            "contains" => {
                let (left, right) = sides()?;
                (path(left)? == ["labels"]).then(|| literal(right).map(|label| Test::Label(label.to_owned())))?
            }
            "hasTag" => {
                let (left, right) = sides()?;
                let name = literal(right)?.to_owned();
                match path(left)?.as_slice() {
                    ["arguments"] => Some(Test::HasText(name)),
                    ["numbers"] => Some(Test::HasNumber(name)),
                    _ => None,
                }
            }
            "==" => Test::equal(sides()?),
            "!=" => Test::equal(sides()?).map(not),
            "<" => compare(Relation::Less, false),
            "<=" => compare(Relation::LessOrEqual, false),
            ">" => compare(Relation::Less, true),
            ">=" => compare(Relation::LessOrEqual, true),
            _ => None,
        }
    }

    fn equal((left, right): (&Value, &Value)) -> Option<Self> {
        if let (Some(left), Some(right)) = (Text::of(left), Text::of(right)) {
            return Some(Test::Same(left, right));
        }
        Some(Test::Compare(Long::of(left)?, Relation::Equal, Long::of(right)?))
    }

    /// Whether it holds; `None` if Cedar would meet an error. Of `&&` and `||` the right side counts only where Cedar looks at it.
    pub(super) fn holds(&self, question: &Question<'_>, case: &Case<'_>) -> Option<bool> {
        Some(match self {
            Test::Always(value) => *value,
            Test::Not(test) => !test.holds(question, case)?,
            Test::And(left, right) => left.holds(question, case)? && right.holds(question, case)?,
            Test::Or(left, right) => left.holds(question, case)? || right.holds(question, case)?,
            Test::In(group) => case.principal.is_in(group),
            Test::Label(label) => question.facts.labels.contains(label),
            Test::HasText(path) => question.arguments.text(path).is_some(),
            Test::HasNumber(path) => question.arguments.integer(path).is_some(),
            Test::Has(text) => text.get(question).is_some(),
            Test::HasFlag(flag) => flag(question).is_some(),
            Test::Flag(flag) => flag(question)?,
            Test::Same(left, right) => left.get(question)? == right.get(question)?,
            Test::Compare(left, relation, right) => {
                let (left, right) = (left.get(question)?, right.get(question)?);
                match relation {
                    Relation::Equal => left == right,
                    Relation::Less => left < right,
                    Relation::LessOrEqual => left <= right,
                }
            }
        })
    }
}

impl Text {
    fn of(expression: &Value) -> Option<Self> {
        if let Some(text) = literal(expression) {
            return Some(Text::Literal(text.to_owned()));
        }
        if let Some(tag) = tag(expression, "arguments") {
            return Some(Text::Argument(tag));
        }
        let path = path(expression)?;
        optional_text(&path).map(Text::Fact).or(match path.as_slice() {
            ["method"] => Some(Text::Fact(|question| Some(question.method))),
            ["strength", "name"] => Some(Text::Fact(|question| Some(question.facts.strength.name()))),
            _ => None,
        })
    }

    fn get<'a>(&'a self, question: &Question<'a>) -> Option<&'a str> {
        match self {
            Text::Literal(text) => Some(text),
            Text::Argument(path) => question.arguments.text(path),
            Text::Fact(fact) => fact(question),
        }
    }
}

impl Long {
    fn of(expression: &Value) -> Option<Self> {
        if let ("Value", number) = only(expression)? {
            return number.as_i64().map(Long::Literal);
        }
        if let Some(tag) = tag(expression, "numbers") {
            return Some(Long::Number(tag));
        }
        Some(Long::Fact(match path(expression)?.as_slice() {
            ["process", "uid"] => |question| question.facts.process.uid.map(i64::from),
            ["session", "calls"] => |question| counted(question.facts.session.calls),
            ["session", "bytes_out"] => |question| counted(question.facts.session.bytes_out),
            ["session", "tools"] => |question| counted(question.facts.session.tools),
            ["person", "calls"] => |question| counted(question.facts.person.calls),
            ["person", "bytes_out"] => |question| counted(question.facts.person.bytes_out),
            ["person", "tools"] => |question| counted(question.facts.person.tools),
            _ => return None,
        }))
    }

    fn get(&self, question: &Question<'_>) -> Option<i64> {
        match self {
            Long::Literal(number) => Some(*number),
            Long::Number(path) => question.arguments.integer(path),
            Long::Fact(fact) => fact(question),
        }
    }
}

/// As Cedar is given it.
fn counted(count: u64) -> Option<i64> {
    Some(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The texts of the context that may be absent.
fn optional_text(path: &[&str]) -> Option<for<'a> fn(&Question<'a>) -> Option<&'a str>> {
    Some(match path {
        ["revision"] => |question| question.facts.revision.as_deref(),
        ["definition"] => |question| question.facts.definition.as_deref(),
        ["process", "exe"] => |question| question.facts.process.exe.as_deref(),
        ["process", "unit"] => |question| question.facts.process.unit.as_deref(),
        ["process", "cgroup"] => |question| question.facts.process.cgroup.as_deref(),
        _ => return None,
    })
}

fn flag(path: &[&str]) -> Option<Flag> {
    Some(match path {
        ["definition_changed"] => |question| Some(question.facts.definition_changed),
        ["strength", "declared"] => |question| Some(question.facts.strength >= Strength::Declared),
        ["strength", "declared_on_instance"] => |question| Some(question.facts.strength >= Strength::DeclaredOnInstance),
        ["strength", "host_login"] => |question| Some(question.facts.strength >= Strength::HostLogin),
        ["strength", "session_login"] => |question| Some(question.facts.strength >= Strength::SessionLogin),
        ["strength", "token"] => |question| Some(question.facts.strength >= Strength::Token),
        _ => return hint(path),
    })
}

/// The annotations, each of which may be absent.
fn hint(path: &[&str]) -> Option<Flag> {
    Some(match path {
        ["annotations", "readOnly"] => |question| question.facts.annotations.read_only_hint,
        ["annotations", "destructive"] => |question| question.facts.annotations.destructive_hint,
        ["annotations", "idempotent"] => |question| question.facts.annotations.idempotent_hint,
        ["annotations", "openWorld"] => |question| question.facts.annotations.open_world_hint,
        _ => return None,
    })
}

/// The operator and its operand.
fn only(expression: &Value) -> Option<(&str, &Value)> {
    let map = expression.as_object().filter(|map| map.len() == 1)?;
    map.iter().next().map(|(operator, operand)| (operator.as_str(), operand))
}

fn literal(expression: &Value) -> Option<&str> {
    match only(expression)? {
        ("Value", Value::String(text)) => Some(text),
        _ => None,
    }
}

fn entity(expression: &Value) -> Option<EntityUid> {
    let ("Value", value) = only(expression)? else { return None };
    let ("__entity", named) = only(value)? else { return None };
    let of: EntityTypeName = named.get("type")?.as_str()?.parse().ok()?;
    Some(EntityUid::from_type_name_and_id(of, EntityId::new(named.get("id")?.as_str()?)))
}

/// `["process", "unit"]` of `context.process.unit`.
fn path(expression: &Value) -> Option<Vec<&str>> {
    match only(expression)? {
        ("Var", variable) => (variable == "context").then(Vec::new),
        (".", operand) => {
            let mut path = path(operand.get("left")?)?;
            path.push(operand.get("attr")?.as_str()?);
            // No attribute is deeper.
            (path.len() <= 2).then_some(path)
        }
        _ => None,
    }
}

/// The tag of `context.arguments.getTag("tag")`.
fn tag(expression: &Value, of: &str) -> Option<String> {
    let ("getTag", operand) = only(expression)? else { return None };
    (path(operand.get("left")?)? == [of]).then(|| literal(operand.get("right")?).map(str::to_owned))?
}
