//! The members of a message that the gateway reads: `params`, `_meta`, `result` and `error`.

use super::classify::Params;
use super::read::Reader;
use super::scan::{Fault, Kind, Object};
use super::text::Text;
use super::{ClientInfo, Flaw, Meta, Outcome, Span};

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
const META: &[&str] =
    &["progressToken", "traceparent", "tracestate", "baggage", VERSION, CLIENT_INFO, CAPABILITIES, "io.modelcontextprotocol/logLevel"];
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
    "prompts",
    "resources",
    "resourceTemplates",
    "nextCursor",
    "cacheScope",
    "ttlMs",
];
const ERROR: &[&str] = &["code", "message", "data"];
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const TASKS: &str = "io.modelcontextprotocol/tasks";

impl Reader<'_> {
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
            self.scan.note(Flaw::Params, || format!("{what} is not a string"));
        }
        Ok(value)
    }

    pub(super) fn params(&mut self) -> Result<Params, Fault> {
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
                "requestState" => params.request_state = self.required_string("`params.requestState`")?,
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
        params.span = Some(Span { start, end: self.scan.position() });
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
                VERSION => meta.protocol_version = self.required_string("the protocol version in `_meta`")?,
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

    pub(super) fn result(&mut self) -> Result<Outcome, Fault> {
        let start = self.scan.here();
        let (mut is_error, mut result_type, mut request_state, mut protocol_version) = (false, None, None, None);
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
        let span = Span { start, end: self.scan.position() };
        Ok(Outcome::Result { is_error, result_type, request_state, protocol_version, span })
    }

    /// Nothing when it is not an object with an integer `code` and a string `message`.
    pub(super) fn error(&mut self) -> Result<Option<Outcome>, Fault> {
        let start = self.scan.here();
        let (mut code, mut message) = (None, None);
        if self.scan.kind()? == Kind::Object {
            let mut object = self.scan.open(true)?;
            while let Some(key) = self.scan.key(&mut object)? {
                let key = key.decode(self.scan.input);
                match &*key {
                    "code" if self.scan.kind()? == Kind::Number => {
                        let number = self.scan.number()?;
                        code = if number.integer { self.text(number.span).parse::<i64>().ok() } else { None };
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
        let span = Span { start, end: self.scan.position() };
        let (Some(code), Some(message)) = (code, message) else {
            return Ok(None);
        };
        Ok(Some(Outcome::Error { code, message, span }))
    }
}
