//! `cargo xtask`: the commands of this repository.

mod bench;
mod demo;
mod ebpf;
mod install;
mod run;
mod test;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure: the criterion benches, then the gateway beside no proxy and beside nginx
    Bench(bench::Arguments),
    /// Show what the gateway does, on this machine: a server, unmodified clients, guard and gateway, kill and recovery (root)
    Demo {
        /// Ask nothing and do not stay: end after the last step
        #[arg(long)]
        once: bool,
    },
    /// Build the kernel programs anew into gateway-ebpf/prebuilt
    Ebpf {
        /// Build them and compare, byte for byte, with what is committed; under another toolchain, load and test the fresh object instead
        #[arg(long)]
        check: bool,
    },
    /// Install what the tests need, and run all of them
    Test {
        /// How often the crash test kills the gateway
        #[arg(long, default_value_t = 100)]
        crashes: u32,
        /// Only tests whose names contain one of these
        filter: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let root = run::root();
    match Arguments::parse().command {
        Command::Bench(arguments) => bench::all(&root, &arguments),
        Command::Demo { once } => demo::run(&root, once),
        Command::Ebpf { check } => ebpf::run(check),
        Command::Test { crashes, filter } => test::all(&root, crashes, &filter),
    }
}
