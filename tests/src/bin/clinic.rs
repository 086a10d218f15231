//! `clinic --listen ADDR --db FILE [--seen FILE]`: the made-up clinic as an MCP server.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use gateway_tests::clinic::{Options, serve};

/// An MCP server over a clinic's database in which everyone is made up.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 lets the kernel pick.
    #[arg(long)]
    listen: SocketAddr,
    /// The SQLite file; it is made anew.
    #[arg(long)]
    db: PathBuf,
    /// A file to note each call in, one JSON line a call.
    #[arg(long)]
    seen: Option<PathBuf>,
    /// A file with the key that requests must have in `X-Api-Key`.
    #[arg(long)]
    key: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, db, seen, key } = Arguments::parse();
    serve(Options { listen, database: db, seen, key }).await
}
