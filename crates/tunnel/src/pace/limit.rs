//! How much may be under way, and in messages of what length: all that is decided from what was learned.
//!
//! Invariant: never less than two messages, and a mark comes with each, so one is under way while bulk waits.

use std::time::Duration;

use super::{Least, Pace};

/// Most body bytes of a message, however fast the line.
pub(crate) const MOST_MESSAGE_BYTES: usize = 128 * 1024;
/// The same, however slow: framing is below a percent of it.
const LEAST_MESSAGE_BYTES: usize = 4 * 1024;
/// Before anything was seen to wait: what a message may hold, and what may be under way.
const FIRST_MESSAGE_BYTES: usize = 8 * 1024;
const FIRST_UNDER_WAY: u64 = 32 * 1024;
/// What a message, and what lies between two marks, may take on the line.
pub(super) const MESSAGE_TIME: Duration = Duration::from_micros(2500);
/// What bulk may let wait on the way, at least.
const LEAST_SLACK: Duration = Duration::from_millis(10);

/// What bulk may let wait on the way: an eighth of a long round trip, so that a rate is learned in few of them.
pub(super) fn slack(trip: Duration) -> Duration {
    LEAST_SLACK.max(trip / 8)
}

impl Pace {
    /// Most body bytes of the next message.
    pub(crate) fn message_bytes(&self) -> usize {
        if !self.is_answered {
            return MOST_MESSAGE_BYTES;
        }
        let least = match self.is_filled {
            true => LEAST_MESSAGE_BYTES,
            false => FIRST_MESSAGE_BYTES,
        };
        let bytes = usize::try_from(self.rate.over(MESSAGE_TIME)).unwrap_or(usize::MAX);
        bytes.clamp(least, MOST_MESSAGE_BYTES)
    }

    /// How much may be under way before bulk waits.
    pub(super) fn limit(&self) -> u64 {
        let two_messages = 2 * self.message_bytes() as u64;
        let Some(Least { trip, .. }) = self.least else {
            return FIRST_UNDER_WAY;
        };
        if self.is_draining {
            return (self.rate.over(trip) / 2).max(two_messages);
        }
        if !self.is_filled {
            // Twofold with each round trip, as connections begin.
            return self
                .full(trip)
                .max(FIRST_UNDER_WAY + (self.seen - self.began));
        }
        self.full(trip).min(self.eased(trip)).max(two_messages)
    }

    /// What fills the line, and a little more.
    fn full(&self, trip: Duration) -> u64 {
        let full = self.rate.over(trip + slack(trip));
        let more = if self.is_growing { full / 8 } else { 0 };
        full.saturating_add(more)
    }

    /// After a rest the line is empty, and what fills it all at once would wait before its narrow end.
    fn eased(&self, trip: Duration) -> u64 {
        let first = self.rate.over(slack(trip) * 3 / 2);
        first.saturating_add(self.seen - self.began)
    }

    /// While the line fills up again, that nothing waits there says nothing of what it can do.
    pub(super) fn is_filling(&self, trip: Duration) -> bool {
        self.is_draining || (self.is_filled && self.eased(trip) < self.full(trip))
    }
}
