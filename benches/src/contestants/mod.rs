//! What may stand between the load and the server. Another peer is one more [`Peer`] with its [`Entry`].

mod envoy;
mod gateway;
mod haproxy;
mod nginx;

use std::{
    any::Any,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use gateway_tests::{Cgroup, Launch, Slot, servers};

use crate::{
    connection::{HOST, Target},
    peers::{ENVOY, HAPROXY, NGINX, Peer},
    upstream::Upstream,
};

/// One that can be started.
#[derive(Debug)]
pub struct Entry {
    /// Its name, for the command line and in tables.
    pub name: &'static str,
    /// HTTPS on both of its sides: it is compared with what is that too.
    pub secure: bool,
    /// Where its program comes from, if it is not part of this repository.
    pub peer: Option<&'static Peer>,
    /// Starts it before the server, from the program at a path.
    pub start: fn(&Upstream, &Path) -> anyhow::Result<Contestant>,
}

/// All of them. What is captured, and what is called at an endpoint, has durability `os` unless its name says `sync`.
pub const ENTRIES: [Entry; 15] = [
    Entry { name: "direct", secure: false, peer: None, start: |upstream, _| direct(upstream, false) },
    Entry { name: "gateway-os", secure: false, peer: None, start: |upstream, _| gateway::captured(upstream, false, "os", "") },
    Entry { name: "gateway-sync", secure: false, peer: None, start: |upstream, _| gateway::captured(upstream, false, "sync", "") },
    Entry { name: "gateway-busy", secure: false, peer: None, start: |upstream, _| gateway::captured(upstream, false, "os", gateway::BUSY) },
    Entry {
        name: "gateway-unmasked",
        secure: false,
        peer: None,
        start: |upstream, _| gateway::captured(upstream, false, "os", gateway::UNMASKED),
    },
    Entry {
        name: "gateway-all-masks",
        secure: false,
        peer: None,
        start: |upstream, _| gateway::captured(upstream, false, "os", gateway::ALL_MASKS),
    },
    Entry { name: "endpoint", secure: false, peer: None, start: |upstream, _| gateway::endpoint(upstream, false) },
    Entry { name: "nginx", secure: false, peer: Some(&NGINX), start: |upstream, program| nginx::start(upstream, program, false) },
    Entry { name: "haproxy", secure: false, peer: Some(&HAPROXY), start: |upstream, program| haproxy::start(upstream, program, false) },
    Entry { name: "envoy", secure: false, peer: Some(&ENVOY), start: envoy::start },
    Entry { name: "direct-https", secure: true, peer: None, start: |upstream, _| direct(upstream, true) },
    Entry { name: "gateway-https", secure: true, peer: None, start: |upstream, _| gateway::captured(upstream, true, "os", "") },
    Entry { name: "endpoint-https", secure: true, peer: None, start: |upstream, _| gateway::endpoint(upstream, true) },
    Entry { name: "nginx-https", secure: true, peer: Some(&NGINX), start: |upstream, program| nginx::start(upstream, program, true) },
    Entry { name: "haproxy-https", secure: true, peer: Some(&HAPROXY), start: |upstream, program| haproxy::start(upstream, program, true) },
];

impl Entry {
    /// Those that it is measured against: no proxy, and nginx.
    #[must_use]
    pub fn baselines(&self) -> [&'static str; 2] {
        if self.secure { ["direct-https", "nginx-https"] } else { ["direct", "nginx"] }
    }
}

/// One that runs.
#[derive(Debug)]
pub struct Contestant {
    /// Ends it when dropped: before the cgroups go.
    _running: Box<dyn Any>,
    /// Where its clients connect.
    pub target: Target,
    /// The cgroup that its clients must be in.
    pub clients: Option<Cgroup>,
    /// The cgroup that its own processes are in, and nothing else.
    pub processes: Option<Cgroup>,
    /// Where its log is, if it keeps bodies in it.
    pub log: Option<PathBuf>,
}

impl Contestant {
    /// Removes what it has logged and finished with: a whole comparison would fill a disk.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget(&self) -> anyhow::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let paths = fs::read_dir(log)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let mut segments: Vec<PathBuf> = paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
        segments.sort();
        // One is written to, and the one before may still be cut to its length.
        segments.truncate(segments.len().saturating_sub(2));
        for segment in segments {
            fs::remove_file(&segment).with_context(|| format!("cannot remove {}", segment.display()))?;
        }
        Ok(())
    }
}

fn direct(upstream: &Upstream, secure: bool) -> anyhow::Result<Contestant> {
    let target = target(upstream, if secure { upstream.https } else { upstream.http }, secure.then(|| upstream.pki.ca_file()));
    Ok(Contestant { _running: Box::new(()), target, clients: None, processes: None, log: None })
}

/// A place where what speaks for the server is reached. Where clients trust somebody, it is by the server's name.
fn target(upstream: &Upstream, address: SocketAddr, trust: Option<PathBuf>) -> Target {
    let host = if trust.is_some() { format!("{HOST}:{}", upstream.https.port()) } else { address.to_string() };
    Target { address, host, prefix: String::new(), trust }
}

/// A reverse proxy that is somebody else's: its configuration is made for the address at which it is to listen, and its log goes into
/// the folder that it is started in.
fn reverse_proxy(
    upstream: &Upstream,
    secure: bool,
    configuration: impl FnOnce(SocketAddr, &Path) -> String,
    launch: impl FnOnce(&Path, &Path) -> Launch,
) -> anyhow::Result<Contestant> {
    let (processes, slot, dir) = (Cgroup::new()?, Slot::take()?, tempfile::tempdir()?);
    // Some give up root.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let address = TcpListener::bind((Ipv4Addr::new(127, 78, slot.number(), 1), 0))?.local_addr()?;
    // Envoy goes by the ending, the others do not.
    let file = dir.path().join("configuration.yaml");
    fs::write(&file, configuration(address, dir.path()))?;
    // Its workers outlive a master that is killed: the cgroup ends them.
    let mut process = launch(dir.path(), &file).directory(dir.path()).under(&processes).start()?;
    servers::listening(&mut process, address)?;
    let target = target(upstream, address, secure.then(|| upstream.pki.ca_file()));
    Ok(Contestant { _running: Box::new((process, dir, slot)), target, clients: None, processes: Some(processes), log: None })
}
