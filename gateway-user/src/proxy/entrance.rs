//! Paths of the endpoint, and the way back: where an answer names the server's own address, the caller would go past the gateway.
//!
//! `/<server>` is the server's MCP endpoint, and `/<server>/path` is `/path` on its host. So `http://gateway/clinic` and
//! `http://gateway/clinic/mcp` both lead to `https://clinic.example/mcp`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::{RawValue, to_raw_value};

use super::identify::path_of;
use crate::{
    config::ServerUrl,
    mcp::{self, Base},
    wire::{
        http1::{Headers, RequestHead},
        sse::Event,
    },
};

const WELL_KNOWN: &str = "/.well-known/";
/// Where a server says who authorizes its callers (RFC 9728 section 3).
pub(super) const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Fields with which a server speaks of its host, which for the caller is the gateway's.
pub(super) const OF_THE_HOST: &[&str] = &["Alt-Svc", "Strict-Transport-Security"];

/// What of a head tells of hops before the gateway, or asks for another path than the one it was sent to. It is the caller's word alone:
/// recorded, and not passed on.
pub(super) fn hearsay(head: &RequestHead) -> impl Iterator<Item = &str> {
    const NAMES: [&str; 8] = [
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "x-original-host",
        "x-original-url",
        "x-rewrite-url",
    ];
    let names = head.headers.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok());
    names.filter(|name| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-forwarded-") || NAMES.contains(&name.as_str())
    })
}

/// A request's target, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'t> {
    /// `/.well-known/<suffix>`, which stands before the path that it is about (RFC 9728 section 3.1); else nothing.
    well_known: &'t str,
    /// What should be a server's name.
    pub server: &'t str,
    /// What follows the name, from its `/` on; nothing when the name is the end.
    rest: &'t str,
    query: Option<&'t str>,
}

impl<'t> Target<'t> {
    pub(super) fn read(target: &'t str) -> Option<Self> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let (well_known, path) = match path.strip_prefix(WELL_KNOWN) {
            Some(after) => path.split_at(WELL_KNOWN.len() + after.find('/')?),
            None => ("", path),
        };
        let named = path.strip_prefix('/').filter(|named| !named.is_empty())?;
        let (server, rest) = named.split_at(named.find('/').unwrap_or(named.len()));
        Some(Target { well_known, server, rest, query })
    }

    /// The target on the server's host.
    fn there(&self, url: &ServerUrl) -> String {
        let Target { well_known, rest, .. } = self;
        let path = match (well_known.is_empty(), rest.is_empty()) {
            (_, false) => format!("{well_known}{rest}"),
            (true, true) => url.path.clone(),
            (false, true) => format!("{well_known}{}", path_of(url)),
        };
        match self.query {
            Some(query) => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
            None => path,
        }
    }
}

/// How a request found its server, and how its answer leads back.
pub(super) struct Entrance {
    /// The target as the caller sent it.
    pub requested: String,
    /// Host and port of the server.
    pub authority: String,
    /// The target on the server's host.
    pub target: String,
    /// Scheme, host and port by which the caller reaches the gateway.
    base: String,
    name: String,
    url: ServerUrl,
    /// The caller uses the name alone for the server's endpoint.
    short: bool,
}

impl Entrance {
    pub(super) fn new(requested: &str, target: &Target<'_>, url: &ServerUrl, base: String) -> Self {
        Entrance {
            requested: requested.to_owned(),
            authority: url.authority(),
            target: target.there(url),
            base,
            name: target.server.to_owned(),
            url: url.clone(),
            short: target.rest.is_empty(),
        }
    }

    /// The path by which the caller reaches a path of the server's host.
    fn here(&self, path: &str) -> String {
        let name = &self.name;
        let well_known = |path: &&str| path.strip_prefix(WELL_KNOWN).is_some_and(|suffix| !suffix.is_empty() && !suffix.contains('/'));
        match path.strip_suffix(path_of(&self.url)).filter(well_known) {
            _ if self.short && path == self.url.path => format!("/{name}"),
            Some(well_known) if self.short => format!("{well_known}/{name}"),
            _ => format!("/{name}{path}"),
        }
    }

