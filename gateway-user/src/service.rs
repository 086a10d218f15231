//! The running gateway: everything started in order, watched, and stopped in order.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use gateway_user::{
    audit::{Durability, Effect, Entry, Kind, Log, Options},
    capture::{Capture, KernelLog, guard},
    config::{Config, ServerConfig},
    console::{self, Console, Provider},
    control::{self, Control},
    credential::Credentials,
    identity::{
        Identities, instance,
        login::{Hosts, Waiting},
    },
    mask::Masking,
    outbound::Outbound,
    policy::{self, Labeller, PolicyErrors, PolicySet},
    proxy::{self, Owners, Parts, Rules, Shared},
    ship::{self, Ship, ShipOptions},
    tls::{Renewed, Tls},
    tools::{Accepted, Tools},
    usage::Usage,
};

use crate::admin;

/// How often what nobody comes back for is forgotten.
const TIDY: Duration = Duration::from_secs(30);
/// How often the files of certificates and keys are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// An origin that was noted so long ago and never taken belongs to a connection that will not be accepted any more.
const STALE_ORIGIN: Duration = Duration::from_secs(120);

/// How long a stop waits for the stream to take what is on disk; the rest is shipped after the next start.
const SHIP_GRACE: Duration = Duration::from_secs(5);

/// Logs to standard error: for people on a terminal, JSON otherwise. `RUST_LOG` chooses what.
pub(crate) fn logs() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.with_target(false).init();
    } else {
        logs.json().flatten_event(true).init();
    }
    // What a panic says may hold a part of what was being read, and no log line may.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "a fault in the gateway itself (a panic): the connection that it served was cut; please report it");
    }));
}

/// What the guard is to do, for this configuration: names are resolved now.
///
/// # Errors
/// It captures nothing, a name does not resolve, or the user does not exist.
pub(crate) fn guard_config(config: &Config) -> anyhow::Result<guard::GuardConfig> {
    let capture = config.captured()?;
    let (uid, gid) = user_ids(&capture.user)?;
    let mut governed = Vec::new();
    for server in &config.servers {
        for address in resolve(server)? {
            governed.push(guard::GovernedAddress::host(address, server.url.port, server.id()));
        }
    }
    Ok(guard::GuardConfig {
        cgroup: capture.cgroup.clone(),
        pin_dir: capture.pins.clone(),
        governed,
        heartbeat_limit: capture.heartbeat,
        max_pending: capture.max_pending,
        ..guard::GuardConfig::new(uid, gid)
    })
}

/// The ids of a user of /etc/passwd, by name or number.
pub(crate) fn user_ids(name: &str) -> anyhow::Result<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 3 && (fields[0] == name || fields[2] == name))
        .and_then(|fields| Some((fields[2].parse().ok()?, fields[3].parse().ok()?)))
        .with_context(|| {
            format!(
                "there is no user `{name}`: make it (`useradd --system {name}`), or set `capture.user` to the user that runs the gateway"
            )
        })
}

