//! A whole host, this one as an overlay, is made to trust the gateway's authority, is probed with its own runtimes, and is cleaned.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use gateway_tests::{Finished, Launch, Proc, User, binaries, needs, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(240);
const HOST: &str = "mcp.clinic.internal";

/// Runs until it is killed; the mounts are its own, and go with it. `$0` is a directory, `$1` the repository.
const MOUNTS: &str = r#"
mount -t tmpfs tmpfs "$0"
mkdir "$0/upper" "$0/work" "$0/host"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/host"
mount --rbind /dev "$0/host/dev"
mount -t proc proc "$0/host/proc"
mkdir -p "$0/host$1"
mount --bind "$1" "$0/host$1"
echo ready
exec sleep infinity
"#;

/// This host, to be changed at will: what is written to it goes to memory.
struct Host {
    holder: Proc,
    temp: tempfile::TempDir,
}

impl Host {
    fn new() -> anyhow::Result<Self> {
        needs::require()?;
        let temp = tempfile::tempdir()?;
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(temp.path().join("mounts"))?;
        let holder = Launch::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", MOUNTS])
            .args([temp.path().join("mounts"), binaries::root()])
            .start()?;
        wait_until("the overlay to be mounted", Duration::from_secs(20), || holder.stdout().contains("ready"))
            .with_context(|| holder.stderr())?;
        Ok(Host { holder, temp })
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("mounts/host")
    }

    /// A program of ours that sees the host's root at [`root`](Self::root).
    fn beside(&self, program: impl Into<PathBuf>) -> Launch {
        // Both environments of Python's have libraries that verify with roots of their own.
        let mut path: Vec<_> = ["sdk-v1/bin", "sdk-v2/bin"].map(|bin| binaries::cache().join(bin)).into();
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(path).unwrap_or_default();
        Launch::new("nsenter").args(["--target", &self.holder.pid().to_string(), "--mount", "--"]).arg(program.into()).env("PATH", path)
    }

    /// A shell script on the host, with the root as its `/`.
    fn sh(&self, script: &str) -> anyhow::Result<String> {
        let run = self.beside("chroot").arg(self.root()).args(["sh", "-ec", script]).run(LIMIT)?;
        Ok(run.ok()?.stdout)
    }

    fn ca(&self, words: &[&str]) -> anyhow::Result<Finished> {
        self.beside(binaries::gateway()?).arg("ca").args(words).run(LIMIT)
    }

    /// The same with a configuration and on this host.
    fn trust(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let (config, root) = (self.config(), self.root().display().to_string());
        self.ca(&[&["trust", "--config", &config, "--root", &root][..], words].concat())
    }

    fn config(&self) -> String {
        self.temp.path().join("gateway.toml").display().to_string()
    }

    /// An authority of the gateway's user, made by root.
    fn make_authority(&self) -> anyhow::Result<()> {
        let (temp, config) = (self.temp.path().display(), self.config());
        let text =
            format!("capture.user = \"nobody\"\nca.dir = \"{temp}/ca\"\n[[server]]\nname = \"clinic\"\nurl = \"https://{HOST}/mcp\"\n");
        fs::write(&config, text)?;
        self.ca(&["init", "--config", &config])?.ok()?;
        Ok(())
    }

    fn check(&self) -> anyhow::Result<(Option<i32>, Vec<Row>)> {
        let run = self.trust(&["--check", "--json"])?;
        let report: Value = serde_json::from_str(&run.stdout).with_context(|| run.stderr.clone())?;
        let word = |value: &Value| value["trusts"].as_str().unwrap_or("-").to_owned();
        let rows = report["runtimes"].as_array().into_iter().flatten().map(|row| Row {
            runtime: row["runtime"].as_str().unwrap_or_default().to_owned(),
            library: row["library"].as_str().unwrap_or_default().to_owned(),
            by_itself: word(&row["by_itself"]),
            with_variables: word(&row["with_variables"]),
        });
        Ok((run.code(), rows.collect()))
    }
}

#[derive(Debug)]
struct Row {
    runtime: String,
    library: String,
    by_itself: String,
    with_variables: String,
}

/// The verdicts on all runtimes of a name and library, without and with the variables.
fn verdicts<'r>(rows: &'r [Row], name: &str, library: &str) -> anyhow::Result<Vec<(&'r str, &'r str)>> {
    let of_it = rows.iter().filter(|row| row.runtime.ends_with(&format!("/{name}")) && row.library == library);
    let found: Vec<_> = of_it.map(|row| (row.by_itself.as_str(), row.with_variables.as_str())).collect();
    ensure!(!found.is_empty(), "{name} {library} was not probed: {rows:?}");
    Ok(found)
}

