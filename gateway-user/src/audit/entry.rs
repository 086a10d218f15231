//! What a caller hands to the log.

use std::fmt;

use serde::{Serialize, Serializer};

/// How long an append waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Until the record, and everything before it, is on disk.
    Sync,
    /// Until the record is in the operating system's cache: it survives the gateway's death, and
    /// not the host's. The log flushes such records about once a second.
    Os,
}

/// What a record does to the set of calls in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// A call is in flight from this record on. If no record closes it before the gateway ends,
    /// the next start writes an [`Kind::OutcomeUnknown`] for it.
    Opens,
    /// The call that the record with this seq opened has ended.
    Closes(u64),
}

/// One record, before the log has numbered it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What happened.
    pub kind: Kind,
    /// One JSON object on one line, as `serde_json::to_vec` writes it.
    pub body: Vec<u8>,
    /// What it does to the set of calls in flight.
    pub effect: Effect,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What a record says happened; `snake_case` in the line's head.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// The name in the log.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// The gateway started; the body says how it is configured.
    Start => "start",
    /// The gateway stopped in an orderly way.
    Stop => "stop",
    /// The log was cut back to its last whole record after a crash; the body says what was cut.
    Recovery => "recovery",
    /// First record of every segment but the log's first; carries the seqs of the calls in flight.
    Segment => "segment",
    /// A request that an agent made, and what was decided about it.
    Request => "request",
    /// The answer to a request.
    Answer => "answer",
    /// A notification, or a message that belongs to no call.
    Message => "message",
    /// Something that the gateway refused before it became a call.
    Refused => "refused",
    /// A connection on a governed address that did not speak MCP.
    Connection => "connection",
    /// A server said for the first time what a tool is, or said something else than before.
    Tool => "tool",
    /// The policies that are in force from here on, in full.
    Policies => "policies",
    /// Somebody logged in on the host; the calls of the processes that are named count as his from here on.
    Login => "login",
    /// A login ended; the body says why.
    Logout => "logout",
    /// The gateway ended while this call was in flight: nobody knows how it came out.
    OutcomeUnknown => "outcome_unknown",
    /// There is no room for further records; nothing is forwarded until there is.
    LogFull => "log_full",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SHA-256 value; hexadecimal where it is shown or serialised.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Thirty-two zeros: the `prev` of a log's first record.
    pub const ZERO: Sha256 = Sha256([0; 32]);

    /// The 64 hexadecimal digits, lower case.
    #[must_use]
    pub fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 64];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }

    /// Reads exactly 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(hex: &[u8]) -> Option<Sha256> {
        fn nibble(digit: u8) -> Option<u8> {
            match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            }
        }
        if hex.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Sha256(out))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.hex()))
    }
}
