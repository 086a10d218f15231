use super::keys::fold;
use super::scan::{Fault, Kind, Object, Scanner, Text, shown};
use super::{
    ClientInfo, Flaw, Id, Message, Meta, Notification, Outcome, Payload, Refusal, Request,
    Response, Span,
};

/// What [`read`] bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the bytes. Default 16 MiB.
    pub max_bytes: usize,
    /// Levels of objects and arrays, the message itself included. Default 128.
    pub max_depth: usize,
    /// Messages in a batch. Default 1,000.
    pub max_batch: usize,
    /// Length of an id or progress token as spelt, in bytes. Default 1,024.
    pub max_id: usize,
    /// In how many levels of `params.arguments` two keys that differ in case only are refused. Default 1: the
    /// names of a tool's parameters.
    pub folded_levels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            max_depth: 128,
            max_batch: 1000,
            max_id: 1024,
            folded_levels: 1,
        }
    }
}

const MESSAGE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: &[&str] = &[
    "name",
    "uri",
    "arguments",
    "_meta",
    "requestState",
    "inputResponses",
    "requestId",
    "progressToken",
    "protocolVersion",
    "clientInfo",
    "capabilities",
    "taskId",
    "task",
];
const META: &[&str] = &[
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
    VERSION,
    CLIENT_INFO,
    CAPABILITIES,
    "io.modelcontextprotocol/logLevel",
];
const RESULT: &[&str] = &[
    "_meta",
    "isError",
    "resultType",
    "requestState",
    "protocolVersion",
    "content",
    "structuredContent",
    "inputRequests",
    "contents",
    "messages",
    "tools",
];
const ERROR: &[&str] = &["code", "message", "data"];
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const TASKS: &str = "io.modelcontextprotocol/tasks";

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

/// Reads a body, or the data of an event, of either side.
///
/// It takes one pass to check UTF-8 and one to read, and allocates only for what it returns; [`Span`]s are
/// offsets in `bytes`.
///
/// # Errors
/// [`Refusal`] when the bytes are not one message or batch that every reader reads the same way.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Payload, Refusal> {
    if bytes.len() > limits.max_bytes {
        let message = format!(
            "the message has {} bytes, more than the limit of {}",
            bytes.len(),
            limits.max_bytes
        );
        return Err(Refusal::new(Flaw::Size, message, None));
    }
    if let [0xEF, 0xBB, 0xBF, ..] | [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] = bytes {
        let message = "the message begins with a byte order mark; send UTF-8 without one";
        return Err(Refusal::new(Flaw::Bom, message, None));
    }
    let input = std::str::from_utf8(bytes).map_err(|e| {
        let message = format!(
            "the message is not UTF-8 at byte {}; send it as UTF-8",
            e.valid_up_to()
        );
        Refusal::new(Flaw::Utf8, message, None)
    })?;
    let mut reader = Reader {
        scan: Scanner::new(input, limits.max_depth),
        limits,
        id: IdSeen::No,
    };
    let payload = reader.payload();
    let fault = match payload {
        Ok(payload) => match reader.scan.take_noted() {
            None => return Ok(payload),
            Some(noted) => noted,
        },
        Err(fault) => fault,
    };
    Err(Refusal::new(fault.flaw, fault.message, reader.id.once()))
}

struct Reader<'a> {
    scan: Scanner<'a>,
    limits: &'a Limits,
    id: IdSeen,
}

/// The id for a refusal: only if there is exactly one.
enum IdSeen {
    No,
    Once(Id),
    Unclear,
}

impl IdSeen {
    fn once(self) -> Option<Id> {
        match self {
            Self::Once(id) => Some(id),
            Self::No | Self::Unclear => None,
        }
    }
}

/// The members of a message, before it is known what it is.
#[derive(Default)]
struct Members {
    version: bool,
    id: Option<Option<Id>>,
    method: Option<Option<String>>,
    params: Option<Params>,
    outcome: Option<Outcome>,
    outcomes: usize,
}

#[derive(Default)]
struct Params {
    span: Option<Span>,
    meta: Meta,
    name: Option<String>,
    uri: Option<String>,
    task_id: Option<String>,
    arguments: Option<Span>,
    request_state: Option<String>,
    input_responses: Option<Span>,
    asks_task: bool,
    protocol_version: Option<String>,
    client_info: Option<ClientInfo>,
    request_id: Option<Id>,
    progress_token: Option<Id>,
}

