//! What the tests need besides Rust, at locked versions, into `.cache/` at the repository's root.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use anyhow::{Context, bail};

use crate::run::{self, step};

/// Debian packages that the demo and the tests use, and a program or file of each that tells whether it is there.
const PACKAGES: [(&str, &str); 5] = [("iproute2", "ip"), ("util-linux", "setpriv"), ("curl", "curl"), ("nodejs", "node"), ("npm", "npm")];
/// Those that only the tests use.
const TEST_PACKAGES: [(&str, &str); 12] = [
    ("python3-venv", "python3"),
    ("nginx-light", "nginx"),
    ("openssl", "openssl"),
    ("ca-certificates", "update-ca-certificates"),
    ("p11-kit", "trust"),
    ("php-cli", "php"),
    // One of PHP's ways to be served has to be there: without this one it is Apache, which is started at once.
    ("php-cgi", "php-cgi"),
    ("php-sqlite3", "/usr/share/doc/php-sqlite3/copyright"),
    ("php-xml", "/usr/share/doc/php-xml/copyright"),
    ("simplesamlphp", "/usr/share/simplesamlphp/www/index.php"),
    ("xmlsec1", "xmlsec1"),
    ("faketime", "faketime"),
];

/// Installs what is missing for the demo. What is missing even so, the demo names.
pub(crate) fn for_demo(root: &Path) {
    let installed = packages(&PACKAGES).and_then(|()| {
        let cache = root.join(".cache");
        fs::create_dir_all(&cache)?;
        node(root, &cache)
    });
    if let Err(error) = installed {
        step(&format!("{error:#}"));
    }
}

/// Installs what is missing; does nothing where all of it is there.
///
/// # Errors
/// Something is missing and cannot be installed here: says what, and how to get it.
pub(crate) fn all(root: &Path) -> anyhow::Result<()> {
    packages(&[PACKAGES.as_slice(), &TEST_PACKAGES].concat())?;
    let cache = root.join(".cache");
    fs::create_dir_all(&cache)?;
    for environment in ["sdk-v1", "sdk-v2", "saml"] {
        python(root, &cache, environment)?;
    }
    node(root, &cache)
}

fn packages(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> = wanted.iter().filter(|(_, program)| !run::there(program)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !rustix::process::geteuid().is_root() || !run::there("apt-get") {
        bail!("missing: {wanted}. Install them (on Debian and Ubuntu: `apt-get install {wanted}`), then run this again");
    }
    step(&format!("installing {wanted}"));
    run::quiet(Command::new("apt-get").args(["update", "-qq"]))?;
    run::quiet(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// A virtual environment with exactly what the lock file names, by hash.
fn python(root: &Path, cache: &Path, environment: &str) -> anyhow::Result<()> {
    let lock = root.join("tests/python").join(format!("{environment}.txt"));
    let home = cache.join(environment);
    once(&home, &[&lock], &format!("Python packages of {environment}"), || {
        run::quiet(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let mut pip = Command::new(home.join("bin/pip"));
        run::quiet(pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r"]).arg(&lock))
    })
}

fn node(root: &Path, cache: &Path) -> anyhow::Result<()> {
    let from = root.join("tests/node");
    let home = cache.join("node");
    let files = ["package.json", "package-lock.json"];
    let locks = files.map(|file| from.join(file));
    once(&home, &[&locks[0], &locks[1]], "Node packages", || {
        fs::create_dir_all(&home)?;
        for (file, lock) in files.iter().zip(&locks) {
            fs::copy(lock, home.join(file))?;
        }
        run::quiet(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&home))
    })?;
    // Node looks for packages beside the script that wants them.
    let link = from.join("node_modules");
    if fs::symlink_metadata(&link).is_err() {
        symlink(home.join("node_modules"), &link).with_context(|| format!("{} cannot be made", link.display()))?;
    }
    Ok(())
}

/// Runs `install` into a fresh `home`, unless it was installed from these very lock files.
fn once(home: &Path, locks: &[&Path], what: &str, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut hasher = DefaultHasher::new();
    for lock in locks {
        fs::read(lock).with_context(|| format!("{} cannot be read", lock.display()))?.hash(&mut hasher);
    }
    let wanted = format!("{:016x}", hasher.finish());
    let stamp = home.join(".installed");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    step(&format!("installing {what}"));
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    install().with_context(|| format!("{what} cannot be installed"))?;
    fs::write(&stamp, wanted)?;
    Ok(())
}
