//! MCP Gateway.

pub mod audit;
