//! Unmodified clients, each with its own TLS: what they print is the same past the gateway, where they trust the server's authority,
//! and through it, where they trust the gateway's.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use gateway_tests::{
    Cgroup, Gateway, Launch, Netns, Record, ServerEntry, binaries,
    clients::{self, Sdk, same, tool_call},
    pki::{Issued, Pki},
    servers::{self, ClinicServer, NginxServer, Transport},
    tls::HOST,
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::Result;

/// nginx with TLS in front of a server, behind the gateway.
struct Site<S> {
    url: String,
    gateway: Gateway,
    cgroup: Cgroup,
    pki: Pki,
    issued: Issued,
    nginx: NginxServer,
    _server: S,
    names: NamedTempFile,
    _netns: Netns,
}

impl<S> Site<S> {
    fn before(start: impl FnOnce(&Netns) -> anyhow::Result<(S, SocketAddr)>) -> anyhow::Result<Self> {
        Self::with("ssl_protocols TLSv1.2 TLSv1.3;", Pki::new()?, |server| server, start)
    }

    /// With settings of nginx's, and of the gateway's for it.
    fn with(
        nginx: &str,
        pki: Pki,
        setting: impl FnOnce(ServerEntry) -> ServerEntry,
        start: impl FnOnce(&Netns) -> anyhow::Result<(S, SocketAddr)>,
    ) -> anyhow::Result<Self> {
        gateway_tests::needs::require()?;
        let (netns, cgroup) = (Netns::new()?, Cgroup::new()?);
        let (server, address) = start(&netns)?;
        let (names, issued) = (netns.names(HOST)?, pki.server(&[HOST])?);
        let nginx = servers::nginx(&netns, &issued, address, nginx)?;
        let url = format!("https://{HOST}/mcp");
        let entry = setting(ServerEntry::new("server", &url).ca_file(&pki.ca_file()));
        let gateway = Gateway::over(&cgroup).server(entry).hosts(names.path()).start()?;
        Ok(Self { url, gateway, cgroup, pki, issued, nginx, _server: server, names, _netns: netns })
    }

    /// Runs a client both ways, and gives the record of its call of `tool` when it went through.
    fn same(&self, client: &Launch, trusting: impl Fn(Launch, &Path) -> Launch, tool: &str) -> Result {
        let client = client.clone().hosts(self.names.path());
        let (past, through) = (trusting(client.clone(), &self.pki.ca_file()), trusting(client, &self.gateway.ca_file()));
        let pid = same(&past, &through, &self.cgroup)?;
        let call = |record: &Record| record.kind() == "request" && record.name() == Some(tool) && record.pid() == Some(pid);
        let request = self.gateway.record(&format!("the call of {tool} by {pid}"), call)?;
        assert_eq!(request.body()["tls"]["version"], "1.3", "{}", request.line);
        assert_eq!(request.body()["tls"]["sni"], HOST, "{}", request.line);
        let answers = |record: &Record| record.kind() == "answer" && record.body()["request"] == json!(request.seq());
        let answer = self.gateway.record("its answer", answers)?;
        assert_eq!(answer.body()["tls"]["version"], "1.3", "{}", answer.line);
        assert_eq!(answer.body()["tls"]["certificate_sha256"], json!(fingerprint(&self.issued.certificate)?), "{}", answer.line);
        assert!(self.nginx.requests()?.iter().any(|line| line.contains("POST")));
        self.gateway.verify()?.ok()?;
        Ok(())
    }
}

/// SHA-256 of a certificate, by openssl's account.
fn fingerprint(certificate: &Path) -> anyhow::Result<String> {
    let asked = Launch::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate);
    let said = asked.run(Duration::from_secs(20))?.ok()?.stdout;
    let (_, colons) = said.trim().split_once('=').with_context(|| format!("no fingerprint: {said}"))?;
    Ok(colons.replace(':', "").to_lowercase())
}

fn start_clinic(netns: &Netns) -> anyhow::Result<(ClinicServer, SocketAddr)> {
    let server = servers::clinic(netns)?;
    let address = server.address;
    Ok((server, address))
}

fn clinic() -> anyhow::Result<Site<ClinicServer>> {
    Site::before(start_clinic)
}

