//! Lines that are long, uneven, narrow, or end in the middle: everything arrives, or it is said that it does not.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Buf as _, Bytes, BytesMut};
use c2l_agent::{Status, Transport};
use c2l_testkit::{
    Caller, Loss, PATIENCE, PlayedUpstream, RawUpstream, Shape, TestAgent, TestProxy, TestRelay,
    Toward, full, within,
};
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{begun_chat, torn, whole_chat};

const HEARTBEAT: Duration = Duration::from_millis(1_500);
/// Of the two directions together, so that no wait of ours passes for the line's.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A relay and an agent with a line of this shape between them.
struct Line {
    _relay: TestRelay,
    proxy: TestProxy,
    agent: TestAgent,
    caller: Caller,
    heartbeat: Duration,
}

impl Line {
    async fn start(
        upstream: SocketAddr,
        shape: Shape,
        heartbeat: Duration,
        transport: Option<Transport>,
    ) -> Self {
        let relay = TestRelay::start_with(|config| config.heartbeat_interval = heartbeat).await;
        let proxy = TestProxy::start_with(relay.address(), shape).await;
        let url = relay.url_through(proxy.address());
        let mut agent = TestAgent::start(&url, relay.agent_token("ada"), upstream, |config| {
            config.transport = transport.unwrap_or(config.transport);
            config.policy.allow_cloud_models = true; // bodies here are no JSON: none of them is judged
        });
        agent.connected().await;
        let caller = Caller::new(relay.address(), relay.api_token("ada"));
        Self {
            _relay: relay,
            proxy,
            agent,
            caller,
            heartbeat,
        }
    }

    fn session(&self) -> String {
        session(&self.agent.status().borrow()).expect("an open session")
    }

    /// Waits out so many intervals, and looks whether heartbeats kept the session.
    async fn is_kept_for(&self, intervals: u32, session: &str) {
        sleep(intervals * self.heartbeat).await; // paced: heartbeats are the subject, and they come with time alone
        assert_eq!(self.session(), session, "the session was given up");
        assert_eq!(self.proxy.accepted(), 1, "another connection was made");
    }
}

fn session(status: &Status) -> Option<String> {
    match status {
        Status::Open { session_id, .. } => Some(session_id.clone()),
        _ => None,
    }
}

/// Answers each request with the bytes of its body.
async fn echoes() -> RawUpstream {
    RawUpstream::start(|mut stream| async move { while echo(&mut stream).await.is_some() {} }).await
}

/// One exchange; `None` at the end of the connection.
async fn echo(stream: &mut TcpStream) -> Option<()> {
    let mut seen = BytesMut::new();
    let head = loop {
        if let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(seen[..end].to_ascii_lowercase()).expect("text");
            seen.advance(end + 4);
            break head;
        }
        (stream.read_buf(&mut seen).await.ok()? > 0).then_some(())?;
    };
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .expect("an announced length");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    let mut left = length;
    while left > 0 {
        if seen.is_empty() {
            (stream.read_buf(&mut seen).await.ok()? > 0).then_some(())?;
        }
        let piece = seen.split_to(seen.len().min(left));
        left -= piece.len();
        stream.write_all(&piece).await.ok()?;
    }
    Some(())
}

/// Sends bytes that nobody else sends, and expects them back.
async fn ask(caller: &Caller, number: usize, length: usize) {
    let sent: Bytes = format!("request {number} ")
        .bytes()
        .cycle()
        .take(length)
        .collect();
    let request = caller
        .request(Method::POST, "/api/generate")
        .body(full(sent.clone()))
        .expect("a request");
    let mut answer = caller.send(request).await;
    assert_eq!(answer.status(), 200, "request {number}");
    let (got, is_whole) = answer.rest().await;
    assert!(is_whole, "request {number} was torn");
    let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    assert_eq!(hash(&got), hash(&sent), "request {number}: other bytes");
}

/// Says how long they took.
async fn five_hundred_requests(shape: Shape, transport: Option<Transport>) -> String {
    let upstream = echoes().await;
    let line = Line::start(upstream.address(), shape, HEARTBEAT, transport).await;
    let session = line.session();
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for lane in 0..100 {
        let caller = line.caller.clone();
        asking.spawn(async move {
            for round in 0..5 {
                let number = lane * 5 + round;
                ask(&caller, number, 20 + (number * 37) % 8_000).await;
            }
            5
        });
    }
    let mut done = 0;
    while let Some(lane) = within(6 * PATIENCE, "500 requests", asking.join_next()).await {
        done += lane.expect("no panic");
    }
    assert_eq!(done, 500);
    let took = began.elapsed();
    assert!(
        took >= 10 * shape.delay,
        "five round trips took {took:?}: the line is not long"
    );
    line.is_kept_for(3, &session).await;
    line.agent.shut_down().await;
    format!("500 requests over {shape:?} took {took:?}")
}

