//! TOML → [`Config`], gathering every fault on the way.

use std::{net::SocketAddr, ops::Range, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::capture::CANARY_SERVER;

use super::{
    AdminConfig, Anonymous, AuditConfig, Authorization, CaConfig, CaptureConfig, CertificateFiles, Config, Durability, Errors, Fault,
    HEARTBEAT, IdentityConfig, KinesisConfig, Limits, MaskingConfig, OnToolChange, Other, QuotaConfig, RESOLVE, ServerConfig, TlsConfig,
    WorkersConfig, credential, endpoint, identity, mask, policy,
    value::{self, ServerUrl},
};

const TABLES: &[&str] = &[
    "capture", "endpoint", "ca", "identity", "console", "policy", "label", "quota", "masking", "detector", "mask", "tools", "server",
    "limits", "workers", "audit", "kinesis", "admin",
];

pub(super) fn read(file: &str, text: &str) -> Result<Config, Errors> {
    let mut faults = Faults { file, text, found: Vec::new() };
    let document = document(text, &mut faults)?;
    let mut top = Section { name: String::new(), span: 0..0, table: Some(document.get_ref()), used: Vec::new() };

    let endpoint = top.table_of(&mut faults, "endpoint").map(|section| endpoint::read(section, &mut faults));
    let captures = endpoint.is_none() || document.get_ref().contains_key("capture");
    let mut section = top.section(&mut faults, "capture");
    let capture = captures.then(|| CaptureConfig {
        cgroup: section.path(&mut faults, "cgroup"),
        pins: section.path(&mut faults, "pins").unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/mcp-gateway")),
        user: section.text(&mut faults, "user").unwrap_or_else(|| "mcp-gateway".into()),
        heartbeat: section.heartbeat(&mut faults, "heartbeat", HEARTBEAT),
        resolve: section.duration(&mut faults, "resolve", RESOLVE),
        port: section.number(&mut faults, "port", 0..=65_535, 0).try_into().unwrap_or(0),
        max_pending: section.number(&mut faults, "max_pending", 1..=1_000_000, 65_536).try_into().unwrap_or(65_536),
    });
    section.finish(&mut faults);

    let mut section = top.section(&mut faults, "ca");
    let ca = CaConfig { dir: section.path(&mut faults, "dir").unwrap_or_else(|| PathBuf::from("/var/lib/mcp-gateway/ca")) };
    section.finish(&mut faults);

    let mut section = top.section(&mut faults, "limits");
    let limits = Limits {
        head: section.size(&mut faults, "head", 64 << 10),
        inspected_body: section.size(&mut faults, "inspected_body", 16 << 20),
        head_timeout: section.duration(&mut faults, "head_timeout", Duration::from_secs(30)),
        idle_timeout: section.duration(&mut faults, "idle_timeout", Duration::from_secs(300)),
        connect_timeout: section.duration(&mut faults, "connect_timeout", Duration::from_secs(10)),
        drain: section.duration(&mut faults, "drain", Duration::from_secs(30)),
        connections: section.number(&mut faults, "connections", 1..=1_000_000, 16_384).try_into().unwrap_or(16_384),
    };
    section.finish(&mut faults);

    let mut section = top.section(&mut faults, "workers");
    let workers = WorkersConfig { busy_poll: section.busy_poll(&mut faults, "busy_poll") };
    section.finish(&mut faults);

    let mut section = top.section(&mut faults, "audit");
    let audit = AuditConfig {
        dir: section.path(&mut faults, "dir").unwrap_or_else(|| PathBuf::from("/var/lib/mcp-gateway/audit")),
        max_body: section.size(&mut faults, "max_body", 256 << 10),
        segment: section.bytes(&mut faults, "segment").unwrap_or(64 << 20),
        max_total: section.bytes(&mut faults, "max_total"),
    };
    // Text can grow sixfold when it is written as JSON, and a record lies in one segment.
    let least = u64::try_from(audit.max_body).unwrap_or(u64::MAX).saturating_mul(8).max(64 << 10);
    if audit.segment < least {
        let message =
            format!("expected at least {} KiB: a segment must hold a record with eight times `audit.max_body`", least.div_ceil(1 << 10));
        faults.add(section.span_of("segment"), "audit.segment", message);
    }
    section.finish(&mut faults);

    let kinesis = top.table_of(&mut faults, "kinesis").map(|mut section| {
        let kinesis = KinesisConfig {
            stream: section.required(&mut faults, "stream"),
            region: section.text(&mut faults, "region"),
            endpoint_url: section.text(&mut faults, "endpoint_url"),
        };
        section.finish(&mut faults);
        kinesis
    });

    let mut section = top.section(&mut faults, "admin");
    let admin = AdminConfig { listen: section.loopback(&mut faults, "listen", SocketAddr::from(([127, 0, 0, 1], 9464))) };
    section.finish(&mut faults);

    let identity = identity::read(top.section(&mut faults, "identity"), &mut faults);
    let console = top.table_of(&mut faults, "console").map(|section| identity::console(section, &mut faults));
    if !identity.saml.is_empty() && console.is_none() {
        let message = "SAML takes a browser, which comes back to the gateway: add [console], with its `url`";
        faults.add(top.span_of("identity"), "identity.saml", message.into());
    }

    let policy = top.table_of(&mut faults, "policy").map(|section| policy::policy(section, &mut faults));
    let labels = top.tables(&mut faults, "label").into_iter().map(|section| policy::label(section, &mut faults)).collect();
    let tools = policy::tools(top.section(&mut faults, "tools"), &mut faults);
    let servers = servers(&mut top, &mut faults, endpoint.is_some(), &identity);
    let quotas = quotas(&mut top, &mut faults, &servers);
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let masking = mask::read(&mut top, &mut faults, Some(&names));
    top.finish(&mut faults);
    if faults.found.is_empty() {
        return Ok(Config {
            capture,
            endpoint,
            ca,
            identity,
            console,
            policy,
            labels,
            quotas,
            masking,
            tools,
            servers,
            limits,
            workers,
            audit,
            kinesis,
            admin,
        });
    }
    faults.found.sort_by_key(|fault| fault.line);
    Err(Errors(faults.found))
}

/// The masks of a file that may have nothing else.
pub(super) fn read_masks(file: &str, text: &str) -> Result<MaskingConfig, Errors> {
    let mut faults = Faults { file, text, found: Vec::new() };
    let document = document(text, &mut faults)?;
    let mut top = Section { name: String::new(), span: 0..0, table: Some(document.get_ref()), used: Vec::new() };
    let mut servers = Vec::new();
    let has_servers = top.has("server");
    for mut section in top.tables(&mut faults, "server") {
        servers.push(section.required(&mut faults, "name"));
    }
    let names: Vec<&str> = servers.iter().map(String::as_str).collect();
    let masking = mask::read(&mut top, &mut faults, has_servers.then_some(names.as_slice()));
    if faults.found.is_empty() { Ok(masking) } else { Err(Errors(faults.found)) }
}

fn document<'i>(text: &'i str, faults: &mut Faults<'_>) -> Result<Spanned<DeTable<'i>>, Errors> {
    DeTable::parse(text).map_err(|error| {
        faults.add(error.span().unwrap_or(0..0), "(syntax)", error.message().to_owned());
        Errors(std::mem::take(&mut faults.found))
    })
}

fn servers(top: &mut Section<'_, '_>, faults: &mut Faults<'_>, has_endpoint: bool, identity: &IdentityConfig) -> Vec<ServerConfig> {
    let mut servers: Vec<ServerConfig> = Vec::new();
    if !top.has("server") {
        faults.add(0..0, "server", "no server is governed: add a [[server]] with `name` and `url`".into());
    }
    for mut section in top.tables(faults, "server") {
        let name = section.required(faults, "name");
        if servers.iter().any(|server| server.name == name) {
            faults.add(section.span_of("name"), "server.name", format!("`{name}` is the name of another server already"));
        }
        if has_endpoint && !name.is_empty() && !endpoint::is_path_segment(&name) {
            let message =
                "with [endpoint] the name is a part of URLs: expected letters, digits, `-`, `_` and `.`, and no `.` at its beginning";
            faults.add(section.span_of("name"), "server.name", message.into());
        }
        let url = section.required(faults, "url");
        let url = match ServerUrl::parse(&url) {
            Ok(url) => Some(url),
            Err(_) if url.is_empty() => None,
            Err(message) => {
                faults.add(section.span_of("url"), "server.url", message);
                None
            }
        };
        let other = section.choice(faults, "other", &[("deny", Other::Deny), ("pass", Other::Pass)]);
        let durability = section.choice(faults, "durability", &[("sync", Durability::Sync), ("os", Durability::Os)]);
        let (anonymous, authorization, allow_groups) = who(&mut section, faults, identity);
        let changes = [("allow", OnToolChange::Allow), ("hold", OnToolChange::Hold), ("deny", OnToolChange::Deny)];
        let on_tool_change = section.choice(faults, "on_tool_change", &changes);
        let is_https = url.as_ref().is_none_or(|url| url.tls);
        let mut tls = tls(&mut section, faults, is_https);
        let credential = credential::read(&mut section, faults, &mut tls, is_https, identity);
        let (span, name_span) = (section.span_of("url"), section.span_of("name"));
        section.finish(faults);
        if let Some(url) = url {
            if let Some(same) = servers.iter().find(|server| server.url == url) {
                faults.add(span, "server.url", format!("`{}` has this URL already: one server has one table", same.name));
            }
            let server =
                ServerConfig { name, url, other, durability, anonymous, authorization, allow_groups, on_tool_change, tls, credential };
            if server.id() == CANARY_SERVER || servers.iter().any(|other| other.id() == server.id() && other.name != server.name) {
                let message = format!("`{}` has the same number in the kernel as another name: choose another", server.name);
                faults.add(name_span, "server.name", message);
            }
            servers.push(server);
        }
    }
    servers
}

fn quotas(top: &mut Section<'_, '_>, faults: &mut Faults<'_>, servers: &[ServerConfig]) -> Vec<QuotaConfig> {
    let mut quotas = Vec::new();
    for section in top.tables(faults, "quota") {
        let span = section.span_of("server");
        let quota = policy::quota(section, faults);
        if let Some(name) = quota.server.as_deref().filter(|name| servers.iter().all(|server| server.name != *name)) {
            faults.add(span, "quota.server", format!("there is no server `{name}`"));
        }
        quotas.push(quota);
    }
    quotas
}

/// Who may call a server. Where nobody can be told from anybody, everybody may; else whoever is known.
fn who(
    section: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
    identity: &IdentityConfig,
) -> (Anonymous, Authorization, Option<Vec<String>>) {
    let mut anonymous = [("deny", Anonymous::Deny), ("record", Anonymous::Record)];
    let mut authorization = [("gateway", Authorization::Gateway), ("server", Authorization::Server)];
    if !identity.is_configured() {
        anonymous.reverse();
    }
    if identity.oidc.is_empty() {
        authorization.reverse();
    }
    let chosen = (section.choice(faults, "anonymous", &anonymous), section.choice(faults, "authorization", &authorization));
    let groups = section.list(faults, "allow_groups", |group| Ok(group.to_owned()));
    let allow_groups = section.has("allow_groups").then_some(groups);
    if allow_groups.is_some() && !identity.is_configured() {
        let message = "nobody is in a group: add [[identity.oidc]], [[identity.saml]] or [[identity.workload]]";
        faults.add(section.span_of("allow_groups"), &section.named("allow_groups"), message.into());
    }
    if chosen.1 == Authorization::Gateway && identity.oidc.is_empty() {
        let message = "no token could be for the gateway: add [[identity.oidc]]";
        faults.add(section.span_of("authorization"), &section.named("authorization"), message.into());
    }
    (chosen.0, chosen.1, allow_groups)
}

fn tls(section: &mut Section<'_, '_>, faults: &mut Faults<'_>, is_https: bool) -> TlsConfig {
    let ca_file = section.path(faults, "ca_file");
    let client = section.certificate(faults, "client_certificate", "client_key");
    for name in ["ca_file", "client_certificate", "client_key"] {
        if section.has(name) && !is_https {
            faults.add(section.span_of(name), &section.named(name), "is for an https:// server, and this one's URL is http://".into());
        }
    }
    TlsConfig { ca_file, client }
}

pub(super) struct Faults<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    pub(super) fn add(&mut self, span: Range<usize>, key: &str, message: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        self.found.push(Fault { file: self.file.to_owned(), line, key: key.to_owned(), message });
    }
}

