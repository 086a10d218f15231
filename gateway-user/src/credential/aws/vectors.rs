//! Signatures against AWS's published vectors, which the crate `aws-sigv4` carries in its package.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use serde_json::Value;

use super::{Clock, Signer, keys::Keys, sign::Canon};
use crate::credential::{Applied, Label, Outgoing};

/// Not of AWS's suite, but of the crate's own tests: they say nothing of keys, region and time.
const OTHERS: [&str; 2] = ["double-encode-path", "double-url-encode"];
/// Where the suite encodes the path once, as S3 does, and its own words for other services are to do it twice.
const ONCE: [&str; 3] = ["get-space-normalized", "get-space-unnormalized", "get-utf8"];

fn suite() -> PathBuf {
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let sigv4 = packages.iter().find(|package| package["name"] == "aws-sigv4").unwrap();
    Path::new(sigv4["manifest_path"].as_str().unwrap()).with_file_name("aws-signing-test-suite").join("v4")
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    /// A vector's request, as HTTP has it: with a target in ASCII without spaces, and fields on one line (RFC 9112 sections 3.2 and 5.2).
    fn read(path: &Path) -> Request {
        let text = fs::read_to_string(path).unwrap().replace("\r\n", "\n").replace("\n ", " ");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
        let target: String = rest.strip_suffix(" HTTP/1.1").unwrap().bytes().map(encoded).collect();
        let headers = lines.map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap());
        Request { method: method.into(), target, headers: headers.collect(), body: body.into() }
    }
}

fn encoded(byte: u8) -> String {
    if byte.is_ascii_graphic() { char::from(byte).into() } else { format!("%{byte:02X}") }
}

fn signed(case: &Path, request: &Request) -> Applied {
    let context: Value = serde_json::from_slice(&fs::read(case.join("context.json")).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = &context["credentials"];
    let token = keys["token"].as_str().map(str::to_owned);
    let credentials = Credentials::new(text(&keys["access_key_id"]), text(&keys["secret_access_key"]), token, None, "test");
    let keys = Keys::new(credentials, None, SdkConfig::builder().build());
    let label = Label { server: "test".into(), asked: "test".into() };
    let (service, region) = (context["service"].as_str().unwrap(), context["region"].as_str().unwrap());
    let signer = Signer::new(Arc::new(keys), service.into(), region.into(), Arc::<Clock>::default(), label);
    let is = |name: &str, otherwise| context[name].as_bool().unwrap_or(otherwise);
    let canon = Canon {
        normalize: is("normalize", true),
        encode_twice: !ONCE.iter().any(|name| case.ends_with(name)),
        content_hash: is("sign_body", true),
        token: !is("omit_session_token", false),
    };
    let time: jiff::Timestamp = context["timestamp"].as_str().unwrap().parse().unwrap();
    let authority = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).unwrap().1.trim();
    let headers: Vec<(&str, &[u8])> = request.headers.iter().map(|(name, value)| (&**name, value.as_bytes())).collect();
    let outgoing =
        Outgoing { method: &request.method, target: &request.target, authority, headers: &headers, body: request.body.as_bytes() };
    signer.sign(&outgoing, UNIX_EPOCH + Duration::from_millis(u64::try_from(time.as_millisecond()).unwrap()), canon).unwrap()
}

#[test]
fn each_of_aws_s_vectors_is_signed_as_aws_has_it() {
    let (suite, mut wrong, mut done) = (suite(), Vec::new(), 0);
    for case in fs::read_dir(&suite).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        let applied = signed(&case, &Request::read(&case.join("request.txt")));
        let wanted = Request::read(&case.join("header-signed-request.txt"));
        for (field, value) in &applied.set {
            let wanted = wanted.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| value.trim());
            if wanted != Some(value.expose()) {
                wrong.push(format!("{name}: {field}: {} instead of {wanted:?}", value.expose()));
            }
        }
        done += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(done, 40 - OTHERS.len(), "of {}", suite.display());
}
