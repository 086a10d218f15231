//! The sets that were in force, as the log has them.

use std::ops::ControlFlow;

use gateway_user::audit::{Kind, segment::Segment};
use serde::Deserialize;

use crate::records::each;

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
