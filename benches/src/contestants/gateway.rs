//! This gateway, with its default settings but for the durability, from both ways in.

use anyhow::Context;
use gateway_tests::{Cgroup, Gateway, ServerEntry};

use super::{Contestant, target};
use crate::{
    connection::{HOST, Target},
    upstream::Upstream,
};

/// The server's name in the configuration.
const NAME: &str = "bench";
/// What is the default in production and not in tests.
const SEGMENT: &str = "64MiB";

/// A worker looks for work so long before it sleeps.
pub(super) const BUSY: &str = "[workers]\nbusy_poll = \"50us\"\n";

/// Nothing is masked: what masks cost is the rest.
pub(super) const UNMASKED: &str = "[masking]\nsecrets = \"record\"\n";

/// Everything that is known is masked, for everybody.
pub(super) const ALL_MASKS: &str = "[[mask]]\nkinds = [\"all\"]\nto = [\"record\", \"client\", \"server\"]\n";

/// Captured by the kernel: its clients connect to the server's own address.
pub(super) fn captured(upstream: &Upstream, secure: bool, durability: &str, settings: &str) -> anyhow::Result<Contestant> {
    let clients = Cgroup::new()?;
    let setup = Gateway::over(&clients).server(server(upstream, secure).durability(durability)).hosts(upstream.names.path());
    let gateway = setup.segment(SEGMENT).section(settings).start()?;
    let (address, trust) = if secure { (upstream.https, Some(gateway.ca_file())) } else { (upstream.http, None) };
    running(gateway, target(upstream, address, trust), Some(clients))
}

/// Called by its own URL.
pub(super) fn endpoint(upstream: &Upstream, secure: bool) -> anyhow::Result<Contestant> {
    let issued = &upstream.issued;
    let certificate = format!("certificate = {:?}\nkey = {:?}\nhosts = [\"{HOST}\"]", issued.certificate, issued.key);
    let setup = Gateway::at_an_endpoint().endpoint(if secure { &certificate } else { "" });
    let gateway = setup.server(server(upstream, secure).durability("os")).hosts(upstream.names.path()).segment(SEGMENT).start()?;
    let url = gateway.url(NAME)?;
    let authority = url.split('/').nth(2).context("a URL has an authority")?;
    let there = target(upstream, authority.parse()?, secure.then(|| upstream.pki.ca_file()));
    running(gateway, Target { prefix: format!("/{NAME}"), ..there }, None)
}

fn server(upstream: &Upstream, secure: bool) -> ServerEntry {
    if secure {
        ServerEntry::new(NAME, &format!("https://{HOST}:{}/mcp", upstream.https.port())).ca_file(&upstream.pki.ca_file())
    } else {
        ServerEntry::new(NAME, &format!("http://{}/mcp", upstream.http))
    }
}

fn running(gateway: Gateway, target: Target, clients: Option<Cgroup>) -> anyhow::Result<Contestant> {
    let processes = Cgroup::new()?;
    processes.take(gateway.pid()?)?;
    let log = Some(gateway.audit_dir().to_owned());
    Ok(Contestant { _running: Box::new(gateway), target, clients, processes: Some(processes), log })
}
