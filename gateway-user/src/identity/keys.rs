//! The keys with which an issuer signs, and the algorithms that it may use.

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

/// How a token may be signed: with a key pair, whose public half is all that the gateway has (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// The kind of key that an algorithm takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    const ALL: [(&'static str, Algorithm, jsonwebtoken::Algorithm, Family); 9] = [
        ("RS256", Algorithm::Rs256, jsonwebtoken::Algorithm::RS256, Family::Rsa),
        ("RS384", Algorithm::Rs384, jsonwebtoken::Algorithm::RS384, Family::Rsa),
        ("RS512", Algorithm::Rs512, jsonwebtoken::Algorithm::RS512, Family::Rsa),
        ("PS256", Algorithm::Ps256, jsonwebtoken::Algorithm::PS256, Family::Rsa),
        ("PS384", Algorithm::Ps384, jsonwebtoken::Algorithm::PS384, Family::Rsa),
        ("PS512", Algorithm::Ps512, jsonwebtoken::Algorithm::PS512, Family::Rsa),
        ("ES256", Algorithm::Es256, jsonwebtoken::Algorithm::ES256, Family::P256),
        ("ES384", Algorithm::Es384, jsonwebtoken::Algorithm::ES384, Family::P384),
        ("EdDSA", Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA, Family::Ed25519),
    ];

    /// From its name in a token's header.
    ///
    /// # Errors
    /// It is none that the gateway takes; `none` and those with a shared secret (`HS256`) never are.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, ..)| *known == name);
        found.map(|(_, algorithm, ..)| *algorithm).ok_or_else(|| {
            let known = Self::ALL.map(|(known, ..)| known).join(", ");
            format!("expected one of {known}, got \"{name}\"")
        })
    }

    /// Its name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, Algorithm, jsonwebtoken::Algorithm, Family) {
        let at = Self::ALL.iter().position(|(_, algorithm, ..)| *algorithm == self).unwrap_or_default();
        Self::ALL[at]
    }
}

/// One public key of an issuer.
struct Key {
    kid: Option<String>,
    family: Family,
    /// The only algorithm that it is for, where the issuer says so.
    only: Option<Algorithm>,
    key: DecodingKey,
}

/// The public keys of an issuer. A token's key is found by its `kid` in here, and nowhere else.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// So many keys are taken of a set; a token without `kid` is tried with each.
    const MOST: usize = 64;

    /// From a JWK Set (RFC 7517 section 5). Keys that are for something else, or of a kind that no [`Algorithm`] takes, are left out.
    #[must_use]
    pub fn of(set: &Value) -> Self {
        let listed = set.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        KeySet { keys: listed.iter().filter_map(key).take(Self::MOST).collect() }
    }

    /// The names of its keys.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.kid.clone().unwrap_or_else(|| "(without kid)".into())).collect()
    }

    /// Whether a key could have signed a token of this kind.
    #[must_use]
    pub fn has(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.fitting(kid, algorithm).next().is_some()
    }

    /// Whether one of the keys signed this.
    #[must_use]
    pub(super) fn signed(&self, message: &[u8], signature: &str, kid: Option<&str>, algorithm: Algorithm) -> bool {
        let name = algorithm.row().2;
        self.fitting(kid, algorithm).any(|key| jsonwebtoken::crypto::verify(signature, message, &key.key, name).unwrap_or(false))
    }

    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let family = algorithm.row().3;
        let named = move |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        self.keys.iter().filter(named).filter(move |key| key.family == family && key.only.is_none_or(|only| only == algorithm))
    }
}

fn key(jwk: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let family = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Family::Rsa,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Family::P256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Family::P384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Family::Ed25519,
        _ => return None,
    };
    let only = match &jwk.common.key_algorithm {
        None => None,
        // A key for an algorithm that is not ours is not for us.
        Some(named) => Some(Algorithm::parse(&named.to_string()).ok()?),
    };
    Some(Key { kid: jwk.common.key_id.clone(), family, only, key: DecodingKey::from_jwk(&jwk).ok()? })
}
