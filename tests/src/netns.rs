//! A network namespace with one link to the host.

use std::{
    fs::Permissions,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use tempfile::NamedTempFile;

use crate::{Slot, wait::wait_until};

/// A network namespace, reached from the host at an address of its own. Removed when dropped.
#[derive(Debug)]
pub struct Netns {
    slot: Slot,
}

impl Netns {
    /// Makes a namespace: `10.77.N.2` and `fd77::N:2` in it, `10.77.N.1` and `fd77::N:1` on the host's side.
    ///
    /// # Errors
    /// `ip` is not there, or says no.
    pub fn new() -> anyhow::Result<Self> {
        let netns = Self { slot: Slot::take()? };
        netns.remove();
        let (name, outer, inner) = (netns.name(), netns.link(), "eth0");
        let n = netns.slot.number();
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", &name])?;
        ip(&["addr", "add", &format!("10.77.{n}.1/24"), "dev", &outer])?;
        ip(&["addr", "add", &format!("fd77:0:0:{n:x}::1/64"), "dev", &outer, "nodad"])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&["-n", &name, "addr", "add", &format!("10.77.{n}.2/24"), "dev", inner])?;
        ip(&["-n", &name, "addr", "add", &format!("fd77:0:0:{n:x}::2/64"), "dev", inner, "nodad"])?;
        ip(&["-n", &name, "link", "set", inner, "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        wait_until("the link to the namespace", Duration::from_secs(10), || {
            std::fs::read_to_string(format!("/sys/class/net/{}/operstate", netns.link())).is_ok_and(|state| state.trim() == "up")
        })?;
        Ok(netns)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("mcpgw{}", self.slot.number())
    }

    /// The file to enter it by.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name())
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.slot.number(), 2)
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, u16::from(self.slot.number()), 0, 0, 0, 2)
    }

    /// A port at its IPv4 address.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.v4()), port)
    }

    /// A port at the host's end of the link to it.
    #[must_use]
    pub fn outside(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 77, self.slot.number(), 1)), port)
    }

    /// A file in the form of /etc/hosts, in which its IPv4 address is this host's.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn names(&self, host: &str) -> anyhow::Result<NamedTempFile> {
        let mut names = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile()?;
        writeln!(names, "127.0.0.1 localhost\n{} {host}", self.v4())?;
        Ok(names)
    }

    fn link(&self) -> String {
        format!("mcpgwv{}", self.slot.number())
    }

    fn remove(&self) {
        // Neither need be there.
        let _ = ip(&["link", "del", &self.link()]);
        let _ = ip(&["netns", "del", &self.name()]);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    // In a process group of its own: a second Ctrl-C must not end the cleaning up.
    let done = Command::new("ip").args(arguments).process_group(0).output().context("`ip` cannot be started: install iproute2")?;
    ensure!(done.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
