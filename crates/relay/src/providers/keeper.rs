//! Keeps the keys of one provider fresh.
//!
//! Invariant: one fetch at a time, whoever asks for it; those who ask wait for that one, for a bounded time. Tokens cause
//! no more than one fetch in `refetch_interval`, beside those that are due anyway. Keys once fetched stay until others come, however long
//! the provider is away.
//!
//! ```text
//!              due, or a token with an unknown key          answered, failed or timed out
//!   resting ─────────────────────────────────────▶ wanted ─────────────────────────────────▶ resting
//! ```

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use c2l_auth::{ProviderId, Verifier};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Provider,
    fetch::{FetchError, fetch},
    sign_in::Endpoints,
};
use crate::metrics::Metrics;

/// For everything that one fetch takes. Who waits for it is answered within 5 s.
const FETCH_LIMIT: Duration = Duration::from_secs(4);
/// For a request that waits for a fetch.
const WAIT_LIMIT: Duration = Duration::from_millis(4500);
/// Most requests that wait for the keys of one provider; one more is answered at once.
const MAX_WAITING: usize = 1024;
/// How long keys are fresh when the provider does not say.
const USUAL_AGE: Duration = Duration::from_secs(10 * 60);
/// What it says counts within these: not a fetch a second, and not a withdrawn key for a day.
const MIN_AGE: Duration = Duration::from_secs(60);
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// After failures, between attempts: from this…
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// …to this.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Where the fetching stands.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// A fetch is wanted or under way.
    is_wanted: bool,
    /// Before this, a token does not make it wanted: another one has, not long ago.
    rests_until: Instant,
    finished: u64,
    is_reachable: bool,
}

/// The side that requests ask.
#[derive(Clone, Debug)]
pub(super) struct Door {
    progress: Arc<watch::Sender<Progress>>,
    endpoints: Arc<watch::Sender<Option<Endpoints>>>,
    waiting: Arc<Semaphore>,
    refetch_interval: Duration,
}

impl Door {
    /// A first fetch is wanted from the start.
    pub(super) fn new(refetch_interval: Duration) -> Self {
        let progress = Progress {
            is_wanted: true,
            rests_until: Instant::now(),
            finished: 0,
            is_reachable: true,
        };
        Self {
            progress: Arc::new(watch::Sender::new(progress)),
            endpoints: Arc::default(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            refetch_interval,
        }
    }

    /// Waits for a fetch that is under way, or for a new one if it is time for one. False, at once, when it is not, and
    /// when too many wait; false after some seconds when none has ended. Dropping the future leaves the fetch to others.
    pub(super) async fn refetched(&self) -> bool {
        let Ok(_place) = self.waiting.try_acquire() else {
            return false;
        };
        let mut progress = self.progress.subscribe();
        let before = progress.borrow_and_update().finished;
        let now = Instant::now();
        self.progress.send_if_modified(|progress| {
            let begins = !progress.is_wanted && now >= progress.rests_until;
            if begins {
                progress.is_wanted = true;
                progress.rests_until = now + self.refetch_interval;
            }
            begins
        });
        let (is_wanted, finished) = {
            let now = progress.borrow();
            (now.is_wanted, now.finished)
        };
        if !is_wanted {
            return finished != before;
        }
        let ended = progress.wait_for(|progress| progress.finished != before);
        matches!(timeout(WAIT_LIMIT, ended).await, Ok(Ok(_)))
    }

    /// Where somebody signs in at the provider, as far as it has said so.
    pub(super) fn endpoints(&self) -> Option<Endpoints> {
        self.endpoints.borrow().clone()
    }

    /// Whether the last attempt succeeded.
    pub(super) fn is_reachable(&self) -> bool {
        self.progress.borrow().is_reachable
    }
}

/// The side that fetches.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) provider: Provider,
    pub(super) id: ProviderId,
    pub(super) verifier: Arc<Verifier>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) door: Door,
}

impl Keeper {
    /// Fetches when keys are due and when they are wanted, until `closing`.
    pub(super) async fn run(self, closing: CancellationToken) {
        let mut pauses = pauses();
        let mut due = Instant::now();
        loop {
            let step = async {
                self.wanted(due).await;
                let fetched = timeout(FETCH_LIMIT, Box::pin(fetch(&self.provider))).await;
                fetched.unwrap_or(Err(FetchError::TimedOut(FETCH_LIMIT)))
            };
            let Some(fetched) = closing.run_until_cancelled(step).await else {
                return;
            };
            let used = fetched.and_then(|fetched| {
                self.publish(&fetched.jwks)?;
                self.door.endpoints.send_replace(fetched.endpoints);
                Ok(age(fetched.max_age))
            });
            let pause = used.as_ref().ok().copied();
            if pause.is_some() {
                pauses = self::pauses();
            }
            let pause = pause.or_else(|| pauses.next()).unwrap_or(MAX_PAUSE);
            let pause = shortened(pause, getrandom::u32().unwrap_or_default());
            due = Instant::now() + pause;
            self.note(used.err(), pause);
        }
    }

    /// Ends when a fetch is wanted, at the latest when it is due.
    async fn wanted(&self, due: Instant) {
        let mut progress = self.door.progress.subscribe();
        tokio::select! {
            () = sleep_until(due) => {}
            _asked = progress.wait_for(|progress| progress.is_wanted) => {}
        }
        let is_news = |progress: &mut Progress| !std::mem::replace(&mut progress.is_wanted, true);
        self.door.progress.send_if_modified(is_news);
    }

