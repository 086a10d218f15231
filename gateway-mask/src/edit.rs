//! Edits on bytes.

/// Bytes of a body that others take the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The first byte that goes.
    pub start: usize,
    /// The byte after the last that goes.
    pub end: usize,
    /// What stands there instead.
    pub with: Vec<u8>,
}

/// The body with its edits, which must ascend and not overlap.
#[must_use]
pub fn applied(body: &[u8], edits: &[Edit]) -> Vec<u8> {
    let grown: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut kept = 0;
    for edit in edits {
        out.extend_from_slice(body.get(kept..edit.start).unwrap_or_default());
        out.extend_from_slice(&edit.with);
        kept = edit.end;
    }
    out.extend_from_slice(body.get(kept..).unwrap_or_default());
    out
}