    /// The URL by which the caller reaches the server's endpoint.
    pub(super) fn resource(&self) -> String {
        format!("{}{}", self.base, self.here(&self.url.path))
    }

    /// Where the caller learns who authorizes it.
    pub(super) fn metadata_url(&self) -> String {
        format!("{}{}", self.base, self.here(&format!("{METADATA}{}", path_of(&self.url))))
    }

    /// The path by which the caller reaches what a URL in the answer to `target` refers to; `None` if that is not on the server's host.
    fn led(&self, url: &str, target: &str) -> Option<String> {
        let (url, fragment) = url.find('#').map_or((url, ""), |at| url.split_at(at));
        let base = Base { scheme: self.url.scheme(), authority: &self.authority, target };
        // What RFC 3986 says of relative references is the same for an `endpoint` event and for these.
        let path = mcp::endpoint_event(url.as_bytes(), base).ok()?;
        Some(format!("{}{fragment}", self.here(&path)))
    }

    /// The fields of an answer that would lead past the gateway, as they lead through it.
    pub(super) fn lead_back(&self, headers: &Headers, target: &str) -> Vec<(&'static str, Vec<u8>)> {
        let changed = |name: &[u8], value: &str| {
            if name.eq_ignore_ascii_case(b"location") {
                Some(("Location", self.led(value, target)))
            } else if name.eq_ignore_ascii_case(b"www-authenticate") {
                Some(("WWW-Authenticate", self.challenge(value, target)))
            } else if name.eq_ignore_ascii_case(b"set-cookie") {
                Some(("Set-Cookie", Some(self.cookie(value))))
            } else {
                None
            }
        };
        let fields = headers.iter().filter_map(|(name, value)| {
            let (name, led) = changed(name, &String::from_utf8_lossy(value))?;
            Some((name, led.map_or_else(|| value.to_vec(), String::into_bytes)))
        });
        fields.collect()
    }

    /// A challenge whose `resource_metadata` (RFC 9728 section 5.1) leads through the gateway.
    fn challenge(&self, value: &str, target: &str) -> Option<String> {
        const NAME: &str = "resource_metadata=";
        let start = value.to_ascii_lowercase().find(NAME)? + NAME.len();
        let start = start + usize::from(value[start..].starts_with('"'));
        let end = value[start..].find(['"', ',', ' ']).map_or(value.len(), |length| start + length);
        let led = self.led(&value[start..end], target)?;
        Some(format!("{}{}{led}{}", &value[..start], self.base, &value[end..]))
    }

    /// A cookie is the server's, and no other server behind the gateway is to get it.
    fn cookie(&self, value: &str) -> String {
        let is = |part: &str, name: &str| part.split('=').next().unwrap_or_default().trim().eq_ignore_ascii_case(name);
        let path =
            value.split(';').skip(1).find(|part| is(part, "path")).and_then(|part| part.split_once('=')).map(|(_, path)| path.trim());
        let path = self.here(path.filter(|path| path.starts_with('/')).unwrap_or("/"));
        let kept = value.split(';').enumerate().filter(|(at, part)| *at == 0 || !(is(part, "path") || is(part, "domain")));
        let kept: Vec<&str> = kept.map(|(_, part)| part).collect();
        format!("{}; Path={}", kept.join(";"), path.trim_end_matches('/'))
    }

