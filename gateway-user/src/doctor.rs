//! `mcp-gateway doctor`: what is wrong with how callers are identified, told before a caller finds out.

use std::{
    io::Read as _,
    path::Path,
    process::ExitCode,
    time::{Instant, SystemTime},
};

use anyhow::Context;
use gateway_user::{
    audit::Digest,
    config::{Anonymous, Authorization, Config, ServerConfig, WorkloadConfig},
    console,
    identity::{Algorithm, Issuer, Known, TokenError, Unverified, now, saml::Idp, secret},
    outbound::Outbound,
};
use openidconnect::http;
use serde::Serialize;

use crate::say;

pub(crate) const EXAMPLES: &str = "\
Examples:
  mcp-gateway doctor                       Is all there that identifies callers?
  mcp-gateway doctor --token < token.txt   And what would become of this token?

Nothing is changed, and no call is made but to the identity providers of the configuration.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Fine,
    Look,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    about: String,
    message: String,
}

#[derive(Default, Serialize)]
struct Report {
    findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<serde_json::Value>,
}

impl Report {
    fn add(&mut self, verdict: Verdict, about: &str, message: impl Into<String>) {
        self.findings.push(Finding { verdict, about: about.to_owned(), message: message.into() });
    }

    fn is_wrong(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict == Verdict::Wrong)
    }
}

