//! `load --connections N URL...`: calls the clinic without a pause until its standard input ends, and prints what became of each call.

use clap::Parser;
use gateway_tests::load::call_until_stdin_ends;

/// Clients that call one tool over and over, each call with a marker of its own. They know nothing of a gateway.
#[derive(Parser)]
struct Arguments {
    /// How many clients, each with a connection of its own.
    #[arg(long)]
    connections: usize,
    /// The server's own addresses, such as `http://10.77.1.2:8000/mcp`: the clients take them in turn.
    #[arg(required = true)]
    urls: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let Arguments { connections, urls } = Arguments::parse();
    call_until_stdin_ends(&urls, connections)
}
