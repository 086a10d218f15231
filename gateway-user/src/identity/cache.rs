//! From a bearer token to who it stands for; what was found out is kept until the token ends.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value};

use super::{
    How, Identity, Principal, Strength,
    issuer::{Issuer, Issuers, Unavailable},
    token::{Claims, TokenError, Unverified},
};
use crate::audit::{Digest, Sha256};

/// So many tokens are remembered by each worker; when there are more, those that have ended go, and then all.
const MOST: usize = 8192;

/// Tokens whose signature was checked, by their SHA-256. Each worker has its own: nothing is locked.
#[derive(Default)]
pub struct TokenCache {
    tokens: HashMap<Sha256, Checked>,
}

#[derive(Clone)]
struct Checked {
    identity: Arc<Identity>,
    issuer: Arc<Issuer>,
    claims: Arc<Claims>,
    /// Until when the issuer's own word counts, where it is asked.
    until: Option<Instant>,
    generation: u64,
}

/// Why a bearer token does not say who calls.
#[derive(Debug, Clone)]
pub enum NotTaken {
    /// It is not for the gateway. It may be the server's.
    NotOurs(TokenError),
    /// It is for the gateway, and is not right.
    Refused(TokenError),
    /// It may be right, and that cannot be found out now.
    Unavailable(Unavailable),
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl TokenCache {
    /// Who a token stands for that was checked before; `None` if it must be checked. `resource` is what the server is called, `now` in
    /// seconds since 1970.
    ///
    /// # Errors
    /// [`NotTaken`]: it was right, and is not any more, or not for this server.
    fn get(&mut self, issuers: &Issuers, token: &str, resource: &[String], now: u64) -> Option<Result<Arc<Identity>, NotTaken>> {
        let key = Digest::of(token.as_bytes());
        let checked = self.tokens.get(&key)?;
        let outdated = checked.generation != issuers.generation() || checked.until.is_some_and(|until| until <= Instant::now());
        if outdated || checked.claims.ends <= now {
            self.tokens.remove(&key);
            return None;
        }
        Some(checked.judge(resource).map(|()| checked.identity.clone()))
    }

    fn keep(&mut self, token: &str, checked: Checked, now: u64) {
        if self.tokens.len() >= MOST {
            self.tokens.retain(|_, checked| checked.claims.ends > now);
        }
        if self.tokens.len() >= MOST {
            self.tokens.clear();
        }
        self.tokens.insert(Digest::of(token.as_bytes()), checked);
    }
}

impl Checked {
    /// What may change while a token holds, or differs between servers.
    fn judge(&self, resource: &[String]) -> Result<(), NotTaken> {
        self.issuer.known().map_err(NotTaken::Unavailable)?;
        let audience = &self.claims.audience;
        if self.issuer.rules.is_for_us(audience.iter().map(String::as_str), resource) {
            Ok(())
        } else {
            Err(NotTaken::NotOurs(TokenError::Audience { found: named(audience.iter().map(String::as_str)) }))
        }
    }
}

fn named<'a>(audience: impl Iterator<Item = &'a str>) -> String {
    let named = audience.map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
    if named.is_empty() { "no audience".into() } else { named }
}

