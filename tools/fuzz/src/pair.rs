//! Two honest sides, joined by a scheduler that the input drives. Tasks are polled only when their waker was called, as
//! in a runtime, so a lost wake-up shows as a task that never finishes.
//!
//! What must hold: bodies arrive in order and complete, or with a fault and only if somebody broke the stream off; no
//! side ever breaks the protocol or a limit; in the end nobody is stuck and both sides have forgotten every stream.

use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use c2l_tunnel::{
    Answer, Batch, CloseReason, Control, Fault, Frame, Hello, Kind, Limits, Link, Origin, PROGRESS,
    RequestHead, ResponseHead, Scopes, Settings, Side, StreamHandle, Welcome, wire,
};
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};
use prost::Message;

use crate::choices::{Choices, Clock};

/// Messages on the line before the writer has to wait.
const LINE_MESSAGES: usize = 3;
/// Body bytes of others that a batch may hold.
const MAX_BATCH_BODY_BYTES: usize = 128 * 1024;

/// Plays what the input says, then lets everything run out.
pub fn exchange(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::new(&mut choices);
    while !choices.is_empty() {
        world.event(&mut choices);
    }
    world.run_out();
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    flag: Arc<Flag>,
    role: Role,
}

enum Role {
    /// Moves a side's batches to the line.
    Transmit(Side),
    /// Takes in requests at the agent.
    Accept,
    Send(Sender),
    Receive(Receiver),
    /// Waits for a fault at the agent, as a task that has nothing to do but to break off would.
    Watch(Arc<StreamHandle>, usize),
}

/// Sends one body, after the head of the answer if it is one.
struct Sender {
    handle: Arc<StreamHandle>,
    exchange: usize,
    side: Side,
    is_begun: bool,
    sent: usize,
    piece_bytes: usize,
}

/// Takes one body, after the head of the answer if it is one.
struct Receiver {
    handle: Arc<StreamHandle>,
    exchange: usize,
    side: Side,
    is_begun: bool,
    taken: usize,
}

impl Role {
    fn of_stream(&self) -> Option<(Side, usize, &Arc<StreamHandle>)> {
        match self {
            Self::Transmit(_) | Self::Accept => None,
            Self::Send(sender) => Some((sender.side, sender.exchange, &sender.handle)),
            Self::Receive(receiver) => Some((receiver.side, receiver.exchange, &receiver.handle)),
            Self::Watch(handle, exchange) => Some((Side::Agent, *exchange, handle)),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Transmit(side) => format!("writer of the {side:?}"),
            Self::Accept => "acceptor".to_owned(),
            Self::Send(it) => format!("{:?} sending {}, at {}", it.side, it.exchange, it.sent),
            Self::Receive(it) => format!("{:?} taking {}, at {}", it.side, it.exchange, it.taken),
            Self::Watch(_, exchange) => format!("watcher of {exchange}"),
        }
    }
}

/// What is planned for one exchange, and what became of it.
struct Exchange {
    request_bytes: usize,
    answer_bytes: usize,
    /// The agent answers at once and lets go, whatever still comes of the request.
    is_request_ignored: bool,
    is_broken_off: bool,
    is_answered: bool,
}

/// One direction of the line.
#[derive(Default)]
struct Line {
    messages: VecDeque<Vec<u8>>,
    is_ended: bool,
}