impl Reader<'_> {
    fn payload(&mut self) -> Result<Payload, Fault> {
        let payload = match self.scan.kind()? {
            Kind::Object => Payload::Single(self.message()?),
            Kind::Array => Payload::Batch(self.batch()?),
            _ => {
                return refuse(
                    Flaw::JsonRpc,
                    "the body is JSON, but neither a JSON-RPC message nor a batch of them",
                );
            }
        };
        self.scan.end()?;
        Ok(payload)
    }

    fn batch(&mut self) -> Result<Vec<Message>, Fault> {
        let mut messages = Vec::new();
        self.scan.open_array()?;
        while self.scan.item(messages.is_empty())? {
            if messages.len() == self.limits.max_batch {
                let message = format!(
                    "the batch has more than {} messages; send fewer",
                    self.limits.max_batch
                );
                return refuse(Flaw::Size, message);
            }
            if self.scan.kind()? != Kind::Object {
                return refuse(
                    Flaw::Batch,
                    "the batch holds something that is no JSON-RPC message",
                );
            }
            messages.push(self.message()?);
            self.id = IdSeen::Unclear;
        }
        if messages.is_empty() {
            return refuse(Flaw::Batch, "the batch is empty");
        }
        for is_request in [true, false] {
            let mut ids: Vec<&Id> = messages
                .iter()
                .filter_map(|m| id_of(m, is_request))
                .collect();
            ids.sort_unstable();
            if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
                let message = format!(
                    "the batch has the id {} twice; which answer is whose is not certain",
                    twice[0]
                );
                return refuse(Flaw::Batch, message);
            }
        }
        Ok(messages)
    }

    fn message(&mut self) -> Result<Message, Fault> {
        let start = self.scan.here();
        let mut members = Members::default();
        let mut object = self.scan.open(true)?;
        while let Some(key) = self.scan.key(&mut object)? {
            let key = key.decode(self.scan.input);
            match &*key {
                "jsonrpc" => {
                    members.version = self.scan.optional_string()?.as_deref() == Some("2.0")
                }
                "id" => {
                    let id = self.id("the id")?;
                    self.id = match (&self.id, &id) {
                        (IdSeen::No, Some(id)) => IdSeen::Once(id.clone()),
                        (IdSeen::No, None) => IdSeen::No,
                        _ => IdSeen::Unclear,
                    };
                    members.id = Some(id);
                }
                "method" => members.method = Some(self.scan.optional_string()?),
                "params" => members.params = Some(self.params()?),
                "result" => {
                    members.outcomes += 1;
                    members.outcome = Some(self.result()?);
                }
                "error" => {
                    members.outcomes += 1;
                    members.outcome = self.error()?;
                }
                other => {
                    self.scan.check_variant(other, MESSAGE);
                    self.scan.skip(0)?;
                }
            }
        }
        let span = Span {
            start,
            end: self.scan.position(),
        };
        match classify(members, span) {
            Ok(message) => Ok(message),
            Err(fault) => {
                // What was noted on the way is nearer to the cause.
                Err(self.scan.take_noted().unwrap_or(fault))
            }
        }
    }

    /// An id or progress token; nothing when it is `null`.
    fn id(&mut self, what: &str) -> Result<Option<Id>, Fault> {
        let start = self.scan.here();
        let kind = self.scan.kind()?;
        let (span, id) = match kind {
            Kind::String => {
                let text = self.scan.string()?;
                let decoded = text
                    .escaped
                    .then(|| text.decode(self.scan.input).into_owned());
                let span = Span {
                    start,
                    end: self.scan.position(),
                };
                (span, Some(Id::text(self.text(span), decoded)))
            }
            Kind::Number => {
                let number = self.scan.number()?;
                let id = if number.span.len() > self.limits.max_id {
                    None
                } else {
                    Id::number(self.text(number.span))
                };
                if id.is_none() {
                    self.scan.note(Flaw::Id, || {
                        format!("{what} is a number that changes when it is read as a double; send a string, or an integer below 2^53")
                    });
                }
                (number.span, id)
            }
            Kind::Null => {
                self.scan.skip(0)?;
                return Ok(None);
            }
            _ => {
                self.scan.skip(0)?;
                self.scan.note(Flaw::Id, || {
                    format!("{what} is neither a string nor a number")
                });
                return Ok(None);
            }
        };
        if span.len() > self.limits.max_id {
            let max = self.limits.max_id;
            self.scan.note(Flaw::Id, || {
                format!("{what} is longer than {max} bytes; send a shorter one")
            });
            return Ok(None);
        }
        Ok(id)
    }

    fn text(&self, span: Span) -> &str {
        self.scan
            .input
            .get(span.start..span.end)
            .unwrap_or_default()
    }

    /// Enters an object, or skips a value of another type and says so by `None`; `null` is as good as absent.
    fn object_or_skip(&mut self, what: &str, flaw: Flaw) -> Result<Option<Object>, Fault> {
        match self.scan.kind()? {
            Kind::Object => return self.scan.open(true).map(Some),
            Kind::Null => {}
            _ => self.scan.note(flaw, || format!("{what} is not an object")),
        }
        self.scan.skip(0)?;
        Ok(None)
    }

    fn required_string(&mut self, what: &str) -> Result<Option<String>, Fault> {
        let value = self.scan.optional_string()?;
        if value.is_none() {
            self.scan
                .note(Flaw::Params, || format!("{what} is not a string"));
        }
        Ok(value)
    }

    fn params(&mut self) -> Result<Params, Fault> {
        let mut params = Params::default();
        let start = self.scan.here();
        let Some(mut object) = self.object_or_skip("`params`", Flaw::Params)? else {
            return Ok(params);
        };
        while let Some(key) = self.scan.key(&mut object)? {
            let key = key.decode(self.scan.input);
            match &*key {
                "name" => params.name = self.scan.optional_string()?,
                "uri" => params.uri = self.scan.optional_string()?,
                "taskId" => params.task_id = self.scan.optional_string()?,
                "arguments" => params.arguments = Some(self.scan.skip(self.limits.folded_levels)?),
                "_meta" => params.meta = self.meta()?,
                "requestState" => {
                    params.request_state = self.required_string("`params.requestState`")?
                }
                "inputResponses" => params.input_responses = Some(self.scan.skip(1)?),
                "task" => {
                    self.scan.skip(0)?;
                    params.asks_task = true;
                }
                "protocolVersion" => params.protocol_version = self.scan.optional_string()?,
                "clientInfo" => params.client_info = self.client_info()?,
                "requestId" => params.request_id = self.id("`params.requestId`")?,
                "progressToken" => params.progress_token = self.id("`params.progressToken`")?,
                other => {
                    self.scan.check_variant(other, PARAMS);
                    self.scan.skip(0)?;
                }
            }
        }
        params.span = Some(Span {
            start,
            end: self.scan.position(),
        });
        Ok(params)
    }

    fn meta(&mut self) -> Result<Meta, Fault> {
        let mut meta = Meta::default();
        let Some(mut object) = self.object_or_skip("`params._meta`", Flaw::Params)? else {
            return Ok(meta);
        };
        while let Some(key) = self.scan.key(&mut object)? {
            let key = key.decode(self.scan.input);
            match &*key {
                VERSION => {
                    meta.protocol_version =
                        self.required_string("the protocol version in `_meta`")?
                }
                "progressToken" => meta.progress_token = self.id("the progress token")?,
                "traceparent" => meta.traceparent = self.scan.optional_string()?,
                CLIENT_INFO => meta.client_info = self.client_info()?,
                CAPABILITIES => meta.tasks = self.declares_tasks()?,
                other => {
                    self.scan.check_variant(other, META);
                    self.scan.skip(0)?;
                }
            }
        }
        Ok(meta)
    }

    fn client_info(&mut self) -> Result<Option<ClientInfo>, Fault> {
        if self.scan.kind()? != Kind::Object {
            self.scan.skip(0)?;
            return Ok(None);
        }
        let mut info = ClientInfo::default();
        let mut object = self.scan.open(true)?;
        while let Some(key) = self.scan.key(&mut object)? {
            match &*key.decode(self.scan.input) {
                "name" => info.name = self.scan.optional_string()?,
                "version" => info.version = self.scan.optional_string()?,
                _ => drop(self.scan.skip(0)?),
            }
        }
        Ok(Some(info))
    }

    /// `extensions` has the key of the tasks extension.
    fn declares_tasks(&mut self) -> Result<bool, Fault> {
        let mut declared = false;
        if self.scan.kind()? != Kind::Object {
            self.scan.skip(0)?;
            return Ok(declared);
        }
        let mut capabilities = self.scan.open(true)?;
        while let Some(key) = self.scan.key(&mut capabilities)? {
            if self.is(key, "extensions") && self.scan.kind()? == Kind::Object {
                let mut extensions = self.scan.open(true)?;
                while let Some(key) = self.scan.key(&mut extensions)? {
                    declared |= self.is(key, TASKS);
                    self.scan.skip(0)?;
                }
            } else {
                self.scan.skip(0)?;
            }
        }
        Ok(declared)
    }

    fn is(&self, key: Text, name: &str) -> bool {
        key.decode(self.scan.input) == name
    }

    fn result(&mut self) -> Result<Outcome, Fault> {
        let start = self.scan.here();
        let (mut is_error, mut result_type, mut request_state, mut protocol_version) =
            (false, None, None, None);
        if self.scan.kind()? == Kind::Object {
            let mut object = self.scan.open(false)?;
            while let Some(key) = self.scan.key(&mut object)? {
                let key = key.decode(self.scan.input);
                match &*key {
                    "isError" => is_error = self.scan.is_true()?,
                    "resultType" => result_type = self.scan.optional_string()?,
                    "requestState" => request_state = self.scan.optional_string()?,
                    "protocolVersion" => protocol_version = self.scan.optional_string()?,
                    other => {
                        self.scan.check_variant(other, RESULT);
                        self.scan.skip(0)?;
                    }
                }
            }
        } else {
            self.scan.skip(0)?;
        }
        let span = Span {
            start,
            end: self.scan.position(),
        };
        Ok(Outcome::Result {
            is_error,
            result_type,
            request_state,
            protocol_version,
            span,
        })
    }

    fn error(&mut self) -> Result<Option<Outcome>, Fault> {
        let start = self.scan.here();
        let (mut code, mut message) = (None, None);
        if self.scan.kind()? == Kind::Object {
            let mut object = self.scan.open(true)?;
            while let Some(key) = self.scan.key(&mut object)? {
                let key = key.decode(self.scan.input);
                match &*key {
                    "code" if self.scan.kind()? == Kind::Number => {
                        let number = self.scan.number()?;
                        code = if number.integer {
                            self.text(number.span).parse::<i64>().ok()
                        } else {
                            None
                        };
                    }
                    "message" => message = self.scan.optional_string()?,
                    other => {
                        self.scan.check_variant(other, ERROR);
                        self.scan.skip(0)?;
                    }
                }
            }
        } else {
            self.scan.skip(0)?;
        }
        let span = Span {
            start,
            end: self.scan.position(),
        };
        let (Some(code), Some(message)) = (code, message) else {
            self.scan.note(Flaw::Shape, || {
                "`error` is not an object with an integer `code` and a string `message`".to_owned()
            });
            return Ok(None);
        };
        Ok(Some(Outcome::Error {
            code,
            message,
            span,
        }))
    }
}

