//! Where the figures come from: without that they say little.

use std::{
    fmt, fs,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Instant,
};

use anyhow::Context;
use rustix::fs::OFlags;
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
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, filesystem, flush_ms } = self;
        write!(f, "{cores} cores ({cpu}), Linux {kernel}, log on {filesystem}, where a durable write of 4 KiB takes {flush_ms:.2} ms")
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
