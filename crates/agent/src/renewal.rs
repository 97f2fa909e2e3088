//! A fresh token in time, so that a session goes on when the present one runs out.
//!
//! Invariant: the agent reads no token. The relay says how long the present one holds; the source is asked before that
//! is over, and again until it gives another one.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::{config::Config, error::Setback, supervisor::fetch_token};

/// Between two looks at a source that has nothing new yet.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));

type Fetch = Pin<Box<dyn Future<Output = Result<String, Setback>> + Send>>;

/// When to ask the source of tokens, and what it was asked.
pub(crate) struct Renewal {
    present: String,
    expires_at: Option<Instant>,
    look_at: Option<Instant>,
    fetching: Option<Fetch>,
}

impl Renewal {
    /// For a session that was opened with this token. Nothing happens until the relay says how long it holds.
    pub(crate) fn new(present: &str) -> Self {
        Self {
            present: present.to_owned(),
            expires_at: None,
            look_at: None,
            fetching: None,
        }
    }

    /// The present token holds so much longer.
    pub(crate) fn holds_for(&mut self, left: Duration, now: Instant) {
        // A year is as good as never, and fits the clock.
        let left = left.min(Duration::from_secs(365 * 24 * 3600));
        self.expires_at = Some(now + left);
        self.look_at = Some(now + left * 3 / 4);
    }

    /// Waits for a token other than the present one. May be dropped at any point: what is under way stays in `self`.
    pub(crate) async fn next(&mut self, config: &Config) -> String {
        loop {
            let Some(fetching) = &mut self.fetching else {
                match self.look_at {
                    None => std::future::pending().await,
                    Some(at) => sleep_until(at).await,
                }
                let config = config.clone();
                self.fetching = Some(Box::pin(async move { fetch_token(&config).await }));
                continue;
            };
            let fetched = fetching.await;
            self.fetching = None;
            let now = Instant::now();
            let left = self
                .expires_at
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            self.look_at = Some(now + (left / 4).clamp(LOOK_AGAIN.0, LOOK_AGAIN.1));
            match fetched {
                Ok(token) if token != self.present => {
                    self.present.clone_from(&token);
                    return token;
                }
                Ok(_) => {}
                Err(setback) => warn!(%setback, ?left, "no fresh token yet"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_source_is_asked_before_the_token_runs_out_and_until_it_has_another() {
        let asked = Arc::new(AtomicUsize::new(0));
        let mut config = crate::tests::config();
        let count = Arc::clone(&asked);
        config.token = Arc::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                Ok(if number < 2 {
                    "old".to_owned()
                } else {
                    "new".to_owned()
                })
            })
        });
        let mut renewal = Renewal::new("old");
        let began = Instant::now();
        renewal.holds_for(Duration::from_secs(400), began);
        assert_eq!(renewal.next(&config).await, "new");
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        // At three quarters, then a quarter of what is left each time.
        assert_eq!(began.elapsed().as_secs(), 300 + 25 + 18);
    }
}
