//! Medians and quartiles: a round that was disturbed does not move them.

use serde::Serialize;

/// The middle of some figures, and between what half of them lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the figures are lower.
    pub low: f64,
    /// Half of the figures are lower.
    pub median: f64,
    /// A quarter of the figures are higher.
    pub high: f64,
}

impl Spread {
    /// Of these figures; `None` of none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let quarter = |quarters: usize| {
            let (at, rest) = (last * quarters / 4, last * quarters % 4);
            let (here, next) = (figures[at], figures[(at + 1).min(last)]);
            here + (next - here) * rest as f64 / 4.0
        };
        Some(Self { low: quarter(1), median: quarter(2), high: quarter(3) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_figures_where_there_is_none() {
        assert_eq!(Spread::of([5.0, 1.0, 3.0, 2.0, 4.0]), Some(Spread { low: 2.0, median: 3.0, high: 4.0 }));
        assert_eq!(Spread::of([1.0, 2.0]), Some(Spread { low: 1.25, median: 1.5, high: 1.75 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
