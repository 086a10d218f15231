//! The official SDKs against the official reference server, which asks back, reports progress, notifies, and lets a client resume.
//!
//! What a client prints is the same past the gateway and through it, and the record tells the whole conversation.

use std::time::Duration;

use anyhow::Context;
use gateway_tests::{
    Cgroup, Gateway, Netns, Record, ServerEntry,
    clients::{Sdk, same_both_ways},
    servers::{self, Transport},
    wait::wait_for,
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// What one client said through the gateway, as the record has it.
struct Conversation {
    gateway: Gateway,
    pid: u32,
    records: Vec<Record>,
}

fn conversation(sdk: Sdk, transport: Transport) -> anyhow::Result<Conversation> {
    gateway_tests::needs::require()?;
    let netns = Netns::new()?;
    let server = servers::everything(&netns, transport)?;
    let cgroup = Cgroup::new()?;
    let gateway = Gateway::over(&cgroup).server(ServerEntry::new("everything", &server.url)).start()?;
    let mut client = sdk.against(&server.url, "everything")?;
    if transport == Transport::Sse {
        client = client.args(["--transport", "sse"]);
    }
    let pid = same_both_ways(&client, &cgroup)?;
    let records = wait_for("every request to be closed in the record", Duration::from_secs(10), || {
        let records = gateway.records()?;
        Ok(open_requests(&records).is_empty().then_some(records))
    })
    .with_context(|| format!("{:#?}", gateway.records().map(|records| open_requests(&records))))?;
    Ok(Conversation { gateway, pid, records })
}

/// Requests in flight by the log's own account.
fn open_requests(records: &[Record]) -> Vec<String> {
    let closed = |seq: u64| records.iter().any(|record| record.json["head"]["closes"] == json!(seq));
    records.iter().filter(|r| r.json["head"]["opens"] == json!(true) && !closed(r.seq())).map(|r| r.line.clone()).collect()
}

impl Conversation {
    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.kind() == kind)
    }

    /// The calls: requests that have an answer.
    fn calls(&self) -> impl Iterator<Item = &Record> {
        self.of_kind("request").filter(|record| record.body()["call"]["kind"] == "request")
    }

    fn call(&self, tool: &str) -> anyhow::Result<&Record> {
        self.calls().find(|call| call.name() == Some(tool)).with_context(|| format!("no record of the call of {tool}"))
    }

    fn answer_to(&self, call: &Record) -> anyhow::Result<&Record> {
        let mut answers = self.of_kind("answer").filter(|answer| answer.body()["request"] == json!(call.seq()));
        let answer = answers.next().with_context(|| format!("no answer to {}", call.line))?;
        assert!(answers.next().is_none(), "two answers to {}", call.line);
        Ok(answer)
    }

    /// The server's messages with a method.
    fn said(&self, method: &str) -> Vec<&Record> {
        self.of_kind("message").filter(|message| message.method() == Some(method)).collect()
    }

    /// All calls are of the client that was started, each was answered by the server, and the log is whole.
    fn is_whole(&mut self) -> Result {
        for call in self.calls() {
            assert_eq!(call.pid(), Some(self.pid), "{}", call.line);
            let answer = self.answer_to(call)?;
            assert!(answer.seq() > call.seq());
            assert_eq!(answer.body()["outcome"]["gateway"], Value::Null, "not the server's answer: {}", answer.line);
            if answer.body()["outcome"]["code"].is_null() {
                // The server leaves the id out of errors about the HTTP request, such as a `server/discover` that it does not know.
                assert_eq!(answer.body()["payload"]["json"]["id"], call.body()["call"]["id"], "{}", answer.line);
            }
        }
        self.gateway.drain()?;
        self.gateway.verify()?.ok()?;
        let records = self.gateway.records()?;
        assert!(!records.iter().any(|record| record.kind() == "outcome_unknown"), "a call was lost sight of");
        assert!(!records.iter().any(|record| record.kind() == "refused"), "something was refused");
        Ok(())
    }

    /// The server's one question of this method is on record, and the client's answer says which question it answers.
    fn was_asked(&self, method: &str, answer: &str) -> Result {
        let questions = self.said(method);
        assert_eq!(questions.len(), 1, "{method}");
        let question = questions[0];
        assert_eq!((question.body()["call"]["kind"].as_str(), question.body()["from"].as_str()), (Some("request"), Some("server")));
        let replies: Vec<_> = self.of_kind("request").filter(|record| record.body()["continues"] == json!(question.seq())).collect();
        assert_eq!(replies.len(), 1, "{method} was answered in {replies:?}");
        assert_eq!(replies[0].body()["call"]["kind"], "response", "{}", replies[0].line);
        assert_eq!(replies[0].body()["payload"]["json"]["id"], question.body()["payload"]["json"]["id"]);
        assert!(replies[0].line.contains(answer), "{}", replies[0].line);
        Ok(())
    }

    /// What every client does in the scenario.
    fn has_the_scenario(&self, sampled: &str) -> Result {
        self.was_asked("sampling/createMessage", sampled)?;
        self.was_asked("elicitation/create", "Ada Okafor")?;
        let long = self.call("trigger-long-running-operation")?;
        let token = &long.body()["payload"]["json"]["params"]["_meta"]["progressToken"];
        assert!(!token.is_null(), "{}", long.line);
        let mut steps: Vec<&Record> = self.said("notifications/progress");
        steps.retain(|step| {
            step.body()["payload"]["json"]["params"]["progressToken"] == *token
                && step.body()["payload"]["json"]["params"]["total"] == json!(5)
        });
        let progress: Vec<&Value> = steps.iter().map(|step| &step.body()["payload"]["json"]["params"]["progress"]).collect();
        assert_eq!(json!(progress), json!([1, 2, 3, 4, 5]), "in order, each once");
        let answer = self.answer_to(long)?.seq();
        assert!(steps.iter().all(|step| long.seq() < step.seq() && step.seq() < answer), "between the call and its answer");
        assert!(!self.said("notifications/resources/updated").is_empty());
        assert!(self.answer_to(self.call("echo")?)?.line.contains("你好"));
        Ok(())
    }

    /// The call that the client left in the middle of, and whose answer it fetched by GET, has its answer on the record.
    fn has_the_resumption(&self) -> Result {
        let steps = |call: &&Record| call.body()["payload"]["json"]["params"]["arguments"]["steps"] == json!(8);
        let left = self.calls().find(steps).context("no record of the call that was left")?;
        let answer = self.answer_to(left)?;
        assert!(answer.line.contains("Long running operation completed"), "{}", answer.line);
        let resumed = self.of_kind("request").any(|record| {
            let headers = record.body()["http"]["headers"].to_string().to_ascii_lowercase();
            record.body()["http"]["method"] == "GET"
                && headers.contains("last-event-id")
                && left.seq() < record.seq()
                && record.seq() < answer.seq()
        });
        assert!(resumed, "the answer came by a GET with Last-Event-ID");
        Ok(())
    }
}

