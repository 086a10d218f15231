//! What may stand between the load and the server. Another peer is one more [`Entry`].

use std::{
    any::Any,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use gateway_tests::{Cgroup, Gateway, Launch, ServerEntry, Slot, needs, servers};

use crate::upstream::Upstream;

/// One that can be started.
#[derive(Debug)]
pub struct Entry {
    /// Its name in tables.
    pub name: &'static str,
    /// A program that must be on the path, and how to get it.
    pub needs: Option<(&'static str, &'static str)>,
    /// Starts it before a server.
    pub start: fn(&Upstream) -> anyhow::Result<Contestant>,
}

/// What all others are measured against, in this order where it is there.
pub const BASELINES: [&str; 2] = ["direct", "nginx"];

/// All of them.
pub const ENTRIES: [Entry; 4] = [
    Entry { name: "direct", needs: None, start: direct },
    Entry { name: "nginx", needs: Some(("nginx", "apt-get install nginx-light")), start: nginx },
    Entry { name: "gateway-os", needs: None, start: |upstream| gateway(upstream, "os") },
    Entry { name: "gateway-sync", needs: None, start: |upstream| gateway(upstream, "sync") },
];

impl Entry {
    /// Why it cannot be started here, and how it could.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let (program, how) = self.needs?;
        (!needs::on_path(program)).then(|| format!("{} is not compared: `{program}` is not on the path ({how})", self.name))
    }
}

/// One that runs.
#[derive(Debug)]
pub struct Contestant {
    /// Ends it when dropped: before the cgroups go.
    _running: Box<dyn Any>,
    /// Where its clients connect.
    pub address: SocketAddr,
    /// The cgroup that its clients must be in.
    pub clients: Option<Cgroup>,
    /// The cgroup that its own processes are in, and nothing else.
    pub processes: Option<Cgroup>,
}

fn direct(upstream: &Upstream) -> anyhow::Result<Contestant> {
    Ok(Contestant { _running: Box::new(()), address: upstream.address, clients: None, processes: None })
}

/// Captured by the kernel: its clients connect to the server's own address. Settings are the defaults.
fn gateway(upstream: &Upstream, durability: &str) -> anyhow::Result<Contestant> {
    let (clients, processes) = (Cgroup::new()?, Cgroup::new()?);
    let server = ServerEntry::new("bench", &format!("http://{}/mcp", upstream.address)).durability(durability);
    let gateway = Gateway::over(&clients).server(server).segment("64MiB").start()?;
    fs::write(processes.path().join("cgroup.procs"), gateway.pid()?.to_string())?;
    Ok(Contestant { _running: Box::new(gateway), address: upstream.address, clients: Some(clients), processes: Some(processes) })
}

/// A plain reverse proxy that keeps its connections, and logs each request as Debian has it: combined, unbuffered.
fn nginx(upstream: &Upstream) -> anyhow::Result<Contestant> {
    let processes = Cgroup::new()?;
    let slot = Slot::take()?;
    let address = TcpListener::bind((Ipv4Addr::new(127, 78, slot.number(), 1), 0))?.local_addr()?;
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("nginx.conf");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {what};\n")).concat();
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes auto; pid nginx.pid; error_log stderr;
             events {{ worker_connections 4096; }}
             http {{
                 access_log requests; keepalive_requests 1000000000; {temporary}
                 upstream server {{ server {}; keepalive 256; keepalive_requests 1000000000; }}
                 server {{
                     listen {address};
                     location / {{ proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
                 }}
             }}",
            upstream.address
        ),
    )?;
    // Its workers outlive a master that is killed: the cgroup ends them.
    let mut process = Launch::new("nginx").arg("-p").arg(dir.path()).arg("-c").arg(&config).under(&processes).start()?;
    servers::listening(&mut process, address)?;
    Ok(Contestant { _running: Box::new((process, dir, slot)), address, clients: None, processes: Some(processes) })
}
