//! The console: the gateway's pages for people, and where their SAML identity providers send them back to.
//!
//! A login that has begun is kept by the browser, sealed (`cookie`); who has logged in is kept here, under a random name that the browser
//! has. Neither outlives the gateway.

mod cookie;
mod listen;
mod login;
mod pages;
mod providers;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    audit::Appender,
    config::ConsoleConfig,
    identity::{
        login::{Hosts, Person, Waiting},
        now,
    },
    tls::operators,
};

use cookie::{Kept, Seal, Travels};
use listen::{Arrivals, Peer};

pub use providers::{ConsoleError, Provider, load, load_one};

/// What a form may hold: a SAML response, and not much more.
const MOST_BYTES: usize = 512 << 10;
const STYLE: &str = include_str!("../../templates/console/style.css");

/// What the console serves.
pub struct Console {
    config: ConsoleConfig,
    /// The longest that a login lasts, in seconds.
    lifetime: u64,
    /// This host's name.
    host: String,
    providers: Vec<Provider>,
    hosts: Arc<Hosts>,
    waiting: Arc<Waiting>,
    audit: Appender,
    seal: Seal,
    proofs: Kept<Proof>,
    sessions: Kept<Session>,
}

/// Somebody who has logged in for a terminal, and has yet to type its code.
#[derive(Clone)]
struct Proof {
    number: String,
    idp: String,
    person: Person,
    ends: u64,
}

/// Somebody who has logged in at the console.
#[derive(Clone)]
struct Session {
    person: Person,
    ends: u64,
}

impl Console {
    /// For these logins.
    ///
    /// # Errors
    /// [`ConsoleError::Random`]
    pub fn new(
        config: ConsoleConfig,
        lifetime: std::time::Duration,
        providers: Vec<Provider>,
        hosts: Arc<Hosts>,
        waiting: Arc<Waiting>,
        audit: Appender,
    ) -> Result<Self, ConsoleError> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let seal = Seal::new().map_err(|_| ConsoleError::Random)?;
        let lifetime = lifetime.as_secs();
        Ok(Console { config, lifetime, host, providers, hosts, waiting, audit, seal, proofs: Kept::new(), sessions: Kept::new() })
    }

    /// Serves until the task is aborted.
    ///
    /// # Errors
    /// [`ConsoleError`]
    pub async fn serve(self) -> Result<JoinHandle<()>, ConsoleError> {
        let listen = self.config.listen;
        let failed = |source| ConsoleError::Listen { listen, source };
        let tls = self.config.certificate.as_ref().map(operators).transpose()?.map(|config| TlsAcceptor::from(Arc::new(config)));
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let arrivals = Arrivals::new(listener, tls).map_err(failed)?;
        tracing::info!("the console is at {}", self.config.url);
        let routes = routes(Arc::new(self)).into_make_service_with_connect_info::<Peer>();
        Ok(tokio::spawn(async move {
            if let Err(error) = axum::serve(arrivals, routes).await {
                tracing::error!("the console is no longer served: {error}");
            }
        }))
    }

    fn is_https(&self) -> bool {
        self.config.url.starts_with("https:")
    }

    /// Whether a page of the console itself sends this.
    fn is_own(&self, headers: &HeaderMap) -> bool {
        // Under `no-referrer` a browser says `Origin: null` even of our own forms, so the newer field goes first.
        let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        match said("sec-fetch-site") {
            Some(site) => site == b"same-origin",
            None => said("origin") == Some(self.config.url.as_bytes()),
        }
    }
}

fn routes(console: Arc<Console>) -> Router {
    let own = Router::new()
        .route("/", get(home))
        .route("/logout", post(logout))
        .route("/login/{name}", get(login::begin))
        .route("/login/host/{number}", get(login::terminal).post(login::code))
        .route("/login/host/{number}/go", get(login::go))
        .route("/saml/{name}/metadata", get(login::metadata))
        .route("/style.css", get(async || ([(header::CONTENT_TYPE, "text/css")], STYLE)))
        .layer(middleware::from_fn_with_state(console.clone(), only_own_posts));
    // The identity provider's page sends this one: what protects it is the request that it answers.
    own.route("/saml/{name}/acs", post(login::answer))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(middleware::map_response(guarded))
        .with_state(console)
}

async fn only_own_posts(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    if request.method() == axum::http::Method::POST && !console.is_own(request.headers()) {
        return pages::note(StatusCode::FORBIDDEN, "This came from another site", "Begin again at the console itself.");
    }
    next.run(request).await
}

/// What no page goes without.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY)
        && let Ok(policy) = HeaderValue::from_str(&pages::policy("'self'"))
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// `GET /`: who you are.
async fn home(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let session = console.cookie(&headers, login::SESSION).and_then(|name| console.sessions.get(name, now()));
    let me = match session {
        None => None,
        Some(Session { person, ends }) => {
            let own = console.hosts.all().await.into_iter();
            let own = own.filter(|login| login.person.issuer == person.issuer && login.person.subject == person.subject);
            let logins = own.map(|login| pages::HostLogin {
                id: login.id,
                uid: login.uid,
                session: login.cgroup.unwrap_or_else(|| "all".into()),
                until: pages::instant(login.ends),
            });
            let logins = logins.collect();
            let (name, until) = (login::shown(&person), pages::instant(ends));
            Some(pages::Me { person: name, subject: person.subject, issuer: person.issuer, groups: person.groups, until, logins })
        }
    };
    let idps: Vec<&str> = console.providers.iter().map(|provider| provider.config.name.as_str()).collect();
    pages::page(StatusCode::OK, &pages::Home { host: &console.host, idps: &idps, me })
}

/// `POST /logout`
async fn logout(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if let Some(name) = console.cookie(&headers, login::SESSION) {
        console.sessions.take(name);
    }
    console.with_cookie(Redirect::to("/").into_response(), login::SESSION, "", Travels::ByLink, 0)
}
