//! `compare`: the gateway beside no proxy and beside peers. `cargo xtask bench` builds what it needs and runs it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use gateway_benches::{
    comparison::{self, Plan, Selection},
    load::{self, Load},
    upstream,
};

/// The gateway beside no proxy and beside peers.
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter rounds: a first look, not figures to compare
    #[arg(long)]
    quick: bool,
    /// Also write every figure into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The processes that the comparison starts.
#[derive(Subcommand)]
#[command(hide = true)]
enum Part {
    /// The server
    Upstream { at: SocketAddr },
    /// The load
    Load(Load),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Upstream { at }) => upstream::serve(at),
        Some(Part::Load(load)) => {
            println!("{}", serde_json::to_string(&load::run(&load)?)?);
            Ok(())
        }
        None => comparison::run(if arguments.quick { Plan::QUICK } else { Plan::WHOLE }, &arguments.selection, arguments.json.as_deref()),
    }
}
