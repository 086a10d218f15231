#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::{path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::*;
use crate::wire::corpus::{Block, blocks};

const NOW: u64 = 1_800_000_000;
const SKEW: Duration = Duration::from_secs(60);

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/saml").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn credential(name: &str) -> Credential {
    let key = Zeroizing::new(read(&format!("keys/test-{name}.key.pem")));
    Credential { certificate: read(&format!("keys/test-{name}.crt.pem")), key }
}

fn settings() -> Settings {
    Settings {
        name: "corp".into(),
        entity_id: "https://gateway.example/saml/corp/metadata".into(),
        acs_url: "https://gateway.example/saml/corp/acs".into(),
        idp_metadata: read("made/idp.xml"),
        credential: Some(credential("sp")),
        skew: SKEW,
    }
}

fn provider(settings: Settings) -> ServiceProvider {
    ServiceProvider::new(settings).unwrap_or_else(|error| panic!("{error}"))
}

fn of_block(block: &Block) -> ServiceProvider {
    let mut settings = settings();
    settings.idp_metadata = read(block.get("idp").unwrap_or("made/idp.xml"));
    if block.get("key") == Some("none") {
        settings.credential = None;
    }
    provider(settings)
}

/// What comes of a block's response, once or twice.
fn verified(provider: &ServiceProvider, block: &Block) -> Result<Assertion, SamlError> {
    let mut xml = read(block.get("file").expect("a file"));
    if let Some(padding) = block.get("padded") {
        xml.push_str(&" ".repeat(padding.parse().expect("a number")));
    }
    let now = block.get("now").map_or(NOW, |now| now.parse().expect("a number"));
    let pending = block.get("pending").unwrap_or("_request");
    let once = || provider.verify(&BASE64_STANDARD.encode(&xml), |id| id == pending, now);
    if block.get("twice").is_some() {
        once().unwrap_or_else(|error| panic!("{}: {error}", block.name()));
    }
    once()
}

/// An assertion as a block of the corpus spells it out.
fn spelled(assertion: &Assertion) -> Vec<(&'static str, String)> {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut lines = vec![
        ("id", assertion.id.clone()),
        ("name_id", assertion.name_id.clone()),
        ("session_index", assertion.session_index.clone().unwrap_or_default()),
        ("session_not_on_or_after", number(assertion.session_not_on_or_after)),
        ("authn_instant", number(assertion.authn_instant)),
        ("not_on_or_after", number(Some(assertion.not_on_or_after))),
    ];
    for (name, values) in &assertion.attributes {
        lines.extend(values.iter().map(|value| ("attribute", format!("{name}={value}"))));
        if values.is_empty() {
            lines.push(("attribute", name.clone()));
        }
    }
    lines
}

fn check(block: &Block) -> Result<(), String> {
    let provider = of_block(block);
    let found = verified(&provider, block);
    match (block.get("refused"), found) {
        (Some(expected), Err(error)) if error.reason() == expected => Ok(()),
        (Some(expected), found) => Err(format!("{}: expected to be refused for `{expected}`, got {found:?}", block.name())),
        (None, Err(error)) => Err(format!("{}: {error}", block.name())),
        (None, Ok(assertion)) => {
            let found = spelled(&assertion);
            let keys = ["id", "name_id", "session_index", "session_not_on_or_after", "authn_instant", "not_on_or_after", "attribute"];
            let expected: Vec<(&str, String)> = keys.iter().flat_map(|key| block.all(key).map(|value| (*key, value.to_owned()))).collect();
            if found != expected || assertion.issuer != provider.idp().entity_id {
                let found: Vec<String> = found.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                return Err(format!("{}: expected other values than\n{}\n", block.name(), found.join("\n")));
            }
            Ok(())
        }
    }
}

#[test]
fn saml_corpus_is_taken_or_refused_for_its_reason() {
    let failed: Vec<String> =
        ["saml/made.txt", "saml/real.txt"].into_iter().flat_map(blocks).filter_map(|block| check(&block).err()).collect();
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
}

fn signed() -> String {
    BASE64_STANDARD.encode(read("made/assertion-signed.xml"))
}

fn reason(result: Result<impl fmt::Debug, SamlError>) -> &'static str {
    result.map_or_else(|error| error.reason(), |_| "none")
}

