//! The answers that the gateway gives in its own name.

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{Gateway, Record};

/// One of them, with what it promises to hold.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The id of the call, where it could be read; else null.
    pub id: Value,
    /// The JSON-RPC error code.
    pub code: i64,
    /// The reason, in one word.
    pub reason: String,
    /// What happened, in a sentence.
    pub message: String,
    /// The record that the answer names; none when nothing could be recorded.
    pub record: Option<Record>,
}

impl Refusal {
    /// Reads an answer's body.
    ///
    /// # Errors
    /// It lacks something that every answer of the gateway's own has, or names a record that is not there.
    pub fn read(gateway: &Gateway, body: &[u8]) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(body);
        let answer: Value = serde_json::from_slice(body).with_context(|| format!("not JSON: {text}"))?;
        let (error, data) = (&answer["error"], &answer["error"]["data"]);
        ensure!(answer["jsonrpc"] == "2.0", "not a JSON-RPC answer: {text}");
        ensure!(data["gateway"] == "mcp-gateway", "not recognisable as the gateway's: {text}");
        ensure!(data["help"].as_str().is_some_and(|help| !help.is_empty()), "no help: {text}");
        let words = |value: &Value| value.as_str().filter(|words| !words.is_empty()).map(str::to_owned);
        let record = match data.get("record") {
            None => None,
            Some(name) => {
                let name = words(name).with_context(|| format!("no name of a record: {text}"))?;
                let named = |record: &Record| format!("{}/{}", record.log(), record.seq()) == name;
                Some(gateway.record(&format!("record {name}, which an answer names"), named)?)
            }
        };
        Ok(Self {
            id: answer["id"].clone(),
            code: error["code"].as_i64().with_context(|| format!("no code: {text}"))?,
            reason: words(&data["reason"]).with_context(|| format!("no reason: {text}"))?,
            message: words(&error["message"]).with_context(|| format!("no message: {text}"))?,
            record,
        })
    }
}
