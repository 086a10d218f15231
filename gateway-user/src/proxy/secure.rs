//! Clients that speak TLS: the hello is read before anything is decided, and who means a governed server is opened.

use std::{io, time::Instant};

use bytes::Bytes;
use compio::time::timeout_at;
use rustls::AlertDescription;

use super::{connection::Connection, record, refusal::Refusal, tunnel};
use crate::{
    config::Other,
    tls::{self, Heard, Hello, TlsError},
};

/// Why a hello did not come.
enum Silence {
    Refused(Refusal),
    Gone,
}

impl Connection {
    /// Shakes hands with a client that means one of the servers at this address. True when its requests can be read.
    pub(super) async fn secure(&mut self) -> bool {
        let hello = match self.hello().await {
            Ok(hello) => hello,
            Err(Silence::Gone) => return false,
            Err(Silence::Refused(refusal)) => return self.turn_away(&refusal, AlertDescription::DecodeError).await,
        };
        let sni = hello.name.as_deref();
        self.tls = Some(record::Tls { sni: hello.name.clone(), ..record::Tls::default() });
        let meant = self.only(|url| url.tls && sni.is_none_or(|name| url.host.eq_ignore_ascii_case(name)));
        let Some(server) = meant.first().copied() else {
            if self.config().other == Other::Pass {
                tunnel::run(self, "tls", sni).await;
                return false;
            }
            let asked = sni.map_or_else(|| "a server without a name".to_owned(), |name| format!("`{name}`"));
            let message = format!(
                "the client asked for {asked} over TLS, and `{}` is the server that is governed at this address",
                self.config().name
            );
            let help = "Use the server's own name, or ask the operator to set `other = \"pass\"` for it.";
            return self.turn_away(&Refusal::client(421, "not-mcp", message, help), AlertDescription::UnrecognisedName).await;
        };
        (self.candidates, self.server) = (meant, server);
        if !hello.takes_http1() {
            let message = format!("the client insists on {}; the gateway reads HTTP/1.1", hello.protocols.join(", "));
            let refusal = Refusal::client(400, "not-mcp", message, "Let the client offer http/1.1 too (ALPN).");
            return self.turn_away(&refusal, AlertDescription::NoApplicationProtocol).await;
        }
        let shaken = match self.worker.shared.tls.client(&self.config().url.host) {
            Ok(session) => self.client.shake(session, self.worker.shared.config.limits.head_timeout).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = shaken {
            let refusal = self.unshaken(&error);
            self.note_refusal(&refusal, None, &[], None).await;
            return false;
        }
        self.tls = self.client.tls(|session| record::Tls { sni: hello.name, ..record::Tls::of(session) });
        true
    }

    /// Reads the hello whole, within the limits of a request's head in size and time.
    async fn hello(&mut self) -> Result<Hello, Silence> {
        let limits = self.worker.shared.config.limits.clone();
        let unreadable = |why: String| {
            let message = format!("the client's TLS hello cannot be read: {why}");
            Silence::Refused(Refusal::client(400, "malformed", message, "Speak TLS 1.2 or 1.3 to the server's own name."))
        };
        let deadline = Instant::now() + limits.head_timeout;
        loop {
            match tls::read_hello(&self.client.buf) {
                Heard::Hello(hello) => return Ok(hello),
                Heard::Unreadable(why) => return Err(unreadable(why)),
                Heard::NeedMore if self.client.buf.len() > limits.head => {
                    return Err(unreadable(format!("it is longer than {} bytes", limits.head)));
                }
                Heard::NeedMore => {}
            }
            match timeout_at(deadline, self.client.fill()).await {
                Ok(Ok(0)) => return Err(unreadable("the connection ended inside it".into())),
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(Silence::Gone),
                Err(_) => return Err(unreadable(format!("it was not complete within {} s", limits.head_timeout.as_secs()))),
            }
        }
    }

    /// Records a refusal that no HTTP answer can tell, and tells it by an alert (RFC 8446 section 6). False, for the caller to end.
    pub(super) async fn turn_away(&mut self, refusal: &Refusal, alert: AlertDescription) -> bool {
        const FATAL: u8 = 2;
        self.note_refusal(refusal, None, &[], None).await;
        let record = Bytes::copy_from_slice(&[0x15, 3, 3, 0, 2, FATAL, alert.into()]);
        if self.client.send(vec![record], self.worker.shared.config.limits.idle_timeout).await.is_ok() && self.client.finish().await.is_ok()
        {
            self.linger().await;
        }
        false
    }

    /// Why a client and the gateway did not come together.
    fn unshaken(&self, error: &io::Error) -> Refusal {
        use AlertDescription as Alert;
        let name = &self.config().name;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        let distrust = match tls {
            Some(TlsError::Alert(alert)) => {
                let of_certificates = [Alert::UnknownCA, Alert::BadCertificate, Alert::CertificateUnknown, Alert::UnsupportedCertificate];
                of_certificates.contains(alert).then(|| format!("it said {alert:?}"))
            }
            Some(TlsError::Cut) => Some("it closed the connection when it saw the certificate".to_owned()),
            Some(_) => None,
            None => (error.kind() == io::ErrorKind::ConnectionReset)
                .then(|| "it broke the connection off when it saw the certificate".to_owned()),
        };
        match distrust {
            Some(how) => {
                let message = format!("the client does not trust the gateway's certificate for `{name}`: {how}. {}", remedy(self.exe()));
                Refusal::client(400, "client-refused-ca", message, "Make the client trust the gateway's certificate authority.")
            }
            None => {
                let message = format!("the TLS handshake of a client of `{name}` failed: {error}");
                Refusal::client(400, "tls", message, "Speak TLS 1.2 or 1.3 to the server's own name.")
            }
        }
    }

    fn exe(&self) -> &str {
        self.process
            .known()
            .and_then(|process| process.exe.known())
            .and_then(|path| path.file_name())
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }
}

/// What makes a program trust the gateway: some bring a store of their own.
fn remedy(exe: &str) -> String {
    let own = [("node", "NODE_EXTRA_CA_CERTS"), ("python", "SSL_CERT_FILE"), ("deno", "DENO_CERT"), ("java", "JAVA_TOOL_OPTIONS")];
    let variable = own.iter().find(|(name, _)| exe.starts_with(name)).map(|(_, variable)| variable);
    let then =
        variable.map_or_else(|| "start it anew".to_owned(), |variable| format!("start it anew, with {variable} as that command says"));
    format!("Run `sudo mcp-gateway ca trust`, and {then}")
}

#[cfg(test)]
mod tests {
    use super::remedy;

    #[test]
    fn the_remedy_names_the_variable_of_runtimes_with_a_store_of_their_own() {
        assert!(remedy("python3.11").contains("SSL_CERT_FILE"));
        assert!(remedy("node").contains("NODE_EXTRA_CA_CERTS"));
        assert_eq!(remedy("curl"), "Run `sudo mcp-gateway ca trust`, and start it anew");
    }
}
