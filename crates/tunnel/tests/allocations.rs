//! What a frame costs in allocations and copies, from one end's state machine to the other's: counted, not timed.
//!
//! Invariant: a long body is never copied, a small frame allocates a bounded number of times, and neither grows with what
//! came before. The figures are upper bounds that a change may lower; one that raises them says why.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use c2l_tunnel::{
    Batch, Hello, Limits, Link, RequestHead, ResponseHead, Scopes, Settings, Side, StreamHandle,
    Welcome,
    wire::{Decoder, Encoder, Piece},
};
use http::{HeaderMap, Method, StatusCode};

/// Frames that are counted; as many go before, so that what is kept between frames has its size.
const FRAMES: u64 = 1000;
const MIB: usize = 1024 * 1024;

/// Two sides in one thread, and the line between them.
struct Pair {
    relay: Link,
    agent: Link,
    now: Instant,
    asks: StreamHandle,
    answers: StreamHandle,
    encoder: Encoder,
    decoder: Decoder,
    line: VecDeque<Piece>,
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "a base to count from")]
    fn new() -> Self {
        let now = Instant::now();
        let settings = |side| Settings {
            side,
            limits: Limits::default(),
            greeting_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(10),
            stream_limits: None,
        };
        let (relay, agent) = (
            Link::new(&settings(Side::Relay), now),
            Link::new(&settings(Side::Agent), now),
        );
        agent.say_hello(hello());
        hand_over(&agent, &relay, now);
        relay.welcome(welcome(), now);
        hand_over(&relay, &agent, now);
        let asks = relay.open(request(), now).unwrap();
        hand_over(&relay, &agent, now);
        let Poll::Ready(Some((_, answers))) = agent.poll_accept(&mut idle()) else {
            panic!("no request came");
        };
        let head = ResponseHead {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            is_whole: false,
            model: String::new(),
        };
        answers.answer(head).unwrap();
        hand_over(&agent, &relay, now);
        assert!(asks.poll_answer(&mut idle()).is_ready());
        Self {
            relay,
            agent,
            now,
            asks,
            answers,
            encoder: Encoder::new(Side::Agent),
            decoder: Decoder::new(Side::Agent, MIB),
            line: VecDeque::new(),
        }
    }

    /// One piece from the agent's program to the relay's, as bytes in between; returns what came.
    fn pass(&mut self, mut piece: Bytes) -> Bytes {
        // As a program does that reads one piece after the other.
        assert!(self.asks.poll_body(self.now, &mut idle()).is_pending());
        assert!(self.answers.poll_capacity(&mut idle()).is_ready());
        self.answers.send_body(&mut piece, self.now).unwrap();
        assert!(piece.is_empty(), "no room");
        let Poll::Ready(Some(batch)) = self.agent.poll_transmit(self.now, &mut idle()) else {
            panic!("nothing to send");
        };
        self.encoder.encode(batch, &mut self.line);
        while let Some(piece) = self.line.pop_front() {
            for part in piece.into_parts() {
                self.decoder.push(part);
            }
        }
        let batch = self.decoder.next_batch().unwrap().expect("whole");
        self.relay.receive(batch, self.now).unwrap();
        let Poll::Ready(came) = self.asks.poll_body(self.now, &mut idle()) else {
            panic!("nothing came");
        };
        // Credit goes back.
        if let Poll::Ready(Some(batch)) = self.relay.poll_transmit(self.now, &mut idle()) {
            self.agent.receive(batch, self.now).unwrap();
        }
        came.unwrap().expect("a piece")
    }

    /// What so many pieces cost, once everything has its size.
    fn cost(&mut self, piece: &Bytes, times: u64) -> AllocationInfo {
        let mut pass_all = || {
            for _ in 0..times {
                assert_eq!(self.pass(piece.clone()).len(), piece.len());
            }
        };
        pass_all();
        measure(pass_all)
    }
}

fn idle() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn hand_over(from: &Link, to: &Link, now: Instant) {
    while let Poll::Ready(Some(batch)) = from.poll_transmit(now, &mut idle()) {
        drop::<Vec<_>>(to.receive(batch, now).unwrap());
    }
}

fn hello() -> Hello {
    Hello {
        protocol_version: 1,
        build: String::new(),
        device_name: "desk".to_owned(),
        device_id: [0; 16],
        capabilities: Vec::new(),
        attempt: 0,
    }
}

fn welcome() -> Welcome {
    Welcome {
        session_id: "session".to_owned(),
        protocol_version: 1,
        limits: Limits::default(),
        heartbeat_interval: Duration::from_secs(10),
        build: String::new(),
        token_holds: None,
    }
}

fn request() -> RequestHead {
    RequestHead {
        method: Method::GET,
        target: "/".parse().unwrap(),
        headers: HeaderMap::new(),
        is_whole: true,
        expects_continue: false,
        request_id: String::new(),
        scopes: Scopes::default(),
        models: Vec::new(),
    }
}

