//! What a browser carries: random names of what is kept here, and the login that it has begun, sealed.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{error::Unspecified, hmac, rand};
use axum::http::{HeaderMap, header::COOKIE};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// How a cookie may come along.
#[derive(Clone, Copy)]
pub(super) enum Travels {
    /// With what another site sends here: the identity provider posts.
    FromAnywhere,
    /// With links from other sites too.
    ByLink,
    /// Only from this site's own pages.
    Here,
}

/// A cookie's name. With TLS a browser takes it from nobody but this host (`__Host-`).
pub(super) fn name(what: &str, tls: bool) -> String {
    format!("{}mcp-gateway-{what}", if tls { "__Host-" } else { "" })
}

/// A `Set-Cookie`, for so many seconds.
pub(super) fn set(what: &str, value: &str, tls: bool, travels: Travels, seconds: u64) -> String {
    let same_site = match travels {
        // `None` needs TLS. Without, only on this host itself, no word is the nearest: browsers that take that for `Lax` still let such a
        // cookie come along with a POST for two minutes.
        Travels::FromAnywhere if tls => "; SameSite=None",
        Travels::FromAnywhere => "",
        Travels::ByLink => "; SameSite=Lax",
        Travels::Here => "; SameSite=Strict",
    };
    let secure = if tls { "; Secure" } else { "" };
    format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly{secure}{same_site}", name(what, tls))
}

/// The cookie of this name.
pub(super) fn get<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    fields
        .flat_map(|field| field.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A login that a browser has begun: kept by the browser alone, so that beginning many takes nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The identity provider's name.
    pub idp: String,
    /// The request that its response must answer.
    pub request: String,
    /// The terminal that waits for it; none if it is the console's own.
    pub terminal: Option<String>,
    /// Until when, in seconds since 1970.
    pub until: u64,
}

/// Seals what browsers keep, with a key that nothing else knows and that ends with this process.
pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) fn new() -> Result<Self, Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).map(Seal)
    }

    pub(super) fn close(&self, begun: &Begun) -> String {
        // Strings and numbers always serialise.
        let text = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(begun).unwrap_or_default());
        let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, text.as_bytes()));
        format!("{text}.{tag}")
    }

    /// What was sealed, if it still holds.
    pub(super) fn open(&self, sealed: &str, now: u64) -> Option<Begun> {
        let (text, tag) = sealed.split_once('.')?;
        hmac::verify(&self.0, text.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let begun: Begun = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        (begun.until > now).then_some(begun)
    }
}

/// Things that browsers have the random names of, each until its end.
pub(super) struct Kept<T>(Mutex<HashMap<String, (u64, T)>>);

impl<T: Clone> Kept<T> {
    pub(super) fn new() -> Self {
        Kept(Mutex::default())
    }

    /// Keeps it until then, under a new name.
    pub(super) fn put(&self, thing: T, until: u64, now: u64) -> Result<String, Unspecified> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        let name = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut kept = self.lock();
        kept.retain(|_, (until, _)| *until > now);
        kept.insert(name.clone(), (until, thing));
        Ok(name)
    }

    pub(super) fn get(&self, name: &str, now: u64) -> Option<T> {
        self.lock().get(name).filter(|(until, _)| *until > now).map(|(_, thing)| thing.clone())
    }

    pub(super) fn take(&self, name: &str) -> Option<T> {
        self.lock().remove(name).map(|(_, thing)| thing)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (u64, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_keeps_holds_until_its_end_and_only_unchanged() {
        let begun = Begun { idp: "corp".into(), request: "_1".into(), terminal: None, until: 100 };
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let sealed = seal.close(&begun);
        assert_eq!(seal.open(&sealed, 99), Some(begun));
        assert_eq!(seal.open(&sealed, 100), None, "it has ended");
        assert_eq!(other.open(&sealed, 99), None, "another process sealed it");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(seal.open(&String::from_utf8(changed).unwrap(), 99), None, "byte {at}");
        }
    }

    #[test]
    fn what_is_kept_ends() {
        let kept = Kept::new();
        let name = kept.put("ada", 100, 0).unwrap();
        assert_eq!((kept.get(&name, 99), kept.get(&name, 100)), (Some("ada"), None));
        assert_eq!((kept.take(&name), kept.take(&name)), (Some("ada"), None));
    }

    #[test]
    fn cookies_say_where_they_may_come_along() {
        assert_eq!(
            set("login", "x", true, Travels::FromAnywhere, 600),
            "__Host-mcp-gateway-login=x; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None"
        );
        assert_eq!(set("login", "x", false, Travels::FromAnywhere, 600), "mcp-gateway-login=x; Path=/; Max-Age=600; HttpOnly");
        assert!(set("session", "x", true, Travels::ByLink, 1).ends_with("; HttpOnly; Secure; SameSite=Lax"));
        assert!(set("proof", "x", true, Travels::Here, 1).ends_with("; HttpOnly; Secure; SameSite=Strict"));
        let headers = HeaderMap::from_iter([(COOKIE, "a=b; mcp-gateway-login=x=y".parse().unwrap())]);
        assert_eq!((get(&headers, "mcp-gateway-login"), get(&headers, "gateway-login")), (Some("x=y"), None));
    }
}
