//! What of a call's context a policy's conditions read, found in the policy's JSON form. Only that is put together for Cedar, and what
//! depends on a call that is not made yet can be told from what does not.

use cedar_policy::{Effect, Policy, PolicySet};
use serde_json::{Value, json};

use super::direct::Test;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The context's attributes, each a bit of [`Reads`].
const ATTRIBUTES: [&str; 17] = [
    "method",
    "labels",
    "arguments",
    "numbers",
    "lists",
    "time",
    "weekday",
    "strength",
    "process",
    "revision",
    "session",
    "person",
    "annotations",
    "definition",
    "definition_changed",
    // What is bound to no attribute: the context as a whole.
    "",
    ENTITIES,
];

/// Who, what, and what they are in; or any entity that is named.
pub(super) const ENTITIES: &str = "(entities)";

/// Those that differ from call to call of one tool.
const VARYING: [&str; 6] = ["labels", "arguments", "numbers", "lists", "session", "person"];

/// A set of the context's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads(u32);

impl Reads {
    pub(super) const ALL: Reads = Reads(u32::MAX);

    fn attribute(name: &str) -> Self {
        ATTRIBUTES.iter().position(|known| *known == name).map_or(Reads::ALL, |place| Reads(1 << place))
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.0 & Reads::attribute(name).0 != 0
    }

    /// Whether it has the arguments themselves, and not only their labels.
    pub(super) fn has_arguments(self) -> bool {
        ["arguments", "numbers", "lists"].iter().any(|name| self.has(name))
    }

    pub(super) fn with(self, other: Reads) -> Self {
        Reads(self.0 | other.0)
    }

    /// Whether other arguments, or another moment of the session, could give another answer.
    fn varies(self) -> bool {
        VARYING.iter().any(|name| self.has(name))
    }

    fn of(expression: &Value) -> Self {
        let mut found = Reads::default();
        found.walk(expression);
        found
    }

    fn walk(&mut self, expression: &Value) {
        match expression {
            Value::Object(map) => map.iter().for_each(|(operator, operand)| self.operator(operator, operand)),
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) {
        // `context has process.exe` gives a list, from the outside in.
        let attribute = || operand.get("attr").and_then(|attr| attr.get(0).unwrap_or(attr).as_str());
        match operator {
            "." | "has" if operand.get("left") == Some(&json!({"Var": "context"})) => {
                *self = self.with(attribute().map_or(Reads::ALL, Reads::attribute));
            }
            "Var" if operand == "context" => *self = Reads::ALL,
            "Var" => *self = self.with(Reads::attribute(ENTITIES)),
            "Value" if operand.get("__entity").is_some() => *self = self.with(Reads::attribute(ENTITIES)),
            "Value" => {}
            // The keys of a record are names, not operators.
            "Record" => operand.as_object().into_iter().flatten().for_each(|(_, value)| self.walk(value)),
            _ => self.walk(operand),
        }
    }
}

/// What must be true besides a policy's scope, for Cedar to evaluate: a set of one policy that fits everything, and what it reads.
pub(super) struct Condition {
    pub(super) policy: PolicySet,
    pub(super) reads: Reads,
    /// The same for us to evaluate, if we can.
    pub(super) direct: Option<Test>,
}

impl Condition {
    /// Of this policy; `None` when its scope says it all.
    pub(super) fn of(policy: &Policy) -> Result<Option<Self>, Fault> {
        let form = policy.to_json()?;
        let conditions = conditions(&form);
        Condition::alone(policy, form, conditions)
    }

    fn alone(policy: &Policy, mut form: Value, conditions: Vec<(String, Value)>) -> Result<Option<Self>, Fault> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let reads = conditions.iter().map(|(_, body)| Reads::of(body)).fold(Reads::default(), Reads::with);
        let direct = Test::all(&conditions);
        for side in ["principal", "action", "resource"] {
            form[side] = json!({ "op": "All" });
        }
        form["conditions"] = conditions.into_iter().map(|(kind, body)| json!({ "kind": kind, "body": body })).collect();
        let policy = PolicySet::from_policies([Policy::from_json(Some(policy.id().clone()), form)?])?;
        Ok(Some(Condition { policy, reads, direct }))
    }
}

/// What is asked of a policy when only who and what is known, and nothing that differs from call to call.
pub(super) enum ForLists {
    /// All of it.
    Same,
    /// Nothing: whether it applies is not known, and it would be against.
    Ignored,
    /// It is a permit, and applies to some call if this, which is a part of its conditions, is true.
    Weaker(Option<Box<Condition>>),
}

