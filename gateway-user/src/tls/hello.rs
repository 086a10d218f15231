//! What a client asks for in its first flight, read before anything is decided (RFC 8446 section 4.1.2).

use rustls::server::Acceptor;

/// What a ClientHello says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The server's name (RFC 6066 section 3); clients that were given an address send none.
    pub name: Option<String>,
    /// The protocols that the client would speak (RFC 7301), the one it prefers first; none when it does not say.
    pub protocols: Vec<String>,
}

impl Hello {
    /// Whether the client would speak HTTP/1.1: it says so, or says nothing.
    #[must_use]
    pub fn takes_http1(&self) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|protocol| protocol == "http/1.1")
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The beginning of a ClientHello, which may span records and segments.
    NeedMore,
    /// A whole one.
    Hello(Hello),
    /// Not one that can be read, and why. It is never passed on.
    Unreadable(String),
}

/// Reads the first bytes of a connection, all of them each time.
#[must_use]
pub fn read(bytes: &[u8]) -> Heard {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        // What it is given is in memory: it cannot fail to be read, but may be more than any hello.
        if let Err(error) = acceptor.read_tls(&mut rest) {
            return Heard::Unreadable(error.to_string());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let protocols = hello.alpn().into_iter().flatten().map(|name| String::from_utf8_lossy(name).into_owned());
                return Heard::Hello(Hello { name: hello.server_name().map(str::to_owned), protocols: protocols.collect() });
            }
            Err((error, _)) => return Heard::Unreadable(error.to_string()),
        }
    }
    Heard::NeedMore
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};

    use super::*;
    use crate::tls::session::Session;

    fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Session::client(Arc::new(config), name).unwrap().take_outgoing().unwrap().to_vec()
    }

    #[test]
    fn name_and_protocols_are_read() {
        let expected = Hello { name: Some("mcp.clinic.test".into()), protocols: vec!["h2".into(), "http/1.1".into()] };
        assert_eq!(read(&hello("mcp.clinic.test", &["h2", "http/1.1"])), Heard::Hello(expected));
        assert_eq!(read(&hello("192.0.2.7", &[])), Heard::Hello(Hello { name: None, protocols: Vec::new() }));
    }

    #[test]
    fn a_hello_that_is_cut_anywhere_is_waited_for() {
        let whole = hello("mcp.clinic.test", &["http/1.1"]);
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Heard::NeedMore, "{cut}");
        }
    }

    #[test]
    fn a_hello_in_many_small_records_is_read() {
        let whole = hello("mcp.clinic.test", &["http/1.1"]);
        let (header, body) = whole.split_at(5);
        let mut records = Vec::new();
        for piece in body.chunks(40) {
            records.extend_from_slice(&header[..3]);
            records.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            records.extend_from_slice(piece);
        }
        assert!(matches!(read(&records), Heard::Hello(hello) if hello.name.as_deref() == Some("mcp.clinic.test")));
    }

    #[test]
    fn what_is_not_a_hello_is_called_unreadable() {
        for bytes in
            [&b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"[..], b"\x15\x03\x01\x00\x02\x01\x00", b"\x16\x03\x01\xff\xff\x01\x00\x00\x00"]
        {
            assert!(matches!(read(bytes), Heard::Unreadable(_)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes);
            let mut record = b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03".to_vec();
            record.extend_from_slice(&bytes);
            let _ = read(&record);
        }
    }
}
