//! `mask prove`: whether a masked value was this one.

use std::{
    io::{self, Read},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use gateway_user::{
    config::MaskingConfig,
    key_file,
    mask::{MaskKeys, mac},
};
use serde::Deserialize;

use crate::{records, say};

/// What a value can have been in JSON, and what a member's name is.
const TYPES: [&str; 7] = ["string", "number", "boolean", "null", "object", "array", "key"];

#[derive(Deserialize)]
struct Body {
    masked: Option<Masked>,
}

#[derive(Deserialize)]
struct Masked {
    salt: Option<String>,
    marks: Vec<Mark>,
}

#[derive(Deserialize)]
struct Mark {
    path: String,
    #[serde(default)]
    commitments: Vec<String>,
}

pub(super) fn run(record: &str, path: &str, config: &MaskingConfig, log: &Path) -> anyhow::Result<ExitCode> {
    let mut value = String::new();
    io::stdin().lock().read_to_string(&mut value).context("standard input cannot be read, or is not text")?;
    let value = value.strip_suffix('\n').unwrap_or(&value);
    let key = key_file::read(&config.key_file)?;
    let key = key.with_context(|| format!("{}: there is no such key; it is on the gateway's host", config.key_file.display()))?;
    let masked = records::find(record, log, |line| {
        let body = line.body.with_context(|| format!("record {record} has no body any more"))?;
        let body: Body = serde_json::from_slice(body).with_context(|| format!("record {record} cannot be read"))?;
        body.masked.with_context(|| format!("nothing in record {record} is masked"))
    })?;
    let commitments: Vec<&String> = masked.marks.iter().filter(|mark| mark.path == path).flat_map(|mark| &mark.commitments).collect();
    if commitments.is_empty() {
        let paths: Vec<&str> = masked.marks.iter().filter(|mark| !mark.commitments.is_empty()).map(|mark| mark.path.as_str()).collect();
        anyhow::bail!("record {record} masks nothing at {path}; it does at {}", paths.join(", "));
    }
    let salt = BASE64_STANDARD_NO_PAD.decode(masked.salt.unwrap_or_default()).context("the record's salt is no base64")?;
    let key = MaskKeys::new(&key).of_record(&salt);
    let made = |kind: &str| BASE64_STANDARD_NO_PAD.encode(&mac(&key, &[path.as_bytes(), kind.as_bytes(), value.as_bytes()])[..16]);
    let is_it = TYPES.iter().map(|kind| made(kind)).any(|made| commitments.contains(&&made));
    if is_it {
        say(&format!("yes: a value at {path} of record {record} was this one\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("no: none of the {} values at {path} of record {record} was this one\n", commitments.len()))?;
    Ok(ExitCode::FAILURE)
}