impl ForLists {
    pub(super) fn of(policy: &Policy) -> Result<Self, Fault> {
        let form = policy.to_json()?;
        let conditions = conditions(&form);
        if !conditions.iter().any(|(_, body)| Reads::of(body).varies()) {
            return Ok(ForLists::Same);
        }
        if policy.effect() == Effect::Forbid {
            return Ok(ForLists::Ignored);
        }
        // All that stands in an `&&` of a `when` must be true: what varies can be dropped by itself.
        let mut parts = Vec::new();
        for (kind, body) in conditions {
            match kind.as_str() {
                "when" => conjuncts(body, &mut parts),
                _ => parts.push((kind, body)),
            }
        }
        parts.retain(|(_, body)| !Reads::of(body).varies());
        Ok(ForLists::Weaker(Condition::alone(policy, form, parts)?.map(Box::new)))
    }
}

fn conjuncts(body: Value, into: &mut Vec<(String, Value)>) {
    match body {
        Value::Object(mut map) if map.contains_key("&&") => {
            let mut operands = map.remove("&&").unwrap_or_default();
            for side in ["left", "right"] {
                conjuncts(operands.get_mut(side).map(Value::take).unwrap_or_default(), into);
            }
        }
        other => into.push(("when".to_owned(), other)),
    }
}

/// Each condition of a policy's JSON form: whether it is a `when` or an `unless`, and its expression.
fn conditions(form: &Value) -> Vec<(String, Value)> {
    let list = form.get("conditions").and_then(Value::as_array).into_iter().flatten();
    list.map(|condition| (condition["kind"].as_str().unwrap_or_default().to_owned(), condition["body"].clone())).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn read(conditions: &str) -> Reads {
        let policy = Policy::parse(None, format!("forbid(principal, action, resource) {conditions};")).unwrap();
        Condition::of(&policy).unwrap().map(|condition| condition.reads).unwrap_or_default()
    }

    fn named(names: &[&str]) -> Reads {
        names.iter().map(|name| Reads::attribute(name)).fold(Reads::default(), Reads::with)
    }

    #[test]
    fn what_is_read_is_found_wherever_it_stands() {
        assert_eq!(read(""), Reads::default());
        assert_eq!(read("when { \"context\" like \"context*\" }"), Reads::default());
        for entity in ["principal", "action", "resource", "Server::\"context\""] {
            assert_eq!(read(&format!("when {{ {entity} in Group::\"a\" }}")), named(&[ENTITIES]), "{entity}");
        }
        assert_eq!(read("when { context.method == \"context\" }"), named(&["method"]));
        assert_eq!(read("when { context[\"labels\"].contains(\"a\") } unless { !(context has revision) }"), named(&["labels", "revision"]));
        assert_eq!(read("when { context has process.exe }"), named(&["process"]));
        assert_eq!(
            read("when { context.arguments.hasTag(context.method) && (if true then context.time < datetime(\"2026-01-01\") else false) }"),
            named(&["arguments", "method", "time"])
        );
        assert_eq!(read("when { {\"Var\": context.session.calls, \".\": \"x\"}.Var > 3 }"), named(&["session"]));
        assert_eq!(read("when { [context.person.calls, 3].contains(3) }"), named(&["person"]));
    }

    #[test]
    fn a_context_that_is_used_whole_reads_everything() {
        assert_eq!(read("when { context == {} }"), Reads::ALL);
        assert_eq!(read("when { (if true then context else context).labels.contains(\"a\") }"), Reads::ALL);
        assert_eq!(read("when { context.unheard_of }"), Reads::ALL);
    }

    #[test]
    fn only_what_does_not_vary_is_left_of_a_permit() {
        let policy = |text: &str| Policy::parse(None, text).unwrap();
        let weaker = ForLists::of(&policy(
            "permit(principal, action, resource) when { context.labels.contains(\"a\") && context.process has uid && (context.numbers.hasTag(\"n\") || true) }
             unless { context.session.calls > 3 } unless { context.definition_changed };",
        ));
        let ForLists::Weaker(Some(weaker)) = weaker.unwrap() else { unreachable!() };
        assert_eq!(weaker.reads, named(&["process", "definition_changed"]));
        let left = weaker.policy.to_cedar().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(left.ends_with("when { (context.process has uid) && (!context.definition_changed) };"), "{left}");
        let same = ForLists::of(&policy("permit(principal, action, resource) when { context.weekday < 6 };")).unwrap();
        assert!(matches!(same, ForLists::Same));
        let unknown = ForLists::of(&policy("forbid(principal, action, resource) when { context.person.calls > 3 };")).unwrap();
        assert!(matches!(unknown, ForLists::Ignored));
    }
}
