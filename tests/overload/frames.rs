//! Floods of HTTP/2 frames, frames that break a rule, and the frames of our own that no peer may complain about.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use c2l_demo::Counters;
use c2l_proto::tunnel::{AgentMessage, ResponseHead, TunnelResponse, tunnel_response::Frame};
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, RawUpstream, TestAgent, TestRelay, TestUpstream, empty,
    eventually,
    http2::{
        self, END_HEADERS, END_STREAM, Http2Connection, Http2Frame, PREFACE, code, fields, frame,
        kind,
    },
    within,
};
use c2l_tunnel::{
    Batch, Control, Hello, PROTOCOL_VERSION, Side,
    wire::{CONNECT_PATH, Encoder, Piece},
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use super::{Place, USER};

const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
const FLOOD: usize = 100_000;

/// The head of a chat whose body is still to come.
fn chat_head(raw: &Http2Connection, stream: u32, token: &str) -> Vec<u8> {
    let mut block = raw.request("POST", "/api/chat", token);
    block.extend(fields([("content-type", "application/json")]));
    frame(kind::HEADERS, END_HEADERS, stream, &block)
}

fn chat(raw: &Http2Connection, stream: u32, token: &str, model: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "model": model,
        "messages": [{ "role": "user", "content": "hello" }],
    });
    let mut frames = chat_head(raw, stream, token);
    frames.extend(frame(
        kind::DATA,
        END_STREAM,
        stream,
        body.to_string().as_bytes(),
    ));
    frames
}

/// How a connection ends: with which error code in its GOAWAY, if there is one.
async fn end_of(raw: &mut Http2Connection) -> Option<u32> {
    let farewell = raw.next_of(kind::GOAWAY).await?;
    Some(farewell.error_code())
}

#[tokio::test]
async fn res_04_ten_thousand_resets_in_a_burst_are_bounded_work() {
    const RESETS: u32 = 10_000;
    let place = Place::with(|_| {}).await;
    let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
    let block = raw.request("GET", "/api/tags", &place.token());
    let mut burst = Vec::new();
    for number in 0..RESETS {
        let stream = 2 * number + 1;
        burst.extend(frame(
            kind::HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block,
        ));
        burst.extend(frame(kind::RST_STREAM, 0, stream, &CANCEL));
    }
    let began = Instant::now();
    raw.send(&burst).await;
    place.is_calm().await;
    let end = within(Duration::from_secs(10), "the end", end_of(&mut raw)).await;
    let reached = place.upstream.demo.counters().requests_started;
    println!(
        "RES-04: ended with {end:?} after {:?}, {reached} reached the upstream",
        began.elapsed()
    );
    assert_eq!(end, Some(code::ENHANCE_YOUR_CALM));
    assert!(reached < u64::from(RESETS) / 10, "{reached} were worked on");
    drop(raw);
    place.is_flat().await;
}

#[tokio::test]
async fn res_04_streams_that_are_reset_while_the_upstream_works_are_released_there() {
    const ROUNDS: u32 = 10;
    const EACH: u32 = 100;
    let place = Place::with(|_| {}).await;
    let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
    for round in 0..ROUNDS {
        let streams = || (0..EACH).map(|number| 2 * (round * EACH + number) + 1);
        let token = place.token();
        let asked: Vec<u8> = streams()
            .flat_map(|stream| chat(&raw, stream, &token, "tiny+silent=0"))
            .collect();
        assert!(raw.send(asked).await);
        let working = |counters: &Counters| counters.requests_active == u64::from(EACH);
        place.upstream.wait_for("all of them", working).await;
        let resets: Vec<u8> = streams()
            .flat_map(|stream| frame(kind::RST_STREAM, 0, stream, &CANCEL))
            .collect();
        assert!(raw.send(resets).await);
        let released = |counters: &Counters| counters.requests_active == 0;
        place.upstream.wait_for("none of them", released).await;
    }
    place.is_calm().await;
    let stopped = place.upstream.demo.counters().generations_stopped;
    assert_eq!(stopped, u64::from(ROUNDS * EACH));
    drop(raw);
    place.is_flat().await;
}