struct World {
    clock: Clock,
    limits: Limits,
    relay: Link,
    agent: Link,
    to_agent: Line,
    to_relay: Line,
    tasks: Vec<Task>,
    exchanges: Vec<Exchange>,
    is_told_to_go: bool,
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let clock = Clock::start();
        let limits = Limits {
            max_body_frame_bytes: 1024 << choices.below(7),
            initial_window_bytes: 1024 << choices.below(9),
            max_concurrent_streams: 64,
            ..Limits::default()
        };
        let heartbeat_interval = Duration::from_secs(60);
        let link = |side| {
            let settings = Settings {
                side,
                limits,
                greeting_timeout: Duration::from_secs(10),
                heartbeat_interval,
                stream_limits: None,
            };
            Link::new(&settings, clock.0)
        };
        let mut world = Self {
            clock,
            limits,
            relay: link(Side::Relay),
            agent: link(Side::Agent),
            to_agent: Line::default(),
            to_relay: Line::default(),
            tasks: Vec::new(),
            exchanges: Vec::new(),
            is_told_to_go: false,
        };
        world.spawn(Role::Transmit(Side::Relay));
        world.spawn(Role::Transmit(Side::Agent));
        world.spawn(Role::Accept);
        let welcome = Welcome {
            session_id: "session".to_owned(),
            protocol_version: 1,
            limits,
            heartbeat_interval,
            build: String::new(),
            token_holds: None,
        };
        // Both say marks back.
        let hello = Hello {
            protocol_version: 1,
            build: String::new(),
            device_name: "desk".to_owned(),
            device_id: [0; 16],
            capabilities: vec![PROGRESS.to_owned()],
            attempt: 0,
        };
        let greeting = Batch {
            control: vec![Control::Hello(Box::new(hello))],
            frames: Vec::new(),
        };
        world.relay.receive(greeting, clock.0).unwrap();
        world.relay.welcome(welcome, clock.0);
        world
    }

    fn spawn(&mut self, role: Role) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.push(Task { flag, role });
    }

    /// Something happens.
    fn event(&mut self, choices: &mut Choices<'_>) {
        self.clock.pass(Duration::from_millis(1));
        match choices.byte() {
            0..=23 => self.open(choices),
            24..=90 => _ = self.deliver(Side::Agent),
            91..=157 => _ = self.deliver(Side::Relay),
            158..=215 => _ = self.step(choices.number()),
            216..=245 => (0..16).for_each(|_| _ = self.step(choices.number())),
            246..=249 => self.break_off(choices),
            250..=252 => {
                let cx = &Context::from_waker(Waker::noop());
                _ = self.relay.tick(self.clock.0, cx);
                _ = self.agent.tick(self.clock.0, cx);
            }
            253 if choices.one_in(8) => self.go_away(choices),
            254 if choices.one_in(32) => self.lose(),
            _ => {}
        }
    }

    fn open(&mut self, choices: &mut Choices<'_>) {
        let index = self.exchanges.len();
        let size = |choices: &mut Choices<'_>| match choices.below(4) {
            0 => 0,
            1 => choices.below(256),
            2 => choices.number() / 8,
            _ => 4 * choices.number(),
        };
        let exchange = Exchange {
            request_bytes: size(choices),
            answer_bytes: size(choices),
            is_request_ignored: choices.one_in(6),
            is_broken_off: false,
            is_answered: false,
        };
        let head = RequestHead {
            method: Method::POST,
            target: PathAndQuery::from_static("/api/chat"),
            headers: HeaderMap::new(),
            is_whole: exchange.request_bytes == 0,
            expects_continue: false,
            request_id: index.to_string(),
            scopes: Scopes::default(),
            models: Vec::new(),
        };
        let Ok(handle) = self.relay.open(head, self.clock.0) else {
            return;
        };
        let handle = Arc::new(handle);
        if exchange.request_bytes > 0 {
            self.spawn(Role::Send(Sender {
                handle: Arc::clone(&handle),
                exchange: index,
                side: Side::Relay,
                is_begun: true,
                sent: 0,
                piece_bytes: 1 + choices.number().max(exchange.request_bytes / 1024),
            }));
        }
        self.spawn(Role::Receive(Receiver {
            handle,
            exchange: index,
            side: Side::Relay,
            is_begun: false,
            taken: 0,
        }));
        self.exchanges.push(exchange);
    }

    /// A task or its owner loses patience: drops everything on its side, or says why.
    fn break_off(&mut self, choices: &mut Choices<'_>) {
        let streams: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|task| task.role.of_stream())
            .collect();
        if streams.is_empty() {
            return;
        }
        let (side, exchange, handle) = streams[choices.below(streams.len())];
        self.exchanges[exchange].is_broken_off = true;
        if choices.one_in(2) {
            handle.reset(Fault::new(Kind::UpstreamFailed, Origin::Upstream, "x"));
        } else {
            self.drop_side(side, exchange);
        }
    }

    fn drop_side(&mut self, side: Side, exchange: usize) {
        self.tasks.retain(|task| {
            !task
                .role
                .of_stream()
                .is_some_and(|(s, e, _)| (s, e) == (side, exchange))
        });
    }

    fn go_away(&mut self, choices: &mut Choices<'_>) {
        let link = [&self.relay, &self.agent][choices.below(2)];
        if link.is_open() {
            self.is_told_to_go = true;
            link.go_away("bye", Duration::from_secs(3600), self.clock.0);
        }
    }

    fn lose(&mut self) {
        self.to_agent.messages.clear();
        self.to_relay.messages.clear();
        self.relay.close(CloseReason::ConnectionLost);
        self.agent.close(CloseReason::ConnectionLost);
        self.is_told_to_go = true;
        for exchange in &mut self.exchanges {
            exchange.is_broken_off = true;
        }
    }

    /// The next message arrives at this side; or the end of the line, which ends the session there.
    fn deliver(&mut self, side: Side) -> bool {
        let (line, link) = match side {
            Side::Agent => (&mut self.to_agent, &self.agent),
            Side::Relay => (&mut self.to_relay, &self.relay),
        };
        let Some(message) = line.messages.pop_front() else {
            let is_news = line.is_ended && link.close_reason().is_none();
            if is_news {
                link.close(CloseReason::ConnectionLost);
            }
            return is_news;
        };
        let batch = match side {
            Side::Agent => {
                let message = proto::RelayMessage::decode(&message[..]).expect("protobuf");
                wire::decode_relay(message).expect("valid")
            }
            Side::Relay => decoded(message),
        };
        link.receive(batch, self.clock.0)
            .expect("neither side breaks the protocol");
        self.check_bounds();
        true
    }

    fn check_bounds(&self) {
        let stream = self.limits.initial_window_bytes as usize + MAX_BATCH_BODY_BYTES;
        for link in [&self.relay, &self.agent] {
            assert!(link.held_bytes() <= link.active_streams() * stream);
        }
    }

    /// Polls a task if it was woken. True when it did something.
    fn step(&mut self, number: usize) -> bool {
        if self.tasks.is_empty() {
            return false;
        }
        let place = number % self.tasks.len();
        let task = &mut self.tasks[place];
        if let Role::Transmit(side) = task.role {
            let line = match side {
                Side::Relay => &self.to_agent,
                Side::Agent => &self.to_relay,
            };
            if line.messages.len() >= LINE_MESSAGES {
                return false;
            }
        }
        if !task.flag.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(&task.flag));
        let cx = &mut Context::from_waker(&waker);
        let is_done = match &mut self.tasks[place].role {
            Role::Transmit(side) => {
                let side = *side;
                self.transmit(side, cx)
            }
            Role::Accept => self.accept(cx),
            Role::Send(sender) => sender.step(&mut self.exchanges, &self.relay, self.clock, cx),
            Role::Receive(receiver) => {
                receiver.step(&mut self.exchanges, &self.relay, self.clock, cx)
            }
            Role::Watch(handle, exchange) => {
                let is_failed = handle.poll_fault(cx).is_ready();
                assert!(
                    !is_failed
                        || self.exchanges[*exchange].is_broken_off
                        || self.relay.close_reason().is_some()
                        || self.exchanges[*exchange].is_answered
                );
                is_failed.then_some(())
            }
        };
        if is_done.is_some() {
            let task = self.tasks.swap_remove(place);
            if let Some((side, exchange, _)) = task.role.of_stream() {
                self.end_watch(side, exchange);
            }
        }
        true
    }

    /// A watcher alone does not keep a stream: the exchange is over when the others are done.
    fn end_watch(&mut self, side: Side, exchange: usize) {
        let mut rest = self.tasks.iter().filter(|task| {
            task.role
                .of_stream()
                .is_some_and(|(s, e, _)| (s, e) == (side, exchange))
        });
        if rest.all(|task| matches!(task.role, Role::Watch(..))) {
            self.drop_side(side, exchange);
        }
    }

    fn transmit(&mut self, side: Side, cx: &mut Context<'_>) -> Option<()> {
        let (link, line) = match side {
            Side::Relay => (&self.relay, &mut self.to_agent),
            Side::Agent => (&self.agent, &mut self.to_relay),
        };
        match link.poll_transmit(self.clock.0, cx) {
            Poll::Pending => None,
            Poll::Ready(None) => {
                line.is_ended = true;
                Some(())
            }
            Poll::Ready(Some(batch)) => {
                check_batch(&batch, &self.limits);
                // Each way one end has our own codec and the other one the generated types.
                let message = match side {
                    Side::Relay => encoded(batch),
                    Side::Agent => wire::encode_agent(batch).encode_to_vec(),
                };
                assert!(message.len() <= self.limits.max_message_bytes as usize);
                line.messages.push_back(message);
                cx.waker().wake_by_ref();
                None
            }
        }
    }

    fn accept(&mut self, cx: &mut Context<'_>) -> Option<()> {
        match self.agent.poll_accept(cx) {
            Poll::Pending => None,
            Poll::Ready(None) => Some(()),
            Poll::Ready(Some((head, handle))) => {
                cx.waker().wake_by_ref();
                let exchange: usize = head.request_id.parse().expect("an index");
                let handle = Arc::new(handle);
                self.spawn(Role::Send(Sender {
                    handle: Arc::clone(&handle),
                    exchange,
                    side: Side::Agent,
                    is_begun: false,
                    sent: 0,
                    piece_bytes: 1 + self.exchanges[exchange].answer_bytes / (1 + exchange % 50),
                }));
                if !self.exchanges[exchange].is_request_ignored {
                    self.spawn(Role::Watch(Arc::clone(&handle), exchange));
                    self.spawn(Role::Receive(Receiver {
                        handle,
                        exchange,
                        side: Side::Agent,
                        is_begun: true,
                        taken: 0,
                    }));
                }
                None
            }
        }
    }

    /// No more events: everything that can move does, and then nothing may be left.
    fn run_out(mut self) {
        for _ in 0..100_000 {
            let mut is_moving = self.deliver(Side::Agent);
            is_moving |= self.deliver(Side::Relay);
            for place in (0..self.tasks.len()).rev() {
                is_moving |= self.step(place);
            }
            if !is_moving {
                return self.check_end();
            }
        }
        panic!("it never comes to rest");
    }

    fn check_end(self) {
        let mut stuck = self
            .tasks
            .iter()
            .filter(|task| task.role.of_stream().is_some());
        if let Some(task) = stuck.next() {
            panic!("stuck: {}", task.role.name());
        }
        assert_eq!(self.relay.active_streams(), 0, "leaked at the relay");
        assert_eq!(self.agent.active_streams(), 0, "leaked at the agent");
        assert_eq!(self.relay.held_bytes() + self.agent.held_bytes(), 0);
        for (index, exchange) in self.exchanges.iter().enumerate() {
            assert!(
                exchange.is_answered || exchange.is_broken_off,
                "{index} lost"
            );
        }
        let is_closed = |link: &Link| link.close_reason().is_some();
        assert_eq!(is_closed(&self.relay), self.is_told_to_go);
        assert_eq!(is_closed(&self.agent), self.is_told_to_go);
    }
}