fn resolve(server: &ServerConfig) -> anyhow::Result<Vec<IpAddr>> {
    use std::net::ToSocketAddrs;
    let found = (server.url.host.as_str(), server.url.port).to_socket_addrs();
    let found = found.with_context(|| format!("server `{}`: the name {} does not resolve", server.name, server.url.host))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// Something that it needs is missing: the guard, the log, a port. Nothing was served then.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    // It holds keys: neither a core dump nor another process of its user may see them (PR_SET_DUMPABLE, prctl(2)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("the gateway's memory cannot be closed to others")?;
    let tls = Tls::new(&config)?;
    let providers = console::load(&config)?;
    let capture = config.capture.as_ref().map(|settings| Capture::open(&settings.pins)).transpose()?;
    let kernel_log = capture.as_ref().map(Capture::kernel_log).transpose()?;
    let outbound = match &capture {
        Some(capture) => Outbound::past(Arc::new(capture.exempter()?)),
        None => Outbound::default(),
    };
    let options =
        Options { segment_size: config.audit.segment, max_total_bytes: config.audit.max_total, ..Options::new(&config.audit.dir) };
    let (log, recovered) = Log::open(options)?;
    if let Some(cut) = &recovered.cut {
        tracing::warn!("the log's last record was torn by a crash and was cut off: {cut:?}");
    }
    if !recovered.unknown.is_empty() {
        tracing::warn!(calls = recovered.unknown.len(), "calls were in flight when the gateway last ended: their outcome is unknown");
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let identities = Arc::new(Identities::new(&config.identity, &outbound, control.handle().clone())?);
    let owners = if config.identity.is_configured() {
        let dir = &config.identity.dir;
        Owners::open(dir)
            .with_context(|| format!("{}: who owns which session cannot be kept there; make it writable for this user", dir.display()))?
    } else {
        Owners::default()
    };
    let socket = config.identity.is_configured().then(|| control.block_on(async { control::bind(&config.identity.socket) })).transpose()?;
    let rules = rules(&config)?;
    let masking = Masking::new(&config.masking)?;
    let credentials = Credentials::new(&config, &outbound, control.handle())?;
    let parts = Parts { config, capture, tls, identities, rules, masking, credentials, owners, audit: log.appender() };
    let shared = Shared::new(parts, workers);

    control.block_on(async {
        for server in 0..shared.config.servers.len() {
            learn(&shared, server).await;
        }
        let identity = &shared.config.identity;
        let start = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "capture": shared.capture.is_some(),
            "endpoint": shared.config.endpoint.as_ref().map(|endpoint| endpoint.listen),
            "servers": shared.config.servers.iter().map(|server| json!({
                "name": server.name, "url": server.url.to_string(), "durability": format!("{:?}", server.durability).to_lowercase(),
                "other": format!("{:?}", server.other).to_lowercase(), "anonymous": format!("{:?}", server.anonymous).to_lowercase(),
                "authorization": format!("{:?}", server.authorization).to_lowercase(), "allow_groups": server.allow_groups,
                "on_tool_change": format!("{:?}", server.on_tool_change).to_lowercase(), "credential": server.credential.kind(),
            })).collect::<Vec<_>>(),
            "identity": {
                "oidc": identity.oidc.iter().map(|issuer| &issuer.issuer).collect::<Vec<_>>(),
                "saml": identity.saml.iter().map(|provider| &provider.name).collect::<Vec<_>>(),
                "workloads": identity.workloads.iter().map(|workload| &workload.name).collect::<Vec<_>>(),
            },
            "masking": {
                "rules": shared.masking.rules().collect::<Vec<_>>(),
                "tokens": format!("{:?}", shared.config.masking.tokens).to_lowercase(),
            },
            "records": recovered.records,
        });
        event(&shared, Kind::Start, &start).await?;
        match shared.rules.policies() {
            Some(set) => policies(&shared, &set).await,
            None => Ok(()),
        }
    })?;
    let logins = match socket {
        Some(socket) => control.block_on(logins(&shared, providers, socket))?,
        None => {
            if shared.config.console.is_some() {
                tracing::warn!("the console is not served: there is nobody to log in, as [identity] has no identity provider");
            }
            Vec::new()
        }
    };
    // Removes what a gateway that was killed left of connections that it never accepted.
    if let Some(capture) = &shared.capture {
        capture.sweep(Duration::ZERO)?;
    }
    let running = proxy::start(&shared)?;
    tracing::info!(
        driver = running.driver,
        log_driver = log.driver(),
        workers,
        port = running.port,
        records = recovered.records,
        log = %log.log_id(),
        "ready: {} server(s) {}", shared.config.servers.len(), ways(&shared.config, running.endpoint)
    );

    let failed = Arc::new(AtomicBool::new(false));
    let result = control.block_on(async {
        let heart = tokio::spawn(heart(shared.clone()));
        let resolving = tokio::spawn(resolving(shared.clone()));
        let tidying = tokio::spawn(tidying(shared.clone()));
        let renewing = tokio::spawn(renewing(shared.clone(), signal(SignalKind::hangup())?));
        let furnishing = tokio::spawn(shared.credentials.clone().keep_up());
        let vouching = vouching(&shared.identities, &outbound);
        let kernel = kernel_log.map(|log| tokio::spawn(kernel_messages(log)));
        let ship = match &shared.config.kinesis {
            None => None,
            Some(kinesis) => {
                let options = ShipOptions {
                    region: kinesis.region.clone(),
                    endpoint_url: kinesis.endpoint_url.clone(),
                    outbound: outbound.clone(),
                    ..ShipOptions::new(&shared.config.audit.dir, log.log_id().clone(), &kinesis.stream)
                };
                Some(ship::start(options, log.committed()).await?)
            }
        };
        let admin = admin::serve(shared.clone(), log.committed(), ship.as_ref().map(Ship::metrics)).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(Duration::from_millis(500)) => if running.failed() {
                    failed.store(true, Ordering::Relaxed);
                    break;
                },
            }
        }
        tracing::info!("stopping: new connections are refused, calls in flight may end");
        shared.draining.store(true, Ordering::Relaxed);
        if let Some(capture) = &shared.capture {
            capture.withdraw()?;
        }
        resolving.abort();
        tidying.abort();
        renewing.abort();
        furnishing.abort();
        vouching.iter().chain(&logins).for_each(JoinHandle::abort);
        if let Some(kernel) = kernel {
            kernel.abort();
        }
        tokio::task::spawn_blocking(move || running.drain()).await?;
        heart.abort();
        event(&shared, Kind::Stop, &json!({ "pid": std::process::id() })).await?;
        if let Some(ship) = ship {
            ship.stop(SHIP_GRACE).await;
        }
        admin.abort();
        anyhow::Ok(())
    });
    log.close().context("the log could not be closed in order")?;
    // What is left of it only waits for names or the next tick.
    control.shutdown_background();
    result?;
    anyhow::ensure!(!failed.load(Ordering::Relaxed), "a data-plane worker ended unexpectedly; its error stands above");
    Ok(())
}

