//! The host whose runtimes are to trust the authority: this one, or an image that lies in a directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// A host, as seen from its root.
pub(super) struct Machine {
    root: PathBuf,
}

/// Where a distribution keeps the authorities that its programs trust.
pub(super) struct SystemStore {
    /// Where an administrator's own are put, one a file.
    pub(super) anchors: &'static str,
    /// How the names of those files end.
    pub(super) extension: &'static str,
    /// What takes them over.
    refresh: (&'static str, &'static [&'static str]),
    /// What takes them over when one has gone.
    refresh_without: (&'static str, &'static [&'static str]),
    /// All of them in one file, for those who ask for that.
    pub(super) bundle: &'static str,
}

/// Debian and Ubuntu. Without `--fresh`, links to what has gone stay behind.
const DEBIAN: SystemStore = SystemStore {
    anchors: "/usr/local/share/ca-certificates",
    extension: "crt",
    refresh: ("update-ca-certificates", &[]),
    refresh_without: ("update-ca-certificates", &["--fresh"]),
    bundle: "/etc/ssl/certs/ca-certificates.crt",
};

/// Amazon Linux, Red Hat, Fedora.
const RED_HAT: SystemStore = SystemStore {
    anchors: "/etc/pki/ca-trust/source/anchors",
    extension: "pem",
    refresh: ("update-ca-trust", &["extract"]),
    refresh_without: ("update-ca-trust", &["extract"]),
    bundle: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
};

/// A Java keystore, and the program that changes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keystore {
    pub(super) file: String,
    pub(super) keytool: String,
    /// Filled from the system's store, by the distribution.
    pub(super) is_systems: bool,
}

impl Machine {
    pub(super) fn at(root: &Path) -> anyhow::Result<Self> {
        let root = fs::canonicalize(root).with_context(|| format!("{} is not there", root.display()))?;
        Ok(Machine { root })
    }

    pub(super) fn is_this_one(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the host is for us.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A program of the host, to be run there.
    pub(super) fn command(&self, program: &str) -> Command {
        if self.is_this_one() {
            return Command::new(program);
        }
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program);
        command
    }

    /// The programs of this name on the path, one from each directory: an environment of Python's links to the same program, and
    /// yet has libraries of its own.
    pub(super) fn programs(&self, name: &str) -> Vec<String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (mut seen, mut found) = (Vec::new(), Vec::new());
        // Where distributions put what we look for, should the path be a poor one.
        for dir in std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/sbin".into()]) {
            let program = dir.join(name).display().to_string();
            let there = self.real(&program).is_some_and(|real| self.path(&real.display().to_string()).is_file());
            let dir = self.real(&dir.display().to_string());
            if there && !seen.contains(&dir) {
                seen.push(dir);
                found.push(program);
            }
        }
        found
    }

    /// Follows the links of a path of the host, within the host.
    pub(super) fn real(&self, path: &str) -> Option<PathBuf> {
        let mut real = PathBuf::from("/");
        let mut rest: Vec<_> = Path::new(path).components().rev().map(|part| part.as_os_str().to_owned()).collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.to_str() {
                Some("/") => real = PathBuf::from("/"),
                Some("..") => _ = real.pop(),
                _ => {
                    let here = self.root.join(real.join(&part).strip_prefix("/").ok()?);
                    match fs::read_link(&here) {
                        Ok(target) if links < 40 => {
                            links += 1;
                            rest.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                        }
                        Ok(_) => return None,
                        Err(_) => real.push(&part),
                    }
                }
            }
        }
        Some(real)
    }

    pub(super) fn store(&self) -> anyhow::Result<&'static SystemStore> {
        if self.path(RED_HAT.anchors).is_dir() {
            return Ok(&RED_HAT);
        }
        if ["/etc/ca-certificates.conf", "/usr/share/ca-certificates", DEBIAN.anchors].iter().any(|path| self.path(path).exists()) {
            return Ok(&DEBIAN);
        }
        bail!(
            "the certificate store of {} is neither Debian's nor Red Hat's kind: install the package ca-certificates; or print the \
             root with `mcp-gateway ca show --pem` and install it by hand",
            self.root.display()
        )
    }

    /// Lets the system's store take over what has come, or with `gone` what has gone. `None` when the host has no program for that.
    pub(super) fn refresh(&self, store: &SystemStore, gone: bool) -> anyhow::Result<Option<String>> {
        let (program, arguments) = if gone { store.refresh_without } else { store.refresh };
        let Some(path) = self.programs(program).into_iter().next() else { return Ok(None) };
        run(self.command(&path).args(arguments))?;
        Ok(Some(std::iter::once(program).chain(arguments.iter().copied()).collect::<Vec<_>>().join(" ")))
    }

    /// The keystores of the Java runtimes that are installed where distributions and vendors put them, or named by `JAVA_HOME`.
    pub(super) fn keystores(&self) -> Vec<Keystore> {
        let mut found: Vec<Keystore> = Vec::new();
        for home in self.java_homes() {
            for file in [format!("{home}/lib/security/cacerts"), format!("{home}/jre/lib/security/cacerts")] {
                let Some(real) = self.real(&file).filter(|real| self.path(&real.display().to_string()).is_file()) else { continue };
                let (file, keytool) = (real.display().to_string(), format!("{home}/bin/keytool"));
                if self.path(&keytool).exists() && !found.iter().any(|other| other.file == file) {
                    let is_systems = real.starts_with("/etc");
                    found.push(Keystore { file, keytool, is_systems });
                }
            }
        }
        found
    }

    /// The directories of Java runtimes, each once.
    pub(super) fn java_homes(&self) -> Vec<String> {
        let mut homes: Vec<String> = std::env::var("JAVA_HOME").into_iter().collect();
        if let Ok(entries) = fs::read_dir(self.path("/usr/lib/jvm")) {
            homes.extend(entries.flatten().map(|entry| format!("/usr/lib/jvm/{}", entry.file_name().to_string_lossy())));
        }
        let mut real: Vec<String> = homes.iter().filter_map(|home| Some(self.real(home)?.display().to_string())).collect();
        real.retain(|home| self.path(home).join("bin/java").exists());
        real.sort();
        real.dedup();
        real
    }
}

/// Runs a program to its end; what it says is told only when it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let output = command.output().with_context(|| format!("`{name}` cannot be started"))?;
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    anyhow::ensure!(output.status.success(), "`{name} {}` failed ({}): {said}", arguments.join(" "), output.status);
    Ok(said)
}
