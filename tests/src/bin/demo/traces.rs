//! What the demo made on this machine, and whether all of it is gone.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    io::Errno,
    process::{WaitOptions, wait},
};

use crate::page::Page;

const BPFFS: &str = "/sys/fs/bpf";

/// What was made: each has a path for as long as it is there.
pub(crate) struct Traces {
    made: Vec<(&'static str, PathBuf)>,
    /// The guard lets every user pass through the BPF filesystem, to the pins that are theirs.
    bpffs_mode: Option<u32>,
}

impl Default for Traces {
    fn default() -> Self {
        Self { made: Vec::new(), bpffs_mode: mode(BPFFS) }
    }
}

impl Traces {
    /// Notes something that must be gone in the end.
    pub(crate) fn note(&mut self, what: &'static str, path: impl Into<PathBuf>) {
        self.made.push((what, path.into()));
    }

    /// Says what is gone and what is not; true if all is gone.
    pub(crate) fn tell(&self, page: &Page) -> io::Result<bool> {
        page.part("Tidied up")?;
        let mut all_gone = true;
        // What was made last goes first.
        let made = self.made.iter().rev().map(|(what, path)| (fs::symlink_metadata(path).is_err(), *what, path.display().to_string()));
        for (gone, what, place) in made.chain([(no_children(), "processes", "all that were started".to_owned())]) {
            all_gone &= gone;
            let text = format!("{what:<24}  {place}");
            if gone { page.held(&format!("gone: {text}"))? } else { page.not_held(&format!("still there: {text}"))? }
        }
        if mode(BPFFS) != self.bpffs_mode {
            page.say(&format!("One thing stays: every user may pass through {BPFFS} now (chmod o+x), to what is theirs in it."))?;
        }
        Ok(all_gone)
    }
}

/// All that the demo starts are its own children, or in its cgroup.
fn no_children() -> bool {
    matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD))
}

fn mode(path: impl AsRef<Path>) -> Option<u32> {
    fs::metadata(path).ok().map(|meta| meta.permissions().mode())
}
