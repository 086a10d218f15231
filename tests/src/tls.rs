//! TLS by hand: a client whose connection the kernel takes for a process's in a cgroup, and a server that says what a test tells it.
//!
//! It is rustls' buffered face on both ends, where the gateway uses the other one.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    Launch, ServerEntry,
    http::Message,
    pki::{Issued, Pki},
    raw::{Stage, Stub, patient},
};

/// The host of a [secure](Stage::secure) stage.
pub const HOST: &str = "mcp.clinic.test";

/// A client that trusts the authorities of a PEM file.
///
/// # Errors
/// The file holds none.
pub fn client(ca_file: &Path) -> anyhow::Result<ClientConfig> {
    client_of(aws_lc_rs::default_provider(), rustls::DEFAULT_VERSIONS, ca_file)
}

/// A client with cryptography and versions of its own choosing.
///
/// # Errors
/// As [`client`].
pub fn client_of(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion], ca_file: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).with_context(|| format!("no certificates in {}", ca_file.display()))? {
        roots.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A server that shows this certificate.
///
/// # Errors
/// The certificate cannot be used.
pub fn server(issued: &Issued) -> anyhow::Result<ServerConfig> {
    server_of(rustls::DEFAULT_VERSIONS, issued, None)
}

/// A server of some versions only, which asks for a certificate of this authority's if one is given.
///
/// # Errors
/// As [`server`].
pub fn server_of(versions: &[&'static SupportedProtocolVersion], issued: &Issued, clients: Option<&Pki>) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pki) => {
            let mut roots = RootCertStore::empty();
            roots.add(pki.certificate())?;
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
        }
    };
    Ok(builder.with_single_cert(vec![issued.der().clone()], issued.secret()?)?)
}

/// Whether an end of a connection is said by TLS too (`close_notify`), or could be anybody's cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is said.
    Said,
    /// It is not.
    Unsaid,
}

/// One end of a TLS connection, whose handshake is over. When it is dropped, that is said, unless it is to be [unsaid](TlsWire::ending).
#[derive(Debug)]
pub struct TlsWire {
    reader: BufReader<Records>,
    ending: Ending,
}

/// What is said through TLS over a socket.
#[derive(Debug)]
struct Records {
    session: Connection,
    socket: TcpStream,
}

impl TlsWire {
    /// Shakes hands as a client that takes the server for this host's.
    ///
    /// # Errors
    /// The handshake fails.
    pub fn connect(socket: TcpStream, config: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Self::over(socket, ClientConnection::new(config.clone(), name).map_err(io::Error::other)?)
    }

    /// Shakes hands as a server.
    ///
    /// # Errors
    /// The handshake fails.
    pub fn accept(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        Self::over(socket, ServerConnection::new(config.clone()).map_err(io::Error::other)?)
    }

    /// Shakes hands; what the session has already said is on its way.
    ///
    /// # Errors
    /// The handshake fails.
    pub fn over(socket: TcpStream, session: impl Into<Connection>) -> io::Result<Self> {
        patient(&socket)?;
        let mut records = Records { session: session.into(), socket };
        while records.session.is_handshaking() {
            records.session.complete_io(&mut records.socket)?;
        }
        // The last of it may only be written when something else is.
        records.flush()?;
        Ok(Self { reader: BufReader::new(records), ending: Ending::Said })
    }

    /// What the handshake came to.
    #[must_use]
    pub fn session(&self) -> &Connection {
        &self.reader.get_ref().session
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_all(bytes.as_ref())?;
        self.flush()
    }

    /// The next request or answer.
    ///
    /// # Errors
    /// There is none.
    pub fn message(&mut self) -> anyhow::Result<Message> {
        Message::read(&mut self.reader)?.context("the connection ended where a message was expected")
    }

    /// The next head alone.
    ///
    /// # Errors
    /// There is none.
    pub fn head(&mut self) -> anyhow::Result<Message> {
        Message::read_head(&mut self.reader)?.context("the connection ended where a head was expected")
    }

    /// All that comes until the peer says that nothing more does.
    ///
    /// # Errors
    /// It does not say so: the connection was reset, or closed without a word.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }

    /// Says that nothing more comes from this side, by TLS and by TCP.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        self.reader.get_mut().finish()?;
        self.reader.get_ref().socket.shutdown(Shutdown::Write)
    }

    /// How it is to end when it is dropped.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }
}

impl Drop for TlsWire {
    fn drop(&mut self) {
        if self.ending == Ending::Said {
            // The peer may be gone.
            let _ = self.reader.get_mut().finish();
        }
    }
}

impl Records {
    fn finish(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush()
    }
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drop(self.session.complete_io(&mut self.socket)?),
                known => return known,
            }
        }
    }
}

impl Write for Records {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Read for TlsWire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for TlsWire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reader.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader.get_mut().flush()
    }
}

impl Stage {
    /// As [`Stage::new`], for [`HOST`] over TLS: servers of this authority are trusted.
    ///
    /// # Errors
    /// As [`Stage::new`].
    pub fn secure(pki: &Pki, setting: impl FnOnce(ServerEntry) -> ServerEntry, sections: &str) -> anyhow::Result<Self> {
        let entry = ServerEntry::new("server", &format!("https://{HOST}/mcp")).ca_file(&pki.ca_file());
        Self::of(|_| setting(entry), 443, Some(HOST), sections)?.up()
    }

    /// A client in the cgroup, which knows the server by its name.
    #[must_use]
    pub fn captured(&self, client: Launch) -> Launch {
        let client = client.under(&self.cgroup);
        self.names.iter().fold(client, |client, names| client.hosts(names.path()))
    }

    /// A client that trusts the gateway.
    ///
    /// # Errors
    /// The gateway has no authority.
    pub fn trusting_client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        Ok(Arc::new(client(&self.gateway.ca_file())?))
    }

    /// A client's TLS connection.
    ///
    /// # Errors
    /// It is refused, or the handshake fails.
    pub fn shake(&mut self, config: &Arc<ClientConfig>, host: &str) -> io::Result<TlsWire> {
        TlsWire::connect(self.probe.connect(self.address)?, config, host)
    }

    /// As [`Stage::accept`], over TLS.
    ///
    /// # Errors
    /// None comes, or its handshake fails.
    pub fn accept_securely(&mut self, config: &Arc<ServerConfig>) -> anyhow::Result<TlsWire> {
        Ok(TlsWire::accept(self.accept()?.writer()?, config)?)
    }

    /// As [`Stage::begin`], over TLS at both ends. The client trusts the gateway.
    ///
    /// # Errors
    /// The client is refused, the gateway does not connect, or a handshake fails.
    pub fn begin_securely(&mut self, config: &Arc<ServerConfig>, sent: impl AsRef<[u8]>) -> anyhow::Result<(TlsWire, TlsWire)> {
        self.ready_to_accept()?;
        let mut client = self.shake(&self.trusting_client()?, HOST)?;
        client.send(sent)?;
        Ok((client, self.accept_securely(config)?))
    }

    /// Serves over TLS at the governed address. A handshake that fails has reached nothing.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn serve_securely(
        &self,
        config: ServerConfig,
        ending: Ending,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> anyhow::Result<Stub> {
        let config = Arc::new(config);
        Ok(Stub::start(self.listen()?, move |socket| Ok(TlsWire::accept(socket, &config)?.ending(ending)), answer))
    }
}
