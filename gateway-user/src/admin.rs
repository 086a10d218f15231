//! `/metrics`, `/healthz` and `/readyz`, on loopback.

use std::sync::{Arc, atomic::Ordering};

use anyhow::Context;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{sync::watch, task::JoinHandle};

use gateway_user::{
    audit::{Committed, LogState},
    capture::Capture,
    proxy::{Shared, counter, metric},
    ship,
};

#[derive(Clone)]
struct Admin {
    shared: Arc<Shared>,
    committed: watch::Receiver<Committed>,
    ship: Option<Arc<ship::Metrics>>,
}

/// Serves until the task is aborted.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    committed: watch::Receiver<Committed>,
    ship: Option<Arc<ship::Metrics>>,
) -> anyhow::Result<JoinHandle<()>> {
    let address = shared.config.admin.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("metrics and health cannot be served on {address}; set `admin.listen` to a free loopback port"))?;
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(Admin { shared, committed, ship });
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!("metrics and health are no longer served: {error}");
        }
    }))
}

/// The process runs and its workers do.
async fn health(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.shared.alive() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "a data-plane worker hangs\n") }
}

/// Calls can be served: the log takes records, and no stop was asked for.
async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let no = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    if admin.shared.draining.load(Ordering::Relaxed) {
        return no("the gateway is stopping".into());
    }
    match admin.shared.audit.state() {
        LogState::Ok if admin.shared.alive() => (StatusCode::OK, "ready\n".into()),
        LogState::Ok => no("a data-plane worker hangs".into()),
        LogState::Latched(cause) => no(format!("the audit log failed, and every call is denied: {cause}")),
        LogState::Full(cause) => no(format!("the audit log is full, and every call is denied: {cause}")),
    }
}

async fn metrics(State(admin): State<Admin>) -> ([(&'static str, &'static str); 1], String) {
    let mut page = String::new();
    let shared = &admin.shared;
    shared.metrics.write(&mut page);
    let taking = u8::from(shared.audit.state() == LogState::Ok);
    metric(&mut page, "mcp_gateway_audit_up", "gauge", "1 while the audit log takes records; at 0 every call is denied.", taking);
    metric(&mut page, "mcp_gateway_audit_queued_bytes", "gauge", "Bytes that wait to be written.", shared.audit.queued_bytes());
    counter(&mut page, "mcp_gateway_audit_records_total", "Records on disk.", admin.committed.borrow().next);
    counter(&mut page, "mcp_gateway_tls_renewed_total", "Certificates and authorities that were read anew.", shared.tls.renewals());
    metric(
        &mut page,
        "mcp_gateway_tls_outdated",
        "gauge",
        "Certificates and authorities whose files have changed and cannot be used: those before stay in force.",
        shared.tls.outdated(),
    );
    if let Some(ship) = &admin.ship {
        let load = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
        metric(
            &mut page,
            "mcp_gateway_ship_backlog_records",
            "gauge",
            "Records on disk that the stream has not acknowledged.",
            load(&ship.backlog_records),
        );
        metric(&mut page, "mcp_gateway_ship_backlog_bytes", "gauge", "Bytes of them, about.", load(&ship.backlog_bytes));
        metric(&mut page, "mcp_gateway_ship_lag_seconds", "gauge", "Age of the oldest of them.", ship.lag().as_secs_f64());
        counter(&mut page, "mcp_gateway_ship_records_total", "Records that the stream acknowledged.", load(&ship.shipped_records));
        counter(&mut page, "mcp_gateway_ship_retries_total", "Requests to the stream that were sent again.", load(&ship.retries));
        counter(
            &mut page,
            "mcp_gateway_ship_oversize_total",
            "Records shipped without their body, as too long for the stream.",
            load(&ship.oversize),
        );
    }
    if let Some(Ok(counts)) = shared.capture.as_ref().map(Capture::counters) {
        for (reason, count) in counts {
            let name = format!("mcp_gateway_kernel_{}_total", reason.name().replace('-', "_"));
            counter(&mut page, &name, "Counted by the kernel programs since the guard came up.", count);
        }
    }
    ([("content-type", "text/plain; version=0.0.4")], page)
}
