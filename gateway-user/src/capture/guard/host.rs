//! What the host must offer: kernel features, privileges, a bpffs, cgroup version 2.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use rustix::fs::{Gid, Uid, chown, statfs};

use super::GuardError;
use crate::capture::{mountinfo, sock_diag};

/// linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
/// Where a bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// The oldest kernel that has all of it: `bpf_set_retval` and the identity helpers in socket address hooks.
const KERNEL_FLOOR: (u32, u32) = (6, 1);
/// linux/capability.h.
const CAPABILITIES: [(u32, &str); 4] = [(12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// The names of everything that the guard needs and that is not here.
pub(super) fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if let Some(release) = kernel_release()
        && parse_release(&release).is_some_and(|found| found < KERNEL_FLOOR)
    {
        let (major, minor) = KERNEL_FLOOR;
        missing.push(format!("Linux {major}.{minor} or newer (this is {release})"));
    }
    let lacking = missing_capabilities();
    if !lacking.is_empty() {
        // Without them none of the questions below is answered truly.
        missing.push(format!("{} (run the guard as root)", lacking.join(", ")));
        return missing;
    }
    missing.extend(missing_bpf());
    if let Err(error) = sock_diag::probe() {
        missing.push(error.to_string());
    }
    if cgroup2_root().is_none() {
        missing.push("a mount of cgroup version 2 (CONFIG_CGROUPS, mount -t cgroup2)".to_owned());
    }
    missing
}

fn missing_bpf() -> Vec<String> {
    let mut missing = Vec::new();
    let mut ask = |name: &str, answer: Result<bool, String>| match answer {
        Ok(true) => {}
        Ok(false) => missing.push(name.to_owned()),
        Err(error) => missing.push(format!("{name} (asking failed: {error})")),
    };
    for (name, kind) in [
        ("BPF_PROG_TYPE_CGROUP_SOCK_ADDR (CONFIG_CGROUP_BPF)", ProgramType::CgroupSockAddr),
        ("BPF_PROG_TYPE_CGROUP_SOCK (CONFIG_CGROUP_BPF)", ProgramType::CgroupSock),
        ("BPF_PROG_TYPE_SOCK_OPS (CONFIG_CGROUP_BPF)", ProgramType::SockOps),
    ] {
        ask(name, is_program_supported(kind).map_err(|e| e.to_string()));
    }
    for (name, kind) in [
        ("BPF_MAP_TYPE_LPM_TRIE", MapType::LpmTrie),
        ("BPF_MAP_TYPE_SK_STORAGE", MapType::SkStorage),
        ("BPF_MAP_TYPE_RINGBUF", MapType::RingBuf),
    ] {
        ask(name, is_map_supported(kind).map_err(|e| e.to_string()));
    }
    for (name, kind, helper) in [
        ("bpf_set_retval in connect hooks", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval),
        ("bpf_sk_lookup_tcp in connect hooks", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_sk_lookup_tcp),
        ("bpf_sk_storage_get in connect hooks", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_sk_storage_get),
        ("bpf_get_netns_cookie in connect hooks", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_get_netns_cookie),
        ("bpf_get_current_pid_tgid in connect hooks", ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_get_current_pid_tgid),
        ("bpf_get_socket_cookie in socket hooks", ProgramType::CgroupSock, BpfHelper::BPF_FUNC_get_socket_cookie),
        ("bpf_get_netns_cookie in TCP hooks", ProgramType::SockOps, BpfHelper::BPF_FUNC_get_netns_cookie),
    ] {
        ask(name, is_helper_supported(kind, helper).map_err(|e| e.to_string()));
    }
    missing
}

fn kernel_release() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim().to_owned())
}

/// `6.1.0-28-amd64` is 6.1.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn missing_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective =
        status.lines().find_map(|line| line.strip_prefix("CapEff:")).and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect()
}

fn mounts() -> Vec<mountinfo::Mount> {
    mountinfo::parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// Where cgroup version 2 begins on this host.
pub(super) fn cgroup2_root() -> Option<PathBuf> {
    mountinfo::cgroup2(&mounts()).map(|mount| mount.point.clone())
}

/// A directory of cgroup version 2.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) path: PathBuf,
    /// The kernel's number of it: its inode (`kernfs_node_id`).
    pub(super) id: u64,
    /// Whether it is the whole hierarchy.
    pub(super) is_root: bool,
}

