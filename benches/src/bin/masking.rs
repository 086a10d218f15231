//! `masking`: precision and recall of the detectors. `cargo xtask bench mask` builds and runs it.

use clap::Parser;
use gateway_benches::{corpus, masking};
use gateway_mask::Detectors;

/// Precision and recall of the detectors, kind by kind, over a corpus that is made for it.
#[derive(Parser)]
struct Arguments {
    /// How many messages
    #[arg(long, default_value_t = 6000)]
    messages: usize,
    /// Another seed, another corpus
    #[arg(long, default_value_t = 20_260_601)]
    seed: u64,
    /// Also show what was missed or wrong
    #[arg(long)]
    mistakes: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let messages = corpus::messages(arguments.seed, arguments.messages);
    let bytes: usize = messages.iter().map(|message| message.json.len()).sum();
    println!(
        "{} messages, {} KiB, seed {}; a value counts as found if its span and kind are just those",
        messages.len(),
        bytes >> 10,
        arguments.seed
    );
    let scores = masking::measure(&Detectors::new(Vec::new())?, &messages, |mistake| {
        if arguments.mistakes {
            println!(
                "{:?} is {:?}, taken for {:?}: {:?} under {:?}",
                mistake.value, mistake.is, mistake.taken_for, mistake.text.text, mistake.text.name
            );
        }
    });
    masking::print(&scores);
    let short = masking::short(&scores);
    anyhow::ensure!(
        short.is_empty(),
        "below recall {} or precision {}: {}",
        masking::RECALL,
        masking::PRECISION,
        short.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}
