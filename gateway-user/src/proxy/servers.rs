//! Which server a connection, and then a request, is for.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::{
    capture::KernelOrigin,
    config::{Config, ServerUrl},
};

/// The servers at one address, in the order of the configuration; never none.
pub(super) type Candidates = Arc<[usize]>;

/// Every address that was ever learned for a server: an address once governed stays governed.
pub struct Servers {
    urls: Vec<ServerUrl>,
    ids: HashMap<u32, usize>,
    names: HashMap<String, usize>,
    known: ArcSwap<HashMap<SocketAddr, Candidates>>,
    /// What each server's name resolved to last, in the resolver's order.
    current: ArcSwap<HashMap<usize, Arc<[SocketAddr]>>>,
}

impl Servers {
    pub(super) fn new(config: &Config) -> Self {
        Servers {
            urls: config.servers.iter().map(|server| server.url.clone()).collect(),
            ids: config.servers.iter().enumerate().map(|(at, server)| (server.id(), at)).collect(),
            names: config.servers.iter().enumerate().map(|(at, server)| (server.name.clone(), at)).collect(),
            known: ArcSwap::default(),
            current: ArcSwap::default(),
        }
    }

    /// Adds what a name resolved to now; returns the addresses that were not known before.
    pub fn learn(&self, server: usize, port: u16, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let mut known = HashMap::clone(&self.known.load());
        let mut fresh = Vec::new();
        let mut now: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            let address = address.to_canonical();
            if !now.contains(&SocketAddr::new(address, port)) {
                now.push(SocketAddr::new(address, port));
            }
            let at = known.entry(SocketAddr::new(address, port)).or_default();
            if at.is_empty() {
                fresh.push(address);
            }
            if !at.contains(&server) {
                *at = at.iter().copied().chain([server]).collect();
            }
        }
        self.known.store(known.into());
        let mut current = HashMap::clone(&self.current.load());
        current.insert(server, now.into());
        self.current.store(current.into());
        fresh
    }

    /// Where a server is to be reached: what its name resolved to last, the resolver's first choice first.
    pub(super) fn addresses(&self, server: usize) -> Arc<[SocketAddr]> {
        self.current.load().get(&server).cloned().unwrap_or_default()
    }

    /// The server of a name, and after it those at the same host and port: a path may lie under one of them.
    pub(super) fn named(&self, name: &str) -> Option<Candidates> {
        let server = *self.names.get(name)?;
        let url = &self.urls[server];
        let beside = |other: &usize| {
            let theirs = &self.urls[*other];
            *other != server && theirs.tls == url.tls && theirs.port == url.port && theirs.host.eq_ignore_ascii_case(&url.host)
        };
        Some(std::iter::once(server).chain((0..self.urls.len()).filter(beside)).collect())
    }

    /// The servers that a connection may be meant for. An address that was learned by an earlier run, or in a form of the
    /// kernel's only (NAT64), is the server's whose number stands beside it in the kernel.
    pub(super) fn of(&self, origin: &KernelOrigin) -> Option<Candidates> {
        if let Some(servers) = self.known.load().get(&origin.original) {
            return Some(servers.clone());
        }
        self.ids.get(&origin.server).map(|server| [*server].into())
    }

    /// The one among them that a request is for: the one of that host, and then the one with the longest path that the request's
    /// path lies under. `named` says that a server itself has named the path as its own.
    pub(super) fn pick(&self, among: &[usize], host: &str, path: &str, named: impl Fn(usize) -> bool) -> Option<usize> {
        let fit = |server: &usize| {
            let url = &self.urls[*server];
            (url.host.eq_ignore_ascii_case(host_alone(host)), named(*server), under(url.path.split('?').next().unwrap_or_default(), path))
        };
        // The first of several that fit alike.
        among.iter().copied().rev().max_by_key(fit)
    }
}

