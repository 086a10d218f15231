//! Text that goes on from one notification to the next: masked as one, so that no value slips through between two events.

use std::sync::Arc;

use gateway_mask::{Keys, Mark, Masker, Window};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::Message;

/// The texts of a stream that are not over, by what carries them.
#[derive(Default)]
pub(super) struct Pieces(Vec<Piece>);

/// A notification as it leaves.
pub(super) struct Next {
    pub data: Vec<u8>,
    /// What was masked of its text.
    pub marks: Vec<Mark>,
}

struct Piece {
    /// Method, and logger or progress token, as JSON.
    of: String,
    window: Window,
    /// Its last notification: what is left at the end leaves in one like it.
    around: Around,
}

/// What stands before and behind the text in a notification.
#[derive(Default)]
struct Around {
    before: Vec<u8>,
    after: Vec<u8>,
}

#[derive(Deserialize)]
struct Carrier<'a> {
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    logger: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    token: Option<&'a RawValue>,
}

impl Pieces {
    /// A notification with as much of its text as may leave, and what was masked of it; `None` of a message that carries no text that could
    /// go on.
    ///
    /// # Errors
    /// It cannot be masked. The text says why, for people.
    pub(super) fn next(&mut self, data: &[u8], message: &Message, masker: &Arc<Masker>, keys: &Keys<'_>) -> Result<Option<Next>, String> {
        let Message::Notification(note) = message else { return Ok(None) };
        let Ok(text) = std::str::from_utf8(data) else { return Ok(None) };
        let Ok(Carrier { params }) = serde_json::from_str::<Carrier<'_>>(text) else { return Ok(None) };
        let (carried, by) = match note.method.as_str() {
            "notifications/message" => (params.data, params.logger),
            "notifications/progress" => (params.message, params.token),
            _ => return Ok(None),
        };
        let Some(carried) = carried else { return Ok(None) };
        let Ok(piece) = serde_json::from_str::<String>(carried.get()) else { return Ok(None) };
        let of = format!("{} {}", note.method, by.map_or("", RawValue::get));
        let at = self.0.iter().position(|piece| piece.of == of).unwrap_or_else(|| {
            self.0.push(Piece { of, window: Window::new(masker.clone()), around: Around::default() });
            self.0.len() - 1
        });
        let open = &mut self.0[at];
        let passed = open.window.push(&piece, keys).map_err(|failure| failure.to_string())?;
        // What was borrowed from the text lies in it.
        let start = carried.get().as_ptr().addr() - text.as_ptr().addr();
        open.around = Around {
            before: data.get(..start).unwrap_or_default().to_vec(),
            after: data.get(start + carried.get().len()..).unwrap_or_default().to_vec(),
        };
        Ok(Some(Next { data: open.around.with(&passed.text)?, marks: passed.marks }))
    }

    /// What is left of all texts, each in a notification like its last.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub(super) fn rest(&mut self, keys: &Keys<'_>) -> Result<Vec<Vec<u8>>, String> {
        let mut rest = Vec::new();
        for Piece { window, around, .. } in self.0.drain(..) {
            let text = window.finish(keys).map_err(|failure| failure.to_string())?.text;
            if !text.is_empty() {
                rest.push(around.with(&text)?);
            }
        }
        Ok(rest)
    }
}

impl Around {
    fn with(&self, text: &str) -> Result<Vec<u8>, String> {
        let json = serde_json::to_vec(text).map_err(|error| error.to_string())?;
        Ok([self.before.as_slice(), &json, &self.after].concat())
    }
}