impl Sender {
    fn step(
        &mut self,
        exchanges: &mut [Exchange],
        relay: &Link,
        clock: Clock,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let exchange = &mut exchanges[self.exchange];
        let may_fail = exchange.is_broken_off
            || relay.close_reason().is_some()
            || (self.side == Side::Relay && exchange.is_request_ignored);
        let total = match self.side {
            Side::Relay => exchange.request_bytes,
            Side::Agent => exchange.answer_bytes,
        };
        let failed = |fault: Fault| assert!(may_fail, "{fault} while sending");
        if !self.is_begun {
            self.is_begun = true;
            let head = ResponseHead {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                is_whole: total == 0,
                model: String::new(),
            };
            if let Err(fault) = self.handle.answer(head) {
                failed(fault);
                return Some(());
            }
            if total == 0 {
                return Some(());
            }
        }
        match self.handle.poll_capacity(cx) {
            Poll::Pending => return None,
            Poll::Ready(Ok(room)) => assert!(room > 0),
            Poll::Ready(Err(fault)) => {
                failed(fault);
                return Some(());
            }
        }
        let end = total.min(self.sent + self.piece_bytes);
        let mut bytes = pattern(self.exchange, self.side, self.sent, end - self.sent);
        if let Err(fault) = self.handle.send_body(&mut bytes, clock.0) {
            failed(fault);
            return Some(());
        }
        assert!(bytes.len() < end - self.sent, "there was room");
        self.sent = end - bytes.len();
        if self.sent < total {
            cx.waker().wake_by_ref();
            return None;
        }
        if let Err(fault) = self.handle.send_end(HeaderMap::new()) {
            failed(fault);
        }
        Some(())
    }
}

