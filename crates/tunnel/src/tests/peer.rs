//! The scripted peer: says what a test tells it to, and collects what is transmitted to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};

use crate::{
    Answer, Batch, Control, Fault, Frame, Hello, Limits, Link, ProtocolError, RequestHead,
    ResponseHead, Scopes, Settings, Side, StreamHandle, StreamId, StreamLimits, Welcome,
};

pub(super) const BEAT: Duration = Duration::from_secs(15);
pub(super) const FIRST_BYTE: Duration = Duration::from_secs(30);
pub(super) const GAP: Duration = Duration::from_secs(20);
pub(super) const GREETING: Duration = Duration::from_secs(10);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// A waker that counts.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One waiting task.
#[derive(Debug, Default)]
pub(super) struct Task(Arc<Counter>);

impl Task {
    /// Polls as this task.
    pub(super) fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.0))))
    }

    /// How often it was woken since it was last asked.
    pub(super) fn wakes(&self) -> usize {
        self.0.0.swap(0, Ordering::Relaxed)
    }

    #[track_caller]
    pub(super) fn assert_woken(&self) {
        assert!(self.wakes() > 0, "a wake-up is lost");
    }
}

/// One side of a session under test; the test is its peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) now: Instant,
    pub(super) writer: Task,
    pub(super) driver: Task,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a base to count from: nothing here waits for the real clock"
)]
fn any_moment() -> Instant {
    Instant::now()
}

pub(super) fn small_limits() -> Limits {
    Limits {
        max_body_frame_bytes: 1024,
        initial_window_bytes: 4096,
        max_concurrent_streams: 4,
        ..Limits::default()
    }
}

pub(super) fn welcome(limits: Limits) -> Welcome {
    Welcome {
        session_id: "session".to_owned(),
        protocol_version: 1,
        limits,
        heartbeat_interval: BEAT,
        build: "test".to_owned(),
        token_holds: None,
    }
}

pub(super) fn hello() -> Hello {
    Hello {
        protocol_version: 1,
        build: "test".to_owned(),
        device_name: "laptop".to_owned(),
        device_id: [7; 16],
        capabilities: Vec::new(),
        attempt: 0,
    }
}

pub(super) fn heartbeat() -> Control {
    Control::Heartbeat {
        sequence: 1,
        acknowledged: 0,
        received: 0,
    }
}

pub(super) fn go_away(grace: Duration) -> Control {
    leaving(grace, false)
}

/// A go-away of a relay that may still open streams.
pub(super) fn handing_over(grace: Duration) -> Control {
    leaving(grace, true)
}

fn leaving(grace: Duration, still_opens: bool) -> Control {
    Control::GoAway {
        message: "bye".to_owned(),
        grace,
        still_opens,
    }
}

pub(super) fn id(number: u64) -> StreamId {
    StreamId::new(number).expect("not 0")
}

pub(super) fn request(is_whole: bool) -> RequestHead {
    RequestHead {
        method: Method::POST,
        target: PathAndQuery::from_static("/api/chat"),
        headers: HeaderMap::new(),
        is_whole,
        expects_continue: false,
        request_id: "r".to_owned(),
        scopes: Scopes::default(),
        models: Vec::new(),
    }
}

pub(super) fn answer(is_whole: bool) -> ResponseHead {
    ResponseHead {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        is_whole,
        model: String::new(),
    }
}

pub(super) fn request_frame(is_whole: bool) -> Frame {
    Frame::RequestHead(Box::new(request(is_whole)))
}

pub(super) fn answer_frame(is_whole: bool) -> Frame {
    Frame::ResponseHead(Box::new(answer(is_whole)))
}

pub(super) fn body(length: usize) -> Frame {
    Frame::Body(Bytes::from(vec![b'x'; length]))
}

pub(super) fn end() -> Frame {
    Frame::End(HeaderMap::new())
}

/// What was transmitted, in short: `1:body 5`.
pub(super) fn short(frames: &[(StreamId, Frame)]) -> Vec<String> {
    let one = |(id, frame): &(StreamId, Frame)| match frame {
        Frame::Body(bytes) => format!("{id}:body {}", bytes.len()),
        Frame::Window(credit) => format!("{id}:window {credit}"),
        Frame::Reset(fault) => format!("{id}:reset {}", fault.kind),
        other => format!("{id}:{}", other.name()),
    };
    frames.iter().map(one).collect()
}

impl Peer {
    /// A session of this side that has just begun.
    pub(super) fn greeting(side: Side, limits: Limits) -> Self {
        let now = any_moment();
        let settings = Settings {
            side,
            limits,
            greeting_timeout: GREETING,
            heartbeat_interval: BEAT,
            stream_limits: (side == Side::Relay).then_some(StreamLimits {
                first_byte: FIRST_BYTE,
                gap: GAP,
            }),
        };
        Self {
            link: Link::new(&settings, now),
            now,
            writer: Task::default(),
            driver: Task::default(),
        }
    }

