//! Agents that arrive together, a few at a time.
//!
//! Invariant: however many open a session at once, all else that is ready, such as a request of somebody whose agent is here, has
//! its turn between one handful of them and the next. Nobody's turn depends on anything outside of the relay.

use tokio::{sync::Semaphore, task::yield_now};

/// Most that go on within one round of the scheduler. One is 150 µs of the relay's work.
const HANDFUL: usize = 8;

/// Where they wait.
#[derive(Debug)]
pub(crate) struct Arrivals(Semaphore);

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(HANDFUL))
    }

    /// Waits for a turn, first come, first served; alone, that is one round. Dropping the future gives the place up.
    pub(crate) async fn turn(&self) {
        let place = self.0.acquire().await;
        // Held for a round and not for what follows, which may wait for an issuer's keys.
        yield_now().await;
        drop(place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn what_is_ready_has_its_turn_between_a_handful_and_the_next() {
        const AGENTS: usize = 1000;
        let (arrivals, here) = (Arc::new(Arrivals::new()), Arc::<AtomicUsize>::default());
        for _ in 0..AGENTS {
            let (arrivals, here) = (Arc::clone(&arrivals), Arc::clone(&here));
            tokio::spawn(async move {
                arrivals.turn().await;
                here.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut last = 0;
        while last < AGENTS {
            yield_now().await;
            let now = here.load(Ordering::Relaxed);
            assert!(now - last <= HANDFUL, "{} at once", now - last);
            last = now;
        }
    }
}