fn over_streamable_http(sdk: Sdk, sampled: &str) -> anyhow::Result<Conversation> {
    let mut conversation = conversation(sdk, Transport::StreamableHttp)?;
    conversation.has_the_scenario(sampled)?;
    conversation.is_whole()?;
    Ok(conversation)
}

/// HTTP+SSE: the answers come on the stream of the GET, and the POSTs get a 202.
fn over_sse(sdk: Sdk, sampled: &str) -> Result {
    let mut conversation = conversation(sdk, Transport::Sse)?;
    conversation.has_the_scenario(sampled)?;
    let sessions: std::collections::BTreeSet<_> = conversation.calls().map(|call| call.body()["session"].to_string()).collect();
    assert_eq!(sessions.len(), 1, "the endpoint that the server named is the session: {sessions:?}");
    conversation.is_whole()
}

#[test]
fn the_older_python_sdk_over_streamable_http() -> Result {
    over_streamable_http(Sdk::PythonV1, "sampled by the Python SDK")?.has_the_resumption()
}

#[test]
fn the_newest_python_sdk_over_streamable_http() -> Result {
    over_streamable_http(Sdk::PythonV2, "sampled by the Python SDK").map(drop)
}

#[test]
fn the_older_typescript_sdk_over_streamable_http() -> Result {
    over_streamable_http(Sdk::TypeScriptV1, "sampled by the TypeScript SDK")?.has_the_resumption()
}

#[test]
fn the_newest_typescript_sdk_over_streamable_http() -> Result {
    over_streamable_http(Sdk::TypeScriptV2, "sampled by the TypeScript SDK").map(drop)
}

#[test]
fn the_older_python_sdk_over_http_with_server_sent_events() -> Result {
    over_sse(Sdk::PythonV1, "sampled by the Python SDK")
}

#[test]
fn the_older_typescript_sdk_over_http_with_server_sent_events() -> Result {
    over_sse(Sdk::TypeScriptV1, "sampled by the TypeScript SDK")
}
