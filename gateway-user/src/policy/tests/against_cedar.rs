//! Random sets and calls: what is decided over slices and parts of the context is what Cedar says of the whole set.

use std::str::FromStr;

use cedar_policy::{AuthorizationError, Authorizer, Context, Entities, PolicyId, Request};
use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::{
    super::{
        Annotations, Arguments, Counters, Facts, Labels, ProcessFacts, Question, Verdict,
        files::Effect,
        question::{Applies, Asked, Case, parts},
        reads::{Condition, Reads},
        schema::{ACTION_UIDS, SCHEMA},
        set::PolicySet,
    },
    person,
};
use crate::identity::{How, Identity, Principal, Strength};

const PRINCIPALS: [&str; 8] = [
    "principal",
    "principal == Person::\"https://idp|ada\"",
    "principal in Group::\"dba\"",
    "principal in Group::\"batch\"",
    "principal is Person",
    "principal is Person in Group::\"dba\"",
    "principal == Workload::\"nightly\"",
    "principal is Nobody",
];
const ACTIONS: [&str; 7] = [
    "action",
    "action == Action::\"tools/call\"",
    "action in Action::\"read\"",
    "action in [Action::\"call\", Action::\"admin\"]",
    "action in [Action::\"resources/read\", Action::\"tools/call\"]",
    "action in Action::\"session\"",
    "action == Action::\"other\"",
];
const RESOURCES: [&str; 8] = [
    "resource",
    "resource == Tool::\"clinic/query\"",
    "resource in Server::\"clinic\"",
    "resource == Server::\"clinic\"",
    "resource is Tool",
    "resource is Tool in Server::\"clinic\"",
    "resource is Resource in Server::\"lab\"",
    "resource in Server::\"lab\"",
];
/// Those that do not differ from call to call of one tool.
const STEADY: [&str; 9] = [
    "resource.name == \"query\"",
    "principal in Group::\"batch\" || context.method == \"tools/call\"",
    "context.time < datetime(\"2026-06-01\")",
    "context.weekday == 4",
    "context.strength.host_login",
    "context.process has unit && context.process.unit == \"agent.service\"",
    "context.annotations has readOnly && context.annotations.readOnly",
    "context.definition_changed || context has revision",
    "principal is Person && principal.subject like \"a*\"",
];
const VARYING: [&str; 8] = [
    "context.labels.contains(\"sql:write\")",
    "context.labels.contains(\"sql:write\") && resource.name == \"query\"",
    "context.arguments.hasTag(\"table\") && context.arguments.getTag(\"table\") == \"patients\"",
    "context.numbers.hasTag(\"limit\") && context.numbers.getTag(\"limit\") * 2 > 10",
    "context.lists.hasTag(\"columns\") && context.lists.getTag(\"columns\").contains(\"ssn\")",
    "context.session.calls > 3",
    "context.person.bytes_out > 3 || context.method == \"tools/call\"",
    "(if true then context else context).labels.contains(\"a\")",
];

/// What is told without Cedar, and meets an error where the call has no such thing.
const TOLD: [&str; 28] = [
    "true",
    "false",
    "principal in Group::\"dba\"",
    "principal in Person::\"https://idp|ada\"",
    "principal in Workload::\"batch\"",
    "context.labels.contains(\"sql:write\")",
    "context.arguments.hasTag(\"table\")",
    "context.arguments.hasTag(\"limit\")",
    "context.arguments.getTag(\"table\") == \"patients\"",
    "context.arguments.getTag(\"limit\") != context.arguments.getTag(\"table\")",
    "context.numbers.hasTag(\"table\")",
    "context.numbers.hasTag(\"limit\")",
    "context.numbers.getTag(\"limit\") == 4",
    "context.numbers.getTag(\"limit\") > 5",
    "4 >= context.numbers.getTag(\"limit\")",
    "context.numbers.getTag(\"table\") != 3",
    "context.method == \"tools/call\"",
    "context.strength.name == \"token\" || context.strength.session_login || context.strength.token",
    "context.strength.declared || context.strength.declared_on_instance",
    "context has revision && context.revision == \"2025-11-25\"",
    "context has definition || context.definition_changed",
    "context.definition == \"ab\"",
    "context.process has unit && context.process.unit == \"agent.service\"",
    "context.process.exe != context.process.cgroup",
    "context.process.uid <= 3",
    "context.session.calls < 3 || context.session.bytes_out < context.person.bytes_out",
    "context.session.tools == 1 && context.person.tools > -1 && context.person.calls > 3",
    "context.annotations has readOnly || context.annotations.destructive || context.annotations.idempotent || context.annotations.openWorld",
];

