//! A line between two sessions, simulated: a rate, a delay each way, and a buffer before its narrow end that is as deep as
//! those of homes are. Over it bulk as fast as it goes, and chats with a token each 20 ms beside it.
//!
//! Time passes in steps; nothing here looks at a clock.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::peer::{Peer, answer, hello, request, welcome};
use crate::{
    Batch, Control, Frame, Limits, Link, PROGRESS, Side, StreamHandle, session::Settings, wire,
};

const TOKEN_GAP: Duration = Duration::from_millis(20);
const TOKEN_BYTES: usize = 200;
const CHATS: usize = 4;
/// What each frame and each message adds on the line.
const FRAMING_BYTES: usize = 12;

/// One direction.
#[derive(Debug)]
pub(super) struct Line {
    /// Bytes a second.
    pub(super) rate: u64,
    pub(super) delay: Duration,
    /// What waits before the narrow end until the writer has to.
    buffer: Duration,
    free_at: Instant,
    under_way: VecDeque<(Instant, Batch)>,
    pub(super) bytes: u64,
    /// Marks and answers.
    pub(super) progress: Vec<(u64, u64)>,
}

impl Line {
    fn new(rate: u64, delay: Duration, now: Instant) -> Self {
        Self {
            rate,
            delay,
            buffer: Duration::from_secs(1),
            free_at: now,
            under_way: VecDeque::new(),
            bytes: 0,
            progress: Vec::new(),
        }
    }

    fn has_room(&self, now: Instant) -> bool {
        self.free_at.saturating_duration_since(now) < self.buffer
    }

    fn carry(&mut self, batch: Batch, now: Instant) {
        let frames = batch.frames.iter();
        let bytes: usize = frames
            .map(|(_, frame)| match frame {
                Frame::Body(body) => body.len() + FRAMING_BYTES,
                other => wire::field_bytes(other) + FRAMING_BYTES,
            })
            .sum();
        let bytes = (bytes + FRAMING_BYTES * (1 + batch.control.len())) as u64;
        let takes = Duration::from_nanos(bytes * 1_000_000_000 / self.rate);
        self.free_at = self.free_at.max(now) + takes;
        self.bytes += bytes;
        for control in &batch.control {
            if let Control::Progress { mark, seen } = control {
                self.progress.push((*mark, *seen));
            }
        }
        self.under_way.push_back((self.free_at + self.delay, batch));
    }

    fn arrived(&mut self, now: Instant) -> Option<Batch> {
        let next = self.under_way.pop_front_if(|(at, _)| *at <= now);
        next.map(|(_, batch)| batch)
    }
}

/// One stream that is sent on.
#[derive(Debug)]
struct Flow {
    sender: StreamHandle,
    receiver: StreamHandle,
    received: usize,
}

/// Two sessions and the lines between them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    step: Duration,
    sender: Link,
    receiver: Link,
    pub(super) ahead: Line,
    pub(super) back: Line,
    bulk: Option<Flow>,
    /// What bulk comes in, one in each step, and how much of it is left.
    pub(super) piece_bytes: usize,
    pub(super) bulk_left: usize,
    chats: Vec<Flow>,
    /// When each token was sent, and how many; all chats send theirs together.
    tokens: Vec<Instant>,
    next_token_at: Instant,
    received: usize,
    /// From when a token was sent until it was there.
    pub(super) delays: Vec<Duration>,
    /// What leaves the receiver's answers out.
    pub(super) is_mute: bool,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The agent: an answer.
    Down,
    /// The relay: a request's body.
    Up,
}

impl World {
    /// Over a line of so many bytes a second that takes `delay` each way; sessions that say marks back, or do not.
    pub(super) fn new(way: Way, rate: u64, delay: Duration, answers_marks: bool) -> Self {
        Self::with_chats(CHATS, way, rate, delay, answers_marks)
    }

    /// The same with so many chats.
    pub(super) fn with_chats(
        chats: usize,
        way: Way,
        rate: u64,
        delay: Duration,
        answers_marks: bool,
    ) -> Self {
        let relay = Peer::greeting(Side::Relay, Limits::default());
        let now = relay.now;
        let settings = Settings {
            side: Side::Agent,
            limits: Limits::default(),
            greeting_timeout: super::peer::GREETING,
            heartbeat_interval: super::peer::BEAT,
            stream_limits: None,
        };
        let (relay, agent) = (relay.link, Link::new(&settings, now));
        let (sender, receiver) = match way {
            Way::Down => (agent.clone(), relay.clone()),
            Way::Up => (relay.clone(), agent.clone()),
        };
        let mut hello = hello();
        if answers_marks {
            hello.capabilities.push(PROGRESS.to_owned());
        }
        agent.say_hello(hello);
        let mut world = Self {
            now,
            step: delay / 40,
            sender,
            receiver,
            ahead: Line::new(rate, delay, now),
            back: Line::new(12_500_000, delay, now),
            bulk: None,
            piece_bytes: 64 * 1024,
            bulk_left: usize::MAX,
            chats: Vec::new(),
            tokens: Vec::new(),
            next_token_at: now,
            received: 0,
            delays: Vec::new(),
            is_mute: false,
        };
        world.move_for(4 * delay);
        relay.welcome(welcome(Limits::default()), world.now);
        world.move_for(4 * delay);
        world.chats = (0..chats)
            .map(|_| world.open(way, &relay, &agent))
            .collect();
        world
    }

