//! The places of a message that client and server steer by.

use crate::json::{Token, Type};
use crate::outcome::Controls;

/// Where in a message a value stands: members are told by their place, so that the `id` of a row is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Data.
    Free,
    /// A message, or a batch of them.
    Message,
    Params,
    Result,
    Error,
    Meta,
    /// What a completion is for.
    Reference,
    /// Blocks of content, messages of a prompt, resources.
    Content,
    /// Tools, prompts.
    Named,
    /// Resources and their templates.
    Resource,
    /// Requests of a result, by their names.
    Requests,
    /// A JSON Schema: its members describe values.
    Schema,
    /// The schema of a value that a rule selects: what it gives as examples is masked.
    SchemaOf(usize),
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    /// Never changes.
    Control,
    /// What something is called by: for a record, what detectors find in it.
    Name,
    /// A value at this place.
    Value(Place),
}

impl Place {
    pub(crate) fn member(self, key: &str, controls: Controls) -> Member {
        use Member::{Control, Value};
        let steering = |is: bool| if is && controls == Controls::Keep { Control } else { Value(Place::Free) };
        match (self, key) {
            (Place::Message, "jsonrpc" | "id" | "method") | (Place::Error, "code") => Control,
            (Place::Params | Place::Reference | Place::Named, "name") if controls == Controls::Record => Member::Name,
            (Place::Params | Place::Reference | Place::Named, "name") => Control,
            (Place::Message, "params") => Value(Place::Params),
            (Place::Message, "result") => Value(Place::Result),
            (Place::Message, "error") => Value(Place::Error),
            (Place::Params | Place::Result, "_meta") => Value(Place::Meta),
            (Place::Params, "ref") => Value(Place::Reference),
            (Place::Params, "requestedSchema") | (Place::Named, "inputSchema" | "outputSchema") => Value(Place::Schema),
            (Place::Params | Place::Result, "content" | "contents" | "messages") | (Place::Content, "content" | "resource") => {
                Value(Place::Content)
            }
            (Place::Params | Place::Result, "tools" | "prompts") => Value(Place::Named),
            (Place::Result, "resources" | "resourceTemplates") => Value(Place::Resource),
            (Place::Result, "inputRequests") => Value(Place::Requests),
            (Place::Requests, _) => Value(Place::Message),
            (Place::Schema, "type" | "$ref" | "$schema" | "$id" | "required") => Control,
            (Place::Schema, _) => Value(Place::Schema),
            (Place::SchemaOf(_), "type" | "$ref") => Control,
            (Place::Params, _) => {
                steering(matches!(key, "uri" | "protocolVersion" | "progressToken" | "requestId" | "requestState" | "cursor"))
            }
            (Place::Result, _) => steering(matches!(key, "protocolVersion" | "requestState" | "nextCursor" | "resultType" | "isError")),
            (Place::Meta, _) => steering(matches!(key, "progressToken" | "io.modelcontextprotocol/protocolVersion")),
            (Place::Reference, _) => steering(matches!(key, "type" | "uri")),
            (Place::Content, _) => steering(matches!(key, "type" | "mimeType")),
            (Place::Resource, _) => steering(key == "mimeType"),
            (Place::Free | Place::Message | Place::Error | Place::Named | Place::SchemaOf(_), _) => Value(Place::Free),
        }
    }

    /// Whether an array or object here has members that others steer by, so that it cannot be replaced as a whole.
    pub(crate) fn is_skeleton(self) -> bool {
        !matches!(self, Place::Free)
    }
}

/// A field of a schema is described, not given: only examples of it are masked.
pub(crate) fn in_schema(at: Place, place: Place, key: &str, rule: Option<usize>, value: Token) -> (Place, Option<usize>) {
    match (at, rule) {
        (Place::Schema, Some(rule)) if value.kind == Type::Object => (Place::SchemaOf(rule), None),
        (Place::SchemaOf(rule), _) if matches!(key, "default" | "const" | "examples" | "enum") => (Place::Free, Some(rule)),
        (_, rule) => (place, rule),
    }
}
