//! `mcp-gateway ca`: the certificate authority, and the trust in it on this host.

use std::{path::PathBuf, process::ExitCode};

mod check;
mod machine;
mod trust;

use anyhow::Context;
use clap::Subcommand;
use gateway_user::{
    config::Config,
    tls::authority::{self, Authority, Certificate, Host, Owner, Site, day},
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

use crate::{ConfigFile, load, say, service};
use machine::Machine;

pub(crate) const EXAMPLES: &str = "\
Examples:
  sudo mcp-gateway ca init                   Once, for the https servers of the configuration
  sudo mcp-gateway ca trust --unit my-agent  Let this host's runtimes and this unit trust it
  sudo mcp-gateway ca trust --check          Does every runtime here trust it?
  sudo mcp-gateway ca rotate                 Once a year, or when there is a new https server
  sudo mcp-gateway ca show --pem > ca.pem    For containers and other machines";

#[derive(Subcommand)]
pub(crate) enum Ca {
    /// Make the authority: it can vouch for the configured https servers and for nothing else
    Init(ConfigFile),
    /// Use an authority that somebody else made, such as a sub-CA of your own PKI
    Import {
        #[command(flatten)]
        config: ConfigFile,
        /// Its certificate, and after it those above it up to the root, as PEM
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key, as PEM without a password
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Put it in the place of the present one, whose key is destroyed
        #[arg(long)]
        replace: bool,
    },
    /// Show the authority and which servers it covers; exits 0 only when it is valid and covers every https server
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON
        #[arg(long, conflicts_with = "pem")]
        json: bool,
        /// Print the roots that clients are to trust, as PEM
        #[arg(long)]
        pem: bool,
    },
    /// Replace key and root; clients that trust only the present root go on until it ends
    Rotate {
        #[command(flatten)]
        config: ConfigFile,
        /// Go on even when this cuts off clients that trust only an older root
        #[arg(long)]
        without_overlap: bool,
    },
    /// Let this host's runtimes trust the authority (root)
    #[command(after_help = TRUST_EXAMPLES)]
    Trust {
        #[command(flatten)]
        config: ConfigFile,
        /// Change nothing: start curl, Python, Node, Deno and Java, as far as they are installed, and show of each whether it
        /// trusts the authority; exits 0 only when all of them do
        #[arg(long, conflicts_with = "unit")]
        check: bool,
        /// Set the variables of runtimes that bring their own roots for this systemd service too; can be given several times
        #[arg(long, value_name = "NAME")]
        unit: Vec<String>,
        /// A host that lies in this directory, such as an image that is being built; its own programs are run with chroot
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Print JSON
        #[arg(long, requires = "check")]
        json: bool,
    },
    /// Undo all that `trust` has done here (root)
    Untrust {
        /// A host that lies in this directory
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
    },
}

const TRUST_EXAMPLES: &str = "\
Examples:
  sudo mcp-gateway ca trust                          The system's store, Java's, and users' services
  sudo mcp-gateway ca trust --unit agent --unit ide  And these services: restart them afterwards
  sudo mcp-gateway ca trust --root /mnt/image        An image that is being built
  sudo mcp-gateway ca trust --check --json           Changes nothing";

