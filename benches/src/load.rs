//! The load's own process: so many connections, each with one call under way at a time.

use std::{
    num::NonZero,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::thread::set_current_timer_slack;
use serde::{Deserialize, Serialize};

use crate::{
    connection::{Connection, Sockets, Target},
    exchange::{Answer, request},
    machine::to_last_core,
    processes::{Account, Cost},
};

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be sent, and what is to be counted.
#[derive(Debug, Clone, clap::Args)]
pub struct Drive {
    /// To whom
    #[command(flatten)]
    pub target: Target,
    /// What it is answered with
    #[arg(long)]
    pub answer: Answer,
    /// How many connections
    #[arg(long)]
    pub connections: usize,
    /// It ends after so many calls,
    #[arg(long)]
    pub calls: usize,
    /// or after so many milliseconds
    #[arg(long)]
    pub milliseconds: u64,
    /// So many calls a second, instead of as many as are answered
    #[arg(long)]
    pub rate: Option<u32>,
    /// The cgroup whose CPU time and memory are counted
    #[arg(long)]
    pub of: Option<PathBuf>,
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
    /// What that took in between.
    pub cost: Option<Cost>,
}

/// When calls are due, whether or not others were answered.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    rate: u32,
    calls: u32,
}

impl Schedule {
    /// When the call of this number is due; `None` after the last.
    fn due(self, number: u32) -> Option<Instant> {
        (number < self.calls).then(|| self.start + Duration::from_secs(1) * number / self.rate)
    }
}

/// One connection.
struct Client {
    connection: Connection,
    /// Since when the call under way takes time; `None` while there is none.
    since: Option<Instant>,
}

impl Client {
    fn send(&mut self, request: &[u8], since: Instant) -> anyhow::Result<()> {
        self.since = Some(since);
        self.connection.send(request)
    }

