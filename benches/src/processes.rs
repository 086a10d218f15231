//! What the processes of a cgroup take.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use gateway_tests::cgroup::{Spent, spent};
use serde::{Deserialize, Serialize};

/// What they took for calls.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// Microseconds of CPU for a call, in user space.
    pub user_us: f64,
    /// And in the kernel.
    pub system_us: f64,
    /// The most memory that was resident, summed over the processes.
    pub peak_bytes: f64,
}

/// The account of a cgroup, open since a moment.
#[derive(Debug)]
pub struct Account {
    cgroup: PathBuf,
    before: Spent,
}

impl Account {
    /// Begins to count.
    ///
    /// # Errors
    /// The cgroup is gone, or its processes are not ours to ask.
    pub fn open(cgroup: &Path) -> anyhow::Result<Self> {
        for process in processes(cgroup)? {
            // proc_pid_clear_refs(5): the peak of the resident set counts from now on.
            fs::write(process.join("clear_refs"), "5").with_context(|| format!("cannot reset {}", process.display()))?;
        }
        Ok(Self { cgroup: cgroup.to_owned(), before: spent(cgroup)? })
    }

    /// What was taken since, for so many calls.
    ///
    /// # Errors
    /// As [`Account::open`].
    pub fn close(&self, calls: usize) -> anyhow::Result<Cost> {
        let taken = spent(&self.cgroup)? - self.before;
        let mut peak_bytes = 0.0;
        // Not the cgroup's `memory.peak`: it counts what the kernel keeps of logs that were written too, and is not everywhere.
        for process in processes(&self.cgroup)? {
            let peak = number(&process.join("status"), "VmHWM:")?;
            peak_bytes += peak * 1024.0;
        }
        let per_call = |time: Duration| time.as_micros() as f64 / calls as f64;
        Ok(Cost { user_us: per_call(taken.user), system_us: per_call(taken.system), peak_bytes })
    }
}

fn processes(cgroup: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let path = cgroup.join("cgroup.procs");
    let numbers = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(numbers.lines().map(|number| Path::new("/proc").join(number)).collect())
}

/// The number behind a name, in a file with one name a line.
fn number(path: &Path, name: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    find(&text, name).with_context(|| format!("no number {name} in {}", path.display()))
}

fn find(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(char::is_whitespace))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        assert_eq!(find("usage_usec 31\nuser_usec 20\nsystem_usec 11\n", "user_usec"), Some(20.0));
        assert_eq!(find("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n", "VmHWM:"), Some(1234.0));
        assert_eq!(find("user_usec_more 20\n", "user_usec"), None);
    }
}
