//! Whose a request is: found out for each, before anything of it is forwarded.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::{
    caller::{Origin, Who},
    connection::{Connection, Next, Stop},
    entrance::{Entrance, METADATA},
    record,
    refusal::{Refusal, Side, json_answer},
};
use crate::{
    config::{Anonymous, Authorization, ServerConfig, ServerUrl},
    credential::Secret,
    identity::{How, Identity, NotTaken, TokenError, now, workload},
    wire::http1::{Headers, Method, RequestHead},
};

/// Who makes a request.
pub(super) struct Vouched {
    pub identity: Arc<Identity>,
    /// The token in the request that says so. It is the gateway's, and goes no further.
    pub token: Option<Secret>,
}

const LOG_IN: &str = "Log in with `mcp-gateway login` on this host, or send a token of an identity provider that the gateway knows.";

impl Connection {
    /// Who makes the present request; nobody until that is known.
    pub(super) fn identity(&self) -> &Arc<Identity> {
        self.vouched.as_ref().map_or(&self.worker.shared.identities.nobody, |vouched| &vouched.identity)
    }

    /// Who makes the present request, for its record.
    pub(super) fn caller(&self) -> record::Caller<'_> {
        self.source.caller(self.vouched.as_ref().map(|vouched| &*vouched.identity))
    }

    /// Finds out who makes a request, and whether they may call the server at all. Who it is stays known when they may not.
    pub(super) async fn vouch(&mut self, head: &RequestHead) -> Result<(), Refusal> {
        let vouched = match self.by_token(head).await? {
            Some((identity, token)) => Vouched { identity, token: Some(token) },
            None => Vouched { identity: self.by_host().await?, token: None },
        };
        let admitted = self.admit(&vouched.identity);
        self.vouched = Some(vouched);
        admitted
    }

    /// As [`Connection::vouch`], of a connection in which no request can be read.
    pub(super) async fn vouch_unread(&mut self) -> Result<(), Refusal> {
        let identity = self.by_host().await?;
        let admitted = admit(self.config(), &identity, || None);
        self.vouched = Some(Vouched { identity, token: None });
        admitted
    }

    /// Whom a token in the request stands for.
    async fn by_token(&self, head: &RequestHead) -> Result<Option<(Arc<Identity>, Secret)>, Refusal> {
        let identities = &self.worker.shared.identities;
        let is_ours = self.config().authorization == Authorization::Gateway;
        if is_ours && has_token_in_query(&head.target) {
            // RFC 6750 section 2.3 and the MCP specification (basic/authorization, "Token Requirements"): it would go upstream, and into logs.
            let message = "the request carries a token in its URL";
            return Err(Refusal::client(400, "identity", message, "Send it in the Authorization header."));
        }
        if identities.issuers.all().is_empty() {
            return Ok(None);
        }
        let mut fields = head.headers.get_all("authorization");
        let Some(field) = fields.next() else { return Ok(None) };
        if fields.next().is_some() {
            let message = "the request carries more than one Authorization header";
            return Err(Refusal::client(400, "identity", message, "Send one."));
        }
        let Some(token) = bearer(field) else { return Ok(None) };
        match identities.issuers.bearer(&self.worker.tokens, token, &self.resources()).await {
            Ok(identity) => Ok(Some((identity, Secret::new(token.to_owned())))),
            Err(NotTaken::NotOurs(_)) if !is_ours => Ok(None),
            Err(NotTaken::NotOurs(error) | NotTaken::Refused(error)) => Err(self.not_taken(&error)),
            Err(NotTaken::Unavailable(error)) => Err(Refusal {
                side: Side::Gateway,
                ..Refusal::client(503, "identity-unavailable", error.to_string(), "Try again. The operator sees why in the gateway's log.")
            }),
        }
    }

    fn not_taken(&self, error: &TokenError) -> Refusal {
        let refusal = Refusal::client(401, "identity", error.to_string(), "Get a new token for this server, and call again.");
        let described = error.to_string().replace(['"', '\\'], "'").replace(|c: char| !(' '..='~').contains(&c), "?");
        let challenge =
            format!("Bearer error=\"invalid_token\", error_description=\"{described}\", resource_metadata=\"{}\"", self.metadata_url());
        Refusal { challenge: Some(challenge.into()), ..refusal }
    }

    /// Whose the process is, if the request itself says nothing.
    async fn by_host(&mut self) -> Result<Arc<Identity>, Refusal> {
        let shared = self.worker.shared.clone();
        let identities = &shared.identities;
        let process = self.process.known();
        if let Some(uid) = self.uid() {
            let cgroup = process.and_then(|process| process.cgroup.known()).map(String::as_str);
            if let Some(identity) = identities.logins.of(uid, cgroup, now()) {
                return Ok(identity);
            }
        }
        if identities.workloads.is_empty() {
            return Ok(identities.nobody.clone());
        }
        let Some(process) = process else { return Ok(identities.nobody.clone()) };
        let workload = match &self.workload {
            Some(Some(_)) if !workload::still_runs(process) => {
                let message = format!("the process {} no longer runs what it ran when it connected", process.pid);
                return Err(Refusal::client(403, "identity", message, "Connect again."));
            }
            Some(known) => known.clone(),
            None => {
                let (process, uid, shared) = (process.clone(), self.uid(), shared.clone());
                // It may read a large executable: other calls of this worker do not wait for that.
                let found = compio::runtime::spawn_blocking(move || shared.identities.workloads.of(uid, &process)).await;
                self.workload.insert(found.unwrap_or_default().map(Arc::new)).clone()
            }
        };
        Ok(workload.unwrap_or_else(|| identities.nobody.clone()))
    }

    /// Whether the caller is still who it was when its request came: a stream that has no end of its own must not outlive that.
    pub(super) fn holds(&self) -> impl Fn() -> bool + use<> {
        let (shared, identity, uid) = (self.worker.shared.clone(), self.identity().clone(), self.uid());
        let process = self.process.known().cloned();
        move || {
            let identities = &shared.identities;
            match identity.how() {
                How::Token { idp, jti, expires, .. } => {
                    let is_revoked = identities.issuers.named(idp).is_some_and(|issuer| issuer.is_revoked(jti.as_deref()));
                    *expires > now() && !is_revoked
                }
                How::HostLogin { .. } => {
                    let cgroup = process.as_ref().and_then(|process| process.cgroup.known()).map(String::as_str);
                    let found = uid.and_then(|uid| identities.logins.of(uid, cgroup, now()));
                    found.is_some_and(|found| found.key() == identity.key())
                }
                How::Workload { .. } => process.as_ref().is_none_or(workload::still_runs),
                How::Nothing => true,
            }
        }
    }

    pub(super) fn uid(&self) -> Option<u32> {
        match &self.origin {
            Origin::Capture(origin) => Some(origin.uid),
            Origin::Endpoint { uid, .. } => *uid,
        }
    }

    fn admit(&self, identity: &Identity) -> Result<(), Refusal> {
        let challenge = || {
            if self.config().authorization != Authorization::Gateway {
                return None;
            }
            let scopes = self.scopes().join(" ");
            let scope = if scopes.is_empty() { String::new() } else { format!(", scope=\"{scopes}\"") };
            Some(format!("Bearer resource_metadata=\"{}\"{scope}", self.metadata_url()))
        };
        admit(self.config(), identity, challenge)
    }

    /// Whether the caller may go on with a session of the protocol: it belongs to whoever it was opened for.
    pub(super) fn own(&self, session: &str, head: &RequestHead, path: &str) -> Result<(), Refusal> {
        let is_named = head.headers.contains("mcp-session-id") || self.worker.shared.sessions.is_endpoint(self.server, path);
        if !is_named || self.worker.shared.owners.is_owner(session, &self.owner()) {
            return Ok(());
        }
        let message = format!("the session belongs to somebody else than {}", self.identity());
        Err(Refusal::client(403, "identity", message, "Open a session of your own (`initialize`)."))
    }

    /// The server has opened a session for the present caller.
    pub(super) fn opened(&self, session: &str) {
        self.worker.shared.owners.opened(session, &self.owner());
    }

    /// Whose a session is that is opened now. Of those whom nobody knows, the users of this host are told apart.
    fn owner(&self) -> Arc<str> {
        let identity = self.identity();
        match self.uid() {
            Some(uid) if identity.is_nobody() => format!("nobody\n{uid}").into(),
            _ => identity.key().clone(),
        }
    }

    /// The name of what the caller does outside a session of the protocol. Behind an address there may be several callers.
    pub(super) fn session_of_caller(&self) -> String {
        let name = &self.config().name;
        match (&self.who, self.identity()) {
            (Who::Address { .. }, identity) if !identity.is_nobody() => {
                let key = crate::audit::Digest::of(identity.key().as_bytes()).hex();
                format!("{name}:{}:{}", self.who, String::from_utf8_lossy(&key[..16]))
            }
            (who, _) => format!("{name}:{who}"),
        }
    }

    /// By which names the server is known to the caller: a token may be for one of these (RFC 8707).
    fn resources(&self) -> Vec<String> {
        let own = resource(&self.config().url);
        self.entrance.as_ref().map(Entrance::resource).into_iter().chain([own]).collect()
    }

    /// What a client is to ask an issuer for.
    fn scopes(&self) -> Vec<&str> {
        let issuers = &self.worker.shared.config.identity.oidc;
        issuers.iter().flat_map(|issuer| issuer.token_scopes.iter().map(String::as_str)).collect()
    }

    fn metadata_url(&self) -> String {
        match &self.entrance {
            Some(entrance) => entrance.metadata_url(),
            None => {
                let url = &self.config().url;
                format!("{}://{}{METADATA}{}", url.scheme(), url.authority(), path_of(url))
            }
        }
    }

    /// Whether the caller asks who authorizes it where that is the gateway.
    pub(super) fn is_own_metadata(&self, head: &RequestHead, path: &str) -> bool {
        self.config().authorization == Authorization::Gateway && head.method == Method::Get && Entrance::is_metadata(path)
    }

    /// Says where tokens for the server are got (RFC 9728 section 3.2).
    pub(super) async fn give_own_metadata(&mut self, head: &RequestHead) -> Result<Next, Stop> {
        let shared = self.worker.shared.clone();
        let issuers: Vec<&str> = shared.identities.issuers.all().iter().map(|issuer| &*issuer.rules.issuer).collect();
        let mut body = json!({
            "resource": self.resources().first(),
            "resource_name": self.config().name,
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        });
        let scopes = self.scopes();
        if !scopes.is_empty() {
            body["scopes_supported"] = json!(scopes);
        }
        let pieces = json_answer(200, &Bytes::from(body.to_string()), Headers::new(), &head.method, head.keep_alive);
        self.client.send(pieces, shared.config.limits.idle_timeout).await.map_err(|_| Stop::Gone)?;
        Ok(if head.keep_alive { Next::Another } else { Next::Close })
    }
}

