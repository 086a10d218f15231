//! The certificate authority as an operator and real clients meet it. Needs `openssl`, `curl`, `python3` and `node`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

mod clients;
mod import;
mod place;
mod rotate;
mod trust;

use std::{fs, os::unix::fs::PermissionsExt};

use place::{OTHER, Place, SERVER};

#[test]
fn init_makes_what_openssl_takes_for_a_constrained_authority() {
    let place = Place::new(&[SERVER, "10.77.1.2"]);
    let init = place.ca(&["init"]);
    assert!(init.is_fine() && init.out.contains("mcp-gateway ca trust"), "{init:?}");
    let root = place.root("root.pem");
    // The root, and the issuer below it, of which the key is: both are limited.
    for (file, path_len) in [(&root, "CA:TRUE, pathlen:3"), (&place.file(), "CA:TRUE, pathlen:2")] {
        let text = place.openssl(&["x509", "-in", file, "-noout", "-text"]).ok();
        for expected in [
            path_len,
            "Certificate Sign, CRL Sign",
            "X509v3 Name Constraints: critical",
            "DNS:mcp.clinic.internal",
            "IP:10.77.1.2/255.255.255.255",
            "prime256v1",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
    let show = place.ca(&["show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&show.ok()).unwrap();
    let openssl = place.openssl(&["x509", "-in", &root, "-noout", "-fingerprint", "-sha256"]).ok();
    assert!(openssl.trim().ends_with(shown["sha256"].as_str().unwrap()), "{openssl} {shown}");
    assert_eq!(shown["permitted"], serde_json::json!([SERVER, "10.77.1.2/32"]));
    let days = |name: &str| shown[name].as_str().unwrap()[..4].parse::<i32>().unwrap();
    assert_eq!(days("not_after") - days("not_before"), 2);
}

#[test]
fn an_authority_is_not_overwritten_and_what_is_missing_is_told() {
    let place = Place::new(&[SERVER]);
    let show = place.ca(&["show"]);
    assert!(show.code == 3 && show.err.contains("mcp-gateway ca init"), "{show:?}");
    place.ca(&["init"]).ok();
    let before = fs::read(place.file()).unwrap();
    let again = place.ca(&["init"]);
    assert!(again.code == 3 && again.err.contains("mcp-gateway ca rotate"), "{again:?}");
    assert_eq!(fs::read(place.file()).unwrap(), before);

    let none = Place::new(&[]);
    let init = none.ca(&["init"]);
    assert!(init.code == 3 && init.err.contains("no https:// server"), "{init:?}");
    let odd = Place::new(&["clinic_db..internal"]);
    let init = odd.ca(&["init"]);
    assert!(init.code == 3 && init.err.contains("clinic_db..internal"), "{init:?}");
}

#[test]
fn files_are_for_their_owner_alone() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&place.dir()), mode(&place.file())), (0o700, 0o600));
    place.ca(&["rotate"]).ok();
    assert_eq!((mode(&place.dir()), mode(&place.file())), (0o700, 0o600));
    assert_eq!(fs::read_dir(place.dir()).unwrap().count(), 1, "nothing is left beside it");
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o604)).unwrap();
    let show = place.ca(&["show"]);
    assert!(show.code == 3 && show.err.contains("chmod 600"), "{show:?}");
}

#[test]
fn the_key_is_in_nothing_that_is_printed() {
    let place = Place::new(&[SERVER]);
    let mut said = place.ca(&["init"]).ok();
    said += &place.ca(&["rotate"]).ok();
    for words in [&["show"][..], &["show", "--json"], &["show", "--pem"]] {
        said += &place.ca(words).ok();
    }
    assert!(said.contains("BEGIN CERTIFICATE") && !said.contains("PRIVATE"), "{said}");
    let file = fs::read_to_string(place.file()).unwrap();
    let (key, _) = file.split_once("-----END PRIVATE KEY-----").unwrap();
    // A line of base64 each; the first says only what kind of key it is.
    for line in key.lines().skip(2) {
        assert!(!said.contains(line), "{line}");
    }
}

#[test]
fn show_says_which_servers_are_not_covered_and_answers_no_then() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let place = place.governing(&[SERVER, OTHER]);
    let show = place.ca(&["show"]);
    assert_eq!(show.code, 1, "{show:?}");
    assert!(show.out.contains(&format!("({SERVER}): covered")) && show.out.contains(&format!("({OTHER}): NOT COVERED")), "{show:?}");
    place.ca(&["rotate"]).ok();
    assert!(place.ca(&["show"]).is_fine());
}

#[test]
fn pem_for_other_machines_is_the_roots_and_nothing_else() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let old = place.ca(&["show", "--pem"]).ok();
    assert_eq!(old.matches("BEGIN CERTIFICATE").count(), 1);
    place.ca(&["rotate"]).ok();
    let both = place.ca(&["show", "--pem"]).ok();
    assert!(both.matches("BEGIN CERTIFICATE").count() == 2 && both.ends_with(&old), "the new one, then the old one in overlap");
}
