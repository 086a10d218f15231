//! Writing to a segment: by io_uring (tokio-uring), or by plain system calls where io_uring is
//! forbidden (seccomp, `kernel.io_uring_disabled`). An operation that has begun is always awaited.

use std::{fs::File, future::Future, io, os::unix::fs::FileExt, path::Path};

use super::segment;

/// How this thread does its I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Uring,
    Calls,
}

/// A runtime of the calling thread.
pub(super) enum Runtime {
    Uring(tokio_uring::Runtime),
    Calls(tokio::runtime::Runtime),
}

impl Runtime {
    /// With io_uring if `uring` allows it and the kernel does; the string says which, and why.
    pub(super) fn new(uring: bool) -> io::Result<(Runtime, String)> {
        let why = if uring {
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => return Ok((Runtime::Uring(runtime), "io_uring".into())),
                Err(error) => error.to_string(),
            }
        } else {
            "switched off by configuration".into()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok((Runtime::Calls(runtime), format!("system calls (no io_uring: {why})")))
    }

    pub(super) fn mode(&self) -> Mode {
        match self {
            Runtime::Uring(_) => Mode::Uring,
            Runtime::Calls(_) => Mode::Calls,
        }
    }

    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Runtime::Uring(runtime) => runtime.block_on(future),
            Runtime::Calls(runtime) => runtime.block_on(future),
        }
    }
}

enum Handle {
    Uring(tokio_uring::fs::File),
    Calls(File),
}

impl Handle {
    fn new(file: File, mode: Mode) -> Handle {
        match mode {
            Mode::Uring => Handle::Uring(tokio_uring::fs::File::from_std(file)),
            Mode::Calls => Handle::Calls(file),
        }
    }
}

/// A segment, open so that each write is durable before it ends.
pub(super) struct Output(Handle);

impl Output {
    pub(super) fn open(path: &Path, mode: Mode) -> io::Result<Output> {
        Ok(Output(Handle::new(segment::open_for_writing(path, libc::O_DSYNC)?, mode)))
    }

    /// Writes all of `bytes` at `at`; they are on disk when this returns.
    pub(super) async fn write(&self, bytes: Vec<u8>, at: u64) -> (io::Result<()>, Vec<u8>) {
        match &self.0 {
            Handle::Uring(file) => file.write_all_at(bytes, at).await,
            Handle::Calls(file) => (file.write_all_at(&bytes, at), bytes),
        }
    }

    /// Everything that was written is on disk when this returns.
    pub(super) async fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Handle::Uring(file) => file.sync_data().await,
            Handle::Calls(file) => file.sync_data(),
        }
    }
}