/// Looks at everything, and tells.
///
/// # Errors
/// The token cannot be read from standard input, or nothing can be printed.
pub(crate) fn run(config: &Config, token: bool, json: bool) -> anyhow::Result<ExitCode> {
    let token = token.then(read_token).transpose()?;
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut issuers = Vec::new();
    for settings in &config.identity.oidc {
        match Issuer::new(settings, &Outbound::default()) {
            Ok(issuer) => {
                runtime.block_on(examine(&issuer, &mut report));
                issuers.push(issuer);
            }
            Err(error) => report.add(Verdict::Wrong, &settings.name, error.to_string()),
        }
    }
    if let Some(console) = &config.console {
        for provider in &config.identity.saml {
            match console::load_one(console, provider) {
                Ok(loaded) => examine_saml(&provider.name, loaded.idp(), &mut report),
                Err(error) => report.add(Verdict::Wrong, &provider.name, error.to_string()),
            }
        }
    }
    config.identity.workloads.iter().for_each(|workload| examine_workload(workload, &mut report));
    config.servers.iter().for_each(|server| examine_server(server, config, &mut report));
    if let Some(token) = &token {
        examine_token(token, &issuers, config, &mut report);
    }
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report)?;
    }
    Ok(if report.is_wrong() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// From standard input: on a command line, other users of the host would see it.
fn read_token() -> anyhow::Result<zeroize::Zeroizing<String>> {
    let mut token = zeroize::Zeroizing::new(String::new());
    std::io::stdin().take(64 << 10).read_to_string(&mut token).context("the token cannot be read from standard input")?;
    let trimmed = token.trim();
    Ok(zeroize::Zeroizing::new(trimmed.strip_prefix("Bearer ").unwrap_or(trimmed).to_owned()))
}

fn print(report: &Report) -> anyhow::Result<()> {
    let width = report.findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    let mut page = String::new();
    for finding in &report.findings {
        let mark = match finding.verdict {
            Verdict::Fine => "ok   ",
            Verdict::Look => "look ",
            Verdict::Wrong => "WRONG",
        };
        page.push_str(&format!("{mark}  {:width$}  {}\n", finding.about, finding.message));
    }
    if let Some(token) = &report.token {
        page.push_str(&format!("\nThe token, without its signature:\n{}\n", serde_json::to_string_pretty(token)?));
    }
    say(&page)?;
    Ok(())
}

async fn examine(issuer: &Issuer, report: &mut Report) {
    let idp = &issuer.config.name;
    clock(issuer, report).await;
    if let Err(error) = issuer.ask(Instant::now()).await {
        return report.add(Verdict::Wrong, idp, format!("discovery failed: {error}"));
    }
    let known = match issuer.known() {
        Ok(known) => known,
        Err(error) => return report.add(Verdict::Wrong, idp, error.to_string()),
    };
    report.add(Verdict::Fine, idp, format!("discovery: {} says what it is", issuer.config.issuer));
    keys(issuer, &known, report);
    endpoints(issuer, &known, report);
    if issuer.config.login.as_ref().is_some_and(|login| issuer.config.audience.contains(&login.client_id)) {
        let message = "the audience is also the client that people log in with: an ID token of that client can hardly be told from an access \
                       token. Give the gateway an audience of its own";
        report.add(Verdict::Look, idp, message);
    }
}

/// How far this host's clock and the issuer's are apart, by the Date of its answer.
async fn clock(issuer: &Issuer, report: &mut Report) {
    let idp = &issuer.config.name;
    let url = format!("{}/.well-known/openid-configuration", issuer.config.issuer.trim_end_matches('/'));
    let Ok(request) = http::Request::get(&url).body(Vec::new()) else { return };
    // That it cannot be fetched at all is told by discovery.
    let Ok(answer) = issuer.http.fetch(request).await else { return };
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(theirs) = date else { return report.add(Verdict::Look, idp, "clock: its answer has no Date to compare with") };
    let ours = jiff::Timestamp::try_from(SystemTime::now()).map_or(0, jiff::Timestamp::as_second);
    let apart = ours - theirs.timestamp().as_second();
    let skew = i64::try_from(issuer.config.skew.as_secs()).unwrap_or(i64::MAX);
    let (verdict, way) = (if apart.abs() > skew { Verdict::Wrong } else { Verdict::Fine }, if apart < 0 { "behind" } else { "ahead" });
    let what_next = if apart.abs() > skew {
        format!("; more than `skew` ({skew} s) makes tokens be refused: set this host's clock (NTP)")
    } else {
        String::new()
    };
    report.add(verdict, idp, format!("clock: this host's is {} s {way}{what_next}", apart.abs()));
}

fn keys(issuer: &Issuer, known: &Known, report: &mut Report) {
    let idp = &issuer.config.name;
    let kids = known.keys.kids();
    let missing: Vec<&str> =
        issuer.config.algorithms.iter().filter(|algorithm| !known.keys.has(None, **algorithm)).map(|algorithm| algorithm.name()).collect();
    let listed = format!("{} key(s) for signatures: {}", kids.len(), kids.join(", "));
    match (kids.is_empty(), missing.len() == issuer.config.algorithms.len()) {
        (true, _) => report.add(Verdict::Wrong, idp, "key set: it holds no key that could have signed a token"),
        (false, true) => {
            let message =
                format!("key set: {listed}; none is for {}: set `algorithms` to what the issuer signs with", missing.join(" or "));
            report.add(Verdict::Wrong, idp, message);
        }
        (false, false) => report.add(Verdict::Fine, idp, format!("key set: {listed}")),
    }
}

fn endpoints(issuer: &Issuer, known: &Known, report: &mut Report) {
    let idp = &issuer.config.name;
    let more = known.metadata.additional_metadata();
    let readable = |report: &mut Report, path: &Path| {
        if let Err(error) = secret(path) {
            report.add(Verdict::Wrong, idp, format!("client secret: {error}"));
        }
    };
    match &issuer.config.login {
        None => report.add(Verdict::Look, idp, "login: nobody can log in on this host: set `client_id` to let people"),
        Some(login) => {
            let device = if more.device_authorization_endpoint.is_some() { "with a device code, and " } else { "" };
            report.add(Verdict::Fine, idp, format!("login: {device}with a browser on this host, as the client `{}`", login.client_id));
            login.client_secret_file.iter().for_each(|path| readable(report, path));
        }
    }
    if let Some(introspection) = &issuer.config.introspection {
        match &more.introspection_endpoint {
            Some(url) => report.add(Verdict::Fine, idp, format!("introspection: at {url}, as the client `{}`", introspection.client_id)),
            None => report.add(
                Verdict::Wrong,
                idp,
                "introspection: the discovery document has no `introspection_endpoint`: every token would be denied",
            ),
        }
        readable(report, &introspection.client_secret_file);
    }
}

/// What the metadata of a SAML identity provider holds, and for how long.
fn examine_saml(name: &str, idp: &Idp, report: &mut Report) {
    const SOON: i64 = 30 * 86_400;
    let at = i64::try_from(now()).unwrap_or(i64::MAX);
    let day = |seconds: i64| jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".into(), |at| at.strftime("%F").to_string());
    let bindings: Vec<String> = idp.endpoints.iter().map(|endpoint| format!("{:?}", endpoint.binding)).collect();
    report.add(Verdict::Fine, name, format!("metadata: {} takes logins by {}", idp.entity_id, bindings.join(", ")));
    if let Some(until) = idp.valid_until.and_then(|until| i64::try_from(until).ok()) {
        let verdict = if until <= at {
            Verdict::Wrong
        } else if until - at < SOON {
            Verdict::Look
        } else {
            Verdict::Fine
        };
        let what_next =
            if verdict == Verdict::Fine { "" } else { ": get it anew from the provider; nobody can log in with it after that day" };
        report.add(verdict, name, format!("metadata: it may be used until {}{what_next}", day(until)));
    }
    for certificate in &idp.certificates {
        let (verdict, what) = match certificate {
            certificate if !certificate.usable => {
                (Verdict::Look, "assertions cannot be signed with it here: RSA of 2048 bits or more is taken".into())
            }
            certificate if certificate.not_after <= at => (Verdict::Look, format!("it ended on {}", day(certificate.not_after))),
            certificate if certificate.not_after - at < SOON => (Verdict::Look, format!("it ends on {}", day(certificate.not_after))),
            certificate => (Verdict::Fine, format!("until {}", day(certificate.not_after))),
        };
        report.add(verdict, name, format!("certificate: {} ({}): {what}", certificate.subject, certificate.key));
    }
    if !idp.certificates.iter().any(|certificate| certificate.usable) {
        report.add(Verdict::Wrong, name, "certificate: none of the metadata's can be used, and no login would be taken");
    }
}

fn examine_workload(workload: &WorkloadConfig, report: &mut Report) {
    let about = format!("workload {}", workload.name);
    let Some((path, sha256)) = &workload.exe else {
        return report.add(Verdict::Fine, &about, "declared");
    };
    let mut digest = Digest::new();
    let read = std::fs::File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut digest));
    let found = digest.finish();
    match read {
        Err(error) => report.add(Verdict::Wrong, &about, format!("{} cannot be read: {error}", path.display())),
        Ok(_) if found == *sha256 => report.add(Verdict::Fine, &about, format!("{} holds what it should", path.display())),
        Ok(_) => {
            let hex = found.hex();
            let found = String::from_utf8_lossy(&hex);
            let message = format!("{} holds something else: if that is right, set sha256 = \"{found}\"", path.display());
            report.add(Verdict::Wrong, &about, message);
        }
    }
}

