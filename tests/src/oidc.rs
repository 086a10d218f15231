//! A real OpenID Connect provider, `oidc-provider`, on loopback: with real keys, real logins, and outages at a test's will.

use std::{
    collections::BTreeMap,
    io::{BufReader, Write},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    Launch, Proc, binaries,
    http::{Message, request_to},
    needs::{Missing, on_path},
    pki::{Issued, Pki},
    wait::wait_for,
};

/// The public client of a host login: code with PKCE to `http://127.0.0.1:ANY/callback`, device code, refresh.
pub const LOGIN_CLIENT: &str = "mcp-gateway-login";
/// A client with a secret that gets access tokens of its own; and the secret.
pub const AGENT: (&str, &str) = ("agent", "agent-secret");
/// The gateway as a client with a secret: it gets access tokens of its own, and exchanges those of others (RFC 8693); and the secret.
pub const GATEWAY: (&str, &str) = ("gateway", "gateway-secret");
/// A client with a secret that may introspect and revoke every token; and the secret.
pub const INTROSPECTOR: (&str, &str) = ("introspector", "introspector-secret");
/// The audience of the access tokens, unless a test asks for another.
pub const AUDIENCE: &str = "mcp-gateway";
/// What a client asks for as its `resource` (RFC 8707) to get a token with [`AUDIENCE`].
pub const RESOURCE: &str = "urn:mcp-gateway";

/// The provider, running. Its people: `ada` (groups dba, staff), `bob` (staff); `stringy` (groups is one string), `nested`
/// (`realm_access.roles`), `overage` (groups elsewhere, as Entra says it) and `loner` (no groups). Any password is right.
#[derive(Debug)]
pub struct Oidc {
    process: Proc,
    issuer: String,
    control: String,
    trusts: Option<PathBuf>,
}

/// What a device shows to a person (RFC 8628).
#[derive(Debug, Clone)]
pub struct Device {
    /// What the device keeps.
    pub code: String,
    /// What the person types in.
    pub user_code: String,
    /// Where.
    pub verify: String,
    /// Where, with the code in it.
    pub verify_complete: String,
}

/// What the provider lacks here; nothing when it can be started.
#[must_use]
pub fn missing() -> Vec<Missing> {
    let there = on_path("node") && binaries::root().join("tests/node/node_modules/oidc-provider").is_dir();
    let what = "the identity provider oidc-provider, with Node.js 20 or newer".to_owned();
    let how = "apt-get install nodejs npm, and run `cargo xtask demo`, which installs it";
    if there { Vec::new() } else { vec![Missing { what, how }] }
}

