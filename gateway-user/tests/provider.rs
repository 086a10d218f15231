//! One library does all cryptography of TLS, whoever asks for TLS: what is fixed or audited once is so everywhere.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{collections::BTreeSet, process::Command};

/// The packages that the program is made of, with their versions.
fn packages() -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = ["tree", "--locked", "--offline", "--package", "gateway-user", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(cargo).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect()
}

#[test]
fn there_is_one_provider_of_cryptography_for_tls() {
    let packages = packages();
    let of = |name: &str| packages.iter().filter(|package| package.split(' ').next() == Some(name)).collect::<Vec<_>>();
    for one in ["rustls", "rustls-webpki", "aws-lc-rs", "aws-lc-sys"] {
        assert_eq!(of(one).len(), 1, "{one}: {:?}", of(one));
    }
    for other in
        ["ring", "openssl", "openssl-sys", "native-tls", "boring", "boring-sys", "s2n-tls", "mbedtls", "rustls-rustcrypto", "graviola"]
    {
        assert!(of(other).is_empty(), "{:?}: `cargo tree --package gateway-user --invert {other}` says through whom", of(other));
    }
}
