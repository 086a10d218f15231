//! A cgroup (version 2) of a test's own.

use std::{
    fs,
    ops::Sub,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{Slot, wait::wait_until};

/// A cgroup. When dropped, what still runs in it is killed, and it is removed.
#[derive(Debug)]
pub struct Cgroup {
    slot: Slot,
    path: PathBuf,
}

/// Processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// In the programs themselves.
    pub user: Duration,
    /// In the kernel for them.
    pub system: Duration,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }
}

impl Cgroup {
    /// Makes a cgroup under the root of version 2, wherever that is mounted.
    ///
    /// # Errors
    /// There is no cgroup2 mount, or it is not ours to write.
    pub fn new() -> anyhow::Result<Self> {
        let root = mount()?;
        let slot = Slot::take()?;
        let path = root.join(format!("mcp-gateway-{}", slot.number()));
        let cgroup = Self { slot, path };
        cgroup.remove();
        fs::create_dir(&cgroup.path).with_context(|| format!("cannot create the cgroup {}", cgroup.path.display()))?;
        Ok(cgroup)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its slot's number: names that belong to the cgroup may be made from it.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.slot.number()
    }

    /// Moves a process into it, with all of its threads.
    ///
    /// # Errors
    /// There is no such process, or it may not be moved.
    pub fn take(&self, process: u32) -> anyhow::Result<()> {
        fs::write(self.path.join("cgroup.procs"), process.to_string()).with_context(|| format!("process {process} cannot be moved"))
    }

    /// The processor time that was spent in it so far.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn spent(&self) -> anyhow::Result<Spent> {
        spent(&self.path)
    }

    fn remove(&self) {
        if !self.path.exists() {
            return;
        }
        // Linux 5.14: kills all that is in it.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let gone = wait_until("the cgroup's processes to end", Duration::from_secs(10), || {
            fs::remove_dir(&self.path).is_ok() || !self.path.exists()
        });
        if let Err(error) = gone {
            eprintln!("{} stays behind: {error}", self.path.display());
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The processor time that a cgroup's processes have taken, those that have ended too: the same account as `/proc/PID/stat`, in
/// microseconds and not in ticks.
///
/// # Errors
/// The kernel does not say.
pub fn spent(cgroup: &Path) -> anyhow::Result<Spent> {
    let path = cgroup.join("cpu.stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let of = |name: &str| {
        let number = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        anyhow::Ok(Duration::from_micros(number.with_context(|| format!("no {name} in {}: {stat}", path.display()))?.parse()?))
    };
    Ok(Spent { user: of("user_usec")?, system: of("system_usec")? })
}

/// Where cgroup version 2 is mounted: on hybrid hosts elsewhere than at `/sys/fs/cgroup`.
///
/// # Errors
/// It is not mounted.
pub fn mount() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): … (4) root (5) mount point … - (9) filesystem type
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .find(|(_, kind)| kind.starts_with("cgroup2 "))
        .and_then(|(place, _)| place.split(' ').nth(4))
        .map(PathBuf::from)
        .context("cgroup version 2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}