/// Of what is told, any of it put together.
fn told() -> impl Strategy<Value = String> {
    let one = select(&TOLD).prop_map(|text| format!("({text})"));
    let all = one.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), select(vec!["&&", "||"]), inner.clone()).prop_map(|(left, glue, right)| format!("({left} {glue} {right})")),
            inner.prop_map(|inner| format!("!{inner}")),
        ]
    });
    let one = (select(vec!["when", "unless"]), all).prop_map(|(kind, text)| format!(" {kind} {{ {text} }}"));
    prop::collection::vec(one, 1..3).prop_map(|all| all.concat())
}

fn conditions(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    let one = (select(vec!["when", "unless"]), select(of)).prop_map(|(kind, text)| format!(" {kind} {{ {text} }}"));
    prop::collection::vec(one, 0..3).prop_map(|all| all.concat())
}

fn policies(conditions: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let effects = vec!["permit", "permit", "permit", "forbid", "@hold(\"h\") forbid"];
    let one = (select(effects), select(&PRINCIPALS), select(&ACTIONS), select(&RESOURCES), conditions).prop_map(
        |(effect, principal, action, resource, conditions)| format!("{effect}({principal}, {action}, {resource}){conditions};\n"),
    );
    prop::collection::vec(one, 0..12).prop_map(|all| all.concat())
}

fn any_policies() -> impl Strategy<Value = String> {
    policies(conditions(&STEADY).prop_flat_map(|steady| conditions(&VARYING).prop_map(move |varying| format!("{steady}{varying}"))))
}

#[derive(Debug, Clone)]
struct Call {
    who: usize,
    server: &'static str,
    method: &'static str,
    name: Option<&'static str>,
    arguments: serde_json::Value,
    facts: Facts,
}

impl Call {
    fn ask<T>(&self, with: impl FnOnce(&Question<'_>) -> T) -> T {
        let workload = Principal::Workload { name: "nightly".into(), groups: vec!["batch".into()] };
        let identity = match self.who {
            0 => person("ada", &["dba", "staff"]),
            1 => person("bob", &["batch"]),
            2 => Identity::new(workload, How::Nothing, Strength::Declared),
            _ => Identity::nobody(),
        };
        let arguments = Arguments::read(self.arguments.to_string().as_bytes());
        let Call { server, method, name, facts, .. } = self;
        with(&Question { identity: &identity, server, method, name: *name, arguments: &arguments, facts })
    }
}

/// What differs from call to call of one tool.
fn varying() -> impl Strategy<Value = (serde_json::Value, Vec<&'static str>, Counters, Counters)> {
    let arguments = vec![
        json!({}),
        json!({ "table": "patients", "limit": 4 }),
        json!({ "table": "x", "limit": 6, "columns": ["ssn", "id"] }),
        json!({ "limit": i64::MAX, "columns": [] }),
    ];
    let labels = vec![vec![], vec!["sql:write"], vec!["a", "sql:write"]];
    let counters = (0_u64..6).prop_map(|calls| Counters { calls, bytes_out: calls, tools: 1 });
    (select(arguments), select(labels), counters.clone(), counters)
}

fn calls() -> impl Strategy<Value = Call> {
    let methods = vec![
        ("tools/call", Some("query")),
        ("tools/call", Some("execute")),
        ("resources/read", Some("query")),
        ("tools/list", None),
        ("prompts/get", Some("query")),
        ("tasks/list", None),
        ("new/method", None),
    ];
    let facts = (
        select(vec![0_u64, 1_795_887_015, u64::MAX]),
        select(vec![Strength::None, Strength::Declared, Strength::HostLogin, Strength::Token]),
        any::<bool>(),
        any::<Option<bool>>(),
    );
    (0_usize..4, select(vec!["clinic", "lab"]), select(methods), facts, varying()).prop_map(
        |(who, server, (method, name), facts, varying)| {
            let (time, strength, flag, hint) = facts;
            let process = ProcessFacts { unit: flag.then(|| "agent.service".into()), uid: Some(3), ..ProcessFacts::default() };
            let facts = Facts {
                time,
                strength,
                process,
                revision: (!flag).then(|| "2025-11-25".into()),
                annotations: Annotations { read_only_hint: hint, ..Annotations::default() },
                definition_changed: flag,
                ..Facts::default()
            };
            let mut call = Call { who, server, method, name, arguments: json!({}), facts };
            call.vary(varying);
            call
        },
    )
}

impl Call {
    fn vary(&mut self, (arguments, labels, session, person): (serde_json::Value, Vec<&'static str>, Counters, Counters)) {
        let labels: Labels = serde_json::from_value(json!(labels)).unwrap();
        self.arguments = arguments;
        self.facts = Facts { labels, session, person, ..self.facts.clone() };
    }
}

/// A set as Cedar takes it, for and against.
struct Whole<'s> {
    set: &'s PolicySet,
    permits: cedar_policy::PolicySet,
    forbids: cedar_policy::PolicySet,
}

impl<'s> Whole<'s> {
    fn of(set: &'s PolicySet) -> Self {
        let of = |permits| {
            let wanted = set.policies().filter(|policy| (policy.effect == Effect::Permit) == permits);
            let policies = wanted.map(|policy| cedar_policy::Policy::from_str(policy.text).unwrap().new_id(PolicyId::new(policy.id)));
            cedar_policy::PolicySet::from_policies(policies).unwrap()
        };
        Whole { set, permits: of(true), forbids: of(false) }
    }

