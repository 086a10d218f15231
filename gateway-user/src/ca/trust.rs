//! Installs the roots where a host's runtimes look, and takes them away again.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, ensure};
use gateway_user::tls::authority::Certificate;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::machine::{Keystore, Machine, SystemStore, run};

/// Our roots and nothing else: for runtimes that add to what they trust anyway.
const OURS: &str = "/etc/mcp-gateway/ca.pem";
/// The system's roots and ours: for runtimes that trust what is in a file and nothing else.
const ALL: &str = "/etc/mcp-gateway/ca-bundle.pem";
/// What was installed, so that it can be taken away exactly.
const INSTALLED: &str = "/etc/mcp-gateway/trust.json";
/// Read by systemd's user managers, and by shells that source it.
pub(super) const VARIABLES: &str = "/etc/environment.d/50-mcp-gateway.conf";
const DROP_IN: &str = "50-mcp-gateway.conf";
const NOTICE: &str = "# Written by `mcp-gateway ca trust`; `mcp-gateway ca untrust` removes it.\n";
/// How the names of our files and entries in stores that are shared with others begin.
const NAME: &str = "mcp-gateway-";

/// For each runtime that brings its own roots, the variable that adds ours.
const SETTINGS: [(&str, &str); 6] = [
    ("NODE_EXTRA_CA_CERTS", OURS),
    ("DENO_CERT", OURS),
    ("SSL_CERT_FILE", ALL),
    ("REQUESTS_CA_BUNDLE", ALL),
    ("CURL_CA_BUNDLE", ALL),
    ("AWS_CA_BUNDLE", ALL),
];

/// What `trust` has put on a host; paths as the host sees them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Installed {
    directories: Vec<String>,
    files: Vec<String>,
}

/// Installs these roots, for the host and the named units; says what was done.
///
/// # Errors
/// Something cannot be written. `untrust` removes what was done until then.
pub(super) fn trust(machine: &Machine, roots: &[&Certificate], units: &[String]) -> anyhow::Result<String> {
    let store = machine.store()?;
    let units: Vec<String> = units.iter().map(|unit| unit_name(unit)).collect::<anyhow::Result<_>>()?;
    let mut host = Hands::new(machine)?;
    let anchors: Vec<String> = roots.iter().map(|root| format!("{}/{}.{}", store.anchors, entry_name(root), store.extension)).collect();
    for (anchor, root) in anchors.iter().zip(roots) {
        host.put(anchor, &root.pem())?;
    }
    let stale: Vec<String> =
        host.installed.files.iter().filter(|file| is_anchor(file, store) && !anchors.contains(file)).cloned().collect();
    for file in &stale {
        host.remove(file)?;
    }
    host.refresh(store, !stale.is_empty())?;
    host.put(OURS, &roots.iter().map(|root| root.pem()).collect::<String>())?;
    host.bundle(store, roots)?;
    let lines = |prefix: &str| SETTINGS.iter().map(|(name, value)| format!("{prefix}{name}={value}\n")).collect::<String>();
    host.put(VARIABLES, &format!("{NOTICE}{}", lines("")))?;
    for unit in &units {
        host.put(&format!("/etc/systemd/system/{unit}.d/{DROP_IN}"), &format!("{NOTICE}[Service]\n{}", lines("Environment=")))?;
    }
    if !units.is_empty() {
        host.reload()?;
        host.say(format!("restart {}: a service gets its variables when it starts", units.join(", ")));
    }
    for keystore in machine.keystores() {
        host.keystore(&keystore, roots)?;
    }
    host.save()?;
    Ok(host.said)
}