/// What calls are decided by.
fn rules(config: &Config) -> anyhow::Result<Rules> {
    let policies = config.policy.as_ref().map(|policy| PolicySet::load(&policy.dir)).transpose()?;
    let labeller = Labeller::new(&config.labels)?;
    let usage = Usage::new(config.quotas.clone(), policies.is_some());
    Ok(Rules::new(policies, labeller, Tools::open(&config.tools.dir)?, usage))
}

/// Puts policies on record, in full: a decision names only their hash.
async fn policies(shared: &Shared, set: &PolicySet) -> anyhow::Result<()> {
    let dir = shared.config.policy.as_ref().map(|policy| &policy.dir);
    let sources: Vec<_> = set.sources().iter().map(|(file, text)| json!({ "file": file, "text": text })).collect();
    event(shared, Kind::Policies, &json!({ "set": set.hash(), "dir": dir, "sources": sources })).await
}

/// Keeps up with what vouches for callers.
fn vouching(identities: &Arc<Identities>, outbound: &Outbound) -> Vec<JoinHandle<()>> {
    let issuers = &identities.issuers;
    let mut tasks: Vec<_> = issuers.all().iter().map(|issuer| tokio::spawn(issuers.clone().keep_up(issuer.clone()))).collect();
    if identities.workloads.wants_role() {
        tasks.push(tokio::spawn(instance::keep_up(identities.clone(), outbound.clone())));
    }
    tasks
}

