//! The identity providers that other tests rely on do what real ones do; and a person with a scripted browser gets through each.

use std::{
    fs,
    io::{BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gateway_tests::{
    Browser, Launch, Oidc, SamlIdp,
    http::Message,
    oidc::{AUDIENCE, LOGIN_CLIENT},
    pki::Pki,
    saml::{self, Manner, Product, ServiceProvider},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const VERIFIER: &str = "a-verifier-that-is-at-least-43-characters-long";

/// One part of a JWT: 0 is its header, 1 what it claims.
fn part(token: &Value, which: usize) -> anyhow::Result<Value> {
    let text = token.as_str().unwrap_or_default().split('.').nth(which).unwrap_or_default();
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text)?)?)
}

fn claims(token: &Value) -> anyhow::Result<Value> {
    part(token, 1)
}

/// Logs in with a browser, and gives what the client gets for the code.
fn log_in(oidc: &Oidc, browser: Browser, person: &str) -> anyhow::Result<Value> {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let url = format!(
        "{}/auth?client_id={LOGIN_CLIENT}&response_type=code&redirect_uri={CALLBACK}&scope=openid+profile+offline_access&prompt=consent\
         &state=s&nonce=n&code_challenge={challenge}&code_challenge_method=S256",
        oidc.issuer()
    );
    let page = browser.stops_before(CALLBACK).login(&url, person)?;
    let code = page.parameter("code").unwrap_or_default();
    assert_eq!(page.parameter("state").as_deref(), Some("s"), "{page:?}");
    assert_eq!(page.parameter("iss").as_deref(), Some(oidc.issuer()), "{page:?}");
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        ("client_id", LOGIN_CLIENT),
        ("code_verifier", VERIFIER),
    ];
    oidc.form("/token", &exchange, None)
}

fn refresh(oidc: &Oidc, tokens: &Value) -> anyhow::Result<Value> {
    let token = tokens["refresh_token"].as_str().unwrap_or_default();
    oidc.form("/token", &[("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", LOGIN_CLIENT)], None)
}

fn published(oidc: &Oidc) -> anyhow::Result<Vec<Value>> {
    Ok(oidc.get("/jwks")?["keys"].as_array().cloned().unwrap_or_default())
}

#[test]
fn a_person_logs_in_with_a_browser_and_stays_logged_in() -> Result {
    let oidc = Oidc::start()?;
    let tokens = log_in(&oidc, Browser::new()?, "ada")?;
    let id = claims(&tokens["id_token"])?;
    assert_eq!((&id["sub"], &id["aud"], &id["nonce"]), (&json!("ada"), &json!(LOGIN_CLIENT), &json!("n")), "{id}");
    assert_eq!((&id["groups"], &id["name"]), (&json!(["dba", "staff"]), &json!("Ada Okafor")), "{id}");

    oidc.set_account("ada", &json!({ "groups": ["staff"] }))?;
    let renewed = refresh(&oidc, &tokens)?;
    assert_eq!(claims(&renewed["id_token"])?["groups"], json!(["staff"]), "{renewed}");
    // A refresh token of a public client is good once: who uses it again ends the login.
    assert_eq!(refresh(&oidc, &tokens)?["error"], "invalid_grant");
    assert_eq!(refresh(&oidc, &renewed)?["error"], "invalid_grant");
    assert!(log_in(&oidc, Browser::new()?, "nobody").is_err(), "there is no such account");
    Ok(())
}

#[test]
fn a_login_ends_with_its_account() -> Result {
    let oidc = Oidc::start()?;
    let tokens = log_in(&oidc, Browser::new()?, "bob")?;
    oidc.set_account("bob", &Value::Null)?;
    assert_eq!(refresh(&oidc, &tokens)?["error"], "invalid_grant");
    Ok(())
}

#[test]
fn a_person_lets_a_device_in() -> Result {
    let oidc = Oidc::start()?;
    let poll = |device: &gateway_tests::oidc::Device| {
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        oidc.form("/token", &[("grant_type", grant), ("device_code", &device.code), ("client_id", LOGIN_CLIENT)], None)
    };
    let typed = oidc.device("openid offline_access")?;
    assert_eq!(poll(&typed)?["error"], "authorization_pending");
    let answers = [("user_code", typed.user_code.as_str()), ("login", "bob"), ("password", "x")];
    Browser::new()?.login_with(&typed.verify, &answers)?;
    let tokens = poll(&typed)?;
    assert_eq!(claims(&tokens["id_token"])?["groups"], json!(["staff"]), "{tokens}");
    assert!(refresh(&oidc, &tokens)?["access_token"].is_string());

    let clicked = oidc.device("openid")?;
    Browser::new()?.login(&clicked.verify_complete, "ada")?;
    assert_eq!(claims(&poll(&clicked)?["id_token"])?["sub"], "ada");
    Ok(())
}

