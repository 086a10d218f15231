//! An authority that somebody else made.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
};

use super::{
    clients::{all, serve},
    place::{OTHER, Place, SERVER},
};

/// The certificates of an organisation: a root, and a sub-CA that it made for the gateway.
struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
}

fn params(name: &str, path_len: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Clinic");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params
}

impl Pki {
    fn new() -> Self {
        let root = CertifiedIssuer::self_signed(params("Clinic root", 1), KeyPair::generate().unwrap()).unwrap();
        Pki { root }
    }

    /// Signs a sub-CA; gives its certificate, and its key, as PEM.
    fn sub(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = params("Clinic gateway", 0);
        change(&mut params);
        let certificate = params.signed_by(key, &self.root).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.root.der())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn import(place: &Place, certificate: &str, key: &str, more: &[&str]) -> super::place::Said {
    let (certificate, key) = (place.write("sub.pem", certificate), place.write("sub.key", key));
    place.ca(&[&["import", "--certificate", &certificate, "--key", &key][..], more].concat())
}

#[test]
fn clients_of_an_organisations_root_trust_its_sub_ca_of_every_kind_of_key() {
    for key in [
        KeyPair::generate().unwrap(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(),
    ] {
        let (place, pki) = (Place::new(&[SERVER]), Pki::new());
        let (certificate, key) = pki.sub(&key, |_| {});
        import(&place, &(certificate + &pki.pem()), &key, &[]).ok();
        let leaf = place.authority().leaf(SERVER).unwrap();
        assert_eq!(leaf.cert.len(), 2, "leaf and sub-CA; the root is the clients'");
        let root = place.write("root.pem", pki.pem());
        for (client, said) in all(SERVER, &serve(leaf), &root) {
            assert!(said.is_fine(), "{client}: {said:?}");
        }
        let shown: serde_json::Value = serde_json::from_str(&place.ca(&["show", "--json"]).ok()).unwrap();
        assert_eq!((&shown["imported"], shown["other_roots"][0]["subject"].as_str()), (&true.into(), Some("O=Clinic, CN=Clinic root")));
        assert_eq!(place.ca(&["show", "--pem"]).ok(), pki.pem());
    }
}

#[test]
fn what_cannot_serve_is_refused_and_why() {
    let pki = Pki::new();
    let key = KeyPair::generate().unwrap();
    let elsewhere = || GeneralSubtree::DnsName(OTHER.into());
    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let cases: [(&str, Change); 6] = [
        ("is not an authority's", Box::new(|params| params.is_ca = IsCa::ExplicitNoCa)),
        ("is not an authority's", Box::new(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])),
        ("is valid from 2026-01-01 to 2026-02-01", Box::new(|params| params.not_after = rcgen::date_time_ymd(2026, 2, 1))),
        ("is valid from 2090-01-01", Box::new(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1))),
        (
            "do not allow mcp.clinic.internal",
            Box::new(move |params| {
                params.name_constraints = Some(NameConstraints { permitted_subtrees: vec![elsewhere()], excluded_subtrees: vec![] });
            }),
        ),
        (
            "do not allow mcp.clinic.internal",
            Box::new(|params| {
                let excluded = GeneralSubtree::DnsName("clinic.internal".into());
                params.name_constraints = Some(NameConstraints { permitted_subtrees: vec![], excluded_subtrees: vec![excluded] });
            }),
        ),
    ];
    for (why, change) in cases {
        let place = Place::new(&[SERVER]);
        let (certificate, key) = pki.sub(&key, change);
        let refused = import(&place, &(certificate + &pki.pem()), &key, &[]);
        assert!(refused.code == 3 && refused.err.contains(why) && refused.err.contains("sub.pem"), "{why}: {refused:?}");
        assert!(!place.path("ca/authority.pem").exists());
    }

    let place = Place::new(&[SERVER]);
    let (certificate, secret) = pki.sub(&key, |_| {});
    let (_, foreign) = pki.sub(&KeyPair::generate().unwrap(), |_| {});
    for (certificate, secret, why) in [
        (certificate.as_str(), foreign.as_str(), "is not for the private key"),
        (&certificate, &certificate, "sub.key cannot be the gateway's authority: it holds no private key"),
        (&secret, &secret, "holds no certificate"),
        (&(certificate.clone() + &Pki::new().pem()), &secret, "rejects what it signs"),
    ] {
        let refused = import(&place, certificate, secret, &[]);
        assert!(refused.code == 3 && refused.err.contains(why), "{why}: {refused:?}");
    }
    let missing = place.ca(&["import", "--certificate", "/nowhere.pem", "--key", "/nowhere.key"]);
    assert!(missing.code == 3 && missing.err.contains("/nowhere.pem"), "{missing:?}");
}

#[test]
fn a_subject_that_cannot_be_repeated_in_leaves_is_refused() {
    let place = Place::new(&[SERVER]);
    let made = |words: &[&str]| place.openssl(words).ok();
    let (certificate, key) = (place.path("dc.pem").display().to_string(), place.path("dc.key").display().to_string());
    let subject = "/DC=internal/DC=clinic/CN=Clinic gateway";
    made(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "9",
        "-subj",
        subject,
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    let refused = place.ca(&["import", "--certificate", &certificate, "--key", &key]);
    assert!(refused.code == 3 && refused.err.contains("names an attribute twice"), "{refused:?}");
}

#[test]
fn a_successor_is_imported_in_its_place_and_rotation_is_its_issuers() {
    let (place, pki) = (Place::new(&[SERVER]), Pki::new());
    let (first, first_key) = pki.sub(&KeyPair::generate().unwrap(), |_| {});
    let (second, second_key) = pki.sub(&KeyPair::generate().unwrap(), |_| {});
    import(&place, &first, &first_key, &[]).ok();
    let refused = import(&place, &second, &second_key, &[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    let rotate = place.ca(&["rotate"]);
    assert!(rotate.code == 3 && rotate.err.contains("ca import --replace"), "{rotate:?}");
    let before = fs::read(place.file()).unwrap();
    import(&place, &second, &second_key, &["--replace"]).ok();
    assert_ne!(fs::read(place.file()).unwrap(), before);
    let trust = place.ca(&["trust", "--root", &place.dir()]);
    assert!(trust.code == 3 && trust.err.contains("without its root"), "{trust:?}");
}

#[test]
fn an_imported_one_that_covers_too_little_is_replaced_by_its_issuer() {
    let (place, pki) = (Place::new(&[SERVER]), Pki::new());
    let only = NameConstraints { permitted_subtrees: vec![GeneralSubtree::DnsName(SERVER.into())], excluded_subtrees: vec![] };
    let (certificate, key) = pki.sub(&KeyPair::generate().unwrap(), |params| params.name_constraints = Some(only));
    import(&place, &certificate, &key, &[]).ok();
    let show = place.governing(&[SERVER, OTHER]).ca(&["show"]);
    assert_eq!(show.code, 1, "{show:?}");
    assert!(show.out.contains("NOT COVERED: `mcp-gateway ca import --replace`") && !show.out.contains("ca rotate"), "{show:?}");
}
