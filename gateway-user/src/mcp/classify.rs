//! What a message is, by the members that it has.

use super::keys::variant_of;
use super::scan::Fault;
use super::text::shown;
use super::{ClientInfo, Flaw, Id, Message, Meta, Notification, Outcome, Request, Response, Span};

/// Requests of any revision: as notifications they would be acted on without an answer, or not at all.
const REQUESTS: &[&str] = &[
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "completion/complete",
    "logging/setLevel",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
    "tasks/update",
];

/// The members of a message, before it is known what it is.
#[derive(Default)]
pub(super) struct Members {
    pub(super) version: bool,
    pub(super) id: Option<Option<Id>>,
    pub(super) method: Option<Option<String>>,
    pub(super) params: Option<Params>,
    pub(super) outcome: Option<Outcome>,
    pub(super) outcomes: usize,
}

#[derive(Default)]
pub(super) struct Params {
    pub(super) span: Option<Span>,
    pub(super) meta: Meta,
    pub(super) name: Option<String>,
    pub(super) uri: Option<String>,
    pub(super) task_id: Option<String>,
    pub(super) arguments: Option<Span>,
    pub(super) request_state: Option<String>,
    pub(super) input_responses: Option<Span>,
    pub(super) asks_task: bool,
    pub(super) protocol_version: Option<String>,
    pub(super) client_info: Option<ClientInfo>,
    pub(super) request_id: Option<Id>,
    pub(super) progress_token: Option<Id>,
}

pub(super) fn refuse<T>(flaw: Flaw, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(flaw, message))
}

pub(super) fn classify(members: Members, span: Span) -> Result<Message, Fault> {
    if !members.version {
        return refuse(Flaw::JsonRpc, "the message is not JSON-RPC 2.0: `jsonrpc` must be \"2.0\"");
    }
    let Members { id, method, params, outcome, outcomes, .. } = members;
    match (method, outcomes) {
        (None, 0) => refuse(Flaw::Shape, "the message has neither `method` nor `result` nor `error`"),
        (None, 1) => answer(id, outcome, span),
        (None, _) => refuse(Flaw::Shape, "the message has both `result` and `error`; send one of them"),
        (Some(_), 1..) => {
            refuse(Flaw::Shape, "the message has `method` beside `result` or `error`: it is a request or an answer, not both")
        }
        (Some(None), 0) => refuse(Flaw::Method, "`method` is not a string"),
        (Some(Some(method)), 0) => match id {
            None => notification(method, params.unwrap_or_default(), span),
            Some(None) => refuse(Flaw::Id, "the id of a request is a string or a number, never null; leave it out for a notification"),
            Some(Some(id)) => request(id, method, params.unwrap_or_default(), span),
        },
    }
}

fn answer(id: Option<Option<Id>>, outcome: Option<Outcome>, span: Span) -> Result<Message, Fault> {
    let Some(outcome) = outcome else {
        return refuse(Flaw::Shape, "`error` is not an object with an integer `code` and a string `message`");
    };
    let id = id.flatten();
    if id.is_none() && matches!(outcome, Outcome::Result { .. }) {
        return refuse(Flaw::Id, "the result has no id; whose answer it is, is not certain");
    }
    Ok(Message::Response(Response { id, outcome, span }))
}

fn notification(method: String, params: Params, span: Span) -> Result<Message, Fault> {
    if REQUESTS.iter().any(|known| nearly(&method, known)) {
        let message = format!("{} is a request, but has no id; send one, so that it is answered", shown(&method));
        return refuse(Flaw::Method, message);
    }
    Ok(Message::Notification(Notification {
        method,
        meta: params.meta,
        params: params.span,
        request_id: params.request_id,
        progress_token: params.progress_token,
        uri: params.uri,
        span,
    }))
}

fn request(id: Id, method: String, params: Params, span: Span) -> Result<Message, Fault> {
    if method.starts_with("notifications/") {
        let message = format!("{} is a notification, but has an id; leave it out", shown(&method));
        return refuse(Flaw::Method, message);
    }
    let Params { name, uri, task_id, mut meta, .. } = params;
    let mut other_names = Vec::new();
    let (acts_on, member) = match method.as_str() {
        "tools/call" | "prompts/get" => (name, Some("name")),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => (uri, Some("uri")),
        _ => {
            other_names.extend([name, uri].into_iter().flatten());
            (None, None)
        }
    };
    if let (None, Some(member)) = (&acts_on, member) {
        let message = format!("`{method}` needs `params.{member}`, a string");
        return refuse(Flaw::Params, message);
    }
    if meta.client_info.is_none() {
        meta.client_info = params.client_info;
    }
    Ok(Message::Request(Request {
        id,
        method,
        name: acts_on,
        task_id,
        meta,
        params: params.span,
        arguments: params.arguments,
        request_state: params.request_state,
        input_responses: params.input_responses,
        asks_task: params.asks_task,
        protocol_version: params.protocol_version,
        other_names,
        span,
    }))
}

/// A server that compares methods without case would take one for the other.
fn nearly(method: &str, known: &str) -> bool {
    method == known || (method.len() <= 2 * known.len() && variant_of(method, &[known]).is_some())
}
