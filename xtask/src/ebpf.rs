//! `cargo xtask ebpf [--check]`: builds the kernel programs.
//!
//! The object is committed, so that stable Rust is enough to build the gateway. Building it takes `core` for the BPF target from source, and a
//! linker with LLVM. The same source gives the same bytes under the same toolchain, wherever the repository lies.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The linker, and the LLVM it is built with on Debian.
const LINKER_VERSION: &str = "0.13.0";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";
const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "rust-web-src", "cargo-web", "llvm-22-dev", "libpolly-22-dev"];
const TARGET: &str = "bpfel-unknown-none";
/// Edition 2024.
const OLDEST_RUSTC: u32 = 85;

/// Builds the object and puts it in its place; or, with `check`, compares it with the one that is there.
///
/// # Errors
///
/// The toolchain cannot be had, the build fails, or the committed object is not what the source gives.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    let prebuilt = Prebuilt(root.join("gateway-ebpf/prebuilt"));
    let toolchain = Toolchain::find_or_install()?;
    let versions = toolchain.versions()?;
    eprint!("{versions}");
    let fresh = toolchain.build(root)?;
    if !check {
        return prebuilt.replace(&fresh, &versions);
    }
    prebuilt.check_sum()?;
    let recorded = fs::read_to_string(prebuilt.versions()).with_context(|| format!("cannot read {}", prebuilt.versions().display()))?;
    if recorded == versions {
        return prebuilt.compare(&fresh);
    }
    eprintln!(
        "the committed object was built by another toolchain, so its bytes cannot be compared:\n{recorded}\
         the fresh object is loaded and tested instead"
    );
    test(root, &fresh)
}

/// Runs the tests of capture on an object other than the committed one. They need root.
fn test(root: &Path, object: &Path) -> Result<()> {
    succeed(
        Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root)
            .args(["test", "--package", "gateway-user", "--test", "capture"])
            .env("MCP_GATEWAY_TEST_OBJECT", object),
    )
}

/// What is committed.
struct Prebuilt(PathBuf);

impl Prebuilt {
    fn object(&self) -> PathBuf {
        self.0.join("gateway.bpf.o")
    }

    fn sum(&self) -> PathBuf {
        self.0.join("gateway.bpf.o.sha256")
    }

    fn versions(&self) -> PathBuf {
        self.0.join("toolchain.txt")
    }

    fn replace(&self, fresh: &Path, versions: &str) -> Result<()> {
        fs::create_dir_all(&self.0)?;
        fs::copy(fresh, self.object()).with_context(|| format!("cannot write {}", self.object().display()))?;
        fs::write(self.sum(), sha256(&self.object())?)?;
        fs::write(self.versions(), versions)?;
        eprintln!("wrote {}", self.object().display());
        Ok(())
    }

    fn check_sum(&self) -> Result<()> {
        let recorded = fs::read_to_string(self.sum()).with_context(|| format!("cannot read {}", self.sum().display()))?;
        ensure!(
            recorded == sha256(&self.object())?,
            "{} is not the checksum of the object beside it; run `cargo xtask ebpf`",
            self.sum().display()
        );
        Ok(())
    }

    fn compare(&self, fresh: &Path) -> Result<()> {
        ensure!(
            fs::read(self.object())? == fs::read(fresh)?,
            "the committed {} is not what the source gives; run `cargo xtask ebpf` and commit the result",
            self.object().display()
        );
        eprintln!("the committed object is what the source gives, byte for byte");
        Ok(())
    }
}

/// `sha256sum`'s line for a file, without its directory.
fn sha256(path: &Path) -> Result<String> {
    let directory = path.parent().context("a file in a directory")?;
    let name = path.file_name().context("a file with a name")?;
    output(Command::new("sha256sum").current_dir(directory).arg(name))
}

/// What the kernel programs are built with.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    objcopy: PathBuf,
    /// Where the standard library's sources are.
    sources: PathBuf,
}

impl Toolchain {
    fn find_or_install() -> Result<Self> {
        if let Some(found) = Self::debian()? {
            return Ok(found);
        }
        if install_debian_packages()
            && let Some(found) = Self::debian()?
        {
            return Ok(found);
        }
        Self::rustup()
    }

    /// Debian's compiler with its sources, if it is here and new enough.
    fn debian() -> Result<Option<Self>> {
        let rustc = PathBuf::from("/usr/bin/rustc");
        let objcopy = Path::new(DEBIAN_LLVM).join("bin/llvm-objcopy");
        let cargo = PathBuf::from("/usr/bin/cargo");
        if ![&rustc, &cargo, &objcopy].iter().all(|path| path.exists()) {
            return Ok(None);
        }
        let sources = sources(&rustc)?;
        let version = output(Command::new(&rustc).arg("--version"))?;
        if !sources.exists() || minor(&version).is_none_or(|minor| minor < OLDEST_RUSTC) {
            return Ok(None);
        }
        let linker = find_linker().map_or_else(
            || {
                install_linker(
                    Command::new("cargo").args(["--no-default-features", "--features", "llvm-22"]).env("LLVM_PREFIX", DEBIAN_LLVM),
                )
            },
            Ok,
        )?;
        Ok(Some(Self { cargo, rustc, linker, objcopy, sources }))
    }