#[tokio::test]
async fn res_05_fields_without_end_end_the_connection() {
    let place = Place::with(|_| {}).await;
    let field = fields([("x-more", "of the same")]);
    let full = field.repeat(16 * 1024 / field.len());
    for (what, payload) in [("empty", &[][..]), ("small", &field), ("full", &full)] {
        let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
        let block = raw.request("GET", "/api/tags", &place.token());
        raw.send(frame(kind::HEADERS, END_STREAM, 1, &block)).await;
        let mut sent = 0_usize;
        let more = frame(kind::CONTINUATION, 0, 1, payload).repeat(16);
        while raw.send(&more).await {
            sent += more.len();
            assert!(sent < 16 << 20, "{what}: {sent} bytes were taken");
        }
        let end = within(Duration::from_secs(5), "the end", end_of(&mut raw)).await;
        println!("RES-05: {what} continuations: {sent} bytes taken, ended with {end:?}");
        place.is_calm().await;
    }
    assert_eq!(place.upstream.demo.counters().requests_started, 0);
    place.is_flat().await;
}

/// The floods that cost a sender next to nothing.
fn floods(raw: &Http2Connection, token: &str) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let open = chat_head(raw, 1, token);
    vec![
        ("PING", Vec::new(), frame(kind::PING, 0, 0, &[7; 8])),
        ("SETTINGS", Vec::new(), frame(kind::SETTINGS, 0, 0, &[])),
        (
            "PRIORITY",
            Vec::new(),
            frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 0, 16]),
        ),
        ("empty DATA", open.clone(), frame(kind::DATA, 0, 1, &[])),
        ("small DATA", open.clone(), frame(kind::DATA, 0, 1, b" ")),
        (
            "WINDOW_UPDATE of the connection",
            Vec::new(),
            frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        ),
        (
            "WINDOW_UPDATE of a stream",
            open,
            frame(kind::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()),
        ),
    ]
}

#[tokio::test]
async fn res_06_a_hundred_thousand_frames_of_no_use_are_ignored_or_end_the_connection() {
    let place = Place::with(|_| {}).await;
    let token = place.token();
    let count = floods(
        &Http2Connection::open(place.relay.address(), &[]).await,
        &token,
    )
    .len();
    for index in 0..count {
        let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
        let (what, before, frame_of_it) = floods(&raw, &token).swap_remove(index);
        raw.send(before).await;
        let began = Instant::now();
        let mut sent = 0;
        let thousand = frame_of_it.repeat(1000);
        while sent < FLOOD && raw.send(&thousand).await {
            sent += 1000;
        }
        place.is_calm().await;
        // Either it is over, or it is a connection like any other.
        raw.send(chat(&raw, 3, &token, "tiny+lines=1")).await;
        let is_telling = |frame: &Http2Frame| {
            frame.kind == kind::GOAWAY || frame.kind == kind::HEADERS && frame.stream == 3
        };
        let end = match raw.next_where(is_telling).await {
            None => "closed".to_owned(),
            Some(frame) if frame.kind == kind::GOAWAY => format!("GOAWAY {}", frame.error_code()),
            Some(_) => "ignored".to_owned(),
        };
        println!("RES-06: {sent} x {what} in {:?}: {end}", began.elapsed());
    }
    place.is_flat().await;
}

