#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::Path;

use super::*;

const SERVER: &str = "[[server]]\nname = \"a\"\nurl = \"https://x/mcp\"\n";
const OIDC: &str = "[[identity.oidc]]\nissuer = \"https://idp.example\"\naudience = \"gateway\"\n";

fn text(credential: &str) -> String {
    format!("{SERVER}credential = {credential}\n")
}

fn read(credential: &str) -> CredentialConfig {
    parse("g.toml", &text(credential)).unwrap().servers.remove(0).credential
}

fn faults(credential: &str) -> String {
    parse("g.toml", &text(credential)).unwrap_err().to_string()
}

#[test]
fn without_the_key_the_callers_own_goes_on() {
    assert!(matches!(parse("g.toml", SERVER).unwrap().servers[0].credential, CredentialConfig::Callers));
    assert!(matches!(read(r#"{ kind = "none" }"#), CredentialConfig::None));
}

#[test]
fn a_static_one_has_a_place_and_a_source() {
    let CredentialConfig::Static(config) = read(r#"{ kind = "static", header = "Authorization", prefix = "Bearer ", file = "/k" }"#) else {
        panic_with("static")
    };
    assert_eq!(config.place, Place::Header { name: "Authorization".into(), prefix: "Bearer ".into() });
    assert_eq!(config.value, SecretSource::File("/k".into()));
    let sources = [
        (r#"env = "KEY""#, SecretSource::Environment("KEY".into())),
        (
            r#"secretsmanager = "s", json_key = "j", region = "eu-central-1""#,
            SecretSource::SecretsManager {
                id: "s".into(),
                json_key: Some("j".into()),
                region: Some("eu-central-1".into()),
                refresh: Duration::from_secs(300),
            },
        ),
        (
            r#"parameter = "/p", refresh = "20s""#,
            SecretSource::Parameter { name: "/p".into(), region: None, refresh: Duration::from_secs(20) },
        ),
    ];
    for (written, expected) in sources {
        let CredentialConfig::Static(config) = read(&format!(r#"{{ kind = "static", query = "api_key", {written} }}"#)) else {
            panic_with("static")
        };
        assert_eq!((config.place, config.value), (Place::Query { name: "api_key".into() }, expected));
    }
}

#[test]
fn every_fault_of_a_static_one_is_named_with_its_key() {
    let cases = [
        (
            r#"{ kind = "statik" }"#,
            "server.credential.kind: expected \"none\", \"static\", \"oauth\", \"sigv4\" or \"mtls\", got \"statik\"",
        ),
        (r#"{ header = "X", file = "/k" }"#, "server.credential.kind: is missing"),
        (r#"{ kind = "none", file = "/k" }"#, "server.credential.file: unknown key"),
        (r#"{ kind = "static", file = "/k" }"#, "server.credential.header: is missing"),
        (r#"{ kind = "static", header = "X" }"#, "server.credential.file: is missing"),
        (r#"{ kind = "static", header = "X", file = "/k", env = "E" }"#, "server.credential.env: a secret has one source"),
        (r#"{ kind = "static", header = "X", query = "q", file = "/k" }"#, "server.credential.query: one credential stands in one place"),
        (r#"{ kind = "static", query = "q", prefix = "B ", file = "/k" }"#, "server.credential.prefix: is for a `header`"),
        (
            r#"{ kind = "static", header = "X", file = "/k", region = "r" }"#,
            "server.credential.region: belongs to `secretsmanager` or `parameter`",
        ),
        (
            r#"{ kind = "static", header = "X", file = "/k", refresh = "1m" }"#,
            "server.credential.refresh: belongs to `secretsmanager` or `parameter`",
        ),
        (
            r#"{ kind = "static", header = "X", parameter = "/p", refresh = "2h" }"#,
            "server.credential.refresh: expected a time from \"1s\" to \"1h\"",
        ),
        (
            r#"{ kind = "static", header = "X", parameter = "/p", json_key = "r" }"#,
            "server.credential.json_key: belongs to `secretsmanager`",
        ),
        (r#"{ kind = "static", header = "X Y", file = "/k" }"#, "server.credential.header: expected the name of a header field"),
        (r#"{ kind = "static", header = "Content-Length", file = "/k" }"#, "server.credential.header: expected the name of a header field"),
        (r#"{ kind = "static", header = "Mcp-Session-Id", file = "/k" }"#, "server.credential.header: expected the name of a header field"),
        (r#"{ kind = "static", header = "X", prefix = "a\nb", file = "/k" }"#, "server.credential.prefix: expected visible ASCII"),
        (r#"{ kind = "static", header = "X", env = "A=B" }"#, "server.credential.env: expected the name of an environment variable"),
        (r#""secret""#, "server.credential: expected a table"),
    ];
    for (written, expected) in cases {
        let told = faults(written);
        assert!(told.lines().any(|line| line.starts_with(&format!("g.toml:4: {expected}"))), "{written}: {told}");
    }
}

#[test]
fn an_authorization_server_is_asked_as_a_client_and_over_tls() {
    let CredentialConfig::OAuth(config) = read(
        r#"{ kind = "oauth", token_url = "https://as.example/token", client_id = "gw", client_secret = { file = "/s" }, scopes = ["a", "b"], resource = "https://x/mcp", audience = "x", auth = "post", ca_file = "/ca" }"#,
    ) else {
        panic_with("oauth")
    };
    assert_eq!((config.grant, config.auth), (Grant::ClientCredentials, ClientAuth::Post));
    assert_eq!((config.scopes, config.ca_file.as_deref()), (vec!["a".to_owned(), "b".to_owned()], Some(Path::new("/ca"))));
    assert!(matches!(
        read(r#"{ kind = "oauth", token_url = "http://127.0.0.1:1/t", client_id = "gw", client_secret = { env = "S" } }"#),
        CredentialConfig::OAuth(_)
    ));
    let with = |rest: &str| format!(r#"{{ kind = "oauth", client_id = "gw", {rest} }}"#);
    let cases = [
        (r#"token_url = "http://as.example/t", client_secret = { file = "/s" }"#, "token_url: expected an https:// URL"),
        (r#"token_url = "https://user:pw@as.example/t", client_secret = { file = "/s" }"#, "token_url: a URL with a user or password"),
        (r#"client_secret = { file = "/s" }"#, "token_url: is missing"),
        (r#"token_url = "https://as/t""#, "client_secret: is missing"),
        (r#"token_url = "https://as/t", client_secret = "s3cret""#, "client_secret: expected a table"),
        (r#"token_url = "https://as/t", client_secret = { file = "/s", env = "E" }"#, "client_secret.env: a secret has one source"),
        (r#"token_url = "https://as/t", client_secret = { flie = "/s" }"#, "client_secret.flie: unknown key"),
        (r#"token_url = "https://as/t", client_secret = { file = "/s" }, grant = "password""#, "grant: expected"),
        (r#"token_url = "https://as/t", client_secret = { file = "/s" }, scopes = ["a b"]"#, "scopes: expected a scope"),
        (r#"token_url = "https://as/t", client_secret = { file = "/s" }, resource = "x""#, "resource: expected an absolute URI"),
        (r#"token_url = "http://[::1]:1/t", client_secret = { file = "/s" }, ca_file = "/c""#, "ca_file: is for an https:// `token_url`"),
    ];
    for (written, expected) in cases {
        let told = faults(&with(written));
        assert!(told.lines().any(|line| line.starts_with(&format!("g.toml:4: server.credential.{expected}"))), "{written}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn tokens_are_exchanged_only_where_callers_have_some_for_the_gateway() {
    let exchange =
        r#"{ kind = "oauth", token_url = "https://as/t", client_id = "gw", client_secret = { file = "/s" }, grant = "token-exchange" }"#;
    assert!(faults(exchange).starts_with("g.toml:4: server.credential.grant: "), "{}", faults(exchange));
    let config = parse("g.toml", &format!("{OIDC}{}", text(exchange))).unwrap();
    assert!(matches!(&config.servers[0].credential, CredentialConfig::OAuth(config) if config.grant == Grant::TokenExchange));
}

#[test]
fn what_aws_needs_is_read_and_checked() {
    let CredentialConfig::SigV4(config) = read(
        r#"{ kind = "sigv4", service = "execute-api", region = "eu-central-1", profile = "p", assume_role = "arn:aws:iam::123456789012:role/mcp", external_id = "e", session_tags = ["person", "groups", "session"], duration = "30m" }"#,
    ) else {
        panic_with("sigv4")
    };
    let role = config.assume_role.unwrap();
    assert_eq!(role.duration, Duration::from_secs(1800));
    assert_eq!(role.session_tags, [SessionTag::Person, SessionTag::Groups, SessionTag::Session]);
    let cases = [
        (r#"{ kind = "sigv4" }"#, "service: is missing"),
        (r#"{ kind = "sigv4", service = "s", assume_role = "mcp" }"#, "assume_role: expected a role"),
        (r#"{ kind = "sigv4", service = "s", external_id = "e" }"#, "external_id: is of no use without `assume_role`"),
        (r#"{ kind = "sigv4", service = "s", assume_role = "arn:aws:iam::1:role/m", duration = "1m" }"#, "duration: expected a time from"),
        (
            r#"{ kind = "sigv4", service = "s", assume_role = "arn:aws:iam::1:role/m", session_tags = ["x"] }"#,
            "session_tags: expected \"person\"",
        ),
    ];
    for (written, expected) in cases {
        let told = faults(written);
        assert!(told.lines().any(|line| line.starts_with(&format!("g.toml:4: server.credential.{expected}"))), "{written}: {told}");
    }
}

#[test]
fn a_certificate_stands_in_one_place_and_needs_tls() {
    let mtls = r#"{ kind = "mtls", certificate = "/c", key = "/k" }"#;
    let server = parse("g.toml", &text(mtls)).unwrap().servers.remove(0);
    assert!(matches!(server.credential, CredentialConfig::Mtls));
    assert_eq!(server.tls.client, Some(CertificateFiles { certificate: "/c".into(), key: "/k".into() }));
    let both = format!("{}client_certificate = \"/c\"\nclient_key = \"/k\"\n", text(mtls));
    assert!(parse("g.toml", &both).unwrap_err().to_string().contains("server.credential.certificate: the server has `client_certificate`"));
    assert!(faults(r#"{ kind = "mtls" }"#).contains("server.credential.certificate: is missing"));
    assert!(faults(r#"{ kind = "mtls", certificate = "/c" }"#).contains("server.credential.key: is missing"));
    let plain = text(mtls).replace("https", "http");
    assert!(parse("g.toml", &plain).unwrap_err().to_string().contains("server.credential.kind: is for an https:// server"));
    let beside = format!("{}client_certificate = \"/c\"\nclient_key = \"/k\"\n", text(r#"{ kind = "static", header = "X", file = "/f" }"#));
    assert!(parse("g.toml", &beside).unwrap().servers[0].tls.client.is_some());
}

#[expect(clippy::panic, reason = "a test that cannot go on says where")]
fn panic_with(expected: &str) -> ! {
    panic!("expected {expected}")
}
