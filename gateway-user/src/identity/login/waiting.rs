//! Terminals that wait for a browser at the console: for identity providers that can come back only to a URL of the gateway's.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Granted, hosts};

/// How long a person may take to log in.
const PATIENCE: Duration = Duration::from_secs(600);
/// So many terminals may wait, of one user.
const MOST_OF_ONE: usize = 8;

/// Whose terminal waits, and for which identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The Unix user.
    pub uid: u32,
    /// The user's name.
    pub user: String,
    /// The identity provider's name.
    pub idp: String,
    /// What the terminal shows, and the person must type at the console: that nobody logs in another's terminal unawares.
    pub code: String,
}

/// The terminals that wait.
#[derive(Default)]
pub struct Waiting {
    terminals: Mutex<HashMap<String, Wait>>,
}

struct Wait {
    terminal: Terminal,
    until: Instant,
    tries: u8,
    granted: oneshot::Sender<Granted>,
}

impl Waiting {
    /// A terminal begins to wait: its number in the console's URLs, what it shows, and what comes of it. `None` if the user has too many.
    pub fn begin(&self, uid: u32, user: &str, idp: &str) -> Option<(String, String, oneshot::Receiver<Granted>)> {
        let mut terminals = self.current();
        if terminals.values().filter(|wait| wait.terminal.uid == uid).count() >= MOST_OF_ONE {
            return None;
        }
        let number = format!("{}{}", hosts::id(), hosts::id());
        let code = code();
        let (granted, waits) = oneshot::channel();
        let terminal = Terminal { uid, user: user.to_owned(), idp: idp.to_owned(), code: code.clone() };
        terminals.insert(number.clone(), Wait { terminal, until: Instant::now() + PATIENCE, tries: 0, granted });
        Some((number, code, waits))
    }

    /// Whose terminal it is; `None` if none waits under this number.
    #[must_use]
    pub fn look(&self, number: &str) -> Option<Terminal> {
        self.current().get(number).map(|wait| wait.terminal.clone())
    }

    /// The person has shown who he is and typed the code: the terminal has waited long enough. `Err` with what was granted if no terminal
    /// waits under this number, or it shows another code; after three wrong ones it waits no more.
    ///
    /// # Errors
    /// What was granted.
    pub fn finish(&self, number: &str, code: &str, granted: Granted) -> Result<(), Box<Granted>> {
        let mut terminals = self.current();
        let Some(mut wait) = terminals.remove(number) else { return Err(Box::new(granted)) };
        let plain = |code: &str| code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        if plain(code) != plain(&wait.terminal.code) {
            wait.tries += 1;
            if wait.tries < 3 {
                terminals.insert(number.to_owned(), wait);
            }
            return Err(Box::new(granted));
        }
        wait.granted.send(granted).map_err(Box::new)
    }

    /// The terminals that still wait.
    fn current(&self) -> MutexGuard<'_, HashMap<String, Wait>> {
        let mut terminals = self.terminals.lock().unwrap_or_else(PoisonError::into_inner);
        terminals.retain(|_, wait| wait.until > Instant::now() && !wait.granted.is_closed());
        terminals
    }
}

/// Eight letters that are not taken for one another (RFC 8628 section 6.1).
fn code() -> String {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    let mut bytes = [0; 8];
    // Without random numbers nothing else would work either.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let letters: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect();
    format!("{}-{}", &letters[..4], &letters[4..])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{super::Person, *};

    fn granted() -> Granted {
        let person = Person { issuer: "https://idp.example".into(), subject: "ada".into(), name: None, groups: vec![] };
        Granted { person, refresh: None, ends: 0 }
    }

    #[test]
    fn a_terminal_is_logged_in_once_by_whoever_sees_its_code() {
        let waiting = Waiting::default();
        let (number, code, mut waits) = waiting.begin(1000, "ada", "corp").unwrap();
        assert_eq!(waiting.look(&number).unwrap().user, "ada");
        assert!(waiting.finish(&number, "BBBB-BBBB", granted()).is_err());
        assert!(waits.try_recv().is_err());
        assert!(waiting.finish(&number, &code.to_lowercase().replace('-', " "), granted()).is_ok());
        assert_eq!(waits.try_recv().unwrap().person.subject, "ada");
        assert!(waiting.look(&number).is_none() && waiting.finish(&number, &code, granted()).is_err(), "it was used");
    }

    #[test]
    fn wrong_codes_and_terminals_that_left_end_the_wait() {
        let waiting = Waiting::default();
        let (number, code, _waits) = waiting.begin(1000, "ada", "corp").unwrap();
        for _ in 0..3 {
            assert!(waiting.finish(&number, "x", granted()).is_err());
        }
        assert!(waiting.finish(&number, &code, granted()).is_err());
        let (number, _, waits) = waiting.begin(1000, "ada", "corp").unwrap();
        drop(waits);
        assert!(waiting.look(&number).is_none());
        let kept: Vec<_> = (0..MOST_OF_ONE).map(|_| waiting.begin(1000, "ada", "corp").unwrap()).collect();
        assert!(waiting.begin(1000, "ada", "corp").is_none() && waiting.begin(1001, "bob", "corp").is_some());
        drop(kept);
    }
}
