//! The server: it answers every call with the same bytes, at once, so that what is measured is what lies before it.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use gateway_tests::{
    Launch, Netns, Proc, binaries,
    pki::{Issued, Pki},
    servers,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::NamedTempFile;

use crate::{
    connection::{Connection, HOST, Received, Sockets},
    exchange::{Answer, call},
    machine::to_last_core,
};

/// The server, running in a network namespace of its own.
#[derive(Debug)]
pub struct Upstream {
    /// Its address for HTTP.
    pub http: SocketAddr,
    /// Its address for HTTPS, as [`HOST`].
    pub https: SocketAddr,
    /// Who vouches for it.
    pub pki: Pki,
    /// Its certificate: proxies show the same one.
    pub issued: Issued,
    /// A file in the form of /etc/hosts, in which [`HOST`] is its.
    pub names: NamedTempFile,
    _process: Proc,
    _netns: Netns,
}

/// What the server's own process is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    http: SocketAddr,
    https: SocketAddr,
    certificate: PathBuf,
    key: PathBuf,
}

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let (netns, pki) = (Netns::new()?, Pki::new()?);
        let (http, https, issued) = (netns.at(8000), netns.at(8443), pki.server(&[HOST])?);
        let program = Launch::new(binaries::own("compare")?).args(["upstream", &http.to_string(), &https.to_string()]);
        let mut process = program.arg(&issued.certificate).arg(&issued.key).inside(&netns).start()?;
        servers::listening(&mut process, http)?;
        servers::listening(&mut process, https)?;
        Ok(Self { http, https, issued, names: netns.names(HOST)?, pki, _process: process, _netns: netns })
    }
}

/// Serves for as long as the process lives.
///
/// # Errors
/// It cannot listen, or the kernel says no.
pub fn serve(what: &Serve) -> anyhow::Result<()> {
    to_last_core()?;
    let answers = Answer::ALL.map(|answer| (format!("POST {} ", answer.path()), answer.writes()));
    let call = call();
    let listeners = [(TcpListener::bind(what.http)?, None), (TcpListener::bind(what.https)?, Some(tls(&what.certificate, &what.key)?))];
    let mut sockets = Sockets::new()?;
    for (number, (listener, _)) in (0..).zip(&listeners) {
        sockets.add(listener, number)?;
    }
    let mut connections = HashMap::new();
    let mut next = 2;
    loop {
        let ready: Vec<u64> = sockets.wait(Duration::from_secs(3600))?.collect();
        for number in ready {
            if let Some((listener, config)) = listeners.get(usize::try_from(number)?) {
                let connection = Connection::accepted(listener.accept()?.0, config.as_ref())?;
                sockets.add(&connection, next)?;
                connections.insert(next, connection);
                next += 1;
            } else if let Some(connection) = connections.get_mut(&number)
                && let Err(error) = answer(connection, &call, &answers)
            {
                // Whether this fails the measurement is for the client to say: it may just have been killed.
                eprintln!("{error:#}");
                connections.remove(&number);
            }
        }
    }
}

/// Reads once, and answers a call that is whole.
fn answer(connection: &mut Connection, call: &[u8], answers: &[(String, Vec<Vec<u8>>)]) -> anyhow::Result<()> {
    match connection.receive(b"POST ", call)? {
        Received::Part => Ok(()),
        Received::End => anyhow::bail!("a connection was closed"),
        Received::Whole => {
            let line = connection.first_line();
            let answer = answers.iter().find(|(start, _)| line.starts_with(start.as_bytes()));
            let (_, writes) = answer.with_context(|| format!("no such path: {}", String::from_utf8_lossy(line)))?;
            writes.iter().try_for_each(|write| connection.send(write))
        }
    }
}

fn tls(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    ensure!(!chain.is_empty(), "no certificate in {}", certificate.display());
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?))
}
