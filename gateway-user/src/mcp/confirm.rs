use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::text::shown;
use super::{Flaw, Id, Message, Payload, Refusal, Request};
use crate::wire::http1::Headers;
use crate::wire::media::{content_encoding, media_type};

/// A revision of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revision {
    /// 2024-11-05: HTTP+SSE. Its messages look like those of 2025-03-26, so only `initialize` names it.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP; what a message without `MCP-Protocol-Version` is taken for.
    V2025_03_26,
    /// 2025-06-18
    V2025_06_18,
    /// 2025-11-25
    V2025_11_25,
    /// 2026-07-28: stateless, mirrored headers.
    V2026_07_28,
    /// One that this gateway does not know, as named.
    Unknown(String),
}

impl Revision {
    /// The revision of that name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "2024-11-05" => Self::V2024_11_05,
            "2025-03-26" => Self::V2025_03_26,
            "2025-06-18" => Self::V2025_06_18,
            "2025-11-25" => Self::V2025_11_25,
            "2026-07-28" => Self::V2026_07_28,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
            Self::Unknown(name) => name,
        }
    }

    /// Whether it has JSON-RPC batches. An unknown revision is taken for a later one: they were removed in
    /// 2025-06-18.
    pub fn has_batches(&self) -> bool {
        matches!(self, Self::V2024_11_05 | Self::V2025_03_26)
    }

    /// Whether every request carries its version and capabilities, headers mirror the body, and closing the
    /// answer's stream is the cancellation.
    pub fn is_stateless(&self) -> bool {
        matches!(self, Self::V2026_07_28)
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks the header fields of a POST against the messages that it carries, and tells the revision that it
/// claims to speak. The body decides; header fields only confirm it.
///
/// A claim proves nothing: where a session has agreed on a revision, compare.
///
/// # Errors
/// [`Refusal`] (HTTP 400 and -32020 in most cases) when
/// - an `Mcp-*` field stands twice, or is spelt with `_`, or holds what no header field may hold;
/// - `MCP-Protocol-Version` differs from the version in `_meta`, or is missing where `_meta` has one;
/// - `Mcp-Method` or `Mcp-Name` differ from the body, in any revision, or a request of 2026-07-28 lacks them;
/// - there is a batch where the revision has none, or one with `initialize` in it (2025-03-26,
///   basic/lifecycle);
/// - the body is coded, or in another charset than UTF-8, so that the server might read other text.
pub fn confirm(headers: &Headers, payload: &Payload) -> Result<Revision, Refusal> {
    let id = match payload {
        Payload::Single(Message::Request(request)) => Some(&request.id),
        _ => None,
    };
    let claims = Claims { headers, id };
    claims.fields()?;
    claims.media()?;
    let revision = claims.revision(payload)?;
    match payload {
        Payload::Batch(messages) => claims.batch(&revision, messages)?,
        Payload::Single(message) => claims.mirrored(&revision, message)?,
    }
    Ok(revision)
}

struct Claims<'a> {
    headers: &'a Headers,
    id: Option<&'a Id>,
}