/// Takes up the logins that were kept, and lets people log in and out.
async fn logins(shared: &Shared, providers: Vec<Provider>, socket: UnixListener) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let (config, identities) = (&shared.config, &shared.identities);
    let opened = Hosts::open(&config.identity, identities.logins.clone(), identities.issuers.clone(), shared.audit.clone());
    let hosts = opened.await.context("the logins on this host cannot be taken up")?;
    let waiting = Arc::new(Waiting::default());
    let url = config.console.as_ref().map(|console| console.url.clone());
    let control = Arc::new(Control::new(&config.identity, url, identities.clone(), hosts.clone(), waiting.clone()));
    let mut tasks = vec![tokio::spawn(hosts.clone().keep_up()), tokio::spawn(control.serve(socket))];
    if let Some(settings) = &config.console {
        let lifetime = config.identity.login_lifetime;
        tasks.push(Console::new(settings.clone(), lifetime, providers, hosts, waiting, shared.audit.clone())?.serve().await?);
    }
    Ok(tasks)
}

/// A record of the gateway's own life.
async fn event(shared: &Shared, kind: Kind, body: &serde_json::Value) -> anyhow::Result<()> {
    let entry = Entry { kind, body: serde_json::to_vec(body)?, effect: Effect::None };
    shared.audit.append(entry, Durability::Sync).await?;
    Ok(())
}

/// How the servers are reached, for people.
pub(crate) fn ways(config: &Config, endpoint: Option<SocketAddr>) -> String {
    let governed = config.capture.as_ref().map(|_| "governed".to_owned());
    let called = config.endpoint.as_ref().map(|settings| {
        let listen = endpoint.unwrap_or(settings.listen);
        let host = settings.hosts.first().map_or_else(|| listen.to_string(), |host| format!("{host}:{}", listen.port()));
        format!("at {}://{host}/<server>", settings.scheme())
    });
    governed.into_iter().chain(called).collect::<Vec<_>>().join(", and ")
}

/// Passes on what the kernel programs have to say.
async fn kernel_messages(mut log: KernelLog) {
    loop {
        log.forward();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Shows the kernel that the gateway lives, for as long as every worker does.
async fn heart(shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(shared.config.heartbeat() / 8);
    loop {
        beat.tick().await;
        match &shared.capture {
            _ if shared.alive() => {
                if let Some(Err(error)) = shared.capture.as_ref().map(Capture::heartbeat) {
                    tracing::error!("no heartbeat can be given: {error}");
                }
            }
            Some(_) => {
                tracing::error!("a data-plane worker hangs: no heartbeat is given, and the kernel refuses connects until it runs again")
            }
            None => tracing::error!("a data-plane worker hangs: its callers wait"),
        }
    }
}

/// Keeps up with the addresses of the servers' names.
async fn resolving(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.config.resolve()).await;
        for server in 0..shared.config.servers.len() {
            learn(&shared, server).await;
        }
    }
}

/// Keeps up with sessions that nothing is heard of, and with origins that nobody took.
async fn tidying(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TIDY).await;
        shared.forget_sessions();
        if let Some(Err(error)) = shared.capture.as_ref().map(|capture| capture.sweep(STALE_ORIGIN)) {
            tracing::warn!("origins that nobody took cannot be swept: {error}");
        }
    }
}

/// Keeps up with the files of certificates and keys: they are read anew when they have changed, and on SIGHUP.
async fn renewing(shared: Arc<Shared>, mut hangup: Signal) {
    let mut refused = Refused::default();
    loop {
        let at_any_rate = tokio::select! {
            told = hangup.recv() => told.is_some(),
            () = tokio::time::sleep(LOOK) => false,
        };
        let on = shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            on.identities.issuers.read_revoked();
            let policies = on.config.policy.as_ref().map(|policy| policy::sources(&policy.dir));
            (on.tls.renew(&on.config, at_any_rate), on.rules.tools.refresh(), policies)
        })
        .await;
        // What went wrong in it was told when it happened.
        let Ok((renewed, tools, sources)) = read else { continue };
        accepted(&shared, tools).await;
        if let Some(sources) = sources {
            reload(&shared, sources, &mut refused).await;
        }
        for Renewed { what, files, outcome } in renewed {
            let files = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
            match outcome {
                Ok(()) => tracing::info!(files, "read anew: {what}; connections that begin from now on go by it"),
                Err(error) => tracing::error!(
                    files,
                    "changed on disk, and cannot be used: {what}; what was read before stays in force: {error}. It is read again when it changes, \
                     and on SIGHUP"
                ),
            }
        }
    }
}

