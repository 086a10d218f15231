#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{fs, os::unix::fs::PermissionsExt};

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{ServerName, UnixTime},
};

use super::{issue::HOUR, store::Store, *};

const FIRST: &str = "mcp.clinic.internal";
const OTHER: &str = "other.clinic.internal";

/// A directory for an authority, not there yet.
struct Place {
    _temp: tempfile::TempDir,
    dir: PathBuf,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ca");
        Place { _temp: temp, dir }
    }

    fn with(hosts: &[&str]) -> Self {
        Self::aged(hosts, 0)
    }

    /// One that was made so many seconds ago.
    fn aged(hosts: &[&str], ago: i64) -> Self {
        let place = Self::new();
        let store = Store::open(&place.dir, None).unwrap();
        manage::init_at(&store, place.site(&named(hosts)), now() - ago).unwrap();
        place
    }

    fn site<'a>(&'a self, hosts: &'a [Host]) -> Site<'a> {
        Site { dir: &self.dir, owner: None, hosts }
    }

    fn open(&self) -> Authority {
        Authority::open(&self.dir).unwrap()
    }

    fn rotate(&self, hosts: &[&str]) -> Result<Rotated, CaError> {
        rotate(self.site(&named(hosts)), false)
    }
}

fn named(hosts: &[&str]) -> Vec<Host> {
    hosts.iter().map(|host| Host::parse(host).unwrap()).collect()
}

/// The root that clients are to trust.
fn root(authority: &Authority) -> &Certificate {
    authority.roots().next().unwrap()
}

/// What rustls says of a leaf with its chain, when it trusts this root.
fn verified(leaf: &CertifiedKey, root: &Certificate, host: &str, now: i64) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.der.clone()).unwrap();
    verified_by(leaf, roots, host, now)
}

fn verified_by(leaf: &CertifiedKey, roots: RootCertStore, host: &str, now: i64) -> Result<(), rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unsigned_abs()));
    verifier.verify_server_cert(&leaf.cert[0], &leaf.cert[1..], &name, &[], now).map(|_| ())
}

/// A leaf of this authority for any name, past the check of its own constraints.
fn stray(authority: &Authority, host: &str) -> CertifiedKey {
    let Material { key, certificate, .. } = &authority.material;
    let chain = authority.material.chain(now()).map(|certificate| certificate.der.clone());
    issue::leaf(&Host::parse(host).unwrap(), certificate, key, chain, now()).unwrap().0
}

#[test]
fn leaves_for_names_and_addresses_are_verified_and_others_are_not_made() {
    let place = Place::with(&[FIRST, "10.77.1.2", "::1"]);
    let authority = place.open();
    for host in [FIRST, "10.77.1.2", "::1"] {
        let leaf = authority.leaf(host).unwrap();
        verified(&leaf, root(&authority), host, now()).unwrap();
        leaf.keys_match().unwrap();
        assert_eq!(leaf.cert.len(), 2, "leaf and issuer; the root is the client's");
    }
    assert!(authority.covers("MCP.Clinic.Internal.") && authority.leaf("MCP.Clinic.Internal.").is_ok());
    for host in [OTHER, "10.77.1.3", "::2", "clinic.internal", "xmcp.clinic.internal"] {
        assert!(!authority.covers(host));
        let error = authority.leaf(host).unwrap_err();
        assert!(matches!(error, CaError::NotCovered { .. }) && error.to_string().contains("mcp-gateway ca rotate"), "{error}");
    }
    assert!(matches!(authority.leaf("not a host"), Err(CaError::NotAHost { .. })));
}

#[test]
fn a_leaf_outside_the_constraints_is_rejected_by_rustls_whatever_its_kind() {
    for (permitted, outside) in [
        (&[FIRST][..], &[OTHER, "10.77.1.2", "::1"][..]),
        (&["10.77.1.2"], &["10.77.1.3", "::1", FIRST]),
        (&["::1"], &["::2", "127.0.0.1", FIRST]),
    ] {
        let authority = Place::with(permitted).open();
        for host in outside {
            let leaf = stray(&authority, host);
            let mut roots = RootCertStore::empty();
            roots.add(root(&authority).der.clone()).unwrap();
            // As Java does: what a trusted certificate itself is limited to is not looked at.
            let mut lax = roots.clone();
            lax.roots[0].name_constraints = None;
            for roots in [roots, lax] {
                let error = verified_by(&leaf, roots, host, now()).unwrap_err();
                assert!(format!("{error:?}").contains("NameConstraintViolation"), "{permitted:?} {host}: {error:?}");
            }
        }
    }
}

