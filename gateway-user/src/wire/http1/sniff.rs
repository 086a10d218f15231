use crate::wire::set_of;

/// What the first bytes of a connection say about its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// HTTP/1, or something that a lenient server might take for it: to be parsed, and refused if bad.
    Http,
    /// HTTP/2 in plain text with prior knowledge (RFC 9113 section 3.4).
    Http2Preface,
    /// A TLS handshake record.
    Tls,
    /// Anything else.
    Other,
    /// Too few bytes to tell; at most 64 are ever needed.
    NeedMore,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// No server that speaks MCP knows a method longer than this.
const LONGEST_METHOD: usize = 64;

/// Tells the protocol of a connection from its first bytes.
///
/// [`Sniff::Other`] may be let through without being read, so it is only answered where no server, however
/// lenient, would see an HTTP request: leading blank lines and white space therefore count as HTTP.
pub fn sniff(first_bytes: &[u8]) -> Sniff {
    if first_bytes.starts_with(PREFACE) {
        return Sniff::Http2Preface;
    }
    if first_bytes.len() > 3 && PREFACE.starts_with(first_bytes) {
        return Sniff::NeedMore;
    }
    match first_bytes {
        [] | [0x16] => return Sniff::NeedMore,
        [0x16, 0x03, ..] => return Sniff::Tls,
        [b'\r' | b'\n' | b' ' | b'\t', ..] => return Sniff::Http,
        _ => {}
    }
    let method = first_bytes.iter().take_while(|b| is_token(**b)).count();
    match first_bytes.get(method) {
        _ if method > LONGEST_METHOD => Sniff::Other,
        None => Sniff::NeedMore,
        Some(b' ' | b'\t') if method > 0 => Sniff::Http,
        Some(_) => Sniff::Other,
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const TOKEN: [bool; 256] = set_of(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
