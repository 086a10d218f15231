//! Tasks of the repository.

mod ebpf;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next().as_deref()) {
        (Some("ebpf"), None) => ebpf::run(false),
        (Some("ebpf"), Some("--check")) => ebpf::run(true),
        _ => anyhow::bail!("usage: cargo xtask ebpf [--check]"),
    }
}