fn examine_server(server: &ServerConfig, config: &Config, report: &mut Report) {
    let about = format!("server {}", server.name);
    let mut who = Vec::new();
    if server.authorization == Authorization::Gateway {
        who.push("tokens for the gateway".to_owned());
    } else if !config.identity.oidc.is_empty() {
        who.push("tokens for the gateway; others pass to the server".to_owned());
    }
    if config.identity.oidc.iter().any(|issuer| issuer.login.is_some()) || !config.identity.saml.is_empty() {
        who.push("logins on this host".to_owned());
    }
    if !config.identity.workloads.is_empty() {
        who.push("declared workloads".to_owned());
    }
    let known_by = if who.is_empty() { "nothing".to_owned() } else { who.join(", ") };
    let groups = server.allow_groups.as_ref().map(|groups| format!("; only the groups {}", groups.join(", "))).unwrap_or_default();
    let nobody_calls = server.anonymous == Anonymous::Record && server.allow_groups.is_none();
    let anonymous = if nobody_calls { "; calls of nobody are recorded and let through" } else { "; calls of nobody are denied" };
    let verdict = if nobody_calls { Verdict::Look } else { Verdict::Fine };
    report.add(verdict, &about, format!("callers are known by {known_by}{groups}{anonymous}"));
}

fn examine_token(token: &str, issuers: &[Issuer], config: &Config, report: &mut Report) {
    let about = "token";
    let read = match Unverified::read(token) {
        Ok(read) => read,
        Err(_) if !token.is_empty() && !Unverified::is_jwt(token) => {
            return report.add(Verdict::Look, about, "it is no JWT: only an issuer with `introspection` could say what it is");
        }
        Err(error) => return report.add(Verdict::Wrong, about, error.to_string()),
    };
    report.token = Some(serde_json::json!({ "header": read.header(), "claims": read.claims() }));
    let Some(issuer) = issuers.iter().find(|issuer| issuer.config.issuer == read.issuer()) else {
        return report.add(Verdict::Wrong, about, TokenError::Issuer { issuer: read.issuer().to_owned() }.to_string());
    };
    let settings = &issuer.config;
    let seen = |name: &str, path: &gateway_user::identity::ClaimPath| match path.find(read.claims()) {
        Some(_) => format!("{name} stands in `{}`", path.as_str()),
        None => format!("{name} should stand in `{}`, and does not", path.as_str()),
    };
    report.add(Verdict::Fine, about, format!("its issuer is `{}`", settings.name));
    let verdict = if settings.groups.find(read.claims()).is_some() { Verdict::Fine } else { Verdict::Look };
    report.add(verdict, about, format!("{}; {}", seen("the groups", &settings.groups), seen("a name for people", &settings.display_name)));
    let claims = issuer
        .known()
        .map_err(|error| error.to_string())
        .and_then(|known| issuer.rules.verify(&read, &known.keys, now()).map_err(|error| error.to_string()));
    let claims = match claims {
        Ok(claims) => claims,
        Err(error) => return report.add(Verdict::Wrong, about, format!("it is refused: {error}")),
    };
    let algorithm = issuer.rules.algorithm(&read).map_or("", Algorithm::name);
    let signed = format!("signed with {algorithm} by the key {}", claims.kid.as_deref().unwrap_or("(not named)"));
    report.add(Verdict::Fine, about, format!("{signed}; for {}; ends in {} s", claims.audience.join(", "), claims.ends - now()));
    let groups = if claims.groups.is_empty() { "no group".to_owned() } else { format!("the groups {}", claims.groups.join(", ")) };
    report.add(Verdict::Fine, about, format!("it stands for {} in {groups}", claims.name.as_deref().unwrap_or(&claims.subject)));
    for server in &config.servers {
        let resource = [gateway_user::proxy::resource(&server.url)];
        let for_us = issuer.rules.is_for_us(claims.audience.iter().map(String::as_str), &resource);
        let in_group = server.allow_groups.as_ref().is_none_or(|allowed| claims.groups.iter().any(|group| allowed.contains(group)));
        let (verdict, what) = match (for_us, in_group) {
            (true, true) => (Verdict::Fine, "it may call"),
            (true, false) => (Verdict::Look, "it is taken, and may not call: it is in none of the server's `allow_groups`"),
            (false, _) if server.authorization == Authorization::Server => {
                (Verdict::Fine, "it is not for the gateway, and passes to the server")
            }
            (false, _) => (Verdict::Look, "it is refused there: its audience is neither the gateway nor this server"),
        };
        report.add(verdict, &format!("server {}", server.name), what);
    }
}
