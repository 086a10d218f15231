use super::Id;

/// A range of the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes that it stands for, of the bytes that were read.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// What a body or an event holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one message is the rule, and a box would be an allocation per call")]
pub enum Payload {
    /// One message.
    Single(Message),
    /// A JSON-RPC batch: at least one message. [`super::confirm()`] says whether the revision has batches.
    Batch(Vec<Message>),
}

impl Payload {
    /// Every message.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Single(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }
}

/// One JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is an answer.
    Response(Response),
}

impl Message {
    /// Where the message stands in the bytes that were read.
    pub fn span(&self) -> Span {
        match self {
            Self::Request(m) => m.span,
            Self::Notification(m) => m.span,
            Self::Response(m) => m.span,
        }
    }

    /// The method of a request or notification.
    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Request(m) => Some(&m.method),
            Self::Notification(m) => Some(&m.method),
            Self::Response(_) => None,
        }
    }

    /// `_meta` of a request or notification.
    pub fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Request(m) => Some(&m.meta),
            Self::Notification(m) => Some(&m.meta),
            Self::Response(_) => None,
        }
    }
}

/// A request, of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: Id,
    /// Its method.
    pub method: String,
    /// What it acts on: `params.name` of `tools/call` and `prompts/get`, `params.uri` of `resources/*`. These
    /// are never read without it.
    pub name: Option<String>,
    /// `params.taskId` of `tasks/*`.
    pub task_id: Option<String>,
    /// What `params._meta` says; for `initialize`, `clientInfo` is that of `params`.
    pub meta: Meta,
    /// `params`, when it is an object.
    pub params: Option<Span>,
    /// `params.arguments`, of any type.
    pub arguments: Option<Span>,
    /// `params.requestState`: the request continues one that was answered `input_required`.
    pub request_state: Option<String>,
    /// `params.inputResponses`.
    pub input_responses: Option<Span>,
    /// `params.task` is there: the caller asks for a task (2025-11-25).
    pub asks_task: bool,
    /// `params.protocolVersion` (of `initialize`).
    pub protocol_version: Option<String>,
    /// `params.name` and `params.uri` of other methods: what `Mcp-Name` may mirror there.
    pub(super) other_names: Vec<String>,
    /// The whole message.
    pub span: Span,
}

/// A notification, of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its method.
    pub method: String,
    /// What `params._meta` says.
    pub meta: Meta,
    /// `params`, when it is an object.
    pub params: Option<Span>,
    /// `params.requestId` of `notifications/cancelled`.
    pub request_id: Option<Id>,
    /// `params.progressToken` of `notifications/progress`.
    pub progress_token: Option<Id>,
    /// `params.uri` of `notifications/resources/updated`.
    pub uri: Option<String>,
    /// The whole message.
    pub span: Span,
}

/// An answer, of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The id of the request; none (absent or `null`) only when the outcome is an error.
    pub id: Option<Id>,
    /// How it went.
    pub outcome: Outcome,
    /// The whole message.
    pub span: Span,
}

/// How a request went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `result` was sent.
    Result {
        /// `isError` is `true`: the tool failed.
        is_error: bool,
        /// `resultType` (2026-07-28; absent means `complete`).
        result_type: Option<String>,
        /// `requestState` of an `input_required` result.
        request_state: Option<String>,
        /// `protocolVersion` of the answer to `initialize`.
        protocol_version: Option<String>,
        /// `result`, of any type.
        span: Span,
    },
    /// `error` was sent.
    Error {
        /// `error.code`.
        code: i64,
        /// `error.message`.
        message: String,
        /// `error`, whole.
        span: Span,
    },
}

/// What `_meta` says, as far as the gateway uses it. The sender says it of itself: it proves nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `io.modelcontextprotocol/protocolVersion` (2026-07-28 and later).
    pub protocol_version: Option<String>,
    /// `progressToken`.
    pub progress_token: Option<Id>,
    /// `traceparent` (W3C Trace Context), unchecked.
    pub traceparent: Option<String>,
    /// `io.modelcontextprotocol/clientInfo`.
    pub client_info: Option<ClientInfo>,
    /// The client declares the extension `io.modelcontextprotocol/tasks`.
    pub tasks: bool,
}

/// What a client says that it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// `name`.
    pub name: Option<String>,
    /// `version`.
    pub version: Option<String>,
}
