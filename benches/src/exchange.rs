//! The exchanges that are measured, as bytes of HTTP/1.1.

use gateway_tests::clients::tool_call;
use serde::Serialize;

/// Bytes of the body of a request, and of a small answer.
pub const BODY: usize = 1024;
/// Events of a stream.
pub const EVENTS: usize = 1000;

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// JSON of 1 KiB.
    Small,
    /// JSON of 64 KiB.
    Medium,
    /// JSON of 1 MiB.
    Large,
    /// A stream of [`EVENTS`] server-sent events, the last of which is the result.
    Events,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Events];

    /// What a server is asked for to get it: proxies may have other settings for a path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Small => "/mcp",
            Self::Medium => "/mcp/64KiB",
            Self::Large => "/mcp/1MiB",
            Self::Events => "/mcp/events",
        }
    }

    /// Its body, without the framing of HTTP.
    #[must_use]
    pub fn body(self) -> Vec<u8> {
        match self {
            Self::Small => result(BODY),
            Self::Medium => result(64 << 10),
            Self::Large => result(1 << 20),
            Self::Events => (1..=EVENTS).flat_map(event).collect(),
        }
    }

    /// All of its bytes, as the server writes them: the events of a stream one by one.
    #[must_use]
    pub fn writes(self) -> Vec<Vec<u8>> {
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {fields}\r\n\r\n").into_bytes();
        if self != Self::Events {
            let body = self.body();
            return vec![[head(&format!("application/json\r\nContent-Length: {}", body.len())), body].concat()];
        }
        let chunk = |data: Vec<u8>| [format!("{:x}\r\n", data.len()).into_bytes(), data, b"\r\n".to_vec()].concat();
        let mut writes = vec![head("text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked")];
        writes.extend((1..=EVENTS).map(|number| chunk(event(number))));
        writes.push(b"0\r\n\r\n".to_vec());
        writes
    }
}

/// The body of a `tools/call` as an agent's SDK sends it.
#[must_use]
pub fn call() -> Vec<u8> {
    let call = |sql: String| {
        let mut call = tool_call(1, "query", &serde_json::json!({ "sql": sql, "limit": 50 }));
        call["params"]["_meta"]["progressToken"] = 1.into();
        call.to_string()
    };
    call("x".repeat(BODY - call(String::new()).len())).into_bytes()
}

/// A request for an answer: `host` is the value of its Host field, and `prefix` stands before the path that the server sees.
#[must_use]
pub fn request(answer: Answer, host: &str, prefix: &str) -> Vec<u8> {
    let (path, body) = (answer.path(), call());
    let head = format!(
        "POST {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: query\r\nUser-Agent: gateway-benches\r\n\
         Connection: keep-alive\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// A result of so many bytes: rows as JSON in a text, which is how most tools give them.
fn result(size: usize) -> Vec<u8> {
    let result = |text: &str| {
        let content = serde_json::json!([{ "type": "text", "text": text }]);
        serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "content": content } }).to_string()
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string().len() - 2;
    let mut left = size - result("").len();
    let mut text = String::new();
    for number in 0.. {
        let row = serde_json::json!({ "id": number, "name": "Ada Example", "ward": "B2", "weight": 61.25, "discharged": null });
        let row = format!("{row}\n");
        let Some(rest) = left.checked_sub(quoted(&row)) else { break };
        (text, left) = (text + &row, rest);
    }
    text.extend(std::iter::repeat_n('x', left));
    result(&text).into_bytes()
}

fn event(number: usize) -> Vec<u8> {
    let message = if number == EVENTS {
        let content = serde_json::json!([{ "type": "text", "text": "all rows were read" }]);
        serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "content": content } })
    } else {
        let text = format!("row {number} of {EVENTS}");
        let params = serde_json::json!({ "progressToken": 1, "progress": number, "total": EVENTS, "message": text });
        serde_json::json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
    };
    format!("event: message\ndata: {message}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_long_as_their_names_say() {
        assert_eq!(call().len(), BODY);
        assert_eq!([Answer::Small, Answer::Medium, Answer::Large].map(|answer| answer.body().len()), [1 << 10, 64 << 10, 1 << 20]);
    }

    #[test]
    fn a_stream_is_progress_and_then_the_result() {
        let body = String::from_utf8(Answer::Events.body()).expect("text");
        let events: Vec<&str> = body.split_terminator("\n\n").collect();
        assert_eq!(events.len(), EVENTS);
        assert_eq!(events.iter().filter(|event| event.contains("notifications/progress")).count(), EVENTS - 1);
        assert!(events[EVENTS - 1].contains("result"));
    }
}