    fn publish(&self, jwks: &[u8]) -> Result<(), FetchError> {
        let published = self.verifier.publish(self.id, jwks);
        let published = published.map_err(FetchError::Keys)?;
        let (issuer, keys, unusable) =
            (&self.provider.issuer, published.usable, published.unusable);
        if published.added + published.removed > 0 || !self.door.is_reachable() {
            let (added, removed) = (published.added, published.removed);
            tracing::info!(%issuer, keys, unusable, added, removed, "keys of an issuer fetched");
        } else {
            tracing::debug!(%issuer, keys, unusable, "keys of an issuer fetched; nothing new");
        }
        Ok(())
    }

    /// Counts and logs how it went, and lets go on whoever waits.
    fn note(&self, failure: Option<FetchError>, pause: Duration) {
        let (was_reachable, is_reachable) = (self.door.is_reachable(), failure.is_none());
        let counter = match &failure {
            None => &self.metrics.key_fetches,
            Some(_) => &self.metrics.key_fetches_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match (was_reachable, is_reachable) {
            (true, false) => self
                .metrics
                .issuers_unreachable
                .fetch_add(1, Ordering::Relaxed),
            (false, true) => self
                .metrics
                .issuers_unreachable
                .fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
        if let Some(failure) = failure {
            self.complain(&failure, pause, was_reachable);
        }
        self.door.progress.send_modify(|progress| {
            progress.is_wanted = false;
            progress.finished += 1;
            progress.is_reachable = is_reachable;
        });
    }

    /// Once aloud, then quietly: what is known goes on counting.
    fn complain(&self, failure: &FetchError, pause: Duration, is_new: bool) {
        let issuer = &self.provider.issuer;
        let why = chain(failure);
        if is_new {
            tracing::warn!(%issuer, why, again_in = ?pause, "keys of an issuer cannot be fetched; those known stay in use");
        } else {
            tracing::debug!(%issuer, why, again_in = ?pause, "keys of an issuer still cannot be fetched");
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// How long keys that came with this `max-age` are taken for fresh.
fn age(max_age: Option<Duration>) -> Duration {
    max_age.unwrap_or(USUAL_AGE).clamp(MIN_AGE, MAX_AGE)
}

/// 1, 2, 4 … 60 s, without an end.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .with_factor(2.0)
        .without_max_times()
        .build()
}

/// Three quarters of it to all of it, so that many relays do not come at once. `random` is uniform over all its values.
fn shortened(pause: Duration, random: u32) -> Duration {
    pause.mul_f64(0.75 + 0.25 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_again_before_they_are_stale_and_never_all_the_time() {
        let seconds = |said: Option<u64>| age(said.map(Duration::from_secs)).as_secs();
        assert_eq!(seconds(None), 600);
        assert_eq!(seconds(Some(0)), 60);
        assert_eq!(seconds(Some(300)), 300);
        assert_eq!(seconds(Some(u64::MAX)), 3600);
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            let pause = shortened(USUAL_AGE, random);
            assert!((450..=600).contains(&pause.as_secs()), "{pause:?}");
        }
    }

    #[test]
    fn a_provider_that_is_away_is_asked_less_and_less_and_for_ever() {
        let seconds: Vec<_> = pauses().take(9).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses().nth(1000), Some(MAX_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn jwt_17_those_who_ask_share_one_fetch_and_then_it_rests() {
        let door = Door::new(Duration::from_secs(10));
        let crowd = || (0..50).map(|_| ask(&door)).collect::<Vec<_>>();
        // The first fetch is the relay's own; the second is the one that a token may cause.
        for _fetch in 0..2 {
            let waiting = crowd();
            are_waiting(&door, waiting.len()).await;
            assert!(door.progress.borrow().is_wanted);
            finish(&door);
            for waiter in waiting {
                assert!(waiter.await.expect("an answer"));
            }
        }
        let started = Instant::now();
        assert!(!door.refetched().await, "it rests");
        assert_eq!(started.elapsed(), Duration::ZERO, "and says so at once");

        tokio::time::advance(Duration::from_secs(10)).await;
        let again = ask(&door);
        are_waiting(&door, 1).await;
        assert!(door.progress.borrow().is_wanted, "now it is time");
        finish(&door);
        assert!(again.await.expect("an answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn jwt_18_nobody_waits_longer_than_the_limit_and_not_too_many_wait() {
        let door = Door::new(Duration::ZERO);
        let started = Instant::now();
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| ask(&door)).collect();
        are_waiting(&door, MAX_WAITING).await;
        assert!(!door.refetched().await, "one too many");
        assert_eq!(started.elapsed(), Duration::ZERO);
        for waiter in waiting {
            assert!(!waiter.await.expect("an answer"));
        }
        assert_eq!(started.elapsed(), WAIT_LIMIT);
    }

    fn ask(door: &Door) -> tokio::task::JoinHandle<bool> {
        let door = door.clone();
        tokio::spawn(async move { door.refetched().await })
    }

    async fn are_waiting(door: &Door, count: usize) {
        while MAX_WAITING - door.waiting.available_permits() < count {
            tokio::task::yield_now().await;
        }
    }

    /// What the keeper does at the end of a fetch.
    fn finish(door: &Door) {
        door.progress.send_modify(|progress| {
            progress.is_wanted = false;
            progress.finished += 1;
        });
    }
}
