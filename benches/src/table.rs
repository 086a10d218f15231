//! The figures for people, load by load.

use crate::{
    figures::{Figures, Ratios},
    loads::LOADS,
    stats::Spread,
};

pub(crate) fn print(all: &[Figures]) {
    println!(
        "Connections kept alive, requests of 1 KiB; medians of the rounds (quartiles). CPU (user space, kernel, both) and memory (resident, at\n\
         most) are the proxy's own. Ratios are medians of ratios by round; `added` is of what is added to the p50 of no proxy."
    );
    for load in &LOADS {
        let figures: Vec<&Figures> = all.iter().filter(|figures| figures.load == load.name).collect();
        if figures.is_empty() {
            continue;
        }
        let p50 = Unit::of(figures.iter().map(|of| of.p50_us));
        let p99 = Unit::of(figures.iter().map(|of| of.p99_us));
        let cpu = Unit::of(figures.iter().filter_map(|of| of.cpu_us));
        println!("\n{}: {}", load.name, load.about());
        println!("{:111} │ ÷ direct    │ ÷ nginx of the same scheme", "");
        print!("{:<15}{:>21}{:>20}{:>20}", "", "calls/s", p50.head("p50"), p99.head("p99"));
        print!("{:>18}{:>6}{:>6}{:>5}", cpu.head("CPU"), "user", "sys", "MiB");
        println!(" │{:>5}{:>7} │{:>5}{:>7}{:>7}{:>6}", "rate", "p50", "rate", "p50", "added", "CPU");
        for of in figures {
            print!("{:<15}{:>21}{:>20}{:>20}", of.contestant, spread(of.rate), p50.spread(of.p50_us), p99.spread(of.p99_us));
            let [user, system] = [of.user_us, of.system_us].map(|part| or_none(part, |part| number(part.median / cpu.microseconds)));
            let peak = or_none(of.peak_bytes, |peak| format!("{:.0}", peak.median / f64::from(1 << 20)));
            print!("{:>18}{user:>6}{system:>6}{peak:>5}", or_none(of.cpu_us, |of| cpu.spread(of)));
            ratios(of.to_direct, of.to_nginx);
        }
    }
}

fn ratios(to_direct: Option<Ratios>, to_nginx: Option<Ratios>) {
    let shown = |of: Option<Spread>| or_none(of, |of| number(of.median));
    let [direct, nginx] = [to_direct, to_nginx].map(|of| [shown(of.map(|of| of.rate)), shown(of.map(|of| of.p50))]);
    print!(" │{:>5}{:>7} │{:>5}{:>7}", direct[0], direct[1], nginx[0], nginx[1]);
    println!("{:>7}{:>6}", shown(to_nginx.and_then(|of| of.added_p50)), shown(to_nginx.and_then(|of| of.cpu)));
}

/// What durations are shown in: one for a column.
struct Unit {
    name: &'static str,
    microseconds: f64,
}

impl Unit {
    fn of(column: impl Iterator<Item = Spread>) -> Self {
        let highest = column.map(|spread| spread.median).fold(0.0, f64::max);
        if highest < 10_000.0 { Self { name: "µs", microseconds: 1.0 } } else { Self { name: "ms", microseconds: 1000.0 } }
    }

    fn head(&self, what: &str) -> String {
        format!("{what} {}", self.name)
    }

    fn spread(&self, of: Spread) -> String {
        let [low, median, high] = [of.low, of.median, of.high].map(|figure| figure / self.microseconds);
        spread(Spread { low, median, high })
    }
}

fn spread(Spread { low, median, high }: Spread) -> String {
    format!("{} ({}-{})", number(median), number(low), number(high))
}

fn or_none<T>(figure: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| "-".into(), shown)
}

/// Three digits at least.
fn number(figure: f64) -> String {
    let digits = match figure.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{figure:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_one_unit_and_three_digits() {
        let spread = |median| Spread { low: median / 2.0, median, high: median * 2.0 };
        let unit = Unit::of([1840.0, 52_633.0].map(spread).into_iter());
        assert_eq!(unit.head("p50"), "p50 ms");
        assert_eq!(unit.spread(spread(1840.0)), "1.84 (0.92-3.68)");
        assert_eq!(Unit::of([17.2].map(spread).into_iter()).spread(spread(17.2)), "17.2 (8.60-34.4)");
    }
}