#[test]
fn keys_change_while_the_provider_runs() -> Result {
    let oidc = Oidc::start()?;
    let (before, old) = (oidc.kid("RS256")?, oidc.token("ada")?);
    assert_eq!(part(&json!(old), 0)?, json!({ "alg": "RS256", "typ": "at+jwt", "kid": before }));
    oidc.rotate()?;
    let after = oidc.kid("RS256")?;
    assert_ne!(before, after);
    assert_eq!(part(&json!(oidc.token("ada")?), 0)?["kid"], json!(after));
    assert_eq!(part(&json!(oidc.token_with(&json!({ "account": "ada", "kid": before }))?), 0)?["kid"], json!(before));
    let kids = |keys: &[Value]| keys.iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    assert!(kids(&published(&oidc)?).contains(&json!(before)) && kids(&published(&oidc)?).contains(&json!(after)));
    oidc.forget_old_keys()?;
    assert!(!kids(&published(&oidc)?).contains(&json!(before)));
    assert!(published(&oidc)?.iter().all(|key| key["d"].is_null() && key["use"] == "sig"), "only what is public is published");
    assert_eq!(oidc.key_fetches()?, 4);

    oidc.set_alg("ES256")?;
    assert_eq!(part(&log_in(&oidc, Browser::new()?, "ada")?["id_token"], 0)?["alg"], "ES256");
    for alg in ["PS256", "EdDSA"] {
        assert_eq!(part(&json!(oidc.token_with(&json!({ "account": "ada", "alg": alg }))?), 0)?["alg"], alg);
    }
    Ok(())
}

