//! Rates, and who has used up how much of theirs.
//!
//! A bucket is one number: when it will be full again (the "generic cell rate algorithm", as in ATM). It needs no clock
//! of its own, costs no timer, and one that is full need not be kept. Invariant: memory is bounded however many keys
//! come. Where there are too many, those go that have the least to tell, so nobody can have their own count forgotten
//! without making at least half of all that are kept count higher.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Most keys that are remembered at once.
pub(crate) const MAX_KEYS: usize = 65_536;

/// So many at once, refilled evenly within a period: in any period at most twice as many.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    period: Duration,
}

impl Rate {
    /// `count` in each `period`; `None` when either is zero.
    #[must_use]
    pub const fn new(count: u64, period: Duration) -> Option<Self> {
        if count == 0 || period.is_zero() {
            return None;
        }
        Some(Self { count, period })
    }

    /// `count` in each minute; 0 is taken for 1.
    #[must_use]
    pub const fn per_minute(count: u64) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self {
            count,
            period: Duration::from_secs(60),
        }
    }

    /// The one of the two that refills more slowly.
    pub(super) fn stricter(self, other: Self) -> Self {
        if self.cost(1) >= other.cost(1) {
            self
        } else {
            other
        }
    }

    /// How long it takes to refill this much, in nanoseconds, rounded up.
    fn cost(self, amount: u64) -> u64 {
        let cost = u128::from(amount).saturating_mul(self.period.as_nanos());
        u64::try_from(cost.div_ceil(u128::from(self.count))).unwrap_or(u64::MAX)
    }

    fn period_nanos(self) -> u64 {
        u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.period)
    }
}