impl Claims<'_> {
    fn refuse<T>(&self, flaw: Flaw, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::new(flaw, message, self.id.cloned()))
    }

    /// No `Mcp-*` field twice, also not for a server that takes `_` for `-` as CGI and WSGI do.
    fn fields(&self) -> Result<(), Refusal> {
        const OURS: [&str; 4] = ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"];
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in self.headers.iter() {
            let is_mcp = matches!(name, [b'm' | b'M', b'c' | b'C', b'p' | b'P', b'-' | b'_', ..]);
            if !is_mcp {
                continue;
            }
            let spelt = String::from_utf8_lossy(name).to_ascii_lowercase();
            let plain = spelt.replace('_', "-");
            if spelt != plain && OURS.contains(&plain.as_str()) {
                return self.refuse(
                    Flaw::Header,
                    format!("the header field `{spelt}` is not `{plain}`, but some servers take it for that; spell it with `-`"),
                );
            }
            if !value.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b)) {
                return self.refuse(
                    Flaw::Header,
                    format!("the header field `{spelt}` holds bytes other than visible ASCII; encode it as =?base64?…?="),
                );
            }
            if seen.contains(&plain) {
                return self
                    .refuse(Flaw::Header, format!("the header field `{plain}` stands more than once; which value counts is not certain"));
            }
            seen.push(plain);
        }
        Ok(())
    }

    fn media(&self) -> Result<(), Refusal> {
        let media = media_type(self.headers).or_else(|e| self.refuse(Flaw::Media, e.to_string()))?;
        if let Some(charset) = media.and_then(|m| m.charset)
            && !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii")
        {
            return self.refuse(
                Flaw::Media,
                format!("the charset {} is not UTF-8; JSON is sent as UTF-8 (RFC 8259 section 8.1)", shown(&charset)),
            );
        }
        let codings = content_encoding(self.headers).or_else(|e| self.refuse(Flaw::Media, e.to_string()))?;
        match codings.first() {
            None => Ok(()),
            Some(coding) => self.refuse(Flaw::Media, format!("the body is sent with Content-Encoding {}; send it as it is", shown(coding))),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        // Visible ASCII: `fields` has checked.
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    fn revision(&self, payload: &Payload) -> Result<Revision, Refusal> {
        let header = self.text("mcp-protocol-version");
        if let Some(version) = header {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if version.is_empty() || version.len() > 64 || !version.bytes().all(fits) {
                return self.refuse(Flaw::Version, "MCP-Protocol-Version is not the name of a revision, such as 2026-07-28");
            }
        }
        for message in payload.messages() {
            let claimed = message.meta().and_then(|meta| meta.protocol_version.as_deref());
            match (header, claimed) {
                (None, Some(claimed)) => {
                    return self.refuse(
                        Flaw::Version,
                        format!("MCP-Protocol-Version is missing, but `_meta` claims {}; send both, and the same", shown(claimed)),
                    );
                }
                (Some(header), Some(claimed)) if header != claimed => {
                    return self.refuse(
                        Flaw::Version,
                        format!("MCP-Protocol-Version is `{header}`, but `_meta` claims {}; send the same", shown(claimed)),
                    );
                }
                (Some("2026-07-28"), None) if matches!(message, Message::Request(_)) => {
                    return self.refuse(
                        Flaw::Version,
                        "MCP-Protocol-Version is `2026-07-28`, but `_meta` has no `io.modelcontextprotocol/protocolVersion`; send both",
                    );
                }
                _ => {}
            }
        }
        Ok(header.map_or(Revision::V2025_03_26, Revision::from_name))
    }

    fn batch(&self, revision: &Revision, messages: &[Message]) -> Result<(), Refusal> {
        if !revision.has_batches() {
            return self.refuse(Flaw::Batch, format!("revision {revision} has no batches; send each message in a POST of its own"));
        }
        if messages.iter().any(|m| m.method() == Some("initialize")) {
            return self.refuse(Flaw::Batch, "`initialize` must not be part of a batch; send it alone");
        }
        for name in ["mcp-method", "mcp-name"] {
            if self.headers.contains(name) {
                return self.refuse(Flaw::Header, format!("the header field `{name}` describes one message, but the body is a batch"));
            }
        }
        Ok(())
    }

    fn mirrored(&self, revision: &Revision, message: &Message) -> Result<(), Refusal> {
        let method = self.text("mcp-method");
        match (method, message.method()) {
            (Some(header), Some(body)) if header != body => {
                return self.refuse(Flaw::Header, format!("Mcp-Method is {}, but the body's method is {}", shown(header), shown(body)));
            }
            (Some(header), None) => {
                return self.refuse(Flaw::Header, format!("Mcp-Method is {}, but the body is an answer", shown(header)));
            }
            _ => {}
        }
        let name = match self.text("mcp-name") {
            Some(value) => Some(self.decoded_name(value)?),
            None => None,
        };
        match message {
            Message::Request(request) => self.names(revision, request, method, name.as_deref()),
            _ => Ok(()),
        }
    }

    fn names(&self, revision: &Revision, request: &Request, method: Option<&str>, name: Option<&str>) -> Result<(), Refusal> {
        if revision.is_stateless() && method.is_none() {
            return self.refuse(Flaw::Header, "Mcp-Method is missing; revision 2026-07-28 needs it on every request");
        }
        // tasks/*: the tasks extension, SEP-2663.
        let mirrored = match request.method.as_str() {
            method if method.starts_with("tasks/") => request.task_id.as_deref(),
            _ => request.name.as_deref(),
        };
        match (name, mirrored) {
            (Some(name), Some(body)) if name != body => {
                self.refuse(Flaw::Header, format!("Mcp-Name is {}, but the body names {}", shown(name), shown(body)))
            }
            (Some(name), None) if !request.other_names.is_empty() && request.other_names.iter().all(|t| t != name) => {
                self.refuse(Flaw::Header, format!("Mcp-Name is {}, which the body does not name", shown(name)))
            }
            (None, Some(_)) if revision.is_stateless() && !request.method.starts_with("tasks/") => {
                self.refuse(Flaw::Header, format!("Mcp-Name is missing; revision 2026-07-28 needs it on `{}`", request.method))
            }
            _ => Ok(()),
        }
    }

    /// Decodes `=?base64?…?=` (2026-07-28, "Value Encoding"): markers exactly so, standard alphabet, padded.
    fn decoded_name(&self, value: &str) -> Result<String, Refusal> {
        let Some(coded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
            return Ok(value.to_owned());
        };
        match STANDARD.decode(coded).map(String::from_utf8) {
            Ok(Ok(name)) => Ok(name),
            _ => self.refuse(Flaw::Header, "Mcp-Name is marked as base64, but is not padded base64 of UTF-8 text"),
        }
    }
}
