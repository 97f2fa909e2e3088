//! Time: heartbeats, silence, a peer that is stuck, the limits of streams, the end of a grace.
//!
//! Invariant: nothing here looks at a clock; the moment is an argument, and the next one worth a look is the answer.

use super::*;

/// Intervals of silence after which the peer counts as gone.
const SILENT_INTERVALS: u32 = 2;
/// Whoever looks so long after silence was due did not run, and what the peer said meanwhile may lie unread.
const LATE: Duration = Duration::from_millis(50);
/// Of an interval, how long it is waited then: reading what lies there takes milliseconds.
const DOUBT_PARTS: u32 = 8;
/// Heartbeats in a row that tell the same count of ours, after which the peer counts as stuck. Between the first and the
/// third lie two intervals in which it heard nothing, however late they come: by the rule above it ought to have left.
const STUCK_BEATS: u32 = 3;

impl Session {
    /// Does what is due: heartbeats, time limits, the end of a grace. Returns when to call again; `None` when closed.
    /// The waker is called when that moment moves closer or the session closes.
    pub fn tick(&mut self, now: Instant, waker: &Waker) -> Option<Instant> {
        let silent_after = self.liveness.interval.saturating_mul(SILENT_INTERVALS);
        let silent_at = after(self.liveness.heard_at, silent_after);
        match self.phase {
            Phase::Closed(_) => return None,
            Phase::Greeting { until } if now >= until => {
                let since = until.saturating_duration_since(self.liveness.heard_at);
                self.close(CloseReason::NoGreeting(since));
                return None;
            }
            Phase::Draining { until, .. } if now >= until => {
                self.close(CloseReason::Drained);
                return None;
            }
            Phase::Greeting { until } => {
                self.driver = Some(waker.clone());
                self.wake_at = until;
                return Some(until);
            }
            Phase::Open | Phase::Draining { .. } => {}
        }
        let silent_at = self.certain_from(silent_at, now);
        if now >= silent_at {
            self.close(CloseReason::PeerSilent(silent_after));
            return None;
        }
        if now >= self.liveness.next_beat_at {
            self.beat(now);
        }
        let mut next = self.liveness.next_beat_at.min(silent_at);
        if let Phase::Draining { until, .. } = self.phase {
            next = next.min(until);
        }
        match self.pace.opens_at() {
            Some(at) if now >= at => self.wake_writer(),
            Some(at) => next = next.min(at),
            None => {}
        }
        // This is called with each message: not each time are all streams looked at.
        if let Some(limits) = self.stream_limits
            && self.expiry_at.is_some_and(|at| now >= at)
        {
            self.expiry_at = self.expire_streams(&limits, now);
            if matches!(self.phase, Phase::Closed(_)) {
                return None; // the resets of those that expired were too many
            }
        }
        next = next.min(self.expiry_at.unwrap_or(next));
        self.driver = Some(waker.clone());
        self.wake_at = next;
        Some(next)
    }

    /// When the silence that is due at `silent_at` is one for certain: then, or a moment later where this side itself stood
    /// still over it.
    fn certain_from(&mut self, silent_at: Instant, now: Instant) -> Instant {
        if now < silent_at {
            self.liveness.doubted_until = None;
            return silent_at;
        }
        let is_late = now.saturating_duration_since(silent_at) >= LATE;
        let doubt = || is_late.then(|| after(now, self.liveness.interval / DOUBT_PARTS));
        let until = self.liveness.doubted_until.or_else(doubt);
        self.liveness.doubted_until = until;
        until.unwrap_or(silent_at)
    }

    /// Bytes of the peer's came at this moment, whole message or not. On a slow line one message takes longer than
    /// silence may: its pieces are signs of life as well. A moment that is not new says nothing.
    pub fn heard(&mut self, at: Instant) {
        if at > self.liveness.heard_at && !matches!(self.phase, Phase::Greeting { .. }) {
            self.liveness.heard_at = at;
            self.liveness.received += 1;
        }
    }

