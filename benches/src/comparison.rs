//! The comparison: every contestant under the same load, in turns, so that whatever disturbs the machine disturbs them all.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use gateway_tests::{Launch, binaries, needs};
use serde::Serialize;

use crate::{
    contestants::{Contestant, ENTRIES, Entry},
    exchange::BODY,
    figures::Figures,
    load::Report,
    loads::{LOADS, Load, Pace},
    machine::Machine,
    peers::{PEERS, With},
    table,
    upstream::Upstream,
};

/// What is to be measured, and how.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// Fewer and shorter rounds: a first look, not figures to compare
    #[arg(long)]
    pub quick: bool,
    /// Also write every figure into this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Only these loads
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',')]
    pub load: Vec<String>,
    /// Only these contestants
    #[arg(long, value_name = "CONTESTANT,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The program of a peer: another one than is on the path, or of a peer that is in no distribution
    #[arg(long, value_name = "PEER=PATH")]
    pub with: Vec<With>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Comparison<'a> {
    machine: Machine,
    /// Bytes of a request's body.
    body: usize,
    figures: &'a [Figures],
}

/// One that runs, and its turns under each load.
struct Running {
    entry: &'static Entry,
    contestant: Contestant,
}

/// What one contestant did under one load, round by round.
struct Turns<'a> {
    load: &'static Load,
    running: &'a Running,
    reports: Vec<Report>,
}

impl Plan {
    /// How often each contestant has its turn, and how long that is at most.
    fn rounds(&self) -> (usize, Duration) {
        if self.quick { (3, Duration::from_millis(500)) } else { (7, Duration::from_millis(1500)) }
    }

    /// # Errors
    /// It names what there is not.
    fn check(&self) -> anyhow::Result<()> {
        let (loads, contestants) = (LOADS.each_ref().map(|load| load.name), ENTRIES.each_ref().map(|entry| entry.name));
        for (what, names, known) in [("load", &self.load, &loads[..]), ("contestant", &self.only, &contestants[..])] {
            let unknown = names.iter().find(|name| !known.contains(&name.as_str()));
            ensure!(unknown.is_none(), "there is no {what} `{}`, only: {}", unknown.map_or("", String::as_str), known.join(", "));
        }
        Ok(())
    }

    fn loads(&self) -> impl Iterator<Item = &'static Load> {
        LOADS.iter().filter(|load| is_among(&self.load, load.name))
    }

    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let takes_part = |entry: &&Entry| self.loads().any(|load| load.contestants.contains(&entry.name));
        ENTRIES.iter().filter(|entry| is_among(&self.only, entry.name)).filter(takes_part)
    }
}

fn is_among(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|one| one == name)
}

/// Starts all contestants, gives each its turns, and prints what came of it.
///
/// # Errors
/// The machine lacks something, by name; or a contestant failed.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    plan.check()?;
    needs::require()?;
    // Before anything else writes to the disk.
    let mut machine = Machine::here(tempfile::tempdir()?.path())?;
    for peer in PEERS.into_iter().filter(|peer| plan.entries().any(|entry| entry.peer == Some(peer))) {
        match peer.program(&plan.with) {
            Some(program) => machine.peers.push(peer.version(&program)?),
            None => println!("{} is not compared: {}", peer.name, peer.how),
        }
    }
    let upstream = Upstream::start()?;
    let mut running = Vec::new();
    for entry in plan.entries() {
        let program = match entry.peer.map(|peer| peer.program(&plan.with)) {
            None => PathBuf::new(),
            Some(Some(program)) => program,
            Some(None) => continue,
        };
        let contestant = (entry.start)(&upstream, &program).with_context(|| format!("{} does not start", entry.name))?;
        running.push(Running { entry, contestant });
    }
    let turns = measure(plan, &running)?;
    let figures: Vec<Figures> = turns.iter().filter_map(|own| own.figures(&turns)).collect();
    println!("\n{machine}");
    table::print(&figures);
    if let Some(path) = &plan.json {
        let all = serde_json::to_vec_pretty(&Comparison { machine, body: BODY, figures: &figures })?;
        fs::write(path, all).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn measure<'a>(plan: &Plan, running: &'a [Running]) -> anyhow::Result<Vec<Turns<'a>>> {
    let (rounds, limit) = plan.rounds();
    let mut loads: Vec<Vec<Turns<'a>>> = Vec::new();
    for load in plan.loads() {
        let takes_part = running.iter().filter(|running| load.contestants.contains(&running.entry.name));
        loads.push(takes_part.map(|running| Turns { load, running, reports: Vec::new() }).collect());
    }
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for turns in &mut loads {
            // Each round begins with another: no one always comes after the same.
            let begin = round % turns.len().max(1);
            let (last, first) = turns.split_at_mut(begin);
            for turn in first.iter_mut().chain(last) {
                let (load, Running { entry, contestant }) = (turn.load, turn.running);
                let report = take_turn(contestant, load, limit).with_context(|| format!("{}, {}", load.name, entry.name))?;
                turn.reports.push(report);
            }
        }
    }
    Ok(loads.into_iter().flatten().collect())
}

/// The load is a process of its own: whether a connection is captured depends on the cgroup of the process that makes it.
fn take_turn(contestant: &Contestant, load: &Load, limit: Duration) -> anyhow::Result<Report> {
    // What others have written is on the disk before: it would be in the way of who waits for the disk.
    rustix::fs::sync();
    let answer = clap::ValueEnum::to_possible_value(&load.answer).context("every answer has a name")?;
    let mut launch = Launch::new(binaries::own("compare")?)
        .arg("load")
        .args(contestant.target.arguments())
        .args(["--answer", answer.get_name(), "--connections", &load.connections.to_string()])
        .args(["--calls", &load.most.to_string(), "--milliseconds", &limit.as_millis().to_string()]);
    if let Pace::Rate(rate) = load.pace {
        launch = launch.args(["--rate", &rate.to_string()]);
    }
    if let Some(processes) = &contestant.processes {
        launch = launch.arg("--of").arg(processes.path());
    }
    if let Some(clients) = &contestant.clients {
        launch = launch.under(clients);
    }
    let report = serde_json::from_value(launch.run(limit * 2 + Duration::from_secs(30))?.json()?)?;
    contestant.forget()?;
    Ok(report)
}

impl Turns<'_> {
    fn figures(&self, all: &[Turns<'_>]) -> Option<Figures> {
        let own = self.running.entry;
        let [direct, nginx] = own.baselines().map(|name| {
            // Nobody is compared with himself.
            let mut others = all.iter().filter(|turns| turns.load.name == self.load.name && turns.running.entry.name != own.name);
            others.find(|turns| turns.running.entry.name == name).map(|turns| turns.reports.as_slice())
        });
        Figures::of(self.load.name, own.name, &self.reports, direct, nginx)
    }
}
