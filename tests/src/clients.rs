//! Real MCP clients, aimed at a server's own address. None of them knows of a gateway.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;

use crate::{Cgroup, Launch, binaries};

/// A script over an official SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// Python, the older line: to 2025-11-25.
    PythonV1,
    /// Python, the newest line: 2026-07-28.
    PythonV2,
    /// TypeScript, the older line: to 2025-11-25.
    TypeScriptV1,
    /// TypeScript, the newest line: 2026-07-28.
    TypeScriptV2,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PythonV1, Self::PythonV2, Self::TypeScriptV1, Self::TypeScriptV2];

    fn parts(self) -> (PathBuf, &'static str) {
        match self {
            Self::PythonV1 => (python("sdk-v1"), "tests/python/sdk_v1.py"),
            Self::PythonV2 => (python("sdk-v2"), "tests/python/sdk_v2.py"),
            Self::TypeScriptV1 => ("node".into(), "tests/node/sdk-v1.mjs"),
            Self::TypeScriptV2 => ("node".into(), "tests/node/sdk-v2.mjs"),
        }
    }

    /// The client, ready to be started against `url`; `scenario` is `clinic` or `everything`.
    ///
    /// # Errors
    /// The SDK is not installed.
    pub fn against(self, url: &str, scenario: &str) -> anyhow::Result<Launch> {
        let (interpreter, script) = self.parts();
        let installed = match self {
            Self::PythonV1 | Self::PythonV2 => interpreter.is_file(),
            Self::TypeScriptV1 | Self::TypeScriptV2 => binaries::root().join("tests/node/node_modules").is_dir(),
        };
        ensure!(installed, "{self:?} is not installed: `cargo xtask test` does that");
        // Asserts of the interpreters' own bytecode folders would be written into the checkout.
        Ok(Launch::new(interpreter).arg(binaries::root().join(script)).args([url, scenario]).env("PYTHONDONTWRITEBYTECODE", "1"))
    }
}

/// The interpreter of one of the virtual environments: `sdk-v1` (with the Kinesis emulator) or `sdk-v2`.
#[must_use]
pub fn python(environment: &str) -> PathBuf {
    binaries::cache().join(environment).join("bin/python")
}

/// curl posting one JSON-RPC message, in the revision that needs no session.
#[must_use]
pub fn curl(url: &str, message: &serde_json::Value) -> Launch {
    let mut curl = Launch::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20"])
        .args(["-H", "Content-Type: application/json"])
        .args(["-H", "Accept: application/json, text/event-stream", "-H", "MCP-Protocol-Version: 2026-07-28"]);
    if let Some(method) = message["method"].as_str() {
        curl = curl.args(["-H", &format!("Mcp-Method: {method}")]);
    }
    if let Some(name) = message["params"]["name"].as_str() {
        curl = curl.args(["-H", &format!("Mcp-Name: {name}")]);
    }
    curl.args(["--data-binary", &message.to_string()]).arg(url)
}

/// A `tools/call` of revision 2026-07-28, which stands alone.
#[must_use]
pub fn tool_call(id: impl Into<serde_json::Value>, tool: &str, arguments: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "jsonrpc": "2.0",
        "id": id.into(),
        "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "gateway-tests", "version": "1" },
            },
        },
    })
}

/// Runs a client past the gateway and through it: it must print the same. Gives the pid of the one that went through.
///
/// # Errors
/// It does not end well, or says one thing here and another there.
pub fn same_both_ways(client: &Launch, cgroup: &Cgroup) -> anyhow::Result<u32> {
    same(client, client, cgroup)
}

/// As [`same_both_ways`], for a client that has to be told something else for each way.
///
/// # Errors
/// As [`same_both_ways`].
pub fn same(past: &Launch, through: &Launch, cgroup: &Cgroup) -> anyhow::Result<u32> {
    let limit = Duration::from_secs(90);
    let direct = past.run(limit)?.ok()?;
    let captured = through.clone().under(cgroup).run(limit)?.ok()?;
    ensure!(direct.stdout == captured.stdout, "past the gateway:\n{}\nthrough it:\n{}", direct.stdout, captured.stdout);
    Ok(captured.pid)
}
