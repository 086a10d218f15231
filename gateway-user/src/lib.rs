//! MCP Gateway.

pub mod audit;
pub mod ship;
