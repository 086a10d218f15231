//! What capture needs of the machine, asked by name.

use std::{fmt, fs};

use crate::cgroup;

/// Something that is missing.
#[derive(Debug, Clone)]
pub struct Missing {
    /// What.
    pub what: String,
    /// How to get it.
    pub how: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

/// The oldest kernel that has all that the guard uses.
const KERNEL: (u32, u32) = (6, 1);

/// All that is missing for capture here; nothing when all is there.
#[must_use]
pub fn missing() -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |there: bool, what: String, how| {
        if !there {
            missing.push(Missing { what, how });
        }
    };
    let root = rustix::process::geteuid().is_root();
    need(root, "root".into(), "run it with sudo");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    need(
        version(&release).is_some_and(|found| found >= KERNEL),
        format!("Linux {}.{} or newer (this is {})", KERNEL.0, KERNEL.1, release.trim()),
        "boot a newer kernel; Amazon Linux 2023, Debian 12 and Ubuntu 24.04 have one",
    );
    need(is_bpffs(), "the BPF filesystem at /sys/fs/bpf".into(), "mount -t bpf bpf /sys/fs/bpf");
    need(cgroup::mount().is_ok(), "cgroup version 2".into(), "mount -t cgroup2 none /sys/fs/cgroup/unified");
    // Capabilities come with root, or root has been deprived of them.
    need(
        !root || may("bpf"),
        "the capability to load BPF programs (CAP_BPF)".into(),
        "run on the host itself, or in a container with --privileged",
    );
    need(
        !root || may("net_admin"),
        "the capability to make network links (CAP_NET_ADMIN)".into(),
        "run on the host itself, or in a container with --privileged",
    );
    missing.extend(missing_tools(&[("ip", "apt-get install iproute2"), ("nsenter", "apt-get install util-linux")]));
    missing.extend(missing_for_an_endpoint());
    missing
}

/// All that is missing for a gateway that captures nothing: it takes no root and nothing of the kernel's.
#[must_use]
pub fn missing_for_an_endpoint() -> Vec<Missing> {
    missing_tools(&[("setpriv", "apt-get install util-linux"), ("curl", "apt-get install curl")])
}

fn missing_tools(tools: &[(&str, &'static str)]) -> Vec<Missing> {
    let missing = tools.iter().filter(|(tool, _)| !on_path(tool));
    missing.map(|(tool, how)| Missing { what: format!("the command `{tool}`"), how }).collect()
}

/// Fails, by name, when something is missing: a test that cannot run has not passed.
///
/// # Errors
/// Something is missing.
pub fn require() -> anyhow::Result<()> {
    let missing = missing();
    anyhow::ensure!(
        missing.is_empty(),
        "this test drives the kernel, and cannot without:\n{}",
        missing.iter().map(|m| format!("  - {m}")).collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn is_bpffs() -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.contains(" /sys/fs/bpf ") && line.contains(" - bpf ")))
}

/// Whether this process has the capability, of the names in capabilities(7) in lower case.
fn may(capability: &str) -> bool {
    let bit = match capability {
        "net_admin" => 12,
        "bpf" => 39,
        _ => return false,
    };
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .is_some_and(|mask| mask & (1 << bit) != 0)
}

/// Whether a command can be found.
#[must_use]
pub fn on_path(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}
