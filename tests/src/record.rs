//! The audit log as a test reads it: lines of JSON, in order.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context;
use serde_json::Value;

/// One line of the log.
#[derive(Debug, Clone)]
pub struct Record {
    /// The line as JSON: `head`, `body`, `leaf`.
    pub json: Value,
    /// The line as it stands.
    pub line: String,
}

impl Record {
    /// Reads one line.
    ///
    /// # Errors
    /// It is no JSON object with a head.
    pub fn parse(line: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(line).with_context(|| format!("not a record: {line}"))?;
        anyhow::ensure!(json["head"]["seq"].is_u64(), "a record without a number: {line}");
        Ok(Self { json, line: line.to_owned() })
    }

    /// Its number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.json["head"]["seq"].as_u64().unwrap_or(u64::MAX)
    }

    /// The log's id.
    #[must_use]
    pub fn log(&self) -> &str {
        self.json["head"]["log"].as_str().unwrap_or_default()
    }

    /// What it is: `request`, `answer`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.json["head"]["kind"].as_str().unwrap_or_default()
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.json["body"]
    }

    /// The JSON-RPC method of the call that it is about.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.body()["call"]["method"].as_str()
    }

    /// The tool, prompt or resource of the call that it is about.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.body()["call"]["name"].as_str()
    }

    /// The process that the kernel saw, or that called the endpoint.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let caller = &self.body()["caller"];
        let pid = caller["origin"]["tgid"].as_u64().or_else(|| caller["process"]["pid"].as_u64());
        pid.and_then(|pid| u32::try_from(pid).ok())
    }

    /// The executable of that process.
    #[must_use]
    pub fn exe(&self) -> Option<&str> {
        self.body()["caller"]["process"]["exe"].as_str()
    }
}

/// All records in a log's folder, by number. The log may be in use: a line that is being written is left out.
///
/// # Errors
/// The folder cannot be read, or a whole line is no record.
pub fn read(dir: &Path) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        let mut file = BufReader::new(File::open(&path).with_context(|| format!("cannot read {}", path.display()))?);
        let mut line = Vec::new();
        // A segment is filled with newlines before it is used: an empty line is where its records end, and also ends a line of
        // which only a part has been written yet.
        while file.read_until(b'\n', &mut line)? > 1 && line.ends_with(b"\n") {
            let record = std::str::from_utf8(&line).map_err(anyhow::Error::from).and_then(|line| Record::parse(line.trim_end()));
            let last = file.fill_buf()?.first().is_none_or(|next| *next == b'\n');
            match record {
                Ok(record) => records.push(record),
                Err(_) if last => break,
                Err(error) => return Err(error),
            }
            line.clear();
        }
    }
    records.sort_by_key(Record::seq);
    Ok(records)
}
