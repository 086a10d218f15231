//! What of a call's context a policy's conditions read, found in the policy's JSON form. Only that is put together for Cedar, and what
//! depends on a call that is not made yet can be told from what does not.

use cedar_policy::{Effect, Policy, PolicyToJsonError};
use serde_json::{Value, json};

/// The context's attributes, each a bit of [`Reads`].
const ATTRIBUTES: [&str; 16] = [
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
];

/// Those that differ from call to call of one tool.
const VARYING: [&str; 6] = ["labels", "arguments", "numbers", "lists", "session", "person"];

/// A set of the context's attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reads(u16);

impl Reads {
    pub(super) const ALL: Reads = Reads(u16::MAX);

    fn attribute(name: &str) -> Self {
        ATTRIBUTES.iter().position(|known| *known == name).map_or(Reads::ALL, |place| Reads(1 << place))
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.0 & Reads::attribute(name).0 != 0
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
            "Value" => {}
            // The keys of a record are names, not operators.
            "Record" => operand.as_object().into_iter().flatten().for_each(|(_, value)| self.walk(value)),
            _ => self.walk(operand),
        }
    }
}

/// What a policy's conditions read.
pub(super) fn of(policy: &Policy) -> Result<Reads, Box<PolicyToJsonError>> {
    Ok(conditions(&policy.to_json()?).iter().map(|(_, body)| Reads::of(body)).fold(Reads::default(), Reads::with))
}

/// What is left of a policy when only who and what is known, and nothing that differs from call to call.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum ForLists {
    /// All of it.
    Same,
    /// It is a forbid, and whether it applies is not known.
    Unknown,
    /// It is a permit, and applies to some call if this, which has fewer conditions, applies.
    Weaker(Policy, Reads),
}

/// See [`ForLists`].
pub(super) fn for_lists(policy: &Policy) -> Result<ForLists, Box<dyn std::error::Error + Send + Sync>> {
    let mut form = policy.to_json()?;
    let conditions = conditions(&form);
    if !conditions.iter().any(|(_, body)| Reads::of(body).varies()) {
        return Ok(ForLists::Same);
    }
    if policy.effect() == Effect::Forbid {
        return Ok(ForLists::Unknown);
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
    let reads = parts.iter().map(|(_, body)| Reads::of(body)).fold(Reads::default(), Reads::with);
    form["conditions"] = parts.into_iter().map(|(kind, body)| json!({ "kind": kind, "body": body })).collect();
    Ok(ForLists::Weaker(Policy::from_json(Some(policy.id().clone()), form)?, reads))
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
        of(&Policy::parse(None, format!("forbid(principal, action, resource) {conditions};")).unwrap()).unwrap()
    }

    fn named(names: &[&str]) -> Reads {
        names.iter().map(|name| Reads::attribute(name)).fold(Reads::default(), Reads::with)
    }

    #[test]
    fn what_is_read_is_found_wherever_it_stands() {
        assert_eq!(read(""), Reads::default());
        assert_eq!(read("when { resource.name like \"context*\" && principal is Person }"), Reads::default());
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
        let weaker = for_lists(&policy(
            "permit(principal, action, resource) when { context.labels.contains(\"a\") && context.process has uid && (context.numbers.hasTag(\"n\") || true) }
             unless { context.session.calls > 3 } unless { context.definition_changed };",
        ));
        let ForLists::Weaker(weaker, reads) = weaker.unwrap() else { unreachable!() };
        assert_eq!(reads, named(&["process", "definition_changed"]));
        let left = weaker.to_cedar().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(left.ends_with("when { (context.process has uid) && (!context.definition_changed) };"), "{left}");
        let same = for_lists(&policy("permit(principal, action, resource) when { context.weekday < 6 };")).unwrap();
        assert!(matches!(same, ForLists::Same));
        let unknown = for_lists(&policy("forbid(principal, action, resource) when { context.person.calls > 3 };")).unwrap();
        assert!(matches!(unknown, ForLists::Unknown));
    }
}