fn refuse<T>(flaw: Flaw, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        flaw,
        message: message.into(),
    })
}

fn id_of(message: &Message, of_request: bool) -> Option<&Id> {
    match message {
        Message::Request(request) if of_request => Some(&request.id),
        Message::Response(response) if !of_request => response.id.as_ref(),
        _ => None,
    }
}

fn classify(members: Members, span: Span) -> Result<Message, Fault> {
    if !members.version {
        return refuse(
            Flaw::JsonRpc,
            "the message is not JSON-RPC 2.0: `jsonrpc` must be \"2.0\"",
        );
    }
    let Members {
        id,
        method,
        params,
        outcome,
        outcomes,
        ..
    } = members;
    match (method, outcomes) {
        (None, 0) => refuse(
            Flaw::Shape,
            "the message has neither `method` nor `result` nor `error`",
        ),
        (None, 1) => answer(id, outcome, span),
        (None, _) => refuse(
            Flaw::Shape,
            "the message has both `result` and `error`; send one of them",
        ),
        (Some(_), 1..) => refuse(
            Flaw::Shape,
            "the message has `method` beside `result` or `error`: it is a request or an answer, not both",
        ),
        (Some(None), 0) => refuse(Flaw::Method, "`method` is not a string"),
        (Some(Some(method)), 0) => match id {
            None => notification(method, params.unwrap_or_default(), span),
            Some(None) => refuse(
                Flaw::Id,
                "the id of a request is a string or a number, never null; leave it out for a notification",
            ),
            Some(Some(id)) => request(id, method, params.unwrap_or_default(), span),
        },
    }
}

fn answer(id: Option<Option<Id>>, outcome: Option<Outcome>, span: Span) -> Result<Message, Fault> {
    let Some(outcome) = outcome else {
        return refuse(
            Flaw::Shape,
            "`error` is not an object with an integer `code` and a string `message`",
        );
    };
    let id = id.flatten();
    if id.is_none() && matches!(outcome, Outcome::Result { .. }) {
        return refuse(
            Flaw::Id,
            "the result has no id; whose answer it is, is not certain",
        );
    }
    Ok(Message::Response(Response { id, outcome, span }))
}

fn notification(method: String, params: Params, span: Span) -> Result<Message, Fault> {
    if REQUESTS.iter().any(|known| nearly(&method, known)) {
        let message = format!(
            "{} is a request, but has no id; send one, so that it is answered",
            shown(&method)
        );
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
        let message = format!(
            "{} is a notification, but has an id; leave it out",
            shown(&method)
        );
        return refuse(Flaw::Method, message);
    }
    let Params {
        name,
        uri,
        task_id,
        mut meta,
        ..
    } = params;
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
    method == known || (method.len() <= 2 * known.len() && fold(method).eq_ignore_ascii_case(known))
}
