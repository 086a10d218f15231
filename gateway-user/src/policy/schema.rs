//! What policies are written about, as `gateway.cedarschema` says it.

use std::{str::FromStr, sync::LazyLock};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

/// The schema's text.
pub(super) const TEXT: &str = include_str!("gateway.cedarschema");

/// The policy that is in every set: whoever may do nothing on a server may still open a session there, and sees empty lists. A forbid
/// overrides it.
pub const SESSION_POLICY: &str = "permit(principal, action in Action::\"session\", resource);";

/// The session policy's id. What begins like it is for policies of the gateway.
pub(super) const SESSION_ID: &str = "mcp-gateway:session";
pub(super) const RESERVED: &str = "mcp-gateway:";

// The schema is part of the program: the tests load it, and so does whoever starts the gateway.
#[expect(clippy::expect_used, reason = "a program whose schema is broken does not pass its tests")]
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::from_str(TEXT).expect("the schema is Cedar"));

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Server,
    Tool,
    Prompt,
    Resource,
}

/// An action of the schema: its name, the group that it is in, and what it acts on.
pub(super) struct Action {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) target: Target,
}

const fn action(name: &'static str, group: &'static str, target: Target) -> Action {
    Action { name, group, target }
}

/// Every action, sorted by name. A test compares them with the schema.
pub(super) const ACTIONS: [Action; 23] = [
    action("completion/complete", "read", Target::Server),
    action("initialize", "session", Target::Server),
    action("logging/setLevel", "session", Target::Server),
    action("notifications", "session", Target::Server),
    action("other", "call", Target::Server),
    action("ping", "session", Target::Server),
    action("prompts/get", "read", Target::Prompt),
    action("prompts/list", "session", Target::Server),
    action("resources/list", "session", Target::Server),
    action("resources/read", "read", Target::Resource),
    action("resources/subscribe", "read", Target::Resource),
    action("resources/templates/list", "session", Target::Server),
    action("resources/unsubscribe", "read", Target::Resource),
    action("response", "session", Target::Server),
    action("server/discover", "session", Target::Server),
    action("subscriptions/listen", "session", Target::Server),
    action("tasks/cancel", "admin", Target::Server),
    action("tasks/get", "read", Target::Server),
    action("tasks/list", "admin", Target::Server),
    action("tasks/result", "read", Target::Server),
    action("tasks/update", "call", Target::Server),
    action("tools/call", "call", Target::Tool),
    action("tools/list", "session", Target::Server),
];

/// The action of a method, as its place in [`ACTIONS`]: that of its name, of all notifications, or of what is not known.
pub(super) fn action_of(method: &str) -> usize {
    let name = if method.starts_with("notifications/") { "notifications" } else { method };
    let place = |name: &str| ACTIONS.binary_search_by(|action| action.name.cmp(name));
    place(name).or_else(|_| place("other")).unwrap_or_default()
}

/// The entity types, read once.
pub(super) struct Types {
    pub(super) action: EntityTypeName,
    pub(super) group: EntityTypeName,
    pub(super) person: EntityTypeName,
    pub(super) workload: EntityTypeName,
    pub(super) nobody: EntityTypeName,
    pub(super) server: EntityTypeName,
    pub(super) tool: EntityTypeName,
    pub(super) prompt: EntityTypeName,
    pub(super) resource: EntityTypeName,
    pub(super) arguments: EntityTypeName,
    pub(super) numbers: EntityTypeName,
    pub(super) lists: EntityTypeName,
}

pub(super) static TYPES: LazyLock<Types> = LazyLock::new(|| Types {
    action: named("Action"),
    group: named("Group"),
    person: named("Person"),
    workload: named("Workload"),
    nobody: named("Nobody"),
    server: named("Server"),
    tool: named("Tool"),
    prompt: named("Prompt"),
    resource: named("Resource"),
    arguments: named("Arguments"),
    numbers: named("Numbers"),
    lists: named("Lists"),
});

#[expect(clippy::expect_used, reason = "each is a plain word")]
fn named(name: &str) -> EntityTypeName {
    EntityTypeName::from_str(name).expect("a type's name")
}

/// The entity of this type and id.
pub(super) fn uid(of: &EntityTypeName, id: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
}

/// Every action with its group, as entities' ids, in the order of [`ACTIONS`].
pub(super) static ACTION_UIDS: LazyLock<Vec<(EntityUid, EntityUid)>> =
    LazyLock::new(|| ACTIONS.iter().map(|action| (uid(&TYPES.action, action.name), uid(&TYPES.action, action.group))).collect());

/// Two names as one id, so that no two pairs make one: a separator inside the first is escaped, and so is what escapes.
pub(super) fn joined(first: &str, separator: char, second: &str) -> String {
    let mut id = String::with_capacity(first.len() + 1 + second.len());
    for c in first.chars() {
        if c == separator || c == '\\' {
            id.push('\\');
        }
        id.push(c);
    }
    id.push(separator);
    id.push_str(second);
    id
}
