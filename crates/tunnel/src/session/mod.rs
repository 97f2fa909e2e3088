//! A session: its streams, whose turn it is to write, heartbeats, time limits, and how it ends.
//!
//! ```text
//!            welcome                 go-away, either way            no streams left or to come, or grace over
//! Greeting ───────────▶ Open ─────────────────────────▶ Draining ───────────────────────────────▶ Closed
//!    │                   │                                  │                                       ▲
//!    └───────────────────┴──────────────────────────────────┴── connection lost, peer silent or ───┘
//!                                                               stuck, protocol broken, replaced, token expired
//! ```
//!
//! Invariant: whatever the peer sends, the answer is a state or a [`ProtocolError`]; never a panic, and never more
//! memory than streams × (window + send buffer). The agent's `Connecting` is a state of its supervisor, which has no
//! session yet.
//!
//! Read next: `receive` (from the peer), `transmit` (toward the peer), `clock` (what is due), `streams` (from this side).

mod clock;
mod mix;
mod receive;
mod streams;
mod transmit;

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use self::mix::Mix;
use crate::{
    error::{CloseReason, Fault, Kind, Origin, ProtocolError},
    frame::{Batch, Control, Frame, Hello, Limits, RequestHead, ResponseHead, StreamId, Welcome},
    pace::Pace,
    stream::{Direction, Stream, fault_of_close, not_sending},
    wire,
};

/// Most stream frames in one batch; the last turn may go beyond by what it holds.
const MAX_BATCH_FRAMES: usize = 256;
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
    /// No new streams, or soon none; running ones go on.
    Draining {
        /// When what still runs is cut.
        until: Instant,
        /// True when the peer asked for it: then the session ends as soon as no stream is left and none can come.
        is_asked_by_peer: bool,
        /// Until when the relay may still open streams, if it may.
        opens_until: Option<Instant>,
    },
    /// Over.
    Closed(CloseReason),
}

#[derive(Debug)]
struct Liveness {
    interval: Duration,
    next_beat_at: Instant,
    heard_at: Instant,
    /// When silence counts for certain, where it was found late.
    doubted_until: Option<Instant>,
    sent: u64,
    heard: u64,
    /// Counts what arrives; told in each heartbeat.
    received: u64,
    told: Told,
}

/// What the peer counts of ours, by its heartbeats.
#[derive(Debug)]
struct Told {
    received: u64,
    /// Heartbeats in a row that said this, and when the first did.
    times: u32,
    since: Instant,
}

/// One authenticated connection between an agent and its relay, as one side sees it.
#[derive(Debug)]
pub struct Session {
    side: Side,
    phase: Phase,
    limits: Limits,
    stream_limits: Option<StreamLimits>,
    liveness: Liveness,
    /// In boxes: the table keeps its places when it is empty, and places of a whole stream were 2.6 KB of an idle session.
    streams: HashMap<StreamId, Box<Stream>, Mix>,
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
    pace: Pace,
    /// The peer's newest mark that was not said back yet; 0 when all were.
    owed_mark: u64,
    arrivals: VecDeque<(StreamId, Box<RequestHead>)>,
    /// No stream's time is up before this; `None` while there is none whose time is limited.
    expiry_at: Option<Instant>,
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
                doubted_until: None,
                sent: 0,
                heard: 0,
                received: 0,
                told: Told {
                    received: 0,
                    times: 0,
                    since: now,
                },
            },
            streams: HashMap::default(),
            newest: 0,
            opened_total: 0,
            is_hello_heard: false,
            control: VecDeque::new(),
            go_away: None,
            windows: VecDeque::new(),
            resets: VecDeque::new(),
            small_turns: VecDeque::new(),
            turns: VecDeque::new(),
            pace: Pace::new(now),
            owed_mark: 0,
            arrivals: VecDeque::new(),
            expiry_at: None,
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
            if self.pace.is_answered() {
                self.say(Control::Progress { mark: 0, seen: 0 });
            }
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
        self.leave(message, grace, None, now);
    }

    /// The same, for a relay that may still open streams for so long: requests come to it on connections that it still
    /// has, while the agent is opening its session with the next relay. This session is then for the relay to end.
    pub fn hand_over(&mut self, message: &str, opens: Duration, grace: Duration, now: Instant) {
        self.leave(message, grace, Some(after(now, opens.min(grace))), now);
    }

    fn leave(
        &mut self,
        message: &str,
        grace: Duration,
        opens_until: Option<Instant>,
        now: Instant,
    ) {
        let until = after(now, grace);
        let is_unsaid = match self.phase {
            Phase::Open => true,
            // A relay that may still open streams has to hear of it when the agent leaves, too.
            Phase::Draining { opens_until, .. } => {
                self.side == Side::Agent && opens_until.is_some()
            }
            Phase::Greeting { .. } => return self.close(CloseReason::Drained),
            Phase::Closed(_) => return,
        };
        self.drain(until, opens_until, false);
        if is_unsaid {
            self.go_away = Some(Control::GoAway {
                message: message.to_owned(),
                grace,
                still_opens: opens_until.is_some(),
            });
            self.wake_writer();
        }
    }

    /// No new streams from here on, or from then. Neither side can stretch the grace that the other has set; an agent's
    /// word ends the opening of streams, a relay's own can only be kept to.
    fn drain(&mut self, until: Instant, opens_until: Option<Instant>, by_peer: bool) {
        self.phase = match self.phase {
            Phase::Draining {
                until: set,
                is_asked_by_peer,
                opens_until: opens_set,
            } => Phase::Draining {
                until: until.min(set),
                is_asked_by_peer: is_asked_by_peer || by_peer,
                opens_until: if by_peer { opens_until } else { opens_set },
            },
            Phase::Greeting { .. } | Phase::Open | Phase::Closed(_) => Phase::Draining {
                until,
                is_asked_by_peer: by_peer,
                opens_until,
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
                opens_until: None,
                ..
            }
        );
        if is_asked && self.streams.is_empty() && self.resets.is_empty() {
            self.close(CloseReason::Drained);
        }
    }

    /// True while the relay may open streams.
    #[must_use]
    pub fn takes_streams(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Open => true,
            Phase::Draining { opens_until, .. } => opens_until.is_some_and(|until| now < until),
            Phase::Greeting { .. } | Phase::Closed(_) => false,
        }
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
