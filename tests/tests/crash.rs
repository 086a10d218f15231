//! The gateway is killed at random moments, under load: what it promised stays true.
//!
//! `GATEWAY_CRASHES` says how often, `GATEWAY_CRASH_SEED` repeats the moments of an earlier run. SIGKILL takes the process and leaves
//! the kernel's cache: what a power failure takes is beyond a test of this kind.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    process::Command,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use gateway_tests::{
    Cgroup, Gateway, Netns, Record, ServerEntry,
    clinic::Seen,
    dice::Dice,
    kinesis::{Kinesis, without_duplicates},
    load::{Answer, Load, Sent},
    needs, servers,
    wait::wait_until,
};
use serde_json::json;

type Result<T = ()> = anyhow::Result<T>;

/// Kills when nobody says how many.
const KILLS: usize = 20;
/// A log of its own for so many kills: each restart verifies all of it, which takes longer the longer it is.
const KILLS_A_LOG: usize = 50;
/// Half of them call a server with `durability = "sync"`, half one with `"os"`.
const CONNECTIONS: usize = 32;

#[test]
fn a_gateway_that_is_killed_leaves_no_call_without_its_record() -> Result {
    needs::require()?;
    let kills = setting("GATEWAY_CRASHES")?.unwrap_or(KILLS);
    let seed = setting("GATEWAY_CRASH_SEED")?.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    println!("GATEWAY_CRASHES={kills} GATEWAY_CRASH_SEED={seed}");
    let mut dice = Dice::new(seed);
    for done in (0..kills).step_by(KILLS_A_LOG) {
        let scene = Scene::set()?;
        let played = scene.play(&mut dice, (kills - done).min(KILLS_A_LOG));
        played.with_context(|| {
            format!("after {done} kills that went well; repeat it with GATEWAY_CRASHES={kills} GATEWAY_CRASH_SEED={seed}")
        })?;
    }
    Ok(())
}

fn setting<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{name} is `{text}`, and must be a number"))
}

/// One clinic, governed at two addresses, a gateway before it, the stream that it ships to, and the load.
struct Scene {
    load: Load,
    gateway: Gateway,
    server: servers::ClinicServer,
    kinesis: Kinesis,
    /// The lives of the gateway that were ended.
    ends: Vec<End>,
    _cgroup: Cgroup,
    _netns: Netns,
}

/// How a life of the gateway ended.
struct End {
    pid: u32,
    /// Calls that the server had seen by then.
    seen: usize,
}

impl Scene {
    fn set() -> Result<Self> {
        let kinesis = Kinesis::start()?;
        let netns = Netns::new()?;
        let server = servers::clinic(&netns)?;
        let v6 = format!("http://[{}]:{}/mcp", netns.v6(), server.address.port());
        let cgroup = Cgroup::new()?;
        let mut gateway = Gateway::over(&cgroup)
            .server(ServerEntry::new("sync", &server.url).durability("sync"))
            .server(ServerEntry::new("os", &v6).durability("os"))
            .kinesis(&kinesis)
            // Small, so that kills meet rotations too.
            .segment("256KiB")
            .section("[audit]\nmax_body = \"32KiB\"")
            .prepare()?;
        gateway.guard_up()?;
        let load = Load::start(&cgroup, &[&server.url, &v6], CONNECTIONS)?;
        Ok(Self { load, gateway, server, kinesis, ends: Vec::new(), _cgroup: cgroup, _netns: netns })
    }

    /// Kills the gateway so many times, and then holds against each other what everyone has. What there is stays when that fails.
    fn play(mut self, dice: &mut Dice, kills: usize) -> Result {
        let played = self.kill_again_and_again(dice, kills).and_then(|()| self.hold_against_each_other());
        played.map_err(|error| match self.keep() {
            Ok(dir) => error.context(format!("the evidence is in {}", dir.display())),
            Err(lost) => error.context(format!("the evidence is lost: {lost:#}")),
        })
    }

