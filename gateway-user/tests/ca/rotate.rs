//! A rotation, as clients see it that know the old root, the new one, or both.

use std::fs;

use super::{
    clients::{all, serve},
    place::{OTHER, Place, SERVER},
};

#[test]
fn real_clients_of_either_root_go_on_after_a_rotation() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let old = place.root("old.pem");
    let place = place.governing(&[SERVER, OTHER]);
    let rotated = place.ca(&["rotate"]).ok();
    assert!(rotated.contains("go on until") && rotated.contains(&format!("{OTHER}: only clients that trust the new root")), "{rotated}");
    let new = place.root("new.pem");
    let both = place.write("both.pem", fs::read_to_string(&old).unwrap() + &fs::read_to_string(&new).unwrap());
    let authority = place.authority();

    let leaf = authority.leaf(SERVER).unwrap();
    let (end, chain) = (place.write("leaf.der", &leaf.cert[0]), place.chain("chain.pem", &leaf));
    let port = serve(leaf);
    for roots in [&old, &new, &both] {
        place.openssl(&["verify", "-purpose", "sslserver", "-CAfile", roots, "-untrusted", &chain, &end]).ok();
        for (client, said) in all(SERVER, &port, roots) {
            assert!(said.is_fine(), "{client} with {roots}: {said:?}");
        }
    }
    // The old root may not vouch for the server that came with the rotation, by way of the new one neither.
    let port = serve(authority.leaf(OTHER).unwrap());
    for (roots, is_fine) in [(&old, false), (&new, true), (&both, true)] {
        for (client, said) in all(OTHER, &port, roots) {
            assert_eq!(said.is_fine(), is_fine, "{client} with {roots}: {said:?}");
        }
    }
}

#[test]
fn a_second_rotation_cuts_off_the_first_root_only_when_told_and_says_so() {
    let place = Place::new(&[SERVER]);
    place.ca(&["init"]).ok();
    let first = place.root("first.pem");
    let name = place.authority().roots().next().unwrap().subject.clone();
    place.ca(&["rotate"]).ok();
    let second = place.root("second.pem");
    let refused = place.ca(&["rotate"]);
    assert!(refused.code == 3 && refused.err.contains(&name) && refused.err.contains("--without-overlap"), "{refused:?}");
    assert_eq!(fs::read(place.root("unchanged.pem")).unwrap(), fs::read(&second).unwrap());

    let rotated = place.ca(&["rotate", "--without-overlap"]).ok();
    assert!(rotated.contains(&format!("no longer honoured: `{name}`")), "{rotated}");
    let third = place.root("third.pem");
    let port = serve(place.authority().leaf(SERVER).unwrap());
    for (roots, is_fine) in [(&first, false), (&second, true), (&third, true)] {
        for (client, said) in all(SERVER, &port, roots) {
            assert_eq!(said.is_fine(), is_fine, "{client} with {roots}: {said:?}");
        }
    }
}
