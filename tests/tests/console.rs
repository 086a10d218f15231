//! The console: people log a terminal, or themselves, in through real SAML identity providers.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use gateway_tests::{
    Browser, Gateway, Launch, Proc, Record, ServerEntry, User,
    browser::Page,
    clients,
    http::{Message, answer, request_to, result},
    pki::Pki,
    raw::{Stub, Wire},
    saml::{Product, SamlIdp},
    wait::wait_for,
};
use serde_json::json;
use tempfile::TempDir;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(60);
const ADA: User = User { uid: 4211, gid: 4211, ptrace: false };

/// A server behind an endpoint, and a console that an identity provider knows.
struct Scene {
    idp: SamlIdp,
    gateway: Gateway,
    console: String,
    _server: Stub,
    _files: TempDir,
}

/// A terminal that waits.
struct Terminal {
    login: Proc,
    url: String,
    code: String,
}

impl Scene {
    fn new(product: Product) -> anyhow::Result<Self> {
        Self::with(product, None, |metadata| metadata)
    }

    /// Over TLS, if an authority vouches for the console; and with other metadata of the identity provider.
    fn with(product: Product, tls: Option<&Pki>, edit: impl FnOnce(String) -> String) -> anyhow::Result<Self> {
        let idp = SamlIdp::start(product)?;
        let files = tempfile::tempdir()?;
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
        let metadata = files.path().join("idp.xml");
        fs::write(&metadata, edit(idp.metadata()?))?;
        // Given up at once: nothing else of this host asks for a port of this address meanwhile.
        let listen = TcpListener::bind("127.78.0.1:0")?.local_addr()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let server = Stub::on(listener, |request| answer(&result(&request.json().map(|call| call["id"].clone()).unwrap_or_default())));
        let issued = tls.map(|pki| pki.server(&[&listen.ip().to_string()])).transpose()?;
        let certificate =
            issued.map(|issued| format!("certificate = {:?}\nkey = {:?}\n", issued.certificate, issued.key)).unwrap_or_default();
        let gateway = Gateway::at_an_endpoint()
            .server(ServerEntry::new("vault", &url).durability("os"))
            .identity(&format!("[[identity.saml]]\nname = \"corp\"\nmetadata = {metadata:?}\ndisplay_name = \"displayName\"\n"))
            .section(&format!("[console]\nlisten = \"{listen}\"\n{certificate}"))
            .start()?;
        let console = format!("{}://{listen}", if tls.is_some() { "https" } else { "http" });
        let mut browser = tls.map_or_else(Browser::new, |pki| Ok(Browser::new()?.trusts(&pki.ca_file())))?;
        let own = browser.open(&format!("{console}/saml/corp/metadata"))?;
        ensure!(own.status == 200, "{own:?}");
        idp.trust(&own.html)?;
        Ok(Self { idp, gateway, console, _server: server, _files: files })
    }

    /// What is posted when a person comes back from the identity provider with this browser, which has to stop there.
    fn answer_for(&self, browser: &mut Browser, url: &str) -> anyhow::Result<Page> {
        let page = log_in(browser, &self.acs(), url)?;
        ensure!(page.status == 0 && page.sent("SAMLResponse").is_some(), "{page:?}");
        Ok(page)
    }

    fn acs(&self) -> String {
        format!("{}/saml/corp/acs", self.console)
    }

    fn stopping(&self) -> anyhow::Result<Browser> {
        Ok(Browser::new()?.stops_before(&self.acs()))
    }

    fn terminal(&self) -> anyhow::Result<Terminal> {
        let mut login = self.gateway.cli(&["login", "--idp", "corp"]).user(ADA).start()?;
        let said = wait_for("the terminal to wait", LIMIT, || {
            if let Some(status) = login.ended()? {
                bail!("login ended ({status}): {}{}", login.stdout(), login.stderr());
            }
            let said = login.stdout();
            Ok(said.contains("Waiting").then_some(said))
        })?;
        let mut lines = said.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned);
        let (url, code) = (lines.next().context("an address")?, lines.next().context("a code")?);
        Ok(Terminal { login, url, code })
    }

    /// The status of a call by a process of this Unix user.
    fn call_by(&self, user: User) -> anyhow::Result<u16> {
        let call = clients::tool_call(1, "look", &json!({}));
        let curl = clients::curl(&self.gateway.url("vault")?, &call).args(["--write-out", "\n%{http_code}"]);
        let done = curl.user(user).run(LIMIT)?.ok()?;
        Ok(done.stdout.rsplit_once('\n').context("curl says the status")?.1.parse()?)
    }

    /// The latest record of a login that was refused, for this reason.
    fn refused(&self, page: &Page, saml: &str) -> anyhow::Result<Record> {
        ensure!(page.status == 403, "{page:?}");
        let all = self.gateway.records()?;
        let record = all.into_iter().rev().find(|record| record.kind() == "refused").context("a record")?;
        let body = record.body();
        assert_eq!((&body["reason"], &body["idp"], &body["saml"]), (&json!("identity"), &json!("corp"), &json!(saml)), "{}", record.line);
        assert!(page.html.contains("You are not logged in") && body["message"].is_string(), "{page:?}");
        Ok(record)
    }

    /// A request to the console that no browser of ours makes.
    fn ask(&self, method: &str, target: &str, fields: &str, body: &[u8]) -> anyhow::Result<Message> {
        let host = self.console.trim_start_matches("http://");
        let mut wire = Wire::new(TcpStream::connect(host)?)?;
        wire.send(request_to(host, method, target, &format!("{fields}Content-Length: {}\r\n", body.len()), body))?;
        wire.message()
    }
}

