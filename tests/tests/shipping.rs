//! The stream holds the log, line by line and in order, and is never in the way of a call.

use std::time::Duration;

use anyhow::ensure;
use gateway_tests::{
    Cgroup, Gateway, Netns, Record, ServerEntry,
    clients::{curl, tool_call},
    kinesis::{Kinesis, without_duplicates},
    servers, wait_until,
};
use serde_json::json;

type Result = anyhow::Result<()>;

const LIMIT: Duration = Duration::from_secs(120);

/// A clinic behind a gateway.
struct Clinic {
    gateway: Gateway,
    cgroup: Cgroup,
    server: servers::ClinicServer,
    _netns: Netns,
}

fn clinic(kinesis: Option<&Kinesis>) -> anyhow::Result<Clinic> {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let server = servers::clinic(&netns)?;
    let cgroup = Cgroup::new()?;
    let setup = Gateway::over(&cgroup).server(ServerEntry::new("clinic", &server.url));
    let gateway = match kinesis {
        Some(kinesis) => setup.kinesis(kinesis).start()?,
        None => setup.start()?,
    };
    Ok(Clinic { gateway, cgroup, server, _netns: netns })
}

impl Clinic {
    fn call(&self, tool: &str, arguments: &serde_json::Value) -> Result {
        let done = curl(&self.server.url, &tool_call(1, tool, arguments)).under(&self.cgroup).run(LIMIT)?.ok()?;
        ensure!(done.stdout.contains("\"result\""), "{}", done.stdout);
        Ok(())
    }

    fn calls(&self, count: u32) -> Result {
        (0..count).try_for_each(|n| self.call("query", &json!({ "sql": format!("SELECT {n} AS n") })))
    }

    fn backlog(&self) -> anyhow::Result<f64> {
        self.gateway.metric("mcp_gateway_ship_backlog_records")
    }

    /// The stream's lines, without duplicates, are the log's. Gives how many entries were duplicates.
    fn is_shipped(&self, kinesis: &Kinesis) -> anyhow::Result<usize> {
        let arrived = kinesis.records()?;
        let count = arrived.len();
        let lines = |records: Vec<Record>| records.into_iter().map(|record| record.line).collect::<Vec<_>>();
        let (stream, log) = (lines(without_duplicates(arrived)?), lines(self.gateway.records()?));
        ensure!(stream.len() == log.len(), "{} lines of {} were shipped", stream.len(), log.len());
        assert_eq!(stream, log);
        Ok(count - log.len())
    }
}

#[test]
fn the_stream_has_every_line_of_the_log_in_order() -> Result {
    let kinesis = Kinesis::start()?;
    let mut clinic = clinic(Some(&kinesis))?;
    clinic.calls(5)?;
    // Lines of 256 KiB and more: entries of their own.
    clinic.call("export", &json!({ "at_least_bytes": 2_000_000 }))?;
    clinic.calls(2)?;
    clinic.gateway.drain()?;
    assert_eq!(clinic.gateway.records()?.last().map(Record::kind), Some("stop"), "also what is written last");
    assert_eq!(clinic.is_shipped(&kinesis)?, 0, "duplicates come only with faults");
    // The next start goes on where this one ended.
    clinic.gateway.run()?;
    clinic.calls(3)?;
    clinic.gateway.drain()?;
    assert_eq!(clinic.is_shipped(&kinesis)?, 0);
    clinic.gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn a_stream_that_is_away_is_in_nobody_s_way_and_catches_up() -> Result {
    let mut kinesis = Kinesis::absent()?;
    let mut clinic = clinic(Some(&kinesis))?;
    clinic.calls(3)?;
    let retries = || clinic.gateway.metric("mcp_gateway_ship_retries_total");
    wait_until("shipping to fail", LIMIT, || retries().is_ok_and(|retries| retries > 0.0))?;
    let before = clinic.backlog()?;
    clinic.calls(5)?;
    wait_until("the backlog to grow with the log", LIMIT, || clinic.backlog().is_ok_and(|records| records >= before + 10.0))?;
    assert!(clinic.gateway.metric("mcp_gateway_ship_lag_seconds")? > 0.0);
    assert_eq!(clinic.gateway.admin("/readyz")?.0, 200, "calls are served all the same");
    // What a gateway that was killed did not ship, the next one does.
    clinic.gateway.kill()?;
    clinic.gateway.run()?;
    clinic.calls(2)?;
    kinesis.bring_up()?;
    wait_until("the stream to catch up", LIMIT, || clinic.backlog().is_ok_and(|records| records < 1.0))?;
    clinic.gateway.drain()?;
    clinic.is_shipped(&kinesis)?;
    clinic.gateway.verify()?.ok()?;
    Ok(())
}

#[test]
fn without_a_stream_in_the_configuration_nothing_is_shipped() -> Result {
    let kinesis = Kinesis::start()?;
    let mut clinic = clinic(None)?;
    clinic.calls(2)?;
    let (_, page) = clinic.gateway.admin("/metrics")?;
    assert!(!page.contains("mcp_gateway_ship_"), "{page}");
    clinic.gateway.drain()?;
    assert!(kinesis.records()?.is_empty());
    assert!(!clinic.gateway.audit_dir().join("kinesis-cursor.json").exists());
    Ok(())
}
