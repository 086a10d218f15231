//! A person with a browser, scripted: follows redirects, keeps cookies, fills in forms and sends them. Only to this host.
//!
//! curl does the talking. Unlike a real browser it knows nothing of `SameSite`: two ports of one host are one site anyway.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::Launch;

/// A browser with an empty cookie jar.
#[derive(Debug)]
pub struct Browser {
    files: TempDir,
    trusts: Option<PathBuf>,
    stops: Option<String>,
}

/// Where a browser ended up.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its address.
    pub url: String,
    /// The status it came with; 0 if it was [not asked for](Browser::stops_before).
    pub status: u16,
    /// What is on it.
    pub html: String,
    /// What was posted to get it.
    pub sent: Vec<(String, String)>,
}

/// A form on a page, to be posted.
#[derive(Debug, Clone)]
pub struct Form {
    /// Where it goes, absolute.
    pub action: String,
    /// What goes with it unasked.
    pub hidden: Vec<(String, String)>,
    /// What a person has to fill in.
    pub asks: Vec<String>,
}

impl Browser {
    /// A browser that nobody has used.
    ///
    /// # Errors
    /// There is no place for its cookies.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { files: tempfile::tempdir()?, trusts: None, stops: None })
    }

    /// Trusts the authority of this file, and no other.
    #[must_use]
    pub fn trusts(mut self, ca: &Path) -> Self {
        self.trusts = Some(ca.to_owned());
        self
    }

    /// What goes to an address that begins so is not sent: the last page has that address, and what would have been posted.
    #[must_use]
    pub fn stops_before(mut self, prefix: &str) -> Self {
        self.stops = Some(prefix.to_owned());
        self
    }

    /// Opens a page and follows where it leads.
    ///
    /// # Errors
    /// Nothing answers there, it leads in a circle, or off this host.
    pub fn open(&mut self, url: &str) -> anyhow::Result<Page> {
        self.follow(url.to_owned(), None, Vec::new())
    }

    /// Sends the form of a page, with these values of the fields that it asks for.
    ///
    /// # Errors
    /// It has no form, or asks for something else; or as [`Browser::open`].
    pub fn submit(&mut self, page: &Page, answers: &[(&str, &str)]) -> anyhow::Result<Page> {
        let form = page.form().with_context(|| format!("there is no form on {page:?}"))?;
        let mut fields = form.hidden;
        for asked in &form.asks {
            let (_, answer) = answers
                .iter()
                .find(|(name, _)| name == asked)
                .with_context(|| format!("{} asks for `{asked}`: {}", page.url, page.html))?;
            fields.push((asked.clone(), (*answer).to_owned()));
        }
        self.follow(form.action, Some(origin(&page.url)), fields)
    }

    /// Opens a page and sends every form it meets, as this person, until there is none.
    ///
    /// # Errors
    /// As [`Browser::submit`]; and the person is not let in.
    pub fn login(&mut self, url: &str, person: &str) -> anyhow::Result<Page> {
        self.login_with(url, &[("login", person), ("username", person), ("password", person)])
    }

    /// As [`Browser::login`], with these values for the fields that pages ask for.
    ///
    /// # Errors
    /// As [`Browser::login`].
    pub fn login_with(&mut self, url: &str, answers: &[(&str, &str)]) -> anyhow::Result<Page> {
        let mut page = self.open(url)?;
        let mut asked: Vec<Vec<String>> = Vec::new();
        for _ in 0..20 {
            let Some(form) = page.form() else { return Ok(page) };
            ensure!(form.asks.is_empty() || !asked.contains(&form.asks), "{} asks again: {}", page.url, page.html);
            asked.push(form.asks);
            page = self.submit(&page, answers)?;
        }
        bail!("{} shows one form after another: {}", page.url, page.html)
    }

    fn follow(&mut self, mut url: String, mut from: Option<String>, mut fields: Vec<(String, String)>) -> anyhow::Result<Page> {
        for _ in 0..20 {
            ensure!(on_this_host(&url), "{url} is not on this host");
            if self.stops.as_ref().is_some_and(|prefix| url.starts_with(prefix)) {
                return Ok(Page { url, status: 0, html: String::new(), sent: fields });
            }
            let (status, leads_to, html) = self.request(&url, from.as_deref(), &fields)?;
            if leads_to.is_empty() {
                return Ok(Page { url, status, html, sent: fields });
            }
            url = leads_to;
            // Every redirect but these two makes a GET of a POST.
            if !matches!(status, 307 | 308) {
                (from, fields) = (None, Vec::new());
            }
        }
        bail!("one redirect after another, the last to {url}")
    }

    fn request(&self, url: &str, from: Option<&str>, fields: &[(String, String)]) -> anyhow::Result<(u16, String, String)> {
        let (jar, body) = (self.files.path().join("cookies"), self.files.path().join("body"));
        fs::write(&body, "")?;
        let mut curl = Launch::new("curl").args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]);
        curl = curl.args(["--write-out", "%{http_code} %{redirect_url}", "--output"]).arg(&body);
        curl = curl.arg("--cookie").arg(&jar).arg("--cookie-jar").arg(&jar);
        if let Some(ca) = &self.trusts {
            curl = curl.arg("--cacert").arg(ca);
        }
        if let Some(origin) = from {
            curl = curl.args(["--request", "POST", "--header", &format!("Origin: {origin}")]);
        }
        for (n, (name, value)) in fields.iter().enumerate() {
            let file = self.files.path().join(format!("field-{n}"));
            fs::write(&file, value)?;
            curl = curl.arg("--data-urlencode").arg(format!("{name}@{}", file.display()));
        }
        let told = curl.arg(url).run(Duration::from_secs(40))?.ok().with_context(|| format!("{url} cannot be had"))?.stdout;
        let (status, leads_to) = told.split_once(' ').context("curl says a status and an address")?;
        Ok((status.parse()?, leads_to.to_owned(), String::from_utf8_lossy(&fs::read(&body)?).into_owned()))
    }
}

