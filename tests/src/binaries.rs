//! Where the programs are that are tested, and the ones that help.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// The gateway: `$MCP_GATEWAY`, or `mcp-gateway` beside the running test.
///
/// # Errors
/// It has not been built.
pub fn gateway() -> anyhow::Result<PathBuf> {
    match std::env::var_os("MCP_GATEWAY") {
        Some(path) => Ok(path.into()),
        None => beside("mcp-gateway"),
    }
}

/// A program of this crate's own: `clinic`, `rmcp-client`, `probe`.
///
/// # Errors
/// It has not been built.
pub fn own(name: &str) -> anyhow::Result<PathBuf> {
    beside(name)
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// What `cargo xtask` installs into: `.cache/` at the repository's root.
#[must_use]
pub fn cache() -> PathBuf {
    root().join(".cache")
}

/// Cargo puts programs into `target/<profile>/`, and tests into `deps/` under it.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know where it is")?;
    own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file()).with_context(|| {
        format!("`{name}` is not built: `cargo xtask test` builds it, or `cargo build -p gateway-user -p gateway-tests --bins`")
    })
}

/// The same program at a path that every user can reach: a checkout may be in a home that only its owner can enter.
///
/// # Errors
/// A copy is needed and cannot be made.
pub fn reachable(program: &Path) -> anyhow::Result<PathBuf> {
    let open = program.ancestors().skip(1).all(|dir| dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|m| m.mode() & 0o001 != 0));
    if open {
        return Ok(program.to_owned());
    }
    let about = fs::metadata(program).with_context(|| format!("{} is not there", program.display()))?;
    let dir = std::env::temp_dir().join(format!("mcp-gateway-bin-{}-{}-{}", about.ino(), about.mtime(), about.mtime_nsec()));
    let name = program.file_name().context("a program has a name")?;
    let copy = dir.join(name);
    if !copy.is_file() {
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        ensure!(fs::metadata(&dir)?.uid() == rustix::process::geteuid().as_raw(), "{} belongs to someone else", dir.display());
        // Others may be copying too: each to a name of its own, and the last rename wins.
        let mine = dir.join(format!("copy-{}", std::process::id()));
        fs::copy(program, &mine)?;
        fs::rename(&mine, &copy)?;
    }
    Ok(copy)
}
