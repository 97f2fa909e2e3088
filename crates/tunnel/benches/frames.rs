//! What a frame costs: encoded, decoded, and found among many streams that have something to say.
//!
//! `cargo bench -p c2l-tunnel --bench frames`. Beside each of our own codec stands the one of the generated types.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use c2l_tunnel::{
    Batch, Frame, Limits, Link, RequestHead, ResponseHead, Scopes, Settings, Side, StreamHandle,
    StreamId, Welcome,
    wire::{self, Decoder, Encoder, MESSAGE_PREFIX_BYTES, Piece},
};
use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use prost::Message as _;

const CASES: [&str; 3] = ["head", "token", "piece"];

fn main() {
    divan::main();
}

/// One message of an agent's, with one frame.
fn batch(case: &str) -> Batch {
    let frame = match case {
        "head" => Frame::ResponseHead(Box::new(answer())),
        "token" => Frame::Body(Bytes::from_static(&[b't'; 100])),
        _ => Frame::Body(Bytes::from_static(&[b'b'; 64 * 1024])),
    };
    Batch {
        control: Vec::new(),
        frames: vec![(StreamId::new(77).expect("not 0"), frame)],
    }
}

fn answer() -> ResponseHead {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(
        header::DATE,
        HeaderValue::from_static("Tue, 01 Jan 2030 00:00:00 GMT"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ResponseHead {
        status: StatusCode::OK,
        headers,
        is_whole: false,
        model: String::new(),
    }
}

#[divan::bench(args = CASES)]
fn encode(bencher: Bencher<'_, '_>, case: &str) {
    let mut encoder = Encoder::new(Side::Agent);
    let mut line = VecDeque::new();
    bencher
        .with_inputs(|| batch(case))
        .bench_local_values(|batch| {
            encoder.encode(batch, &mut line);
            black_box(&line);
            line.clear();
        });
}

#[divan::bench(args = CASES)]
fn encode_by_generated_types(bencher: Bencher<'_, '_>, case: &str) {
    bencher
        .with_inputs(|| batch(case))
        .bench_local_values(|batch| wire::encode_agent(batch).encode_to_vec());
}

/// The bytes of one message, in the parts that cross.
fn line(case: &str) -> Vec<Bytes> {
    let mut line = VecDeque::new();
    Encoder::new(Side::Agent).encode(batch(case), &mut line);
    line.into_iter().flat_map(Piece::into_parts).collect()
}

#[divan::bench(args = CASES)]
fn decode(bencher: Bencher<'_, '_>, case: &str) {
    let line = line(case);
    let mut decoder = Decoder::new(Side::Agent, 1 << 20);
    bencher.bench_local(|| {
        line.iter().for_each(|piece| decoder.push(piece.clone()));
        decoder.next_batch().expect("valid").expect("whole")
    });
}

#[divan::bench(args = CASES)]
fn decode_by_generated_types(bencher: Bencher<'_, '_>, case: &str) {
    let message = Bytes::from(line(case).concat()).slice(MESSAGE_PREFIX_BYTES..);
    bencher.bench_local(|| {
        let message = proto::AgentMessage::decode(message.clone()).expect("protobuf");
        wire::decode_agent(message).expect("valid")
    });
}

/// One message of a session in which so many streams have a token ready; a full one holds some hundreds.
#[divan::bench(args = [1, 100, 1000])]
fn schedule(bencher: Bencher<'_, '_>, streams: usize) {
    let (link, handles, now) = session(streams);
    let cx = &mut Context::from_waker(Waker::noop());
    bencher.bench_local(|| {
        for handle in &handles {
            let mut token = Bytes::from_static(&[b't'; 100]);
            handle.send_body(&mut token, now).expect("room");
        }
        let mut bytes = 0;
        while let Poll::Ready(Some(batch)) = link.poll_transmit(now, cx) {
            bytes += batch.frames.len();
            let id = |(id, _): &(StreamId, Frame)| (*id, Frame::Window(100));
            let frames = batch.frames.iter().map(id).collect();
            let credit = Batch {
                control: Vec::new(),
                frames,
            };
            link.receive(credit, now).expect("fine");
        }
        bytes
    });
}

#[expect(clippy::disallowed_methods, reason = "a base to count from")]
fn session(streams: usize) -> (Link, Vec<StreamHandle>, Instant) {
    let now = Instant::now();
    let limits = Limits::default();
    let link = Link::new(
        &Settings {
            side: Side::Relay,
            limits,
            greeting_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(10),
            stream_limits: None,
        },
        now,
    );
    link.welcome(
        Welcome {
            session_id: String::new(),
            protocol_version: 1,
            limits,
            heartbeat_interval: Duration::from_secs(10),
            build: String::new(),
            token_holds: None,
        },
        now,
    );
    let cx = &mut Context::from_waker(Waker::noop());
    let open = |_| {
        let head = RequestHead {
            method: Method::POST,
            target: "/".parse().expect("a target"),
            headers: HeaderMap::new(),
            is_whole: false,
            expects_continue: false,
            request_id: String::new(),
            scopes: Scopes::default(),
            models: Vec::new(),
        };
        link.open(head, now).expect("room")
    };
    let handles = (0..streams).map(open).collect();
    while link.poll_transmit(now, cx).is_ready() {}
    (link, handles, now)
}
