//! Tokens as a server reads them: by the keys that their issuer publishes.

use anyhow::{Context, ensure};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::Oidc;

/// The RSA keys of a provider, as they were when they were asked for.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Keys {
    /// Those that it publishes now.
    ///
    /// # Errors
    /// It does not answer.
    pub fn of(idp: &Oidc) -> anyhow::Result<Self> {
        let set = idp.get("/jwks")?;
        let text = |key: &Value, name: &str| key[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {key}"));
        let rsa = set["keys"].as_array().into_iter().flatten().filter(|key| key["kty"] == "RSA");
        let keys = rsa.map(|key| Ok(Key { kid: text(key, "kid")?, modulus: bytes(&text(key, "n")?)?, exponent: bytes(&text(key, "e")?)? }));
        Ok(Self(keys.collect::<anyhow::Result<_>>()?))
    }

    /// The claims of a token that one of them signed with RS256, whatever they say.
    ///
    /// # Errors
    /// None of them did.
    pub fn claims(&self, token: &str) -> anyhow::Result<Value> {
        let (signed, signature) = token.rsplit_once('.').context("it is no token")?;
        let (header, claims) = signed.split_once('.').context("it is no token")?;
        let header: Value = serde_json::from_slice(&bytes(header)?)?;
        ensure!(header["alg"] == "RS256", "signed with {}", header["alg"]);
        let key = self.0.iter().find(|key| header["kid"] == key.kid).with_context(|| format!("the issuer has no key {}", header["kid"]))?;
        let key = RsaPublicKeyComponents { n: &key.modulus, e: &key.exponent };
        let verified = key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &bytes(signature)?);
        verified.ok().context("its signature is wrong")?;
        Ok(serde_json::from_slice(&bytes(claims)?)?)
    }
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).with_context(|| format!("no base64: {text}"))
}
