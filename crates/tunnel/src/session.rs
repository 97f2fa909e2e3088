//! A session: its streams, whose turn it is to write, heartbeats, time limits, and how it ends.
//!
//! ```text
//!            welcome                 go-away, either way            no streams left, or grace over
//! Greeting ───────────▶ Open ─────────────────────────▶ Draining ───────────────────────────────▶ Closed
//!    │                   │                                  │                                       ▲
//!    └───────────────────┴──────────────────────────────────┴── connection lost, peer silent, ──────┘
//!                                                               protocol broken, replaced, token expired
//! ```
//!
//! Invariant: whatever the peer sends, the answer is a state or a [`ProtocolError`]; never a panic, and never more
//! memory than streams × (window + send buffer). The agent's `Connecting` is a state of its supervisor, which has no
//! session yet.

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    error::{CloseReason, Fault, Kind, Origin, ProtocolError},
    frame::{Batch, Control, Frame, Hello, Limits, RequestHead, ResponseHead, StreamId, Welcome},
    stream::{Direction, Stream, fault_of_close, not_sending},
    wire,
};

/// Most body bytes of one stream in one turn.
const MAX_TURN_BODY_BYTES: usize = 64 * 1024;
/// Most body bytes in one batch: two full turns, so that a token never waits behind more than that. Heads count, too,
/// which keeps a message far below the smallest limit that a welcome may set on it ([`wire::MIN_MESSAGE_BYTES`]).
const MAX_BATCH_BODY_BYTES: usize = 2 * MAX_TURN_BODY_BYTES;
/// Most stream frames in one batch; the last turn may go beyond by what it holds.
const MAX_BATCH_FRAMES: usize = 256;
/// Intervals of silence after which the peer counts as gone.
const SILENT_INTERVALS: u32 = 2;
/// Longer waits than this are this long: a limit that means "never" must not overflow a clock.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Relay,
    /// Answers them.
    Agent,
}

/// Time limits of a stream. The relay keeps them; the agent has none of its own here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// From the last sign of life of the request to the head of the answer. Upload progress is a sign of life.
    pub first_byte: Duration,
    /// Between two movements once the answer has begun.
    pub gap: Duration,
}

/// What a session is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which end this is.
    pub side: Side,
    /// Bounds; an agent takes over those of the relay's welcome.
    pub limits: Limits,
    /// How long the greeting may take.
    pub greeting_timeout: Duration,
    /// How often something is said; an agent takes over that of the relay's welcome.
    pub heartbeat_interval: Duration,
    /// Time limits of streams, if this side keeps them.
    pub stream_limits: Option<StreamLimits>,
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Hello and welcome have not both passed.
    Greeting {
        /// When this must be over.
        until: Instant,
    },
    /// Streams may be opened.
    Open,
    /// No new streams; running ones go on.
    Draining {
        /// When what still runs is cut.
        until: Instant,
        /// True when the peer asked for it: then the session ends as soon as no stream is left.
        is_asked_by_peer: bool,
    },
    /// Over.
    Closed(CloseReason),
}

#[derive(Debug)]
struct Liveness {
    interval: Duration,
    next_beat_at: Instant,
    heard_at: Instant,
    sent: u64,
    heard: u64,
}

/// One authenticated connection between an agent and its relay, as one side sees it.
#[derive(Debug)]
pub struct Session {
    side: Side,
    phase: Phase,
    limits: Limits,
    stream_limits: Option<StreamLimits>,
    liveness: Liveness,
    streams: HashMap<StreamId, Stream>,
    /// The highest id minted (relay) or seen (agent).
    newest: u64,
    opened_total: u64,
    is_hello_heard: bool,
    control: VecDeque<Control>,
    /// Waits until every head that is queued has been written: a peer with no streams left closes on it.
    go_away: Option<Control>,
    windows: VecDeque<StreamId>,
    resets: VecDeque<(StreamId, Fault)>,
    /// Streams with little to say, which pass those in `turns`.
    small_turns: VecDeque<StreamId>,
    turns: VecDeque<StreamId>,
    arrivals: VecDeque<(StreamId, Box<RequestHead>)>,
    wake_at: Instant,
    writer: Option<Waker>,
    acceptor: Option<Waker>,
    driver: Option<Waker>,
}

