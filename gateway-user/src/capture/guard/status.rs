//! What is up, as the kernel tells it.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::IpAddr,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use gateway_common::{Address, CANARY_SERVER, GatewayState, Governed, PORT_BITS, Settings};
use serde::Serialize;

use super::{GovernedAddress, host, pinned, programs};
use crate::capture::{
    GovernedPrefix,
    bpf::{self, Map, PerCpu},
    counts, monotonic_ns, names, netns_cookie, origin,
};

/// How many entries of a map are listed at most: more than the largest map holds.
pub(super) const MAX_LISTED: usize = 1 << 20;

/// One kernel program.
#[derive(Clone, Debug, Serialize)]
pub struct ProgramStatus {
    /// Its name.
    pub name: &'static str,
    /// The kernel's number of it; `None` if it is not attached.
    pub id: Option<u32>,
    /// Why it is not known to be attached.
    pub problem: Option<String>,
}

/// The gateway of one network namespace.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayStatus {
    /// The namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// Its port on 127.0.0.1.
    pub port_v4: Option<u16>,
    /// Its port on ::1.
    pub port_v6: Option<u16>,
    /// How long ago it gave a sign of life, in milliseconds.
    pub silent_ms: u64,
    /// Whether its port is listened on; `None` where it cannot be seen from here: in another namespace.
    pub listens: Option<bool>,
    /// Whether the last sign of life is within the limit, and nothing shows that it does not listen.
    pub alive: bool,
}

/// What is up.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Where the pins are looked for.
    pub pin_dir: PathBuf,
    /// Whether every program is attached and every map pinned.
    pub up: bool,
    /// Whose connections are captured.
    pub cgroup: Option<PathBuf>,
    /// The kernel programs.
    pub programs: Vec<ProgramStatus>,
    /// The maps that are pinned.
    pub maps: Vec<&'static str>,
    /// What is governed.
    pub governed: Vec<GovernedAddress>,
    /// The names of the servers by their numbers, as far as the caller knows them.
    pub names: BTreeMap<u32, String>,
    /// The gateways that have announced themselves.
    pub gateways: Vec<GatewayStatus>,
    /// How often each thing happened.
    pub counters: BTreeMap<&'static str, u64>,
    /// What this kernel lacks, by name.
    pub missing: Vec<String>,
    /// What could not be read, and why.
    pub problems: Vec<String>,
}

impl Status {
    /// With the names of the servers, by their numbers.
    #[must_use]
    pub fn named(self, names: BTreeMap<u32, String>) -> Self {
        Self { names, ..self }
    }
}

/// Looks at what is up. What cannot be read is among the problems; to read all of it takes root.
#[must_use]
pub fn status(pin_dir: &Path) -> Status {
    let mut problems = Vec::new();
    let mut cgroup_id = None;
    let programs: Vec<_> = programs::HOOKS
        .iter()
        .map(|hook| {
            let link = bpf::open_pin(&programs::link_pin(pin_dir, hook.name));
            match link.and_then(|link| bpf::link_info(link.as_fd())) {
                Ok(info) => {
                    cgroup_id = Some(info.cgroup_id);
                    ProgramStatus { name: hook.name, id: Some(info.program_id), problem: None }
                }
                Err(error) => ProgramStatus { name: hook.name, id: None, problem: Some(error.to_string()) },
            }
        })
        .collect();
    let maps: Vec<_> = programs::MAPS.into_iter().filter(|name| pin_dir.join(name).exists()).collect();
    let up = programs.iter().all(|p| p.id.is_some()) && maps.len() == programs::MAPS.len();
    let mut keep = |problem: Result<(), String>| problems.extend(problem.err());
    let (mut governed, mut gateways, mut counters) = (Vec::new(), Vec::new(), BTreeMap::new());
    if !maps.is_empty() {
        keep(list_governed(pin_dir).map(|found| governed = found));
        keep(list_gateways(pin_dir).map(|found| gateways = found));
        keep(list_counters(pin_dir).map(|found| counters = found));
    }
    Status {
        pin_dir: pin_dir.to_owned(),
        up,
        // A cgroup that is gone has no path, and 0 for a number.
        cgroup: cgroup_id.filter(|id| *id != 0).and_then(cgroup_path),
        programs,
        maps,
        governed,
        names: BTreeMap::new(),
        gateways,
        counters,
        missing: host::missing(),
        problems,
    }
}