/// Carries out a `ca` command.
///
/// # Errors
/// It could not be done; says what to do.
pub(crate) fn run(command: Ca) -> anyhow::Result<ExitCode> {
    // What is in memory here must not come to lie in a core dump, nor be read by another process of the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps cannot be switched off")?;
    match command {
        Ca::Init(file) => changed(&file, MADE, |site| Ok(described(&authority::init(site)?))),
        Ca::Import { config: file, certificate, key, replace } => {
            changed(&file, IMPORTED, |site| Ok(described(&authority::import(site, &certificate, &key, replace)?)))
        }
        Ca::Rotate { config: file, without_overlap } => changed(&file, ROTATED, |site| {
            let rotated = authority::rotate(site, without_overlap)?;
            Ok(described(&rotated.root) + &overlap(&rotated))
        }),
        Ca::Show { config: file, json, pem } => match load(&file)? {
            Some(config) => show(&config, json, pem),
            None => Ok(ExitCode::FAILURE),
        },
        Ca::Trust { config: file, check, unit, root, json } => match load(&file)? {
            Some(config) if check => check_trust(&config, &Machine::at(&root)?, json),
            Some(config) => {
                let authority = Authority::open(&config.ca.dir)?;
                let roots: Vec<_> = authority.roots().collect();
                anyhow::ensure!(!roots.is_empty(), without_root(&authority));
                say(&trust::trust(&Machine::at(&root)?, &roots, &unit)?)?;
                Ok(ExitCode::SUCCESS)
            }
            None => Ok(ExitCode::FAILURE),
        },
        Ca::Untrust { root } => {
            say(&trust::untrust(&Machine::at(&root)?)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

const MADE: (&str, &str) = ("made", "a gateway that is started from now on uses it");
const IMPORTED: (&str, &str) = ("imported into", "a gateway that runs takes it up within seconds, and says so in its log");
const ROTATED: (&str, &str) = ("rotated", IMPORTED.1);

/// A command that changes the authority: does it, and says what was done and what is next.
fn changed(
    file: &ConfigFile,
    (what, then): (&str, &str),
    act: impl FnOnce(Site<'_>) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let Some(config) = load(file)? else { return Ok(ExitCode::FAILURE) };
    let hosts = https_hosts(&config)?;
    let said = act(site(&config, &hosts)?)?;
    say(&format!(
        "{what} {}\n{said}{then}\nnext: `mcp-gateway ca trust` on every host whose clients are captured\n",
        config.ca.dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn check_trust(config: &Config, machine: &Machine, json: bool) -> anyhow::Result<ExitCode> {
    let authority = Authority::open(&config.ca.dir)?;
    let hosts = https_hosts(config)?;
    let host = hosts.iter().find(|host| authority.covers(&host.to_string()));
    let host = host.context("the authority covers none of the configured https servers: `mcp-gateway ca show` tells more")?;
    let report = check::check(machine, &authority, host)?;
    say(&if json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.table() })?;
    Ok(if report.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn without_root(authority: &Authority) -> String {
    format!("`{}` was imported without its root, which is what clients are to trust: install that", authority.certificate().subject)
}

/// The hosts of the configured https servers, each once.
fn https_hosts(config: &Config) -> anyhow::Result<Vec<Host>> {
    let mut hosts = Vec::new();
    for server in config.servers.iter().filter(|server| server.url.tls) {
        hosts.push(Host::parse(&server.url.host).with_context(|| format!("server `{}`", server.name))?);
    }
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

/// Root gives what it makes to the gateway's user, who is to mint without being root.
fn site<'a>(config: &'a Config, hosts: &'a [Host]) -> anyhow::Result<Site<'a>> {
    let owner = if rustix::process::geteuid().is_root() {
        let (uid, gid) = service::user_ids(&config.captured()?.user)?;
        Some(Owner { uid, gid })
    } else {
        None
    };
    Ok(Site { dir: &config.ca.dir, owner, hosts })
}

fn described(certificate: &Certificate) -> String {
    let permitted = certificate.constraints.permitted();
    let permitted = if permitted.is_empty() { "everything: it has no name constraints".into() } else { permitted.join(", ") };
    format!(
        "  subject    {}\n  sha-256    {}\n  valid      {} to {}\n  permitted  {permitted}\n",
        certificate.subject,
        certificate.fingerprint(),
        day(certificate.not_before),
        day(certificate.not_after),
    )
}

/// What a rotation means for clients.
fn overlap(rotated: &authority::Rotated) -> String {
    let mut text = String::new();
    if rotated.overlaps {
        let (old, end) = (&rotated.old.subject, day(rotated.old.not_after));
        text.push_str(&format!("clients that trust only `{old}` go on until {end}; its key is destroyed\n"));
    }
    for host in &rotated.new_only {
        text.push_str(&format!("{host}: only clients that trust the new root, because the old one may not vouch for it\n"));
    }
    for root in &rotated.cut_off {
        text.push_str(&format!("no longer honoured: `{}`; clients that trust only it are cut off\n", root.subject));
    }
    text
}

fn show(config: &Config, json: bool, pem: bool) -> anyhow::Result<ExitCode> {
    let authority = Authority::open(&config.ca.dir)?;
    let mut roots = authority.roots();
    // Of our own, what clients know; of an imported one, what was imported.
    let main = if authority.is_imported() { None } else { roots.next() }.unwrap_or(authority.certificate());
    let others: Vec<_> = roots.filter(|root| root.fingerprint() != main.fingerprint()).collect();
    let servers: Vec<_> = config.servers.iter().filter(|server| server.url.tls).collect();
    let is_valid = authority.certificate().is_valid_now();
    let is_fine = is_valid && servers.iter().all(|server| authority.covers(&server.url.host));
    let text = if pem {
        let roots: String = authority.roots().map(Certificate::pem).collect();
        anyhow::ensure!(!roots.is_empty(), without_root(&authority));
        roots
    } else if json {
        let servers = servers
            .iter()
            .map(|server| json!({ "name": server.name, "host": server.url.host, "covered": authority.covers(&server.url.host) }));
        let mut value = facts(main);
        value["imported"] = json!(authority.is_imported());
        value["valid"] = json!(is_valid);
        value["permitted"] = json!(main.constraints.permitted());
        value["servers"] = servers.collect();
        value["other_roots"] = others.iter().map(|root| facts(root)).collect();
        format!("{}\n", serde_json::to_string_pretty(&value)?)
    } else {
        let mut text = described(main);
        if !is_valid {
            text.push_str("not valid now: no call to an https server is served\n");
        }
        for server in servers {
            let covered = match authority.covers(&server.url.host) {
                true => "covered".to_owned(),
                false => format!("NOT COVERED: {}", authority.replaced_with()),
            };
            text.push_str(&format!("  server     {} ({}): {covered}\n", server.name, server.url.host));
        }
        for root in others {
            let what = if authority.is_imported() { "its root" } else { "in overlap" };
            text.push_str(&format!("  {what:10} {} until {}, sha-256 {}\n", root.subject, day(root.not_after), root.fingerprint()));
        }
        text
    };
    say(&text)?;
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn facts(certificate: &Certificate) -> serde_json::Value {
    json!({
        "subject": certificate.subject,
        "sha256": certificate.fingerprint(),
        "not_before": jiff::Timestamp::from_second(certificate.not_before).ok().map(|time| time.to_string()),
        "not_after": jiff::Timestamp::from_second(certificate.not_after).ok().map(|time| time.to_string()),
    })
}
