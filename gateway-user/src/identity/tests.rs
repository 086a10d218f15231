//! Tokens against the corpus, and against whatever a token may be made of.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    FetchError, How, Http, Identity, KeySet, Principal, Rules, Strength,
    token::{Claims, TokenError, Unverified},
};
use crate::{
    outbound::Outbound,
    wire::corpus::{self, Block},
};

const NOW: u64 = 1_800_000_000;

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Pair {
    fn new(kind: &str) -> Self {
        match kind {
            "rs" => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            "es" => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            _ => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                json!({"kty":"RSA","use":"sig","kid":kid,"n":b64(n.big_endian_without_leading_zero()),"e":b64(e.big_endian_without_leading_zero())})
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty":"EC","crv":"P-256","use":"sig","kid":kid,"x":b64(&point[1..33]),"y":b64(&point[33..])})
            }
            Pair::Ed(pair) => json!({"kty":"OKP","crv":"Ed25519","use":"sig","kid":kid,"x":b64(pair.public_key().as_ref())}),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

struct Issuer {
    pairs: Vec<(&'static str, Pair)>,
    keys: KeySet,
}

impl Issuer {
    fn new() -> Self {
        let names = ["rs1", "es1", "ed1", "foreign-rs", "foreign-es"];
        let pairs: Vec<_> =
            names.map(|name| (name, Pair::new(name.trim_start_matches("foreign-").trim_end_matches('1')))).into_iter().collect();
        let own = pairs.iter().filter(|(name, _)| !name.starts_with("foreign"));
        let keys = KeySet::of(&json!({ "keys": own.map(|(name, pair)| pair.jwk(name)).collect::<Vec<_>>() }));
        assert_eq!(keys.kids(), ["rs1", "es1", "ed1"]);
        Issuer { pairs, keys }
    }

    fn pair(&self, name: &str) -> Option<&Pair> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, pair)| pair)
    }

    /// The token that a block describes.
    fn token(&self, block: &Block) -> String {
        if let Some(raw) = block.get("raw") {
            return raw.to_owned();
        }
        let key = block.get("key").unwrap_or_else(|| panic!("{}: which key?", block.name()));
        let pair = self.pair(key);
        let header = merged(json!({"typ":"at+jwt","alg":pair.map_or("none", Pair::algorithm),"kid":key}), block.get("header"));
        let claims = json!({
            "iss":"https://login.example","sub":"ada","aud":"mcp-gateway","exp":NOW + 300,"iat":NOW,"jti":"j1","client_id":"agent","groups":["dba"]
        });
        let claims = merged(claims, block.get("claims"));
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = match (key, pair) {
            (_, Some(pair)) => pair.sign(message.as_bytes()),
            ("hmac-of-rs1", None) => {
                let public = self.pair("rs1").map(|pair| pair.jwk("rs1").to_string()).unwrap();
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes()), message.as_bytes()).as_ref().to_vec()
            }
            ("none", None) => Vec::new(),
            _ => panic!("{}: there is no key {key}", block.name()),
        };
        self.edited(block, &message, signature, claims)
    }

    fn edited(&self, block: &Block, message: &str, mut signature: Vec<u8>, claims: Value) -> String {
        let mut message = message.to_owned();
        match block.get("edit") {
            None => {}
            Some("claims") => {
                let claims = merged(claims, Some(r#"{"sub":"root"}"#));
                message = format!("{}.{}", message.split('.').next().unwrap(), part(&claims));
            }
            Some("signature") => signature[7] ^= 1,
            Some("no-signature") => signature.clear(),
            Some("zero-signature") => signature.fill(0),
            Some("der-signature") => {
                let der = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8(self.pair("es1").unwrap())).unwrap();
                signature = der.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec();
            }
            Some("padding") => return format!("{message}.{}==", BASE64_URL_SAFE_NO_PAD.encode(signature)),
            Some(other) => panic!("{}: what is {other}?", block.name()),
        }
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn pkcs8(pair: &Pair) -> Vec<u8> {
    let Pair::Ec(pair) = pair else { panic!("no EC key") };
    pair.to_pkcs8v1().unwrap().as_ref().to_vec()
}

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

fn merged(base: Value, changes: Option<&str>) -> Value {
    let changes: Map<String, Value> =
        changes.map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))).unwrap_or_default();
    let Value::Object(mut base) = base else { panic!("no object") };
    for (name, value) in changes {
        if value.is_null() {
            base.remove(&name)
        } else {
            base.insert(name, value)
        };
    }
    Value::Object(base)
}

fn rules(more: &str) -> Rules {
    let toml = format!(
        "[[identity.oidc]]\nissuer = \"https://login.example\"\naudience = \"mcp-gateway\"\n{more}\n[[server]]\nname = \"a\"\nurl = \"http://h/\"\n"
    );
    (&crate::config::parse("test", &toml).unwrap_or_else(|error| panic!("{error}")).identity.oidc[0]).into()
}

fn judge(rules: &Rules, token: &str, keys: &KeySet, resource: &[String]) -> Result<Claims, TokenError> {
    let claims = rules.verify(&Unverified::read(token)?, keys, NOW)?;
    if rules.is_for_us(claims.audience.iter().map(String::as_str), resource) {
        return Ok(claims);
    }
    Err(TokenError::Audience { found: claims.audience.join(" ") })
}

