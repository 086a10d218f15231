//! MCP Gateway: every MCP request of an agent host on the record, before it has an effect.
//!
//! The path of a call, top to bottom: [`proxy`] accepts a connection that [`capture`] redirected, reads it with
//! [`wire`] and [`mcp`], writes it into the [`audit`] log, forwards it, and gives the answer back.

pub mod audit;
pub mod ship;
