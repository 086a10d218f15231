//! MCP Gateway.

pub mod mcp;
pub mod wire;
