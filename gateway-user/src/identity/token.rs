//! Bearer tokens: JWT access tokens of RFC 9068, and those of identity providers that do not follow it.
//!
//! Nothing that stands in a token says where to look for keys, and nothing is believed before the signature is checked but which of the
//! configured issuers it claims to be from.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    claims::{ClaimError, ClaimPath},
    keys::{Algorithm, KeySet},
};
use crate::config::OidcConfig;

/// Longer tokens are not read.
const MAX_BYTES: usize = 16 << 10;

/// Why a token does not say who calls.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum TokenError {
    /// It is not three parts of base64url with JSON in them.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// Its issuer is none of the configuration.
    #[error("the token is from `{issuer}`, which is no issuer of this gateway")]
    Issuer {
        /// What it says.
        issuer: String,
    },
    /// Its algorithm is not one of those that the issuer is known to use.
    #[error("the token is signed with `{found}`, and `{idp}` signs with {allowed} here")]
    Algorithm {
        /// What it says.
        found: String,
        /// The issuer's name.
        idp: String,
        /// What is configured.
        allowed: String,
    },
    /// Its header asks for something that could turn the check around: a key of its own, an extension that must be understood.
    #[error("the token's header has `{field}`, which is not taken: keys come from the issuer alone")]
    Header {
        /// The member of the header.
        field: &'static str,
    },
    /// It is another kind of token.
    #[error("the token is {0}, not an access token")]
    Kind(&'static str),
    /// It can be used only together with a proof that the gateway does not check.
    #[error("the token is bound to a key (`cnf`), and must not be taken from whoever has it")]
    Bound,
    /// No key of the issuer has its `kid`.
    #[error("the token is signed by a key that `{idp}` does not have")]
    Key {
        /// The issuer's name.
        idp: String,
    },
    /// The signature is not right.
    #[error("the token's signature is not right")]
    Signature,
    /// A claim that must be there is not, or is in no shape that can be read.
    #[error("the token's claim `{0}` is missing or cannot be read")]
    Claim(&'static str),
    /// It was given for something else.
    #[error("the token is for {found}, and not for this gateway")]
    Audience {
        /// What it says.
        found: String,
    },
    /// It was given to a client whose tokens are not taken.
    #[error("the token was given to the client `{client}`, whose tokens are not taken here")]
    Client {
        /// What it says.
        client: String,
    },
    /// It has ended.
    #[error("the token ended {ago} s ago")]
    Expired {
        /// Seconds since then.
        ago: u64,
    },
    /// It does not hold yet.
    #[error("the token begins to hold in {wait} s: look at this host's clock and the issuer's")]
    NotYet {
        /// Seconds until then.
        wait: u64,
    },
    /// The groups cannot be told.
    #[error(transparent)]
    Groups(#[from] ClaimError),
    /// It was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// The list of revoked tokens goes by ids, and it has none.
    #[error("the token has no `jti`, and without one it could not be revoked")]
    NoId,
}

impl TokenError {
    /// One word for machines.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            TokenError::Malformed(_) => "malformed",
            TokenError::Issuer { .. } => "issuer",
            TokenError::Algorithm { .. } => "algorithm",
            TokenError::Header { .. } => "header",
            TokenError::Kind(_) => "kind",
            TokenError::Bound => "bound",
            TokenError::Key { .. } => "key",
            TokenError::Signature => "signature",
            TokenError::Claim(_) => "claim",
            TokenError::Audience { .. } => "audience",
            TokenError::Client { .. } => "client",
            TokenError::Expired { .. } => "expired",
            TokenError::NotYet { .. } => "not-yet",
            TokenError::Groups(ClaimError::Overage) => "groups-overage",
            TokenError::Groups(ClaimError::Shape { .. }) => "groups",
            TokenError::Revoked => "revoked",
            TokenError::NoId => "no-id",
        }
    }
}

/// A token that was taken apart, and of which nothing is believed.
pub struct Unverified<'t> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Unverified<'t> {
    /// Whether it looks like a JWT at all; what does not may be a token that only its issuer can read.
    #[must_use]
    pub fn is_jwt(token: &str) -> bool {
        token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() >= 2
    }

