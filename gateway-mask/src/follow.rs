//! Columns that a statement of the request renames.

use crate::json::{Tape, Type, unescape};
use crate::masker::Masker;
use crate::places::Places;
use crate::sql;

/// What the SQL of a call's arguments calls the columns of the rules: for the answer of that call.
#[derive(Debug, Default)]
pub struct Followed {
    pub(crate) columns: Places,
    carries: bool,
    unfollowed: Option<String>,
}

impl Followed {
    /// Of no request.
    #[must_use]
    pub fn nothing() -> Followed {
        Followed::default()
    }

    /// Why it cannot be told what the columns are called in the result, for people. Then the caller should refuse, or mask by all detectors.
    #[must_use]
    pub fn unfollowed(&self) -> Option<&str> {
        self.unfollowed.as_deref()
    }

    /// Whether the answer surely has a column of the rules. One in which none is found by name has it without a name: then the caller should
    /// mask it by all detectors.
    #[must_use]
    pub fn carries(&self) -> bool {
        self.carries
    }

    pub(crate) fn new(masker: &Masker, request: &[u8]) -> Followed {
        if masker.columns.is_empty() {
            return Followed::default();
        }
        let unread = || Followed { unfollowed: Some("the request is not JSON".to_owned()), ..Followed::default() };
        let Ok(text) = std::str::from_utf8(request) else { return unread() };
        let Ok(tape) = Tape::read(text) else { return unread() };
        let (mut more, mut positions) = (Vec::new(), Vec::new());
        let (mut unfollowed, mut carries) = (None, false);
        for token in tape.tokens().iter().filter(|token| token.kind == Type::String) {
            let decoded = unescape(text.get(token.start() + 1..token.end() - 1).unwrap_or_default());
            for rule in 0..masker.rules.len() {
                let names = masker.columns.of(rule);
                if !names.is_empty() {
                    let renamed = sql::renamed(decoded.text(), &names);
                    more.extend(renamed.names.into_iter().map(|name| (name, rule)));
                    carries |= renamed.carries;
                    positions.extend(renamed.positions.into_iter().map(|at| (at, rule)));
                    unfollowed = unfollowed.or(renamed.unfollowed);
                }
            }
        }
        Followed { columns: Places::new(more).with_positions(positions), carries, unfollowed }
    }
}
