//! A question as Cedar takes it: entities and context, with no more in them than is read.

use std::collections::HashSet;

use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Value};
use jiff::{Timestamp, tz::Offset};

use super::{
    Arguments, Counters, Question,
    reads::{ENTITIES, Reads},
    schema::{ACTION_UIDS, ACTIONS, TYPES, Target, action_of, joined, uid},
    scope::Member,
};
use crate::identity::{Principal, Strength};

type Fault = Box<dyn std::error::Error + Send + Sync>;
type Pairs = Vec<(String, Value)>;

/// The last second that Cedar's `datetime` is spelled with.
const LAST: u64 = 253_402_300_799;

/// Who, what, and on what: all that a scope is about.
pub(super) struct Case<'a> {
    pub(super) principal: Member<'a>,
    /// Its place in [`ACTIONS`].
    pub(super) action: usize,
    pub(super) resource: Member<'a>,
}

impl<'a> Case<'a> {
    pub(super) fn of(question: &Question<'a>) -> Self {
        let types = &*TYPES;
        let principal = match question.identity.principal() {
            Principal::Person { issuer, subject, .. } => uid(&types.person, joined(issuer, '|', subject)),
            Principal::Workload { name, .. } => uid(&types.workload, name),
            Principal::Nobody => uid(&types.nobody, "nobody"),
        };
        let groups = question.identity.groups().iter().map(String::as_str).collect();
        let action = action_of(question.method);
        let of = match ACTIONS[action].target {
            Target::Server => None,
            Target::Tool => Some(&types.tool),
            Target::Prompt => Some(&types.prompt),
            Target::Resource => Some(&types.resource),
        };
        let resource = match of {
            None => Member { uid: uid(&types.server, question.server), parent: &types.server, parents: Vec::new() },
            Some(of) => {
                let id = joined(question.server, '/', question.name.unwrap_or_default());
                Member { uid: uid(of, id), parent: &types.server, parents: vec![question.server] }
            }
        };
        Case { principal: Member { uid: principal, parent: &types.group, parents: groups }, action, resource }
    }
}

/// A question, put to Cedar.
pub(super) struct Asked {
    request: Request,
    entities: Entities,
}

/// Whether a policy applies.
pub(super) enum Applies {
    Yes,
    No,
    /// It could not be evaluated, because of this.
    Failed(String),
}

impl Asked {
    /// With what is read of the context.
    pub(super) fn of(question: &Question<'_>, case: &Case<'_>, reads: Reads) -> Result<Self, Fault> {
        let (context, entities) = parts(question, case, reads)?;
        let (principal, (action, _), resource) = (&case.principal.uid, &ACTION_UIDS[case.action], &case.resource.uid);
        let request = Request::new(principal.clone(), action.clone(), resource.clone(), Context::from_pairs(context)?, None)?;
        Ok(Asked { request, entities: Entities::from_entities(entities, None)? })
    }

    /// Whether the one policy of this set applies.
    pub(super) fn applies(&self, policy: &cedar_policy::PolicySet) -> Applies {
        let response = Authorizer::new().is_authorized(&self.request, policy, &self.entities);
        let found = response.diagnostics();
        if let Some(error) = found.errors().next() {
            return Applies::Failed(error.to_string());
        }
        // A permit is a reason to allow, a forbid one to deny: either is there only if it applies.
        if found.reason().next().is_some() { Applies::Yes } else { Applies::No }
    }
}

/// The context and the entities. They are not checked against the schema: a test does that for all of them.
pub(super) fn parts(question: &Question<'_>, case: &Case<'_>, reads: Reads) -> Result<(Pairs, Vec<Entity>), Fault> {
    let mut entities = Vec::new();
    if reads.has(ENTITIES) {
        let (action, group) = &ACTION_UIDS[case.action];
        let on = if case.resource.parents.is_empty() { question.server } else { question.name.unwrap_or_default() };
        entities.push(Entity::new_no_attrs(action.clone(), HashSet::from([group.clone()])));
        entities.push(member(&case.principal, principal(question))?);
        entities.push(member(&case.resource, named(on))?);
        if !case.resource.parents.is_empty() {
            entities.push(Entity::new_with_tags(uid(&TYPES.server, question.server), named(question.server), [], [])?);
        }
    }
    Ok((context(question, reads, &mut entities)?, entities))
}

fn member(member: &Member<'_>, attributes: Pairs) -> Result<Entity, Fault> {
    let parents = member.parents.iter().map(|name| uid(member.parent, name));
    Ok(Entity::new_with_tags(member.uid.clone(), attributes, parents, [])?)
}

fn principal(question: &Question<'_>) -> Pairs {
    match question.identity.principal() {
        Principal::Person { issuer, subject, name, .. } => {
            let mut attributes = vec![pair("issuer", text(issuer)), pair("subject", text(subject))];
            attributes.extend(name.as_ref().map(|name| pair("name", text(name))));
            attributes
        }
        Principal::Workload { name, .. } => named(name),
        Principal::Nobody => Vec::new(),
    }
}

