//! MCP Gateway: every MCP request of an agent host on the record, before it has an effect.
//!
//! The path of a call, top to bottom: [`proxy`] accepts a connection that [`capture`] redirected, or one to the endpoint, reads it
//! with [`wire`] and [`mcp`], writes it into the [`audit`] log, forwards it, and gives the answer back. [`ship`] sends what is on
//! disk to Kinesis.

pub mod audit;
pub mod capture;
pub mod config;
pub mod console;
pub mod control;
pub mod credential;
pub mod glob;
pub mod identity;
pub mod key_file;
pub mod mask;
pub mod mcp;
pub mod outbound;
pub mod policy;
pub mod proxy;
pub mod ship;
pub mod tls;
pub mod tools;
pub mod usage;
pub mod wire;
