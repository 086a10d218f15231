//! The loads, and who is put under each.

use crate::exchange::Answer;

/// What clients do.
#[derive(Debug)]
pub struct Load {
    /// Its name, for the command line and in tables.
    pub name: &'static str,
    /// What every call is answered with.
    pub answer: Answer,
    /// How many clients there are, each with a connection of its own.
    pub connections: usize,
    /// When the next call is made.
    pub pace: Pace,
    /// A turn ends when so many calls were answered, if it is not over before: what is logged has to find room on the disk.
    pub most: usize,
    /// The names of those that are compared.
    pub contestants: &'static [&'static str],
}

/// When the next call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As soon as the last was answered.
    Closed,
    /// So often a second over all connections, whether or not the last was answered.
    Rate(u32),
}

const ALL: &[&str] = &[
    "direct",
    "gateway-os",
    "gateway-sync",
    "gateway-busy",
    "gateway-unmasked",
    "gateway-all-masks",
    "endpoint",
    "nginx",
    "haproxy",
    "envoy",
    "direct-https",
    "gateway-https",
    "endpoint-https",
    "nginx-https",
    "haproxy-https",
];
const FEW: &[&str] = &["direct", "gateway-os", "nginx", "haproxy", "envoy", "direct-https", "gateway-https", "nginx-https"];
const FEW_AND_SYNC: &[&str] =
    &["direct", "gateway-os", "gateway-sync", "gateway-busy", "nginx", "haproxy", "envoy", "direct-https", "gateway-https", "nginx-https"];

/// All of them.
pub const LOADS: [Load; 7] = [
    Load { name: "calls-1", answer: Answer::Small, connections: 1, pace: Pace::Closed, most: 20_000, contestants: ALL },
    Load { name: "calls-16", answer: Answer::Small, connections: 16, pace: Pace::Closed, most: 40_000, contestants: ALL },
    Load { name: "calls-64", answer: Answer::Small, connections: 64, pace: Pace::Closed, most: 40_000, contestants: ALL },
    Load { name: "rate-2000", answer: Answer::Small, connections: 16, pace: Pace::Rate(2000), most: 40_000, contestants: FEW_AND_SYNC },
    Load { name: "answers-64k", answer: Answer::Medium, connections: 16, pace: Pace::Closed, most: 5_000, contestants: FEW },
    Load { name: "answers-1m", answer: Answer::Large, connections: 4, pace: Pace::Closed, most: 1_000, contestants: FEW },
    Load { name: "sse-1000", answer: Answer::Events, connections: 4, pace: Pace::Closed, most: 1_000, contestants: FEW },
];

impl Load {
    /// What it is, for people.
    #[must_use]
    pub fn about(&self) -> String {
        let answer = match self.answer {
            Answer::Small => "answers of 1 KiB",
            Answer::Medium => "answers of 64 KiB",
            Answer::Large => "answers of 1 MiB, nginx with proxy_buffering off",
            Answer::Events => "streams of 1,000 events, nginx with proxy_buffering off",
        };
        let connections = if self.connections == 1 { "1 connection".into() } else { format!("{} connections", self.connections) };
        match self.pace {
            Pace::Closed => format!("{answer}, {connections}, the next call once the last is answered"),
            Pace::Rate(rate) => format!("{answer}, {rate} calls/s over {connections}, timed from when each was due"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestants::ENTRIES;

    #[test]
    fn every_load_compares_contestants_that_there_are_and_what_they_are_measured_against() {
        for load in &LOADS {
            for name in load.contestants {
                let entry = ENTRIES.iter().find(|entry| entry.name == *name);
                let entry = entry.unwrap_or_else(|| unreachable!("{}: no contestant `{name}`", load.name));
                assert!(entry.baselines().iter().all(|base| load.contestants.contains(base)), "{}: {name} has no baseline", load.name);
            }
        }
        assert!(ENTRIES.iter().all(|entry| LOADS[0].contestants.contains(&entry.name)), "the first load compares all");
    }
}