    /// Whether the target is where the server says who authorizes its callers.
    pub(super) fn is_metadata(target: &str) -> bool {
        let path = target.split('?').next().unwrap_or_default();
        path.strip_prefix(METADATA).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The metadata with the URL by which the caller reaches the server, which the caller compares; `None` if it is none to change.
    pub(super) fn metadata(&self, body: &[u8], target: &str) -> Option<Bytes> {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
        let resource: String = serde_json::from_str(members.get("resource")?.get()).ok()?;
        let led = format!("{}{}", self.base, self.led(&resource, target)?);
        members.insert("resource".into(), to_raw_value(&led).ok()?);
        serde_json::to_vec(&members).ok().map(Bytes::from)
    }

    /// An `endpoint` event of 2024-11-05 that names a path of the server's, as the path that the caller is to post to.
    pub(super) fn endpoint_event(&self, event: &Event, path: &str) -> Bytes {
        event.with_data(self.here(path).as_bytes())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn url(url: &str) -> ServerUrl {
        let toml = format!("[[server]]\nname = \"a\"\nurl = \"{url}\"\n");
        crate::config::parse("test", &toml).unwrap().servers[0].url.clone()
    }

    fn entrance(requested: &str, server: &str) -> Entrance {
        Entrance::new(requested, &Target::read(requested).unwrap(), &url(server), "http://gateway:8080".into())
    }

    #[test]
    fn a_path_names_its_server_and_what_follows_is_the_servers() {
        for (requested, server, there) in [
            ("/clinic", "https://h/mcp", "/mcp"),
            ("/clinic/mcp", "https://h/mcp", "/mcp"),
            ("/clinic/mcp?x=1", "https://h/mcp", "/mcp?x=1"),
            ("/clinic?x=1", "https://h/mcp?key=k", "/mcp?key=k&x=1"),
            ("/clinic/", "https://h/mcp", "/"),
            ("/clinic", "https://h", "/"),
            ("/clinic/messages?sessionId=7", "https://h/sse", "/messages?sessionId=7"),
            ("/clinic/.well-known/openid-configuration", "https://h/mcp", "/.well-known/openid-configuration"),
            ("/.well-known/oauth-protected-resource/clinic/mcp", "https://h/mcp", "/.well-known/oauth-protected-resource/mcp"),
            ("/.well-known/oauth-protected-resource/clinic", "https://h/mcp", "/.well-known/oauth-protected-resource/mcp"),
            ("/.well-known/oauth-protected-resource/clinic", "https://h/", "/.well-known/oauth-protected-resource"),
        ] {
            assert_eq!(entrance(requested, server).target, there, "{requested}");
            assert_eq!(Target::read(requested).unwrap().server, "clinic");
        }
        for nothing in ["/", "*", "/?x", "//mcp", "/.well-known/oauth-protected-resource", "/.well-known/x/"] {
            assert!(Target::read(nothing).is_none_or(|target| target.server.is_empty()), "{nothing}");
        }
    }

    #[test]
    fn urls_of_the_server_lead_through_the_gateway_and_others_stay() {
        let long = entrance("/clinic/mcp", "https://h:8443/mcp");
        for (url, led) in [
            ("/messages?sessionId=7", "/clinic/messages?sessionId=7"),
            ("https://h:8443/messages#a", "/clinic/messages#a"),
            ("https://H:8443/mcp", "/clinic/mcp"),
            ("mcp/", "/clinic/mcp/"),
            ("?y", "/clinic/mcp?y"),
            ("//h:8443/x", "/clinic/x"),
            ("../../x", "/clinic/x"),
        ] {
            assert_eq!(long.led(url, "/mcp").as_deref(), Some(led), "{url}");
        }
        for other in ["https://h/mcp", "http://h:8443/mcp", "https://login.example/authorize", "mailto:a@h"] {
            assert_eq!(long.led(other, "/mcp"), None, "{other}");
        }
        let short = entrance("/clinic", "https://h/mcp");
        assert_eq!(short.led("https://h/mcp", "/mcp").as_deref(), Some("/clinic"));
        assert_eq!(short.led("https://h/mcp/", "/mcp").as_deref(), Some("/clinic/mcp/"));
        assert_eq!(
            short.led("/.well-known/oauth-protected-resource/mcp", "/mcp").as_deref(),
            Some("/.well-known/oauth-protected-resource/clinic")
        );
        assert_eq!(short.led("/.well-known/x", "/mcp").as_deref(), Some("/clinic/.well-known/x"));
    }

    #[test]
    fn every_path_that_leads_back_leads_to_where_it_came_from() {
        for server in ["https://h/mcp", "https://h/", "https://h/a/b"] {
            for requested in ["/clinic", "/clinic/mcp", "/.well-known/oauth-protected-resource/clinic"] {
                let there = entrance(requested, server);
                for path in
                    ["/", "/mcp", "/mcp/", "/a/b", "/x?y", "/.well-known/x", "/.well-known/x/mcp", "/.well-known/x/a/b", "/.well-known/x/y"]
                {
                    assert_eq!(entrance(&there.here(path), server).target, path, "{server} {requested} {}", there.here(path));
                }
            }
        }
    }

    #[test]
    fn fields_of_an_answer_lead_back() {
        let mut headers = Headers::new();
        headers.push("LOCATION", "https://h/login");
        headers.push("Content-Type", "text/html");
        headers.push("WWW-Authenticate", "Basic realm=\"x\"");
        headers.push(
            "www-authenticate",
            "Bearer error=\"invalid_token\", resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"a b\"",
        );
        headers.push("Set-Cookie", "AWSALB=x=y; Expires=Wed, 21 Oct 2026 07:28:00 GMT; path=/; Domain=h; Secure");
        headers.push("Set-Cookie", "b=1");
        let led = entrance("/clinic/mcp", "https://h/mcp").lead_back(&headers, "/mcp");
        let led: Vec<String> = led.into_iter().map(|(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap())).collect();
        assert_eq!(
            led,
            [
                "Location: /clinic/login",
                "WWW-Authenticate: Basic realm=\"x\"",
                "WWW-Authenticate: Bearer error=\"invalid_token\", \
                 resource_metadata=\"http://gateway:8080/clinic/.well-known/oauth-protected-resource/mcp\", scope=\"a b\"",
                "Set-Cookie: AWSALB=x=y; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure; Path=/clinic",
                "Set-Cookie: b=1; Path=/clinic",
            ]
        );
    }

    #[test]
    fn metadata_names_the_url_that_the_caller_uses() {
        let body = br#"{"resource":"https://h/mcp","authorization_servers":["https://h/auth"],"n":1e2}"#;
        let path = "/.well-known/oauth-protected-resource/mcp";
        let led = |requested| {
            let body = entrance(requested, "https://h/mcp").metadata(body, path).unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let rest = r#"{"authorization_servers":["https://h/auth"],"n":1e2,"resource":"#;
        assert_eq!(led("/.well-known/oauth-protected-resource/clinic/mcp"), format!(r#"{rest}"http://gateway:8080/clinic/mcp"}}"#));
        assert_eq!(led("/.well-known/oauth-protected-resource/clinic"), format!(r#"{rest}"http://gateway:8080/clinic"}}"#));
        assert!(entrance("/clinic", "https://h/mcp").metadata(b"{}", path).is_none());
        assert!(entrance("/clinic", "https://h/mcp").metadata(br#"{"resource":"https://other/mcp"}"#, path).is_none());
        assert!(Entrance::is_metadata(path) && !Entrance::is_metadata("/.well-known/oauth-protected-resources"));
    }

    #[test]
    fn an_endpoint_event_names_the_path_through_the_gateway() {
        let mut splitter = crate::wire::sse::Splitter::new(1 << 10);
        splitter.push("id: 4\nevent: endpoint\ndata: https://h/messages?sessionId=7\n\n".into());
        let event = splitter.next().unwrap().unwrap();
        let raw = entrance("/clinic/sse", "https://h/sse").endpoint_event(&event, "/messages?sessionId=7");
        assert_eq!(raw, "event: endpoint\nid: 4\ndata: /clinic/messages?sessionId=7\n\n");
    }

    #[test]
    fn what_a_caller_says_of_hops_before_it_is_found() {
        let mut head =
            b"GET /a HTTP/1.1\r\nHost: g\r\nForwarded: for=1\r\nX-Forwarded-For: 1\r\nX-Original-URL: /b\r\nAccept: x\r\n\r\n"[..].into();
        let head = crate::wire::http1::parse_request(&mut head, 1 << 10).unwrap().unwrap();
        assert_eq!(hearsay(&head).collect::<Vec<_>>(), ["Forwarded", "X-Forwarded-For", "X-Original-URL"]);
    }
}