/// What a host trusts: bundle, links, Java's entries, and files where ours would be.
const TRUSTED: &str = r#"
sha256sum /etc/ssl/certs/ca-certificates.crt
ls /etc/ssl/certs /usr/local/share/ca-certificates /etc/environment.d 2>&1 || true
ls -d /etc/mcp-gateway /etc/systemd/system/*.d 2>&1 || true
for store in /etc/ssl/certs/java/cacerts /opt/java/lib/security/cacerts; do
    [ ! -e $store ] || keytool -list -keystore $store -storepass changeit 2>/dev/null | cut -d, -f1 | sort
done
"#;

#[test]
fn every_runtime_trusts_us_after_trust_and_none_before_it_or_after_untrust() -> anyhow::Result<()> {
    let host = Host::new()?;
    host.make_authority()?;
    // A Java with a keystore of its own, as vendors ship it, if there is any Java here.
    let java = host.sh("update-ca-certificates --fresh >/dev/null
        if command -v java >/dev/null && command -v keytool >/dev/null; then
            home=$(dirname \"$(dirname \"$(readlink -f \"$(command -v keytool)\")\")\")
            mkdir -p /usr/lib/jvm /opt/java/lib/security /opt/java/bin
            cp -L \"$home/lib/security/cacerts\" /opt/java/lib/security/cacerts
            ln -s \"$home/bin/keytool\" \"$home/bin/java\" /opt/java/bin/
            ln -s /opt/java /usr/lib/jvm/of-a-vendor
            echo java
        fi")?;
    let (has_java, before) = (java.contains("java"), host.sh(TRUSTED)?);
    let (code, rows) = host.check()?;
    assert_eq!(code, Some(1));
    assert!(rows.iter().all(|row| row.by_itself == "no"), "{rows:?}");

    let said = host.trust(&["--unit", "agent"])?.ok()?.stdout;
    assert!(said.contains("linked /etc/mcp-gateway/ca-bundle.pem"), "the system's own bundle has it: {said}");
    let (code, rows) = host.check()?;
    assert_eq!(code, Some(0), "{rows:?}");
    for (name, library, by_itself) in
        [("curl", "", "yes"), ("python3", "ssl", "yes"), ("python3", "requests", "no"), ("python3", "httpx", "no"), ("node", "", "no")]
    {
        assert!(verdicts(&rows, name, library)?.iter().all(|verdict| *verdict == (by_itself, "yes")), "{name} {library}: {rows:?}");
    }
    if has_java {
        assert!(verdicts(&rows, "java", "")?.iter().all(|verdict| *verdict == ("yes", "yes")), "{rows:?}");
        assert!(said.contains("to /opt/java/lib/security/cacerts"), "{said}");
    }

    let untrust = host.ca(&["untrust", "--root", &host.root().display().to_string()])?.ok()?.stdout;
    assert_eq!(host.sh(TRUSTED)?, before, "{untrust}");
    let (code, rows) = host.check()?;
    assert!(code == Some(1) && rows.iter().all(|row| row.by_itself == "no"), "{rows:?}");
    Ok(())
}

/// What makes a host's store one of Red Hat's kind. The program that takes authorities over is theirs (p11-kit), which Debian has too and
/// lets look elsewhere; `update-ca-trust` calls it as their package ca-certificates does. Runtimes are led to where theirs look.
const RED_HAT: &str = r#"
pki=/etc/pki/ca-trust
mkdir -p $pki/source/anchors $pki/extracted/pem $pki/extracted/openssl $pki/extracted/java /usr/share/pki/ca-trust-source/anchors
cp -L /etc/ssl/certs/ca-certificates.crt /usr/share/pki/ca-trust-source/anchors/all.pem
sed -i "s|^x-init-reserved:.*|x-init-reserved: paths=$pki/source:/usr/share/pki/ca-trust-source|" /usr/share/p11-kit/modules/p11-kit-trust.module
cat >/usr/bin/update-ca-trust <<'END'
#!/bin/sh -e
export P11_KIT_NO_USER_CONFIG=1
extract() { p11-kit extract --overwrite "$@"; }
to=/etc/pki/ca-trust/extracted
extract --format=openssl-bundle --filter=certificates --comment $to/openssl/ca-bundle.trust.crt
extract --format=pem-bundle --filter=ca-anchors --comment --purpose server-auth $to/pem/tls-ca-bundle.pem
extract --format=java-cacerts --filter=ca-anchors --purpose server-auth $to/java/cacerts
END
chmod 755 /usr/bin/update-ca-trust
update-ca-trust extract
rm -r /etc/ssl/certs /usr/local/share/ca-certificates /etc/ca-certificates.conf
mkdir -p /etc/ssl/certs/java
ln -sf $pki/extracted/pem/tls-ca-bundle.pem /etc/ssl/certs/ca-certificates.crt
ln -sf $pki/extracted/pem/tls-ca-bundle.pem /usr/lib/ssl/cert.pem
ln -sf $pki/extracted/java/cacerts /etc/ssl/certs/java/cacerts
"#;

#[test]
fn on_a_store_of_red_hats_kind_every_runtime_trusts_us_after_trust_and_none_after_untrust() -> anyhow::Result<()> {
    ensure!(needs::on_path("trust"), "p11-kit is not installed: `cargo xtask test` does that");
    const STORE: &str = "cd /etc/pki/ca-trust; ls -R source; sha256sum extracted/pem/* extracted/openssl/*";
    let host = Host::new()?;
    host.make_authority()?;
    host.sh(RED_HAT)?;
    let before = host.sh(STORE)?;
    let has_java = host.sh("command -v java || true")?.contains("java");
    let (code, rows) = host.check()?;
    assert!(code == Some(1) && rows.iter().all(|row| row.by_itself == "no"), "{rows:?}");

    let said = host.trust(&[])?.ok()?.stdout;
    assert!(said.contains("update-ca-trust extract"), "{said}");
    assert!(said.contains("linked /etc/mcp-gateway/ca-bundle.pem"), "the system's own bundle has it: {said}");
    let (code, rows) = host.check()?;
    assert_eq!(code, Some(0), "{rows:?}");
    let of_the_system = [("curl", ""), ("python3", "ssl"), ("java", "")];
    for (name, library) in of_the_system.iter().filter(|(name, _)| *name != "java" || has_java) {
        assert!(verdicts(&rows, name, library)?.iter().all(|(by_itself, _)| *by_itself == "yes"), "{name} {library}: {rows:?}");
    }

    let untrust = host.ca(&["untrust", "--root", &host.root().display().to_string()])?.ok()?.stdout;
    assert_eq!(host.sh(STORE)?, before, "{untrust}");
    let (code, rows) = host.check()?;
    assert!(code == Some(1) && rows.iter().all(|row| row.by_itself == "no"), "{rows:?}");
    Ok(())
}

#[test]
fn one_runtime_that_does_not_trust_us_or_trusts_anybody_is_an_answer_of_no() -> anyhow::Result<()> {
    let host = Host::new()?;
    host.make_authority()?;
    host.trust(&[])?.ok()?;
    host.sh("rm /etc/environment.d/50-mcp-gateway.conf")?;
    let (code, rows) = host.check()?;
    assert_eq!(code, Some(1));
    assert!(verdicts(&rows, "curl", "")?.iter().all(|verdict| *verdict == ("yes", "-")), "{rows:?}");
    assert!(verdicts(&rows, "node", "")?.iter().all(|verdict| *verdict == ("no", "-")), "{rows:?}");
    let table = host.trust(&["--check"])?.stdout;
    assert!(table.contains("UNABLE_TO_GET_ISSUER_CERT_LOCALLY") && table.contains("sudo mcp-gateway ca trust"), "{table}");

    host.trust(&[])?.ok()?;
    // Who is told not to verify would pass for one that trusts us.
    host.sh("curl=$(command -v curl); printf '#!/bin/sh\\nexec %s \"$@\" --insecure\\n' \"$curl\" >/usr/local/bin/curl; chmod 755 /usr/local/bin/curl")?;
    let (code, rows) = host.check()?;
    assert_eq!(code, Some(1));
    assert!(rows.iter().any(|row| row.runtime == "/usr/local/bin/curl" && row.with_variables == "anybody"), "{rows:?}");
    Ok(())
}

#[test]
fn what_root_makes_the_gateways_user_can_use_and_nobody_else_can_read() -> anyhow::Result<()> {
    let host = Host::new()?;
    host.make_authority()?;
    let config = host.config();
    let gateway = binaries::reachable(&binaries::gateway()?)?;
    let user = User { ptrace: false, ..User::nobody()? };
    let show = |user| Launch::new(&gateway).args(["ca", "show", "--config", &config]).user(user).run(LIMIT);
    show(user)?.ok()?;
    let stranger = show(User { uid: 54_321, gid: 54_321, ptrace: false })?;
    assert!(stranger.code() == Some(3) && stranger.stderr.contains("Permission denied"), "{stranger:?}");
    // The user is the gateway's, and makes the successor as well.
    Launch::new(&gateway).args(["ca", "rotate", "--config", &config]).user(user).run(LIMIT)?.ok()?;
    host.ca(&["rotate", "--without-overlap", "--config", &config])?.ok()?;
    show(user)?.ok()?;
    Ok(())
}