/// Takes away what `trust` installed; says what was removed.
///
/// # Errors
/// Something cannot be removed. What is left can be by another `untrust`.
pub(super) fn untrust(machine: &Machine) -> anyhow::Result<String> {
    let mut host = Hands::new(machine)?;
    if host.installed.files.is_empty() {
        return Ok("nothing of ours is installed here\n".into());
    }
    let store = machine.store()?;
    for file in host.installed.files.clone() {
        host.remove(&file)?;
    }
    host.refresh(store, true)?;
    for keystore in machine.keystores() {
        host.keystore(&keystore, &[])?;
    }
    host.reload()?;
    host.remove(INSTALLED)?;
    for directory in host.installed.directories.clone().iter().rev() {
        // Stays when somebody else has put something there.
        if fs::remove_dir(machine.path(directory)).is_ok() {
            host.say(format!("removed {directory}"));
        }
    }
    Ok(host.said)
}

/// The units that have the variables from here.
pub(super) fn units(machine: &Machine) -> anyhow::Result<Vec<String>> {
    let installed = Hands::new(machine)?.installed;
    let unit = |file: &String| Some(file.strip_prefix("/etc/systemd/system/")?.strip_suffix(DROP_IN)?.strip_suffix(".d/")?.to_owned());
    Ok(installed.files.iter().filter_map(unit).collect())
}

/// The name of a root's file or entry in a store that is shared with others.
fn entry_name(root: &Certificate) -> String {
    let short: String = root.fingerprint().chars().filter(char::is_ascii_hexdigit).take(16).collect();
    format!("{NAME}{}", short.to_ascii_lowercase())
}

fn is_anchor(file: &str, store: &SystemStore) -> bool {
    file.strip_prefix(store.anchors).is_some_and(|name| name.starts_with('/'))
}

fn unit_name(unit: &str) -> anyhow::Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    ensure!(!unit.is_empty() && unit.chars().all(allowed), "`{unit}` is not the name of a systemd unit, such as `my-agent.service`");
    Ok(if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") })
}

/// Does, notes down, and tells.
struct Hands<'m> {
    machine: &'m Machine,
    installed: Installed,
    said: String,
}

impl<'m> Hands<'m> {
    fn new(machine: &'m Machine) -> anyhow::Result<Self> {
        let path = machine.path(INSTALLED);
        let installed = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is not what was written there", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Installed::default(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        Ok(Hands { machine, installed, said: String::new() })
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.said.push_str(line.as_ref());
        self.said.push('\n');
    }

    /// Notes down what is installed. Before it is, so that what a crash leaves can be removed.
    fn save(&mut self) -> anyhow::Result<()> {
        self.make_parents(INSTALLED)?;
        write(&self.machine.path(INSTALLED), &serde_json::to_vec_pretty(&self.installed)?)
    }