fn uneven(delay: u64, jitter: u64) -> Shape {
    Shape {
        delay: Duration::from_millis(delay),
        jitter: Duration::from_millis(jitter),
        bytes_per_second: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_08_five_hundred_requests_over_50_ms_with_jitter_complete_with_the_right_hash() {
    println!("{}", five_hundred_requests(uneven(50, 20), None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_08_five_hundred_requests_over_300_ms_with_jitter_complete_with_the_right_hash() {
    println!("{}", five_hundred_requests(uneven(300, 100), None).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_08_five_hundred_requests_over_300_ms_and_a_bridge_complete_with_the_right_hash() {
    println!(
        "{}",
        five_hundred_requests(uneven(300, 100), Some(Transport::WebSocket)).await
    );
}

/// A full message takes several heartbeat intervals here, in both directions: no message is heard in that time, and
/// yet the line is not silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_line_that_moves_is_never_given_up() {
    const LENGTH: usize = 300 * 1024;
    let shape = Shape {
        bytes_per_second: Some(100 * 1024),
        ..Shape::default()
    };
    let heartbeat = Duration::from_millis(250);
    let upstream = echoes().await;
    let line = Line::start(upstream.address(), shape, heartbeat, None).await;
    let session = line.session();
    let began = Instant::now();
    let asking = ask(&line.caller, 1, LENGTH);
    within(3 * PATIENCE, "a large request and its answer", asking).await;
    let took = began.elapsed();
    assert!(took >= 8 * heartbeat, "{took:?}: the line is not narrow");
    println!("{LENGTH} bytes there and back over {shape:?} took {took:?}");
    line.is_kept_for(3, &session).await;
}

#[tokio::test]
async fn a_pause_that_is_shorter_than_two_heartbeats_tears_nothing() {
    let upstream = PlayedUpstream::start().await;
    let line = Line::start(upstream.address(), Shape::default(), HEARTBEAT, None).await;
    let session = line.session();
    let (mut connection, mut answer) = begun_chat(&line.caller, &upstream, 3).await;
    line.proxy.lose(Loss::Everything);
    connection.send_chunk(super::LINE).await;
    sleep(HEARTBEAT).await; // paced: the pause is the subject
    line.proxy.heal();
    let piece = within(AT_ONCE, "the line after the pause", answer.piece()).await;
    assert_eq!(piece.expect("no tear").expect("no end"), super::LINE);
    connection.finish().await;
    assert_eq!(answer.piece().await.expect("no tear"), None);
    line.is_kept_for(2, &session).await;
}

/// What ends the present connections while an answer streams is told at once, and the agent is back by itself. Says how
/// soon.
async fn is_told_at_once(what: &str, end: impl FnOnce(&mut TestProxy)) -> String {
    let upstream = PlayedUpstream::start().await;
    let mut line = Line::start(upstream.address(), uneven(20, 10), HEARTBEAT, None).await;
    let first = line.session();
    let (connection, mut answer) = begun_chat(&line.caller, &upstream, 3).await;
    let began = Instant::now();
    end(&mut line.proxy);
    let record = within(AT_ONCE, "the caller is told", torn(&mut answer)).await;
    assert_eq!(record["code"], "agent_lost", "{what}: {record}");
    connection.closed(AT_ONCE).await;
    let told_after = began.elapsed();
    let mut status = line.agent.status();
    let is_new = |status: &Status| session(status).is_some_and(|id| id != first);
    let back = within(PATIENCE, "a new session", status.wait_for(is_new)).await;
    drop(back.expect("an agent that runs"));
    let back_after = began.elapsed();
    whole_chat(&line.caller, &upstream).await;
    format!("{what}: told after {told_after:?}, back after {back_after:?}")
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_at_once_and_the_agent_is_back() {
    println!("{}", is_told_at_once("cut", TestProxy::cut_present).await);
}

#[tokio::test]
async fn a_direction_that_ends_alone_is_told_at_once_and_the_agent_is_back() {
    for toward in [Toward::Relay, Toward::Agent] {
        let what = format!("half-closed toward {toward:?}");
        let end = |proxy: &mut TestProxy| proxy.half_close_present(toward);
        println!("{}", is_told_at_once(&what, end).await);
    }
}
