//! MCP Gateway.
