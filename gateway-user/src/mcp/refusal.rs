use super::Id;

/// JSON-RPC error codes that the gateway answers with.
pub mod code {
    /// Not JSON.
    pub const PARSE: i64 = -32700;
    /// JSON, but no message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// A message whose parameters cannot be used.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Header and body disagree (MCP 2026-07-28, basic/transports/streamable-http).
    pub const HEADER_MISMATCH: i64 = -32020;
}

/// What exactly was wrong; stable names for tests, metrics and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Not UTF-8.
    Utf8,
    /// A byte order mark.
    Bom,
    /// Not JSON (RFC 8259).
    Syntax,
    /// A surrogate without its other half in an escape.
    Surrogate,
    /// Something after the message.
    Trailing,
    /// Nested too deep.
    Depth,
    /// Too many bytes, or too many messages in a batch.
    Size,
    /// A number that a double cannot hold.
    Number,
    /// A key twice in one object.
    DuplicateKey,
    /// A key that some parsers take for another.
    KeyVariant,
    /// Not a JSON-RPC 2.0 message at all.
    JsonRpc,
    /// An id that is missing, of a wrong type, too long, or does not survive a double.
    Id,
    /// `method` is not a string, or does not fit a message with or without an id.
    Method,
    /// `params` or a member of it has a wrong type.
    Params,
    /// A message of two kinds, or of none.
    Shape,
    /// A batch where there is none, an empty one, or one that holds what it must not.
    Batch,
    /// `MCP-Protocol-Version` cannot be read or disagrees with the body.
    Version,
    /// `Mcp-Method`, `Mcp-Name` or another `Mcp-*` field is missing, repeated, unreadable or disagrees.
    Header,
    /// The body is not UTF-8 JSON as it stands, by Content-Type or Content-Encoding.
    Media,
}

impl Flaw {
    /// The stable name, in kebab case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Bom => "bom",
            Self::Syntax => "syntax",
            Self::Surrogate => "surrogate",
            Self::Trailing => "trailing",
            Self::Depth => "depth",
            Self::Size => "size",
            Self::Number => "number",
            Self::DuplicateKey => "duplicate-key",
            Self::KeyVariant => "key-variant",
            Self::JsonRpc => "json-rpc",
            Self::Id => "id",
            Self::Method => "method",
            Self::Params => "params",
            Self::Shape => "shape",
            Self::Batch => "batch",
            Self::Version => "version",
            Self::Header => "header",
            Self::Media => "media",
        }
    }

    fn answer(self) -> (u16, i64, &'static str) {
        match self {
            Self::Utf8 | Self::Bom | Self::Syntax | Self::Surrogate | Self::Trailing | Self::Number => (400, code::PARSE, "malformed"),
            Self::Depth => (400, code::PARSE, "limit"),
            Self::Size => (413, code::INVALID_REQUEST, "limit"),
            Self::DuplicateKey | Self::KeyVariant => (400, code::INVALID_REQUEST, "ambiguous"),
            Self::JsonRpc | Self::Id | Self::Method | Self::Shape => (400, code::INVALID_REQUEST, "malformed"),
            Self::Params => (400, code::INVALID_PARAMS, "malformed"),
            Self::Batch => (400, code::INVALID_REQUEST, "batch"),
            Self::Version | Self::Header => (400, code::HEADER_MISMATCH, "header-mismatch"),
            Self::Media => (415, code::INVALID_REQUEST, "malformed"),
        }
    }
}

/// A message that is not passed on, with the answer that its sender gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status to answer with.
    pub http_status: u16,
    /// JSON-RPC error code to answer with.
    pub code: i64,
    /// The class of reason: `malformed`, `ambiguous`, `limit`, `batch` or `header-mismatch`.
    pub reason: &'static str,
    /// What exactly was wrong.
    pub flaw: Flaw,
    /// A sentence for the sender: what, where, and what to do.
    pub message: String,
    /// The id of the refused message, if there is one and it could be read.
    pub id: Option<Id>,
}

impl Refusal {
    pub(super) fn new(flaw: Flaw, message: impl Into<String>, id: Option<Id>) -> Self {
        let (http_status, code, reason) = flaw.answer();
        Self { http_status, code, reason, flaw, message: message.into(), id }
    }
}