#[test]
fn constraints_are_read_as_rfc_5280_and_openssl_have_them() {
    use rcgen::GeneralSubtree::{DnsName, IpAddress};
    let net = |text: &str| IpAddress(text.parse().unwrap());
    let name = |text: &str| DnsName(text.to_owned());
    let read = |permitted: &[rcgen::GeneralSubtree], excluded: &[rcgen::GeneralSubtree]| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.name_constraints =
            Some(rcgen::NameConstraints { permitted_subtrees: permitted.to_vec(), excluded_subtrees: excluded.to_vec() });
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Certificate::read(certificate.into()).unwrap()
    };
    for (permitted, excluded, inside, outside) in [
        (vec![], vec![], &["a.b", "10.0.0.1", "::1"][..], &[][..]),
        (vec![name("A.b")], vec![], &["a.b", "x.a.b", "10.0.0.1"], &["xa.b", "b", "a.b.c"]),
        (vec![name(".a.b")], vec![], &["x.a.b", "y.x.a.b"], &["a.b", "xa.b"]),
        (vec![name("b")], vec![name("a.b")], &["b", "x.b"], &["a.b", "x.a.b"]),
        (vec![], vec![name("")], &["10.0.0.1"], &["a", "a.b"]),
        (vec![net("10.1.0.0/16")], vec![], &["10.1.2.3", "a.b"], &["10.2.0.1", "::1"]),
        (vec![net("fd00::/8"), name("a.b")], vec![net("fd00::1/128")], &["fd00::2", "a.b"], &["fd00::1", "10.0.0.1", "c"]),
    ] {
        let certificate = read(&permitted, &excluded);
        for (hosts, is_inside) in [(inside, true), (outside, false)] {
            for host in hosts {
                assert_eq!(certificate.covers(&Host::parse(host).unwrap()), is_inside, "{host} under {:?}", certificate.constraints);
            }
        }
    }
}

#[test]
fn a_leaf_is_made_once_lives_a_week_and_is_made_anew_a_day_before_its_end() {
    let authority = Place::with(&[FIRST]).open();
    let start = now();
    let leaf = authority.leaf_at(FIRST, start).unwrap();
    let again = |after| Arc::ptr_eq(&leaf, &authority.leaf_at(FIRST, start + after).unwrap());
    assert!(again(0) && again(6 * DAY - 1));
    let read = Certificate::read(leaf.cert[0].clone()).unwrap();
    assert_eq!((start - read.not_before, read.not_after - start), (HOUR, 7 * DAY));
    assert!(!again(6 * DAY));
}

#[test]
fn a_leaf_does_not_outlive_its_authority_and_none_is_made_after_it() {
    let authority = Place::with(&[FIRST]).open();
    let end = authority.certificate().not_after;
    let leaf = authority.leaf_at(FIRST, end - DAY).unwrap();
    assert_eq!(Certificate::read(leaf.cert[0].clone()).unwrap().not_after, end);
    assert!(Arc::ptr_eq(&leaf, &authority.leaf_at(FIRST, end - DAY / 2 - 1).unwrap()), "it is not made anew at each handshake");
    let error = authority.leaf_at(FIRST, end + 1).unwrap_err();
    assert!(matches!(error, CaError::OutOfDate { .. }) && error.to_string().contains("mcp-gateway ca rotate"), "{error}");
}

#[test]
fn the_number_of_leaves_is_bounded() {
    let authority = Place::with(&[FIRST]).open();
    for n in 0..=MAX_LEAVES {
        authority.leaf(&format!("h{n}.{FIRST}")).unwrap();
    }
    assert_eq!(authority.leaves.load().len(), MAX_LEAVES);
}

#[test]
fn clients_of_the_old_root_and_of_the_new_one_verify_after_a_rotation() {
    let place = Place::aged(&[FIRST], DAY);
    let old = place.open();
    let rotated = place.rotate(&[FIRST, OTHER]).unwrap();
    assert!(rotated.overlaps && rotated.cut_off.is_empty());
    assert_eq!(rotated.new_only, named(&[OTHER]));
    let new = place.open();
    let leaf = new.leaf(FIRST).unwrap();
    verified(&leaf, root(&old), FIRST, now()).unwrap();
    verified(&leaf, root(&new), FIRST, now()).unwrap();
    let other = new.leaf(OTHER).unwrap();
    assert!(verified(&other, root(&old), OTHER, now()).is_err(), "the old root's constraints hold for the cross certificate");
    verified(&other, root(&new), OTHER, now()).unwrap();

    let roots: Vec<_> = new.roots().map(|root| root.subject.clone()).collect();
    assert_eq!(roots, [rotated.root.subject, rotated.old.subject]);
    let sent: Vec<_> = leaf.cert[1..].iter().map(|sent| Certificate::read(sent.clone()).unwrap()).collect();
    let [issuer, cross, old_issuer] = &sent[..] else { unreachable!("{sent:?}") };
    assert_eq!((&issuer.subject, &old_issuer.subject), (&new.certificate().subject, &old.certificate().subject));
    assert_eq!((&cross.subject, cross.path_len), (&root(&new).subject, Some(1)));
    assert_eq!(cross.not_after, root(&old).not_after);
    let later = new.leaf_at(FIRST, cross.not_after + 1).unwrap();
    assert_eq!(later.cert.len(), 2, "what has expired is not sent");
}

