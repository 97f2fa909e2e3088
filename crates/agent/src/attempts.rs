//! The number of each attempt at a session, so that a relay can tell a late one from the newest.
//!
//! Invariant: it grows with each attempt of this process, whatever the clock does; it starts from the clock, so that it
//! grows across restarts as well, without a file.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Counts the attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(AtomicU64);

impl Attempts {
    /// The number of the attempt that begins now.
    pub(crate) fn next(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        self.not_before(now)
    }

    fn not_before(&self, now: u64) -> u64 {
        let following = |last: u64| now.max(last.saturating_add(1));
        let counted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(following(last))
            });
        counted.map_or(now, following)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_though_the_clock_stands_or_goes_back() {
        let attempts = Attempts::default();
        let said = [1_000, 1_000, 5, 2_000].map(|now| attempts.not_before(now));
        assert_eq!(said, [1_000, 1_001, 1_002, 2_000]);
    }

    #[test]
    fn a_program_that_starts_later_begins_higher() {
        let before = Attempts::default().next();
        assert!(before > 1_600_000_000_000 && Attempts::default().next() >= before);
    }
}
