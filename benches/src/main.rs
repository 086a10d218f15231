//! `compare`: the gateway beside no proxy and beside peers. `cargo xtask bench` builds what it needs and runs it.

use clap::{Parser, Subcommand};
use gateway_benches::{
    comparison::{self, Plan},
    load::{self, Drive},
    upstream::{self, Serve},
};

/// The gateway beside no proxy and beside peers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    plan: Plan,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The processes that the comparison starts.
#[derive(Subcommand)]
#[command(hide = true)]
enum Part {
    /// The server
    Upstream(Serve),
    /// The load
    Load(Drive),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Upstream(serve)) => upstream::serve(&serve),
        Some(Part::Load(drive)) => {
            println!("{}", serde_json::to_string(&load::run(&drive)?)?);
            Ok(())
        }
        None => comparison::run(&arguments.plan),
    }
}