    /// The decision by Cedar alone, over all policies and the whole context, both checked against the schema.
    fn decide(&self, question: &Question<'_>) -> (Verdict, Vec<String>) {
        let case = Case::of(question);
        let (context, mut entities) = parts(question, &case, Reads::ALL).unwrap();
        // The schema brings the actions.
        entities.retain(|entity| entity.uid() != ACTION_UIDS[case.action].0);
        let entities = Entities::from_entities(entities, Some(&SCHEMA)).unwrap();
        let (principal, action, resource) = (case.principal.uid.clone(), ACTION_UIDS[case.action].0.clone(), case.resource.uid.clone());
        let request = Request::new(principal, action, resource, Context::from_pairs(context).unwrap(), Some(&SCHEMA)).unwrap();
        let ask = |policies| {
            let answer = Authorizer::new().is_authorized(&request, policies, &entities);
            let mut reasons: Vec<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
            reasons.sort();
            let failed = |error: &AuthorizationError| match error {
                AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
            };
            (reasons, answer.diagnostics().errors().map(failed).collect::<Vec<_>>())
        };
        let effect = |id: &String| self.set.policies().find(|policy| policy.id == id).unwrap().effect;
        let ((permits, _), (against, failed)) = (ask(&self.permits), ask(&self.forbids));
        let mut forbids: Vec<String> = against.iter().filter(|id| effect(id) == Effect::Forbid).cloned().chain(failed).collect();
        forbids.sort();
        match () {
            () if !forbids.is_empty() => (Verdict::Deny, forbids),
            () if permits.is_empty() => (Verdict::Deny, Vec::new()),
            () if !against.is_empty() => (Verdict::Hold, against),
            () => (Verdict::Allow, permits),
        }
    }
}

fn set(text: &str) -> PolicySet {
    PolicySet::from_sources(vec![("p.cedar".into(), text.into())]).unwrap_or_else(|errors| unreachable!("{errors}"))
}

proptest! {
    // Each set is validated, which takes most of the time.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_slice_decides_as_the_whole_set(text in any_policies(), calls in prop::collection::vec(calls(), 12)) {
        let set = set(&text);
        let whole = Whole::of(&set);
        for call in calls {
            let (ruling, wanted) = call.ask(|question| (set.decide(question), whole.decide(question)));
            let policies = ruling.policies.iter().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!((ruling.verdict, policies), wanted, "{}\n{:?}", text, call);
        }
    }

    #[test]
    fn what_is_told_without_cedar_is_what_cedar_tells(text in prop::collection::vec(told(), 8), calls in prop::collection::vec(calls(), 8)) {
        for text in text {
            let policy = cedar_policy::Policy::from_str(&format!("permit(principal, action, resource){text};")).unwrap();
            let condition = Condition::of(&policy).unwrap().unwrap();
            let test = condition.direct.as_ref();
            prop_assert!(test.is_some(), "left to Cedar: {}", text);
            for call in &calls {
                let (told, wanted) = call.ask(|question| {
                    let case = Case::of(question);
                    let asked = Asked::of(question, &case, condition.reads).unwrap();
                    (test.and_then(|test| test.holds(question, &case)), asked.applies(&condition.policy))
                });
                let wanted = match wanted {
                    Applies::Yes => Some(true),
                    Applies::No => Some(false),
                    Applies::Failed(_) => None,
                };
                prop_assert_eq!(told, wanted, "{}\n{:?}", text, call);
            }
        }
    }

    #[test]
    fn what_some_call_may_do_is_in_the_list(text in any_policies(), mut call in calls(), varied in prop::collection::vec(varying(), 12)) {
        let set = set(&text);
        let shown = call.ask(|question| set.may_use(question));
        for varying in varied {
            call.vary(varying);
            let verdict = call.ask(|question| set.decide(question)).verdict;
            prop_assert!(shown || verdict == Verdict::Deny, "{}\n{:?}", text, call);
        }
    }

    #[test]
    fn what_no_call_may_do_is_not_in_the_list(text in policies(conditions(&STEADY)), calls in prop::collection::vec(calls(), 12)) {
        let set = set(&text);
        for call in calls {
            let (shown, ruling) = call.ask(|question| (set.may_use(question), set.decide(question)));
            prop_assert_eq!(shown, ruling.verdict != Verdict::Deny, "{}\n{:?}", text, call);
        }
    }
}
