//! What the agent is doing, for a status line and for tests that wait for it.
//!
//! Invariant: one enum with its data inside; whoever watches sees the newest state and never holds the agent up.
//!
//! ```text
//!      ┌────────────────────────────────────┐
//!      ▼            welcome                 │
//! Connecting ───────────────────▶ Open ─────┤ relay drained
//!      │  ▲                        │        │
//!      │  └──── BackingOff ◀───────┤ lost   │
//!      │             ▲             │        │
//!      └─────────────┘             ▼        │
//!        failed                 Draining ───┘      shutdown or refusal, from anywhere: Closed
//! ```

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::sync::watch;

use crate::dialer::Way;

/// What an agent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Dialing and greeting.
    Connecting {
        /// Counts from 1; starts over once a session was open.
        attempt: u32,
    },
    /// Requests may come.
    Open {
        /// The relay's name for the session, the same as in its log.
        session_id: String,
        /// When the relay welcomed us.
        since: Instant,
        /// How the relay is reached.
        way: Way,
    },
    /// Waiting before the next attempt.
    BackingOff {
        /// When it comes.
        until: Instant,
        /// Why the last one failed, one sentence without secrets.
        last_error: String,
    },
    /// No new requests; running ones finish.
    Draining,
    /// Over. The result of the run says why.
    Closed,
}

/// What an agent has done so far, beside what it is doing now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Requests at the upstream, also those that only finish their load.
    pub requests_now: usize,
    /// Requests taken on since the start, those of now among them.
    pub requests_total: u64,
    /// The newest reason for being without a session, or for not having reached the upstream, if there was one.
    pub last_error: Option<LastError>,
}

/// What went wrong, and when that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// One sentence without secrets. Parts of it may be the words of a relay or a proxy.
    pub message: Arc<str>,
    /// By the wall clock.
    pub at: SystemTime,
}

/// One request under way; dropping it counts it as over. Who watches is told when the first one begins and when the last
/// one ends; what is between is counted, and there for whoever looks.
#[derive(Debug)]
pub(crate) struct Underway(watch::Sender<Activity>);

impl Underway {
    /// One more, unless there are as many as may be.
    pub(crate) fn new(activity: &watch::Sender<Activity>, most: usize) -> Option<Self> {
        let mut is_taken = false;
        activity.send_if_modified(|activity| {
            is_taken = activity.requests_now < most;
            if is_taken {
                activity.requests_now += 1;
                activity.requests_total += 1;
            }
            is_taken && activity.requests_now == 1
        });
        is_taken.then(|| Self(activity.clone()))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_if_modified(|activity| {
            activity.requests_now -= 1;
            activity.requests_now == 0
        });
    }
}

/// Notes what went wrong.
pub(crate) fn note_error(activity: &watch::Sender<Activity>, message: &str) {
    activity.send_modify(|activity| {
        activity.last_error = Some(LastError {
            message: message.into(),
            at: SystemTime::now(),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_while_and_after_they_run() {
        let (activity, watch) = watch::channel(Activity::default());
        let counts = || {
            let activity = watch.borrow();
            (activity.requests_now, activity.requests_total)
        };
        let mut told = activity.subscribe();
        let mut is_told = || {
            let is_told = told.has_changed().unwrap();
            told.mark_unchanged();
            is_told
        };
        let first = Underway::new(&activity, 2);
        assert!(is_told());
        let second = Underway::new(&activity, 2);
        assert_eq!((counts(), is_told()), ((2, 2), false));
        assert!(Underway::new(&activity, 2).is_none());
        assert_eq!((counts(), is_told()), ((2, 2), false));
        drop(first);
        assert_eq!((counts(), is_told()), ((1, 2), false));
        drop(second);
        assert_eq!((counts(), is_told()), ((0, 2), true));
    }
}