    fn kill_again_and_again(&mut self, dice: &mut Dice, kills: usize) -> Result {
        let mut startup = Duration::from_millis(500);
        for round in 1..=kills {
            let mut live = || {
                if dice.below(4) == 0 {
                    // While it starts: the last crash is not even dealt with.
                    self.gateway.launch()?;
                    thread::sleep(startup * dice.below(1000) / 1000);
                } else {
                    let since = Instant::now();
                    self.gateway.run()?;
                    startup = since.elapsed();
                    self.gateway.verify()?.ok()?;
                    thread::sleep(Duration::from_micros(dice.below(400_000).into()));
                }
                self.end()
            };
            live().with_context(|| format!("in round {round} of {kills}"))?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result {
        let pid = self.gateway.pid()?;
        self.gateway.kill()?;
        // A call may still be on its way into the server: it is then counted for the next round.
        let seen = fs::read(&self.server.seen)?.iter().filter(|byte| **byte == b'\n').count();
        self.ends.push(End { pid, seen });
        Ok(())
    }

    fn hold_against_each_other(&mut self) -> Result {
        self.gateway.run()?;
        let sent = self.load.stop()?;
        self.all_shipped()?;
        self.gateway.drain()?;
        self.gateway.verify()?.ok()?;
        let log = self.gateway.records()?;
        let seen = self.server.seen()?;
        let account = Account { log: &log, seen: &seen, sent: &sent, ends: &self.ends };
        let requests = account.requests()?;
        account.every_call_that_the_server_saw_is_recorded(&requests)?;
        let closed = account.every_call_is_closed_once()?;
        account.every_answer_that_a_client_has_is_recorded(&requests, &closed)?;
        let taken = self.kinesis.records()?;
        account.the_stream_is_the_log(&taken)?;

        let count = |kind: &str| log.iter().filter(|record| record.kind() == kind).count();
        println!(
            "{} kills: {} calls seen, {} records, {} answers, {} outcomes unknown, {} recoveries, {} segments, {} duplicates in the stream",
            self.ends.len(),
            seen.len(),
            log.len(),
            count("answer"),
            count("outcome_unknown"),
            count("recovery"),
            count("segment") + 1,
            taken.len() - log.len(),
        );
        ensure!(seen.len() > 10 * self.ends.len(), "the load was too light to show anything: {} calls", seen.len());
        Ok(())
    }

    /// Waits until the stream has acknowledged every record that is on disk.
    fn all_shipped(&self) -> Result {
        let on_disk = self.gateway.metric("mcp_gateway_audit_records_total")?;
        let cursor = self.gateway.audit_dir().join("kinesis-cursor.json");
        wait_until("the stream to take all records", Duration::from_secs(120), || {
            let text = fs::read(&cursor).unwrap_or_default();
            serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|cursor| cursor["next"].as_f64() >= Some(on_disk))
        })
    }

    fn keep(&self) -> Result<PathBuf> {
        let dir = tempfile::Builder::new().prefix("mcp-gateway-crash-").tempdir()?.keep();
        let mut cp = Command::new("cp");
        cp.arg("-r").args([self.gateway.audit_dir(), self.gateway.config(), &self.server.seen]).arg(&dir);
        ensure!(cp.status()?.success(), "it could not be copied to {}", dir.display());
        fs::write(dir.join("sent.jsonl"), self.load.noted())?;
        fs::write(dir.join("said"), self.gateway.said())?;
        let lines = self.kinesis.records()?.into_iter().map(|record| record.line + "\n");
        fs::write(dir.join("stream.jsonl"), lines.collect::<String>())?;
        Ok(dir)
    }
}

/// What everyone has in the end.
struct Account<'a> {
    log: &'a [Record],
    seen: &'a [Seen],
    sent: &'a [Sent],
    ends: &'a [End],
}

type Requests<'a> = HashMap<&'a str, &'a Record>;
/// By the number of the record that opened the call.
type Closed<'a> = HashMap<u64, &'a Record>;