    /// A nightly with sources; where there is no apt, or none with these packages.
    fn rustup() -> Result<Self> {
        eprintln!("no Debian toolchain here; taking a nightly from rustup");
        succeed(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]).args([
            "--component",
            "rust-src",
            "--component",
            "llvm-tools",
        ]))
        .context("the kernel programs need rustup, or apt with rustc-web, rust-web-src, cargo-web and llvm-22-dev")?;
        let which = |name: &str| -> Result<PathBuf> {
            let path = output(Command::new("rustup").args(["which", "--toolchain", "nightly", name]))?;
            Ok(PathBuf::from(path.trim()))
        };
        let rustc = which("rustc")?;
        let sources = sources(&rustc)?;
        let host = output(Command::new(&rustc).args(["--print", "target-libdir"]))?;
        let objcopy = Path::new(host.trim()).parent().context("a directory of libraries")?.join("bin/llvm-objcopy");
        let linker = find_linker().map_or_else(|| install_linker(&mut Command::new("cargo")), Ok)?;
        Ok(Self { cargo: which("cargo")?, rustc, linker, objcopy, sources })
    }

    /// The exact versions, as they stand beside the object.
    fn versions(&self) -> Result<String> {
        let rustc = output(Command::new(&self.rustc).args(["--version", "--verbose"]))?;
        let wanted = ["rustc ", "commit-hash", "LLVM version"];
        let mut text = String::new();
        for line in rustc.lines().filter(|l| wanted.iter().any(|w| l.starts_with(w))) {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&output(Command::new(&self.linker).arg("--version"))?);
        Ok(text)
    }

    /// Builds the object; returns where it is.
    fn build(&self, root: &Path) -> Result<PathBuf> {
        let source = root.join("gateway-ebpf");
        let target_dir = root.join("target/ebpf");
        // Fetched first, so that the directories named below are there.
        succeed(Command::new(&self.cargo).current_dir(&source).args(["fetch", "--locked"]).env("RUSTC", &self.rustc))?;
        let cargo_home = env::var_os("CARGO_HOME").map_or_else(home_cargo, |dir| Ok(PathBuf::from(dir)))?;
        // What the object says of its sources must not depend on where they lie.
        let mut flags = vec![
            format!("-Clinker={}", self.linker.display()),
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
            format!("--remap-path-prefix={}=/rust", self.sources.display()),
            format!("--remap-path-prefix={}=/mcp-gateway", root.display()),
        ];
        // Of several prefixes the last counts: the registry's directory is named for its address.
        for registry in fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten() {
            flags.push(format!("--remap-path-prefix={}=/crates", registry.path().display()));
        }
        let mut cargo = Command::new(&self.cargo);
        for (name, _) in env::vars_os() {
            // What the outer cargo and its user have set is for the host.
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_") && text != "CARGO_HOME" || text.starts_with("RUST") && text != "RUSTUP_HOME" || text == "CARGO" {
                cargo.env_remove(&name);
            }
        }
        succeed(
            cargo
                .current_dir(&source)
                .args(["build", "--release", "--locked", "-Zbuild-std=core"])
                .args(["--target", TARGET])
                .arg("--target-dir")
                .arg(&target_dir)
                .env("RUSTC", &self.rustc)
                // Debian's compiler is a stable one; `build-std` is not stable.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_INCREMENTAL", "0")
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")),
        )?;
        let built = target_dir.join(TARGET).join("release/gateway-ebpf");
        let object = target_dir.join("gateway.bpf.o");
        // Cargo puts a hash of the source's place into the names of functions; nobody refers to them by name.
        let symbols =
            output(Command::new(self.objcopy.with_file_name("llvm-nm")).args(["--format=just-symbols".as_ref(), built.as_os_str()]))?;
        let renamed = symbols
            .lines()
            .filter(|symbol| symbol.starts_with("_R"))
            .enumerate()
            .map(|(number, symbol)| format!("--redefine-sym={symbol}=function_{number}"));
        // BTF stays: the kernel reads it. What only debuggers read goes.
        succeed(Command::new(&self.objcopy).arg("--strip-debug").args(renamed).args([&built, &object]))?;
        Ok(object)
    }
}

fn home_cargo() -> Result<PathBuf> {
    let home = env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cargo"))
}

fn sources(rustc: &Path) -> Result<PathBuf> {
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust"))
}

/// `rustc 1.96.0 (…)` is 96.
fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

/// False if there is no apt, no right to use it, or no such packages.
fn install_debian_packages() -> bool {
    if !Path::new("/usr/bin/apt-get").exists() {
        return false;
    }
    eprintln!("installing {}", DEBIAN_PACKAGES.join(" "));
    let apt = |words: &[&str]| succeed(Command::new("apt-get").arg("-qq").args(words).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["update"])
        .and_then(|()| apt(&[&["install", "--yes", "--no-install-recommends"], DEBIAN_PACKAGES.as_slice()].concat()))
        .inspect_err(|error| eprintln!("{error:#}"))
        .is_ok()
}

fn linker_path() -> Result<PathBuf> {
    Ok(home_cargo()?.join("bin/bpf-linker"))
}

/// The linker of the right version, on the path or where cargo puts it.
fn find_linker() -> Option<PathBuf> {
    let installed = linker_path().ok();
    [Some(PathBuf::from("bpf-linker")), installed]
        .into_iter()
        .flatten()
        .find(|linker| output(Command::new(linker).arg("--version")).is_ok_and(|version| version.trim().ends_with(LINKER_VERSION)))
}

fn install_linker(cargo: &mut Command) -> Result<PathBuf> {
    eprintln!("installing bpf-linker {LINKER_VERSION}; this takes some minutes");
    let mut command = Command::new(cargo.get_program());
    command.args(["install", "bpf-linker", "--locked", "--force", "--version", LINKER_VERSION]).args(cargo.get_args());
    for (name, value) in cargo.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    succeed(&mut command)?;
    linker_path()
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(status.success(), "{} failed: {status}", command.get_program().display());
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{} failed: {}\n{}", command.get_program().display(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