#[test]
fn a_second_rotation_names_whom_it_would_cut_off_and_does_so_only_when_told() {
    let place = Place::with(&[FIRST]);
    let first = place.open();
    place.rotate(&[FIRST]).unwrap();
    let second = place.open();
    let error = place.rotate(&[FIRST]).unwrap_err();
    assert!(matches!(error, CaError::CutsOff { .. }) && error.to_string().contains(&root(&first).subject), "{error}");
    assert_eq!(place.open().certificate().subject, second.certificate().subject, "nothing was changed");

    let rotated = rotate(place.site(&named(&[FIRST])), true).unwrap();
    assert_eq!(rotated.cut_off.len(), 1);
    assert_eq!(rotated.cut_off[0].subject, root(&first).subject);
    let leaf = place.open().leaf(FIRST).unwrap();
    verified(&leaf, root(&second), FIRST, now()).unwrap();
    verified(&leaf, &rotated.root, FIRST, now()).unwrap();
    let error = verified(&leaf, root(&first), FIRST, now()).unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
}

#[test]
fn what_is_on_disk_is_the_owners_alone_and_is_not_overwritten() {
    let place = Place::with(&[FIRST]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = place.dir.join("authority.pem");
    assert_eq!((mode(&place.dir), mode(&file)), (0o700, 0o600));
    let before = fs::read(&file).unwrap();
    let error = init(place.site(&named(&[FIRST]))).unwrap_err();
    assert!(matches!(error, CaError::Exists { .. }) && error.to_string().contains("mcp-gateway ca rotate"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::open(&place.dir).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(&place.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let error = place.rotate(&[FIRST]).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn the_old_key_is_destroyed_and_only_one_command_works_at_a_time() {
    let place = Place::with(&[FIRST]);
    let mut old = fs::File::open(place.dir.join("authority.pem")).unwrap();
    place.rotate(&[FIRST]).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut old, &mut bytes).unwrap();
    assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 0), "what a reader of the old file sees");
    assert_eq!(fs::read_dir(&place.dir).unwrap().count(), 1);

    let held = Store::open(&place.dir, None).unwrap();
    assert!(matches!(place.rotate(&[FIRST]), Err(CaError::Busy { .. })));
    drop(held);
}

#[test]
fn what_is_missing_or_damaged_is_told_with_what_to_do() {
    let place = Place::new();
    let error = Authority::open(&place.dir).unwrap_err();
    assert!(matches!(error, CaError::NoCa { .. }) && error.to_string().contains("mcp-gateway ca init"), "{error}");
    assert!(matches!(init(place.site(&[])), Err(CaError::NoHosts)));

    let place = Place::with(&[FIRST]);
    let file = place.dir.join("authority.pem");
    let whole = fs::read_to_string(&file).unwrap();
    let other = fs::read_to_string(Place::with(&[FIRST]).dir.join("authority.pem")).unwrap();
    let (key, certificate) = whole.split_at(whole.find("-----BEGIN CERTIFICATE").unwrap());
    let (first_line, _) = whole.split_at(whole.find("-----BEGIN").unwrap());
    let other_certificate = &other[other.find("-----BEGIN CERTIFICATE").unwrap()..];
    for (text, why) in [
        ("", "first line"),
        (&whole[first_line.len()..], "first line"),
        (key, "no certificate"),
        (&format!("{first_line}{certificate}"), "no private key"),
        (&format!("{key}{other_certificate}"), "is not for the private key"),
        (&whole[..whole.len() - 40], "not PEM"),
    ] {
        fs::write(&file, text).unwrap();
        let error = Authority::open(&place.dir).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("authority.pem"), "{why}: {error}");
    }
}

#[test]
fn no_key_is_in_what_is_printed_for_debugging() {
    let place = Place::with(&[FIRST]);
    let authority = place.open();
    let secret = authority.material.key.serialized_der();
    // The private number of a P-256 key in PKCS #8.
    assert_eq!(secret.len(), 138);
    let number = &secret[secret.len() - 32 - 70..][..16];
    let text = format!("{authority:?} {:?} {:?}", authority.certificate(), authority.leaf(FIRST).unwrap());
    for shape in [format!("{number:?}"), number.iter().map(|byte| format!("{byte:02x}")).collect()] {
        assert!(!text.contains(shape.trim_matches(['[', ']'])), "{text}");
    }
}