/// One table of the file, and which of its keys were asked for: those that were not are unknown.
pub(super) struct Section<'t, 'i> {
    name: String,
    span: Range<usize>,
    table: Option<&'t DeTable<'i>>,
    used: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.used.push(key);
        self.table?.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get(key)).map_or(self.span.clone(), Spanned::span)
    }

    pub(super) fn named(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn table_of(&mut self, faults: &mut Faults<'_>, name: &'static str) -> Option<Section<'t, 'i>> {
        let value = self.get(name)?;
        let name = self.named(name);
        let DeValue::Table(table) = value.get_ref() else {
            faults.add(value.span(), &name, format!("expected a table: [{name}]"));
            return None;
        };
        Some(Section { name, span: value.span(), table: Some(table), used: Vec::new() })
    }

    /// The tables of an array of tables; none when it is absent.
    pub(super) fn tables(&mut self, faults: &mut Faults<'_>, name: &'static str) -> Vec<Section<'t, 'i>> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let name = self.named(name);
        let DeValue::Array(list) = value.get_ref() else {
            faults.add(value.span(), &name, format!("expected [[{name}]], two brackets on each side"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in list {
            match item.get_ref() {
                DeValue::Table(table) => {
                    found.push(Section { name: name.clone(), span: item.span(), table: Some(table), used: Vec::new() })
                }
                _ => faults.add(item.span(), &name, format!("expected [[{name}]] tables")),
            }
        }
        found
    }

    /// A table whose absence means its defaults.
    pub(super) fn section(&mut self, faults: &mut Faults<'_>, name: &'static str) -> Section<'t, 'i> {
        self.table_of(faults, name).unwrap_or(Section { name: name.to_owned(), span: 0..0, table: None, used: Vec::new() })
    }

    pub(super) fn text(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
            _ => {
                faults.add(value.span(), &self.named(key), "expected a string in quotes, not empty".into());
                None
            }
        }
    }

    pub(super) fn required(&mut self, faults: &mut Faults<'_>, key: &'static str) -> String {
        if self.table.is_some_and(|table| !table.contains_key(key)) {
            faults.add(self.span.clone(), &self.named(key), "is missing".into());
        }
        self.text(faults, key).unwrap_or_default()
    }

    pub(super) fn path(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Option<PathBuf> {
        self.text(faults, key).map(PathBuf::from)
    }

    /// A list of texts; each that `parse` does not take is a fault.
    pub(super) fn list<T>(&mut self, faults: &mut Faults<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            faults.add(value.span(), &self.named(key), "expected a list of strings: [\"…\"]".into());
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items {
            let read = if let DeValue::String(text) = item.get_ref() { parse(text) } else { Err("expected strings in quotes".into()) };
            match read {
                Ok(text) => found.push(text),
                Err(message) => faults.add(item.span(), &self.named(key), message),
            }
        }
        found
    }

    /// One text, or a list of texts.
    pub(super) fn one_or_list(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Vec<String> {
        match self.table.and_then(|table| table.get(key)).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => self.text(faults, key).into_iter().collect(),
            _ => self.list(faults, key, |text| Ok(text.to_owned())),
        }
    }

    pub(super) fn flag(&mut self, faults: &mut Faults<'_>, key: &'static str) -> bool {
        match self.get(key).map(|value| (value.get_ref(), value.span())) {
            None => false,
            Some((DeValue::Boolean(flag), _)) => *flag,
            Some((_, span)) => {
                faults.add(span, &self.named(key), "expected true or false".into());
                false
            }
        }
    }

    /// A certificate and its key: both, or neither.
    pub(super) fn certificate(&mut self, faults: &mut Faults<'_>, name: &'static str, key_name: &'static str) -> Option<CertificateFiles> {
        match (self.path(faults, name), self.path(faults, key_name)) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (given, _) => {
                let (there, missing) = if given.is_some() { (name, key_name) } else { (key_name, name) };
                faults.add(self.span_of(there), &self.named(missing), format!("is missing: `{there}` is of no use without it"));
                None
            }
        }
    }

    pub(super) fn address(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Option<SocketAddr> {
        self.parsed(faults, key, |text| {
            text.parse().map_err(|_| format!("expected an address with a port such as \"127.0.0.1:8080\", got \"{text}\""))
        })
    }

    pub(super) fn parsed<T>(&mut self, faults: &mut Faults<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(faults, key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                faults.add(self.span_of(key), &self.named(key), message);
                None
            }
        }
    }

    pub(super) fn duration(&mut self, faults: &mut Faults<'_>, key: &'static str, default: Duration) -> Duration {
        self.parsed(faults, key, value::duration).unwrap_or(default)
    }

    /// Shorter than a tenth of a second, a busy host would look like a hung gateway.
    fn heartbeat(&mut self, faults: &mut Faults<'_>, key: &'static str, default: Duration) -> Duration {
        let long_enough = |text: &str| match value::duration(text)? {
            limit if limit < Duration::from_millis(100) => {
                Err(format!("expected 100ms or more, got \"{text}\": a busy host would look hung"))
            }
            limit => Ok(limit),
        };
        self.parsed(faults, key, long_enough).unwrap_or(default)
    }

    /// Beyond a millisecond, whoever waits would rather have the core for something else.
    fn busy_poll(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Option<Duration> {
        let short_enough = |text: &str| match value::duration(text)? {
            bound if bound > Duration::from_millis(1) => Err(format!("expected a time up to \"1ms\" such as \"50us\", got \"{text}\"")),
            bound => Ok(bound),
        };
        self.parsed(faults, key, short_enough)
    }

    fn bytes(&mut self, faults: &mut Faults<'_>, key: &'static str) -> Option<u64> {
        self.parsed(faults, key, value::size)
    }

    fn size(&mut self, faults: &mut Faults<'_>, key: &'static str, default: usize) -> usize {
        let fits =
            |text: &str| usize::try_from(value::size(text)?).map_err(|_| format!("\"{text}\" is more than this machine can address"));
        self.parsed(faults, key, fits).unwrap_or(default)
    }

    fn loopback(&mut self, faults: &mut Faults<'_>, key: &'static str, default: SocketAddr) -> SocketAddr {
        let parse = |text: &str| match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(address),
            Ok(_) => {
                Err(format!("expected a loopback address such as \"{default}\", got \"{text}\": metrics and health are for this host"))
            }
            Err(_) => Err(format!("expected an address with a port such as \"{default}\", got \"{text}\"")),
        };
        self.parsed(faults, key, parse).unwrap_or(default)
    }

    fn number(&mut self, faults: &mut Faults<'_>, key: &'static str, range: std::ops::RangeInclusive<i64>, default: i64) -> i64 {
        self.integer(faults, key, range).unwrap_or(default)
    }

    pub(super) fn integer(&mut self, faults: &mut Faults<'_>, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            faults.add(value.span(), &self.named(key), format!("expected a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// The first choice is the default.
    pub(super) fn choice<T: Copy>(&mut self, faults: &mut Faults<'_>, key: &'static str, choices: &[(&str, T)]) -> T {
        let names = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
        let parse = |text: &str| {
            choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("expected {names}, got \"{text}\""))
        };
        self.parsed(faults, key, parse).unwrap_or(choices[0].1)
    }

    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        let Some(table) = self.table else { return };
        let known: &[&str] = if self.name.is_empty() { TABLES } else { &self.used };
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let written = key.get_ref().as_ref();
            let near = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, written));
            let hint = match near.filter(|near| strsim::damerau_levenshtein(near, written) <= 3) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            faults.add(key.span(), &self.named(written), format!("unknown key; {hint}"));
        }
    }
}
