//! Ctrl-C and its like: the demo ends at the next place where it can, and cleans up.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

/// Someone asked the demo to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether someone asked the demo to end.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on: none of them ends the process by itself any more.
    ///
    /// # Errors
    /// The signals cannot be watched.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        drop(entered);
        let asked = Arc::new(AtomicBool::new(false));
        let noted = asked.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                noted.store(true, Ordering::Relaxed);
                eprintln!("\nStopping: what was made is being removed.");
            });
        });
        Ok(Self(asked))
    }

    /// Whether someone has.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on, unless someone has.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.asked() { Err(Interrupted) } else { Ok(()) }
    }
}
