//! How fast the line is.
//!
//! Invariant: the answer is the best of the last spans, none of them older than what was asked for and half as new at least.

use std::time::{Duration, Instant};

/// The best of the last spans, in bytes a second.
#[derive(Debug)]
pub(super) struct Rate {
    best: u64,
    best_before: u64,
    since: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            best: 0,
            best_before: 0,
            since: now,
        }
    }

    fn get(&self) -> u64 {
        self.best.max(self.best_before)
    }

    /// Bytes in that time.
    pub(super) fn over(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.get()) * time.as_nanos() / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// One of a line that was in full use.
    pub(super) fn take(&mut self, rate: u64, now: Instant, holds: Duration) {
        if now.saturating_duration_since(self.since) > holds / 2 {
            self.best_before = self.best;
            self.best = rate;
            self.since = now;
        }
        self.best = self.best.max(rate);
    }

    /// One of a line that may not have been in full use: it can do that at least.
    pub(super) fn raise(&mut self, rate: u64) {
        self.best = self.best.max(rate);
    }
}
