//! The comparison: every contestant under the same load, in turns, so that whatever disturbs the machine disturbs them all.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail};
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

/// A name, connections, and the most calls of a round over them.
const LOADS: [(&str, usize, usize); 3] = [("calls-1", 1, 10_000), ("calls-16", 16, 40_000), ("calls-64", 64, 40_000)];

/// What of it all is to be measured.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Only these loads, such as `calls-1,calls-16`
    #[arg(long, value_name = "LOAD", value_delimiter = ',')]
    pub load: Vec<String>,
    /// Only these contestants, such as `nginx,gateway-os`
    #[arg(long, value_name = "CONTESTANT", value_delimiter = ',')]
    pub only: Vec<String>,
}

impl Selection {
    /// # Errors
    /// It names what there is not.
    fn check(&self) -> anyhow::Result<()> {
        let loads = LOADS.map(|(name, ..)| name);
        let contestants = ENTRIES.each_ref().map(|entry| entry.name);
        for (what, names, known) in [("load", &self.load, &loads[..]), ("contestant", &self.only, &contestants[..])] {
            if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
                bail!("there is no {what} `{name}`; there are: {}", known.join(", "));
            }
        }
        Ok(())
    }
}

fn is_selected(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|one| one == name)
}

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
pub fn run(plan: Plan, selection: &Selection, json: Option<&Path>) -> anyhow::Result<()> {
    selection.check()?;
    needs::require()?;
    // Before anything else writes to the disk.
    let machine = Machine::here(tempfile::tempdir()?.path())?;
    let upstream = Upstream::start()?;
    let mut running = Vec::new();
    for entry in ENTRIES.iter().filter(|entry| is_selected(&selection.only, entry.name)) {
        match entry.missing() {
            Some(missing) => println!("{missing}"),
            None => running.push((entry, (entry.start)(&upstream).with_context(|| format!("{} does not start", entry.name))?)),
        }
    }
    let results = measure(plan, selection, &running)?;
    let comparison = Comparison { machine, body: BODY, results };
    comparison.print();
    if let Some(path) = json {
        fs::write(path, serde_json::to_vec_pretty(&comparison)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure(plan: Plan, selection: &Selection, running: &[(&Entry, Contestant)]) -> anyhow::Result<Vec<Figures>> {
    let loads: Vec<_> = LOADS.iter().filter(|(name, ..)| is_selected(&selection.load, name)).collect();
    let figures = |connections| running.iter().map(move |(entry, _)| Figures { contestant: entry.name, connections, rounds: Vec::new() });
    let mut results: Vec<Figures> = loads.iter().flat_map(|(_, connections, _)| figures(*connections)).collect();
    for round in 0..plan.rounds {
        eprintln!("round {} of {}", round + 1, plan.rounds);
        for (load, (_, connections, calls)) in loads.iter().enumerate() {
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