/// Opens a page and goes on as ada until an address that begins so.
fn log_in(browser: &mut Browser, until: &str, url: &str) -> anyhow::Result<Page> {
    let mut page = browser.open(url)?;
    for _ in 0..10 {
        if page.url.starts_with(until) {
            return Ok(page);
        }
        page = browser.submit(&page, &[("login", "ada"), ("username", "ada"), ("password", "ada")])?;
    }
    bail!("{until} is never reached: {page:?}")
}

/// A page with a form that posts what another page would have.
fn posting(page: &Page) -> Page {
    let inputs: String =
        page.sent.iter().map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")).collect();
    Page { html: format!("<form action=\"{}\">{inputs}</form>", page.url), ..page.clone() }
}

#[test]
fn a_terminal_is_logged_in_as_whoever_logs_in_at_the_identity_provider_and_types_its_code() -> Result {
    for product in Product::ALL {
        let scene = Scene::new(product)?;
        assert_eq!(scene.call_by(ADA)?, 403);
        let Terminal { login, url, code } = scene.terminal()?;
        let mut browser = Browser::new()?;
        let seen = browser.open(&url)?;
        let go = format!("{url}/go");
        assert!(
            go.ends_with(seen.html.split("class=\"button\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("no link"))
        );
        assert!(seen.html.contains("4211") && seen.html.contains("corp") && !seen.html.contains(&code), "{}", seen.html);
        let page = log_in(&mut browser, &scene.console, &go)?;
        assert!(page.html.contains("Type the code") && page.html.contains("4211"), "{}", page.html);
        assert_eq!(scene.call_by(ADA)?, 403, "not before the code");
        let page = browser.submit(&page, &[("code", &code.to_lowercase())])?;
        assert!(page.status == 200 && page.html.contains("The terminal is logged in"), "{}", page.html);
        let done = login.finish(LIMIT)?.ok()?;
        assert!(done.stdout.contains("Logged in"), "{}", done.stdout);
        assert_eq!(scene.call_by(ADA)?, 200);
        let record = scene.gateway.records()?.into_iter().rev().find(|record| record.kind() == "request").context("the call")?;
        let identity = &record.body()["caller"]["identity"];
        assert_eq!((&identity["kind"], &identity["issuer"]), (&json!("person"), &json!(scene.idp.metadata_url())), "{identity}");
        assert_eq!((&identity["subject"], &identity["groups"]), (&json!("ada"), &json!(["dba", "staff"])), "{identity}");
        assert_eq!((&identity["how"]["method"], &identity["how"]["idp"]), (&json!("host-login"), &json!("corp")));
    }
    Ok(())
}

#[test]
fn a_response_counts_once_in_the_browser_that_asked_for_it() -> Result {
    for product in Product::ALL {
        let scene = Scene::new(product)?;
        let url = format!("{}/login/corp", scene.console);
        let mut asked = scene.stopping()?;
        let answer = scene.answer_for(&mut asked, &url)?;
        // Another browser, which has begun a login of its own.
        let mut other = scene.stopping()?;
        scene.answer_for(&mut other, &url)?;
        let mut other = other.stops_before("nowhere");
        scene.refused(&other.submit(&posting(&answer), &[])?, "in-response-to")?;
        assert!(!other.open(&scene.console)?.html.contains("ada"));
        let mut nobody = Browser::new()?;
        scene.refused(&nobody.submit(&posting(&answer), &[])?, "in-response-to")?;

        let mut asked = asked.stops_before("nowhere");
        let page = asked.submit(&posting(&answer), &[])?;
        assert!(page.status == 200 && page.html.contains("Logged in until"), "{}", page.html);
        let record = scene.refused(&asked.submit(&posting(&answer), &[])?, "replayed")?;
        let assertion = answer.sent("SAMLResponse").unwrap_or_default();
        assert!(!record.body().to_string().contains("ada") && !record.line.contains(&assertion[..64]), "{}", record.line);

        let entity = format!("{}/saml/corp/metadata", scene.console);
        let unsolicited = log_in(&mut Browser::new()?, &scene.console, &scene.idp.unsolicited_url(&entity))?;
        scene.refused(&unsolicited, "unsolicited")?;
    }
    Ok(())
}

#[test]
fn three_wrong_codes_end_the_wait() -> Result {
    let scene = Scene::new(Product::PySaml2)?;
    let Terminal { login, url, code } = scene.terminal()?;
    let mut browser = Browser::new()?;
    let first = log_in(&mut browser, &scene.console, &format!("{url}/go"))?;
    for tries_left in [2, 1] {
        let page = browser.submit(&first, &[("code", "BBBB-BBBB")])?;
        assert!(page.status == 403 && page.html.contains("another code"), "{tries_left}: {}", page.html);
    }
    // Who has only the address and the code has shown to nobody who he is.
    let page = Browser::new()?.submit(&first, &[("code", &code)])?;
    assert_eq!(page.status, 403, "{}", page.html);
    let page = browser.submit(&first, &[("code", "BBBB-BBBB")])?;
    assert!(page.status == 404 && page.html.contains("No terminal waits here"), "{}", page.html);
    assert_ne!(browser.submit(&first, &[("code", &code)])?.status, 200);
    let ended = login.finish(LIMIT)?;
    assert!(!ended.status.success() && ended.stderr.contains("wrong code"), "{ended:?}");
    let wrong = scene
        .gateway
        .records()?
        .into_iter()
        .filter(|record| record.body()["message"].as_str().is_some_and(|why| why.contains("wrong code")));
    assert_eq!(wrong.count(), 3);
    assert_eq!(scene.call_by(ADA)?, 403);
    Ok(())
}

#[test]
fn the_console_shows_who_you_are_until_you_log_out() -> Result {
    for product in Product::ALL {
        let scene = Scene::new(product)?;
        let Terminal { login, url, code } = scene.terminal()?;
        let mut browser = Browser::new()?;
        let page = log_in(&mut browser, &scene.console, &format!("{url}/go"))?;
        browser.submit(&page, &[("code", &code)])?;
        login.finish(LIMIT)?.ok()?;

        let nobody = Browser::new()?.open(&scene.console)?;
        assert!(nobody.html.contains("/login/corp") && !nobody.html.contains("ada"), "{}", nobody.html);
        let page = log_in(&mut browser, &scene.console, &format!("{}/login/corp", scene.console))?;
        for shown in ["ada", "dba, staff", &scene.idp.metadata_url(), "<td>4211</td>"] {
            assert!(page.html.contains(shown), "{shown}: {}", page.html);
        }
        let page = browser.submit(&page, &[])?;
        assert!(page.status == 200 && page.html.contains("Log in with corp"), "{}", page.html);
    }
    Ok(())
}

#[test]
fn no_other_site_sends_forms_or_frames_pages() -> Result {
    let scene = Scene::new(Product::PySaml2)?;
    for fields in
        ["Origin: http://evil.example\r\n", "Origin: null\r\n", "", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"]
    {
        for target in ["/logout", "/login/host/x"] {
            let answer = scene.ask("POST", target, fields, b"")?;
            assert_eq!(answer.status(), 403, "{target} {fields}");
            assert!(String::from_utf8_lossy(&answer.body).contains("another site"));
        }
    }
    for own in [format!("Origin: {}\r\n", scene.console), "Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n".into()] {
        assert_eq!(scene.ask("POST", "/logout", &own, b"")?.status(), 303, "{own}");
    }
    for (method, target) in [("GET", "/"), ("GET", "/login/host/%3Cb%3E"), ("POST", "/saml/corp/acs"), ("GET", "/login/corp")] {
        let answer = scene.ask(method, target, "", b"")?;
        let field = |name| answer.field(name).unwrap_or_default().to_owned();
        assert_eq!(
            field("content-security-policy"),
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            "{target}"
        );
        assert_eq!((field("x-frame-options").as_str(), field("cache-control").as_str()), ("DENY", "no-store"), "{target}");
        assert_eq!(field("referrer-policy"), "no-referrer", "{target}");
    }
    let cookie = scene.ask("GET", "/login/corp", "", b"")?.field("set-cookie").unwrap_or_default().to_owned();
    assert!(cookie.starts_with("mcp-gateway-login=") && cookie.ends_with("; Path=/; Max-Age=600; HttpOnly"), "{cookie}");
    assert_eq!(scene.ask("POST", "/saml/corp/acs", "", &vec![b'x'; (512 << 10) + 1])?.status(), 413);
    Ok(())
}

#[test]
fn a_provider_that_cannot_be_used_keeps_the_gateway_from_starting() -> Result {
    let files = tempfile::tempdir()?;
    fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755))?;
    let metadata = files.path().join("idp.xml");
    for (holds, says) in [(None, "cannot be read"), (Some("<x/>"), "SAML provider `corp`")] {
        if let Some(holds) = holds {
            fs::write(&metadata, holds)?;
        }
        let refused = Gateway::at_an_endpoint()
            .server(ServerEntry::new("vault", "http://127.0.0.1:9/mcp"))
            .identity(&format!("[[identity.saml]]\nname = \"corp\"\nmetadata = {metadata:?}\n"))
            .section("[console]\nlisten = \"127.78.0.2:0\"\n")
            .start();
        let error = format!("{:#}", refused.err().context("it started")?);
        assert!(error.contains(says) && error.contains("corp"), "{error}");
    }
    Ok(())
}

#[test]
fn over_tls_cookies_are_this_hosts_alone() -> Result {
    let pki = Pki::new()?;
    let scene = Scene::with(Product::PySaml2, Some(&pki), |metadata| metadata)?;
    let mut browser = Browser::new()?.trusts(&pki.ca_file());
    let url = format!("{}/login/corp", scene.console);
    let page = log_in(&mut browser, &scene.console, &url)?;
    assert!(page.html.contains("Logged in until"), "{}", page.html);
    let head = Launch::new("curl").args(["--silent", "--head", "--request", "GET", "--cacert"]).arg(pki.ca_file()).arg(&url);
    let head = head.run(LIMIT)?.ok()?.stdout;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("a cookie")?;
    assert!(cookie.starts_with("__Host-mcp-gateway-login="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None"), "{cookie}");
    // One that never shakes hands keeps nobody waiting.
    let _silent = TcpStream::connect(scene.console.trim_start_matches("https://"))?;
    assert_eq!(browser.open(&scene.console)?.status, 200);
    Ok(())
}

#[test]
fn who_has_logged_in_for_one_terminal_logs_no_other_in() -> Result {
    let scene = Scene::new(Product::PySaml2)?;
    let (own, mut other) = (scene.terminal()?, scene.terminal()?);
    let mut browser = Browser::new()?;
    let page = log_in(&mut browser, &scene.console, &format!("{}/go", own.url))?;
    let own_number = own.url.rsplit('/').next().unwrap_or_default();
    let other_number = other.url.rsplit('/').next().unwrap_or_default();
    let forged = Page { html: page.html.replace(own_number, other_number), ..page };
    assert!(forged.html.contains(other_number));
    let page = browser.submit(&forged, &[("code", &other.code)])?;
    assert_eq!(page.status, 403, "{}", page.html);
    assert!(other.login.ended()?.is_none(), "it waits still: {}", other.login.stdout());
    assert_eq!(scene.call_by(ADA)?, 403);
    Ok(())
}

#[test]
fn an_identity_provider_that_takes_only_posts_gets_one_and_no_other_page_may_send_it() -> Result {
    let scene = Scene::with(Product::PySaml2, None, |metadata| {
        let is_redirect = |tag: &&str| tag.contains("SingleSignOnService") && tag.contains("HTTP-Redirect");
        metadata.split('<').filter(|tag| !is_redirect(tag)).collect::<Vec<_>>().join("<")
    })?;
    let answer = scene.ask("GET", "/login/corp", "", b"")?;
    let idp = scene.idp.sso_url().split('/').take(3).collect::<Vec<_>>().join("/");
    let policy = answer.field("content-security-policy").unwrap_or_default().to_owned();
    assert!(policy.contains(&format!("; form-action {idp}; ")), "{policy}");
    let mut browser = Browser::new()?;
    let sending = browser.open(&format!("{}/login/corp", scene.console))?;
    assert!(sending.html.contains("SAMLRequest"), "{}", sending.html);
    let asks = browser.submit(&sending, &[])?;
    assert!(asks.url.starts_with(&idp), "{}", asks.url);
    let mut page = asks;
    while page.url.starts_with(&idp) {
        page = browser.submit(&page, &[("username", "ada"), ("password", "ada")])?;
    }
    assert!(page.html.contains("Logged in until"), "{}", page.html);
    Ok(())
}
