//! What the kernel programs count.

/// How many counters the map has: more than are in use, so that a newer program fits the map of an older one.
pub const SLOTS: u32 = 64;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $index:literal, $text:literal;)*) => {
        /// What a kernel program did, and why; also the index of its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason { $($(#[$doc])* $name = $index,)* }

        impl Reason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name as it stands in metrics and records.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The destination is not governed: the connect was not touched.
    NotGoverned = 0, "not-governed";
    /// The gateway's own upstream socket.
    Exempt = 1, "exempt";
    /// A governed connect was sent to the gateway.
    Redirected = 2, "redirected";
    /// A source port was tied to its origin before the SYN left.
    Tied = 3, "tied";
    /// A socket closed before its handshake was done, and its origin was dropped.
    Forgotten = 4, "forgotten";
    /// Refused: this network namespace has no gateway, or none for this address family.
    NoGateway = 16, "no-gateway";
    /// Refused: the gateway has shown no sign of life for longer than the limit.
    Stale = 17, "gateway-hung";
    /// Refused: nothing listens on the gateway's port.
    NotListening = 18, "gateway-not-listening";
    /// Refused: another process listens on the gateway's port.
    PortTaken = 19, "gateway-port-taken";
    /// Refused: too many connects wait for the gateway.
    Full = 20, "too-many-pending";
    /// Refused: the socket is bound to an interface and cannot reach the gateway.
    BoundInterface = 21, "bound-to-interface";
    /// Refused: UDP (QUIC) or another datagram protocol to a governed address.
    Datagram = 22, "datagram-to-governed";
    /// Refused: an MPTCP socket.
    Mptcp = 23, "mptcp";
    /// Refused: an SCTP socket.
    Sctp = 24, "sctp";
    /// Refused: a raw socket.
    Raw = 25, "raw-socket";
    /// Refused: a socket of a protocol whose connects the kernel shows to nobody.
    OtherProtocol = 26, "other-protocol";
    /// Refused: the kernel had no memory to keep the socket's true peer.
    NoStorage = 27, "no-socket-storage";
    /// The source port could not be tied to its origin; the gateway refuses such a connection, because it has no origin.
    FlowsFull = 28, "flow-not-tied";
}

impl Reason {
    /// The index of its counter.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Whether something was refused.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        self.index() >= Self::NoGateway.index() && self.index() <= Self::NoStorage.index()
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, SLOTS};

    #[test]
    fn every_reason_has_a_slot_and_a_name_of_its_own() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert!(a.index() < SLOTS);
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.index(), b.index());
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn passing_is_no_refusal() {
        assert!(!Reason::NotGoverned.is_refusal());
        assert!(!Reason::Redirected.is_refusal());
        assert!(Reason::Full.is_refusal());
    }
}