    /// Takes in what the peer counts of ours. Each heartbeat of this side alone should move that count.
    pub(super) fn note_told(&mut self, received: u64, now: Instant) {
        let told = &mut self.liveness.told;
        if received == 0 || received != told.received {
            *told = Told {
                received,
                times: 1,
                since: now,
            };
            return;
        }
        told.times = told.times.saturating_add(1);
        let stuck_for = now.saturating_duration_since(told.since);
        let limit = self.liveness.interval.saturating_mul(SILENT_INTERVALS);
        if told.times >= STUCK_BEATS && stuck_for >= limit {
            self.close(CloseReason::PeerStuck(stuck_for));
        }
    }

    fn beat(&mut self, now: Instant) {
        self.liveness.next_beat_at = after(now, self.liveness.interval);
        if self.streams.is_empty() {
            self.streams.shrink_to_fit(); // an idle session does not keep what a busy one needed
            self.pace.rest();
        }
        let is_waiting = self
            .control
            .iter()
            .any(|control| matches!(control, Control::Heartbeat { .. }));
        if !is_waiting {
            self.liveness.sent += 1;
            let beat = Control::Heartbeat {
                sequence: self.liveness.sent,
                acknowledged: self.liveness.heard,
                received: self.liveness.received,
            };
            self.say(beat);
        }
    }

    /// A stream's time may be up by then: it has begun, or has another limit from here on. What moves only has more.
    pub(super) fn expires(&mut self, due: Option<Instant>) {
        self.expiry_at = self.expiry_at.into_iter().chain(due).min();
        self.wake_driver_before(due);
    }

    /// Fails the streams whose time is up; returns when the next one's is.
    fn expire_streams(&mut self, limits: &StreamLimits, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut expired = Vec::new();
        for (id, stream) in &self.streams {
            if stream.is_over() && stream.incoming.body.is_empty() {
                continue;
            }
            let limit = match stream.incoming.state {
                Direction::Head => limits.first_byte,
                Direction::Body | Direction::Ended => limits.gap,
            };
            let due = after(stream.moved_at, limit);
            if due <= now {
                expired.push((*id, limit));
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        // Resets go out in order, whatever order the map has.
        expired.sort_unstable_by_key(|(id, _)| *id);
        for (id, limit) in expired {
            self.expire(id, limit);
        }
        next
    }

    fn expire(&mut self, id: StreamId, limit: Duration) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let fault = timeout_fault(stream, limit);
        let is_known = stream.outgoing.is_head_written && !stream.is_over();
        // What waits for a caller who does not read is given up, too: it would be kept for nobody. An answer that had
        // arrived whole is torn by that, and must not look whole to its consumer.
        if !stream.incoming.body.is_empty() {
            stream.incoming.state = Direction::Body;
            stream.incoming.body.clear();
        }
        let is_detached = stream.is_detached;
        stream.fail(fault.clone());
        if is_known {
            self.queue_reset(id, fault);
        }
        if is_detached {
            self.forget(id);
        }
    }
}

fn timeout_fault(stream: &Stream, limit: Duration) -> Fault {
    let awaits_upload = stream.outgoing.state == Direction::Body
        && stream.outgoing.body.is_empty()
        && stream.capacity() > 0;
    match stream.incoming.state {
        Direction::Head if awaits_upload => Fault::new(
            Kind::Timeout,
            Origin::Caller,
            format!("the request body did not move for {limit:?} (limit: first byte)"),
        ),
        Direction::Head => Fault::new(
            Kind::Timeout,
            Origin::Upstream,
            format!("no answer within {limit:?} (limit: first byte)"),
        ),
        Direction::Body | Direction::Ended if !stream.incoming.body.is_empty() => Fault::new(
            Kind::Timeout,
            Origin::Caller,
            format!("the caller did not read for {limit:?} (limit: gap)"),
        ),
        Direction::Body | Direction::Ended => Fault::new(
            Kind::Timeout,
            Origin::Upstream,
            format!("the answer fell silent for {limit:?} (limit: gap)"),
        ),
    }
}