fn named(name: &str) -> Pairs {
    vec![pair("name", text(name))]
}

fn context(question: &Question<'_>, reads: Reads, entities: &mut Vec<Entity>) -> Result<Pairs, Fault> {
    let facts = question.facts;
    let mut context = Pairs::new();
    let mut put = |name: &str, value: &mut dyn FnMut() -> Result<Value, Fault>| -> Result<(), Fault> {
        if reads.has(name) {
            context.push(pair(name, value()?));
        }
        Ok(())
    };
    put("method", &mut || Ok(text(question.method)))?;
    put("labels", &mut || Ok(Value::new_set(facts.labels.iter().map(text))))?;
    put("arguments", &mut || tagged(uid(&TYPES.arguments, ""), texts(question.arguments), entities))?;
    put("numbers", &mut || tagged(uid(&TYPES.numbers, ""), numbers(question.arguments), entities))?;
    put("lists", &mut || tagged(uid(&TYPES.lists, ""), lists(question.arguments), entities))?;
    put("time", &mut || Ok(Value::new_datetime(moment(facts.time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())))?;
    put("weekday", &mut || Ok(Value::new_long(Offset::UTC.to_datetime(moment(facts.time)).weekday().to_monday_one_offset().into())))?;
    put("strength", &mut || strength(facts.strength))?;
    put("process", &mut || {
        let process = &facts.process;
        let parts = [("exe", &process.exe), ("unit", &process.unit), ("cgroup", &process.cgroup)];
        let mut record: Pairs = parts.into_iter().filter_map(|(name, part)| Some(pair(name, text(part.as_ref()?)))).collect();
        record.extend(process.uid.map(|uid| pair("uid", Value::new_long(uid.into()))));
        Ok(Value::new_record(record)?)
    })?;
    put("session", &mut || counters(&facts.session))?;
    put("person", &mut || counters(&facts.person))?;
    put("annotations", &mut || {
        let hints = &facts.annotations;
        let parts = [
            ("readOnly", hints.read_only_hint),
            ("destructive", hints.destructive_hint),
            ("idempotent", hints.idempotent_hint),
            ("openWorld", hints.open_world_hint),
        ];
        Ok(Value::new_record(parts.into_iter().filter_map(|(name, hint)| Some(pair(name, Value::new_bool(hint?)))))?)
    })?;
    put("definition_changed", &mut || Ok(Value::new_bool(facts.definition_changed)))?;
    for (name, value) in [("revision", &facts.revision), ("definition", &facts.definition)] {
        if let Some(value) = value {
            put(name, &mut || Ok(text(value)))?;
        }
    }
    Ok(context)
}

/// An entity that has these tags; what stands in the context is its name. `{"a.b": 1, "a": {"b": 2}}` has two arguments of one path:
/// which of them the server will look at, nobody can tell.
fn tagged(uid: EntityUid, tags: Pairs, entities: &mut Vec<Entity>) -> Result<Value, Fault> {
    let mut paths: Vec<&str> = tags.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    if let Some(twice) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two arguments have the path {:?}", twice[0]).into());
    }
    entities.push(Entity::new_with_tags(uid.clone(), [], [], tags)?);
    Ok(Value::new_entity_uid(uid))
}

fn texts(arguments: &Arguments) -> Pairs {
    arguments.texts().map(|(path, value)| pair(path, text(value))).collect()
}

fn numbers(arguments: &Arguments) -> Pairs {
    arguments.integers().map(|(path, number)| pair(path, Value::new_long(number))).collect()
}

fn lists(arguments: &Arguments) -> Pairs {
    arguments.lists().map(|(path, items)| pair(path, Value::new_set(items.iter().map(text)))).collect()
}

fn strength(strength: Strength) -> Result<Value, Fault> {
    let at_least = |name, least| pair(name, Value::new_bool(strength >= least));
    Ok(Value::new_record([
        pair("name", text(strength.name())),
        at_least("declared", Strength::Declared),
        at_least("declared_on_instance", Strength::DeclaredOnInstance),
        at_least("host_login", Strength::HostLogin),
        at_least("session_login", Strength::SessionLogin),
        at_least("token", Strength::Token),
    ])?)
}

fn counters(counters: &Counters) -> Result<Value, Fault> {
    let count = |count: u64| Value::new_long(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(Value::new_record([
        pair("calls", count(counters.calls)),
        pair("bytes_out", count(counters.bytes_out)),
        pair("tools", count(counters.tools)),
    ])?)
}

fn moment(seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds.min(LAST)).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default()
}

fn pair(name: &str, value: Value) -> (String, Value) {
    (name.to_owned(), value)
}

fn text(text: impl AsRef<str>) -> Value {
    Value::new_string(text.as_ref().to_owned())
}
