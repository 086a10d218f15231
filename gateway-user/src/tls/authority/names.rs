//! Names that a certificate can be for, and which of them an authority may vouch for (RFC 5280 section 4.2.1.10).

use std::{fmt, net::IpAddr};

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints, SanType};
use rustls::pki_types::ServerName;
use x509_parser::extensions as x509;

use super::CaError;

/// A server's name or address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A name, in lower case and without a final dot.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a URL, without brackets.
    ///
    /// # Errors
    /// [`CaError::NotAHost`] if no certificate can be for it.
    pub fn parse(text: &str) -> Result<Self, CaError> {
        let no = || CaError::NotAHost { host: text.to_owned() };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(address));
        }
        match ServerName::try_from(text.strip_suffix('.').unwrap_or(text)) {
            Ok(ServerName::DnsName(name)) => Ok(Host::Dns(name.as_ref().to_ascii_lowercase())),
            _ => Err(no()),
        }
    }

    pub(super) fn subject_alt_name(&self) -> Result<SanType, CaError> {
        Ok(match self {
            Host::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Host::Ip(address) => SanType::IpAddress(*address),
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Dns(name) => f.write_str(name),
            Host::Ip(address) => address.fmt(f),
        }
    }
}

/// The constraints of an authority for these hosts and no others.
///
/// A kind of name of which none is permitted is unconstrained, as RFC 5280 has it: so that kind is excluded whole.
pub(super) fn only(hosts: &[Host]) -> NameConstraints {
    let subtree = |host: &Host| match host {
        Host::Dns(name) => GeneralSubtree::DnsName(name.clone()),
        Host::Ip(address) => GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, if address.is_ipv4() { 32 } else { 128 })),
    };
    let mut excluded = Vec::new();
    if !hosts.iter().any(|host| matches!(host, Host::Dns(_))) {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    if !hosts.iter().any(|host| matches!(host, Host::Ip(_))) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)));
    }
    NameConstraints { permitted_subtrees: hosts.iter().map(subtree).collect(), excluded_subtrees: excluded }
}

/// What an authority may vouch for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Constraints {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subtree {
    Dns(String),
    /// Address and mask, 4 or 16 bytes each.
    Ip(Vec<u8>, Vec<u8>),
}

impl Constraints {
    pub(super) fn read(constraints: &x509::NameConstraints<'_>) -> Self {
        let read = |trees: &Option<Vec<x509::GeneralSubtree<'_>>>| trees.iter().flatten().filter_map(Subtree::read).collect();
        Constraints { permitted: read(&constraints.permitted_subtrees), excluded: read(&constraints.excluded_subtrees) }
    }

    /// Whether a certificate for this host is within them.
    #[must_use]
    pub fn allow(&self, host: &Host) -> bool {
        let mut of_kind = self.permitted.iter().filter(|tree| tree.is_of_kind(host)).peekable();
        (of_kind.peek().is_none() || of_kind.any(|tree| tree.holds(host))) && !self.excluded.iter().any(|tree| tree.holds(host))
    }

    /// The permitted names, for people: a name stands for itself and all below it.
    #[must_use]
    pub fn permitted(&self) -> Vec<String> {
        self.permitted.iter().map(ToString::to_string).collect()
    }
}

impl Subtree {
    fn read(tree: &x509::GeneralSubtree<'_>) -> Option<Self> {
        match &tree.base {
            x509::GeneralName::DNSName(name) => Some(Subtree::Dns(name.to_ascii_lowercase())),
            x509::GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                Some(Subtree::Ip(address.to_vec(), mask.to_vec()))
            }
            _ => None,
        }
    }

    fn is_of_kind(&self, host: &Host) -> bool {
        matches!((self, host), (Subtree::Dns(_), Host::Dns(_)) | (Subtree::Ip(..), Host::Ip(_)))
    }

    fn holds(&self, host: &Host) -> bool {
        match (self, host) {
            (Subtree::Dns(base), Host::Dns(name)) => {
                let below = base.strip_prefix('.').unwrap_or(base);
                below.is_empty() || (name == below && base == below) || name.strip_suffix(below).is_some_and(|rest| rest.ends_with('.'))
            }
            (Subtree::Ip(base, mask), Host::Ip(address)) => {
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                octets.len() == base.len() && octets.iter().zip(base).zip(mask).all(|((octet, base), mask)| octet & mask == base & mask)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subtree::Dns(name) => f.write_str(name),
            Subtree::Ip(address, mask) => {
                let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
                match (<[u8; 4]>::try_from(&address[..]), <[u8; 16]>::try_from(&address[..])) {
                    (Ok(octets), _) => write!(f, "{}/{bits}", IpAddr::from(octets)),
                    (_, Ok(octets)) => write!(f, "{}/{bits}", IpAddr::from(octets)),
                    _ => Err(fmt::Error),
                }
            }
        }
    }
}
