//! `url:…`: addresses that an argument names. No name is resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memmem;
use url::{Host, Url};

use super::Found;

/// The metadata services of clouds: AWS (instance, time and container credentials), Azure, Google, Oracle, Alibaba.
const METADATA_V4: [[u8; 4]; 6] =
    [[169, 254, 169, 254], [169, 254, 169, 253], [169, 254, 170, 2], [169, 254, 170, 23], [100, 100, 100, 200], [192, 0, 0, 192]];
const METADATA_V6: [[u16; 8]; 3] =
    [[0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]];
const METADATA_NAMES: [&str; 5] = ["metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal"];
const LONGEST: usize = 8192;

/// Labels every `scheme://…` in `text`.
pub(super) fn label(text: &str, found: &mut Found) {
    let mut before = "";
    for at in memmem::find_iter(text.as_bytes(), b"://") {
        let scheme = text[..at].bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        let rest = &text[at - scheme..];
        let end = rest.find(|c: char| c.is_whitespace() || c.is_control() || "\"'<>`|".contains(c)).unwrap_or(rest.len()).min(LONGEST);
        let whole = &rest[..rest.floor_char_boundary(end)];
        if whole == before {
            continue;
        }
        before = whole;
        // In prose the sentence goes on: what its closing marks cut off is looked at too.
        one(whole, found);
        let trimmed = whole.trim_end_matches([')', ']', '}', ',', '.', ';', ':', '!', '?']);
        if trimmed.len() < whole.len() {
            one(trimmed, found);
        }
    }
    if text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("file:")) {
        found.add("url:file");
    }
}

fn one(text: &str, found: &mut Found) {
    let Ok(url) = Url::parse(text) else { return };
    match url.scheme() {
        "http" | "ws" => found.add("url:plain"),
        "file" => found.add("url:file"),
        _ => {}
    }
    if !url.username().is_empty() || url.password().is_some() {
        found.add("url:credentials");
    }
    // Of other schemes than the web's, `url` keeps the host as it is spelt: read as the web's would be.
    let host = match url.host() {
        Some(Host::Domain(name)) => Host::parse(name).ok().or_else(|| Some(Host::Domain(name.to_owned()))),
        Some(Host::Ipv4(address)) => Some(Host::Ipv4(address)),
        Some(Host::Ipv6(address)) => Some(Host::Ipv6(address)),
        None => None,
    };
    let Some(host) = host else { return };
    let (is_private, is_metadata) = match &host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            found.name("url:host:", &name);
            let is_metadata = METADATA_NAMES.contains(&name.as_str());
            let is_local = name == "localhost" || [".localhost", ".local", ".internal"].iter().any(|ending| name.ends_with(ending));
            (is_local || is_metadata, is_metadata)
        }
        Host::Ipv4(address) => of_address(IpAddr::V4(*address), found),
        Host::Ipv6(address) => of_address(IpAddr::V6(*address), found),
    };
    if is_private {
        found.add("url:private");
    }
    if is_metadata {
        found.add("url:metadata");
    }
}

fn of_address(address: IpAddr, found: &mut Found) -> (bool, bool) {
    let address = match address {
        IpAddr::V6(v6) => inner_v4(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    found.name("url:host:", &address.to_string());
    match address {
        IpAddr::V4(v4) => {
            let is_metadata = METADATA_V4.contains(&v4.octets());
            (is_private_v4(v4) || is_metadata, is_metadata)
        }
        IpAddr::V6(v6) => {
            let is_private = v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local();
            (is_private, METADATA_V6.contains(&v6.segments()))
        }
    }
}

/// The IPv4 address that a mapped, compatible, NAT64 (RFC 6052) or 6to4 (RFC 3056) one stands for.
fn inner_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] => Some(join(g, h)),
        [0, 0, 0, 0, 0, 0] if g != 0 => Some(join(g, h)),
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(join(g, h)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_private() || v4.is_loopback() || v4.is_link_local() || a == 0 || v4.is_broadcast() || (a == 100 && (64..128).contains(&b))
}