#[test]
fn a_token_takes_few_allocations_from_end_to_end() {
    let token = Bytes::from(vec![b't'; 100]);
    let cost = Pair::new().cost(&token, FRAMES);
    assert_eq!(cost.count_current, 0, "something grows: {cost:?}");
    let each = cost.count_total as f64 / FRAMES as f64;
    println!(
        "{each} allocations, {} bytes a token",
        cost.bytes_total / FRAMES
    );
    // The two lists of frames, of what is sent and of what came; the buffer of the encoder now and then.
    let most = 2 * FRAMES + FRAMES / 50;
    assert!(cost.count_total <= most, "{each} a token");
    assert!(cost.bytes_total <= 1024 * FRAMES, "{cost:?}");
}

/// What the head of an answer costs on its way through the encoding, once everything has its size.
fn cost_of_head(model: &str) -> u64 {
    let mut encoder = Encoder::new(Side::Agent);
    let mut decoder = Decoder::new(Side::Agent, MIB);
    let mut line = VecDeque::new();
    let mut cross = |model: String| {
        let head = ResponseHead {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            is_whole: false,
            model,
        };
        let id = c2l_tunnel::StreamId::new(1).unwrap();
        let frames = vec![(id, c2l_tunnel::Frame::ResponseHead(Box::new(head)))];
        let control = Vec::new();
        let cost = measure(|| {
            encoder.encode(Batch { control, frames }, &mut line);
            while let Some(piece) = line.pop_front() {
                for part in piece.into_parts() {
                    decoder.push(part);
                }
            }
            assert!(decoder.next_batch().unwrap().is_some());
        });
        cost.count_total
    };
    cross(model.to_owned());
    cross(model.to_owned())
}

#[test]
fn a_model_costs_the_head_of_an_answer_one_allocation_and_none_costs_nothing() {
    let without = cost_of_head("");
    println!("{without} allocations without a model");
    assert_eq!(cost_of_head("hf.co/somebody/model:q4"), without + 1);
}

#[test]
fn the_head_of_a_request_is_read_into_one_map_with_room_for_one_field_more() {
    let mut encoder = Encoder::new(Side::Relay);
    let mut line = VecDeque::new();
    let mut head = request();
    head.request_id = "0123456789abcdef".to_owned();
    for name in ["user-agent", "accept", "content-type", "x-of-nobody"] {
        let name = http::HeaderName::from_static(name);
        head.headers
            .append(name, http::HeaderValue::from_static("1"));
    }
    let id = c2l_tunnel::StreamId::new(1).unwrap();
    let frames = vec![(id, c2l_tunnel::Frame::RequestHead(Box::new(head)))];
    let control = Vec::new();
    encoder.encode(Batch { control, frames }, &mut line);
    let parts = line.pop_front().unwrap().into_parts();
    let message = Bytes::from(parts.concat());
    let mut decoder = Decoder::new(Side::Relay, MIB);
    let mut read = || {
        decoder.push(message.clone());
        decoder.next_batch().unwrap().expect("whole")
    };
    drop(read());
    let mut batch = Batch::default();
    let cost = measure(|| batch = read());
    // The list of frames, the head, its id, the name that has no number, and the map: its places, and its fields.
    assert_eq!(cost.count_total, 6, "{cost:?}");
    let Some((_, c2l_tunnel::Frame::RequestHead(mut head))) = batch.frames.pop() else {
        panic!("no head came");
    };
    let host = http::HeaderValue::from_static("localhost:11434");
    let adds = measure(|| drop(head.headers.insert(http::header::HOST, host.clone())));
    assert_eq!(adds.count_total, 0, "{adds:?}");
}

#[test]
fn a_long_body_is_never_copied() {
    let piece = Bytes::from(vec![b'b'; 64 * 1024]);
    let came = Pair::new().pass(piece.clone());
    assert_eq!(
        came.as_ptr(),
        piece.as_ptr(),
        "the same memory at both ends"
    );
    let mib = (MIB / piece.len()) as u64;
    let cost = Pair::new().cost(&piece, 64 * mib);
    assert_eq!(cost.count_current, 0, "something grows: {cost:?}");
    println!("{cost:?} for 64 MiB");
    let pieces = 64 * mib;
    assert!(cost.count_total <= 3 * pieces, "{cost:?}");
    assert!(
        cost.bytes_total <= 2048 * pieces,
        "bytes are copied: {cost:?}"
    );
}

#[test]
fn an_encoder_at_rest_keeps_little() {
    let mut encoder = Encoder::new(Side::Agent);
    let mut line = VecDeque::new();
    let id = c2l_tunnel::StreamId::new(1).unwrap();
    let cost = measure(|| {
        let body = c2l_tunnel::Frame::Body(Bytes::from_static(&[0; 4096]));
        let frames = std::iter::repeat_n((id, body), 200).collect();
        let control = Vec::new();
        encoder.encode(Batch { control, frames }, &mut line);
        line = VecDeque::new();
    });
    assert!(cost.bytes_current <= 4096, "{cost:?}");
}
