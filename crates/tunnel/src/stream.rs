//! One exchange: two directions that end separately, each under credit.
//!
//! ```text
//!             send_head        send_body*        send_end
//! outgoing:  Head ───────────▶ Body ───────────▶ Ended        (head with `is_whole`: straight to Ended)
//!
//!             head             body*             end
//! incoming:  Head ───────────▶ Body ───────────▶ Ended
//!
//! reset by either side, or the end of the session: `fault` is set, both directions are over
//! ```
//!
//! Invariant: bytes queued for sending never exceed the peer's credit, and bytes received never exceed ours.

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    error::{CloseReason, Fault, Kind, Origin, ProtocolError},
    frame::{Frame, ResponseHead, StreamId},
    pieces::Pieces,
};

/// Bytes of one direction that may wait to be written. More would only wait here instead of at its source.
pub(crate) const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Up to here what a stream has to say passes those in the middle of a bulk transfer.
const SMALL_BODY_BYTES: usize = 4 * 1024;
/// So much in this time is bulk, however small its pieces: a chat says a tenth of it.
const SMALL_RATE: (usize, Duration) = (16 * 1024, Duration::from_millis(100));
/// Most credit a direction can hold (the largest HTTP/2 window, RFC 9113 §6.9.1).
const MAX_CREDIT_BYTES: u32 = (1 << 31) - 1;

/// How far one direction of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The head has not passed yet.
    Head,
    /// Body bytes may pass.
    Body,
    /// Whole, or given up.
    Ended,
}

impl Direction {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Head => "waiting for the head",
            Self::Body => "in the body",
            Self::Ended => "ended",
        }
    }
}

/// What waits to be written for one stream, and what the peer still allows.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) state: Direction,
    pub(crate) head: Option<Frame>,
    pub(crate) wants_continue: bool,
    pub(crate) body: Pieces,
    pub(crate) end: Option<HeaderMap>,
    /// The source broke off behind the body that is queued: a reset comes where the end would have.
    pub(crate) broken: Option<Fault>,
    pub(crate) credit_bytes: u32,
    pub(crate) is_head_written: bool,
    /// Body written in small turns since that moment.
    small_bytes: usize,
    small_since: Instant,
}

impl Outgoing {
    /// True when so much body waits that it takes its turn behind those with little to say.
    pub(crate) fn is_bulk(&self) -> bool {
        self.body.bytes() > SMALL_BODY_BYTES
    }

    /// True when so much went out in small turns of late that what waits is bulk in small pieces.
    pub(crate) fn pours(&self, now: Instant) -> bool {
        let (most_bytes, time) = SMALL_RATE;
        self.small_bytes > most_bytes && now.saturating_duration_since(self.small_since) < time
    }

    pub(crate) fn wrote_small(&mut self, bytes: usize, now: Instant) {
        if now.saturating_duration_since(self.small_since) >= SMALL_RATE.1 {
            (self.small_bytes, self.small_since) = (0, now);
        }
        self.small_bytes += bytes;
    }
}

/// What has arrived for one stream and waits for its consumer.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) state: Direction,
    pub(crate) head: Option<Box<ResponseHead>>,
    pub(crate) is_continue_asked: bool,
    pub(crate) body: Pieces,
    pub(crate) trailers: Option<HeaderMap>,
    /// Body bytes that the peer may still send.
    pub(crate) allowance_bytes: u32,
    /// Bytes that the consumer took and the peer was not told of yet.
    pub(crate) owed_bytes: u32,
}

/// One exchange as one side sees it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) fault: Option<Fault>,
    /// The handle is gone; what is queued still goes out, then the stream is forgotten.
    pub(crate) is_detached: bool,
    /// The consumer has every byte that was announced; only the end is missing, and is no longer waited for.
    pub(crate) is_end_awaited: bool,
    /// Already in the writer's round.
    pub(crate) is_in_turn: bool,
    /// Already in the list of windows to write.
    pub(crate) is_window_due: bool,
    /// When something last moved, in either direction.
    pub(crate) moved_at: Instant,
    window_bytes: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Waits for a fault alone: often another task than the reader and the writer.
    watcher: Option<Waker>,
}