    /// Takes it apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`]
    pub fn read(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Malformed("it is longer than 16 KiB"));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(TokenError::Malformed("a signed token has three parts"));
        };
        let json = |part: &str| -> Option<Map<String, Value>> { serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
        Ok(Unverified {
            header: json(header).ok_or(TokenError::Malformed("its header is not base64url of a JSON object"))?,
            claims: json(claims).ok_or(TokenError::Malformed("its claims are not base64url of a JSON object"))?,
            signed: &token[..header.len() + 1 + claims.len()],
            signature,
        })
    }

    /// What it says its issuer is.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// What it says it is for.
    #[must_use]
    pub fn audience(&self) -> Vec<&str> {
        audience(&self.claims).unwrap_or_default()
    }

    /// What it says its key is.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// Its header, for people.
    #[must_use]
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// Its claims, for people.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// What is asked of an issuer's tokens.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The issuer's name in the configuration.
    pub idp: String,
    /// The issuer.
    pub issuer: Arc<str>,
    audience: Vec<String>,
    algorithms: Vec<Algorithm>,
    groups: ClaimPath,
    display_name: ClaimPath,
    clients: Vec<String>,
    skew: Duration,
    ids: bool,
}

impl From<&OidcConfig> for Rules {
    fn from(config: &OidcConfig) -> Self {
        Rules {
            idp: config.name.clone(),
            issuer: config.issuer.as_str().into(),
            audience: config.audience.clone(),
            algorithms: config.algorithms.clone(),
            groups: config.groups.clone(),
            display_name: config.display_name.clone(),
            clients: config.clients.clone(),
            skew: config.skew,
            ids: config.revoked.is_some(),
        }
    }
}

/// What a token says, once it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer's name of the person.
    pub subject: String,
    /// A name for people.
    pub name: Option<String>,
    /// The person's groups.
    pub groups: Vec<String>,
    /// What the token is for.
    pub audience: Vec<String>,
    /// Its id.
    pub jti: Option<String>,
    /// The client that it was given to.
    pub client: Option<String>,
    /// The key that signed it.
    pub kid: Option<String>,
    /// When it ends, in seconds since 1970, with the skew that is allowed for.
    pub ends: u64,
}

impl Rules {
    /// The algorithm with which the issuer may have signed, once the header asks for nothing that is not taken.
    ///
    /// # Errors
    /// [`TokenError::Header`], [`TokenError::Kind`] or [`TokenError::Algorithm`]
    pub fn algorithm(&self, token: &Unverified<'_>) -> Result<Algorithm, TokenError> {
        // `crit` and `b64` change what is signed (RFC 7515 section 4.1.11, RFC 7797), the others name a key.
        for field in ["crit", "b64", "jku", "x5u", "jwk"] {
            if token.header.contains_key(field) {
                return Err(TokenError::Header { field });
            }
        }
        let name = token.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let found = Algorithm::parse(name).ok().filter(|algorithm| self.algorithms.contains(algorithm));
        found.ok_or_else(|| TokenError::Algorithm {
            found: name.to_owned(),
            idp: self.idp.clone(),
            allowed: self.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether a token with these audiences, presented for the server at `resource`, is for the gateway.
    #[must_use]
    pub fn is_for_us<'a>(&self, mut audience: impl Iterator<Item = &'a str>, resource: &[String]) -> bool {
        audience.any(|found| self.audience.iter().chain(resource).any(|ours| ours == found))
    }

    /// What a token says, if it is right in all but its audience, which depends on the server: see [`Rules::is_for_us`]. `now` is in seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`TokenError`]: why it is not taken. The signature is checked before the claims.
    pub fn verify(&self, token: &Unverified<'_>, keys: &KeySet, now: u64) -> Result<Claims, TokenError> {
        if token.issuer() != &*self.issuer {
            return Err(TokenError::Issuer { issuer: token.issuer().to_owned() });
        }
        let algorithm = self.algorithm(token)?;
        let kid = match token.header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(TokenError::Malformed("its `kid` is not a text"))?),
        };
        if !keys.has(kid, algorithm) {
            return Err(TokenError::Key { idp: self.idp.clone() });
        }
        if !keys.signed(token.signed.as_bytes(), token.signature, kid, algorithm) {
            return Err(TokenError::Signature);
        }
        kind(token)?;
        self.read(&token.claims, kid, now)
    }

