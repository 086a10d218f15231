//! The log's records, one after another.

use std::{fs::File, ops::ControlFlow, path::Path};

use anyhow::Context;
use gateway_user::audit::{
    Kind, Lines,
    format::{Line, parse},
    segment::{self, Segment},
};
use serde::Deserialize;

/// The body of a record of kind `policies`.
#[derive(Deserialize)]
struct InForce {
    set: String,
    sources: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    file: String,
    text: String,
}

/// The segments of a log, oldest first.
pub(super) fn segments(dir: &Path) -> anyhow::Result<Vec<Segment>> {
    let segments = segment::list(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    anyhow::ensure!(!segments.is_empty(), "{} holds no audit log: no file is named like 00000000000000000000.jsonl", dir.display());
    Ok(segments)
}

/// Each record of a segment; what is no record is passed over, and `audit verify` tells of it.
pub(super) fn each(segment: &Segment, mut with: impl FnMut(&Line<'_>) -> anyhow::Result<ControlFlow<()>>) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read", segment.path.display());
    let mut lines = Lines::new(File::open(&segment.path).with_context(cannot)?, 0);
    while let Some(raw) = lines.next().with_context(cannot)? {
        if let Ok(line) = parse(raw.bytes)
            && with(&line)?.is_break()
        {
            break;
        }
    }
    Ok(())
}

/// The sources of a set that was in force, looked for from the newest of these segments backwards; `None` if the log does not have them.
pub(super) fn sources(segments: &[Segment], hash: &str) -> anyhow::Result<Option<Vec<(String, String)>>> {
    for segment in segments.iter().rev() {
        let mut found = None;
        each(segment, |line| {
            if line.head.kind != Kind::Policies.name() {
                return Ok(ControlFlow::Continue(()));
            }
            let body: Option<InForce> = line.body.and_then(|body| serde_json::from_slice(body).ok());
            found = body.filter(|body| body.set == hash);
            Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if let Some(found) = found {
            return Ok(Some(found.sources.into_iter().map(|source| (source.file, source.text)).collect()));
        }
    }
    Ok(None)
}
