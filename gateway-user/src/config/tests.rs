#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use super::*;

const SERVER: &str = "[[server]]\nname = \"a\"\nurl = \"http://127.0.0.1:8000/mcp\"\n";

fn faults(text: &str) -> String {
    parse("g.toml", text).unwrap_err().to_string()
}

#[test]
fn one_server_is_enough() {
    let config = parse("g.toml", SERVER).unwrap();
    assert_eq!(config.servers[0].other, Other::Deny);
    assert!(matches!(config.servers[0].durability, Durability::Sync));
    assert_eq!(config.workers.busy_poll, None);
    assert_eq!(config.limits.head, 65_536);
    assert_eq!(config.limits.inspected_body, 16 << 20);
    assert!(config.kinesis.is_none());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_a_suggestion() {
    assert_eq!(faults(&format!("{SERVER}durabilty = \"os\"\n")), "g.toml:4: server.durabilty: unknown key; did you mean `durability`?");
    assert_eq!(faults(&format!("[audti]\ndir = \"x\"\n{SERVER}")), "g.toml:1: audti: unknown key; did you mean `audit`?");
}

#[test]
fn nothing_turns_the_verification_of_servers_off() {
    let https = "[[server]]\nname = \"a\"\nurl = \"https://x/mcp\"\n";
    for key in ["insecure", "verify", "tls_verify", "skip_verify", "verify_hostname", "accept_invalid_certs", "danger", "ssl_verify"] {
        for value in ["true", "false"] {
            let told = faults(&format!("{https}{key} = {value}\n"));
            assert!(told.starts_with(&format!("g.toml:4: server.{key}: unknown key")), "{told}");
        }
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let told = faults("[capture]\nheartbeat = \"2\"\nport = 70000\n[[server]]\nname = \"a\"\nurl = \"ftp://x\"\nother = \"maybe\"\n");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(lines[0].starts_with("g.toml:2: capture.heartbeat: expected a time"), "{told}");
    assert!(lines[1].starts_with("g.toml:3: capture.port: expected a number from 0 to 65535"), "{told}");
    assert!(lines[2].starts_with("g.toml:6: server.url: expected http://"), "{told}");
    assert!(lines[3].starts_with("g.toml:7: server.other: expected \"deny\" or \"pass\""), "{told}");
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(faults(""), "g.toml:1: server: no server is governed: add a [[server]] with `name` and `url`");
    assert_eq!(faults("[[server]]\nname = \"a\"\n"), "g.toml:1: server.url: is missing");
    assert!(faults(&format!("{SERVER}[kinesis]\nregion = \"x\"\n")).contains("kinesis.stream: is missing"));
}

#[test]
fn what_only_https_servers_have_is_refused_elsewhere_and_half_a_certificate_is_none() {
    let https = "[[server]]\nname = \"a\"\nurl = \"https://x/mcp\"\n";
    let config = parse("g.toml", &format!("{https}ca_file = \"c\"\nclient_certificate = \"p\"\nclient_key = \"k\"\n")).unwrap();
    assert_eq!((config.servers[0].url.port, config.servers[0].tls.ca_file.as_deref()), (443, Some("c".as_ref())));
    assert!(config.servers[0].tls.client.is_some());
    assert!(faults(&format!("{https}client_key = \"k\"\n")).starts_with("g.toml:4: server.client_certificate: is missing"));
    assert!(faults(&format!("{SERVER}ca_file = \"c\"\n")).starts_with("g.toml:4: server.ca_file: is for an https:// server"));
}

#[test]
fn the_admin_port_stays_on_loopback() {
    assert!(faults(&format!("{SERVER}[admin]\nlisten = \"0.0.0.0:1\"\n")).contains("loopback"));
}

#[test]
fn values_that_cannot_work_together_are_named() {
    let told = faults(&format!("{SERVER}[audit]\nmax_body = \"16MiB\"\nsegment = \"64MiB\"\n"));
    assert_eq!(
        told,
        "g.toml:6: audit.segment: expected at least 131072 KiB: a segment must hold a record with eight times `audit.max_body`"
    );
    assert!(faults(&format!("{SERVER}[workers]\nbusy_poll = \"2ms\"\n")).contains("workers.busy_poll: expected a time up to \"1ms\""));
    assert!(faults(&format!("{SERVER}[capture]\nheartbeat = \"20ms\"\n")).contains("capture.heartbeat: expected 100ms or more"));
    let twice = format!("{SERVER}{}", SERVER.replace("\"a\"", "\"b\""));
    assert_eq!(faults(&twice), "g.toml:6: server.url: `a` has this URL already: one server has one table");
    let neighbours = format!("{SERVER}{}", SERVER.replace("\"a\"", "\"b\"").replace("/mcp", "/other"));
    assert_eq!(parse("g.toml", &neighbours).unwrap().servers.len(), 2);
}

#[test]
fn addresses_of_both_families_and_defaults_of_urls() {
    let url = |url: &str| parse("g.toml", &format!("[[server]]\nname = \"a\"\nurl = \"{url}\"\n")).map(|c| c.servers[0].url.clone());
    assert_eq!(url("http://[::1]:81/x?y").unwrap(), ServerUrl { tls: false, host: "::1".into(), port: 81, path: "/x?y".into() });
    assert_eq!(url("http://h").unwrap(), ServerUrl { tls: false, host: "h".into(), port: 80, path: "/".into() });
    assert!(url("http://u:p@h/").unwrap_err().to_string().contains("credentials"));
}

#[test]
fn capture_is_on_unless_there_is_only_an_endpoint() {
    assert!(parse("g.toml", SERVER).unwrap().captured().is_ok());
    let config = parse("g.toml", &format!("[endpoint]\n{SERVER}")).unwrap();
    assert!(config.captured().unwrap_err().to_string().contains("Add [capture]"));
    let endpoint = config.endpoint.unwrap();
    assert_eq!((endpoint.listen.to_string().as_str(), endpoint.scheme()), ("127.0.0.1:8080", "http"));
    let both = parse("g.toml", &format!("[capture]\n[endpoint]\n{SERVER}")).unwrap();
    assert!(both.captured().is_ok() && both.endpoint.is_some());
}

#[test]
fn an_endpoint_for_other_hosts_has_a_certificate_or_says_that_it_needs_none() {
    let listen = "[endpoint]\nlisten = \"0.0.0.0:8080\"\n";
    assert!(faults(&format!("{listen}{SERVER}")).starts_with("g.toml:2: endpoint.listen: callers on other hosts would send"));
    assert!(parse("g.toml", &format!("{listen}plain = true\n{SERVER}")).is_ok());
    assert!(parse("g.toml", &format!("{listen}certificate = \"c\"\nkey = \"k\"\n{SERVER}")).is_ok());
    assert_eq!(
        faults(&format!("{listen}certificate = \"c\"\n{SERVER}")),
        "g.toml:3: endpoint.key: is missing: `certificate` is of no use without it"
    );
    assert!(faults(&format!("{listen}plain = true\ncertificate = \"c\"\nkey = \"k\"\n{SERVER}")).contains("endpoint.plain"));
    assert!(faults(&format!("[endpoint]\nplain = \"yes\"\n{SERVER}")).contains("endpoint.plain: expected true or false"));
}

#[test]
fn hosts_origins_and_names_of_an_endpoint_are_read_as_they_come_in_requests() {
    let lists =
        "[endpoint]\nhosts = [\"Gateway.Example\", \"[FD00::1]\"]\norigins = [\"https://A.example:443\", \"http://localhost:6274\"]\n";
    let endpoint = parse("g.toml", &format!("{lists}{SERVER}")).unwrap().endpoint.unwrap();
    assert_eq!(endpoint.hosts, ["gateway.example", "fd00::1"]);
    assert_eq!(endpoint.origins, ["https://a.example", "http://localhost:6274"]);
    let told = faults(&format!(
        "[endpoint]\nhosts = [\"a:80\", 7]\norigins = [\"https://a/x\", \"null\"]\n{}",
        SERVER.replace("\"a\"", "\"a b\"")
    ));
    assert_eq!(
        told.lines().map(|line| line.split(": ").nth(1).unwrap()).collect::<Vec<_>>(),
        ["endpoint.hosts", "endpoint.hosts", "endpoint.origins", "endpoint.origins", "server.name"]
    );
}

#[test]
fn syntax_errors_have_a_line() {
    assert!(faults("[[server]]\nname = \n").starts_with("g.toml:2: (syntax):"));
}

#[test]
fn the_file_in_the_repository_works_as_it_is() {
    parse("gateway.toml", include_str!("../../../gateway.toml")).unwrap();
}

const OIDC: &str = "[[identity.oidc]]\nissuer = \"https://login.example\"\naudience = \"mcp-gateway\"\n";

#[test]
fn where_somebody_can_be_told_from_nobody_nobody_is_denied() {
    let alone = parse("g.toml", SERVER).unwrap();
    assert_eq!((alone.servers[0].anonymous, alone.servers[0].authorization), (Anonymous::Record, Authorization::Server));
    let with_issuer = parse("g.toml", &format!("{OIDC}{SERVER}")).unwrap();
    assert_eq!((with_issuer.servers[0].anonymous, with_issuer.servers[0].authorization), (Anonymous::Deny, Authorization::Gateway));
    let workload = "[[identity.workload]]\nname = \"w\"\nuid = 7\n";
    let with_workload = parse("g.toml", &format!("{workload}{SERVER}")).unwrap();
    assert_eq!((with_workload.servers[0].anonymous, with_workload.servers[0].authorization), (Anonymous::Deny, Authorization::Server));
    let chosen = parse("g.toml", &format!("{OIDC}{SERVER}anonymous = \"record\"\nauthorization = \"server\"\n")).unwrap();
    assert_eq!((chosen.servers[0].anonymous, chosen.servers[0].authorization), (Anonymous::Record, Authorization::Server));
}

#[test]
fn an_issuer_has_defaults_that_pin_what_it_may_do() {
    let config = parse("g.toml", &format!("{OIDC}client_id = \"login\"\n{SERVER}")).unwrap();
    let issuer = &config.identity.oidc[0];
    assert_eq!(issuer.name, "login.example");
    assert_eq!(issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(), ["RS256", "ES256"]);
    assert_eq!((issuer.skew, issuer.keys_max_age), (Duration::from_secs(60), Duration::from_secs(86_400)));
    assert_eq!(issuer.login.as_ref().unwrap().scopes, ["profile", "offline_access"]);
    assert_eq!(config.identity.login_lifetime, Duration::from_secs(12 * 3600));
    let more = "name = \"corp\"\n[identity.oidc.introspection]\nclient_id = \"i\"\nclient_secret_file = \"s\"\n";
    let issuer = parse("g.toml", &format!("{OIDC}{more}{SERVER}")).unwrap().identity.oidc[0].clone();
    assert_eq!((issuer.name.as_str(), issuer.introspection.unwrap().ttl), ("corp", Duration::from_secs(30)));
}

#[test]
fn what_would_weaken_an_identity_is_refused() {
    for (text, told) in [
        ("[[identity.oidc]]\nissuer = \"https://login.example\"\n", "identity.oidc.audience: is missing"),
        ("[[identity.oidc]]\nissuer = \"http://login.example\"\naudience = \"a\"\n", "identity.oidc.issuer: expected an https:// URL"),
        (&format!("{OIDC}algorithms = [\"HS256\"]\n"), "identity.oidc.algorithms: expected one of RS256"),
        (&format!("{OIDC}algorithms = [\"none\"]\n"), "identity.oidc.algorithms: expected one of RS256"),
        (&format!("{OIDC}skew = \"6m\"\n"), "identity.oidc.skew: expected 5m at most"),
        (&format!("{OIDC}{OIDC}"), "identity.oidc.name: `login.example` is the name of another already"),
        ("[[identity.workload]]\nname = \"w\"\n", "says of no process that it is this workload"),
        ("[[identity.workload]]\nname = \"w\"\nexe = \"/bin/w\"\n", "identity.workload.sha256: is missing beside `exe`"),
        ("[[identity.workload]]\nname = \"w\"\ninstance_role = \"r\"\n", "says of no process that it is this workload"),
        ("[[identity.workload]]\nname = \"w\"\ncontainer = \"abc\"\n", "identity.workload.container: expected a container's id"),
        ("[[identity.saml]]\nname = \"s\"\nmetadata = \"m\"\n", "identity.saml: SAML takes a browser"),
        ("[console]\nlisten = \"0.0.0.0:9443\"\n", "console.listen: people on other hosts would log in in the clear"),
        ("[console]\nurl = \"https://g.example/x\"\n", "console.url: expected scheme, host and port"),
    ] {
        let faults = faults(&format!("{text}{SERVER}"));
        assert!(faults.contains(told), "{text}: {faults}");
    }
    let faults = faults(&format!("{SERVER}allow_groups = [\"dba\"]\n"));
    assert!(faults.contains("server.allow_groups: nobody is in a group"), "{faults}");
}
