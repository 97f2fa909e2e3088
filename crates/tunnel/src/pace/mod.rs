//! How much of bulk may be under way, so that what is small does not wait behind it.
//!
//! What has been written goes out before everything that becomes ready later, and over a home's uplink most of it waits:
//! in HTTP/2, in the system, in a router that no socket option reaches. The peer says marks back at once, so what was
//! written and not said back is what is under way, wherever it lies. From the marks come how fast the line is (the best
//! of the last ten round trips) and how long an empty one takes (the least of ten seconds). Bulk fills the line and
//! [`slack`] beyond, and no more; what is small is counted and never held back.
//!
//! Invariant: a pure state machine; the time is an argument. Bulk is held back only while a mark is under way that has
//! waited for less than [`PATIENCE`], so an answer or that moment lets it go on. At most [`MOST_MARKS`] are remembered.

mod limit;
mod rate;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub(crate) use self::limit::MOST_MESSAGE_BYTES;
use self::limit::{MESSAGE_TIME, slack};
use self::rate::Rate;
use crate::error::ProtocolError;

/// Most bytes between two marks.
const MOST_BETWEEN_MARKS: u64 = 4 * 1024 * 1024;
/// How long the least round trip is believed. Then the line is drained for one, to see how long an empty one takes.
const LEAST_TRIP_HOLDS: Duration = Duration::from_secs(10);
/// Round trips for which a rate is believed; half of them at least.
const RATE_HOLDS_TRIPS: u32 = 10;
/// A mark without an answer for so long holds nothing back any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rounds after a drain or a rest in which the line fills up again.
const VOID_ROUNDS: u8 = 3;
/// Marks under way at once.
const MOST_MARKS: usize = 256;

/// One direction of one session.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The peer says marks back. Until it has told so, nothing is marked or held back.
    is_answered: bool,
    /// Bytes written.
    sent: u64,
    /// Of those, up to the newest mark, and up to the newest that was said back.
    marked: u64,
    seen: u64,
    seen_at: Instant,
    seen_written_at: Instant,
    /// Behind the newest bulk.
    bulk_until: u64,
    /// Where bulk began after a rest.
    began: u64,
    /// Up to here there was too little to say: how fast it arrives tells of this side and not of the line.
    short_until: u64,
    marks: VecDeque<Mark>,
    rate: Rate,
    least: Option<Least>,
    round: Round,
    /// Bulk waits and may not go.
    is_held: bool,
    /// Something was seen to wait for longer than the slack: the line has been full.
    is_filled: bool,
    /// Nothing waited on the way though bulk was held back: the line can do more than is known, or its round trips vary by
    /// more than the slack. An eighth more may be under way.
    is_growing: bool,
    is_draining: bool,
}

/// A mark under way, and what had been said back when it was written.
#[derive(Debug)]
struct Mark {
    /// Bytes before it.
    at: u64,
    written_at: Instant,
    seen: u64,
    seen_at: Instant,
    seen_written_at: Instant,
    is_short: bool,
    /// Little enough was before it that nothing of it waited.
    is_free: bool,
}

/// The least round trip.
#[derive(Clone, Copy, Debug)]
struct Least {
    trip: Duration,
    at: Instant,
}