    fn make_parents(&mut self, file: &str) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        let mut directory = Path::new(file).parent();
        while let Some(path) = directory.filter(|path| !self.machine.path(&path.display().to_string()).exists()) {
            missing.push(path.display().to_string());
            directory = path.parent();
        }
        for directory in missing.into_iter().rev() {
            let path = self.machine.path(&directory);
            fs::create_dir(&path).with_context(|| format!("{} cannot be made: run this as root", path.display()))?;
            self.installed.directories.push(directory);
        }
        Ok(())
    }

    /// Notes down a file that is about to be written, with its directory.
    fn announce(&mut self, file: &str) -> anyhow::Result<()> {
        self.make_parents(file)?;
        if !self.installed.files.iter().any(|other| other == file) {
            self.installed.files.push(file.to_owned());
        }
        self.save()
    }

    fn put(&mut self, file: &str, content: &str) -> anyhow::Result<()> {
        self.announce(file)?;
        write(&self.machine.path(file), content.as_bytes())?;
        self.say(format!("wrote {file}"));
        Ok(())
    }

    fn remove(&mut self, file: &str) -> anyhow::Result<()> {
        let path = self.machine.path(file);
        match fs::remove_file(&path) {
            Ok(()) => self.say(format!("removed {file}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be removed: run this as root", path.display())),
        }
        self.installed.files.retain(|other| other != file);
        Ok(())
    }

    fn refresh(&mut self, store: &SystemStore, gone: bool) -> anyhow::Result<()> {
        match self.machine.refresh(store, gone)? {
            Some(command) => self.say(format!("ran {command}")),
            None => self.say("the system's store was not refreshed: its program is not there; install the package ca-certificates"),
        }
        Ok(())
    }

    /// All roots in one file. A link to the system's own, which is kept up to date, when that has ours in it.
    fn bundle(&mut self, store: &SystemStore, roots: &[&Certificate]) -> anyhow::Result<()> {
        let path = self.machine.path(store.bundle);
        let systems = fs::read(&path).with_context(|| format!("{} cannot be read: install the package ca-certificates", path.display()))?;
        let found: Vec<_> = CertificateDer::pem_slice_iter(&systems).flatten().collect();
        let missing: Vec<_> = roots.iter().filter(|root| !found.contains(&root.der)).collect();
        if missing.is_empty() {
            self.announce(ALL)?;
            let (link, new) = (self.machine.path(ALL), self.machine.path(&format!("{ALL}.new")));
            // Relative, so that it leads to the same place from outside the host.
            let target = format!("../..{}", store.bundle);
            let _ = fs::remove_file(&new);
            symlink(&target, &new).and_then(|()| fs::rename(&new, &link)).with_context(|| format!("{} cannot be made", link.display()))?;
            self.say(format!("linked {ALL} to {}", store.bundle));
            return Ok(());
        }
        let mut text = String::from_utf8_lossy(&systems).into_owned();
        for root in missing {
            text.push_str(&format!("\n{}", root.pem()));
        }
        self.put(ALL, &text)?;
        self.say(format!("{ALL} is a copy of {} with ours: run this again when that changes", store.bundle));
        Ok(())
    }

    /// Makes the entries of ours in a keystore those of `roots`.
    fn keystore(&mut self, keystore: &Keystore, roots: &[&Certificate]) -> anyhow::Result<()> {
        let Keystore { file, keytool, is_systems } = keystore;
        let tool = |arguments: &[&str]| {
            let mut command = self.machine.command(keytool);
            // Made by JDKs with this password, which protects nothing.
            run(command.args(arguments).args(["-keystore", file, "-storepass", "changeit"]))
        };
        let listed = match tool(&["-list"]) {
            Ok(listed) => listed,
            Err(error) => {
                self.say(format!("not done: {file}: {error:#}"));
                return Ok(());
            }
        };
        // One line an entry: its alias, a date, its kind.
        let aliases: Vec<&str> = listed.lines().filter_map(|line| line.split_once(',')).map(|(alias, _)| alias).collect();
        let wanted: Vec<String> = roots.iter().map(|root| entry_name(root)).collect();
        let mut done = Vec::new();
        for alias in aliases.iter().filter(|alias| alias.contains(NAME) && !wanted.iter().any(|name| alias.contains(name))) {
            tool(&["-delete", "-alias", alias])?;
            done.push(format!("removed {alias} from {file}"));
        }
        for (name, root) in wanted.iter().zip(roots) {
            if aliases.iter().any(|alias| alias.contains(name)) {
                if *is_systems {
                    done.push(format!("{file} has it from the system's store"));
                }
                continue;
            }
            let from = format!("/etc/mcp-gateway/.{name}.pem");
            write(&self.machine.path(&from), root.pem().as_bytes())?;
            let imported = tool(&["-importcert", "-noprompt", "-alias", name, "-file", &from]);
            fs::remove_file(self.machine.path(&from))?;
            imported?;
            done.push(format!("added {name} to {file}"));
        }
        for line in done {
            self.say(line);
        }
        Ok(())
    }

    fn reload(&mut self) -> anyhow::Result<()> {
        if self.machine.is_this_one() && Path::new("/run/systemd/system").is_dir() {
            run(self.machine.command("systemctl").arg("daemon-reload"))?;
            self.say("ran systemctl daemon-reload");
        }
        Ok(())
    }
}

/// Writes a file that everybody may read, in place of what is there.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("{} cannot be written: run this as root", path.display()))
}
