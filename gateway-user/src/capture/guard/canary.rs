//! The proof that capture works: connects to an address that is governed for this alone.
//!
//! The guard itself listens there. A connect that arrives at it was not captured; one that is refused, or goes to the gateway, was.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsRawFd as _, RawFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use gateway_common::{CANARY_ADDRESS, CANARY_PORT, Reason};
use serde::Serialize;

use super::GuardError;
use crate::capture::{CaptureError, bpf::PerCpu};

/// How the canary fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Canary {
    /// The gateway runs, and got the connect.
    Redirected,
    /// The gateway does not run, and the connect was refused.
    Refused,
}

/// What the child reports; plain numbers, because after a fork nothing may be allocated.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Findings {
    /// Whether it could enter the cgroup: 0 or an errno.
    entered: i32,
    /// Connect through IPv4: 0 or an errno, and whether the peer is shown as asked.
    v4: [i32; 2],
    /// The same through IPv6, to the mapped address.
    v6: [i32; 2],
    /// A datagram: 0 or an errno.
    datagram: i32,
}

const WORDS: usize = size_of::<Findings>() / size_of::<i32>();

/// Listens where the canary flies to. Another guard that comes up at this moment has the place for a part of a second.
fn perch() -> io::Result<TcpListener> {
    let address = (Ipv4Addr::from(CANARY_ADDRESS), CANARY_PORT);
    let mut tries = 0;
    let listener = loop {
        tries += 1;
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 30 => thread::sleep(Duration::from_millis(100)),
            other => break other?,
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects from within the cgroup and sees what becomes of it.
pub(super) fn fly(cgroup: &Path, counters: &PerCpu) -> Result<Canary, GuardError> {
    let listener = perch().map_err(|error| {
        let [a, b, c, d] = CANARY_ADDRESS;
        GuardError::Canary(format!("it cannot be shown, because {a}.{b}.{c}.{d}:{CANARY_PORT} is not free: {error}"))
    })?;
    let nest = Nest::make(cgroup)?;
    let before = Counts::read(counters)?;
    let findings = nest.send_child()?;
    drop(nest);
    let after = Counts::read(counters)?;
    judge(&findings, listener.accept().is_ok(), &before, &after).map_err(GuardError::Canary)
}

/// The counters that a canary moves.
struct Counts {
    connects: u64,
    datagrams: u64,
}

impl Counts {
    fn read(counters: &PerCpu) -> Result<Self, GuardError> {
        let sum = |reason: Reason| counters.sum(reason.index()).map_err(CaptureError::map("read the counters"));
        let mut connects = sum(Reason::Redirected)?;
        for reason in Reason::ALL.iter().filter(|r| r.is_refusal()) {
            connects += sum(*reason)?;
        }
        let datagrams = sum(Reason::Datagram)?;
        Ok(Self { connects: connects - datagrams, datagrams })
    }
}

fn judge(found: &Findings, arrived: bool, before: &Counts, after: &Counts) -> Result<Canary, String> {
    let errno = |code: i32| io::Error::from_raw_os_error(code);
    if found.entered != 0 {
        return Err(format!("the test could not enter the cgroup: {}", errno(found.entered)));
    }
    if arrived {
        return Err("a connect to a governed address went straight to it".to_owned());
    }
    let mut fates = Vec::new();
    for (hook, [code, peer_as_asked]) in [("connect4", found.v4), ("connect6", found.v6)] {
        fates.push(match (code, peer_as_asked) {
            (0, 1) => Canary::Redirected,
            (0, _) => {
                return Err(format!("{hook} redirects, but the client would see the gateway as its peer"));
            }
            (libc::ECONNREFUSED, _) => Canary::Refused,
            (code, _) => {
                return Err(format!("{hook} neither redirected nor refused: {}", errno(code)));
            }
        });
    }
    if found.datagram != libc::EPERM {
        return Err(format!("a datagram to a governed address was not refused: {}", errno(found.datagram)));
    }
    if after.connects < before.connects + 2 || after.datagrams <= before.datagrams {
        return Err("the kernel programs did not see the test's connects".to_owned());
    }
    if fates.contains(&Canary::Redirected) { Ok(Canary::Redirected) } else { Ok(Canary::Refused) }
}

/// A cgroup of the test's own, below the one that is captured: processes may not be put into one that has controllers for its children.
struct Nest {
    path: PathBuf,
    procs: fs::File,
}

impl Nest {
    fn make(cgroup: &Path) -> Result<Self, GuardError> {
        let path = cgroup.join(format!("mcp-gateway-canary-{}", std::process::id()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(GuardError::file("make the cgroup", &path)(error));
            }
            _ => {}
        }
        let file = path.join("cgroup.procs");
        let procs = fs::OpenOptions::new().write(true).open(&file).map_err(GuardError::file("open", file))?;
        Ok(Self { path, procs })
    }

    /// Forks a child that enters the cgroup, connects, and reports.
    fn send_child(&self) -> Result<Findings, GuardError> {
        let cannot = |error: io::Error| GuardError::Canary(format!("the test could not be made: {error}"));
        let (reader, writer) = io::pipe().map_err(cannot)?;
        let procs = self.procs.as_raw_fd();
        let report = writer.as_raw_fd();
        // SAFETY: the child calls only functions that are safe after a fork of a process with threads (signal-safety(7)), and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            child(procs, report);
        }
        if pid < 0 {
            return Err(cannot(io::Error::last_os_error()));
        }
        drop(writer);
        let read = read_findings(reader);
        let mut status = 0;
        // SAFETY: our own child; the kernel writes its status.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        read.map_err(cannot)
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        // The kernel may need a moment to see the child gone.
        for _ in 0..50 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

fn read_findings(mut reader: io::PipeReader) -> io::Result<Findings> {
    let mut words = [[0_u8; 4]; WORDS];
    io::Read::read_exact(&mut reader, words.as_flattened_mut())?;
    let [entered, v4, v4_peer, v6, v6_peer, datagram] = words.map(i32::from_ne_bytes);
    Ok(Findings { entered, v4: [v4, v4_peer], v6: [v6, v6_peer], datagram })
}

/// The child's whole life.
fn child(procs: RawFd, report: RawFd) -> ! {
    let mut findings = Findings::default();
    // SAFETY: a byte of a constant.
    if unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) } != 1 {
        findings.entered = errno();
    } else {
        findings.v4 = connect(false);
        findings.v6 = connect(true);
        findings.datagram = datagram();
    }
    // SAFETY: a value of this function's, without padding.
    unsafe { libc::write(report, (&raw const findings).cast(), size_of::<Findings>()) };
    // SAFETY: ends the child without running what the parent meant to run at its own end.
    unsafe { libc::_exit(0) }
}

fn errno() -> i32 {
    // SAFETY: a place of this thread's own, always valid.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *place }
}

/// Room for the address of either family, as bytes.
type Sockaddr = [u8; 28];

/// The canary's address: `sockaddr_in`, or `sockaddr_in6` with the mapped address; ip(7), ipv6(7).
fn sockaddr(v6: bool) -> (Sockaddr, libc::socklen_t) {
    let mut out = [0; 28];
    out[2..4].copy_from_slice(&CANARY_PORT.to_be_bytes());
    // Both constants are below 256; the family is in the machine's byte order.
    let family: u16 = if v6 { 10 } else { 2 };
    out[..2].copy_from_slice(&family.to_ne_bytes());
    if v6 {
        out[18..20].copy_from_slice(&[0xff, 0xff]);
        out[20..24].copy_from_slice(&CANARY_ADDRESS);
        (out, 28)
    } else {
        out[4..8].copy_from_slice(&CANARY_ADDRESS);
        (out, 16)
    }
}

fn connect(v6: bool) -> [i32; 2] {
    let (address, len) = sockaddr(v6);
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return [errno(), 0];
    }
    // SAFETY: an address of `len` bytes.
    let result = unsafe { libc::connect(fd, address.as_ptr().cast(), len) };
    let code = if result == 0 { 0 } else { errno() };
    let mut peer: Sockaddr = [0; 28];
    let mut peer_len = len;
    // SAFETY: room for `peer_len` bytes.
    unsafe { libc::getpeername(fd, peer.as_mut_ptr().cast(), &raw mut peer_len) };
    // Family, port and address; not the flow label.
    let same = peer[..4] == address[..4] && if v6 { peer[8..24] == address[8..24] } else { peer[4..8] == address[4..8] };
    // SAFETY: our own.
    unsafe { libc::close(fd) };
    [code, i32::from(code == 0 && same)]
}

