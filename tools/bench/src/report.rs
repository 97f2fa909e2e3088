//! Samples and what is said about them.
//!
//! Invariant: quantiles are of all samples, by nearest rank; nothing is averaged away.

use serde::Serialize;

/// Times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<u64>);

/// What is said about a set of times, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    count: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    /// (time, share of samples at or below it): enough to draw the distribution.
    curve: Vec<(f64, f64)>,
}

/// The shares at which a curve is drawn: dense where tails are.
const SHARES: &[f64] = &[
    0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999,
    1.0,
];

impl Samples {
    pub(crate) fn push(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// `None` when nothing was measured.
    pub(crate) fn summary(mut self) -> Option<Summary> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        let at = |share: f64| micros(self.0[rank(share, last)]);
        Some(Summary {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
            curve: SHARES.iter().map(|&share| (at(share), share)).collect(),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count lies between 0 and that count"
)]
fn rank(share: f64, last: usize) -> usize {
    ((share * (last as f64)).round() as usize).min(last)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "hours in nanoseconds keep microseconds exact"
)]
fn micros(nanos: u64) -> f64 {
    (nanos / 10) as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_by_their_rank() {
        let mut samples = Samples::default();
        for nanos in (1..=1000).rev() {
            samples.push(nanos * 1000);
        }
        let summary = samples.summary().unwrap();
        assert_eq!(summary.count, 1000);
        assert!((summary.p50 - 500.0).abs() < 2.0, "{}", summary.p50);
        assert!((summary.p99 - 990.0).abs() < 2.0, "{}", summary.p99);
        assert!((summary.max - 1000.0).abs() < 0.1, "{}", summary.max);
        assert!(Samples::default().summary().is_none());
    }
}