#[tokio::test]
async fn res_06_a_flooder_who_does_not_read_the_replies_is_hung_up_on() {
    const LIMIT: Duration = Duration::from_millis(1000);
    let place = Place::with(|config| config.gap_timeout = LIMIT).await;
    for (what, frame_of_it) in [
        ("PING", frame(kind::PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
    ] {
        let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
        let mut sent = 0_usize;
        let chunk = frame_of_it.repeat(4096);
        while raw
            .send_without_reading(&chunk, Duration::from_secs(10))
            .await
        {
            sent += chunk.len();
            assert!(sent < 256 << 20, "{sent} bytes were taken");
        }
        println!(
            "RES-06: {what}, nothing read: {} KiB were taken",
            sent >> 10
        );
        place.relay.metric_becomes("c2l_connections", 2).await; // the agents' own
        place.is_calm().await;
    }
    place.is_flat().await;
}

#[tokio::test]
async fn res_07_credit_out_of_range_ends_what_it_was_given_to() {
    const MOST: u32 = (1 << 31) - 1;
    let place = Place::with(|_| {}).await;
    let token = place.token();
    let credit =
        |stream: u32, bytes: u32| frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    // What the relay's HTTP library answers to credit of 0 on a stream is the end of the connection, which RFC 9113
    // §5.4.2 permits; the rest is as §6.9 asks.
    for (what, frames, is_connection_over, expected) in [
        (
            "too much for the connection",
            credit(0, MOST),
            true,
            code::FLOW_CONTROL_ERROR,
        ),
        (
            "too much for a stream",
            credit(1, MOST),
            false,
            code::FLOW_CONTROL_ERROR,
        ),
        (
            "none for the connection",
            credit(0, 0),
            true,
            code::PROTOCOL_ERROR,
        ),
        (
            "none for a stream",
            credit(1, 0),
            true,
            code::PROTOCOL_ERROR,
        ),
        (
            "for a stream that is idle",
            credit(99, 1),
            true,
            code::PROTOCOL_ERROR,
        ),
    ] {
        let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
        raw.send(chat_head(&raw, 1, &token)).await;
        raw.send(&frames).await;
        let is_verdict = |frame: &Http2Frame| {
            frame.kind == kind::GOAWAY || frame.kind == kind::RST_STREAM && frame.stream == 1
        };
        let verdict = raw.next_where(is_verdict).await.expect("a verdict");
        assert_eq!(verdict.error_code(), expected, "{what}");
        assert_eq!(verdict.kind == kind::GOAWAY, is_connection_over, "{what}");
        if is_connection_over {
            let is_more = |frame: &Http2Frame| frame.kind == kind::HEADERS;
            assert!(raw.next_where(is_more).await.is_none(), "{what}: closed");
        } else {
            raw.send(chat(&raw, 3, &token, "tiny+lines=1")).await;
            let head = raw.next_of(kind::HEADERS).await.expect("an answer");
            assert_eq!(head.stream, 3, "{what}: the connection goes on");
        }
    }
    place.is_calm().await;
    place.is_flat().await;
}

#[tokio::test]
async fn res_08_a_frame_over_the_limit_ends_its_connection_alone() {
    let place = Place::with(|_| {}).await;
    let mut other = Http2Connection::open(place.relay.address(), &[]).await;
    let mut raw = Http2Connection::open(place.relay.address(), &[]).await;
    raw.send(chat_head(&raw, 1, &place.token())).await;
    let settings = raw.next_of(kind::SETTINGS).await.expect("settings");
    let most = settings
        .payload
        .chunks_exact(6)
        .find(|setting| setting[..2] == [0, 5])
        .map(|setting| u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
        .expect("a limit of its own");
    let large = vec![b' '; most as usize + 1];
    raw.send(frame(kind::DATA, 0, 1, &large)).await;
    assert_eq!(end_of(&mut raw).await, Some(code::FRAME_SIZE_ERROR));
    other
        .send(chat(&other, 1, &place.token(), "tiny+lines=1"))
        .await;
    other.next_of(kind::HEADERS).await.expect("an answer");
    place.is_calm().await;
    drop((raw, other));
    place.is_flat().await;
}

type Told = hyper::Result<(StatusCode, (Bytes, bool))>;

/// An agent of `mallory` that has just been asked something, on which stream, and what its caller will have been told.
async fn asked(relay: &TestRelay) -> (FakeAgent, u64, JoinHandle<Told>) {
    let mut agent = FakeAgent::connect(relay.address(), &relay.agent_token(USER), "laptop")
        .await
        .expect("a session");
    let caller = Caller::new(relay.address(), relay.api_token(USER));
    let asking = tokio::spawn(async move {
        let request = caller.request(Method::GET, "/api/tags").body(empty());
        let mut answer = caller.try_send(request.expect("a request")).await?;
        Ok((answer.status(), answer.rest().await))
    });
    let request = agent.request().await.expect("a request");
    (agent, request.stream_id, asking)
}

#[tokio::test]
async fn res_08_a_tunnel_message_over_the_limit_ends_that_session_alone() {
    let relay = TestRelay::start().await;
    let neighbour = super::Neighbour::of(&relay).await;
    let (mut agent, stream_id, asking) = asked(&relay).await;
    let response = TunnelResponse {
        stream_id,
        frame: Some(Frame::Body(vec![b' '; 2 << 20].into())),
    };
    let message = AgentMessage {
        control: Vec::new(),
        responses: vec![response],
    };
    agent.send(message).await;
    let status = agent.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let told = asking.await.expect("a caller");
    let (status, (body, _)) = told.expect("an answer");
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let error: serde_json::Value = serde_json::from_slice(&body).expect("an error");
    assert_eq!(error["code"], "agent_protocol");
    neighbour.is_calm(&relay).await;
    relay.metric_becomes("c2l_sessions", 1).await;
}

/// The status that ends a call in which an agent greets and then says this.
async fn status_after(relay: &TestRelay, said: &[u8]) -> Status {
    let hello = Batch {
        control: vec![Control::Hello(Box::new(Hello {
            protocol_version: PROTOCOL_VERSION,
            build: "fake".to_owned(),
            device_name: "laptop".to_owned(),
            device_id: [7; 16],
            capabilities: Vec::new(),
            attempt: 0,
        }))],
        frames: Vec::new(),
    };
    let mut pieces = VecDeque::new();
    Encoder::new(Side::Agent).encode(hello, &mut pieces);
    let hello = pieces.into_iter().flat_map(Piece::into_parts);
    let whole: Vec<u8> = hello
        .chain([Bytes::copy_from_slice(said)])
        .flatten()
        .collect();
    let request = Request::post(format!("http://{}{CONNECT_PATH}", relay.address()))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header(
            "authorization",
            format!("Bearer {}", relay.agent_token(USER)),
        )
        .body(Full::new(Bytes::from(whole)))
        .expect("a request");
    let stream = TcpStream::connect(relay.address()).await.expect("a relay");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let moving = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = within(PATIENCE, "an answer", sender.send_request(request)).await;
    let body = answer.expect("an answer").into_body().collect();
    let ended = within(PATIENCE, "the end", body)
        .await
        .expect("a whole answer");
    drop(moving);
    let trailers = ended.trailers().expect("trailers");
    Status::from_header_map(trailers).expect("a status")
}

#[tokio::test]
async fn res_08_what_is_no_message_ends_that_session_and_says_so() {
    let relay = TestRelay::start().await;
    let neighbour = super::Neighbour::of(&relay).await;
    for (said, reason) in [
        (&[1, 0, 0, 0, 0][..], "flag before a message"),
        (&[0, 0, 0, 0, 1, 0xff], "message that is not protobuf"),
    ] {
        let status = status_after(&relay, said).await;
        assert_eq!(status.code(), Code::Internal, "{status}");
        let expected = format!("protocol broken: unexpected {reason}");
        assert_eq!(status.message(), expected);
    }
    neighbour.is_calm(&relay).await;
    relay.metric_becomes("c2l_sessions", 1).await;
}

#[tokio::test]
async fn res_08_a_body_frame_over_the_limit_ends_that_session_alone() {
    let relay = TestRelay::start().await;
    let neighbour = super::Neighbour::of(&relay).await;
    let (mut agent, stream_id, asking) = asked(&relay).await;
    let head = ResponseHead {
        status: 200,
        headers: Vec::new(),
        is_whole: false,
        model: String::new(),
    };
    let both = [
        Frame::Head(head),
        Frame::Body(vec![b' '; (64 << 10) + 1].into()),
    ];
    let responses = both.map(|frame| TunnelResponse {
        stream_id,
        frame: Some(frame),
    });
    let message = AgentMessage {
        control: Vec::new(),
        responses: responses.into(),
    };
    agent.send(message).await;
    let status = agent.end().await;
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert!(status.message().contains("65537"), "{status}");
    // The head had come already, so what the caller sees depends on whether it had left: a refusal, a torn answer, or
    // no answer at all. Never one that looks whole.
    if let Ok(answer) = asking.await.expect("a caller") {
        let (status, (body, is_whole)) = answer;
        assert!(status == StatusCode::BAD_GATEWAY || !is_whole, "{body:?}");
    }
    neighbour.is_calm(&relay).await;
    relay.metric_becomes("c2l_sessions", 1).await;
}

/// What went by on a connection.
#[derive(Debug, Default)]
struct Seen {
    data: AtomicU64,
    empty_data: AtomicU64,
    goaways: AtomicU64,
}

impl Seen {
    fn note(&self, frame: &Http2Frame) {
        let is_last = frame.flags & END_STREAM != 0;
        match frame.kind {
            kind::DATA if frame.payload.is_empty() && !is_last => &self.empty_data,
            kind::DATA => &self.data,
            kind::GOAWAY if frame.error_code() != code::NO_ERROR => &self.goaways,
            _ => return,
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// Passes a connection on, and looks at every frame of it, both ways.
async fn watch(between: TcpStream, target: SocketAddr, seen: Arc<Seen>) {
    let Ok(onward) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&between, &onward] {
        stream.set_nodelay(true).expect("no delay");
    }
    let (near_in, near_out) = between.into_split();
    let (far_in, far_out) = onward.into_split();
    tokio::join!(
        pass(near_in, far_out, PREFACE.len(), &seen),
        pass(far_in, near_out, 0, &seen)
    );
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, skipped: usize, seen: &Seen) {
    let mut frames = BytesMut::new();
    let mut left_to_skip = skipped;
    let mut piece = BytesMut::new();
    while let Ok(1..) = from.read_buf(&mut piece).await {
        frames.extend_from_slice(&piece);
        let skipping = left_to_skip.min(frames.len());
        frames.advance(skipping);
        left_to_skip -= skipping;
        while let Some(frame) = Http2Frame::take_from(&mut frames) {
            seen.note(&frame);
        }
        if to.write_all(&piece.split()).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

/// A place in the middle of a connection to `target`.
async fn watched(target: SocketAddr) -> (RawUpstream, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let noting = Arc::clone(&seen);
    let middle = RawUpstream::start(move |stream| watch(stream, target, Arc::clone(&noting))).await;
    (middle, seen)
}

/// An upstream in HTTP/1.1 cannot say an empty chunk: that is the end of a body. What comes nearest is a head without
/// a body behind it, and the end of a body in a segment of its own; here are both, and chunks of one byte.
async fn dribbling_upstream() -> RawUpstream {
    RawUpstream::start(|mut stream: TcpStream| async move {
        stream.set_nodelay(true).expect("no delay");
        let mut asked = BytesMut::new();
        while let Ok(1..) = stream.read_buf(&mut asked).await {
            if !asked.ends_with(b"\r\n\r\n") {
                continue;
            }
            asked.clear();
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunks = b"1\r\nx\r\n".repeat(100);
            for part in std::iter::once(&head[..])
                .chain(chunks.chunks(6))
                .chain([&b"0\r\n\r\n"[..]])
            {
                if stream.write_all(part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn res_16_no_data_frame_of_ours_is_empty() {
    let why = "the frames of the tunnel are read in clear";
    let relay = TestRelay::start_plain(why, |config| {
        config.heartbeat_interval = Duration::from_millis(700);
    })
    .await;
    let (tunnel, in_tunnel) = watched(relay.address()).await;
    let (door, at_door) = watched(relay.address()).await;
    let demo = TestUpstream::start().await;
    let dribbling = dribbling_upstream().await;
    let url = format!("http://{}", tunnel.address());
    let mut agents = Vec::new();
    for (user, upstream) in [(USER, demo.address()), ("bob", dribbling.address())] {
        let mut agent = TestAgent::start(&url, relay.agent_token(user), upstream, |config| {
            config.transport = c2l_agent::Transport::Grpc;
        });
        agent.connected().await;
        agents.push(agent);
    }

    // Uploads with empty DATA between their bytes, answers in pieces, answers that are cut off.
    let mut raw = Http2Connection::open(door.address(), &[]).await;
    let token = relay.api_token(USER);
    for number in 0..30 {
        let stream = 2 * number + 1;
        let model = ["tiny+lines=50", "tiny+lines=20+gap=2ms", "tiny+tear=5"][number as usize % 3];
        let body = serde_json::json!({ "model": model, "prompt": "hello" }).to_string();
        raw.send(chat_head(&raw, stream, &token)).await;
        for piece in body.as_bytes().chunks(8) {
            raw.send(frame(kind::DATA, 0, stream, piece)).await;
            if number < 2 {
                raw.send(frame(kind::DATA, 0, stream, &[])).await;
            }
        }
        raw.send(frame(kind::DATA, END_STREAM, stream, &[])).await;
        let is_end = |frame: &Http2Frame| {
            frame.stream == stream
                && (frame.kind == kind::RST_STREAM || frame.flags & http2::END_STREAM != 0)
        };
        let end = raw.next_where(is_end).await.expect("an end");
        assert!(matches!(
            end.kind,
            kind::DATA | kind::RST_STREAM | kind::HEADERS
        ));
    }
    let ours_at_door = at_door.empty_data.load(Ordering::Relaxed);
    let bob = Caller::new(relay.address(), relay.api_token("bob"));
    for _ in 0..20 {
        let answer = bob.get("/api/tags").await.text().await;
        assert_eq!(answer, "x".repeat(100));
    }
    // Then there are only heartbeats, of two agents and in both directions.
    let beaten = in_tunnel.data.load(Ordering::Relaxed) + 8;
    let beats = async || (in_tunnel.data.load(Ordering::Relaxed) >= beaten).then_some(());
    eventually(Duration::from_secs(10), "heartbeats", beats).await;
    println!("RES-16: in the tunnel {in_tunnel:?}, at the door {at_door:?}");
    assert!(in_tunnel.data.load(Ordering::Relaxed) > 200, "it was used");
    assert_eq!(in_tunnel.empty_data.load(Ordering::Relaxed), 0);
    // The caller's own are counted here, too: two uploads of a few pieces. Not one more is ours.
    let pieces = |model: &str| {
        let body = serde_json::json!({ "model": model, "prompt": "hello" }).to_string();
        body.len().div_ceil(8) as u64
    };
    let callers_own = pieces("tiny+lines=50") + pieces("tiny+lines=20+gap=2ms");
    assert_eq!(ours_at_door, callers_own);
    for seen in [in_tunnel, at_door] {
        assert_eq!(seen.goaways.load(Ordering::Relaxed), 0);
    }
    assert_eq!(relay.metric("c2l_sessions_total").await, 2);
    drop(agents);
}
