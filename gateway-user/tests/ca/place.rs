//! A configuration and an authority in a directory of their own, and programs that are run on them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{Issuer, KeyPair};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

pub(crate) const SERVER: &str = "mcp.clinic.internal";
pub(crate) const OTHER: &str = "other.clinic.internal";

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn is_fine(&self) -> bool {
        self.code == 0
    }

    /// What it said, when all went well.
    #[track_caller]
    pub(crate) fn ok(&self) -> String {
        assert!(self.is_fine(), "{self:?}");
        self.out.clone()
    }
}

/// Runs with no variable that could make a program trust somebody.
pub(crate) fn run(program: &str, words: &[&str]) -> Said {
    let path = std::env::var_os("PATH").unwrap();
    let command = Command::new(program).args(words).env_clear().env("PATH", path).output();
    let output = command.unwrap_or_else(|error| panic!("`{program}` is needed for this test: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

pub(crate) struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    /// A configuration that governs an https server on each of these hosts.
    pub(crate) fn new(hosts: &[&str]) -> Self {
        Place { temp: tempfile::tempdir().unwrap() }.governing(hosts)
    }

    /// The same with other servers.
    pub(crate) fn governing(self, hosts: &[&str]) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let mut text = format!("[capture]\nuser = \"{uid}\"\n[ca]\ndir = {:?}\n", self.dir());
        text.push_str("[[server]]\nname = \"plain\"\nurl = \"http://plain.internal/mcp\"\n");
        for (n, host) in hosts.iter().enumerate() {
            let host = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
            text.push_str(&format!("[[server]]\nname = \"s{n}\"\nurl = \"https://{host}/mcp\"\n"));
        }
        fs::write(self.path("gateway.toml"), text).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn dir(&self) -> String {
        self.path("ca").display().to_string()
    }

    /// The authority's file.
    pub(crate) fn file(&self) -> String {
        self.path("ca/authority.pem").display().to_string()
    }

    /// `mcp-gateway ca …` with this configuration.
    pub(crate) fn ca(&self, words: &[&str]) -> Said {
        let config = self.path("gateway.toml").display().to_string();
        let (verb, rest) = words.split_first().unwrap();
        let file: &[&str] = if *verb == "untrust" { &[] } else { &["--config", &config] };
        run(env!("CARGO_BIN_EXE_mcp-gateway"), &[&["ca", verb][..], file, rest].concat())
    }

    pub(crate) fn openssl(&self, words: &[&str]) -> Said {
        run("openssl", words)
    }

    pub(crate) fn authority(&self) -> gateway_user::tls::authority::Authority {
        gateway_user::tls::authority::Authority::open(Path::new(&self.dir())).unwrap()
    }

    /// The certificates that are sent with a leaf, in a file.
    pub(crate) fn chain(&self, name: &str, key: &CertifiedKey) -> String {
        let read = |der: &CertificateDer<'static>| gateway_user::tls::authority::Certificate::read(der.clone()).unwrap().pem();
        self.write(name, key.cert[1..].iter().map(read).collect::<String>())
    }

    /// Its newest root, in a file.
    pub(crate) fn root(&self, name: &str) -> String {
        self.write(name, self.authority().roots().next().unwrap().pem())
    }

    /// What a thief of the authority's key would make: a leaf for any host at all.
    pub(crate) fn forge(&self, host: &str) -> CertifiedKey {
        let file = fs::read(self.file()).unwrap();
        let key = KeyPair::try_from(&PrivateKeyDer::from_pem_slice(&file).unwrap()).unwrap();
        let certificate = CertificateDer::from_pem_slice(&file).unwrap();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
        let own = KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        let leaf = params.signed_by(&own, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(own.serialize_der().into());
        CertifiedKey::new(vec![leaf.into(), certificate], rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap())
    }
}