impl<'a> Account<'a> {
    /// The request record of each marker.
    fn requests(&self) -> Result<Requests<'a>> {
        let mut requests = HashMap::new();
        for record in self.log.iter().filter(|record| record.kind() == "request") {
            let marker = record.body()["payload"]["json"]["params"]["arguments"]["marker"].as_str();
            let marker = marker.with_context(|| format!("a request without a marker: {}", record.line))?;
            if let Some(first) = requests.insert(marker, record) {
                bail!("call {marker} was sent once and has two records: {} and {}", first.seq(), self.place(record));
            }
        }
        Ok(requests)
    }

    fn every_call_that_the_server_saw_is_recorded(&self, requests: &Requests<'_>) -> Result {
        let mut markers = BTreeSet::new();
        for (index, seen) in self.seen.iter().enumerate() {
            let round = self.ends.partition_point(|end| end.seen <= index) + 1;
            let marker = seen.marker.as_deref().context("a call without a marker")?;
            ensure!(
                requests.contains_key(marker),
                "the server saw call {marker} in round {round}, and the log has no request record of it"
            );
            ensure!(markers.insert(marker), "the server saw call {marker} twice, the second time in round {round}");
        }
        Ok(())
    }

    /// By its answer, or, before the gateway starts anew, by `outcome_unknown`.
    fn every_call_is_closed_once(&self) -> Result<Closed<'a>> {
        let mut open = BTreeSet::new();
        let mut closed = HashMap::new();
        for record in self.log {
            let head = &record.json["head"];
            if head["opens"] == true {
                open.insert(record.seq());
            }
            if let Some(opened) = head["closes"].as_u64() {
                ensure!(open.remove(&opened), "{} closes record {opened}, which is not open", self.place(record));
                ensure!(record.body()["request"] == json!(opened), "{} names another call than {opened}", self.place(record));
                ensure!(matches!(record.kind(), "answer" | "outcome_unknown"), "{} closes a call", self.place(record));
                closed.insert(opened, record);
            }
            if matches!(record.kind(), "start" | "stop") {
                ensure!(open.is_empty(), "{} stands before it is said what became of the calls {open:?}", self.place(record));
            }
        }
        ensure!(open.is_empty(), "nothing says what became of the calls {open:?}");
        Ok(closed)
    }

    fn every_answer_that_a_client_has_is_recorded(&self, requests: &Requests<'_>, closed: &Closed<'_>) -> Result {
        for Sent { marker, answer } in self.sent {
            let request = requests.get(marker.as_str());
            match answer {
                Answer::Cut => {}
                Answer::Other(what) => bail!("call {marker} ({}) got another answer than its result: {what}", self.places(request)),
                Answer::Whole => {
                    let end = request.and_then(|request| closed.get(&request.seq()));
                    let recorded = end.is_some_and(|end| end.kind() == "answer" && end.body()["payload"].to_string().contains(marker));
                    ensure!(
                        recorded,
                        "the client has the answer to call {marker} ({}), and the record says: {}",
                        self.places(request),
                        self.places(end)
                    );
                }
            }
        }
        Ok(())
    }

    fn the_stream_is_the_log(&self, taken: &[Record]) -> Result {
        let lines: HashSet<&str> = taken.iter().map(|record| record.line.as_str()).collect();
        if let Some(lost) = self.log.iter().find(|record| !lines.contains(record.line.as_str())) {
            bail!("the stream never got {}", self.place(lost));
        }
        let stream = without_duplicates(taken.to_vec())?;
        for (ours, theirs) in self.log.iter().zip(&stream) {
            ensure!(ours.line == theirs.line, "the stream has another line for {}:\n{}", self.place(ours), theirs.line);
        }
        ensure!(stream.len() == self.log.len(), "the stream has {} records, and the log has {}", stream.len(), self.log.len());
        Ok(())
    }

    /// Which record, and in which of the gateway's lives it was written.
    fn place(&self, record: &Record) -> String {
        let begun = self.log.iter().rfind(|start| start.kind() == "start" && start.seq() <= record.seq());
        let round = begun.and_then(|start| self.ends.iter().position(|end| start.body()["pid"] == json!(end.pid)));
        let round = round.map_or_else(|| "outside the rounds".into(), |at| format!("round {}", at + 1));
        format!("record {} of kind {}, {round}", record.seq(), record.kind())
    }

    fn places(&self, record: Option<&&Record>) -> String {
        record.map_or_else(|| "no record".into(), |record| self.place(record))
    }
}