#[test]
fn tokens_are_made_to_order() -> Result {
    let oidc = Oidc::start()?;
    oidc.set_ttl("ClientCredentials", 77)?;
    let agent = claims(&json!(oidc.token_of_agent()?))?;
    assert_eq!((&agent["aud"], &agent["sub"], &agent["groups"]), (&json!(AUDIENCE), &json!("agent"), &json!(["agents"])));
    assert_eq!(agent["exp"].as_u64().zip(agent["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(77));

    let odd = |account: &str| claims(&json!(oidc.token(account)?));
    assert_eq!(odd("stringy")?["groups"], "staff");
    assert_eq!(odd("nested")?["realm_access"]["roles"], json!(["dba", "staff"]));
    assert!(odd("overage")?["_claim_names"]["groups"].is_string() && odd("overage")?["groups"].is_null());
    assert!(odd("loner")?["groups"].is_null());
    let wish =
        json!({ "account": "ada", "audience": "another", "ttl": 5, "claims": { "exp": 1, "sub": null }, "header": { "typ": "JWT" } });
    let token = json!(oidc.token_with(&wish)?);
    assert_eq!((&claims(&token)?["aud"], &claims(&token)?["exp"], &part(&token, 0)?["typ"]), (&json!("another"), &json!(1), &json!("JWT")));
    assert!(claims(&token)?["sub"].is_null());
    Ok(())
}

#[test]
fn a_revoked_token_is_inactive() -> Result {
    let oidc = Oidc::start()?;
    let (first, second, agents) = (oidc.token("ada")?, oidc.token("ada")?, oidc.token_of_agent()?);
    for token in [&first, &second, &agents] {
        assert!(oidc.active(token)?);
    }
    oidc.revoke(&first)?;
    oidc.form("/token/revocation", &[("token", &agents)], Some(gateway_tests::oidc::INTROSPECTOR))?;
    assert!(!oidc.active(&first)? && oidc.active(&second)? && !oidc.active(&agents)?);
    Ok(())
}

#[test]
fn the_provider_fails_in_each_way() -> Result {
    let pki = Pki::new()?;
    let oidc = Oidc::start_tls(&pki)?;
    let found = oidc.get("/.well-known/openid-configuration")?;
    assert_eq!(found["issuer"], oidc.issuer());
    assert!(oidc.issuer().starts_with("https://127.0.0.1:"));
    assert!(log_in(&oidc, Browser::new()?.trusts(&pki.ca_file()), "ada")?["id_token"].is_string());
    oidc.down()?;
    assert!(oidc.get("/jwks").is_err());
    oidc.failing(503)?;
    assert_eq!(oidc.get("/jwks")?, Value::Null);
    oidc.up()?;
    assert!(!published(&oidc)?.is_empty());
    Ok(())
}

const SP: &str = "http://127.0.0.1:9/saml/corp/metadata";
const ACS: &str = "http://127.0.0.1:9/saml/corp/acs";

/// The address that a service provider sends a person to: a request in the redirect binding.
fn saml_request(idp: &SamlIdp, id: &str) -> anyhow::Result<String> {
    let at = time::OffsetDateTime::now_utc();
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    let request = format!(
        "<samlp:AuthnRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" \
         ID=\"{id}\" Version=\"2.0\" IssueInstant=\"{date}T{hour:02}:{minute:02}:{second:02}Z\" Destination=\"{}\" \
         AssertionConsumerServiceURL=\"{ACS}\" ProtocolBinding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\">\
         <saml:Issuer>{SP}</saml:Issuer></samlp:AuthnRequest>",
        idp.sso_url()
    );
    // DEFLATE (RFC 1951) with nothing deflated: one stored block.
    let length = u16::try_from(request.len())?;
    let mut block = vec![1];
    block.extend(length.to_le_bytes());
    block.extend((!length).to_le_bytes());
    block.extend(request.as_bytes());
    let escaped = STANDARD.encode(block).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    Ok(format!("{}?SAMLRequest={escaped}&RelayState=r", idp.sso_url()))
}

/// What is posted to the service provider when this person logs in.
fn saml_response(url: &str, person: &str) -> anyhow::Result<String> {
    let page = Browser::new()?.stops_before(ACS).login(url, person)?;
    anyhow::ensure!(page.url == ACS, "it ended elsewhere: {page:?}");
    assert!(!url.contains("RelayState") || page.sent("RelayState") == Some("r"), "{page:?}");
    let response = page.sent("SAMLResponse").context("no response")?;
    Ok(String::from_utf8(STANDARD.decode(response)?)?)
}

fn trusted(product: Product, at: &Path) -> anyhow::Result<(SamlIdp, PathBuf, PathBuf)> {
    let idp = SamlIdp::start(product)?;
    let (certificate, key) = saml::certificate(at, "sp")?;
    idp.trust(&ServiceProvider { entity_id: SP, acs: ACS, certificate: Some(&certificate) }.metadata()?)?;
    Ok((idp, certificate, key))
}

/// What xmlsec1 says of the signature over the element of this name.
fn signed(document: &str, element: &str, certificate: &Path) -> anyhow::Result<bool> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), document)?;
    let name = element.rsplit(':').next().unwrap_or(element);
    let done = Launch::new("xmlsec1")
        .args(["--verify", "--enabled-reference-uris", "same-doc", "--id-attr:ID", element, "--node-xpath"])
        .arg(format!("//*[local-name()='{name}']/*[local-name()='Signature']"))
        .arg("--pubkey-cert-pem")
        .arg(certificate)
        .arg(file.path())
        .run(Duration::from_secs(20))?;
    Ok(done.code() == Some(0))
}

const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion";
const RESPONSE: &str = "urn:oasis:names:tc:SAML:2.0:protocol:Response";