#[test]
fn saml_response_is_strict_base64_with_line_breaks_at_most() {
    let lines: String = signed().as_bytes().chunks(76).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect();
    assert_eq!(reason(provider(settings()).verify(&lines, |_| true, NOW)), "none");
    for field in ["%%%%", "PHg+ ", "PHg", "PHg_", "PHg+PA==PHg+"] {
        assert_eq!(reason(provider(settings()).verify(field, |_| true, NOW)), "encoding", "{field}");
    }
    assert_eq!(reason(provider(settings()).verify(&BASE64_STANDARD.encode(b"\xff\xfe"), |_| true, NOW)), "encoding");
    assert_eq!(reason(provider(settings()).verify(&"A".repeat(600_000), |_| true, NOW)), "oversize");
}

#[test]
fn saml_request_is_answered_once_even_by_another_assertion() {
    let provider = provider(settings());
    assert_eq!(reason(provider.verify(&signed(), |_| true, NOW)), "none");
    let other = BASE64_STANDARD.encode(read("made/persistent.xml"));
    assert_eq!(reason(provider.verify(&other, |_| true, NOW)), "replayed");
}

#[test]
fn saml_refusals_use_nothing_up() {
    let provider = provider(settings());
    let tampered = BASE64_STANDARD.encode(read("made/tampered-name.xml"));
    assert_eq!(reason(provider.verify(&tampered, |_| true, NOW)), "signature");
    assert_eq!(reason(provider.verify(&signed(), |_| false, NOW)), "in-response-to");
    assert_eq!(reason(provider.verify(&signed(), |_| true, NOW)), "none");
}

#[test]
fn saml_errors_and_debug_do_not_repeat_what_the_assertion_says() {
    let provider = provider(settings());
    let assertion = provider.verify(&signed(), |_| true, NOW).unwrap_or_else(|error| panic!("{error}"));
    assert!(!format!("{assertion:?}").contains("ada@"), "{assertion:?}");
    for block in blocks("saml/made.txt") {
        if let Err(error) = verified(&of_block(&block), &block) {
            let shown = format!("{error} {error:?}");
            assert!(
                !["ada@", "Lovelace", "root@", "evil", "other.example"].iter().any(|said| shown.contains(said)),
                "{}: {shown}",
                block.name()
            );
        }
    }
}

