//! The command line of MCP Gateway.
fn main() {}
