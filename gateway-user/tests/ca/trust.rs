//! Trust on a host that lies in a directory and has no programs of its own. On a whole one it is tested end to end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::place::{Place, SERVER};

const DEBIAN: [&str; 4] = ["etc/ssl/certs", "usr/local/share/ca-certificates", "usr/share/ca-certificates", "etc/systemd/system"];
const RED_HAT: [&str; 2] = ["etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem"];

/// Every file with its content, and every directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path.clone());
            }
            found.insert(path.clone(), fs::read(&path).ok());
        }
    }
    found
}

/// A host of this distribution, with somebody else's root in its bundle.
fn host(place: &Place, directories: &[&str], bundle: &str) -> (String, String) {
    let root = place.path("host");
    for directory in directories {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let stranger = Place::new(&["stranger.internal"]);
    stranger.ca(&["init"]).ok();
    let stranger = stranger.ca(&["show", "--pem"]).ok();
    fs::write(root.join(bundle), &stranger).unwrap();
    (root.display().to_string(), stranger)
}

#[test]
fn trust_puts_the_roots_where_a_debian_looks_and_untrust_leaves_it_as_it_was() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let (root, stranger) = host(&place, &DEBIAN, "etc/ssl/certs/ca-certificates.crt");
    let at = |path: &str| fs::read_to_string(Path::new(&root).join(path)).unwrap();
    let before = tree(Path::new(&root));
    let said = place.ca(&["trust", "--root", &root, "--unit", "agent", "--unit", "ide@.service"]).ok();
    let ours = place.ca(&["show", "--pem"]).ok();
    assert!(said.contains("install the package ca-certificates"), "it has no program for its store: {said}");
    let anchors: Vec<_> = fs::read_dir(Path::new(&root).join(DEBIAN[1])).unwrap().collect();
    assert_eq!(anchors.len(), 1);
    assert_eq!(fs::read_to_string(anchors[0].as_ref().unwrap().path()).unwrap(), ours);
    assert_eq!(at("etc/mcp-gateway/ca.pem"), ours);
    let bundle = at("etc/mcp-gateway/ca-bundle.pem");
    assert!(bundle.contains(&stranger) && bundle.contains(&ours), "the system's roots and ours");
    for (file, prefix) in [
        ("etc/environment.d/50-mcp-gateway.conf", ""),
        ("etc/systemd/system/agent.service.d/50-mcp-gateway.conf", "Environment="),
        ("etc/systemd/system/ide@.service.d/50-mcp-gateway.conf", "Environment="),
    ] {
        let text = at(file);
        for line in [
            "NODE_EXTRA_CA_CERTS=/etc/mcp-gateway/ca.pem",
            "DENO_CERT=/etc/mcp-gateway/ca.pem",
            "SSL_CERT_FILE=/etc/mcp-gateway/ca-bundle.pem",
            "REQUESTS_CA_BUNDLE=/etc/mcp-gateway/ca-bundle.pem",
        ] {
            assert!(text.lines().any(|there| there == format!("{prefix}{line}")), "{file}: {text}");
        }
    }
    let installed = tree(Path::new(&root));
    place.ca(&["trust", "--root", &root]).ok();
    assert_eq!(tree(Path::new(&root)), installed, "again it is the same, and units keep what they have");

    let removed = place.ca(&["untrust", "--root", &root]).ok();
    for (path, content) in installed.iter().filter(|(path, _)| !before.contains_key(*path)) {
        let path = path.display().to_string();
        assert!(removed.contains(&format!("removed {}", path.strip_prefix(&root).unwrap())), "{path} ({content:?}): {removed}");
    }
    assert_eq!(tree(Path::new(&root)), before);
    assert!(place.ca(&["untrust", "--root", &root]).ok().contains("nothing of ours"));
}

#[test]
fn after_a_rotation_trust_adds_the_new_root_and_drops_what_is_no_longer_honoured() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let (root, _) = host(&place, &RED_HAT, "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem");
    let anchors = || {
        let entries = fs::read_dir(Path::new(&root).join(RED_HAT[0])).unwrap();
        entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    place.ca(&["trust", "--root", &root]).ok();
    let first = anchors();
    place.ca(&["rotate"]).ok();
    place.ca(&["trust", "--root", &root]).ok();
    assert!(anchors().len() == 2 && anchors().contains(&first[0]));
    place.ca(&["rotate", "--without-overlap"]).ok();
    place.ca(&["trust", "--root", &root]).ok();
    assert!(anchors().len() == 2 && !anchors().contains(&first[0]));
    place.ca(&["untrust", "--root", &root]).ok();
    assert!(anchors().is_empty());
}

#[test]
fn what_trust_cannot_do_is_told() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let (root, _) = host(&place, &DEBIAN, "etc/ssl/certs/ca-certificates.crt");
    let before = tree(Path::new(&root));
    let odd = place.ca(&["trust", "--root", &root, "--unit", "../../escape"]);
    assert!(odd.code == 3 && odd.err.contains("is not the name of a systemd unit"), "{odd:?}");
    assert_eq!(tree(Path::new(&root)), before);
    let unknown = place.path("unknown");
    fs::create_dir(&unknown).unwrap();
    let unknown = place.ca(&["trust", "--root", &unknown.display().to_string()]);
    assert!(unknown.code == 3 && unknown.err.contains("mcp-gateway ca show --pem"), "{unknown:?}");
    let gone = place.ca(&["trust", "--root", "/nowhere"]);
    assert!(gone.code == 3 && gone.err.contains("/nowhere"), "{gone:?}");
}

#[test]
fn a_check_without_any_runtime_is_no_proof_of_trust() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let (root, _) = host(&place, &DEBIAN, "etc/ssl/certs/ca-certificates.crt");
    let check = place.ca(&["trust", "--check", "--root", &root]);
    assert!(check.code == 1 && check.out.contains("no runtime was found"), "{check:?}");
}