/// Each SDK's runtime has a variable for more authorities.
fn trusting(sdk: Sdk) -> impl Fn(Launch, &Path) -> Launch {
    let variable = match sdk {
        Sdk::PythonV1 | Sdk::PythonV2 => "SSL_CERT_FILE",
        Sdk::TypeScriptV1 | Sdk::TypeScriptV2 => "NODE_EXTRA_CA_CERTS",
    };
    move |client, ca_file| client.env(variable, ca_file)
}

#[test]
fn curl_is_answered_as_without_the_gateway() -> Result {
    let site = clinic()?;
    let call = tool_call(7, "query", &json!({ "sql": "SELECT name, ssn FROM patients WHERE id = 1" }));
    site.same(&clients::curl(&site.url, &call), |client, ca_file| client.arg("--cacert").arg(ca_file), "query")
}

#[test]
fn rmcp_is_answered_as_without_the_gateway() -> Result {
    let site = clinic()?;
    let trusting = |client: Launch, ca_file: &Path| client.env("SSL_CERT_FILE", ca_file);
    for revision in [&[][..], &["--legacy"][..]] {
        let client = Launch::new(binaries::own("rmcp-client")?).args([&site.url, "export", r#"{"at_least_bytes": 200000}"#]);
        site.same(&client.arg("--progress").args(revision), trusting, "export")?;
    }
    Ok(())
}

fn sdk_against_the_clinic(sdk: Sdk) -> Result {
    let site = clinic()?;
    site.same(&sdk.against(&site.url, "clinic")?, trusting(sdk), "query")
}

#[test]
fn the_older_python_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV1)
}

#[test]
fn the_newest_python_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::PythonV2)
}

#[test]
fn the_older_typescript_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV1)
}

#[test]
fn the_newest_typescript_sdk_is_answered_as_without_the_gateway() -> Result {
    sdk_against_the_clinic(Sdk::TypeScriptV2)
}

/// The reference server asks back, notifies, and lets a client resume: streams of events in both directions.
fn sdk_against_everything(sdk: Sdk) -> Result {
    let site = Site::before(|netns| {
        let server = servers::everything(netns, Transport::StreamableHttp)?;
        let address = server.address;
        Ok((server, address))
    })?;
    site.same(&sdk.against(&site.url, "everything")?, trusting(sdk), "echo")
}

#[test]
fn python_talks_to_the_reference_server_as_without_the_gateway() -> Result {
    sdk_against_everything(Sdk::PythonV1)
}

#[test]
fn typescript_talks_to_the_reference_server_as_without_the_gateway() -> Result {
    sdk_against_everything(Sdk::TypeScriptV1)
}

/// nginx of TLS 1.2 only that wants a certificate: as strict as servers are.
#[test]
fn a_strict_server_is_reached_and_its_session_taken_up() -> Result {
    let (pki, clients) = (Pki::new()?, Pki::new()?);
    let ours = clients.client("gateway.test")?;
    let settings = format!(
        "ssl_protocols TLSv1.2; ssl_session_cache builtin; ssl_verify_client on; ssl_client_certificate {};",
        clients.ca_file().display()
    );
    let site = Site::with(&settings, pki, |server| server.client_certificate(&ours.certificate, &ours.key), start_clinic)?;
    let resumed = |id: u64| -> anyhow::Result<Value> {
        let call = tool_call(id, "query", &json!({ "sql": "SELECT 1 AS one" }));
        let curl = clients::curl(&site.url, &call).arg("--cacert").arg(site.gateway.ca_file());
        let done = curl.hosts(site.names.path()).under(&site.cgroup).run(Duration::from_secs(60))?.ok()?;
        assert!(done.stdout.contains("one"), "{}", done.stdout);
        let is_its = |record: &Record| record.kind() == "answer" && record.body()["call"]["id"] == json!(id);
        let tls = site.gateway.record("the answer", is_its)?.body()["tls"].clone();
        assert_eq!(tls["version"], "1.2", "{tls}");
        Ok(tls["resumed"].clone())
    };
    assert_eq!((resumed(1)?, resumed(2)?), (json!(false), json!(true)));
    Ok(())
}