impl Stream {
    pub(crate) fn new(window_bytes: u32, now: Instant) -> Self {
        Self {
            outgoing: Outgoing {
                state: Direction::Head,
                head: None,
                wants_continue: false,
                body: Pieces::default(),
                end: None,
                broken: None,
                credit_bytes: window_bytes,
                is_head_written: false,
                small_bytes: 0,
                small_since: now,
            },
            incoming: Incoming {
                state: Direction::Head,
                head: None,
                is_continue_asked: false,
                body: Pieces::default(),
                trailers: None,
                allowance_bytes: window_bytes,
                owed_bytes: 0,
            },
            fault: None,
            is_detached: false,
            is_end_awaited: false,
            is_in_turn: false,
            is_window_due: false,
            moved_at: now,
            window_bytes,
            reader: None,
            writer: None,
            watcher: None,
        }
    }

    // ---- from the peer

    /// Takes in body bytes, within the allowance.
    pub(crate) fn receive_body(
        &mut self,
        id: StreamId,
        bytes: Bytes,
        max_frame_bytes: u32,
    ) -> Result<(), ProtocolError> {
        let Some(length) = u32::try_from(bytes.len())
            .ok()
            .filter(|length| (1..=max_frame_bytes).contains(length))
        else {
            let bytes = bytes.len();
            return Err(ProtocolError::BadBodyLength { id, bytes });
        };
        if self.incoming.state != Direction::Body {
            return Err(self.wrong_state(id, "body"));
        }
        let Some(rest) = self.incoming.allowance_bytes.checked_sub(length) else {
            let excess = length - self.incoming.allowance_bytes;
            return Err(ProtocolError::CreditOverrun {
                id,
                excess_bytes: excess as usize,
            });
        };
        self.incoming.allowance_bytes = rest;
        if !self.is_detached {
            self.incoming.body.push(bytes, self.reader.is_some());
            self.wake_reader();
        }
        Ok(())
    }

    /// Takes in the end of the peer's direction.
    pub(crate) fn receive_end(
        &mut self,
        id: StreamId,
        trailers: HeaderMap,
    ) -> Result<(), ProtocolError> {
        if self.incoming.state != Direction::Body {
            return Err(self.wrong_state(id, "end"));
        }
        self.incoming.state = Direction::Ended;
        self.incoming.trailers = (!trailers.is_empty()).then_some(trailers);
        self.wake_reader();
        Ok(())
    }

    /// Takes in credit.
    pub(crate) fn receive_window(
        &mut self,
        id: StreamId,
        credit_bytes: u32,
    ) -> Result<(), ProtocolError> {
        let credit = self
            .outgoing
            .credit_bytes
            .checked_add(credit_bytes)
            .filter(|sum| credit_bytes > 0 && *sum <= MAX_CREDIT_BYTES)
            .ok_or(ProtocolError::BadCredit(id))?;
        self.outgoing.credit_bytes = credit;
        self.wake_writer();
        Ok(())
    }

    pub(crate) fn wrong_state(&self, id: StreamId, frame: &'static str) -> ProtocolError {
        ProtocolError::WrongState {
            id,
            frame,
            state: self.incoming.state.name(),
        }
    }

    // ---- toward the peer

    /// How many body bytes may be queued now.
    pub(crate) fn capacity(&self) -> usize {
        let room = SEND_BUFFER_BYTES.saturating_sub(self.outgoing.body.bytes());
        room.min(self.outgoing.credit_bytes as usize)
    }

    /// Queues as much of `bytes` as [`Self::capacity`] allows and leaves the rest in it.
    pub(crate) fn queue_body(&mut self, bytes: &mut Bytes) {
        let taken = bytes.split_to(self.capacity().min(bytes.len()));
        let length = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        self.outgoing.credit_bytes = self.outgoing.credit_bytes.saturating_sub(length);
        self.outgoing.body.push(taken, true);
    }

    /// True when a turn of the writer would find something.
    pub(crate) fn has_output(&self) -> bool {
        self.outgoing.head.is_some()
            || self.outgoing.wants_continue
            || !self.outgoing.body.is_empty()
            || self.outgoing.end.is_some()
            || self.outgoing.broken.is_some()
    }

    // ---- the consumer