    /// An open relay; the test is its agent.
    pub(super) fn of_relay(limits: Limits) -> Self {
        let peer = Self::greeting(Side::Relay, limits);
        peer.link.welcome(welcome(limits), peer.now);
        let batch = peer.sent().expect("the welcome");
        assert!(matches!(batch.control[..], [Control::Welcome(_)]));
        peer
    }

    /// An open agent; the test is its relay.
    pub(super) fn of_agent(limits: Limits) -> Self {
        let mut peer = Self::greeting(Side::Agent, Limits::default());
        peer.control(Control::Welcome(Box::new(welcome(limits))))
            .expect("a welcome");
        peer
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// The peer says this.
    pub(super) fn say(&mut self, frames: Vec<(u64, Frame)>) -> Result<(), ProtocolError> {
        let frames = frames.into_iter().map(|(n, frame)| (id(n), frame));
        let batch = Batch {
            control: Vec::new(),
            frames: frames.collect(),
        };
        self.link.receive(batch, self.now).map(drop)
    }

    /// The peer says this of the session.
    pub(super) fn control(&mut self, control: Control) -> Result<Vec<Control>, ProtocolError> {
        let batch = Batch {
            control: vec![control],
            frames: Vec::new(),
        };
        self.link.receive(batch, self.now)
    }

    /// The next batch to the peer; `None` when there is nothing to say.
    #[track_caller]
    pub(super) fn sent(&self) -> Option<Batch> {
        match self.writer.poll(|cx| self.link.poll_transmit(self.now, cx)) {
            Poll::Ready(Some(batch)) => {
                for (_, frame) in &batch.frames {
                    let is_empty = matches!(frame, Frame::Body(bytes) if bytes.is_empty());
                    assert!(!is_empty, "RES-16: an empty body frame");
                }
                Some(batch)
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    /// All frames of streams to the peer until there is nothing to say.
    #[track_caller]
    pub(super) fn frames(&self) -> Vec<(StreamId, Frame)> {
        let batches = std::iter::from_fn(|| self.sent());
        batches.flat_map(|batch| batch.frames).collect()
    }

    #[track_caller]
    pub(super) fn assert_frames(&self, expected: &[&str]) {
        assert_eq!(short(&self.frames()), expected);
    }

    /// Opens a stream at the relay, and lets the head go out.
    #[track_caller]
    pub(super) fn open(&self, is_whole: bool) -> StreamHandle {
        let handle = self.link.open(request(is_whole), self.now).expect("open");
        self.frames();
        handle
    }

    /// Takes in a request at the agent.
    #[track_caller]
    pub(super) fn accept(&self) -> StreamHandle {
        let task = Task::default();
        match task.poll(|cx| self.link.poll_accept(cx)) {
            Poll::Ready(Some((_, handle))) => handle,
            Poll::Ready(None) | Poll::Pending => panic!("no request"),
        }
    }

    pub(super) fn tick(&self) -> Option<Instant> {
        self.driver.poll(|cx| self.link.tick(self.now, cx))
    }

    /// The next piece, without waiting for it.
    pub(super) fn take(&self, handle: &StreamHandle) -> Poll<Result<Option<Bytes>, Fault>> {
        Task::default().poll(|cx| handle.poll_body(self.now, cx))
    }

    /// All that is there; how it ended, if it did.
    pub(super) fn take_all(&self, handle: &StreamHandle) -> (usize, Poll<Result<(), Fault>>) {
        let mut taken = 0;
        loop {
            match self.take(handle) {
                Poll::Ready(Ok(Some(piece))) => taken += piece.len(),
                Poll::Ready(Ok(None)) => return (taken, Poll::Ready(Ok(()))),
                Poll::Ready(Err(fault)) => return (taken, Poll::Ready(Err(fault))),
                Poll::Pending => return (taken, Poll::Pending),
            }
        }
    }

    /// Sends as much as fits of so many bytes; says how many did.
    pub(super) fn send(&self, handle: &StreamHandle, length: usize) -> Result<usize, Fault> {
        let mut bytes = Bytes::from(vec![b'y'; length]);
        handle.send_body(&mut bytes, self.now)?;
        Ok(length - bytes.len())
    }
}

/// The fault that a handle has, if it has one.
pub(super) fn fault_of(handle: &StreamHandle) -> Option<Fault> {
    match Task::default().poll(|cx| handle.poll_fault(cx)) {
        Poll::Ready(fault) => Some(fault),
        Poll::Pending => None,
    }
}

/// What a handle says of its answer.
pub(super) fn answer_of(handle: &StreamHandle) -> Poll<Result<Answer, Fault>> {
    Task::default().poll(|cx| handle.poll_answer(cx))
}
