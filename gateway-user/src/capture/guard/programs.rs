//! The kernel programs: loaded, attached, pinned, and put in the place of older ones.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfLoader, programs::Program};

use super::{GuardError, host::Cgroup};
use crate::capture::{bpf, names};

/// The object, as it was built by `cargo xtask ebpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../gateway-ebpf/prebuilt/gateway.bpf.o");

/// A program: the name of its function, and where it is attached (`enum bpf_attach_type`, linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    pub(super) name: &'static str,
    attach_type: u32,
}

const fn hook(name: &'static str, attach_type: u32) -> Hook {
    Hook { name, attach_type }
}

/// In the order in which they are attached: a connect must not be redirected before its flow can be tied and its end be seen.
pub(super) const HOOKS: [Hook; 9] = [
    hook("socket_release", 34),
    hook("flow", 3),
    hook("getpeername4", 29),
    hook("getpeername6", 30),
    hook("socket_create", 2),
    hook("sendmsg4", 14),
    hook("sendmsg6", 15),
    hook("connect4", 10),
    hook("connect6", 11),
];

/// The maps that are pinned, in the order in which they are listed.
pub(super) const MAPS: [&str; 10] = [
    names::GOVERNED,
    names::GATEWAYS,
    names::ORIGINS,
    names::FLOWS,
    names::PEERS,
    names::LISTENERS,
    names::EXEMPT,
    names::COUNTERS,
    names::SETTINGS,
    names::LOGS,
];

/// Where a program's link is pinned.
pub(super) fn link_pin(pin_dir: &Path, name: &str) -> PathBuf {
    pin_dir.join(format!("link-{name}"))
}

/// The programs in the kernel, not yet attached.
pub(super) struct Loaded(Ebpf);

/// Loads the programs. Maps that are pinned already are used as they are.
pub(super) fn load(object: &[u8], pin_dir: &Path, max_pending: u32) -> Result<Loaded, GuardError> {
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        loader.map_pin_path(name, pin_dir.join(name));
    }
    let mut ebpf = loader
        .map_max_entries(names::ORIGINS, max_pending)
        .map_max_entries(names::FLOWS, max_pending.saturating_mul(2))
        .load(object)
        .map_err(|source| GuardError::Load { source: Box::new(source) })?;
    for Hook { name, .. } in HOOKS {
        let refused = |source| GuardError::Program { name, source: Box::new(source) };
        match program(&mut ebpf, name)? {
            Program::CgroupSockAddr(program) => program.load().map_err(refused)?,
            Program::CgroupSock(program) => program.load().map_err(refused)?,
            Program::SockOps(program) => program.load().map_err(refused)?,
            _ => return Err(GuardError::NoProgram { name }),
        }
    }
    Ok(Loaded(ebpf))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Program, GuardError> {
    ebpf.program_mut(name).ok_or(GuardError::NoProgram { name })
}

impl Loaded {
    /// Attaches every program to the cgroup. A link that is pinned already is given the new program in one step, so that no event goes unseen.
    pub(super) fn attach(&mut self, cgroup: &Cgroup, pin_dir: &Path) -> Result<(), GuardError> {
        let directory = fs::File::open(&cgroup.path).map_err(GuardError::file("open", &cgroup.path))?;
        for Hook { name, attach_type } in HOOKS {
            let program = program(&mut self.0, name)?;
            let fd = match program {
                Program::CgroupSockAddr(program) => program.fd(),
                Program::CgroupSock(program) => program.fd(),
                Program::SockOps(program) => program.fd(),
                _ => return Err(GuardError::NoProgram { name }),
            }
            .map_err(|source| GuardError::Program { name, source: Box::new(source) })?;
            let place = Place { directory: directory.as_fd(), cgroup: cgroup.id, attach_type };
            place.put(fd.as_fd(), &link_pin(pin_dir, name)).map_err(|source| GuardError::Attach { name, source })?;
        }
        Ok(())
    }
}

/// Where a program is to be attached.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    cgroup: u64,
    attach_type: u32,
}

impl Place<'_> {
    fn put(&self, program: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
        let old = match bpf::open_pin(pin) {
            Ok(link) => Some(link),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let Some(old) = old else {
            return bpf::pin(self.link(program)?.as_fd(), pin);
        };
        if bpf::link_info(old.as_fd())?.cgroup_id == self.cgroup {
            return bpf::link_update(old.as_fd(), program);
        }
        // Another cgroup than before: a link cannot move. The new one stands before the old one goes.
        let link = self.link(program)?;
        fs::remove_file(pin)?;
        bpf::pin(link.as_fd(), pin)
    }

    fn link(&self, program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        bpf::link_create(program, self.directory, self.attach_type)
    }
}

#[cfg(test)]
mod tests {
    use super::OBJECT;

    #[test]
    fn the_object_is_the_one_that_its_checksum_names() {
        let line = include_str!("../../../../gateway-ebpf/prebuilt/gateway.bpf.o.sha256");
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, OBJECT);
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line, format!("{hex}  gateway.bpf.o\n"));
    }
}
