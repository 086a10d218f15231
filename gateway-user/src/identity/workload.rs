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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::capture::process;

    fn declared(toml: &str) -> Workloads {
        let toml = format!("[[identity.workload]]\nname = \"w\"\n{toml}[[server]]\nname = \"a\"\nurl = \"http://h/\"\n");
        Workloads::new(&crate::config::parse("test", &toml).unwrap_or_else(|error| panic!("{error}")).identity.workloads)
    }

    /// This process, with another place in the system.
    fn process(cgroup: &str, unit: Option<&str>, container: Option<&str>) -> Process {
        Process {
            cgroup: process::Fact::Known(cgroup.into()),
            unit: unit.map(Into::into),
            container: container.map(Into::into),
            ..process::current(std::process::id())
        }
    }

    #[test]
    fn a_process_is_the_workload_that_all_given_facts_fit() {
        let here = process("/agents.slice/report.service", Some("report.service"), Some("3f2a9c1b7d4e55aa"));
        for (toml, by) in [
            ("unit = \"report.service\"\n", vec!["unit"]),
            ("container = \"3F2A9C1B7D4E\"\n", vec!["container"]),
            ("cgroup = \"/agents.slice\"\n", vec!["cgroup"]),
            ("cgroup = \"/agents.slice/report.service\"\nuid = 7\n", vec!["cgroup", "uid"]),
        ] {
            let found = declared(toml).of(Some(7), &here).unwrap();
            assert_eq!((found.how(), found.strength()), (&How::Workload { by }, Strength::Declared), "{toml}");
        }
        for toml in [
            "unit = \"report\"\n",
            "unit = \"report.service\"\nuid = 8\n",
            "container = \"3f2a9c1b7d4f\"\n",
            "cgroup = \"/agents\"\n",
            "cgroup = \"/agents.slice/report.service/x\"\n",
            "unit = \"report.service\"\ninstance_role = \"agent-host\"\n",
        ] {
            assert!(declared(toml).of(Some(7), &here).is_none(), "{toml}");
        }
        assert!(declared("uid = 7\n").of(None, &here).is_none(), "of a caller from elsewhere the user is not known");
    }

    #[test]
    fn a_role_that_the_instance_must_have_is_part_of_it() {
        let workloads = declared("uid = 7\ninstance_role = \"agent-host\"\n");
        let here = process("/", None, None);
        assert!(workloads.wants_role() && workloads.of(Some(7), &here).is_none(), "it is not known yet");
        workloads.has_role(Some("other".into()));
        assert!(workloads.of(Some(7), &here).is_none());
        workloads.has_role(Some("agent-host".into()));
        assert_eq!(workloads.of(Some(7), &here).unwrap().strength(), Strength::DeclaredOnInstance);
        workloads.has_role(None);
        assert!(workloads.of(Some(7), &here).is_none());
    }

    #[test]
    fn an_executable_counts_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("report");
        fs::copy("/bin/sleep", &exe).unwrap();
        let sha256 = |path: &Path| String::from_utf8(Digest::of(&fs::read(path).unwrap()).hex().to_vec()).unwrap();
        let workloads = declared(&format!("exe = {exe:?}\nsha256 = \"{}\"\n", sha256(&exe)));
        let start = || Command::new(&exe).arg("60").spawn().unwrap();
        let mut child = start();
        let running = || process::current(child.id());
        while running().exe.known() != Some(&exe) {
            std::thread::yield_now();
        }
        let before = running();
        assert_eq!(workloads.of(None, &before).unwrap().how(), &How::Workload { by: vec!["exe"] });
        assert!(still_runs(&before));
        // Another file takes its place at the path: what runs is still the one that is known.
        fs::copy("/bin/sleep", dir.path().join("new")).unwrap();
        fs::write(dir.path().join("new"), [fs::read("/bin/sleep").unwrap(), b"changed".to_vec()].concat()).unwrap();
        fs::rename(dir.path().join("new"), &exe).unwrap();
        assert!(workloads.of(None, &running()).is_none(), "it runs what is deleted by now, and the path says so");
        let mut other = start();
        while process::current(other.id()).exe.known() != Some(&exe) {
            std::thread::yield_now();
        }
        assert!(workloads.of(None, &process::current(other.id())).is_none(), "what is at the path holds something else");
        for child in [&mut child, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(!still_runs(&before), "it has ended");
    }
}
