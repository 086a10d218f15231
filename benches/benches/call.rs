//! A whole call of 1 KiB over one kept-alive connection: to the server itself, and through the gateway from both ways in, with each
//! durability. `cargo xtask bench` builds the gateway that is measured.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{cell::OnceCell, fs, path::Path};

use anyhow::Context;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway_benches::{
    connection::Connection,
    contestants::{Contestant, ENTRIES},
    exchange::{Answer, request},
    machine::to_last_core,
    upstream::Upstream,
};
use gateway_tests::{cgroup, needs};

/// A connection is captured if the process that makes it is in the cgroup: so this process is, for that long.
fn connect(contestant: &Contestant) -> anyhow::Result<Connection> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = cgroup::mount()?.join(own);
    let enter = |cgroup: &Path| fs::write(cgroup.join("cgroup.procs"), "0");
    if let Some(clients) = &contestant.clients {
        enter(clients.path())?;
    }
    let connections = contestant.target.connect(1);
    enter(&own)?;
    connections?.pop().context("one connection")
}

fn call(c: &mut Criterion) {
    let upstream = OnceCell::new();
    let mut group = c.benchmark_group("call");
    for entry in ENTRIES.iter().filter(|entry| entry.peer.is_none()) {
        let contestant = OnceCell::new();
        group.bench_function(entry.name, |b| {
            needs::require().unwrap();
            to_last_core().unwrap();
            let upstream = upstream.get_or_init(|| Upstream::start().unwrap());
            let contestant = contestant.get_or_init(|| (entry.start)(upstream, Path::new("")).unwrap());
            let target = &contestant.target;
            let (request, answer) = (request(Answer::Small, &target.host, &target.prefix), Answer::Small.body());
            let mut connection = connect(contestant).unwrap();
            b.iter(|| {
                connection.send(&request).unwrap();
                while !connection.answered(&answer).unwrap() {}
            });
        });
    }
    group.finish();
}

criterion_group!(benches, call);
criterion_main!(benches);
