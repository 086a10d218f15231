use super::Id;

/// What the gateway says beside an error, so that a person or a model knows what to do.
#[derive(Debug, Clone, Copy)]
pub struct ErrorData<'a> {
    /// The class of reason: `policy`, `malformed`, `audit-unavailable`, `upstream`, …
    pub reason: &'a str,
    /// Where it is recorded, `<log id>/<seq>`; none when there was no log to write to.
    pub record: Option<&'a str>,
    /// What to do.
    pub help: &'a str,
}

/// A JSON-RPC error that the gateway itself answers with, as the body of an HTTP answer or the data of an event
/// (it has no line breaks).
///
/// Without an `id` the member is left out: MCP has no `null` id, and lets an error answer go without.
pub fn error_body(id: Option<&Id>, code: i64, message: &str, data: &ErrorData<'_>) -> Vec<u8> {
    let mut body = String::with_capacity(256);
    body.push_str(r#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        body.push_str(r#""id":"#);
        body.push_str(id.raw());
        body.push(',');
    }
    body.push_str(r#""error":{"code":"#);
    body.push_str(itoa::Buffer::new().format(code));
    body.push_str(r#","message":"#);
    push_string(&mut body, message);
    body.push_str(r#","data":{"gateway":"mcp-gateway","reason":"#);
    push_string(&mut body, data.reason);
    if let Some(record) = data.record {
        body.push_str(r#","record":"#);
        push_string(&mut body, record);
    }
    body.push_str(r#","help":"#);
    push_string(&mut body, data.help);
    body.push_str("}}}");
    body.into_bytes()
}

fn push_string(body: &mut String, text: &str) {
    body.push('"');
    for c in text.chars() {
        match c {
            '"' => body.push_str("\\\""),
            '\\' => body.push_str("\\\\"),
            '\n' => body.push_str("\\n"),
            // Line separators too: some readers of events and scripts break lines there.
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                body.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            other => body.push(other),
        }
    }
    body.push('"');
}