impl Cgroup {
    /// The cgroup given, or the root of all.
    pub(super) fn find(given: Option<&Path>) -> Result<Self, GuardError> {
        let root = cgroup2_root();
        let path = match (given, &root) {
            (Some(path), _) => path.to_owned(),
            (None, Some(root)) => root.clone(),
            (None, None) => {
                return Err(GuardError::Missing(vec!["a mount of cgroup version 2".to_owned()]));
            }
        };
        let wrong = |why: String| GuardError::Cgroup { path: path.clone(), why };
        let kind = statfs(&path).map_err(|error| wrong(error.to_string()))?;
        if kind.f_type != CGROUP2_SUPER_MAGIC {
            let hint = root.as_ref().map_or_else(String::new, |root| format!(" (version 2 is mounted at {})", root.display()));
            return Err(wrong(format!("it is on another file system{hint}")));
        }
        let meta = fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
        if !meta.is_dir() {
            return Err(wrong("it is a file".to_owned()));
        }
        let root_id = root.and_then(|root| fs::metadata(root).ok()).map(|m| m.ino());
        Ok(Self { id: meta.ino(), is_root: root_id == Some(meta.ino()), path })
    }

    /// The numbers of this cgroup and all below it; `None` for the root, which has all.
    pub(super) fn subtree(&self) -> Option<HashSet<u64>> {
        if self.is_root {
            return None;
        }
        let mut found = HashSet::from([self.id]);
        let mut todo = vec![self.path.clone()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    found.extend(entry.metadata().map(|meta| meta.ino()));
                    todo.push(entry.path());
                }
            }
        }
        Some(found)
    }
}

fn is_on_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|kind| kind.f_type == BPF_FS_MAGIC)
}

/// Makes the directory of the pins, which the gateway's group may enter; returns what had to be changed on the host.
pub(super) fn prepare_pin_dir(pin_dir: &Path, group: Gid) -> Result<Vec<String>, GuardError> {
    let mut notes = Vec::new();
    if pin_dir.starts_with(BPFFS) && !mountinfo::is_bpffs(&mounts(), Path::new(BPFFS)) {
        mount_bpffs()?;
        notes.push(format!("mounted a BPF file system at {BPFFS}"));
    }
    let nearest = pin_dir.ancestors().find(|path| path.exists());
    if !nearest.is_some_and(is_on_bpffs) {
        return Err(GuardError::NotBpffs { path: pin_dir.to_owned() });
    }
    fs::create_dir_all(pin_dir).map_err(GuardError::file("make", pin_dir))?;
    chown(pin_dir, Some(Uid::ROOT), Some(group)).map_err(|error| GuardError::file("change the owner of", pin_dir)(error.into()))?;
    set_mode(pin_dir, 0o750)?;
    // systemd mounts a bpffs that only root may enter. To pass through is not to list or open: pins have modes of their own.
    for directory in pin_dir.ancestors().skip(1).take_while(|path| is_on_bpffs(path)) {
        let mode = fs::metadata(directory).map_err(GuardError::file("look at", directory))?.permissions().mode();
        if mode & 0o001 == 0 {
            set_mode(directory, mode | 0o001)?;
            notes.push(format!("let every user pass through {}", directory.display()));
        }
    }
    Ok(notes)
}

fn mount_bpffs() -> Result<(), GuardError> {
    fs::create_dir_all(BPFFS).map_err(GuardError::file("make", BPFFS))?;
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOEXEC;
    rustix::mount::mount("bpf", BPFFS, "bpf", flags, c"mode=0711")
        .map_err(|error| GuardError::file("mount a BPF file system at", BPFFS)(error.into()))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), GuardError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(GuardError::file("change the mode of", path))
}

/// Gives a pin to the gateway's user, and to nobody else.
pub(super) fn hand_over(pin: &Path, user: Uid, group: Gid) -> Result<(), GuardError> {
    set_mode(pin, 0o600)?;
    chown(pin, Some(user), Some(group)).map_err(|error| GuardError::file("change the owner of", pin)(error.into()))
}

#[cfg(test)]
mod tests {
    use super::{KERNEL_FLOOR, parse_release};

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(parse_release("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(parse_release("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse_release("7.0-rc1"), Some((7, 0)));
        assert_eq!(parse_release("nonsense"), None);
        assert!(parse_release("5.15.0").is_some_and(|found| found < KERNEL_FLOOR));
        assert!(parse_release("6.10.3").is_some_and(|found| found >= KERNEL_FLOOR));
    }
}