/// From a byte's writing to its mark's answer.
#[derive(Debug)]
struct Round {
    until: u64,
    /// The least that anything waited.
    waited: Duration,
    was_held: bool,
    /// After the line was drained or at rest: for so many rounds that nothing waits there says nothing.
    void: u8,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            is_answered: false,
            sent: 0,
            marked: 0,
            seen: 0,
            seen_at: now,
            seen_written_at: now,
            bulk_until: 0,
            began: 0,
            short_until: 0,
            marks: VecDeque::new(),
            rate: Rate::new(now),
            least: None,
            round: Round {
                until: 0,
                waited: Duration::MAX,
                was_held: false,
                void: 0,
            },
            is_held: false,
            is_filled: false,
            is_growing: false,
            is_draining: false,
        }
    }

    /// The peer has told that it says marks back.
    pub(crate) fn begin(&mut self) {
        self.is_answered = true;
    }

    /// True when the peer says marks back.
    pub(crate) fn is_answered(&self) -> bool {
        self.is_answered
    }

    fn under_way(&self) -> u64 {
        self.sent - self.seen
    }

    /// True when bulk may go into the next message.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        let Some(oldest) = self.marks.front() else {
            return true;
        };
        // What is small is never held back; it alone must not keep bulk out.
        self.under_way() < self.limit()
            || self.is_bulk_gone()
            || now >= oldest.written_at + PATIENCE
    }

    /// Nothing of bulk is under way.
    fn is_bulk_gone(&self) -> bool {
        self.seen >= self.bulk_until
    }

    /// A message was written with so many bytes, with or without bulk; there is more bulk to say that waits, or none.
    /// Returns the mark to put into it.
    pub(crate) fn wrote(
        &mut self,
        bytes: usize,
        has_bulk: bool,
        is_waiting: bool,
        now: Instant,
    ) -> Option<u64> {
        if !self.is_answered {
            return None;
        }
        if self.marks.is_empty() {
            // What was under way before is not known to be any more.
            (self.seen, self.began) = (self.sent, self.sent);
            (self.seen_at, self.seen_written_at) = (now, now);
        }
        let is_free = self.is_bulk_gone() || self.under_way() <= self.limit();
        self.sent += bytes as u64;
        if has_bulk {
            self.bulk_until = self.sent;
        }
        let is_due = (has_bulk || is_waiting) && self.is_mark_due();
        let mark = is_due.then(|| self.set_mark(is_free, now));
        let is_open = self.is_open(now);
        self.is_held = is_waiting && !is_open;
        self.round.was_held |= self.is_held;
        if !is_waiting && is_open {
            self.short_until = self.sent;
        }
        mark
    }

    fn is_mark_due(&self) -> bool {
        let most = self.rate.over(MESSAGE_TIME).min(MOST_BETWEEN_MARKS);
        let since = self.sent - self.marked;
        since > 0
            && self.marks.len() < MOST_MARKS
            && (self.is_draining || since >= most.max(self.message_bytes() as u64 / 2))
    }

    fn set_mark(&mut self, is_free: bool, now: Instant) -> u64 {
        let is_alone = self.marks.is_empty();
        self.marks.push_back(Mark {
            at: self.sent,
            written_at: now,
            seen: self.seen,
            seen_at: self.seen_at,
            seen_written_at: self.seen_written_at,
            // While the line fills up, as much comes as was let go.
            is_short: is_alone
                || self.seen < self.short_until
                || self.least.is_some_and(|least| self.is_filling(least.trip)),
            is_free: is_alone || (self.is_draining && is_free),
        });
        self.marked = self.sent;
        self.sent
    }

    /// The peer has said this mark back. True when bulk waited for it and may go on.
    ///
    /// # Errors
    /// When it was never set.
    pub(crate) fn saw(&mut self, seen: u64, now: Instant) -> Result<bool, ProtocolError> {
        if seen > self.marked {
            return Err(ProtocolError::BadField { field: "seen" });
        }
        let mut newest = None;
        while self.marks.front().is_some_and(|mark| mark.at <= seen) {
            newest = self.marks.pop_front();
        }
        let Some(mark) = newest else {
            return Ok(false); // said already
        };
        (self.seen, self.seen_at, self.seen_written_at) = (mark.at, now, mark.written_at);
        let trip = self.take_trip(&mark, now);
        self.take_rate(&mark, trip, now);
        self.end_round(&mark, trip);
        Ok(self.is_held && self.is_open(now))
    }

    /// Takes in how long the mark took. Returns how long an empty line takes.
    fn take_trip(&mut self, mark: &Mark, now: Instant) -> Duration {
        let trip = now.saturating_duration_since(mark.written_at);
        let is_old = self
            .least
            .is_some_and(|least| now.saturating_duration_since(least.at) > LEAST_TRIP_HOLDS);
        let least = self
            .least
            .filter(|least| least.trip < trip && !(mark.is_free && (is_old || self.is_draining)));
        let waited = least.map_or(Duration::ZERO, |least| trip - least.trip);
        self.round.waited = self.round.waited.min(waited);
        let least = least.unwrap_or(Least { trip, at: now });
        // Behind nothing of ours it waited for something else.
        self.is_filled |= !mark.is_free && waited > slack(least.trip);
        if self.is_draining && least.at == now {
            self.began = self.seen.saturating_sub(self.under_way()); // from what is under way now
        }
        self.is_draining = (self.is_draining || is_old) && least.at != now;
        self.least = Some(least);
        least.trip
    }

    /// Takes in how fast bytes have come since the mark before.
    fn take_rate(&mut self, mark: &Mark, trip: Duration, now: Instant) {
        let came_in = now.saturating_duration_since(mark.seen_at);
        let written_in = mark
            .written_at
            .saturating_duration_since(mark.seen_written_at);
        let nanos = came_in.max(written_in).as_nanos().max(1000);
        let rate = u128::from(mark.at - mark.seen) * 1_000_000_000 / nanos;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if !mark.is_short {
            let holds = (trip + slack(trip)) * RATE_HOLDS_TRIPS;
            self.rate.take(rate, now, holds);
        } else {
            self.rate.raise(rate);
        }
    }

    fn end_round(&mut self, mark: &Mark, trip: Duration) {
        if mark.at < self.round.until {
            return;
        }
        let is_free = self.round.waited < slack(trip) / 2;
        let void = match self.is_filling(trip) {
            true => VOID_ROUNDS,
            false => self.round.void.saturating_sub(1),
        };
        self.is_growing = self.is_filled && self.round.was_held && is_free && void == 0;
        self.round = Round {
            until: self.sent,
            waited: Duration::MAX,
            was_held: self.is_held,
            void,
        };
    }

    /// When bulk that waits goes on without an answer.
    pub(crate) fn opens_at(&self) -> Option<Instant> {
        let oldest = self.marks.front().filter(|_| self.is_held)?;
        Some(oldest.written_at + PATIENCE)
    }

    /// Gives back what a busy session needed.
    pub(crate) fn rest(&mut self) {
        if self.marks.is_empty() {
            self.marks = VecDeque::new();
        }
    }
}