    fn open(&mut self, way: Way, relay: &Link, agent: &Link) -> Flow {
        let asks = relay
            .open(request(way == Way::Down), self.now)
            .expect("open");
        let mut accepted = None;
        while accepted.is_none() {
            self.step();
            if let Poll::Ready(Some((_, handle))) = agent.poll_accept(&mut idle()) {
                accepted = Some(handle);
            }
        }
        let answers = accepted.expect("just now");
        let (sender, receiver) = match way {
            Way::Down => {
                answers.answer(answer(false)).expect("a head");
                (answers, asks)
            }
            Way::Up => (asks, answers),
        };
        Flow {
            sender,
            receiver,
            received: 0,
        }
    }

    pub(super) fn begin_bulk(&mut self, way: Way) {
        let (relay, agent) = match way {
            Way::Down => (self.receiver.clone(), self.sender.clone()),
            Way::Up => (self.sender.clone(), self.receiver.clone()),
        };
        self.bulk = Some(self.open(way, &relay, &agent));
    }

    pub(super) fn end_bulk(&mut self) {
        self.bulk = None;
    }

    /// How long a transfer of so many bytes takes, from its first byte to its last.
    pub(super) fn transfer(&mut self, way: Way, bytes: usize) -> Duration {
        self.bulk_left = bytes;
        self.begin_bulk(way);
        let since = self.now;
        while self.bulk.as_ref().is_some_and(|bulk| bulk.received < bytes) {
            self.step();
        }
        self.end_bulk();
        self.now - since
    }

    /// Bytes that have come since the last time.
    pub(super) fn taken(&mut self) -> usize {
        std::mem::take(&mut self.received)
    }

    pub(super) fn move_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += self.step;
        let now = self.now;
        if now >= self.next_token_at {
            self.next_token_at = now + TOKEN_GAP;
            if !self.chats.is_empty() {
                self.tokens.push(now);
            }
            for chat in &self.chats {
                let mut token = Bytes::from_static(&[b't'; TOKEN_BYTES]);
                chat.sender.send_body(&mut token, now).expect("a stream");
                assert!(token.is_empty(), "no room for a token");
            }
        }
        if let Some(bulk) = &self.bulk {
            let most = self.piece_bytes.min(self.bulk_left);
            let mut bytes = Bytes::from_static(&[b'b'; 64 * 1024]).slice(..most);
            if most > 0 {
                bulk.sender.send_body(&mut bytes, now).expect("a stream");
                self.bulk_left -= most - bytes.len();
            }
        }
        transmit(&self.sender, &mut self.ahead, now, false);
        while let Some(batch) = self.ahead.arrived(now) {
            self.receiver.receive(batch, now).expect("no error");
        }
        self.take_in();
        transmit(&self.receiver, &mut self.back, now, self.is_mute);
        while let Some(batch) = self.back.arrived(now) {
            self.sender.receive(batch, now).expect("no error");
        }
        for link in [&self.sender, &self.receiver] {
            link.tick(now, &idle()).expect("open");
        }
    }

    fn take_in(&mut self) {
        if let Some(bulk) = &mut self.bulk {
            self.received += take_all(bulk, self.now);
        }
        for chat in &mut self.chats {
            let before = chat.received / TOKEN_BYTES;
            self.received += take_all(chat, self.now);
            for token in before..chat.received / TOKEN_BYTES {
                self.delays.push(self.now - self.tokens[token]);
            }
        }
    }

    /// The line stands still.
    pub(super) fn stand_still(&mut self, time: Duration) {
        self.ahead.free_at = self.ahead.free_at.max(self.now) + time;
    }

    /// The delay below which all but one in a hundred tokens were, of those since the last time.
    pub(super) fn p99(&mut self) -> Duration {
        let mut delays = std::mem::take(&mut self.delays);
        delays.sort_unstable();
        delays[delays.len() * 99 / 100]
    }
}

/// The loop looks at everything in each step, and needs no waking.
fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn transmit(link: &Link, line: &mut Line, now: Instant, is_mute: bool) {
    while line.has_room(now)
        && let Poll::Ready(Some(mut batch)) = link.poll_transmit(now, &mut idle())
    {
        if is_mute {
            batch
                .control
                .retain(|control| !matches!(control, Control::Progress { .. }));
        }
        line.carry(batch, now);
    }
}

/// How many bytes there were.
fn take_all(flow: &mut Flow, now: Instant) -> usize {
    let before = flow.received;
    while let Poll::Ready(Ok(Some(piece))) = flow.receiver.poll_body(now, &mut idle()) {
        flow.received += piece.len();
    }
    flow.received - before
}