/// `host[:port]` without the port, and an IPv6 address without its brackets.
pub(super) fn host_alone(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// How much of `path` is `base`, if it lies at or under it.
fn under(base: &str, path: &str) -> Option<usize> {
    let rest = path.strip_prefix(base)?;
    (rest.is_empty() || base.ends_with('/') || rest.starts_with('/')).then_some(base.len())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn servers(urls: &[&str]) -> Servers {
        let tables = urls.iter().enumerate().map(|(at, url)| format!("[[server]]\nname = \"s{at}\"\nurl = \"{url}\"\n"));
        Servers::new(&crate::config::parse("test", &tables.collect::<String>()).unwrap())
    }

    #[test]
    fn servers_at_one_address_are_told_apart_by_host_and_path() {
        let servers = servers(&["http://a.example/mcp", "http://a.example/mcp/jira", "http://b.example/mcp"]);
        let pick = |host, path| servers.pick(&[0, 1, 2], host, path, |_| false).unwrap();
        assert_eq!(pick("a.example", "/mcp"), 0);
        assert_eq!(pick("A.example:80", "/mcp/jira"), 1);
        assert_eq!(pick("a.example", "/mcp/jira/x"), 1);
        assert_eq!(pick("a.example", "/mcp/jirax"), 0);
        assert_eq!(pick("b.example", "/mcp/jira"), 2);
        assert_eq!(pick("b.example", "/elsewhere"), 2);
        assert_eq!(pick("c.example", "/elsewhere"), 0, "the first of those that fit alike");
        assert_eq!(servers.pick(&[0, 1], "a.example", "/messages", |server| server == 1), Some(1), "it named that path");
    }

    #[test]
    fn a_server_has_its_number_by_name_and_not_by_place() {
        let servers = servers(&["http://a.example/", "http://b.example/"]);
        let other = crate::config::parse("test", "[[server]]\nname = \"s1\"\nurl = \"http://b.example/\"\n").unwrap();
        assert_eq!(servers.ids[&other.servers[0].id()], 1);
    }

    #[test]
    fn a_server_is_found_by_its_name_before_its_neighbours() {
        let servers = servers(&["http://a.example/jira", "http://a.example/wiki", "http://a.example:81/", "https://a.example/"]);
        assert_eq!(servers.named("s1").unwrap()[..], [1, 0]);
        assert_eq!(servers.named("s3").unwrap()[..], [3]);
        assert!(servers.named("s4").is_none());
        let pick = |path| servers.pick(&servers.named("s1").unwrap(), "a.example", path, |_| false);
        assert_eq!((pick("/wiki"), pick("/messages"), pick("/jira/x")), (Some(1), Some(1), Some(0)));
    }

    #[test]
    fn a_server_is_reached_where_its_name_points_now() {
        let servers = servers(&["http://a.example/"]);
        let [old, new]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        assert!(servers.addresses(0).is_empty());
        servers.learn(0, 80, [old]);
        servers.learn(0, 80, [new, new, old]);
        assert_eq!(servers.addresses(0)[..], [SocketAddr::new(new, 80), SocketAddr::new(old, 80)]);
        servers.learn(0, 80, [new]);
        assert_eq!(servers.addresses(0)[..], [SocketAddr::new(new, 80)]);
    }

    #[test]
    fn an_address_keeps_all_of_its_servers() {
        let servers = servers(&["http://[fd00::1]/a", "http://[fd00::1]/b"]);
        let address: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(servers.learn(0, 80, [address]), [address]);
        assert_eq!(servers.learn(1, 80, [address]), [] as [IpAddr; 0], "governed already");
        assert_eq!(servers.learn(1, 80, [address]), [] as [IpAddr; 0]);
        assert_eq!(servers.known.load()[&SocketAddr::new(address, 80)][..], [0, 1]);
        assert_eq!(servers.pick(&[0, 1], "[fd00::1]:80", "/b", |_| false), Some(1));
    }
}
