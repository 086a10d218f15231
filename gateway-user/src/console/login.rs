//! Logins by SAML: to the identity provider, back from it, and what becomes of them.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;

use super::{
    Console, Proof, Session,
    cookie::{self, Begun, Travels},
    listen::Peer,
    pages::{self, note, page},
    providers::Provider,
};
use crate::{
    audit::{Durability, Effect, Entry, Kind},
    identity::{
        login::{Granted, Person},
        now,
        saml::{Assertion, Outbound},
    },
};

/// How long a person may take at the identity provider, and to type the code.
const PATIENCE: u64 = 600;

/// `GET /saml/{name}/metadata`
pub(super) async fn metadata(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    let Some(provider) = console.provider(&name) else { return no_provider() };
    ([(header::CONTENT_TYPE, "application/samlmetadata+xml")], provider.service.metadata()).into_response()
}

/// `GET /login/{name}`: the console's own login begins.
pub(super) async fn begin(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Response {
    let Some(provider) = console.provider(&name) else { return no_provider() };
    console.send(provider, None)
}

/// `GET /login/host/{number}`: whose terminal waits. Nothing begins before the person has seen that.
pub(super) async fn terminal(State(console): State<Arc<Console>>, Path(number): Path<String>) -> Response {
    let Some(terminal) = console.waiting.look(&number) else { return no_terminal() };
    let shown = pages::Terminal { number: &number, user: &terminal.user, host: &console.host, idp: &terminal.idp };
    page(StatusCode::OK, &shown)
}

/// `GET /login/host/{number}/go`. A link, not a form: browsers hold redirects of a form against `form-action`, and where an identity provider
/// leads on to is not known here.
pub(super) async fn go(State(console): State<Arc<Console>>, Path(number): Path<String>) -> Response {
    let Some(terminal) = console.waiting.look(&number) else { return no_terminal() };
    let Some(provider) = console.provider(&terminal.idp) else { return no_provider() };
    console.send(provider, Some(number))
}

/// `POST /saml/{name}/acs`: the identity provider's answer, by way of the browser.
pub(super) async fn answer(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(provider) = console.provider(&name) else { return no_provider() };
    let response = field(&body, "SAMLResponse").unwrap_or_default();
    let now = now();
    let begun = console.cookie(&headers, LOGIN).and_then(|sealed| console.seal.open(sealed, now)).filter(|begun| begun.idp == name);
    // Sent by this very browser: another one lacks the cookie. It is awaited until it ends; that it is answered once is seen to by `verify`.
    let pending = |request: &str| begun.as_ref().is_some_and(|begun| begun.request == request);
    let assertion = match provider.service.verify(&response, pending, now) {
        Ok(assertion) => assertion,
        Err(error) => {
            tracing::warn!(idp = name, peer = %peer.0, reason = error.reason(), "a SAML login was refused: {error}");
            console.record(peer, &name, Some(error.reason()), &error.to_string()).await;
            return note(StatusCode::FORBIDDEN, "You are not logged in", &error.to_string());
        }
    };
    let last = now + console.lifetime;
    let ends = assertion.session_not_on_or_after.map_or(last, |ends| ends.min(last));
    let person = provider.person(assertion);
    match begun.and_then(|begun| begun.terminal) {
        Some(number) => console.ask_for_code(&number, &name, person, ends, now),
        None => console.open_session(&name, person, ends, now),
    }
}

/// `POST /login/host/{number}`: the code that the terminal shows.
pub(super) async fn code(
    State(console): State<Arc<Console>>,
    Path(number): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let cookie = console.cookie(&headers, PROOF).unwrap_or_default();
    let proof = console.proofs.get(cookie, now()).filter(|proof| proof.number == number);
    let Some(proof) = proof else {
        return note(StatusCode::FORBIDDEN, "You are not logged in", "Open the address that your terminal shows, and log in there first.");
    };
    let Some(terminal) = console.waiting.look(&number) else { return no_terminal() };
    let code = field(&body, "code").unwrap_or_default();
    let granted = Granted { person: proof.person.clone(), refresh: None, ends: proof.ends };
    if console.waiting.finish(&number, &code, granted).is_ok() {
        console.proofs.take(cookie);
        let message = format!("{} on {} counts as {} now. You can close this page.", terminal.user, console.host, shown(&proof.person));
        return note(StatusCode::OK, "The terminal is logged in", &message);
    }
    console.record(peer, &proof.idp, None, "a wrong code was typed for a terminal that waits for a login").await;
    if console.waiting.look(&number).is_none() {
        console.proofs.take(cookie);
        return no_terminal();
    }
    console.code_page(StatusCode::FORBIDDEN, &number, &terminal.user, &proof.person, true)
}

/// The cookies.
const LOGIN: &str = "login";
const PROOF: &str = "proof";
pub(super) const SESSION: &str = "session";

impl Console {
    fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.config.name == name)
    }

    /// Sends the browser to the identity provider.
    fn send(&self, provider: &Provider, terminal: Option<String>) -> Response {
        let now = now();
        let login = match provider.service.login(None, now) {
            Ok(login) => login,
            Err(error) => {
                tracing::error!(idp = provider.config.name, "no login can begin: {error}");
                return note(StatusCode::SERVICE_UNAVAILABLE, "You cannot log in now", &error.to_string());
            }
        };
        let begun = Begun { idp: provider.config.name.clone(), request: login.request_id, terminal, until: now + PATIENCE };
        let page = match &login.outbound {
            Outbound::Redirect(url) => Redirect::to(url).into_response(),
            Outbound::Form { action, fields } => {
                let send = pages::Send { idp: &provider.config.name, action, fields };
                pages::posting_to(page(StatusCode::OK, &send), action)
            }
        };
        self.with_cookie(page, LOGIN, &self.seal.close(&begun), Travels::FromAnywhere, PATIENCE)
    }

    /// The person is known; whether the terminal is his own is not yet.
    fn ask_for_code(&self, number: &str, idp: &str, person: Person, ends: u64, now: u64) -> Response {
        let Some(terminal) = self.waiting.look(number).filter(|terminal| terminal.idp == idp) else { return no_terminal() };
        let page = self.code_page(StatusCode::OK, number, &terminal.user, &person, false);
        let proof = Proof { number: number.to_owned(), idp: idp.to_owned(), person, ends };
        match self.proofs.put(proof, now + PATIENCE, now) {
            Ok(name) => self.with_cookie(page, PROOF, &name, Travels::Here, PATIENCE),
            Err(_) => no_random(),
        }
    }

    fn code_page(&self, status: StatusCode, number: &str, user: &str, person: &Person, wrong: bool) -> Response {
        page(status, &pages::Code { number, user, host: &self.host, person: &shown(person), wrong })
    }

    fn open_session(&self, idp: &str, person: Person, ends: u64, now: u64) -> Response {
        tracing::info!(idp, person = person.subject, "logged in at the console");
        match self.sessions.put(Session { person, ends }, ends, now) {
            Ok(name) => {
                let page = Redirect::to("/").into_response();
                // The redirect still comes from the identity provider's site: a `Strict` cookie would not go with it.
                self.with_cookie(page, SESSION, &name, Travels::ByLink, ends.saturating_sub(now))
            }
            Err(_) => no_random(),
        }
    }

    pub(super) fn cookie<'h>(&self, headers: &'h HeaderMap, what: &str) -> Option<&'h str> {
        cookie::get(headers, &cookie::name(what, self.is_https()))
    }

    pub(super) fn with_cookie(&self, mut page: Response, what: &str, value: &str, travels: Travels, seconds: u64) -> Response {
        if let Ok(set) = HeaderValue::from_str(&cookie::set(what, value, self.is_https(), travels, seconds)) {
            page.headers_mut().append(header::SET_COOKIE, set);
        }
        page
    }

    /// Somebody was not let in.
    async fn record(&self, peer: Peer, idp: &str, saml: Option<&str>, message: &str) {
        let body = json!({ "peer": peer.0, "reason": "identity", "idp": idp, "saml": saml, "message": message });
        let entry = Entry { kind: Kind::Refused, body: body.to_string().into_bytes(), effect: Effect::None };
        // Nobody is let in, whether or not it can be written; the log says itself when it cannot.
        let _ = self.audit.append(entry, Durability::Sync).await;
    }
}

impl Provider {
    fn person(&self, mut assertion: Assertion) -> Person {
        let name = self.config.display_name.as_ref().and_then(|name| assertion.attributes.get(name)?.first().cloned());
        let groups = assertion.attributes.remove(&self.config.groups).unwrap_or_default();
        Person { issuer: assertion.issuer, subject: assertion.name_id, name, groups }
    }
}

/// A person, for people.
pub(super) fn shown(person: &Person) -> String {
    match &person.name {
        Some(name) if *name != person.subject => format!("{name} ({})", person.subject),
        _ => person.subject.clone(),
    }
}

/// A field of a form.
fn field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

fn no_provider() -> Response {
    note(StatusCode::NOT_FOUND, "There is no such identity provider", "The gateway's configuration has no [[identity.saml]] of this name.")
}

fn no_terminal() -> Response {
    let message = "It was logged in, has left, has waited for more than ten minutes, or was given a wrong code three times. \
                   Type mcp-gateway login again.";
    note(StatusCode::NOT_FOUND, "No terminal waits here", message)
}

fn no_random() -> Response {
    note(StatusCode::INTERNAL_SERVER_ERROR, "You are not logged in", "The gateway has no random numbers.")
}
