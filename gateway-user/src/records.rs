//! The log's records, one after another, for commands.

use std::{fs::File, ops::ControlFlow, path::Path};

use anyhow::Context;
use gateway_user::audit::{
    Lines,
    format::{Line, parse},
    segment::{self, Segment},
};
use jiff::{SignedDuration, Timestamp};

/// The segments of a log, oldest first.
pub(crate) fn segments(dir: &Path) -> anyhow::Result<Vec<Segment>> {
    let segments = segment::list(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    anyhow::ensure!(!segments.is_empty(), "{} holds no audit log: no file is named like 00000000000000000000.jsonl", dir.display());
    Ok(segments)
}

/// Each record of a segment; what is no record is passed over, and `audit verify` tells of it.
pub(crate) fn each(segment: &Segment, mut with: impl FnMut(&Line<'_>) -> anyhow::Result<ControlFlow<()>>) -> anyhow::Result<()> {
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

/// The one record that is named by its number, or by the log's id and its number.
pub(crate) fn find<T>(record: &str, dir: &Path, with: impl FnOnce(&Line<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (log, seq) = record.rsplit_once('/').map_or((None, record), |(log, seq)| (Some(log), seq));
    let seq: u64 = seq.parse().with_context(|| format!("{record} names no record: expected its number, or <log id>/<number>"))?;
    let mut segments = segments(dir)?;
    segments.retain(|segment| segment.first <= seq);
    let last = segments.last().with_context(|| format!("record {seq} is not in {}: its oldest segment begins later", dir.display()))?;
    let (mut found, mut with) = (None, Some(with));
    each(last, |line| {
        if line.head.seq != seq {
            return Ok(ControlFlow::Continue(()));
        }
        let of = line.head.log;
        anyhow::ensure!(log.is_none_or(|log| log == of), "{} holds the log {of}, not {}", dir.display(), log.unwrap_or_default());
        found = with.take().map(|with| with(line)).transpose()?;
        Ok(ControlFlow::Break(()))
    })?;
    found.with_context(|| format!("record {seq} is not in {}", dir.display()))
}

/// `7d`, or a time.
pub(crate) fn moment(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = [("m", 60), ("h", 3600), ("d", 86_400)].into_iter().find_map(|(unit, seconds)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        Timestamp::now().checked_sub(SignedDuration::from_secs(number.checked_mul(seconds)?)).ok()
    });
    ago.with_context(|| format!("--since {text}: expected `12h`, `7d` or a time such as 2026-11-01T00:00:00Z"))
}