fn logs_in_by_saml(product: Product) -> Result {
    let files = tempfile::tempdir()?;
    let (idp, _, key) = trusted(product, files.path())?;
    assert!(idp.metadata()?.contains(&format!("entityID=\"{}\"", idp.metadata_url())));

    let document = saml_response(&saml_request(&idp, "_first")?, "ada")?;
    for part in
        ["InResponseTo=\"_first\"", &format!("Recipient=\"{ACS}\""), &format!(">{SP}<"), ">ada<", ">ada@example.test<", ">dba<", ">staff<"]
    {
        assert!(document.contains(part), "{part} is not in {document}");
    }
    assert!(signed(&document, ASSERTION, &idp.certificate())? && !signed(&document, RESPONSE, &idp.certificate())?, "{document}");
    assert!(!signed(&document.replace(">ada<", ">bob<"), ASSERTION, &idp.certificate())?);

    idp.behave(Manner { sign_assertion: false, sign_response: true, ..Manner::default() })?;
    let document = saml_response(&saml_request(&idp, "_second")?, "bob")?;
    assert!(!signed(&document, ASSERTION, &idp.certificate())? && signed(&document, RESPONSE, &idp.certificate())?, "{document}");

    idp.behave(Manner { sign_response: true, encrypt_assertion: true, ..Manner::default() })?;
    let document = saml_response(&saml_request(&idp, "_third")?, "ada")?;
    assert!(document.contains("EncryptedAssertion") && !document.contains(">dba<"), "{document}");
    fs::write(files.path().join("encrypted.xml"), &document)?;
    let decrypt = Launch::new("xmlsec1").arg("--decrypt").arg("--privkey-pem").arg(key).arg(files.path().join("encrypted.xml"));
    assert!(document.contains("#aes"), "{document}");
    let plain = decrypt.run(Duration::from_secs(20))?.ok()?.stdout;
    assert!(plain.contains(">dba<") && signed(&plain, ASSERTION, &idp.certificate())?, "{plain}");

    idp.behave(Manner { weak: true, ..Manner::default() })?;
    assert!(saml_response(&saml_request(&idp, "_weak")?, "ada")?.contains("#rsa-sha1\""));
    idp.behave(Manner::default())?;
    let unsolicited = saml_response(&idp.unsolicited_url(SP), "ada")?;
    assert!(!unsolicited.contains("InResponseTo=\"_"), "{unsolicited}");
    let old = fs::read_to_string(idp.certificate())?;
    idp.renew_key()?;
    fs::write(files.path().join("old.pem"), old)?;
    let document = saml_response(&saml_request(&idp, "_fourth")?, "ada")?;
    assert!(signed(&document, ASSERTION, &idp.certificate())? && !signed(&document, ASSERTION, &files.path().join("old.pem"))?);

    assert!(saml_response(&saml_request(&idp, "_fifth")?, "nobody").is_err(), "there is no such person");
    Ok(())
}

#[test]
fn a_person_logs_in_at_simplesamlphp() -> Result {
    logs_in_by_saml(Product::SimpleSamlPhp)
}

#[test]
fn a_person_logs_in_at_pysaml2() -> Result {
    logs_in_by_saml(Product::PySaml2)
}

#[test]
fn an_identity_provider_has_a_clock_of_its_own() -> Result {
    for product in Product::ALL {
        let idp = SamlIdp::start_at(product, "-2d")?;
        idp.trust(&ServiceProvider { entity_id: SP, acs: ACS, certificate: None }.metadata()?)?;
        let document = saml_response(&idp.unsolicited_url(SP), "ada")?;
        let then = (time::OffsetDateTime::now_utc() - time::Duration::days(2)).date();
        let near = [then, then.previous_day().context("a day before")?].map(|day| format!("IssueInstant=\"{day}T"));
        assert!(near.iter().any(|day| document.contains(day)), "{product:?}: {document}");
    }
    Ok(())
}

#[test]
fn the_response_is_posted_to_who_asked() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let acs = format!("http://{}/saml/corp/acs", listener.local_addr()?);
    let idp = SamlIdp::start(Product::SimpleSamlPhp)?;
    idp.trust(&ServiceProvider { entity_id: SP, acs: &acs, certificate: None }.metadata()?)?;
    let service = thread::spawn(move || -> anyhow::Result<Message> {
        let (mut connection, _) = listener.accept()?;
        let request = Message::read(&mut BufReader::new(connection.try_clone()?))?.context("no request")?;
        connection.write_all(&gateway_tests::http::answer(&json!("welcome")))?;
        Ok(request)
    });
    let page = Browser::new()?.login(&idp.unsolicited_url(SP), "ada")?;
    assert_eq!((page.status, page.html.as_str()), (200, "\"welcome\""));
    let request = service.join().map_err(|_| anyhow::anyhow!("the service provider fell over"))??;
    assert!(request.start.starts_with("POST /saml/corp/acs "), "{request:?}");
    assert!(request.body.starts_with(b"SAMLResponse="), "{request:?}");
    assert!(idp.sso_url().starts_with(request.field("origin").unwrap_or("?")), "{request:?}");
    Ok(())
}
