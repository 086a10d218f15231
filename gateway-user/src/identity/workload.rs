//! Workloads: services that the operator declared, known by what the kernel says of their processes.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{How, Identity, Principal, Strength};
use crate::{
    audit::{Digest, Sha256},
    capture::process::{Inode, Process},
    config::WorkloadConfig,
};

/// So many executables are remembered.
const MOST: usize = 1024;

/// The declared workloads.
pub struct Workloads {
    declared: Vec<WorkloadConfig>,
    /// The role of the instance that this host is, once it is known.
    role: arc_swap::ArcSwapOption<String>,
    digests: Mutex<HashMap<Version, Sha256>>,
}

/// What tells what a file holds from what it held before: device, inode, size, and when it last changed.
type Version = [i128; 5];

impl Workloads {
    /// In the order of the configuration.
    #[must_use]
    pub fn new(declared: &[WorkloadConfig]) -> Self {
        Workloads { declared: declared.to_vec(), role: arc_swap::ArcSwapOption::empty(), digests: Mutex::default() }
    }

    /// Whether none is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    /// Whether one depends on the role of the instance.
    #[must_use]
    pub fn wants_role(&self) -> bool {
        self.declared.iter().any(|workload| workload.instance_role.is_some())
    }

    /// The role of the instance that this host is; `None` if it is none, or has none.
    pub fn has_role(&self, role: Option<String>) {
        self.role.store(role.map(Arc::new));
    }

    /// The first workload that a process of this user is. Where that depends on what its executable holds, the file is read: it may take long.
    #[must_use]
    pub fn of(&self, uid: Option<u32>, process: &Process) -> Option<Identity> {
        self.declared.iter().find_map(|workload| {
            let by = self.fits(workload, uid, process)?;
            let strength = if workload.instance_role.is_some() { Strength::DeclaredOnInstance } else { Strength::Declared };
            let principal = Principal::Workload { name: workload.name.clone(), groups: workload.groups.clone() };
            Some(Identity::new(principal, How::Workload { by }, strength))
        })
    }

    /// All that is given fits, and what that is; `None` if something does not, or cannot be known.
    fn fits(&self, workload: &WorkloadConfig, uid: Option<u32>, process: &Process) -> Option<Vec<&'static str>> {
        let mut by = Vec::new();
        let mut all = true;
        let mut check = |name, fits: Option<bool>| match fits {
            None => {}
            Some(fits) => {
                all &= fits;
                by.push(name);
            }
        };
        check("unit", workload.unit.as_ref().map(|unit| process.unit.as_ref() == Some(unit)));
        let container = |id: &String| process.container.as_ref().is_some_and(|found| found.starts_with(id));
        check("container", workload.container.as_ref().map(container));
        let cgroup = |path: &String| process.cgroup.known().is_some_and(|found| is_within(found, path));
        check("cgroup", workload.cgroup.as_ref().map(cgroup));
        check("uid", workload.uid.map(|wanted| uid == Some(wanted)));
        let role = |role: &String| self.role.load().as_deref() == Some(role);
        check("instance-role", workload.instance_role.as_ref().map(role));
        if !all {
            return None;
        }
        if let Some((path, sha256)) = &workload.exe {
            let is_at = process.exe.known() == Some(path);
            (is_at && self.digest(process).is_ok_and(|found| found == *sha256)).then(|| by.push("exe"))?;
        }
        Some(by)
    }

    /// What the executable of a process holds. It is read through /proc: what lies at its path by now may be another file.
    fn digest(&self, process: &Process) -> io::Result<Sha256> {
        let mut file = File::open(format!("/proc/{}/exe", process.pid))?;
        let version = |file: &File| -> io::Result<Version> {
            let meta = file.metadata()?;
            let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
            Ok([meta.dev().into(), meta.ino().into(), meta.size().into(), changed, meta.mtime().into()])
        };
        let before = version(&file)?;
        let known = process.exe_inode.known().is_some_and(|inode| before[..2] == [inode.device.into(), inode.inode.into()]);
        if !known {
            return Err(io::Error::other("the process runs another executable by now"));
        }
        let digests = || self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = digests().get(&before) {
            return Ok(*digest);
        }
        let mut digest = Digest::new();
        io::copy(&mut file, &mut digest)?;
        if version(&file)? != before {
            return Err(io::Error::other("it changed while it was read"));
        }
        let digest = digest.finish();
        let mut digests = digests();
        if digests.len() >= MOST {
            digests.clear();
        }
        digests.insert(before, digest);
        Ok(digest)
    }
}

/// Whether a process still runs the executable that it ran when its connection was accepted.
#[must_use]
pub fn still_runs(process: &Process) -> bool {
    let Some(Inode { device, inode }) = process.exe_inode.known() else { return true };
    std::fs::metadata(format!("/proc/{}/exe", process.pid)).is_ok_and(|now| (now.dev(), now.ino()) == (*device, *inode))
}

/// Whether a cgroup is this one, or below it.
pub(super) fn is_within(cgroup: &str, outer: &str) -> bool {
    Path::new(cgroup).starts_with(outer)
}