/// Finds a cgroup by its number.
fn cgroup_path(id: u64) -> Option<PathBuf> {
    let mut todo = vec![host::cgroup2_root()?];
    while let Some(path) = todo.pop() {
        if fs::metadata(&path).is_ok_and(|meta| meta.ino() == id) {
            return Some(path);
        }
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                todo.push(entry.path());
            }
        }
    }
    None
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn list_governed(pin_dir: &Path) -> Result<Vec<GovernedAddress>, String> {
    let map: Map<GovernedPrefix, Governed> = pinned(pin_dir, names::GOVERNED, Map::open).map_err(text)?;
    let mut found = Vec::new();
    for key in map.keys(MAX_LISTED).map_err(text)? {
        let Some(Governed { server }) = map.get(&key).map_err(text)? else {
            continue;
        };
        if server != CANARY_SERVER {
            found.push(address(&key, server));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A key of the trie, as people write it.
fn address(key: &GovernedPrefix, server: u32) -> GovernedAddress {
    let address = Address::from_octets(key.key.address);
    let bits = key.prefix_len.saturating_sub(PORT_BITS);
    let (ip, bits) =
        if address.is_v4() && bits >= 96 { (origin::ip(address), bits - 96) } else { (IpAddr::V6(key.key.address.into()), bits) };
    GovernedAddress { ip, prefix_len: u8::try_from(bits).unwrap_or(128), port: u16::from_be_bytes(key.key.port), server }
}

fn list_gateways(pin_dir: &Path) -> Result<Vec<GatewayStatus>, String> {
    let settings: Map<u32, Settings> = pinned(pin_dir, names::SETTINGS, Map::open).map_err(text)?;
    let limit = settings.get(&0).map_err(text)?.unwrap_or_default().heartbeat_limit_ns;
    let map: Map<u64, GatewayState> = pinned(pin_dir, names::GATEWAYS, Map::open).map_err(text)?;
    let own = netns_cookie().map_err(text)?;
    let mut found = Vec::new();
    for netns_cookie in map.keys(MAX_LISTED).map_err(text)? {
        let Some(state) = map.get(&netns_cookie).map_err(text)? else {
            continue;
        };
        let silent = monotonic_ns().saturating_sub(state.heartbeat_ns);
        let port = |port: u16| (port != 0).then_some(port);
        let listens = (netns_cookie == own).then(|| listens_on_loopback(state.port_v4));
        found.push(GatewayStatus {
            netns_cookie,
            listens,
            port_v4: port(state.port_v4),
            port_v6: port(state.port_v6),
            silent_ms: silent / 1_000_000,
            alive: silent <= limit && listens != Some(false),
        });
    }
    Ok(found)
}

/// Whether something listens at this port of 127.0.0.1, in this network namespace (proc(5), /proc/net/tcp: state 0A is LISTEN).
fn listens_on_loopback(port: u16) -> bool {
    let local = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    fs::read_to_string("/proc/net/tcp").is_ok_and(|sockets| {
        sockets.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            fields.next() == Some(&local) && fields.nth(1) == Some("0A")
        })
    })
}

fn list_counters(pin_dir: &Path) -> Result<BTreeMap<&'static str, u64>, String> {
    let counters = pinned(pin_dir, names::COUNTERS, PerCpu::open).map_err(text)?;
    let counts = counts(&counters).map_err(text)?;
    Ok(counts.into_iter().map(|(reason, n)| (reason.name(), n)).collect())
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attached = self.programs.iter().filter(|p| p.id.is_some()).count();
        let place = self.cgroup.as_ref().map_or_else(String::new, |path| format!(" at {}", path.display()));
        let word = match (self.up, attached) {
            (true, _) => "up",
            (false, 0) => "down",
            (false, _) => "NOT WHOLE: run `mcp-gateway guard up`",
        };
        writeln!(f, "guard      {word} ({attached} of {} programs attached{place})", self.programs.len())?;
        writeln!(f, "pins       {}", self.pin_dir.display())?;
        for program in &self.programs {
            match (&program.id, &program.problem) {
                (Some(id), _) => writeln!(f, "  program  {:<15} id {id}", program.name)?,
                (None, problem) if self.up || attached > 0 => {
                    let problem = problem.as_deref().unwrap_or("not attached");
                    writeln!(f, "  program  {:<15} MISSING: {problem}", program.name)?;
                }
                _ => {}
            }
        }
        if !self.maps.is_empty() {
            writeln!(f, "  maps     {}", self.maps.join(" "))?;
        }
        for governed in &self.governed {
            let GovernedAddress { ip, prefix_len, port, server } = governed;
            match self.names.get(server) {
                Some(name) => writeln!(f, "governed   {ip}/{prefix_len} port {port} ({name})")?,
                None => writeln!(
                    f,
                    "governed   {ip}/{prefix_len} port {port} (server {server}, which the configuration does not name: refused)"
                )?,
            }
        }
        for gateway in &self.gateways {
            let state = match (gateway.alive, gateway.listens) {
                (true, _) => "alive",
                (false, Some(false)) => "NOT LISTENING, connects are refused",
                (false, _) => "SILENT, connects are refused",
            };
            let ports: Vec<_> = [("127.0.0.1", gateway.port_v4), ("[::1]", gateway.port_v6)]
                .into_iter()
                .filter_map(|(host, port)| port.map(|port| format!("{host}:{port}")))
                .collect();
            writeln!(
                f,
                "gateway    {} in network namespace {}: {state} (last sign {} ms ago)",
                ports.join(" "),
                gateway.netns_cookie,
                gateway.silent_ms
            )?;
        }
        if self.up && self.gateways.is_empty() {
            writeln!(f, "gateway    none; governed connects are refused")?;
        }
        for (name, count) in self.counters.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "count      {name:<24} {count}")?;
        }
        for missing in &self.missing {
            writeln!(f, "MISSING    {missing}")?;
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM    {problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{GovernedAddress, address};

    #[test]
    fn what_is_governed_is_shown_as_it_was_given() {
        for (ip, prefix_len) in [("192.0.2.0", 24), ("192.0.2.7", 32), ("2001:db8::", 32)] {
            let ip = ip.parse().expect("an address");
            let given = GovernedAddress { ip, prefix_len, port: 443, server: 3 };
            assert_eq!(address(&given.prefix(), 3), given);
        }
    }
}
