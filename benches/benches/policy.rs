//! A decision over 100 policies, with the labels of a call of 1 KiB; and whether a tool is shown in a list.
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{fmt::Write as _, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_user::{
    identity::{How, Identity, Principal, Strength},
    policy::{Arguments, Facts, Labeller, PolicySet, Question, Verdict},
};
use serde_json::json;

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A site with eight servers: what each group may, what is forbidden on each server, what waits, and what holds everywhere.
fn policies() -> String {
    let mut text = String::new();
    for server in 0..8 {
        let on = format!("resource in Server::\"server-{server}\"");
        for group in 0..4 {
            _ = writeln!(text, "permit(principal in Group::\"group-{group}\", action in Action::\"read\", {on});");
        }
        for tool in ["query", "search", "report"] {
            let tool = format!("resource == Tool::\"server-{server}/{tool}\"");
            _ = writeln!(
                text,
                "permit(principal in Group::\"group-1\", action == Action::\"tools/call\", {tool}) when {{ context.strength.host_login }};"
            );
        }
        for condition in [
            "context.labels.contains(\"sql:unbounded-write\")",
            "context.arguments.hasTag(\"database\") && context.arguments.getTag(\"database\") == \"payroll\"",
            "context.numbers.hasTag(\"limit\") && context.numbers.getTag(\"limit\") > 10000",
        ] {
            _ = writeln!(text, "@message(\"no\") forbid(principal, action == Action::\"tools/call\", {on}) when {{ {condition} }};");
        }
        _ = writeln!(text, "@hold(\"DDL\") forbid(principal, action, {on}) when {{ context.labels.contains(\"sql:ddl\") }};");
    }
    for condition in [
        "context.definition_changed",
        "context.labels.contains(\"arguments:partial\")",
        "context.session.calls > 1000",
        "context.labels.contains(\"url:metadata\")",
    ] {
        _ = writeln!(text, "forbid(principal, action == Action::\"tools/call\", resource) when {{ {condition} }};");
    }
    for person in 0..8 {
        _ = writeln!(text, "permit(principal == Person::\"https://idp.example|{person}\", action, resource);");
    }
    text
}

fn policy(c: &mut Criterion) {
    let set = PolicySet::from_sources(vec![("site.cedar".into(), policies())]).unwrap();
    assert_eq!(set.policies().count(), 101, "and the gateway's own");
    let groups = (0..12).map(|n| if n < 2 { format!("group-{n}") } else { format!("group-of-the-company-{n:02}") }).collect();
    let person = Principal::Person {
        issuer: "https://idp.example".into(),
        subject: "00u1a2b3c4d5e6f7g8h9".into(),
        name: Some("Ada".into()),
        groups,
    };
    let identity = Identity::new(person, How::Nothing, Strength::Token);
    let columns: Vec<String> = (0..24).map(|n| format!("patients.column_{n:02} AS c{n:02}")).collect();
    let sql = format!("SELECT {} FROM patients JOIN visits ON visits.patient = patients.id WHERE patients.id = 4711", columns.join(", "));
    let call = json!({ "sql": sql, "database": "clinic", "limit": 100, "format": "json", "options": { "timeout": 30, "explain": false },
        "note": "Looks for the visits of one patient, so that the nurse can prepare the next of them." })
    .to_string();
    assert!((900..1200).contains(&call.len()), "{}", call.len());

    let labeller = Labeller::default();
    let arguments = Arguments::read(call.as_bytes());
    let facts = Facts { labels: labeller.labels("query", &arguments), time: 1_795_887_015, strength: Strength::Token, ..Facts::default() };
    assert!(facts.labels.contains("sql:select"));
    let question = Question {
        identity: &identity,
        server: "server-3",
        method: "tools/call",
        name: Some("query"),
        arguments: &arguments,
        facts: &facts,
    };
    assert_eq!(set.decide(&question).verdict, Verdict::Allow);
    assert!(set.may_use(&question));

    let mut group = c.benchmark_group("policy");
    group.bench_function("decide/100", |b| b.iter(|| set.decide(black_box(&question))));
    group.bench_function("may_use/100", |b| b.iter(|| set.may_use(black_box(&question))));
    group.bench_function("labels/1KiB", |b| b.iter(|| labeller.labels("query", black_box(&arguments))));
    group.bench_function("all/1KiB", |b| {
        b.iter(|| {
            let arguments = Arguments::read(black_box(call.as_bytes()));
            let facts = Facts { labels: labeller.labels("query", &arguments), ..facts.clone() };
            set.decide(&Question { arguments: &arguments, facts: &facts, ..question })
        });
    });
    group.finish();
}

criterion_group!(benches, policy);
criterion_main!(benches);
