use super::classify::{Members, classify, refuse};
use super::scan::{Fault, Kind, Scanner};
use super::{Flaw, Id, Message, Payload, Refusal, Span};

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
        Self { max_bytes: 16 << 20, max_depth: 128, max_batch: 1000, max_id: 1024, folded_levels: 1 }
    }
}

const MESSAGE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
/// Reads a body, or the data of an event, of either side.
///
/// It takes one pass to check UTF-8 and one to read, and allocates only for what it returns; [`Span`]s are
/// offsets in `bytes`.
///
/// # Errors
/// [`Refusal`] when the bytes are not one message or batch that every reader reads the same way.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Payload, Refusal> {
    if bytes.len() > limits.max_bytes {
        let message = format!("the message has {} bytes, more than the limit of {}", bytes.len(), limits.max_bytes);
        return Err(Refusal::new(Flaw::Size, message, None));
    }
    if let [0xEF, 0xBB, 0xBF, ..] | [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] = bytes {
        let message = "the message begins with a byte order mark; send UTF-8 without one";
        return Err(Refusal::new(Flaw::Bom, message, None));
    }
    let input = std::str::from_utf8(bytes).map_err(|e| {
        let message = format!("the message is not UTF-8 at byte {}; send it as UTF-8", e.valid_up_to());
        Refusal::new(Flaw::Utf8, message, None)
    })?;
    let mut reader = Reader { scan: Scanner::new(input, limits.max_depth), limits, id: IdSeen::No };
    let payload = reader.payload();
    let fault = match payload {
        Ok(payload) => match reader.scan.take_noted() {
            None => return Ok(payload),
            Some(noted) => noted,
        },
        Err(fault) => fault,
    };
    let (flaw, message) = fault.into_parts();
    Err(Refusal::new(flaw, message, reader.id.once()))
}

pub(super) struct Reader<'a> {
    pub(super) scan: Scanner<'a>,
    pub(super) limits: &'a Limits,
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

impl Reader<'_> {
    fn payload(&mut self) -> Result<Payload, Fault> {
        let payload = match self.scan.kind()? {
            Kind::Object => Payload::Single(self.message()?),
            Kind::Array => Payload::Batch(self.batch()?),
            _ => {
                return refuse(Flaw::JsonRpc, "the body is JSON, but neither a JSON-RPC message nor a batch of them");
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
                let message = format!("the batch has more than {} messages; send fewer", self.limits.max_batch);
                return refuse(Flaw::Size, message);
            }
            if self.scan.kind()? != Kind::Object {
                return refuse(Flaw::Batch, "the batch holds something that is no JSON-RPC message");
            }
            messages.push(self.message()?);
            self.id = IdSeen::Unclear;
        }
        if messages.is_empty() {
            return refuse(Flaw::Batch, "the batch is empty");
        }
        for is_request in [true, false] {
            let mut ids: Vec<&Id> = messages.iter().filter_map(|m| id_of(m, is_request)).collect();
            ids.sort_unstable();
            if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
                let message = format!("the batch has the id {} twice; which answer is whose is not certain", twice[0]);
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
                "jsonrpc" => members.version = self.scan.optional_string()?.as_deref() == Some("2.0"),
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
        let span = Span { start, end: self.scan.position() };
        match classify(members, span) {
            Ok(message) => Ok(message),
            Err(fault) => {
                // What was noted on the way is nearer to the cause.
                Err(self.scan.take_noted().unwrap_or(fault))
            }
        }
    }

    /// An id or progress token; nothing when it is `null`.
    pub(super) fn id(&mut self, what: &str) -> Result<Option<Id>, Fault> {
        let start = self.scan.here();
        let kind = self.scan.kind()?;
        let (span, id) = match kind {
            Kind::String => {
                let text = self.scan.string()?;
                let decoded = text.escaped().then(|| text.decode(self.scan.input).into_owned());
                let span = Span { start, end: self.scan.position() };
                (span, Some(Id::text(self.text(span), decoded)))
            }
            Kind::Number => {
                let number = self.scan.number()?;
                let id = if number.span.len() > self.limits.max_id { None } else { Id::number(self.text(number.span)) };
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
                self.scan.note(Flaw::Id, || format!("{what} is neither a string nor a number"));
                return Ok(None);
            }
        };
        if span.len() > self.limits.max_id {
            let max = self.limits.max_id;
            self.scan.note(Flaw::Id, || format!("{what} is longer than {max} bytes; send a shorter one"));
            return Ok(None);
        }
        Ok(id)
    }

    pub(super) fn text(&self, span: Span) -> &str {
        self.scan.input.get(span.start..span.end).unwrap_or_default()
    }
}

fn id_of(message: &Message, of_request: bool) -> Option<&Id> {
    match message {
        Message::Request(request) if of_request => Some(&request.id),
        Message::Response(response) if !of_request => response.id.as_ref(),
        _ => None,
    }
}