fn datagram() -> i32 {
    let (address, len) = sockaddr(false);
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return errno();
    }
    // SAFETY: a byte of a constant, and an address of `len` bytes.
    let sent = unsafe { libc::sendto(fd, c"?".as_ptr().cast(), 1, 0, address.as_ptr().cast(), len) };
    let code = if sent < 0 { errno() } else { 0 };
    // SAFETY: our own.
    unsafe { libc::close(fd) };
    code
}

#[cfg(test)]
mod tests {
    use super::{Canary, Counts, Findings, judge};

    const BEFORE: Counts = Counts { connects: 5, datagrams: 1 };
    const AFTER: Counts = Counts { connects: 7, datagrams: 2 };

    fn good() -> Findings {
        Findings { entered: 0, v4: [libc::ECONNREFUSED, 0], v6: [libc::ECONNREFUSED, 0], datagram: libc::EPERM }
    }

    #[test]
    fn refused_or_redirected_with_moved_counters_is_capture() {
        assert_eq!(judge(&good(), false, &BEFORE, &AFTER), Ok(Canary::Refused));
        let redirected = Findings { v4: [0, 1], v6: [0, 1], ..good() };
        assert_eq!(judge(&redirected, false, &BEFORE, &AFTER), Ok(Canary::Redirected));
    }

    #[test]
    fn anything_else_is_not() {
        let cases = [
            (Findings { entered: libc::EBUSY, ..good() }, false, "enter"),
            (good(), true, "straight"),
            (Findings { v4: [0, 0], ..good() }, false, "peer"),
            (Findings { v6: [libc::ETIMEDOUT, 0], ..good() }, false, "connect6"),
            (Findings { datagram: 0, ..good() }, false, "datagram"),
        ];
        for (findings, arrived, word) in cases {
            let why = judge(&findings, arrived, &BEFORE, &AFTER).expect_err(word);
            assert!(why.contains(word), "{why}");
        }
        assert!(judge(&good(), false, &BEFORE, &BEFORE).is_err(), "refused, but by whom?");
    }
}
