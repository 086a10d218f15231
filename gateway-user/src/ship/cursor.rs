//! How far the stream has come, on disk. Written after the answer, so it is never ahead.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{ShipError, ShipOptions};
use crate::audit::segment;

/// The next record to be shipped, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) next: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    log: String,
    stream: String,
    next: u64,
    segment: u64,
    offset: u64,
}

/// The place noted, or the log's beginning.
pub(super) fn load(options: &ShipOptions) -> Result<Place, ShipError> {
    let failed = |source| ShipError::Cursor { path: options.cursor.clone(), source };
    let text = match fs::read(&options.cursor) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::default()),
        Err(error) => return Err(failed(error)),
    };
    let cursor: Cursor = serde_json::from_slice(&text).map_err(|error| failed(io::Error::other(error)))?;
    if cursor.log != options.log.as_str() || cursor.stream != options.stream {
        return Err(ShipError::OtherCursor {
            path: options.cursor.clone(),
            is: format!("log {} in stream {}", cursor.log, cursor.stream),
            wanted: format!("log {} for stream {}", options.log, options.stream),
        });
    }
    Ok(Place { next: cursor.next, segment: cursor.segment, offset: cursor.offset })
}

pub(super) fn save(options: &ShipOptions, place: Place) -> Result<(), ShipError> {
    let Place { next, segment, offset } = place;
    let cursor = Cursor { log: options.log.as_str().to_owned(), stream: options.stream.clone(), next, segment, offset };
    serde_json::to_vec(&cursor)
        .map_err(io::Error::other)
        .and_then(|text| segment::replace_file(&options.cursor, &text))
        .map_err(|source| ShipError::Cursor { path: options.cursor.clone(), source })
}