    /// The next piece that arrived; `None` when the direction is whole.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if let Some(piece) = self.incoming.body.pop(usize::MAX) {
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            self.incoming.owed_bytes = self.incoming.owed_bytes.saturating_add(length);
            return Poll::Ready(Ok(Some(piece)));
        }
        if self.incoming.state == Direction::Ended {
            return Poll::Ready(Ok(None));
        }
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        set(&mut self.reader, cx);
        Poll::Pending
    }

    /// The credit to give back now: in quarters of the window, so that frames are few and the sender never stalls.
    pub(crate) fn credit_due(&mut self) -> Option<u32> {
        let owed = self.incoming.owed_bytes;
        if self.incoming.state == Direction::Ended
            || self.fault.is_some()
            || owed < self.window_bytes / 4
            || owed == 0
        {
            return None;
        }
        self.incoming.owed_bytes = 0;
        self.incoming.allowance_bytes = self.incoming.allowance_bytes.saturating_add(owed);
        Some(owed)
    }

    /// True when the owed credit has grown to where it is worth a frame.
    pub(crate) fn is_credit_worth_a_frame(&self) -> bool {
        self.incoming.state != Direction::Ended
            && self.fault.is_none()
            && self.incoming.owed_bytes >= self.window_bytes / 4
    }

    /// Waits for room to send.
    pub(crate) fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        if self.outgoing.state == Direction::Ended {
            return Poll::Ready(Err(not_sending()));
        }
        match self.capacity() {
            0 => {
                set(&mut self.writer, cx);
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    /// Waits for a fault alone.
    pub(crate) fn poll_fault(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        if let Some(fault) = &self.fault {
            return Poll::Ready(fault.clone());
        }
        set(&mut self.watcher, cx);
        Poll::Pending
    }

    /// Waits for the head of the answer, or for the wish for a body held back.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Box<ResponseHead>>, Fault>> {
        if let Some(head) = self.incoming.head.take() {
            return Poll::Ready(Ok(Some(head)));
        }
        if let Some(fault) = &self.fault {
            return Poll::Ready(Err(fault.clone()));
        }
        if std::mem::take(&mut self.incoming.is_continue_asked) {
            return Poll::Ready(Ok(None));
        }
        set(&mut self.reader, cx);
        Poll::Pending
    }

    // ---- the end

    /// Our direction is over: what was to be sent is forgotten. The other one goes on.
    pub(crate) fn stop_sending(&mut self) {
        self.outgoing.state = Direction::Ended;
        self.outgoing.head = None;
        self.outgoing.wants_continue = false;
        self.outgoing.body.clear();
        self.outgoing.end = None;
        self.outgoing.broken = None;
        self.wake_writer();
    }

    /// Both directions are over. What had arrived may still be taken; what was to be sent is forgotten.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        self.stop_sending();
        self.wake_reader();
        if let Some(waker) = self.watcher.take() {
            waker.wake();
        }
    }

    /// True when nothing more will pass in either direction.
    pub(crate) fn is_over(&self) -> bool {
        let both_ended = self.incoming.state == Direction::Ended
            && self.outgoing.state == Direction::Ended
            && !self.has_output();
        self.fault.is_some() || both_ended
    }

    pub(crate) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(crate) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// What the streams of a closed session are told.
pub(crate) fn fault_of_close(reason: &CloseReason, was_sent: bool) -> Fault {
    let fault = match reason {
        CloseReason::Protocol(_) => Fault::new(
            Kind::AgentProtocol,
            Origin::Agent,
            "the agent broke the tunnel protocol",
        ),
        // Not `Unauthenticated`: the caller's own credential is good.
        CloseReason::TokenExpired => Fault::new(
            Kind::AgentLost,
            Origin::Agent,
            "the agent's token has run out",
        ),
        CloseReason::Revoked => Fault::new(
            Kind::AgentLost,
            Origin::Agent,
            "the agent's token was revoked",
        ),
        CloseReason::Disconnected => Fault::new(
            Kind::AgentLost,
            Origin::Agent,
            "the connection to the agent was ended by its user",
        ),
        CloseReason::Drained => Fault::new(
            Kind::Draining,
            Origin::Relay,
            "the connection to the agent was closed before the answer was whole",
        ),
        CloseReason::PeerSilent(_) => Fault::new(
            Kind::AgentLost,
            Origin::Agent,
            "the agent fell silent before the answer was whole",
        ),
        CloseReason::PeerStuck(_) => Fault::new(
            Kind::AgentLost,
            Origin::Agent,
            "the agent stopped taking anything in before the answer was whole",
        ),
        CloseReason::ConnectionLost | CloseReason::Replaced | CloseReason::NoGreeting(_) => {
            Fault::new(
                Kind::AgentLost,
                Origin::Agent,
                "the connection to the agent ended before the answer was whole",
            )
        }
    };
    if was_sent { fault } else { fault.retry_safe() }
}

/// What a sender is told whose direction has ended, or has not begun.
pub(crate) fn not_sending() -> Fault {
    Fault::new(
        Kind::Internal,
        Origin::Relay,
        "no body bytes may be sent on this stream any more, or not yet",
    )
}

fn set(slot: &mut Option<Waker>, cx: &mut Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