/// Takes up definitions of tools that were accepted on the command line, and puts that on record.
async fn accepted(shared: &Shared, accepted: std::io::Result<Vec<Accepted>>) {
    match accepted {
        Ok(accepted) => {
            for one in accepted {
                tracing::info!(server = one.server, tool = one.tool, by = one.accepted_by, "the tool's new definition was accepted");
                let written = event(shared, Kind::Tool, &json!(one)).await;
                if let Err(error) = written {
                    tracing::error!("that a tool's definition was accepted cannot be put on record: {error:#}");
                }
            }
        }
        Err(error) => tracing::error!("what was accepted of tools cannot be read: {error}"),
    }
}

/// Policies that could not be taken up, and what was said of that: both once.
#[derive(Default)]
struct Refused {
    sources: Vec<(String, String)>,
    told: String,
}

/// Takes up policies that have changed. Of those that cannot be used, the set that was in force stays.
async fn reload(shared: &Shared, sources: Result<Vec<(String, String)>, PolicyErrors>, refused: &mut Refused) {
    let (Some(in_force), Some(policy)) = (shared.rules.policies(), &shared.config.policy) else { return };
    let dir = policy.dir.display();
    let told = match sources {
        Ok(sources) if sources == in_force.sources() => {
            *refused = Refused::default();
            return shared.metrics.policies_outdated(false);
        }
        Ok(sources) if sources == refused.sources => return,
        Ok(sources) => {
            refused.sources.clone_from(&sources);
            match PolicySet::from_sources(sources) {
                Ok(set) => match policies(shared, &set).await {
                    // On record before the first call is decided by it.
                    Ok(()) => {
                        tracing::info!(set = set.hash(), %dir, "the policies have changed: calls that begin from now on go by them");
                        shared.rules.enforce(set);
                        return shared.metrics.policies_outdated(false);
                    }
                    Err(error) => format!("they cannot be put on record: {error:#}"),
                },
                Err(errors) => errors.to_string(),
            }
        }
        Err(errors) => errors.to_string(),
    };
    shared.metrics.policies_outdated(true);
    if told != refused.told {
        tracing::error!(%dir, "the policies have changed, and cannot be used; those that were read before stay in force: {told}");
        refused.told = told;
    }
}

/// Learns every address that a server's name has now, and governs it where connections are captured; those that it had before stay governed.
async fn learn(shared: &Shared, place: usize) {
    let server = &shared.config.servers[place];
    let (host, port) = (server.url.host.clone(), server.url.port);
    let found = match tokio::net::lookup_host((host.as_str(), port)).await {
        Ok(found) => found.map(|address| address.ip()).collect::<Vec<_>>(),
        Err(error) => {
            return tracing::warn!(server = server.name, "the name {host} does not resolve: {error}; what was learned before stays");
        }
    };
    for address in shared.servers.learn(place, port, found) {
        let Some(capture) = &shared.capture else {
            tracing::info!(server = server.name, "it is reached at {address} port {port}");
            continue;
        };
        match capture.govern(address, port, server.id()) {
            Ok(()) => tracing::info!(server = server.name, "{address} port {port} is governed"),
            Err(error) => tracing::error!(server = server.name, "{address} port {port} cannot be governed: {error}"),
        }
    }
}