impl Oidc {
    /// Starts it over plain HTTP; RS256 signs.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(|launch| launch, None)
    }

    /// As [`Oidc::start`], over TLS, with a certificate for 127.0.0.1 that this authority issues.
    ///
    /// # Errors
    /// As [`Oidc::start`].
    pub fn start_tls(pki: &Pki) -> anyhow::Result<Self> {
        let Issued { certificate, key, .. } = pki.server(&["127.0.0.1"])?;
        Self::start_with(|launch| launch.arg("--cert").arg(certificate).arg("--key").arg(key), Some(pki.ca_file()))
    }

    fn start_with(more: impl FnOnce(Launch) -> Launch, trusts: Option<PathBuf>) -> anyhow::Result<Self> {
        let home = binaries::root().join("tests/node");
        ensure!(home.join("node_modules/oidc-provider").is_dir(), "oidc-provider is not installed: `cargo xtask test` does that");
        let mut process = more(Launch::new("node").arg(home.join("oidc.mjs"))).start()?;
        let said = wait_for("the OpenID Connect provider to come up", Duration::from_secs(30), || {
            ensure!(process.ended()?.is_none(), "the OpenID Connect provider ended: {}", process.stderr());
            Ok(process.stdout().split_once('\n').map(|(line, _)| line.to_owned()))
        })?;
        let said: Value = serde_json::from_str(&said)?;
        let text = |name: &str| said[name].as_str().map(str::to_owned).context("the provider says where it is");
        Ok(Self { process, issuer: text("issuer")?, control: text("control")?, trusts })
    }

    /// Its issuer identifier: no slash at the end.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An access token for this account, of the key that signs now: as a login would give it, without one.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn token(&self, account: &str) -> anyhow::Result<String> {
        self.token_with(&json!({ "account": account }))
    }

    /// As [`Oidc::token`], of one's own making. Beside `account` it takes `audience`, `ttl` (seconds, at least 1), `alg` (RS256, PS256,
    /// ES256, EdDSA), `kid`, `scope`, `client`; `claims` and `header` replace what is in the token, where `null` takes a claim away.
    ///
    /// # Errors
    /// It makes no sense, or the provider does not answer.
    pub fn token_with(&self, wish: &Value) -> anyhow::Result<String> {
        let token = self.command("token", wish)?;
        token["token"].as_str().map(str::to_owned).with_context(|| format!("no token for {wish}: {token}"))
    }

    /// An access token of [`AGENT`]'s own, by client credentials.
    ///
    /// # Errors
    /// The provider refuses, or does not answer.
    pub fn token_of_agent(&self) -> anyhow::Result<String> {
        let answer = self.form("/token", &[("grant_type", "client_credentials")], Some(AGENT))?;
        answer["access_token"].as_str().map(str::to_owned).with_context(|| format!("no token for the agent: {answer}"))
    }

    /// New keys sign from now on; the old ones stay published.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn rotate(&self) -> anyhow::Result<()> {
        self.command("rotate", &json!({})).map(drop)
    }

    /// Only the keys that sign now stay published.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn forget_old_keys(&self) -> anyhow::Result<()> {
        self.command("forget", &json!({})).map(drop)
    }

    /// The id of the key that signs now with this algorithm.
    ///
    /// # Errors
    /// The provider does not answer, or has no such key.
    pub fn kid(&self, alg: &str) -> anyhow::Result<String> {
        let kids = self.command("kids", &json!({}))?;
        kids[alg].as_str().map(str::to_owned).with_context(|| format!("no key signs with {alg}: {kids}"))
    }

    /// The algorithm of ID tokens and access tokens from now on.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn set_alg(&self, alg: &str) -> anyhow::Result<()> {
        self.command("alg", &json!({ "alg": alg })).map(drop)
    }

    /// How long what is issued from now on is good: `AccessToken`, `ClientCredentials`, `IdToken`, `RefreshToken`, `DeviceCode`,
    /// `AuthorizationCode`.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn set_ttl(&self, what: &str, seconds: u64) -> anyhow::Result<()> {
        self.command("ttl", &json!({ what: seconds })).map(drop)
    }

    /// What the provider says of an account from now on; with `null` there is none any more.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn set_account(&self, account: &str, claims: &Value) -> anyhow::Result<()> {
        self.command("account", &json!({ "account": account, "claims": claims })).map(drop)
    }

    /// An access token is good no more: introspection says so.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn revoke(&self, token: &str) -> anyhow::Result<()> {
        self.command("revoke", &json!({ "token": token })).map(drop)
    }

    /// Down: every connection is reset.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn down(&self) -> anyhow::Result<()> {
        self.command("answering", &json!({ "answering": "no" })).map(drop)
    }

    /// Answers every request with this status.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn failing(&self, status: u16) -> anyhow::Result<()> {
        self.command("answering", &json!({ "answering": status })).map(drop)
    }

    /// Up again.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn up(&self) -> anyhow::Result<()> {
        self.command("answering", &json!({ "answering": "yes" })).map(drop)
    }

    /// SIGSTOP: it takes connections and requests, and answers none. Nothing else here works until [`Oidc::thaw`].
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on.
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// How often each path was asked for, but for connections that were reset: `/jwks`, `/.well-known/openid-configuration`, `/token`, …
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn fetches(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(serde_json::from_value(self.command("fetches", &json!({}))?)?)
    }

    /// How often the key set was asked for.
    ///
    /// # Errors
    /// The provider does not answer.
    pub fn key_fetches(&self) -> anyhow::Result<u64> {
        Ok(self.fetches()?.get("/jwks").copied().unwrap_or(0))
    }

    /// Whether introspection says that a token is good.
    ///
    /// # Errors
    /// The provider does not answer, or refuses.
    pub fn active(&self, token: &str) -> anyhow::Result<bool> {
        let answer = self.form("/token/introspection", &[("token", token)], Some(INTROSPECTOR))?;
        answer["active"].as_bool().with_context(|| format!("not an introspection: {answer}"))
    }

    /// Begins a login by device code.
    ///
    /// # Errors
    /// The provider does not answer, or refuses.
    pub fn device(&self, scope: &str) -> anyhow::Result<Device> {
        let answer = self.form("/device/auth", &[("client_id", LOGIN_CLIENT), ("scope", scope)], None)?;
        let text = |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {answer}"));
        Ok(Device {
            code: text("device_code")?,
            user_code: text("user_code")?,
            verify: text("verification_uri")?,
            verify_complete: text("verification_uri_complete")?,
        })
    }

    /// What the provider answers to a GET of this path, as JSON.
    ///
    /// # Errors
    /// It does not answer, or not with JSON.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.curl(path, Launch::new("curl"))
    }

    /// What the provider answers to a form posted to this path, as JSON (`null` for nothing): as this client, if one is given.
    ///
    /// # Errors
    /// It does not answer, or not with JSON.
    pub fn form(&self, path: &str, fields: &[(&str, &str)], client: Option<(&str, &str)>) -> anyhow::Result<Value> {
        let mut curl = Launch::new("curl").args(["--request", "POST"]);
        for (name, value) in fields {
            curl = curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        if let Some((id, secret)) = client {
            curl = curl.args(["--user", &format!("{id}:{secret}")]);
        }
        self.curl(path, curl)
    }

    fn curl(&self, path: &str, mut curl: Launch) -> anyhow::Result<Value> {
        if let Some(ca) = &self.trusts {
            curl = curl.arg("--cacert").arg(ca);
        }
        let curl = curl.args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]).arg(format!("{}{path}", self.issuer));
        let answer = curl.run(Duration::from_secs(40))?.ok()?;
        if answer.stdout.is_empty() { Ok(Value::Null) } else { answer.json() }
    }

    fn command(&self, name: &str, body: &Value) -> anyhow::Result<Value> {
        let address = self.control.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address).context("the provider's control port")?;
        connection.set_read_timeout(Some(Duration::from_secs(30)))?;
        let body = body.to_string();
        let fields = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
        connection.write_all(&request_to(address, "POST", &format!("/{name}"), &fields, body.as_bytes()))?;
        let answer = Message::read(&mut BufReader::new(connection))?.with_context(|| format!("the provider is silent on `{name}`"))?;
        ensure!(answer.status() == 200, "the provider cannot do `{name}` {body}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}
