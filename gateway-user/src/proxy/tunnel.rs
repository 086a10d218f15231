//! Copying what is not HTTP, both ways, where the server's setting lets it pass.

use std::{io, time::Instant};

use bytes::Bytes;

use super::{
    caller::Origin,
    connection::Connection,
    masks::Way,
    record::{self, RecordedDecision, micros},
    refusal::Refusal,
    stream::Side,
    upstream,
};
use crate::{
    audit::{Effect, Kind},
    capture::KernelOrigin,
};

/// Copies until both sides have ended. The record that it began is durable before the first byte passes. Only what was captured can be
/// passed on unread: at the endpoint nothing but a request says where to.
pub(super) async fn run(connection: &mut Connection, protocol: &'static str, sni: Option<&str>) {
    let Origin::Capture(KernelOrigin { original, .. }) = connection.origin else { return };
    if let Err(refusal) = connection.vouch_unread().await {
        return connection.refuse(&refusal, None, &[]).await;
    }
    let started = Instant::now();
    let decision = match connection.allowed("other", &connection.session_of_caller()) {
        Ok(decision) => decision,
        Err(refusal) => return connection.refuse(&refusal, None, &[]).await,
    };
    let opened = {
        let masks = [connection.masks_of_anything()];
        let decision = RecordedDecision::new(&decision, &connection.veil(Way::Up(&masks), ""));
        let body = record::Connection { decision: Some(decision), ..body(connection, protocol, sni, "opened") };
        connection.record(Kind::Connection, &body, Effect::None).await
    };
    let opened = match opened {
        Ok(seq) => seq,
        Err(error) => return connection.refuse(&Refusal::from(error), None, &[]).await,
    };
    let _under_way = connection.worker.exchanges.clone();
    let shared = connection.worker.shared.clone();
    let result = match upstream::dial(&shared, original).await {
        Ok(mut server) => copy(&mut connection.client, &mut server, shared.config.limits.idle_timeout).await,
        Err(error) => (0, 0, Err(error)),
    };
    let (up, down, end) = result;
    let body = record::Connection {
        request: Some(opened),
        bytes_up: Some(up),
        bytes_down: Some(down),
        took_us: Some(micros(started.elapsed())),
        error: end.err().map(|error| error.to_string()),
        ..body(connection, protocol, sni, "closed")
    };
    // Nothing waits for it: the bytes have passed, and a log that cannot be written says so itself.
    let _ = connection.record(Kind::Connection, &body, Effect::None).await;
}

fn body<'a>(connection: &'a Connection, protocol: &'static str, sni: Option<&'a str>, phase: &'static str) -> record::Connection<'a> {
    record::Connection {
        server: &connection.config().name,
        caller: connection.caller(),
        protocol,
        sni,
        phase,
        decision: None,
        request: None,
        bytes_up: None,
        bytes_down: None,
        took_us: None,
        error: None,
    }
}

/// Bytes up, bytes down, and how it ended. The end of one direction is passed on, and the other goes on until its own; where one breaks,
/// both sides see it break. It costs no more than a plain copy with large buffers, of which splice(2) through a pipe saves nothing.
async fn copy(client: &mut Side, server: &mut Side, idle: std::time::Duration) -> (u64, u64, io::Result<()>) {
    let (mut up, mut down) = (0, 0);
    for side in [&client, &server] {
        side.resets(true);
    }
    let (mut client_reads, client_writes) = client.split();
    let (mut server_reads, server_writes) = server.split();
    let ends = futures_util::future::try_join(
        one_way(&mut client_reads, server_writes, idle, &mut up),
        one_way(&mut server_reads, client_writes, idle, &mut down),
    )
    .await;
    if ends.is_ok() {
        for side in [client, server] {
            side.resets(false);
        }
    }
    (up, down, ends.map(drop))
}

async fn one_way(
    from: &mut super::stream::Reads<'_>,
    to: super::stream::Writes,
    idle: std::time::Duration,
    count: &mut u64,
) -> io::Result<()> {
    loop {
        let piece: Bytes = from.take();
        if !piece.is_empty() {
            *count += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            to.send(vec![piece], idle).await?;
        }
        // The other direction may be busy for hours while this one rests: silence here is no fault.
        if from.fill().await? == 0 {
            return to.finish().await;
        }
    }
}
