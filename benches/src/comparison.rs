//! The comparison: every contestant under the same load, in turns, so that whatever disturbs the machine disturbs them all.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use gateway_tests::{Launch, binaries, needs};
use serde::Serialize;

use crate::{
    contestants::{BASELINES, Contestant, ENTRIES, Entry},
    exchange::BODY,
    load::Report,
    machine::Machine,
    stats::Spread,
    upstream::Upstream,
};

/// Connections, and the most calls of a round over them.
const LOADS: [(usize, usize); 3] = [(1, 10_000), (16, 40_000), (64, 40_000)];

/// How long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How often each contestant has its turn.
    pub rounds: usize,
    /// The longest turn.
    pub turn: Duration,
}

impl Plan {
    /// For figures that can be compared.
    pub const WHOLE: Self = Self { rounds: 7, turn: Duration::from_secs(3) };
    /// For a first look.
    pub const QUICK: Self = Self { rounds: 3, turn: Duration::from_secs(1) };
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Where.
    pub machine: Machine,
    /// Bytes of the bodies of request and answer.
    pub body: usize,
    /// For each number of connections, each contestant's figures.
    pub results: Vec<Figures>,
}

/// One contestant's figures at one number of connections.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Its name.
    pub contestant: &'static str,
    /// Connections at the same time.
    pub connections: usize,
    /// Round by round.
    pub rounds: Vec<Report>,
}

impl Figures {
    fn spread(&self, of: impl Fn(&Report) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(of))
    }

    /// The middle of the ratios, each of two turns of one round.
    fn ratio(&self, to: &Figures, of: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        let ratios = self.rounds.iter().zip(&to.rounds).filter_map(|(own, base)| Some(of(own)? / of(base)?));
        Some(Spread::of(ratios)?.median)
    }
}

/// Starts all contestants, gives each its turns, and prints what came of it.
///
/// # Errors
/// The machine lacks something, by name; or a contestant failed.
pub fn run(plan: Plan, json: Option<&Path>) -> anyhow::Result<()> {
    needs::require()?;
    // Before anything else writes to the disk.
    let machine = Machine::here(tempfile::tempdir()?.path())?;
    let upstream = Upstream::start()?;
    let mut running = Vec::new();
    for entry in &ENTRIES {
        match entry.missing() {
            Some(missing) => println!("{missing}"),
            None => running.push((entry, (entry.start)(&upstream).with_context(|| format!("{} does not start", entry.name))?)),
        }
    }
    let results = measure(plan, &running)?;
    let comparison = Comparison { machine, body: BODY, results };
    comparison.print();
    if let Some(path) = json {
        fs::write(path, serde_json::to_vec_pretty(&comparison)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(plan: Plan, running: &[(&Entry, Contestant)]) -> anyhow::Result<Vec<Figures>> {
    let figures = |connections| running.iter().map(move |(entry, _)| Figures { contestant: entry.name, connections, rounds: Vec::new() });
    let mut results: Vec<Figures> = LOADS.iter().flat_map(|(connections, _)| figures(*connections)).collect();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for (load, (connections, calls)) in LOADS.iter().enumerate() {
            for turn in 0..running.len() {
                // Each round begins with another: no one always comes after the same.
                let which = (turn + round) % running.len();
                let (entry, contestant) = &running[which];
                let report = take_turn(contestant, *connections, *calls, plan.turn)
                    .with_context(|| format!("{} with {connections} connections", entry.name))?;
                results[load * running.len() + which].rounds.push(report);
            }
        }
    }
    Ok(results)
}

/// The load is a process of its own: whether a connection is captured depends on the cgroup of the process that makes it.
fn take_turn(contestant: &Contestant, connections: usize, calls: usize, limit: Duration) -> anyhow::Result<Report> {
    let mut load = Launch::new(binaries::own("compare")?)
        .args(["load", &contestant.address.to_string(), "--connections", &connections.to_string(), "--calls", &calls.to_string()])
        .args(["--milliseconds", &limit.as_millis().to_string()]);
    if let Some(processes) = &contestant.processes {
        load = load.arg("--cpu-of").arg(processes.path());
    }
    if let Some(clients) = &contestant.clients {
        load = load.under(clients);
    }
    Ok(serde_json::from_value(load.run(limit * 2 + Duration::from_secs(20))?.json()?)?)
}

const RATE: fn(&Report) -> Option<f64> = |report| Some(report.rate);
const P50: fn(&Report) -> Option<f64> = |report| Some(report.p50_us);
const P99: fn(&Report) -> Option<f64> = |report| Some(report.p99_us);
const CPU: fn(&Report) -> Option<f64> = |report| report.cpu_us;

impl Comparison {
    fn print(&self) {
        println!("\n{}", self.machine);
        println!(
            "calls and answers of {} bytes, kept alive; medians of the rounds (quartiles); ratios are medians of ratios by round",
            self.body
        );
        for at in self.results.chunk_by(|one, next| one.connections == next.connections) {
            print!("\n{:<14}{:>24}{:>26}{:>28}{:>22}", connections(at), "calls/s", "p50 µs", "p99 µs", "CPU µs/call");
            let baselines: Vec<&Figures> =
                BASELINES.iter().filter_map(|name| at.iter().find(|figures| figures.contestant == *name)).collect();
            for base in &baselines {
                print!("   {:>28}", format!("× {}: calls/s    p50    CPU", base.contestant));
            }
            println!();
            for figures in at {
                print!("{:<14}{:>24}{:>26}", figures.contestant, shown(figures.spread(RATE), 0), shown(figures.spread(P50), 1));
                print!("{:>28}{:>22}", shown(figures.spread(P99), 1), shown(figures.spread(CPU), 1));
                for base in &baselines {
                    let ratios = [RATE, P50, CPU].map(|of| figures.ratio(base, of).map_or("-".into(), |ratio| format!("{ratio:.2}")));
                    print!("   {:>16}{:>7}{:>7}", ratios[0], ratios[1], ratios[2]);
                }
                println!();
            }
        }
    }
}

fn connections(at: &[Figures]) -> String {
    match at.first().map_or(0, |figures| figures.connections) {
        1 => "1 connection".into(),
        more => format!("{more} connections"),
    }
}

fn shown(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".into(), |Spread { low, median, high }| format!("{median:.digits$} ({low:.digits$}-{high:.digits$})"))
}
