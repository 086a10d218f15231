//! Where the figures come from: without that they say little.

use std::{
    fmt, fs,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::Context;
use gateway_tests::binaries;
use rustix::{
    fs::OFlags,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

use crate::stats::Spread;

/// This machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: usize,
    /// Their model.
    pub cpu: String,
    /// The kernel's release.
    pub kernel: String,
    /// The filesystem of the log.
    pub filesystem: String,
    /// Milliseconds that it takes to make 4 KiB durable there.
    pub flush_ms: f64,
    /// The commit of this repository that is measured; with a `+` when files were changed since.
    pub revision: String,
    /// What the programs of peers that are compared say of themselves.
    pub peers: Vec<String>,
}

impl Machine {
    /// This one, with the log in this folder.
    ///
    /// # Errors
    /// `/proc` is not there, or the folder cannot be written to.
    pub fn here(log: &Path) -> anyhow::Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, model)| model);
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            cpu: model.to_owned(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            filesystem: filesystem(log)?,
            flush_ms: flush_ms(log)?,
            revision: revision(),
            peers: Vec::new(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, filesystem, flush_ms, revision, peers } = self;
        writeln!(f, "{cores} cores ({cpu}), Linux {kernel}, log on {filesystem}, where a durable write of 4 KiB takes {flush_ms:.2} ms")?;
        writeln!(f, "gateway at {revision}; {}", peers.join("; "))
    }
}

fn filesystem(of: &Path) -> anyhow::Result<String> {
    let of = fs::canonicalize(of)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): … (5) mount point … - (9) filesystem type. Of two at one place the later covers the earlier.
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        Some((Path::new(place.split(' ').nth(4)?), kind.split(' ').next()?))
    });
    let (_, kind) = mounts.filter(|(at, _)| of.starts_with(at)).max_by_key(|(at, _)| at.components().count()).context("no filesystem")?;
    Ok(kind.to_owned())
}

fn revision() -> String {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").arg("-C").arg(binaries::root()).args(arguments).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "an unknown revision".into() };
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changed| !changed.is_empty());
    commit + if is_changed { "+" } else { "" }
}

fn flush_ms(dir: &Path) -> anyhow::Result<f64> {
    let path = dir.join("flush");
    let flags = i32::try_from(OFlags::DSYNC.bits())?;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(&path)?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        file.write_all_at(&[b'\n'; 4096], 0)?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Spread::of(took).context("no flush")?.median)
}

/// Keeps this thread on the last core. Both ends of a measurement share it, so that the others are the proxy's.
///
/// # Errors
/// The kernel says no.
pub fn to_last_core() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).context("no core to run on")?;
    let mut only = CpuSet::new();
    only.set(last);
    Ok(sched_setaffinity(None, &only)?)
}
