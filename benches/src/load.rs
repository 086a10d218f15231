//! The load: so many connections, on each of which the next call is made as soon as the last was answered.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::exchange::{Connection, Sockets, answer_body, request, to_last_core};

/// What is to be sent, and what is to be counted.
#[derive(Debug, Clone, clap::Args)]
pub struct Load {
    /// Where to connect
    pub to: SocketAddr,
    /// How many connections
    #[arg(long)]
    pub connections: usize,
    /// It ends after so many calls,
    #[arg(long)]
    pub calls: usize,
    /// or after so many milliseconds
    #[arg(long)]
    pub milliseconds: u64,
    /// The cgroup whose CPU time is counted
    #[arg(long)]
    pub cpu_of: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Calls that were answered.
    pub calls: usize,
    /// Calls a second.
    pub rate: f64,
    /// Microseconds within which half of the calls were answered.
    pub p50_us: f64,
    /// And 99 of 100.
    pub p99_us: f64,
    /// Microseconds of CPU, user and system, that the cgroup's processes took for a call.
    pub cpu_us: Option<f64>,
}

/// One connection, and when its call was made.
struct Client {
    connection: Connection,
    since: Instant,
}

struct Clients {
    all: Vec<Client>,
    sockets: Sockets,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// Connects, warms up, and measures.
///
/// # Errors
/// A connection broke, or an answer was not the server's.
pub fn run(load: &Load) -> anyhow::Result<Report> {
    to_last_core()?;
    let mut clients = Clients::connect(load)?;
    let limit = Duration::from_millis(load.milliseconds);
    clients.drive(load.connections * 50, limit / 4)?;
    let (before, start) = (load.cpu_of.as_deref().map(cpu_us).transpose()?, Instant::now());
    let mut took = clients.drive(load.calls, limit)?;
    let (seconds, after) = (start.elapsed().as_secs_f64(), load.cpu_of.as_deref().map(cpu_us).transpose()?);
    took.sort_unstable();
    let calls = took.len();
    let within =
        |of_100: usize| took.get(calls * of_100 / 100).map(|took| took.as_secs_f64() * 1e6).context("no call was answered in time");
    Ok(Report {
        calls,
        rate: calls as f64 / seconds,
        p50_us: within(50)?,
        p99_us: within(99)?,
        cpu_us: before.zip(after).map(|(before, after)| (after - before) / calls as f64),
    })
}

impl Clients {
    fn connect(load: &Load) -> anyhow::Result<Self> {
        let (sockets, request, answer) = (Sockets::new()?, request(load.to), answer_body());
        let mut all = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            let mut connection = Connection::new(TcpStream::connect(load.to)?)?;
            sockets.add(&connection, u64::try_from(number)?)?;
            connection.send(&request)?;
            all.push(Client { connection, since: Instant::now() });
        }
        Ok(Self { all, sockets, request, answer })
    }

    /// Goes on until so many calls were answered, or the time is over. What is under way then stays so.
    fn drive(&mut self, calls: usize, limit: Duration) -> anyhow::Result<Vec<Duration>> {
        let start = Instant::now();
        let mut took = Vec::with_capacity(calls);
        while took.len() < calls && start.elapsed() < limit {
            let mut silent = true;
            for number in self.sockets.wait(Some(10))? {
                silent = false;
                let client = &mut self.all[usize::try_from(number)?];
                if client.connection.answered(&self.answer)? {
                    let now = Instant::now();
                    took.push(now - client.since);
                    client.since = now;
                    client.connection.send(&self.request)?;
                }
            }
            if silent {
                bail!("no answer came for 10 s");
            }
        }
        Ok(took)
    }
}

/// The CPU time that a cgroup's processes have taken, those that have ended too: the same account as `/proc/PID/stat`, in
/// microseconds and not in ticks.
fn cpu_us(cgroup: &Path) -> anyhow::Result<f64> {
    let path = cgroup.join("cpu.stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")).context("no usage_usec")?;
    Ok(usage.parse()?)
}
