use std::{collections::HashMap, sync::Mutex};

use super::SamlError;

/// More logins than a company has in the minutes for which its assertions hold.
const MOST: usize = 100_000;

/// What was used and could still be used again: IDs of assertions and requests, and until when each is remembered.
#[derive(Default)]
pub(super) struct Used(Mutex<HashMap<String, u64>>);

impl Used {
    /// Uses all of these, or none if one was used before. They are remembered until `until`.
    pub(super) fn take<const N: usize>(&self, ids: [String; N], until: u64, now: u64) -> Result<(), SamlError> {
        let mut used = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if ids.iter().any(|id| used.get(id).is_some_and(|until| *until > now)) {
            return Err(SamlError::Replayed);
        }
        if used.len() + N > MOST {
            used.retain(|_, until| *until > now);
            if used.len() + N > MOST {
                return Err(SamlError::Busy(MOST));
            }
        }
        used.extend(ids.into_iter().map(|id| (id, until)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_remembered_until_it_cannot_be_used_any_more() {
        let used = Used::default();
        let ids = || ["a".to_owned(), "r".to_owned()];
        assert_eq!(used.take(ids(), 10, 5), Ok(()));
        assert_eq!(used.take(ids(), 10, 9), Err(SamlError::Replayed));
        assert_eq!(used.take(["b".to_owned(), "r".to_owned()], 10, 9), Err(SamlError::Replayed));
        assert_eq!(used.take(["b".to_owned()], 10, 9), Ok(()), "refused with another, it was not used");
        assert_eq!(used.take(ids(), 20, 10), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_forgotten_early() {
        let used = Used::default();
        for n in 0..MOST {
            assert_eq!(used.take([n.to_string()], 10, 5), Ok(()));
        }
        assert_eq!(used.take(["one more".to_owned()], 10, 9), Err(SamlError::Busy(MOST)));
        assert_eq!(used.take(["0".to_owned()], 10, 9), Err(SamlError::Replayed));
        assert_eq!(used.take(["one more".to_owned()], 20, 10), Ok(()));
    }
}
