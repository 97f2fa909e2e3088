//! Toward the peer: what goes into the next message, and whose turn it is.
//!
//! Invariant: a batch holds what is ready and waits for nothing; control frames stand first, then resets and credit, then
//! streams in turn, those with little to say before bulk. Bulk goes only as far as [`Pace`] lets it.

use super::{streams::request_unread, *};
use crate::pace;

/// Most body bytes of one stream in one turn.
const MAX_TURN_BODY_BYTES: usize = 64 * 1024;
/// Most body bytes in one batch: two full turns, so that a token never waits behind more than that. Heads count, too,
/// which keeps a message far below the smallest limit that a welcome may set on it ([`wire::MIN_MESSAGE_BYTES`]).
const MAX_BATCH_BODY_BYTES: usize = 2 * MAX_TURN_BODY_BYTES;
/// What a stream with little to say has at most, mostly: a head, a piece of body, the end.
const FRAMES_A_TURN: usize = 3;
const _: () = assert!(MAX_BATCH_BODY_BYTES == pace::MOST_MESSAGE_BYTES);

impl Session {
    /// Everything that is ready now and may go, or `None` when the session is closed. Never waits to fill a batch.
    pub fn poll_transmit(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Poll::Ready(None);
        }
        let batch = self.next_batch(now);
        if batch.is_empty() {
            self.writer = Some(cx.waker().clone());
            self.wake_driver_before(self.pace.opens_at());
            return Poll::Pending;
        }
        self.end_if_drained();
        Poll::Ready(Some(batch))
    }

    /// True while the task that waits in [`Self::poll_transmit`] is this one, and was not called since.
    pub fn is_silent(&self, cx: &Context<'_>) -> bool {
        let waiting = self.writer.as_ref();
        waiting.is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Control frames first, then resets and credit, then streams in turn.
    fn next_batch(&mut self, now: Instant) -> Batch {
        let mut batch = Batch {
            control: std::mem::take(&mut self.control).into(), // with its memory: it is seldom used
            frames: Vec::with_capacity(
                MAX_BATCH_FRAMES.min(FRAMES_A_TURN * self.small_turns.len()),
            ),
        };
        let room = MAX_BATCH_FRAMES.min(self.resets.len());
        for (id, fault) in self.resets.drain(..room) {
            batch.frames.push((id, Frame::Reset(fault)));
        }
        self.write_windows(&mut batch.frames);
        self.write_turns(&mut batch, now);
        if self.is_go_away_due() {
            batch.control.extend(self.go_away.take());
        }
        batch
    }

    fn write_turns(&mut self, batch: &mut Batch, now: Instant) {
        let is_open = self.pace.is_open(now);
        let most_bytes = match is_open {
            true => self.pace.message_bytes(),
            false => MAX_BATCH_BODY_BYTES, // none of it is bulk
        };
        let turn_bytes = self.turn_bytes().min(most_bytes / 2);
        let mut written = 0;
        let mut has_bulk = false;
        while (written == 0 || written + turn_bytes <= most_bytes)
            && batch.frames.len() < MAX_BATCH_FRAMES
        {
            let is_bulk_next =
                written >= most_bytes / 2 || batch.frames.len() >= MAX_BATCH_FRAMES / 2;
            let Some((id, is_bulk)) = self.next_turn(is_open, is_bulk_next, now) else {
                break;
            };
            has_bulk |= is_bulk;
            let most_bytes = is_bulk.then_some(turn_bytes);
            written += self.write_turn(id, most_bytes, now, &mut batch.frames);
        }
        let is_waiting = !self.turns.is_empty();
        let mark = self.pace.wrote(written, has_bulk, is_waiting, now);
        let seen = std::mem::take(&mut self.owed_mark);
        if mark.is_some() || seen > 0 {
            let mark = mark.unwrap_or_default();
            batch.control.push(Control::Progress { mark, seen });
        }
    }

    /// One after which streams may still come need not wait for those that do.
    fn is_go_away_due(&self) -> bool {
        match self.go_away {
            Some(Control::GoAway { still_opens, .. }) => {
                still_opens || !self.streams.values().any(|s| s.outgoing.head.is_some())
            }
            _ => false,
        }
    }

    fn write_windows(&mut self, frames: &mut Vec<(StreamId, Frame)>) {
        let most = frames.len() + MAX_BATCH_FRAMES;
        while frames.len() < most
            && let Some(id) = self.windows.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.is_window_due = false;
            if let Some(credit_bytes) = stream.credit_due() {
                frames.push((id, Frame::Window(credit_bytes)));
            }
        }
    }

    /// Most body bytes of one stream in one turn.
    fn turn_bytes(&self) -> usize {
        MAX_TURN_BODY_BYTES.min(self.limits.max_body_frame_bytes as usize)
    }

    /// Whose turn it is. A stream with little to say passes those in the middle of a bulk transfer, so that a token
    /// waits for the batch on the line and not for a turn of every download. What is small may fill a batch by itself; a
    /// stream that goes on like that counts as bulk.
    /// Heads never leave the small turns before they are written: ids must reach the peer in order.
    fn next_turn(
        &mut self,
        is_open: bool,
        is_bulk_next: bool,
        now: Instant,
    ) -> Option<(StreamId, bool)> {
        if is_open
            && is_bulk_next
            && let Some(id) = self.turns.pop_front()
        {
            return Some((id, true));
        }
        while let Some(id) = self.small_turns.pop_front() {
            match self.streams.get(&id) {
                Some(stream)
                    if stream.outgoing.head.is_none()
                        && (stream.outgoing.is_bulk() || stream.outgoing.pours(now)) =>
                {
                    self.turns.push_back(id); // it has grown meanwhile
                }
                Some(_) => return Some((id, false)),
                None => {}
            }
        }
        let next = self.turns.pop_front_if(|_| is_open)?;
        Some((next, true))
    }

    /// One stream's turn: at most one full piece of body, so that streams share the line byte by byte. Returns the
    /// bytes that it takes up in the batch, fields included. A small turn has no bound of its own.
    fn write_turn(
        &mut self,
        id: StreamId,
        most_bytes: Option<usize>,
        now: Instant,
        frames: &mut Vec<(StreamId, Frame)>,
    ) -> usize {
        let mut limit = most_bytes.unwrap_or(self.turn_bytes());
        let Some(stream) = self.streams.get_mut(&id) else {
            return 0;
        };
        stream.is_in_turn = false;
        let mut field_bytes = 0;
        if std::mem::take(&mut stream.outgoing.wants_continue) {
            frames.push((id, Frame::Continue));
        }
        if let Some(head) = stream.outgoing.head.take() {
            stream.outgoing.is_head_written = true;
            field_bytes += wire::field_bytes(&head);
            frames.push((id, head));
            if stream.outgoing.is_bulk() {
                limit = 0; // the head had a small turn; the body waits for one of its own
            }
        }
        let mut written = 0;
        while let Some(piece) = stream.outgoing.body.pop(limit - written) {
            written += piece.len();
            frames.push((id, Frame::Body(piece)));
        }
        if stream.outgoing.body.is_empty()
            && let Some(trailers) = stream.outgoing.end.take()
        {
            let end = Frame::End(trailers);
            field_bytes += wire::field_bytes(&end);
            frames.push((id, end));
        }
        if stream.outgoing.body.is_empty()
            && let Some(fault) = stream.outgoing.broken.take()
        {
            stream.fail(fault.clone());
            frames.push((id, Frame::Reset(fault)));
        }
        if written > 0 {
            stream.wake_writer(); // there is room again
        }
        if most_bytes.is_none() {
            stream.outgoing.wrote_small(written, now);
        }
        if stream.has_output() {
            stream.is_in_turn = true;
            self.turns.push_back(id);
        } else if stream.is_detached {
            match self.side {
                _ if stream.is_over() => self.forget(id),
                Side::Agent => {
                    frames.push((id, Frame::Reset(request_unread())));
                    self.forget(id);
                }
                Side::Relay => {} // the end of the answer is still awaited
            }
        }
        written + field_bytes
    }

    pub(super) fn take_turn(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_in_turn
        {
            stream.is_in_turn = true;
            let lane = match stream.outgoing.is_bulk() {
                true => &mut self.turns,
                false => &mut self.small_turns,
            };
            lane.push_back(id);
        }
        self.wake_writer();
    }

    pub(super) fn say(&mut self, control: Control) {
        self.control.push_back(control);
        self.wake_writer();
    }

    pub(super) fn queue_reset(&mut self, id: StreamId, fault: Fault) {
        self.resets.push_back((id, fault));
        self.wake_writer();
        // Each reset answers something of the peer's. One who keeps asking and never reads is not a peer.
        if self.resets.len() > 4 * self.limits.max_concurrent_streams as usize {
            self.close(CloseReason::Protocol(ProtocolError::NotReading));
        }
    }
}
