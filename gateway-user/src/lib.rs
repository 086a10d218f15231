//! MCP Gateway.

pub mod capture;
