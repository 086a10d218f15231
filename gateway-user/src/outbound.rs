//! How the gateway's own clients connect: identity providers, AWS, token endpoints.
//!
//! What they ask for may itself be governed: the host's metadata service, so that agents cannot take the instance's role. Their sockets
//! are let past our own kernel hooks before they connect, as those of calls are.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use axum::http::Uri;
use futures_util::future::select_ok;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::ClientConfig;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tower_service::Service;

use crate::tls::{self, TlsConfigError};

/// Until a connection is open, over all addresses of a name.
const CONNECT: Duration = Duration::from_secs(5);
/// After that the next address is tried beside those before: RFC 8305 section 5.
const STAGGER: Duration = Duration::from_millis(250);

/// Lets a socket that is not connected yet past our own kernel hooks.
pub type Exempt = Arc<dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync>;

/// How the gateway's own clients connect.
#[derive(Clone, Default)]
pub struct Outbound {
    exempt: Option<Exempt>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("exempt", &self.exempt.is_some()).finish()
    }
}

impl Outbound {
    /// Past the hooks, by this; where nothing is captured, [`Outbound::default`].
    #[must_use]
    pub fn past(exempt: Exempt) -> Self {
        Outbound { exempt: Some(exempt) }
    }

    /// A connector for HTTP clients, which speaks TLS to `https` URLs.
    #[must_use]
    pub fn https(&self, tls: ClientConfig) -> HttpsConnector<Dial> {
        self.within(CONNECT, tls)
    }

    /// A client of AWS's, for all services: they share its connections.
    #[must_use]
    pub fn aws(&self) -> SharedHttpClient {
        SharedHttpClient::new(Aws { outbound: self.clone(), by_limit: Mutex::default() })
    }

    fn within(&self, limit: Duration, tls: ClientConfig) -> HttpsConnector<Dial> {
        let dial = Dial { outbound: self.clone(), limit };
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(dial)
    }

    /// Opens a connection to whichever of a name's addresses answers first.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| told(&format_args!("the name {host}"), &error))?;
        let tries = (0_u32..).zip(addresses).map(|(place, address)| {
            Box::pin(async move {
                sleep(STAGGER * place).await;
                self.connect_to(address).await.map_err(|error| told(&address, &error))
            })
        });
        let tries: Vec<_> = tries.collect();
        if tries.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the name {host} has no address")));
        }
        Ok(select_ok(tries).await?.0)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(exempt) = &self.exempt {
            exempt(socket.as_fd())?;
        }
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.connect(address).await
    }
}

fn told(what: &dyn fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Opens the TCP connections of an HTTP client.
#[derive(Clone)]
pub struct Dial {
    outbound: Outbound,
    limit: Duration,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Dial { outbound, limit } = self.clone();
        Box::pin(async move {
            let host = uri.host().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a URL without a host"))?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{host} port {port} was not reached within {limit:?}"));
            timeout(limit, outbound.connect(host, port)).await.unwrap_or_else(|_| Err(late())).map(TokioIo::new)
        })
    }
}

/// The same for AWS's clients. Each says how long a connection may take; those that say the same share connections.
struct Aws {
    outbound: Outbound,
    by_limit: Mutex<HashMap<HashableSettings, SharedHttpConnector>>,
}

/// Until a connection is open, and until an answer begins.
type HashableSettings = (Option<Duration>, Option<Duration>);

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outbound.fmt(f)
    }
}

impl HttpClient for Aws {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut known = self.by_limit.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = known.entry(key).or_insert_with(|| {
            let limit = settings.connect_timeout().map_or(CONNECT, |limit| limit.min(CONNECT));
            SharedHttpConnector::new(AwsConnector::new(&self.outbound, limit, settings.read_timeout()))
        });
        connector.clone()
    }
}

#[derive(Debug)]
struct AwsConnector {
    /// Without one, the system's authorities cannot be read: each request says so, and a gateway that asks AWS for nothing starts.
    client: Result<Client<HttpsConnector<Dial>, SdkBody>, Arc<TlsConfigError>>,
    answer: Option<Duration>,
}

impl AwsConnector {
    fn new(outbound: &Outbound, limit: Duration, answer: Option<Duration>) -> Self {
        let client = tls::trusting(None).map(|builder| {
            let connector = outbound.within(limit, builder.with_no_client_auth());
            // Without a timer, what rests in the pool is never closed.
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
        });
        AwsConnector { client: client.map_err(Arc::new), answer }
    }
}

impl HttpConnector for AwsConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = match &self.client {
            Ok(client) => client.clone(),
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.clone().into()))),
        };
        let answer = self.answer;
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let asked = client.request(request);
            let answered = match answer {
                None => asked.await,
                Some(limit) => match timeout(limit, asked).await {
                    Ok(answered) => answered,
                    Err(late) => return Err(ConnectorError::timeout(late.into())),
                },
            };
            let answered = answered.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answered.map(SdkBody::from_body_1_x)).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{
        net::TcpListener,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    async fn dial(outbound: &Outbound, url: &str) -> io::Result<TokioIo<TcpStream>> {
        Dial { outbound: outbound.clone(), limit: CONNECT }.call(url.parse().unwrap()).await
    }

    /// On 127.0.0.1 only: of the addresses of `localhost`, one may refuse.
    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_socket_is_let_past_before_it_connects() {
        let (_listener, port) = listener();
        let seen = Arc::new(AtomicUsize::new(0));
        let on = seen.clone();
        let outbound = Outbound::past(Arc::new(move |socket: BorrowedFd<'_>| {
            assert_eq!(rustix::net::getpeername(socket).unwrap_err(), rustix::io::Errno::NOTCONN);
            on.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        dial(&outbound, &format!("http://localhost:{port}/")).await.unwrap();
        assert!(seen.load(Ordering::Relaxed) > 0);
    }

    #[tokio::test]
    async fn a_socket_that_is_not_let_past_does_not_connect() {
        let (listener, port) = listener();
        listener.set_nonblocking(true).unwrap();
        let outbound = Outbound::past(Arc::new(|_: BorrowedFd<'_>| Err(io::Error::other("no memory for the mark"))));
        let error = dial(&outbound, &format!("http://127.0.0.1:{port}/")).await.unwrap_err();
        assert!(error.to_string().contains("no memory for the mark"), "{error}");
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn whichever_address_of_a_name_answers_is_taken_and_a_refusal_is_named() {
        let (_listener, port) = listener();
        assert!(dial(&Outbound::default(), &format!("http://localhost:{port}/")).await.is_ok());
        let (gone, port) = listener();
        drop(gone);
        let error = dial(&Outbound::default(), &format!("http://[::ffff:127.0.0.1]:{port}/")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("]:{port}: ")), "{error}");
    }
}