impl Issuers {
    /// Who a token stands for, presented for the server that is called `resource`.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub async fn bearer(
        self: &Arc<Self>,
        cache: &RefCell<TokenCache>,
        token: &str,
        resource: &[String],
    ) -> Result<Arc<Identity>, NotTaken> {
        if let Some(known) = cache.borrow_mut().get(self, token, resource, now()) {
            return known;
        }
        let generation = self.generation();
        let checked =
            if Unverified::is_jwt(token) { self.jwt(token, resource, generation).await? } else { self.opaque(token, generation).await? };
        let judged = checked.judge(resource);
        let identity = checked.identity.clone();
        cache.borrow_mut().keep(token, checked, now());
        judged.map(|()| identity)
    }

    async fn jwt(self: &Arc<Self>, token: &str, resource: &[String], generation: u64) -> Result<Checked, NotTaken> {
        let read = Unverified::read(token).map_err(NotTaken::NotOurs)?;
        let Some(issuer) = self.all().iter().find(|issuer| &*issuer.rules.issuer == read.issuer()) else {
            return Err(NotTaken::NotOurs(TokenError::Issuer { issuer: read.issuer().to_owned() }));
        };
        if !issuer.rules.is_for_us(read.audience().into_iter(), resource) {
            return Err(NotTaken::NotOurs(TokenError::Audience { found: named(read.audience().into_iter()) }));
        }
        let algorithm = issuer.rules.algorithm(&read).map_err(NotTaken::Refused)?;
        let asked = Instant::now();
        let is_known = |known: &super::issuer::Known| known.keys.has(read.kid(), algorithm);
        let mut known = issuer.known();
        if !known.as_ref().is_ok_and(|known| is_known(known)) {
            // The issuer may have new keys.
            let answer = self.ask(issuer, asked).await;
            known = issuer.known();
            if let (Err(error), false) = (answer, known.as_ref().is_ok_and(|known| is_known(known))) {
                return Err(NotTaken::Unavailable(error));
            }
        }
        let known = known.map_err(NotTaken::Unavailable)?;
        let claims = issuer.rules.verify(&read, &known.keys, now()).map_err(NotTaken::Refused)?;
        issuer.check_id(claims.jti.as_deref()).map_err(NotTaken::Refused)?;
        let until = self.confirm(issuer, token).await?;
        Ok(checked(issuer, claims, until, generation))
    }

    /// Asks the issuer for its keys, on the runtime that has the network.
    async fn ask(self: &Arc<Self>, issuer: &Arc<Issuer>, since: Instant) -> Result<(), Unavailable> {
        let (all, issuer, idp) = (self.clone(), issuer.clone(), issuer.config.name.clone());
        let asked = self.runtime.spawn(async move {
            if issuer.ask(since).await? {
                all.outdate();
            }
            Ok(())
        });
        asked.await.unwrap_or_else(|_| Err(Unavailable { idp, what: "its keys are needed", cause: "the gateway is stopping".into() }))
    }

    /// Asks the issuer whether a token that is right still holds, where that is set; until when the answer counts.
    async fn confirm(&self, issuer: &Arc<Issuer>, token: &str) -> Result<Option<Instant>, NotTaken> {
        let Some(settings) = &issuer.config.introspection else { return Ok(None) };
        match self.introspect(issuer, token).await.map_err(NotTaken::Unavailable)? {
            Some(_) => Ok(Some(Instant::now() + settings.ttl)),
            None => Err(NotTaken::Refused(TokenError::Revoked)),
        }
    }

    async fn introspect(&self, issuer: &Arc<Issuer>, token: &str) -> Result<Option<Map<String, Value>>, Unavailable> {
        let (asked, token, idp) = (issuer.clone(), token.to_owned(), issuer.config.name.clone());
        let answer = self.runtime.spawn(async move {
            match &asked.config.introspection {
                Some(settings) => asked.introspect(settings, &token).await,
                None => Ok(None),
            }
        });
        answer.await.unwrap_or_else(|_| {
            Err(Unavailable { idp, what: "it is to be asked about every token", cause: "the gateway is stopping".into() })
        })
    }

    /// A token that only its issuer can read.
    async fn opaque(&self, token: &str, generation: u64) -> Result<Checked, NotTaken> {
        for issuer in self.all() {
            let Some(settings) = &issuer.config.introspection else { continue };
            let Some(claims) = self.introspect(issuer, token).await.map_err(NotTaken::Unavailable)? else { continue };
            if claims.get("iss").is_some_and(|found| found.as_str() != Some(&issuer.rules.issuer)) {
                continue;
            }
            let until = Some(Instant::now() + settings.ttl);
            let claims = issuer.rules.read(&claims, None, now()).map_err(NotTaken::Refused)?;
            issuer.check_id(claims.jti.as_deref()).map_err(NotTaken::Refused)?;
            return Ok(checked(issuer, claims, until, generation));
        }
        Err(NotTaken::NotOurs(TokenError::Malformed("it is no JWT, and no issuer that is asked knows it")))
    }
}

fn checked(issuer: &Arc<Issuer>, claims: Claims, until: Option<Instant>, generation: u64) -> Checked {
    let principal = Principal::Person {
        issuer: issuer.rules.issuer.clone(),
        subject: claims.subject.clone(),
        name: claims.name.clone(),
        groups: claims.groups.clone(),
    };
    let how = How::Token {
        idp: issuer.rules.idp.clone(),
        jti: claims.jti.clone(),
        client: claims.client.clone(),
        kid: claims.kid.clone(),
        expires: claims.ends,
    };
    let identity = Arc::new(Identity::new(principal, how, Strength::Token));
    Checked { identity, issuer: issuer.clone(), claims: Arc::new(claims), until, generation }
}