impl Receiver {
    fn step(
        &mut self,
        exchanges: &mut [Exchange],
        relay: &Link,
        clock: Clock,
        cx: &mut Context<'_>,
    ) -> Option<()> {
        let exchange = &mut exchanges[self.exchange];
        let may_fail = exchange.is_broken_off
            || relay.close_reason().is_some()
            // The caller has the whole answer and let go while the agent was still reading.
            || (self.side == Side::Agent && exchange.is_answered);
        let failed = |fault: Fault| {
            assert!(may_fail, "{fault} while taking");
            Some(())
        };
        if !self.is_begun {
            match self.handle.poll_answer(cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(Answer::Continue)) => panic!("nobody asked"),
                Poll::Ready(Ok(Answer::Head(head))) => {
                    assert_eq!(head.is_whole, exchange.answer_bytes == 0);
                    self.is_begun = true;
                }
                Poll::Ready(Err(fault)) => return failed(fault),
            }
        }
        match self.handle.poll_body(clock.0, cx) {
            Poll::Pending => None,
            Poll::Ready(Err(fault)) => failed(fault),
            Poll::Ready(Ok(Some(piece))) => {
                assert!(!piece.is_empty());
                let from = match self.side {
                    Side::Relay => Side::Agent,
                    Side::Agent => Side::Relay,
                };
                let expected = pattern(self.exchange, from, self.taken, piece.len());
                assert!(piece == expected, "bytes out of order");
                self.taken += piece.len();
                // HTTP libraries drop a body of announced length without asking for its end.
                if self.side == Side::Relay
                    && self.taken == exchange.answer_bytes
                    && self.exchange.is_multiple_of(2)
                {
                    self.handle.await_end();
                    exchange.is_answered = true;
                    return Some(());
                }
                cx.waker().wake_by_ref();
                None
            }
            Poll::Ready(Ok(None)) => {
                let total = match self.side {
                    Side::Relay => exchange.answer_bytes,
                    Side::Agent => exchange.request_bytes,
                };
                assert_eq!(self.taken, total, "a torn body looks whole");
                exchange.is_answered |= self.side == Side::Relay;
                Some(())
            }
        }
    }
}

