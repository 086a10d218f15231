//! Calls as clients make them, and as the log has them.

use std::collections::BTreeMap;

use anyhow::Context;
use gateway_tests::{Launch, Record};
use serde_json::Value;

use crate::page::{WIDTH, cut};

/// curl with its arguments, in the lines in which it is shown.
pub(crate) struct Curl(Vec<Vec<String>>);

impl Curl {
    /// curl posting a `tools/call` of revision 2026-07-28, which needs no session.
    pub(crate) fn tool(url: &str, id: u32, tool: &str, arguments: &Value) -> Self {
        // White space between JSON's tokens means nothing: so the message can be shown as it is sent.
        let message = [
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","#),
            format!(r#"      "arguments":{arguments},"#),
            r#"      "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#.to_owned(),
            r#"               "io.modelcontextprotocol/clientCapabilities":{}}}}"#.to_owned(),
        ];
        Self::post(url, &["-H", "Mcp-Method: tools/call", "-H", &format!("Mcp-Name: {tool}")], &message.join("\n"))
    }

    /// curl posting any message.
    pub(crate) fn post(url: &str, headers: &[&str], message: &str) -> Self {
        let headers = [&["-H", "MCP-Protocol-Version: 2026-07-28"], headers].concat();
        let lines: [&[&str]; 4] = [
            &["curl", "-sS", url],
            &["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"],
            &headers,
            &["--data", message],
        ];
        Self(lines.iter().map(|line| line.iter().map(|word| (*word).to_owned()).collect()).collect())
    }

    /// Lets curl say to whom it believes to have talked.
    pub(crate) fn telling_peer(mut self) -> Self {
        self.0.insert(1, ["-w", r"\n%{remote_ip}:%{remote_port}"].map(str::to_owned).into());
        self
    }

    /// Lets curl say which status the answer had.
    pub(crate) fn telling_status(mut self) -> Self {
        self.0.insert(1, ["-w", "%{http_code}"].map(str::to_owned).into());
        self
    }

    pub(crate) fn launch(&self) -> Launch {
        Launch::new("curl").args(self.0.iter().flatten().skip(1))
    }

    /// As it would be typed.
    pub(crate) fn shown(&self) -> String {
        self.0.iter().map(|line| line.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(" \\\n    ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@[]".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The JSON-RPC answer in what curl printed: alone, or as an event of a stream.
pub(crate) fn answer(printed: &str) -> anyhow::Result<Value> {
    printed
        .lines()
        .map(|line| line.strip_prefix("data:").unwrap_or(line).trim())
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message.get("result").is_some() || message.get("error").is_some())
        .with_context(|| format!("no JSON-RPC answer in what curl printed: {}", cut(printed, 400)))
}

/// One call in the log: its request's record, and its answer's if there is one.
pub(crate) struct Logged {
    pub(crate) request: Record,
    pub(crate) answer: Option<Record>,
}

/// The calls in a log, in order.
pub(crate) fn logged(records: Vec<Record>) -> Vec<Logged> {
    let mut calls = BTreeMap::new();
    for record in records {
        if record.kind() == "request" && record.method().is_some() {
            calls.insert(record.seq(), Logged { request: record, answer: None });
        } else if let Some(call) = record.json["head"]["closes"].as_u64().and_then(|request| calls.get_mut(&request)) {
            call.answer.get_or_insert(record);
        }
    }
    calls.into_values().collect()
}

impl Logged {
    /// The table's head.
    pub(crate) fn head() -> String {
        columns(["#", "executable", "pid", "uid", "call", "took", "outcome"])
    }

    /// The call as a line of a table.
    pub(crate) fn row(&self) -> String {
        let request = &self.request;
        let took = self.answer.as_ref().and_then(|record| record.body()["outcome"]["took_us"].as_u64());
        columns([
            &request.seq().to_string(),
            &from_the_end(request.exe().unwrap_or("unknown"), 18),
            &request.pid().unwrap_or_default().to_string(),
            &request.body()["caller"]["origin"]["uid"].to_string(),
            &cut(&self.what(), 40),
            &took.map_or_else(String::new, milliseconds),
            self.outcome(),
        ])
    }

    /// Method, or tool and arguments.
    fn what(&self) -> String {
        match self.request.name() {
            None => self.request.method().unwrap_or_default().to_owned(),
            Some(name) => {
                let arguments = &self.request.body()["payload"]["json"]["params"]["arguments"];
                let sql = arguments["sql"].as_str().map_or_else(|| arguments.to_string(), str::to_owned);
                format!("{name}: {sql}")
            }
        }
    }

    /// One word.
    pub(crate) fn outcome(&self) -> &str {
        match &self.answer {
            None => "open",
            Some(record) if record.kind() == "outcome_unknown" => "unknown",
            Some(record) => {
                let outcome = &record.body()["outcome"];
                let failed = outcome["is_error"] == true || outcome["code"].is_i64();
                outcome["gateway"].as_str().unwrap_or(if failed { "error" } else { "ok" })
            }
        }
    }
}

fn columns([seq, exe, pid, uid, call, took, outcome]: [&str; 7]) -> String {
    cut(&format!("{seq:>3}  {exe:<18} {pid:>7} {uid:>5}  {call:<40}{took:>9}  {outcome}"), WIDTH - 3)
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

/// A path's end tells more than its beginning.
fn from_the_end(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit { text.to_owned() } else { ['…'].into_iter().chain(text.chars().skip(length + 1 - limit)).collect() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::{Curl, answer, from_the_end};

    #[test]
    fn what_is_shown_is_what_is_run() {
        let curl = Curl::tool("http://192.0.2.7:8000/mcp", 1, "query", &json!({ "sql": "SELECT 'a'" })).telling_peer();
        let shown = curl.shown();
        let done =
            std::process::Command::new("sh").args(["-c", &format!("curl() {{ printf '%s\\n' \"$@\"; }}\n{shown}")]).output().unwrap();
        let words: Vec<String> = curl.0.iter().flatten().skip(1).cloned().collect();
        assert_eq!(String::from_utf8(done.stdout).unwrap().trim_end(), words.join("\n"));
        assert!(shown.lines().all(|line| line.chars().count() <= 96), "{shown}");
    }

    #[test]
    fn an_answer_is_found_alone_and_in_a_stream() {
        let alone = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let stream = format!("event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"x\"}}\n\ndata: {alone}\n\n192.0.2.7:80");
        assert_eq!(answer(alone).unwrap(), answer(&stream).unwrap());
        assert!(answer("").is_err());
    }

    #[test]
    fn a_long_path_keeps_its_end() {
        assert_eq!(from_the_end("/usr/bin/curl", 18), "/usr/bin/curl");
        assert_eq!(from_the_end("/home/someone/target/debug/rmcp-client", 18), "…debug/rmcp-client");
    }
}
