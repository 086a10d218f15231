//! From a bearer token to who it stands for: one that was seen before, and the check of a fresh one. Beside them, what is known of a host
//! login.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    cell::RefCell,
    hint::black_box,
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    time::Instant,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use gateway_user::{
    config,
    identity::{
        How, Identity, Issuers, KeySet, Principal, Strength, TokenCache, Unverified,
        login::{Login, Logins},
        now,
    },
    outbound::Outbound,
};
use serde_json::{Value, json};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of about 1 KiB, as identity providers give them.
fn token(issuer: &str, algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let groups: Vec<String> = (0..12).map(|n| format!("group-of-the-company-{n:02}")).collect();
    let claims = json!({
        "iss": issuer, "sub": "00u1a2b3c4d5e6f7g8h9", "aud": "mcp-gateway", "exp": now() + 36_000, "iat": now(), "jti": "0ZcOCORZNYy-DWpqq30jZyJG",
        "client_id": "agent", "scope": "openid profile", "preferred_username": "ada@example.com", "groups": groups,
    });
    let message = format!("{}.{}", b64(json!({"typ":"at+jwt","alg":algorithm,"kid":algorithm}).to_string()), b64(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

/// Key pairs of three kinds: their public halves, and a token signed by each.
fn signed(issuer: &str) -> (Value, [(&'static str, String); 3]) {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let (n, e) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let point = ec.public_key().as_ref();
    let keys = json!({"keys":[
        {"kty":"RSA","kid":"RS256","n":b64(n.big_endian_without_leading_zero()),"e":b64(e.big_endian_without_leading_zero())},
        {"kty":"EC","crv":"P-256","kid":"ES256","x":b64(&point[1..33]),"y":b64(&point[33..])},
        {"kty":"OKP","crv":"Ed25519","kid":"EdDSA","x":b64(ed.public_key())},
    ]});
    let rs256 = token(issuer, "RS256", |message| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
        signature
    });
    let es256 = token(issuer, "ES256", |message| ec.sign(&random, message).unwrap().as_ref().to_vec());
    let eddsa = token(issuer, "EdDSA", |message| ed.sign(message).as_ref().to_vec());
    (keys, [("RS256", rs256), ("ES256", es256), ("EdDSA", eddsa)])
}

/// Answers two requests on loopback: for the discovery document, and for the keys.
fn serve(listener: TcpListener, issuer: String, keys: Value) {
    std::thread::spawn(move || {
        let document = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"), "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        });
        for body in [document, keys] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            let body = body.to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
}

fn identity(c: &mut Criterion) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let (listed, tokens) = signed(&issuer);
    let keys = KeySet::of(&listed);
    serve(listener, issuer.clone(), listed);
    let toml = format!(
        "[[identity.oidc]]\nissuer = \"{issuer}\"\naudience = \"mcp-gateway\"\nalgorithms = [\"RS256\", \"ES256\", \"EdDSA\"]\n\
         [[server]]\nname = \"a\"\nurl = \"http://h/\"\n"
    );
    let config = config::parse("bench", &toml).unwrap();
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let issuers = Arc::new(Issuers::new(&config.identity.oidc, &Outbound::default(), control.handle().clone()).unwrap());
    let one = issuers.all()[0].clone();
    control.block_on(one.ask(Instant::now())).unwrap();
    let resource = ["https://mcp.example/mcp".to_owned()];

    let mut group = c.benchmark_group("identity");
    let cache = RefCell::new(TokenCache::default());
    for (name, token) in &tokens {
        let found = issuers.bearer(&cache, token, &resource).now_or_never().unwrap().unwrap();
        assert_eq!((found.groups().len(), found.strength()), (12, Strength::Token));
        group.bench_function(format!("fresh/{name}"), |b| {
            b.iter(|| one.rules.verify(&Unverified::read(black_box(token)).unwrap(), &keys, now()).unwrap());
        });
    }
    let (_, token) = &tokens[0];
    assert!(token.len() > 1000, "{}", token.len());
    group.bench_function("cached/token", |b| {
        b.iter(|| issuers.bearer(&cache, black_box(token), &resource).now_or_never().unwrap().unwrap());
    });

    let logins = Logins::default();
    let person =
        |uid: u32| Principal::Person { issuer: issuer.as_str().into(), subject: uid.to_string(), name: None, groups: vec!["dba".into()] };
    let login = |uid: u32| {
        let how = How::HostLogin { idp: "idp".into(), login: uid.to_string(), uid, cgroup: None, since: 0 };
        let identity = Arc::new(Identity::new(person(uid), how, Strength::HostLogin));
        Login { id: uid.to_string(), uid, cgroup: None, since: 0, ends: u64::MAX, identity }
    };
    logins.replace((1000..1100).map(login));
    group.bench_function("cached/host-login", |b| {
        b.iter(|| logins.of(black_box(1050), Some("/user.slice/user-1050.slice/session-3.scope"), now()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, identity);
criterion_main!(benches);
