//! `rmcp-client URL TOOL [JSON]`: calls one tool with the official Rust SDK and prints a summary as JSON.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Parser;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, NumberOrString, ProgressNotificationParam, ProgressToken, ProtocolVersion, RequestMetaObject,
        RequestParamsMeta,
    },
    service::NotificationContext,
    transport::StreamableHttpClientTransport,
};
use serde_json::json;

/// An MCP client on the official Rust SDK; it knows nothing of a gateway.
#[derive(Parser)]
struct Arguments {
    /// The server's own address, such as `http://10.77.1.2:8000/mcp`.
    url: String,
    /// The tool to call.
    tool: String,
    /// Its arguments, a JSON object.
    #[arg(default_value = "{}")]
    arguments: String,
    /// Speak an older revision: start with `initialize` instead of `server/discover`.
    #[arg(long)]
    legacy: bool,
    /// Ask for progress, and print it.
    #[arg(long)]
    progress: bool,
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<f64>>>);

impl ClientHandler for Listener {
    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(params.progress);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let lifecycle = if arguments.legacy {
        ClientLifecycleMode::Initialize
    } else {
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
    };
    let listener = Listener::default();
    let client = listener
        .clone()
        .serve_with_lifecycle(StreamableHttpClientTransport::from_uri(arguments.url.clone()), lifecycle)
        .await
        .with_context(|| format!("cannot reach {}", arguments.url))?;
    let mut tools: Vec<String> = client.list_all_tools().await?.into_iter().map(|tool| tool.name.into_owned()).collect();
    tools.sort();
    let mut call = CallToolRequestParams::new(arguments.tool)
        .with_arguments(serde_json::from_str(&arguments.arguments).context("the arguments are no JSON object")?);
    if arguments.progress {
        let mut meta = RequestMetaObject::new();
        meta.set_progress_token(ProgressToken(NumberOrString::String("rmcp-client".into())));
        call.set_meta(meta);
    }
    let result = client.call_tool(call).await?;
    let protocol = client.peer_info().map(|info| info.protocol_version.to_string());
    let summary = json!({
        "sdk": "rmcp",
        "protocol": protocol,
        "tools": tools,
        "result": result,
        "progress": *listener.0.lock().unwrap_or_else(PoisonError::into_inner),
    });
    println!("{}", serde_json::to_string_pretty(&summary)?);
    client.cancel().await?;
    Ok(())
}
