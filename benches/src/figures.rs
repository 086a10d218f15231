//! What the turns of all rounds come to.

use serde::Serialize;

use crate::{load::Report, stats::Spread};

/// One contestant's figures under one load.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// The load's name.
    pub load: &'static str,
    /// Its own name.
    pub contestant: &'static str,
    /// Calls a second.
    pub rate: Spread,
    /// Microseconds within which half of the calls were answered.
    pub p50_us: Spread,
    /// And 99 of 100.
    pub p99_us: Spread,
    /// How much of that half is its own: what it is above no proxy's.
    pub added_p50_us: Option<Spread>,
    /// Microseconds of CPU for a call, in user space.
    pub user_us: Option<Spread>,
    /// In the kernel.
    pub system_us: Option<Spread>,
    /// And in both.
    pub cpu_us: Option<Spread>,
    /// The most memory that was resident.
    pub peak_bytes: Option<Spread>,
    /// Beside no proxy.
    pub to_direct: Option<Ratios>,
    /// Beside nginx.
    pub to_nginx: Option<Ratios>,
    /// Turn by turn.
    pub rounds: Vec<Report>,
}

/// Figures as parts of another's. Each is of the two turns of one round: what disturbs the machine for minutes disturbs both.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratios {
    /// Of calls a second.
    pub rate: Spread,
    /// Of the time within which half of the calls were answered.
    pub p50: Spread,
    /// Of what either adds to that time.
    pub added_p50: Option<Spread>,
    /// Of the CPU for a call.
    pub cpu: Option<Spread>,
}

/// What is taken of a turn.
type Figure = fn(&Report) -> Option<f64>;

const RATE: Figure = |report| Some(report.rate);
const P50: Figure = |report| Some(report.p50_us);
const P99: Figure = |report| Some(report.p99_us);
const USER: Figure = |report| Some(report.cost?.user_us);
const SYSTEM: Figure = |report| Some(report.cost?.system_us);
const CPU: Figure = |report| report.cost.map(|cost| cost.user_us + cost.system_us);
const PEAK: Figure = |report| Some(report.cost?.peak_bytes);

impl Figures {
    /// Of one contestant's turns, beside those of no proxy and of nginx in the same rounds. `None` without turns.
    #[must_use]
    pub fn of(
        load: &'static str,
        contestant: &'static str,
        rounds: &[Report],
        direct: Option<&[Report]>,
        nginx: Option<&[Report]>,
    ) -> Option<Self> {
        let spread = |figure: Figure| Spread::of(rounds.iter().filter_map(figure));
        let [to_direct, to_nginx] = [(direct, None), (nginx, direct)].map(|(base, direct)| Ratios::of(rounds, base?, direct));
        Some(Self {
            load,
            contestant,
            rate: spread(RATE)?,
            p50_us: spread(P50)?,
            p99_us: spread(P99)?,
            added_p50_us: direct.and_then(|direct| Spread::of(added(rounds, direct))),
            user_us: spread(USER),
            system_us: spread(SYSTEM),
            cpu_us: spread(CPU),
            peak_bytes: spread(PEAK),
            to_direct,
            to_nginx,
            rounds: rounds.to_vec(),
        })
    }
}

impl Ratios {
    fn of(own: &[Report], base: &[Report], direct: Option<&[Report]>) -> Option<Self> {
        let of = |figure: Figure| Spread::of(own.iter().zip(base).filter_map(|(own, base)| Some(figure(own)? / figure(base)?)));
        let added = direct.and_then(|direct| {
            // Where the other adds nothing that can be seen, there is nothing to compare with.
            let (least, other) = (Spread::of(direct.iter().filter_map(P50))?.median / 20.0, Spread::of(added(base, direct))?.median);
            let pairs = added(own, direct).zip(added(base, direct));
            Spread::of(pairs.filter(|_| other > least).map(|(own, base)| own / base))
        });
        Some(Self { rate: of(RATE)?, p50: of(P50)?, added_p50: added, cpu: of(CPU) })
    }
}

fn added<'a>(own: &'a [Report], direct: &'a [Report]) -> impl Iterator<Item = f64> + 'a {
    own.iter().zip(direct).map(|(own, direct)| own.p50_us - direct.p50_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::Cost;

    fn turn(rate: f64, p50_us: f64, cpu: f64) -> Report {
        let cost = Cost { user_us: cpu / 4.0, system_us: cpu * 0.75, peak_bytes: 1e6 };
        Report { calls: 1, rate, p50_us, p99_us: 2.0 * p50_us, cost: Some(cost) }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        // The machine was half as fast in the second round.
        let direct = [turn(8000.0, 100.0, 0.0), turn(4000.0, 200.0, 0.0)];
        let nginx = [turn(4000.0, 200.0, 20.0), turn(2000.0, 400.0, 40.0)];
        let own = [turn(2000.0, 150.0, 10.0), turn(1000.0, 300.0, 20.0)];
        let figures = Figures::of("load", "own", &own, Some(&direct), Some(&nginx)).expect("turns");
        let nginx = figures.to_nginx.expect("nginx");
        let all = |spread: Spread| [spread.low, spread.median, spread.high];
        assert_eq!(all(nginx.rate), [0.5; 3]);
        assert_eq!(all(nginx.p50), [0.75; 3]);
        assert_eq!(nginx.added_p50.map(all), Some([0.5; 3]));
        assert_eq!(nginx.cpu.map(all), Some([0.5; 3]));
        assert_eq!(figures.to_direct.map(|direct| all(direct.p50)), Some([1.5; 3]));
        assert_eq!(figures.added_p50_us.map(all), Some([62.5, 75.0, 87.5]));
        assert_eq!(figures.cpu_us.map(all), Some([12.5, 15.0, 17.5]));
    }

    #[test]
    fn nothing_is_compared_with_what_adds_nothing() {
        let turns = |all: [f64; 3]| all.map(|p50| turn(1.0, p50, 10.0));
        let (direct, own) = (turns([100.0, 100.0, 100.0]), turns([150.0, 150.0, 150.0]));
        let ratio = |nginx: [f64; 3]| {
            let figures = Figures::of("load", "own", &own, Some(&direct), Some(&turns(nginx))).expect("turns");
            figures.to_nginx.expect("nginx").added_p50.map(|added| added.median)
        };
        assert_eq!(ratio([125.0, 125.0, 125.0]), Some(2.0));
        assert_eq!(ratio([98.0, 104.0, 125.0]), None);
    }
}