/// Whether a caller may call a server at all. With a challenge, a token could show who it is.
fn admit(server: &ServerConfig, identity: &Identity, challenge: impl FnOnce() -> Option<String>) -> Result<(), Refusal> {
    let name = &server.name;
    if identity.is_nobody() && (server.anonymous == Anonymous::Deny || server.allow_groups.is_some()) {
        let message = format!("nobody is known to be behind this call, and `{name}` takes no anonymous ones");
        let challenge = challenge();
        let status = if challenge.is_some() { 401 } else { 403 };
        return Err(Refusal { challenge: challenge.map(Into::into), ..Refusal::client(status, "identity", message, LOG_IN) });
    }
    match &server.allow_groups {
        Some(allowed) if !identity.groups().iter().any(|group| allowed.contains(group)) => {
            let message = format!("{identity} is in no group that may call `{name}`");
            Err(Refusal::client(403, "not-allowed", message, "Ask the operator for one of the groups in the server's `allow_groups`."))
        }
        _ => Ok(()),
    }
}

/// A server's URL as a token names it (RFC 8707 section 2).
#[must_use]
pub fn resource(url: &ServerUrl) -> String {
    format!("{}://{}{}", url.scheme(), url.authority(), path_of(url))
}

/// The path of a server's endpoint, as it is appended to a well-known one.
pub(super) fn path_of(url: &ServerUrl) -> &str {
    let path = url.path.split('?').next().unwrap_or_default();
    if path == "/" { "" } else { path }
}

/// The token of an Authorization field (RFC 6750 section 2.1).
fn bearer(field: &[u8]) -> Option<&str> {
    let field = std::str::from_utf8(field).ok()?;
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn has_token_in_query(target: &str) -> bool {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|part| part.split('=').next() == Some("access_token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for field in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(field.as_bytes()), Some("abc"), "{field}");
        }
        for other in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(bearer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_token_in_a_query_is_seen() {
        assert!(has_token_in_query("/mcp?access_token=x") && has_token_in_query("/mcp?a=b&access_token"));
        assert!(!has_token_in_query("/mcp?token=x") && !has_token_in_query("/access_token"));
    }
}
