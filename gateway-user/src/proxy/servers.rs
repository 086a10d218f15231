//! Which server an address belongs to.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use arc_swap::ArcSwap;

use crate::{capture::KernelOrigin, config::Config};

/// Every address that was ever learned for a server: an address once governed stays governed.
pub struct Servers {
    count: usize,
    known: ArcSwap<HashMap<SocketAddr, usize>>,
}

impl Servers {
    pub(super) fn new(config: &Config) -> Self {
        Servers { count: config.servers.len(), known: ArcSwap::default() }
    }

    /// Adds what a name resolved to now; returns the addresses that were not known before.
    pub fn learn(&self, server: usize, port: u16, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
        let mut known = HashMap::clone(&self.known.load());
        let mut fresh = Vec::new();
        for address in addresses {
            let address = address.to_canonical();
            if known.insert(SocketAddr::new(address, port), server).is_none() {
                fresh.push(address);
            }
        }
        if !fresh.is_empty() {
            self.known.store(known.into());
        }
        fresh
    }

    /// The server that a connection was meant for. Where the address is known in a form of the kernel's only (NAT64), the number
    /// that the guard wrote beside it decides.
    pub(super) fn of(&self, origin: &KernelOrigin) -> Option<usize> {
        if let Some(server) = self.known.load().get(&origin.original) {
            return Some(*server);
        }
        usize::try_from(origin.server).ok().filter(|server| *server < self.count)
    }
}