impl Session {
    /// One end of a session, in its greeting.
    #[must_use]
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            side: settings.side,
            phase: Phase::Greeting {
                until: after(now, settings.greeting_timeout),
            },
            limits: settings.limits,
            stream_limits: settings.stream_limits,
            liveness: Liveness {
                interval: settings.heartbeat_interval,
                next_beat_at: after(now, settings.heartbeat_interval),
                heard_at: now,
                sent: 0,
                heard: 0,
            },
            streams: HashMap::new(),
            newest: 0,
            opened_total: 0,
            is_hello_heard: false,
            control: VecDeque::new(),
            go_away: None,
            windows: VecDeque::new(),
            resets: VecDeque::new(),
            small_turns: VecDeque::new(),
            turns: VecDeque::new(),
            arrivals: VecDeque::new(),
            wake_at: now,
            writer: None,
            acceptor: None,
            driver: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Streams under way.
    #[must_use]
    pub fn active_streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams opened since the session began.
    #[must_use]
    pub fn total_streams(&self) -> u64 {
        self.opened_total
    }

    /// Body bytes that wait here, received and not taken, or to be sent and not written; for gauges. At most
    /// streams × (window + send buffer), whatever the peer does.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let streams = self.streams.values();
        streams
            .map(|stream| stream.incoming.body.bytes() + stream.outgoing.body.bytes())
            .sum()
    }

    // ---- greeting, go-away, end

    /// Says hello; the agent's first word.
    pub fn say_hello(&mut self, hello: Hello) {
        self.say(Control::Hello(Box::new(hello)));
    }

    /// Accepts the agent: the session is open, and both sides keep to what the welcome says. A session that is past
    /// its greeting stays as it is.
    pub fn welcome(&mut self, welcome: Welcome, now: Instant) {
        if matches!(self.phase, Phase::Greeting { .. }) {
            self.keep_to(&welcome, now);
            self.say(Control::Welcome(Box::new(welcome)));
        }
    }

    fn keep_to(&mut self, welcome: &Welcome, now: Instant) {
        self.phase = Phase::Open;
        self.limits = welcome.limits;
        self.liveness.interval = welcome.heartbeat_interval;
        self.liveness.next_beat_at = after(now, welcome.heartbeat_interval);
        self.wake_driver();
    }

    /// Sends a fresh token to the relay. Does nothing before the welcome, when there is nothing to renew yet.
    pub fn renew_token(&mut self, token: crate::frame::SecretToken) {
        if matches!(self.phase, Phase::Open | Phase::Draining { .. }) {
            self.control
                .retain(|control| !matches!(control, Control::TokenRenewal(_)));
            self.say(Control::TokenRenewal(token));
        }
    }

    /// Says what became of a renewal; the relay's side.
    pub fn answer_renewal(&mut self, is_accepted: bool, holds: Duration, message: &str) {
        if matches!(self.phase, Phase::Open | Phase::Draining { .. }) {
            self.control
                .retain(|control| !matches!(control, Control::TokenState { .. }));
            self.say(Control::TokenState {
                is_accepted,
                holds,
                message: message.to_owned(),
            });
        }
    }

    /// Asks for no new streams. Running ones have until the grace is over; then the session is closed as drained.
    /// Where it drains already, the shorter grace holds.
    pub fn go_away(&mut self, message: &str, grace: Duration, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.drain(after(now, grace), false);
                self.go_away = Some(Control::GoAway {
                    message: message.to_owned(),
                    grace,
                });
                self.wake_writer();
            }
            Phase::Draining { .. } => self.drain(after(now, grace), false),
            Phase::Greeting { .. } => self.close(CloseReason::Drained),
            Phase::Closed(_) => {}
        }
    }

    /// No new streams from here on. Neither side can stretch the grace that the other has set.
    fn drain(&mut self, until: Instant, by_peer: bool) {
        self.phase = match self.phase {
            Phase::Draining {
                until: set,
                is_asked_by_peer,
            } => Phase::Draining {
                until: until.min(set),
                is_asked_by_peer: is_asked_by_peer || by_peer,
            },
            Phase::Greeting { .. } | Phase::Open | Phase::Closed(_) => Phase::Draining {
                until,
                is_asked_by_peer: by_peer,
            },
        };
        self.wake_driver();
    }

    /// Ends the session: every stream fails with what the reason means, and nothing more is sent.
    pub fn close(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        for stream in self.streams.values_mut() {
            if !stream.is_over() {
                let fault = fault_of_close(&reason, stream.outgoing.is_head_written);
                stream.fail(fault);
            }
        }
        self.streams.retain(|_, stream| !stream.is_detached);
        for (id, _) in self.arrivals.drain(..) {
            self.streams.remove(&id); // nobody holds a handle that would release it
        }
        self.phase = Phase::Closed(reason);
        self.control.clear();
        self.go_away = None;
        self.windows.clear();
        self.resets.clear();
        self.small_turns.clear();
        self.turns.clear();
        self.wake_writer();
        self.wake_driver();
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
    }

    fn end_if_drained(&mut self) {
        let is_asked = matches!(
            self.phase,
            Phase::Draining {
                is_asked_by_peer: true,
                ..
            }
        );
        if is_asked && self.streams.is_empty() && self.resets.is_empty() {
            self.close(CloseReason::Drained);
        }
    }

    // ---- from the peer

    /// Takes in one message. Returns the control frames that need more than bookkeeping: hello, welcome, go-away and
    /// token renewal, at most one of each; of several in one message the last one counts.
    ///
    /// # Errors
    /// When the peer broke the protocol; the caller then closes the session with that reason.
    pub fn receive(&mut self, batch: Batch, now: Instant) -> Result<Vec<Control>, ProtocolError> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Ok(Vec::new());
        }
        self.liveness.heard_at = now;
        let mut notable: Vec<Control> = Vec::new();
        for control in batch.control {
            if let Some(control) = self.receive_control(control, now)? {
                // Each may be worth a signature check: a message full of them is not worth more than one.
                notable.retain(|earlier| earlier.name() != control.name());
                notable.push(control);
            }
        }
        for (id, frame) in batch.frames {
            match self.phase {
                Phase::Open | Phase::Draining { .. } => self.receive_frame(id, frame, now)?,
                Phase::Closed(_) => break, // by a frame before this one
                Phase::Greeting { .. } => {
                    let frame = frame.name();
                    return Err(ProtocolError::Unexpected { frame });
                }
            }
        }
        self.end_if_drained();
        Ok(notable)
    }

    fn receive_control(
        &mut self,
        control: Control,
        now: Instant,
    ) -> Result<Option<Control>, ProtocolError> {
        let is_greeting = matches!(self.phase, Phase::Greeting { .. });
        match (&control, self.side) {
            (Control::Heartbeat { sequence, .. }, _) if !is_greeting => {
                self.liveness.heard = self.liveness.heard.max(*sequence);
                return Ok(None);
            }
            (Control::GoAway { grace, .. }, _) if !is_greeting => {
                self.drain(after(now, *grace), true);
            }
            (Control::Hello(_), Side::Relay) if is_greeting && !self.is_hello_heard => {
                self.is_hello_heard = true;
            }
            (Control::Welcome(welcome), Side::Agent) if is_greeting => self.keep_to(welcome, now),
            (Control::TokenRenewal(_), Side::Relay) | (Control::TokenState { .. }, Side::Agent)
                if !is_greeting => {}
            _ => {
                return Err(ProtocolError::Unexpected {
                    frame: control.name(),
                });
            }
        }
        Ok(Some(control))
    }

    fn receive_frame(
        &mut self,
        id: StreamId,
        frame: Frame,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let frame = match frame {
            Frame::RequestHead(head) if self.side == Side::Agent => {
                return self.receive_request(id, head, now);
            }
            other => other,
        };
        if id.get() > self.newest {
            return Err(ProtocolError::UnknownStream(id.get()));
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(()); // it has just ended here; the peer could not know
        };
        if !stream.outgoing.is_head_written {
            return Err(ProtocolError::UnknownStream(id.get())); // guessed: the peer was not told of it yet
        }
        if let Frame::Window(credit_bytes) = frame {
            stream.receive_window(id, credit_bytes)?;
            stream.moved_at = now;
            return Ok(());
        }
        if stream.fault.is_some() {
            return Ok(()); // the same: our reset is on its way
        }
        match frame {
            Frame::Body(bytes) => {
                stream.receive_body(id, bytes, self.limits.max_body_frame_bytes)?;
                stream.moved_at = now;
            }
            Frame::End(trailers) => {
                stream.receive_end(id, trailers)?;
                stream.moved_at = now;
                if stream.is_detached && stream.is_over() {
                    self.forget(id);
                }
            }
            Frame::Reset(fault) => {
                if self.side == Side::Relay && stream.incoming.state == Direction::Ended {
                    stream.stop_sending(); // the answer is whole; the agent wants no more of the request
                } else {
                    stream.fail(fault);
                }
                if stream.is_detached {
                    self.forget(id);
                }
            }
            Frame::ResponseHead(head) if self.side == Side::Relay => {
                if stream.incoming.state != Direction::Head {
                    return Err(stream.wrong_state(id, "response head"));
                }
                stream.incoming.state = if head.is_whole {
                    Direction::Ended
                } else {
                    Direction::Body
                };
                stream.incoming.head = Some(head);
                stream.moved_at = now;
                stream.wake_reader();
                // The gap limit may be shorter than what the driver sleeps for.
                self.wake_driver_before(self.stream_limits.map(|limits| after(now, limits.gap)));
            }
            Frame::Continue if self.side == Side::Relay => {
                if stream.incoming.state == Direction::Head {
                    stream.incoming.is_continue_asked = true;
                    stream.wake_reader();
                }
            }
            Frame::RequestHead(_) | Frame::ResponseHead(_) | Frame::Continue => {
                return Err(ProtocolError::Unexpected {
                    frame: frame.name(),
                });
            }
            Frame::Window(_) => {}
        }
        Ok(())
    }

    fn receive_request(
        &mut self,
        id: StreamId,
        head: Box<RequestHead>,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if id.get() <= self.newest {
            return Err(ProtocolError::StreamReused(id.get()));
        }
        self.newest = id.get();
        // The relay keeps the limit; twice as many allow for those that are over there and still being written here.
        if self.streams.len() >= 2 * self.limits.max_concurrent_streams as usize {
            let fault = Fault::new(
                Kind::Overloaded,
                Origin::Agent,
                "the agent has too many requests under way",
            );
            self.queue_reset(id, fault.retry_safe());
            return Ok(());
        }
        let mut stream = Stream::new(self.limits.initial_window_bytes, now);
        stream.outgoing.is_head_written = true; // the peer knows this stream: a reset must reach it
        stream.incoming.state = if head.is_whole {
            Direction::Ended
        } else {
            Direction::Body
        };
        self.streams.insert(id, stream);
        self.opened_total += 1;
        self.arrivals.push_back((id, head));
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
        Ok(())
    }

    // ---- toward the peer

    /// Everything that is ready now, or `None` when the session is closed. Never waits to fill a batch.
    pub fn poll_transmit(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        if matches!(self.phase, Phase::Closed(_)) {
            return Poll::Ready(None);
        }
        let batch = self.next_batch();
        if batch.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.end_if_drained();
        Poll::Ready(Some(batch))
    }

    /// Control frames first, then resets and credit, then streams in turn.
    fn next_batch(&mut self) -> Batch {
        let mut batch = Batch {
            control: self.control.drain(..).collect(),
            frames: Vec::new(),
        };
        let room = MAX_BATCH_FRAMES.min(self.resets.len());
        for (id, fault) in self.resets.drain(..room) {
            batch.frames.push((id, Frame::Reset(fault)));
        }
        self.write_windows(&mut batch.frames);
        let turn_bytes = self.turn_bytes();
        let mut written = 0;
        while (written == 0 || written + turn_bytes <= MAX_BATCH_BODY_BYTES)
            && batch.frames.len() < MAX_BATCH_FRAMES
        {
            let Some(id) = self.next_turn(written, batch.frames.len()) else {
                break;
            };
            written += self.write_turn(id, &mut batch.frames);
        }
        if self.go_away.is_some() && !self.streams.values().any(|s| s.outgoing.head.is_some()) {
            batch.control.extend(self.go_away.take());
        }
        batch
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
    /// waits for the batch on the line and not for a turn of every download; half of each batch is kept for the rest.
    /// Heads never leave the small turns before they are written: ids must reach the peer in order.
    fn next_turn(&mut self, written: usize, frames: usize) -> Option<StreamId> {
        if written >= MAX_BATCH_BODY_BYTES / 2 || frames >= MAX_BATCH_FRAMES / 2 {
            let next = self.turns.pop_front();
            return next.or_else(|| self.small_turns.pop_front());
        }
        while let Some(id) = self.small_turns.pop_front() {
            match self.streams.get(&id) {
                Some(stream) if stream.outgoing.is_bulk() && stream.outgoing.head.is_none() => {
                    self.turns.push_back(id); // it has grown meanwhile
                }
                Some(_) => return Some(id),
                None => {}
            }
        }
        self.turns.pop_front()
    }

    /// One stream's turn: at most one full piece of body, so that streams share the line byte by byte. Returns the
    /// bytes that it takes up in the batch, fields included.
    fn write_turn(&mut self, id: StreamId, frames: &mut Vec<(StreamId, Frame)>) -> usize {
        let mut limit = self.turn_bytes();
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
        if written > 0 {
            stream.wake_writer(); // there is room again
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

    fn take_turn(&mut self, id: StreamId) {
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

    fn say(&mut self, control: Control) {
        self.control.push_back(control);
        self.wake_writer();
    }

    fn queue_reset(&mut self, id: StreamId, fault: Fault) {
        self.resets.push_back((id, fault));
        self.wake_writer();
        // Each reset answers something of the peer's. One who keeps asking and never reads is not a peer.
        if self.resets.len() > 4 * self.limits.max_concurrent_streams as usize {
            self.close(CloseReason::Protocol(ProtocolError::NotReading));
        }
    }

    // ---- time

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
        if let Some(limits) = self.stream_limits {
            next = next.min(self.expire_streams(&limits, now).unwrap_or(next));
            if matches!(self.phase, Phase::Closed(_)) {
                return None; // the resets of those that expired were too many
            }
        }
        self.driver = Some(waker.clone());
        self.wake_at = next;
        Some(next)
    }

    fn beat(&mut self, now: Instant) {
        self.liveness.next_beat_at = after(now, self.liveness.interval);
        if self.streams.is_empty() {
            self.streams.shrink_to_fit(); // an idle session does not keep what a busy one needed
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
            };
            self.say(beat);
        }
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

    // ---- streams, from this side

    /// Opens a stream; the relay's side.
    ///
    /// # Errors
    /// When the session takes no new streams, has as many as it may, or the head is one that cannot cross.
    pub fn open(&mut self, head: RequestHead, now: Instant) -> Result<StreamId, Fault> {
        match self.phase {
            Phase::Open => {}
            Phase::Draining { .. } => {
                let fault = Fault::new(Kind::Draining, Origin::Agent, "the agent is leaving");
                return Err(fault.retry_safe());
            }
            Phase::Greeting { .. } | Phase::Closed(_) => {
                let fault =
                    Fault::new(Kind::AgentOffline, Origin::Agent, "the agent has just left");
                return Err(fault.retry_safe());
            }
        }
        if self.streams.len() >= self.limits.max_concurrent_streams as usize {
            let fault = Fault::new(
                Kind::UserOverLimit,
                Origin::Caller,
                "too many requests under way on this device",
            );
            return Err(fault.retry_safe());
        }
        if !wire::fits(&head.headers) || !head.target.as_str().starts_with('/') {
            let fault = Fault::new(
                Kind::InvalidRequest,
                Origin::Caller,
                "the request's target or header fields are too large or not ones that are forwarded",
            );
            return Err(fault.retry_safe());
        }
        self.newest += 1;
        self.opened_total += 1;
        let id = StreamId::new(self.newest)
            .ok_or_else(|| Fault::new(Kind::Internal, Origin::Relay, "stream ids have run out"))?;
        let mut stream = Stream::new(self.limits.initial_window_bytes, now);
        stream.outgoing.state = if head.is_whole {
            Direction::Ended
        } else {
            Direction::Body
        };
        stream.outgoing.head = Some(Frame::RequestHead(Box::new(head)));
        self.streams.insert(id, stream);
        self.take_turn(id);
        self.wake_driver_before(
            self.stream_limits
                .map(|limits| after(now, limits.first_byte)),
        );
        Ok(id)
    }

    /// The next stream that the relay opened; the agent's side. `None` when the session is closed.
    pub fn poll_arrival(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(StreamId, Box<RequestHead>)>> {
        if let Some(arrival) = self.arrivals.pop_front() {
            return Poll::Ready(Some(arrival));
        }
        if matches!(self.phase, Phase::Closed(_)) {
            return Poll::Ready(None);
        }
        self.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Sends the head of the answer; the agent's side.
    pub(crate) fn answer(&mut self, id: StreamId, head: ResponseHead) -> Result<(), Fault> {
        if !wire::fits(&head.headers) || !wire::STATUSES.contains(&head.status.as_u16()) {
            return Err(self.refuse(
                id,
                "the upstream's answer has an impossible status or too many header fields",
            ));
        }
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Head {
            stream.outgoing.state = if head.is_whole {
                Direction::Ended
            } else {
                Direction::Body
            };
            stream.outgoing.head = Some(Frame::ResponseHead(Box::new(head)));
            self.take_turn(id);
        }
        Ok(())
    }

    /// Asks for the body that the caller holds back; the agent's side.
    pub(crate) fn ask_for_body(&mut self, id: StreamId) -> Result<(), Fault> {
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Head {
            stream.outgoing.wants_continue = true;
            self.take_turn(id);
        }
        Ok(())
    }

    /// Gives up a stream whose frames would make the peer end the whole session.
    fn refuse(&mut self, id: StreamId, message: &'static str) -> Fault {
        let fault = match self.side {
            Side::Relay => Fault::new(Kind::InvalidRequest, Origin::Caller, message),
            Side::Agent => Fault::new(Kind::UpstreamFailed, Origin::Upstream, message),
        };
        self.reset(id, fault.clone());
        fault
    }

    /// Queues what fits of `bytes` and leaves the rest in it.
    pub(crate) fn send_body(
        &mut self,
        id: StreamId,
        bytes: &mut Bytes,
        now: Instant,
    ) -> Result<(), Fault> {
        let stream = self.sendable(id)?;
        match stream.outgoing.state {
            _ if bytes.is_empty() => {}
            Direction::Body if stream.capacity() == 0 => {}
            Direction::Body => {
                stream.queue_body(bytes);
                stream.moved_at = now;
                self.take_turn(id);
            }
            // An `Ok` that takes nothing, ever, would keep the sender turning in a circle.
            Direction::Head | Direction::Ended => return Err(not_sending()),
        }
        Ok(())
    }

    /// Ends this side's direction.
    pub(crate) fn send_end(&mut self, id: StreamId, trailers: HeaderMap) -> Result<(), Fault> {
        if !wire::fits(&trailers) {
            return Err(self.refuse(id, "the trailers are too large"));
        }
        let stream = self.sendable(id)?;
        if stream.outgoing.state == Direction::Body {
            stream.outgoing.state = Direction::Ended;
            stream.outgoing.end = Some(trailers);
            self.take_turn(id);
        }
        Ok(())
    }

    /// Takes the next piece of the peer's body, and gives credit back for it.
    pub(crate) fn poll_body(
        &mut self,
        id: StreamId,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Fault>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(forgotten()));
        };
        let polled = stream.poll_body(cx);
        if let Poll::Ready(Ok(Some(_))) = polled {
            stream.moved_at = now;
            if stream.is_credit_worth_a_frame() && !stream.is_window_due {
                stream.is_window_due = true;
                self.windows.push_back(id);
                self.wake_writer();
            }
        }
        polled
    }

    pub(crate) fn with_stream<T>(
        &mut self,
        id: StreamId,
        action: impl FnOnce(&mut Stream) -> T,
    ) -> Result<T, Fault> {
        self.streams.get_mut(&id).map(action).ok_or_else(forgotten)
    }

    /// The stream with this id, if it has not failed.
    fn sendable(&mut self, id: StreamId) -> Result<&mut Stream, Fault> {
        let stream = self.streams.get_mut(&id).ok_or_else(forgotten)?;
        match &stream.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(stream),
        }
    }

    /// Ends a stream in both directions and tells the peer, unless it is over already.
    pub(crate) fn reset(&mut self, id: StreamId, fault: Fault) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.is_over() {
            return;
        }
        let is_known = stream.outgoing.is_head_written;
        stream.fail(fault.clone());
        if is_known {
            self.queue_reset(id, fault);
        }
    }

    /// The handle is gone: whatever is not finished is given up, the peer is told, and the stream is forgotten.
    pub(crate) fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.is_over() {
            let is_answered = stream.outgoing.state == Direction::Ended;
            match self.side {
                Side::Relay if is_answered && stream.is_end_awaited => {
                    stream.is_detached = true;
                    stream.incoming.body.clear();
                    return;
                }
                Side::Relay => self.reset(id, Fault::caller_gone()),
                Side::Agent if !is_answered => self.reset(id, given_up()),
                Side::Agent if stream.has_output() => {
                    // The answer is complete but not written yet. What may still come of the request is of no use.
                    stream.is_detached = true;
                    stream.incoming.body.clear();
                    return;
                }
                Side::Agent => self.reset(id, request_unread()),
            }
        }
        self.forget(id);
        self.end_if_drained();
    }

    /// Drops a stream. Its id may still stand in a queue, where it is passed over; a peer that makes streams come and
    /// go while it does not read must not make those queues grow.
    fn forget(&mut self, id: StreamId) {
        self.streams.remove(&id);
        let most = 2 * self.streams.len() + MAX_BATCH_FRAMES;
        for queue in [&mut self.windows, &mut self.small_turns, &mut self.turns] {
            if queue.len() > most {
                queue.retain(|id| self.streams.contains_key(id));
            }
        }
    }

    /// Entries of all queues together.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        let ids = self.windows.len() + self.small_turns.len() + self.turns.len();
        ids + self.control.len() + self.resets.len() + self.arrivals.len()
    }

    // ---- wakers

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    fn wake_driver_before(&mut self, due: Option<Instant>) {
        if due.is_some_and(|due| due < self.wake_at) {
            self.wake_driver();
        }
    }
}

fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(LONGEST_WAIT)
}

/// What an agent says when it lets go of a request that it has not answered.
fn given_up() -> Fault {
    Fault::new(
        Kind::Internal,
        Origin::Agent,
        "the agent gave the request up",
    )
}

/// What an agent says after a whole answer to a request of which it will not read the rest. The relay stops sending.
fn request_unread() -> Fault {
    Fault::new(
        Kind::UpstreamFailed,
        Origin::Upstream,
        "the upstream answered without reading the whole request",
    )
}

fn forgotten() -> Fault {
    Fault::new(Kind::Internal, Origin::Relay, "the stream is over")
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