impl Page {
    /// Its form: of several, the one with a password.
    #[must_use]
    pub fn form(&self) -> Option<Form> {
        let forms: Vec<&str> = self.html.split("<form").skip(1).map(|rest| rest.split("</form").next().unwrap_or(rest)).collect();
        let form = forms.iter().find(|form| form.contains("\"password\"")).or_else(|| forms.first())?;
        let head = attributes(form);
        let mut read =
            Form { action: resolve(&self.url, value(&head, "action").unwrap_or_default()), hidden: Vec::new(), asks: Vec::new() };
        for input in form.split("<input").skip(1).map(attributes) {
            let Some(name) = value(&input, "name") else { continue };
            let given = value(&input, "value").unwrap_or_default();
            match value(&input, "type").unwrap_or("text") {
                "text" | "password" | "email" if given.is_empty() => read.asks.push(name.to_owned()),
                "submit" | "button" | "image" | "reset" => {}
                "checkbox" | "radio" if value(&input, "checked").is_none() => {}
                _ => read.hidden.push((name.to_owned(), given.to_owned())),
            }
        }
        Some(read)
    }

    /// What was posted under this name.
    #[must_use]
    pub fn sent(&self, name: &str) -> Option<&str> {
        value(&self.sent, name)
    }

    /// A parameter of its address.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.url.split_once('?')?.1.split('#').next()?;
        let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name)?.1;
        Some(unpercent(found))
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// The attributes of a tag, from behind its name.
fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = tag;
    loop {
        rest = rest.trim_start();
        let end = rest.find(|c: char| c == '=' || c == '>' || c == '/' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (given, after) = match after.strip_prefix('=') {
            Some(quoted) if quoted.starts_with(['"', '\'']) => quoted[1..].split_once(&quoted[..1]).unwrap_or((quoted, "")),
            Some(bare) => bare.split_at(bare.find(|c: char| c == '>' || c.is_whitespace()).unwrap_or(bare.len())),
            None if name.is_empty() => return found,
            None => ("", after),
        };
        found.push((name.to_ascii_lowercase(), unescape(given)));
        rest = after;
    }
}

fn unescape(html: &str) -> String {
    let mut pieces = html.split('&');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once(';').unwrap_or((piece, ""));
        let code = name.strip_prefix("#x").map_or_else(|| name.strip_prefix('#')?.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
        let named = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"')].into_iter().find(|(known, _)| *known == name);
        match code.and_then(char::from_u32).or(named.map(|(_, character)| character)) {
            Some(character) => text.extend([character.to_string().as_str(), rest]),
            None => text.extend(["&", piece]),
        }
    }
    text
}

fn origin(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

fn on_this_host(url: &str) -> bool {
    let host = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let host = host.strip_prefix("[::1]").map_or_else(|| host.split(':').next().unwrap_or(host), |_| "::1");
    host == "localhost" || host == "::1" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a link on a page means (RFC 3986, section 5, as far as forms go).
fn resolve(page: &str, link: &str) -> String {
    let path = page.split(['?', '#']).next().unwrap_or(page);
    match link {
        "" => page.to_owned(),
        absolute if absolute.contains("://") => absolute.to_owned(),
        rooted if rooted.starts_with('/') => origin(page) + rooted,
        query if query.starts_with('?') => format!("{path}{query}"),
        beside => format!("{}/{beside}", path.rsplit_once('/').map_or(path, |(folder, _)| folder)),
    }
}

fn unpercent(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().replace('+', " ").into_bytes();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        bytes.extend(u8::from_str_radix(code, 16));
        bytes.extend(rest.replace('+', " ").bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