    /// Reads once: how long the call took, if its answer is whole now, and when that was.
    fn receive(&mut self, answer: &[u8]) -> anyhow::Result<Option<(Duration, Instant)>> {
        if !self.connection.answered(answer)? {
            return Ok(None);
        }
        let (now, since) = (Instant::now(), self.since.take().context("an answer to no call")?);
        Ok(Some((now - since, now)))
    }
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
pub fn run(drive: &Drive) -> anyhow::Result<Report> {
    to_last_core()?;
    // Calls that are due are sent at once, not some 50 µs later.
    set_current_timer_slack(NonZero::new(1))?;
    let mut clients = Clients::connect(drive)?;
    let limit = Duration::from_millis(drive.milliseconds);
    // With its first answer, a connection's handshake is over; with the last one, nothing is under way.
    clients.once()?;
    clients.closed(drive.connections * 50, limit / 4)?;
    clients.once()?;
    let account = drive.of.as_deref().map(Account::open).transpose()?;
    let start = Instant::now();
    let mut took = match drive.rate {
        None => clients.closed(drive.calls, limit)?,
        Some(rate) => {
            let calls = (u64::from(rate) * drive.milliseconds / 1000).min(u64::try_from(drive.calls)?);
            clients.open(Schedule { start, rate, calls: u32::try_from(calls)? })?
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let calls = took.len();
    let cost = account.map(|account| account.close(calls)).transpose()?;
    took.sort_unstable();
    let within =
        |of_100: usize| took.get(calls * of_100 / 100).map(|took| took.as_secs_f64() * 1e6).context("no call was answered in time");
    Ok(Report { calls, rate: calls as f64 / seconds, p50_us: within(50)?, p99_us: within(99)?, cost })
}

impl Clients {
    fn connect(drive: &Drive) -> anyhow::Result<Self> {
        let (sockets, target) = (Sockets::new()?, &drive.target);
        let mut all = Vec::with_capacity(drive.connections);
        for (number, connection) in (0..).zip(target.connect(drive.connections)?) {
            sockets.add(&connection, number)?;
            all.push(Client { connection, since: None });
        }
        Ok(Self { all, sockets, request: request(drive.answer, &target.host, &target.prefix), answer: drive.answer.body() })
    }

    /// Calls again once the last call was answered, until so many were, or the time is over and some were. What is under way then stays so.
    fn closed(&mut self, calls: usize, limit: Duration) -> anyhow::Result<Vec<Duration>> {
        let (start, mut took) = (Instant::now(), Vec::with_capacity(calls));
        for client in self.all.iter_mut().filter(|client| client.since.is_none()) {
            client.send(&self.request, Instant::now())?;
        }
        while took.is_empty() || (took.len() < calls && start.elapsed() < limit) {
            let mut silent = true;
            for number in self.sockets.wait(PATIENCE)? {
                silent = false;
                let client = &mut self.all[usize::try_from(number)?];
                if let Some((time, now)) = client.receive(&self.answer)? {
                    took.push(time);
                    client.send(&self.request, now)?;
                }
            }
            ensure!(!silent, "no answer came for {PATIENCE:?}");
        }
        Ok(took)
    }

    /// One call on each connection, after what is under way.
    fn once(&mut self) -> anyhow::Result<()> {
        let calls = u32::try_from(self.all.len())?;
        self.open(Schedule { start: Instant::now(), rate: u32::MAX, calls }).map(drop)
    }

    /// Makes each call of a schedule when it is due, connection after connection, or later where the connection is not free: its time
    /// runs from when it was due in either case. Ends when all are answered.
    fn open(&mut self, schedule: Schedule) -> anyhow::Result<Vec<Duration>> {
        let step = u32::try_from(self.all.len())?;
        let mut next: Vec<u32> = (0..step).collect();
        let mut took = Vec::new();
        loop {
            let now = Instant::now();
            let mut wait = None;
            for (client, number) in self.all.iter_mut().zip(&mut next).filter(|(client, _)| client.since.is_none()) {
                match schedule.due(*number) {
                    Some(due) if due <= now => {
                        client.send(&self.request, due)?;
                        *number += step;
                    }
                    Some(due) => wait = Some(wait.unwrap_or(PATIENCE).min(due - now)),
                    None => {}
                }
            }
            if wait.is_none() && self.all.iter().all(|client| client.since.is_none()) {
                return Ok(took);
            }
            let mut silent = wait.is_none();
            for number in self.sockets.wait(wait.unwrap_or(PATIENCE))? {
                silent = false;
                took.extend(self.all[usize::try_from(number)?].receive(&self.answer)?.map(|(time, _)| time));
            }
            ensure!(!silent, "no answer came for {PATIENCE:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener},
        sync::Arc,
        thread,
    };

    use gateway_tests::{pki::Pki, tls};
    use rustls::ServerConfig;

    use super::*;
    use crate::{
        connection::{HOST, Received},
        exchange::call,
    };

    #[test]
    fn calls_are_due_at_even_distances() {
        let start = Instant::now();
        let schedule = Schedule { start, rate: 2000, calls: 4001 };
        assert_eq!(schedule.due(0), Some(start));
        assert_eq!(schedule.due(1), Some(start + Duration::from_micros(500)));
        assert_eq!(schedule.due(4000), Some(start + Duration::from_secs(2)));
        assert_eq!(schedule.due(4001), None);
    }

    /// A server for one connection, which writes for each call what it is told. It ends with the test's process.
    fn serve(config: Option<ServerConfig>, mut writes: impl FnMut(usize) -> Vec<u8> + Send + 'static) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || -> anyhow::Result<()> {
            let mut connection = Connection::accepted(listener.accept()?.0, config.map(Arc::new).as_ref())?;
            for number in 0.. {
                while connection.receive(b"POST ", &call())? == Received::Part {}
                connection.send(&writes(number))?;
            }
            Ok(())
        });
        Ok(address)
    }

    fn drive(address: SocketAddr, answer: Answer, trust: Option<PathBuf>) -> Drive {
        let target = Target { address, host: HOST.into(), prefix: String::new(), trust };
        Drive { target, answer, connections: 1, calls: 20, milliseconds: 10_000, rate: None, of: None }
    }

    /// A pause of the server's delays one call of a client that waits, and of one that has a schedule all that were due meanwhile.
    #[test]
    fn a_pause_is_counted_for_every_call_that_was_due_in_it() -> anyhow::Result<()> {
        const PAUSE: Duration = Duration::from_millis(300);
        let address = serve(None, |number| {
            thread::sleep(if number == 10 { PAUSE } else { Duration::ZERO });
            Answer::Small.writes().concat()
        })?;
        let mut clients = Clients::connect(&drive(address, Answer::Small, None))?;
        let took = clients.open(Schedule { start: Instant::now(), rate: 100, calls: 100 })?;
        assert_eq!(took.len(), 100);
        // 30 were due in the pause, and those of its first half waited for longer than the half of it.
        let long = took.iter().filter(|took| **took > PAUSE / 2).count();
        assert!((10..50).contains(&long), "{long} calls took long");
        Ok(())
    }

    #[test]
    fn every_answer_is_read_in_the_clear_and_over_tls() -> anyhow::Result<()> {
        let pki = Pki::new()?;
        for answer in Answer::ALL {
            for secure in [false, true] {
                let config = secure.then(|| tls::server(&pki.server(&[HOST])?)).transpose()?;
                let address = serve(config, move |_| answer.writes().concat())?;
                let mut clients = Clients::connect(&drive(address, answer, secure.then(|| pki.ca_file())))?;
                assert_eq!(clients.closed(3, Duration::from_secs(30))?.len(), 3, "{answer:?}, secure: {secure}");
            }
        }
        Ok(())
    }

    #[test]
    fn an_answer_that_is_not_the_servers_ends_the_measurement() -> anyhow::Result<()> {
        for answer in Answer::ALL {
            let address = serve(None, move |number| {
                let mut bytes = answer.writes().concat();
                let at = bytes.len() - 100;
                bytes[at] ^= u8::from(number == 7);
                bytes
            })?;
            let mut clients = Clients::connect(&drive(address, answer, None))?;
            let error = clients.closed(20, Duration::from_secs(30)).expect_err("an answer with another byte");
            assert!(format!("{error:#}").contains("not the message expected"), "{error:#}");
        }
        Ok(())
    }
}
