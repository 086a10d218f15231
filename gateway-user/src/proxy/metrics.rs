//! What the data plane counts, in the Prometheus text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS: [u64; 12] = [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000, 30_000_000];

/// Counters of the data plane; cheap to count from any worker.
#[derive(Default)]
pub struct Metrics {
    connections: AtomicU64,
    open: AtomicI64,
    calls: AtomicU64,
    answers: AtomicU64,
    took_us: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len()],
    refused: Mutex<BTreeMap<&'static str, u64>>,
    policies_outdated: AtomicBool,
}

impl Metrics {
    pub(super) fn accepted(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(micros, Ordering::Relaxed);
        if let Some(bucket) = BOUNDS.iter().position(|bound| micros <= *bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refused(&self, reason: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// Whether there are policies that have changed and cannot be used.
    pub fn policies_outdated(&self, are: bool) {
        self.policies_outdated.store(are, Ordering::Relaxed);
    }

    /// Connections that are open now.
    pub fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Adds the counters to a page of metrics.
    pub fn write(&self, page: &mut String) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        counter(page, "mcp_gateway_connections_total", "Connections accepted.", load(&self.connections));
        metric(page, "mcp_gateway_connections_open", "gauge", "Connections open now.", self.open());
        counter(page, "mcp_gateway_calls_total", "Messages of MCP clients recorded and forwarded.", load(&self.calls));
        let name = "mcp_gateway_answer_seconds";
        let _ = writeln!(page, "# HELP {name} From a request's head to the record of its outcome.\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += load(bucket);
            let _ = writeln!(page, "{name}_bucket{{le=\"{}\"}} {below}", seconds(*bound));
        }
        let answers = load(&self.answers);
        let _ =
            writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {answers}\n{name}_sum {}\n{name}_count {answers}", seconds(load(&self.took_us)));
        let help = "1 while the policies have changed and cannot be used: those before stay in force.";
        metric(page, "mcp_gateway_policies_outdated", "gauge", help, u8::from(self.policies_outdated.load(Ordering::Relaxed)));
        let name = "mcp_gateway_refused_total";
        let _ = writeln!(page, "# HELP {name} What was not let through, by reason.\n# TYPE {name} counter");
        for (reason, count) in self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(page, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// One counter, with its description.
pub fn counter(page: &mut String, name: &str, help: &str, value: u64) {
    metric(page, name, "counter", help, value);
}

/// One metric, with its description.
pub fn metric(page: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}
