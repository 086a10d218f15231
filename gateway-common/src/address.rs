//! One form for every spelling of an address.

/// An IPv6 address, or an IPv4 address in its v4-mapped form (`::ffff:a.b.c.d`, RFC 4291, 2.5.5.2): sixteen bytes for both families.
///
/// The words lie in memory as the kernel has them, in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Address {
    words: [u32; 4],
}

const MAPPED: u32 = 0x0000_ffff_u32.to_be();
const LOOPBACK_V4: u32 = 0x7f00_0001_u32.to_be();
const LOOPBACK_V6_LAST: u32 = 1_u32.to_be();
const NAT64: u32 = 0x0064_ff9b_u32.to_be();

impl Address {
    /// `127.0.0.1`.
    pub const LOOPBACK_V4: Self = Self::from_v4_word(LOOPBACK_V4);

    /// `::1`.
    pub const LOOPBACK_V6: Self = Self { words: [0, 0, 0, LOOPBACK_V6_LAST] };

    /// An IPv4 address as the kernel holds it: one word in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// An IPv6 address as the kernel holds it: four words in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The four words, in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.words
    }

    /// From the bytes of an IPv4 address.
    #[must_use]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(octets))
    }

    /// From the bytes of an IPv6 address.
    #[must_use]
    pub const fn from_octets(o: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
                u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
                u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
                u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
            ],
        }
    }

    /// The sixteen bytes, as on the wire.
    #[must_use]
    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] =
            [self.words[0].to_ne_bytes(), self.words[1].to_ne_bytes(), self.words[2].to_ne_bytes(), self.words[3].to_ne_bytes()];
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether this is an IPv4 address in its mapped form.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// Whether this is `::`.
    #[must_use]
    #[inline(always)]
    pub const fn is_unspecified_v6(self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == 0 && self.words[3] == 0
    }

    /// Whether this is in `64:ff9b::/96` (NAT64, RFC 6052, 2.1).
    #[must_use]
    #[inline(always)]
    pub const fn is_nat64(self) -> bool {
        self.words[0] == NAT64 && self.words[1] == 0 && self.words[2] == 0
    }

    /// Where a connect to this address goes.
    ///
    /// Linux takes a connect to the unspecified address as one to loopback (`tcp_v4_connect` and `tcp_v6_connect`).
    #[must_use]
    #[inline(always)]
    pub const fn dialled(self) -> Self {
        if self.is_unspecified_v6() {
            Self::LOOPBACK_V6
        } else if self.is_v4() && self.words[3] == 0 {
            Self::LOOPBACK_V4
        } else {
            self
        }
    }

    /// The form under which an address is governed: where it goes, and with `64:ff9b::a.b.c.d` (NAT64, RFC 6052, 2.1) taken as `a.b.c.d`.
    #[must_use]
    #[inline(always)]
    pub const fn canonical(self) -> Self {
        let dialled = self.dialled();
        let w = dialled.words;
        if dialled.is_nat64() { Self::from_v4_word(w[3]) } else { dialled }
    }
}

const _: () = assert!(size_of::<Address>() == 16);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::Address;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v6(text: &str) -> Address {
        let parsed: Ipv6Addr = text.parse().expect("an IPv6 address");
        Address::from_octets(parsed.octets())
    }

    fn v4(text: &str) -> Address {
        let parsed: Ipv4Addr = text.parse().expect("an IPv4 address");
        Address::from_v4(parsed.octets())
    }

    #[test]
    fn every_spelling_of_a_v4_address_is_one_key() {
        for spelling in ["::ffff:192.0.2.7", "64:ff9b::192.0.2.7"] {
            assert_eq!(v6(spelling).canonical(), v4("192.0.2.7"), "{spelling}");
        }
        assert_eq!(v4("192.0.2.7").canonical(), v4("192.0.2.7"));
    }

    #[test]
    fn unspecified_means_loopback() {
        assert_eq!(v4("0.0.0.0").canonical(), v4("127.0.0.1"));
        assert_eq!(v6("::ffff:0.0.0.0").canonical(), v4("127.0.0.1"));
        assert_eq!(v6("::").canonical(), v6("::1"));
    }

    #[test]
    fn what_only_looks_like_nat64_or_mapped_is_left_alone() {
        for other in ["64:ff9b:1::192.0.2.7", "64:ff9b::1:192.0.2.7", "::fffe:192.0.2.7", "::192.0.2.7", "2001:db8::1"] {
            assert_eq!(v6(other).canonical(), v6(other), "{other}");
        }
    }

    #[test]
    fn nat64_stays_what_was_dialled() {
        let asked = v6("64:ff9b::192.0.2.7");
        assert_eq!(asked.dialled(), asked);
    }

    #[test]
    fn bytes_come_back_as_they_went_in() {
        let octets = v6("2001:db8:1:2:3:4:5:6").octets();
        assert_eq!(Address::from_octets(octets).octets(), octets);
        assert_eq!(v4("192.0.2.7").octets()[12..], [192, 0, 2, 7]);
    }
}