/// What a body holds from some place on; different for each exchange and direction, and slow to repeat itself.
fn pattern(exchange: usize, from: Side, at: usize, length: usize) -> Bytes {
    static PERIODS: LazyLock<Bytes> =
        LazyLock::new(|| (0..=250_u8).cycle().take(251 + 4 * 65_536).collect());
    let salt = match from {
        Side::Relay => 0,
        Side::Agent => 101,
    };
    let start = (at + exchange * 7 + salt) % 251;
    PERIODS.slice(start..start + length)
}

/// What every batch keeps to, whoever made it.
fn check_batch(batch: &Batch, limits: &Limits) {
    assert!(!batch.is_empty());
    let mut body_bytes = 0;
    for (_, frame) in &batch.frames {
        if let Frame::Body(piece) = frame {
            assert!(!piece.is_empty(), "RES-16: an empty body frame");
            assert!(piece.len() <= limits.max_body_frame_bytes as usize);
            body_bytes += piece.len();
        }
    }
    assert!(
        body_bytes <= MAX_BATCH_BODY_BYTES,
        "{body_bytes} in one batch"
    );
}

fn encoded(batch: Batch) -> Vec<u8> {
    let mut pieces = VecDeque::new();
    wire::Encoder::new(Side::Relay).encode(batch, &mut pieces);
    let parts = pieces.into_iter().flat_map(wire::Piece::into_parts);
    let mut message = parts.collect::<Vec<_>>().concat();
    message.split_off(wire::MESSAGE_PREFIX_BYTES)
}

fn decoded(message: Vec<u8>) -> Batch {
    let mut decoder = wire::Decoder::new(Side::Agent, message.len());
    let length = u32::try_from(message.len()).expect("short");
    decoder.push(Bytes::from([&[0][..], &length.to_be_bytes()].concat()));
    decoder.push(Bytes::from(message));
    let batch = decoder.next_batch().expect("what we encode decodes");
    batch.expect("and is whole")
}
