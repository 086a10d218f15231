//! The loop: take an entry, send it until it is acknowledged, note it, go on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Metrics, ShipError, ShipOptions, cursor,
    kinesis::Client,
    read::{Batch, Reader},
};
use crate::audit::Committed;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Shipper {
    pub(super) options: ShipOptions,
    pub(super) client: Client,
    pub(super) reader: Reader,
    pub(super) committed: watch::Receiver<Committed>,
    /// Until when shipping may go on; `None`: for ever.
    pub(super) stopping: watch::Receiver<Option<Instant>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Shipper {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        while !self.time_is_up() {
            match self.take().await {
                Ok(Some(batch)) => {
                    failures = 0;
                    if !self.deliver(batch).await {
                        return;
                    }
                }
                Ok(None) if self.stopping.borrow().is_some() => return,
                Ok(None) => self.wait_for_more().await,
                // The log's files are not as they should be. Nothing is skipped: it is looked at again.
                Err(error) => {
                    self.report(failures, &error.to_string());
                    failures += 1;
                    self.pause(failures).await;
                }
            }
        }
    }

    fn time_is_up(&self) -> bool {
        self.stopping.borrow().is_some_and(|until| until <= Instant::now())
    }

    /// The next entry; waits a little for a full one.
    async fn take(&mut self) -> Result<Option<Batch>, ShipError> {
        let first = self.read().await?;
        if first.as_ref().is_none_or(|batch| batch.full) || self.options.linger.is_zero() || self.stopping.borrow().is_some() {
            return Ok(first);
        }
        tokio::select! {
            () = sleep(self.options.linger) => {}
            _ = self.stopping.changed() => {}
        }
        self.read().await
    }

    async fn read(&mut self) -> Result<Option<Batch>, ShipError> {
        let committed = *self.committed.borrow_and_update();
        let reader = self.reader.clone();
        let read = spawn_blocking(move || reader.batch(committed)).await;
        let batch = read.unwrap_or_else(|died| Err(ShipError::Log { path: self.options.dir.clone(), what: died.to_string() }))?;
        self.measure(committed).await;
        let metrics = &self.metrics;
        let oldest = batch.as_ref().and_then(|batch| batch.at.parse::<jiff::Timestamp>().ok());
        metrics.oldest.store(oldest.map_or(0, |at| at.as_millisecond()), Ordering::Relaxed);
        Ok(batch)
    }

    /// Keeps the backlog's metrics up to date, also while the stream takes nothing.
    async fn measure(&self, committed: Committed) {
        let reader = self.reader.clone();
        self.metrics.backlog_records.store(committed.next.saturating_sub(self.reader.place.next), Ordering::Relaxed);
        // What cannot be read is reported when it is to be shipped.
        if let Ok(Ok(bytes)) = spawn_blocking(move || reader.backlog(committed)).await {
            self.metrics.backlog_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    async fn wait_for_more(&mut self) {
        tokio::select! {
            changed = self.committed.changed() => if changed.is_err() {
                // The log is closed and shipped: there is nothing left but to be stopped.
                let _ = self.stopping.changed().await;
            },
            _ = self.stopping.changed() => {}
        }
    }

    /// Sends until it is acknowledged, and notes that; false if time is up before.
    async fn deliver(&mut self, batch: Batch) -> bool {
        let mut failures = 0;
        // Not cut short by a stop: what is in flight is waited for.
        while let Err(why) = self.client.send(batch.data.clone()).await {
            self.report(failures, &why);
            failures += 1;
            let committed = *self.committed.borrow();
            self.measure(committed).await;
            self.pause(failures).await;
            if self.time_is_up() {
                return false;
            }
        }
        if failures > 0 {
            tracing::info!(stream = self.options.stream, failures, "shipping goes on");
        }
        let metrics = &self.metrics;
        metrics.last_error.store(None);
        metrics.shipped_records.fetch_add(batch.records, Ordering::Relaxed);
        metrics.shipped_bytes.fetch_add(batch.data.len() as u64, Ordering::Relaxed);
        metrics.oversize.fetch_add(batch.oversize, Ordering::Relaxed);
        metrics.backlog_records.fetch_sub(batch.records, Ordering::Relaxed);
        if batch.oversize > 0 {
            tracing::warn!(
                records = batch.oversize,
                limit = self.options.max_entry,
                "records too long for the stream were shipped without their body; the log has it"
            );
        }
        self.reader.place = batch.next;
        let (options, place) = (self.options.clone(), batch.next);
        let saved = spawn_blocking(move || cursor::save(&options, place)).await;
        if let Ok(Err(error)) = saved {
            // After a restart these lines are sent again, as duplicates: nothing is lost.
            self.report(0, &error.to_string());
        }
        true
    }

    fn report(&self, failures: u32, why: &str) {
        self.metrics.failed(why);
        // The first, and then ever more rarely.
        if (failures + 1).is_power_of_two() {
            tracing::warn!(
                stream = self.options.stream,
                attempt = failures + 1,
                why,
                "shipping does not get on; trying again, nothing is lost"
            );
        }
    }

    async fn pause(&mut self, failures: u32) {
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.options.max_backoff);
        let until = Instant::now() + jitter(pause);
        loop {
            let end = self.stopping.borrow_and_update().map_or(until, |stop| until.min(stop));
            tokio::select! {
                () = sleep_until(end) => return,
                _ = self.stopping.changed() => {}
            }
        }
    }
}

/// Between a half and the whole of it, so that many gateways do not come back at once.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random bytes the pause is the longest.
    let share = aws_lc_rs::rand::fill(&mut random).map_or(255, |()| random[0]);
    pause / 2 + pause * u32::from(share) / 510
}