    /// What claims say, whose origin is certain. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`]: a claim is missing, or says that they do not count.
    pub fn read(&self, claims: &Map<String, Value>, kid: Option<&str>, now: u64) -> Result<Claims, TokenError> {
        let skew = self.skew.as_secs();
        let ends = instant(claims, "exp")?.ok_or(TokenError::Claim("exp"))?.saturating_add(skew);
        if ends <= now {
            return Err(TokenError::Expired { ago: now - (ends - skew) });
        }
        for name in ["nbf", "iat"] {
            let begins = instant(claims, name)?.unwrap_or(0);
            if begins > now.saturating_add(skew) {
                return Err(TokenError::NotYet { wait: begins - now });
            }
        }
        if claims.contains_key("cnf") {
            return Err(TokenError::Bound);
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        // `azp` is OpenID Connect's, `client_id` RFC 9068's; `appid` and `cid` are those of Entra ID and Okta.
        let client = ["azp", "client_id", "appid", "cid"].into_iter().find_map(text);
        if !self.clients.is_empty() && !client.is_some_and(|client| self.clients.iter().any(|known| known == client)) {
            return Err(TokenError::Client { client: client.unwrap_or("(none)").to_owned() });
        }
        let jti = match claims.get("jti") {
            None if self.ids => return Err(TokenError::NoId),
            None => None,
            Some(jti) => Some(jti.as_str().ok_or(TokenError::Claim("jti"))?.to_owned()),
        };
        let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(TokenError::Claim("sub"))?;
        let audience = audience(claims).ok_or(TokenError::Claim("aud"))?;
        Ok(Claims {
            subject: subject.to_owned(),
            name: self.display_name.text(claims).map(str::to_owned),
            groups: self.groups.groups(claims)?,
            audience: audience.into_iter().map(str::to_owned).collect(),
            jti,
            client: client.map(str::to_owned),
            kid: kid.map(str::to_owned),
            ends,
        })
    }
}

fn audience(claims: &Map<String, Value>) -> Option<Vec<&str>> {
    match claims.get("aud")? {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// A NumericDate (RFC 7519 section 2), cut to whole seconds.
fn instant(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = value.as_f64().filter(|seconds| (0.0..1e11).contains(seconds)).ok_or(TokenError::Claim(name))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1e11, and fractions are cut on purpose")]
    Ok(Some(seconds as u64))
}

/// Whether it is an access token. What RFC 9068 section 2.1 calls `at+jwt` is one; of others it must be visible, because an ID token says
/// who has logged in to a client, and whoever runs that client has it.
fn kind(token: &Unverified<'_>) -> Result<(), TokenError> {
    let kind = token.header.get("typ").map(|kind| kind.as_str().unwrap_or("?").to_ascii_lowercase());
    match kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind)) {
        Some("at+jwt") => return Ok(()),
        None | Some("jwt") => {}
        Some(_) => return Err(TokenError::Kind("of another type (`typ`)")),
    }
    let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
    if ["nonce", "at_hash", "c_hash", "s_hash"].iter().any(|name| token.claims.contains_key(*name)) || text("token_use") == Some("id") {
        return Err(TokenError::Kind("an ID token"));
    }
    if token.claims.contains_key("events") {
        return Err(TokenError::Kind("a security event or logout token"));
    }
    match text("typ") {
        Some("ID") => return Err(TokenError::Kind("an ID token")),
        Some("Refresh" | "Offline") => return Err(TokenError::Kind("a refresh token")),
        Some("Logout") => return Err(TokenError::Kind("a logout token")),
        _ => {}
    }
    // What only access tokens have: scopes, the client in the words of RFC 9068, Entra ID, Okta and Auth0, and two providers' own words.
    let of_access = ["scope", "scp", "client_id", "appid", "cid", "azpacr", "appidacr", "gty"];
    if of_access.iter().any(|name| token.claims.contains_key(*name)) || text("token_use") == Some("access") || text("typ") == Some("Bearer")
    {
        return Ok(());
    }
    Err(TokenError::Kind("of no kind that it tells (an ID token, perhaps)"))
}