/// One bucket for each key.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    /// When each is full again, in nanoseconds since `began`. One that is not here is full.
    full_at: Mutex<HashMap<K, u64>>,
    began: Instant,
    max_keys: usize,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new() -> Self {
        Self::with_most(MAX_KEYS)
    }

    fn with_most(max_keys: usize) -> Self {
        Self {
            full_at: Mutex::default(),
            began: Instant::now(),
            max_keys,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u64>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes one, if there is one.
    ///
    /// # Errors
    /// How long it takes until there is; nothing is taken.
    pub(crate) fn take(&self, key: K, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now = self.nanos(now);
        let mut full_at = self.lock();
        let next = next(full_at.get(&key), rate, 1, now);
        has_room(next, rate, now)?;
        self.keep(&mut full_at, key, next, now);
        Ok(())
    }

    /// Whether [`Self::take`] would find one; takes nothing.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(crate) fn look(&self, key: &K, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now = self.nanos(now);
        has_room(next(self.lock().get(key), rate, 1, now), rate, now)
    }

    /// Counts what has happened already, whether there was enough for it or not.
    pub(crate) fn spend(&self, key: K, rate: Rate, amount: u64, now: Instant) {
        let now = self.nanos(now);
        let mut full_at = self.lock();
        let next = next(full_at.get(&key), rate, amount, now);
        self.keep(&mut full_at, key, next, now);
    }

    fn keep(&self, full_at: &mut HashMap<K, u64>, key: K, next: u64, now: u64) {
        if full_at.len() >= self.max_keys && !full_at.contains_key(&key) {
            make_room(full_at, self.max_keys, now);
        }
        full_at.insert(key, next);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// When the bucket is full again once this much is taken from it.
fn next(full_at: Option<&u64>, rate: Rate, amount: u64, now: u64) -> u64 {
    let full_at = full_at.copied().unwrap_or_default().max(now);
    full_at.saturating_add(rate.cost(amount))
}

/// A bucket that needs more than its whole period to be full has been overdrawn.
fn has_room(next: u64, rate: Rate, now: u64) -> Result<(), Duration> {
    match next.saturating_sub(now.saturating_add(rate.period_nanos())) {
        0 => Ok(()),
        wait => Err(Duration::from_nanos(wait)),
    }
}

/// Full buckets tell nothing, and go first. If that is not enough, the emptier half stays. Either way there is room for
/// many more, so that the work is small change for each of them.
fn make_room<K: Eq + Hash>(full_at: &mut HashMap<K, u64>, max_keys: usize, now: u64) {
    full_at.retain(|_, full_at| *full_at > now);
    if full_at.len() <= max_keys / 2 {
        return;
    }
    let mut times: Vec<u64> = full_at.values().copied().collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    let above = full_at.values().filter(|at| **at > median).count();
    // Of those at the median itself so many stay as there is room for: they may be nearly all.
    let mut ties = (max_keys / 2).saturating_sub(above);
    full_at.retain(|_, full_at| {
        let is_tie = *full_at == median && ties > 0;
        ties -= usize::from(is_tie);
        *full_at > median || is_tie
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_whole_period_comes_at_once_and_then_evenly() {
        let (buckets, rate) = (Buckets::new(), Rate::per_minute(6));
        let start = Instant::now();
        for _ in 0..6 {
            assert_eq!(buckets.take("ada", rate, start), Ok(()));
        }
        assert_eq!(buckets.take("ada", rate, start), Err(seconds(10)));
        assert_eq!(buckets.look(&"ada", rate, start), Err(seconds(10)));
        assert_eq!(buckets.take("bob", rate, start), Ok(()), "another key");
        let later = start + seconds(10);
        assert_eq!(buckets.look(&"ada", rate, later), Ok(()));
        assert_eq!(buckets.take("ada", rate, later), Ok(()));
        assert_eq!(buckets.take("ada", rate, later), Err(seconds(10)));
        let much_later = start + seconds(600);
        let free = (0..100).filter(|_| buckets.take("ada", rate, much_later).is_ok());
        assert_eq!(free.count(), 6, "rest does not add up beyond one period");
    }

    #[test]
    fn what_was_spent_beyond_the_rate_is_waited_for() {
        let (buckets, rate) = (Buckets::new(), Rate::new(100, seconds(10)).expect("a rate"));
        let start = Instant::now();
        buckets.spend("ada", rate, 1_000, start);
        let wait = buckets.look(&"ada", rate, start).expect_err("overdrawn");
        assert_eq!(
            wait,
            Duration::from_millis(90_100),
            "the overdraft, and room for one"
        );
        assert_eq!(buckets.look(&"ada", rate, start + wait), Ok(()));
    }

    #[test]
    fn impossible_amounts_overflow_nothing() {
        let (buckets, rate) = (Buckets::new(), Rate::new(1, Duration::MAX).expect("a rate"));
        let start = Instant::now();
        buckets.spend("ada", rate, u64::MAX, start);
        buckets.spend("ada", rate, u64::MAX, start + seconds(1 << 40));
        assert_eq!(Rate::new(0, seconds(1)), None);
        assert_eq!(Rate::new(1, Duration::ZERO), None);
        // More in a nanosecond than there are nanoseconds.
        let fast = Rate::new(u64::MAX, Duration::from_nanos(1)).expect("a rate");
        assert_eq!(buckets.take("bob", fast, start), Ok(()));
    }

    #[test]
    fn memory_is_flat_however_many_keys_come() {
        let (buckets, rate) = (Buckets::new(), Rate::per_minute(10));
        let start = Instant::now();
        for address in 0..1_000_000_u32 {
            assert_eq!(buckets.take(address, rate, start), Ok(()));
        }
        assert!(buckets.len() <= MAX_KEYS, "{} keys", buckets.len());
        let kept = buckets.lock().capacity();
        assert!(kept <= 2 * MAX_KEYS, "room for {kept} keys");
    }

    #[test]
    fn nobody_is_forgotten_for_the_sake_of_those_with_less_to_tell() {
        let (buckets, rate) = (Buckets::with_most(1_000), Rate::per_minute(10));
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(buckets.take(u32::MAX, rate, start), Ok(()));
        }
        // He has as many other addresses as he likes, and asks nine times from each.
        for address in 0..100_000 {
            for _ in 0..9 {
                assert_eq!(buckets.take(address, rate, start), Ok(()));
            }
        }
        assert_eq!(buckets.take(u32::MAX, rate, start), Err(seconds(6)));
        assert!(buckets.len() <= 1_000);
    }

    #[test]
    fn full_buckets_are_forgotten_first() {
        let (buckets, rate) = (Buckets::with_most(100), Rate::per_minute(60));
        let start = Instant::now();
        for key in 0..100 {
            assert_eq!(buckets.take(key, rate, start), Ok(()));
        }
        let later = start + seconds(2);
        assert_eq!(buckets.take(1_000, rate, later), Ok(()));
        assert_eq!(buckets.len(), 1, "the others were full again");
    }

    proptest! {
        /// Against a bucket that is filled drop by drop.
        #[test]
        fn the_wait_that_is_told_is_true_and_no_longer_than_needed(
            count in 1_u64..50,
            period_ms in 1_u64..100_000,
            steps in prop::collection::vec((0_u64..5_000, 1_u64..4), 1..60),
        ) {
            let rate = Rate::new(count, Duration::from_millis(period_ms)).expect("a rate");
            let buckets = Buckets::new();
            let mut now = Instant::now();
            for (pause, tries) in steps {
                now += Duration::from_millis(pause);
                for _ in 0..tries {
                    if let Err(wait) = buckets.take((), rate, now) {
                        prop_assert!(wait <= Duration::from_millis(period_ms));
                        prop_assert!(buckets.look(&(), rate, now + wait).is_ok());
                        let early = wait - Duration::from_nanos(1);
                        prop_assert!(buckets.look(&(), rate, now + early).is_err());
                    }
                }
            }
        }

        #[test]
        fn no_period_ever_sees_more_than_twice_the_count(
            count in 1_u64..20,
            steps in prop::collection::vec(0_u64..300, 1..300),
        ) {
            let period = Duration::from_secs(1);
            let rate = Rate::new(count, period).expect("a rate");
            let buckets = Buckets::new();
            let mut now = Instant::now();
            let mut taken: Vec<Instant> = Vec::new();
            for pause in steps {
                now += Duration::from_millis(pause);
                while buckets.take((), rate, now).is_ok() {
                    taken.push(now);
                }
                let within = taken.iter().filter(|at| now - **at < period).count();
                prop_assert!(within as u64 <= 2 * count);
            }
        }
    }
}