#[test]
fn corpus_of_tokens() {
    let issuer = Issuer::new();
    for block in corpus::blocks("jwt/tokens.txt") {
        let resource: Vec<String> = block.all("resource").map(str::to_owned).collect();
        let judged = judge(&rules(block.get("rules").unwrap_or_default()), &issuer.token(&block), &issuer.keys, &resource);
        let is = judged.map(|claims| format!("{} {}", claims.subject, claims.groups.join(" ")).trim_end().to_owned());
        let wanted = match (block.get("is"), block.get("refused")) {
            (Some(is), None) => Ok(is),
            (None, Some(reason)) => Err(reason),
            _ => panic!("{}: either `is` or `refused`", block.name()),
        };
        // A claim that is missing altogether may be found missing before it is found wrong.
        let reason = is.as_deref().map_err(|error| if matches!(error, TokenError::Claim("aud")) { "audience" } else { error.reason() });
        assert_eq!(reason, wanted, "{}: {:?}", block.name(), is);
    }
}

#[test]
fn only_keys_for_signatures_of_a_known_kind_are_taken_of_a_set() {
    let rsa = Pair::new("rs");
    let mut encrypts = rsa.jwk("enc");
    encrypts["use"] = "enc".into();
    let mut secret = rsa.jwk("for-hmac");
    secret["alg"] = "HS256".into();
    let set = json!({"keys":[
        {"kty":"oct","kid":"secret","k":"AAAA"}, encrypts, secret, {"kty":"EC","crv":"secp256k1","kid":"k","x":"AA","y":"AA"},
        {"kty":"new-kind","kid":"n"}, 7, rsa.jwk("good"),
    ]});
    assert_eq!(KeySet::of(&set).kids(), ["good"]);
    for nothing in [json!({}), json!([]), json!({"keys":{}}), Value::Null] {
        assert!(KeySet::of(&nothing).kids().is_empty(), "{nothing}");
    }
}

#[test]
fn a_key_that_names_its_algorithm_serves_no_other() {
    let pair = Pair::new("rs");
    let mut jwk = pair.jwk("rs1");
    jwk["alg"] = "RS512".into();
    let keys = KeySet::of(&json!({"keys":[jwk]}));
    assert!(keys.has(Some("rs1"), super::Algorithm::Rs512) && !keys.has(Some("rs1"), super::Algorithm::Rs256));
}

proptest! {
    #[test]
    fn whatever_stands_in_a_token_it_is_read_or_refused(token in "[A-Za-z0-9_.=-]{0,200}") {
        let judged = judge(&rules(""), &token, &KeySet::default(), &[]);
        prop_assert!(judged.is_err());
    }

    #[test]
    fn whatever_claims_are_signed_none_of_them_is_believed_beyond_its_meaning(
        name in "iss|sub|aud|exp|nbf|iat|jti|cnf|groups|typ|client_id|azp|scope|nonce",
        value in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            "[a-z]{0,8}".prop_map(Value::from), prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(Value::from), Just(json!({"a":1})),
        ],
    ) {
        let mut claims = json!({"iss":"https://login.example","sub":"ada","aud":"mcp-gateway","exp":NOW + 300,"client_id":"agent"});
        claims[&name] = value.clone();
        let claims: Map<String, Value> = serde_json::from_value(claims).unwrap();
        if let Ok(read) = rules("").read(&claims, None, NOW) {
            prop_assert!(read.ends > NOW && !read.subject.is_empty());
            prop_assert!(name != "cnf" && (name != "sub" || value.as_str() == Some(&read.subject)));
            prop_assert!(name != "groups" || value.is_null() || value.is_string() || value.is_array());
        }
    }
}

#[test]
fn a_person_is_the_issuers_subject_and_no_name_or_address() {
    let person = |issuer: &str, subject: &str| Principal::Person {
        issuer: issuer.into(),
        subject: subject.into(),
        name: Some("ada@example.com".into()),
        groups: vec![],
    };
    let key = |principal: Principal| Identity::new(principal, How::Nothing, Strength::Token).key().clone();
    let ada = key(person("https://login.example", "1"));
    // The address was given to somebody else, or another issuer says that it is hers.
    assert_ne!(ada, key(person("https://login.example", "2")));
    assert_ne!(ada, key(person("https://evil.example", "1")));
    assert_ne!(ada, key(Principal::Workload { name: "1".into(), groups: vec![] }));
    let login = How::HostLogin { idp: "corp".into(), login: "x".into(), uid: 1, cgroup: None, since: 0 };
    let by_login = Identity::new(person("https://login.example", "1"), login, Strength::HostLogin);
    assert_eq!(ada, *by_login.key(), "however she showed it");
}

#[test]
fn what_an_https_issuer_says_of_keys_elsewhere_is_not_fetched_in_the_clear() {
    let http = Http::new(&Outbound::default(), None, true).unwrap();
    let request = openidconnect::http::Request::get("http://127.0.0.1:9/keys").body(Vec::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(http.fetch(request)).unwrap_err();
    assert!(matches!(refused, FetchError::Plain { .. }), "{refused}");
}