#[test]
fn saml_metadata_of_the_identity_provider_is_read_strictly() {
    let fault = |metadata: String| match ServiceProvider::new(Settings { idp_metadata: metadata, ..settings() }) {
        Err(SamlError::Setup { name, fault }) if name == "corp" => fault,
        other => panic!("{other:?}"),
    };
    let right = read("made/idp.xml");
    let wrapped =
        format!(r#"<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">{}</md:EntitiesDescriptor>"#, &right[22..]);
    assert_eq!(reason(ServiceProvider::new(Settings { idp_metadata: wrapped.clone(), ..settings() })), "none");
    let two = wrapped.replace("</md:EntitiesDescriptor>", &format!("{}</md:EntitiesDescriptor>", &right[22..]));
    assert!(fault(two).contains("several identity providers"));
    assert!(fault(right.replace("IDPSSODescriptor", "SPSSODescriptor")).contains("no identity provider"));
    assert!(fault(right.replace("use=\"signing\"", "use=\"encryption\"")).contains("no certificate for signing"));
    assert!(fault(right.replace(":bindings:HTTP-", ":bindings:SOAP-")).contains("neither by redirect nor by POST"));
    assert!(fault(right.replace("SAML:2.0:protocol", "SAML:1.1:protocol")).contains("does not speak SAML 2.0"));
    assert!(fault(format!("<!DOCTYPE x>{}", &right[22..])).contains("no XML that can be read"));
    assert!(fault("nothing".into()).contains("no XML that can be read"));
}

#[test]
fn saml_metadata_that_has_ended_is_not_used() {
    let until = |instant: &str| {
        let metadata = read("made/idp.xml").replace("entityID=", &format!("validUntil=\"{instant}\" entityID="));
        provider(Settings { idp_metadata: metadata, ..settings() })
    };
    let ended = until("2027-01-15T08:00:00Z");
    assert_eq!(ended.idp().valid_until, Some(NOW));
    assert_eq!(reason(ended.verify(&signed(), |_| true, NOW)), "metadata-expired");
    assert_eq!(reason(ended.login(None, NOW)), "metadata-expired");
    assert_eq!(reason(until("2027-01-15T08:00:01Z").verify(&signed(), |_| true, NOW)), "none");
}

#[test]
fn saml_facts_of_the_identity_provider_are_those_of_its_metadata() {
    let provider = provider(settings());
    let idp = provider.idp();
    assert_eq!(idp.entity_id, "https://login.example/saml");
    assert_eq!((idp.valid_until, idp.wants_signed_requests), (None, false));
    assert_eq!(idp.endpoints.iter().map(|one| one.binding).collect::<Vec<_>>(), [Binding::Post, Binding::Redirect]);
    let [certificate] = &idp.certificates[..] else { panic!("{:?}", idp.certificates) };
    assert!(certificate.usable && certificate.key == "RSA 2048", "{certificate:?}");
    assert!(certificate.subject.contains("test key") && certificate.not_after > 4_900_000_000, "{certificate:?}");
}

#[test]
fn saml_key_that_does_not_belong_to_the_certificate_is_named() {
    let fault = |credential| match ServiceProvider::new(Settings { credential: Some(credential), ..settings() }) {
        Err(SamlError::Setup { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let Credential { certificate, key } = credential("sp");
    assert!(fault(Credential { certificate: certificate.clone(), key: credential("foreign").key }).contains("does not belong"));
    assert!(fault(Credential { certificate: certificate.clone(), key: Zeroizing::new("x".into()) }).contains("`key` cannot be read"));
    assert!(fault(Credential { certificate: "x".into(), key }).contains("`certificate` cannot be read"));
    let unsigned = read("made/idp.xml").replace("<md:IDPSSODescriptor ", "<md:IDPSSODescriptor WantAuthnRequestsSigned=\"true\" ");
    let without = ServiceProvider::new(Settings { idp_metadata: unsigned, credential: None, ..settings() });
    assert!(matches!(without, Err(SamlError::Setup { fault, .. }) if fault.contains("signed requests only")));
}

/// The request of a redirect, as the identity provider reads it.
fn inflated(url: &str) -> String {
    let query = url.split_once("SAMLRequest=").expect("a request").1.split('&').next().expect("a value");
    let base64 = query.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let bytes = BASE64_STANDARD.decode(base64).expect("base64");
    String::from_utf8(saml_rs::binding::deflate_raw_decode(&bytes).expect("deflated")).expect("UTF-8")
}

#[test]
fn saml_login_goes_by_redirect_and_is_signed_where_there_is_a_key() {
    let login = provider(settings()).login(Some("tab-1"), NOW).unwrap_or_else(|error| panic!("{error}"));
    let Outbound::Redirect(url) = &login.outbound else { panic!("{login:?}") };
    assert!(url.starts_with("https://login.example/saml/redirect?tenant=1&x=2&SAMLRequest="), "{url}");
    let signed = url.split_once('?').expect("a query").1.strip_prefix("tenant=1&x=2&").expect("theirs first");
    let (signed, signature) = signed.split_once("&Signature=").expect("a signature");
    assert!(signed.contains("&RelayState=tab-1&SigAlg=http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256"), "{signed}");
    let signature = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let certificate = credential("sp").certificate;
    let method = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
    assert!(verify_message_signature(signed, &signature, &certificate, method).expect("verifiable"));
    let request = inflated(url);
    for part in [
        format!(r#" ID="{}""#, login.request_id),
        r#"AssertionConsumerServiceURL="https://gateway.example/saml/corp/acs""#.into(),
        "<saml:Issuer>https://gateway.example/saml/corp/metadata</saml:Issuer>".into(),
        r#"ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST""#.into(),
        r#"AllowCreate="true""#.into(),
    ] {
        assert!(request.contains(&part), "{part} in {request}");
    }
    let unsigned = provider(Settings { credential: None, ..settings() }).login(None, NOW).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        matches!(&unsigned.outbound, Outbound::Redirect(url) if !url.contains("Signature") && !url.contains("RelayState")),
        "{unsigned:?}"
    );
    assert_ne!(unsigned.request_id, login.request_id);
}

#[test]
fn saml_login_goes_by_post_where_there_is_no_redirect() {
    let metadata = read("made/idp.xml").replace("HTTP-Redirect", "HTTP-Artifact");
    let provider = provider(Settings { idp_metadata: metadata, ..settings() });
    let login = provider.login(Some("tab-1"), NOW).unwrap_or_else(|error| panic!("{error}"));
    let Outbound::Form { action, fields } = &login.outbound else { panic!("{login:?}") };
    assert_eq!(action, "https://login.example/saml/post");
    let value = |name| fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(value("RelayState"), Some("tab-1"));
    let request = BASE64_STANDARD.decode(value("SAMLRequest").expect("a request")).expect("base64");
    let request = String::from_utf8(request).expect("UTF-8");
    let (verified, _) = saml_rs::crypto::verify_signature(&request, &[credential("sp").certificate]).expect("verifiable");
    assert!(verified && request.contains(&login.request_id), "{request}");
}

#[test]
fn saml_login_works_with_a_provider_that_names_several_places_of_one_kind() {
    let mut settings = settings();
    // The one that goes by redirect.
    let redirect = settings.idp_metadata.find("HTTP-Redirect").expect("there");
    let at = settings.idp_metadata[..redirect].rfind('<').expect("there");
    let end = at + settings.idp_metadata[at..].find("/>").expect("there") + 2;
    let again = settings.idp_metadata[at..end].replace("Location=\"https://", "Location=\"https://other.");
    settings.idp_metadata.insert_str(end, &again);
    let login = provider(settings).login(None, NOW).expect("there");
    let Outbound::Redirect(url) = login.outbound else { panic!("no redirect") };
    assert!(!url.starts_with("https://other."), "the first counts: {url}");
}

#[test]
fn saml_metadata_of_the_gateway_says_all_that_an_identity_provider_needs() {
    let metadata = provider(settings()).metadata();
    let read = saml_rs::raw::metadata::SpMetadata::from_xml(&metadata).expect("metadata");
    assert_eq!(read.get_entity_id(), Some("https://gateway.example/saml/corp/metadata"));
    assert!(read.is_want_assertions_signed() && read.is_authn_request_signed());
    let acs = read.get_assertion_consumer_service(WireBinding::Post);
    assert_eq!(acs.as_deref(), Some("https://gateway.example/saml/corp/acs"));
    for part in [r#"use="signing""#, r#"use="encryption""#, "xmlenc11#aes256-gcm"] {
        assert!(metadata.contains(part), "{part} in {metadata}");
    }
    let odd = Settings { entity_id: "https://gateway.example/?a=1&b=<\">".into(), credential: None, ..settings() };
    let metadata = provider(odd).metadata();
    assert!(metadata.contains(r#"entityID="https://gateway.example/?a=1&amp;b=&lt;&quot;&gt;""#), "{metadata}");
    assert!(metadata.contains(r#"AuthnRequestsSigned="false""#) && !metadata.contains("KeyDescriptor"), "{metadata}");
}

#[test]
fn saml_keys_that_could_be_broken_or_are_not_rsa_are_listed_and_not_used() {
    let base64 = |name: &str| {
        let pem = read(&format!("keys/test-{name}.crt.pem"));
        pem.lines().filter(|line| !line.starts_with("---")).collect::<String>()
    };
    let right = read("made/idp.xml");
    for (name, key) in [("weak", "RSA 1024"), ("ec", "EC 256")] {
        let only = right.replace(&base64("idp"), &base64(name));
        let result = ServiceProvider::new(Settings { idp_metadata: only, ..settings() });
        assert!(
            matches!(&result, Err(SamlError::Setup { fault, .. }) if fault.contains("no certificate for signing")),
            "{name}: {result:?}"
        );
        let descriptor = format!("<ds:X509Certificate>{}</ds:X509Certificate>", base64("idp"));
        let both = right.replace(&descriptor, &format!("<ds:X509Certificate>{}</ds:X509Certificate>{descriptor}", base64(name)));
        let provider = provider(Settings { idp_metadata: both, ..settings() });
        let listed: Vec<_> = provider.idp().certificates.iter().map(|one| (one.key.as_str(), one.usable)).collect();
        assert_eq!(listed, [(key, false), ("RSA 2048", true)]);
        assert_eq!(reason(provider.verify(&signed(), |_| true, NOW)), "none");
    }
}
