//! The values that a key can have, from the way they are written.

use std::{fmt, time::Duration};

/// Where a server's MCP endpoint is: `http://host[:port]/path`, or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// 80, or 443 for `https`, unless the URL says otherwise.
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

impl ServerUrl {
    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Host and port as in a Host field: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(format!("expected http:// or https://host[:port]/path, got `{text}`")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err("a URL with a user or password in it: credentials do not belong in a URL".into());
        }
        let (host, port) = if let Some(v6) = authority.strip_prefix('[') {
            let (host, after) = v6.split_once(']').ok_or("an IPv6 address lacks its closing `]`")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
            (host, after.strip_prefix(':'))
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        if host.is_empty() {
            return Err(format!("expected http:// or https://host[:port]/path, got `{text}`"));
        }
        let port = match port {
            None if tls => 443,
            None => 80,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(format!("expected a port from 1 to 65535, got `{port}`")),
                Ok(port) => port,
            },
        };
        if path.contains('#') || path.bytes().any(|b| !(0x21..=0x7e).contains(&b)) {
            return Err("the path holds a fragment, a space or a character that is not ASCII: percent-encode it".into());
        }
        Ok(ServerUrl { tls, host: host.to_owned(), port, path: path.to_owned() })
    }
}

/// `500ms`, `2s`, `15m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("expected a time such as \"500ms\", \"2s\", \"15m\" or \"1h\", got \"{text}\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let micros = match unit {
        "us" => Some(number),
        "ms" => number.checked_mul(1_000),
        "s" => number.checked_mul(1_000_000),
        "m" => number.checked_mul(60_000_000),
        "h" => number.checked_mul(3_600_000_000),
        _ => None,
    };
    match micros.ok_or_else(bad)? {
        0 => Err(format!("expected a time above zero, got \"{text}\"")),
        micros => Ok(Duration::from_micros(micros)),
    }
}

/// `256KiB`, `16MiB`, `1GiB`, `4096B`, or a plain number of bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("expected a size such as \"256KiB\", \"16MiB\" or \"1GiB\", got \"{text}\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(bad)
}

/// Whether a host, without brackets, is this one by its name: what is sent there leaves no wire to listen on.
pub(super) fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
