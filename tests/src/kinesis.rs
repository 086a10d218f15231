//! moto, a Kinesis emulator, on a loopback address of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    Launch, Proc, Record, Slot,
    aws::{KEYS, moto},
    binaries,
    clients::python,
};

/// The emulator with one stream of one shard.
#[derive(Debug)]
pub struct Kinesis {
    process: Option<Proc>,
    address: SocketAddr,
    /// Where it is.
    pub endpoint: String,
    /// The stream's name.
    pub stream: String,
    _slot: Slot,
}

impl Kinesis {
    /// Starts the emulator and makes the stream.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let mut kinesis = Self::absent()?;
        kinesis.bring_up()?;
        Ok(kinesis)
    }

    /// A place for an emulator where nothing listens yet.
    ///
    /// # Errors
    /// No address is free.
    pub fn absent() -> anyhow::Result<Self> {
        let slot = Slot::take()?;
        let address = SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 1), 4567));
        Ok(Self { process: None, address, endpoint: format!("http://{address}"), stream: "mcp-audit".into(), _slot: slot })
    }

    /// Starts the emulator in its place and makes the stream.
    ///
    /// # Errors
    /// As [`Kinesis::start`].
    pub fn bring_up(&mut self) -> anyhow::Result<()> {
        self.process = Some(moto(self.address)?);
        self.script("create").context("the emulator's stream cannot be made")?;
        Ok(())
    }

    /// All records that the stream took, in the order in which it took them, with duplicates.
    ///
    /// # Errors
    /// The stream cannot be read, or holds something that is no record.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        self.script("read")?.lines().filter(|line| !line.is_empty()).map(Record::parse).collect()
    }

    fn script(&self, verb: &str) -> anyhow::Result<String> {
        let mut launch =
            Launch::new(python("sdk-v1")).arg(binaries::root().join("tests/python/stream.py")).args([verb, &self.endpoint, &self.stream]);
        for (name, value) in KEYS {
            launch = launch.env(name, value);
        }
        Ok(launch.env("PYTHONDONTWRITEBYTECODE", "1").run(Duration::from_secs(60))?.ok()?.stdout)
    }
}

/// A log as a consumer of the stream has it: duplicates dropped by log and number.
///
/// # Errors
/// A record is missing, or one comes before its turn: the message says which.
pub fn without_duplicates(records: Vec<Record>) -> anyhow::Result<Vec<Record>> {
    let mut kept: Vec<Record> = Vec::with_capacity(records.len());
    for record in records {
        let next = kept.last().map_or(0, |last| last.seq() + 1);
        if let Some(last) = kept.last() {
            ensure!(last.log() == record.log(), "the stream holds two logs: {} and {}", last.log(), record.log());
        }
        ensure!(
            record.seq() <= next,
            "the stream goes from record {} to {}: those between are missing",
            next.saturating_sub(1),
            record.seq()
        );
        if record.seq() == next {
            kept.push(record);
        } else {
            let first = usize::try_from(record.seq()).ok().and_then(|seq| kept.get(seq)).context("a record before the first")?;
            ensure!(first.line == record.line, "the stream holds two different records with number {}", record.seq());
        }
    }
    Ok(kept)
}
