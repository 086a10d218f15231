//! Real SAML 2.0 identity providers, SimpleSAMLphp and pysaml2, on a loopback address of their own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde::Serialize;
use tempfile::TempDir;

use crate::{Browser, Launch, Proc, Slot, binaries, clients::python, needs::on_path, servers::listening};

/// An implementation of SAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// SimpleSAMLphp: attributes by plain names (`groups`).
    SimpleSamlPhp,
    /// pysaml2: those that are registered by object identifier (`urn:oid:0.9.2342.19200300.100.1.1`, friendly name `uid`), others as they are.
    PySaml2,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SimpleSamlPhp, Self::PySaml2];
}

/// What an identity provider signs and encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Manner {
    /// Each assertion is signed.
    pub sign_assertion: bool,
    /// The response around it is signed.
    pub sign_response: bool,
    /// The assertion is encrypted for the certificate in the service provider's metadata.
    pub encrypt_assertion: bool,
    /// By algorithms that nobody should trust any more: SHA-1 in signatures; and pysaml2 encrypts with triple DES.
    pub weak: bool,
}

impl Default for Manner {
    /// A signed assertion, for all to read.
    fn default() -> Self {
        Self { sign_assertion: true, sign_response: false, encrypt_assertion: false, weak: false }
    }
}

/// A service provider, as it describes itself.
#[derive(Debug, Clone)]
pub struct ServiceProvider<'a> {
    /// Its entity id.
    pub entity_id: &'a str,
    /// Where it takes responses, by POST.
    pub acs: &'a str,
    /// The PEM file of its certificate, for signatures and encryption.
    pub certificate: Option<&'a Path>,
}

impl ServiceProvider<'_> {
    /// Its metadata. It does not ask for signed assertions: SimpleSAMLphp would sign them in [every manner](Manner).
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn metadata(&self) -> anyhow::Result<String> {
        let Self { entity_id, acs, certificate } = self;
        let mut keys = String::new();
        if let Some(file) = certificate {
            let pem = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            for usage in ["signing", "encryption"] {
                keys.push_str(&format!(
                    "<md:KeyDescriptor use=\"{usage}\"><ds:KeyInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:X509Data>\
                     <ds:X509Certificate>{base64}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
                ));
            }
        }
        Ok(format!(
            "<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{entity_id}\">\
             <md:SPSSODescriptor protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\">{keys}\
             <md:AssertionConsumerService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" Location=\"{acs}\" index=\"0\" \
             isDefault=\"true\"/></md:SPSSODescriptor></md:EntityDescriptor>"
        ))
    }
}

/// An identity provider, running. Its people are `ada` (groups dba, staff) and `bob` (staff), with their names as passwords: as the
/// subject (`persistent`; or the mail address, if a request asks for `emailAddress`), and as `uid`, `mail`, `displayName`, `groups`.
#[derive(Debug)]
pub struct SamlIdp {
    product: Product,
    base: String,
    home: TempDir,
    process: Proc,
    _slot: Slot,
}

impl Drop for SamlIdp {
    /// What libfaketime shares between processes outlives one that is killed.
    fn drop(&mut self) {
        for shared in ["faketime_shm_", "sem.faketime_sem_"] {
            // Without another clock there is none.
            let _ = fs::remove_file(format!("/dev/shm/{shared}{}", self.process.pid()));
        }
    }
}

impl SamlIdp {
    /// Starts it; it serves nobody until it is told to [trust](SamlIdp::trust) somebody.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(product: Product) -> anyhow::Result<Self> {
        Self::launch(product, |launch| launch)
    }

    /// As [`SamlIdp::start`], with a clock that is off, as in `-2h` or `+90` (seconds): see faketime(1).
    ///
    /// # Errors
    /// As [`SamlIdp::start`].
    pub fn start_at(product: Product, clock: &str) -> anyhow::Result<Self> {
        // Not by the command `faketime`: it stays between, and what it started outlives it.
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        ensure!(Path::new(&library).is_file(), "{library} is not there: `cargo xtask test` installs it");
        Self::launch(product, |launch| launch.env("LD_PRELOAD", library).env("FAKETIME", clock))
    }

    fn launch(product: Product, more: impl FnOnce(Launch) -> Launch) -> anyhow::Result<Self> {
        let slot = Slot::take()?;
        let address = SocketAddr::from((Ipv4Addr::new(127, 77, slot.number(), 1), 8440));
        let home = tempfile::tempdir()?;
        let base = format!("http://{address}");
        let launch = match product {
            Product::SimpleSamlPhp => {
                let www = Path::new("/usr/share/simplesamlphp/www");
                ensure!(www.is_dir() && on_path("php"), "SimpleSAMLphp is not installed: `cargo xtask test` does that");
                Launch::new("php")
                    .args(["-S", &address.to_string(), "-t"])
                    .arg(www)
                    .env("SIMPLESAMLPHP_CONFIG_DIR", binaries::root().join("tests/saml"))
                    .env("SAML_BASE", &base)
                    .env("SAML_HOME", home.path())
            }
            Product::PySaml2 => {
                let interpreter = python("saml");
                ensure!(interpreter.is_file() && on_path("xmlsec1"), "pysaml2 is not installed: `cargo xtask test` does that");
                Launch::new(interpreter)
                    .arg(binaries::root().join("tests/python/saml_idp.py"))
                    .args([address.ip().to_string(), address.port().to_string()])
                    .arg(home.path())
                    .env("PYTHONDONTWRITEBYTECODE", "1")
            }
        };
        certificate(home.path(), "idp")?;
        fs::write(home.path().join("manner.json"), serde_json::to_vec(&Manner::default())?)?;
        let mut process = more(launch).start()?;
        listening(&mut process, address)?;
        Ok(Self { product, base, home, process, _slot: slot })
    }

    /// Where its metadata is; this is its entity id too.
    #[must_use]
    pub fn metadata_url(&self) -> String {
        match self.product {
            Product::SimpleSamlPhp => format!("{}/saml2/idp/metadata.php", self.base),
            Product::PySaml2 => format!("{}/metadata", self.base),
        }
    }

    /// Where logins begin.
    #[must_use]
    pub fn sso_url(&self) -> String {
        match self.product {
            Product::SimpleSamlPhp => format!("{}/saml2/idp/SSOService.php", self.base),
            Product::PySaml2 => format!("{}/sso", self.base),
        }
    }

    /// Where a login begins for which no service provider asked.
    #[must_use]
    pub fn unsolicited_url(&self, entity_id: &str) -> String {
        format!("{}?spentityid={entity_id}", self.sso_url())
    }

    /// Its metadata.
    ///
    /// # Errors
    /// It does not answer, or with something else.
    pub fn metadata(&self) -> anyhow::Result<String> {
        let page = Browser::new()?.open(&self.metadata_url())?;
        ensure!(page.status == 200 && page.html.contains("IDPSSODescriptor"), "not the metadata of an identity provider: {page:?}");
        Ok(page.html)
    }

    /// Serves the service provider with this metadata from now on, and those before it.
    ///
    /// # Errors
    /// The metadata cannot be written.
    pub fn trust(&self, metadata: &str) -> anyhow::Result<()> {
        let known = fs::read_dir(self.home.path())?.count();
        Ok(fs::write(self.home.path().join(format!("sp-{known}.xml")), metadata)?)
    }

    /// Signs and encrypts so from now on.
    ///
    /// # Errors
    /// That cannot be written.
    pub fn behave(&self, manner: Manner) -> anyhow::Result<()> {
        Ok(fs::write(self.home.path().join("manner.json"), serde_json::to_vec(&manner)?)?)
    }

    /// Signs with a new key from now on; its metadata says so.
    ///
    /// # Errors
    /// There is no new key.
    pub fn renew_key(&self) -> anyhow::Result<()> {
        certificate(self.home.path(), "idp").map(drop)
    }

    /// The PEM file of its key: for documents that it did not write.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.home.path().join("idp.key")
    }

    /// The PEM file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join("idp.pem")
    }
}

/// An RSA key, `NAME.key`, and a certificate by itself for it, `NAME.pem`, in a folder: what SAML signs and encrypts with.
///
/// # Errors
/// OpenSSL does not make them.
pub fn certificate(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (pem, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    Launch::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &format!("/CN={name}"), "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&pem)
        .run(Duration::from_secs(60))?
        .ok()?;
    Ok((pem, key))
}
