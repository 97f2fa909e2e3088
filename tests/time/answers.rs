//! The limits on an answer: its first byte, the gaps in it, and reaching the upstream at all.

use std::time::Duration;

use c2l_testkit::{Caller, RawUpstream, TestAgent, TestRelay, within};
use http::StatusCode;
use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{assert_waited, loop_with};

#[tokio::test]
async fn tim_01_without_a_device_a_thousand_tries_are_refused_at_once() {
    let relay = TestRelay::start().await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let mut times = Vec::new();
    for _ in 0..1000 {
        let began = Instant::now();
        let answer = caller.get("/api/tags").await;
        times.push(began.elapsed());
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.header("retry-after"), "5");
    }
    times.sort_unstable();
    let (median, p99) = (times[500], times[990]);
    println!("TIM-01: median {median:?}, p99 {p99:?}, connection included");
    assert!(p99 < Duration::from_millis(100), "p99 is {p99:?}");
}

#[tokio::test]
async fn tim_02_an_upstream_that_never_answers_is_a_504_that_names_the_limit() {
    const LIMIT: Duration = Duration::from_millis(700);
    let relay = TestRelay::start_with(|config| config.first_byte_timeout = LIMIT).await;
    let (left, mut leaving) = mpsc::channel(1);
    let upstream = RawUpstream::start(move |mut stream: TcpStream| {
        let left = left.clone();
        async move {
            // Takes everything and says nothing, until the agent gives up.
            let mut taken = Vec::new();
            stream.read_to_end(&mut taken).await.ok();
            left.send(taken).await.ok();
        }
    })
    .await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));

    let began = Instant::now();
    let answer = caller.get("/api/tags").await;
    assert_waited(began.elapsed(), LIMIT);
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let error = answer.json().await;
    assert_eq!(error["code"], "timeout");
    assert_eq!(error["origin"], "upstream");
    let message = error["error"].as_str().expect("a sentence");
    assert!(
        message.contains("700ms") && message.contains("first byte"),
        "{message}"
    );
    // What no model has to be loaded for is dropped at once.
    let taken = within(Duration::from_secs(1), "the request is dropped", async {
        leaving.recv().await.expect("the upstream runs")
    })
    .await;
    assert!(taken.starts_with(b"GET /api/tags "), "it was asked");
    relay.metric_becomes("c2l_requests_active", 0).await;
}

#[tokio::test]
async fn tim_03_an_answer_that_falls_silent_ends_with_an_error_and_a_cut() {
    const LIMIT: Duration = Duration::from_millis(3000);
    let (relay, upstream, agent, caller) = loop_with(|config| {
        config.gap_timeout = LIMIT;
        // Several of ours pass in each gap, and none of them is a sign of life of the answer.
        config.heartbeat_interval = LIMIT / 3;
    })
    .await;
    let mut answer = caller.chat("tiny+silent=3", "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = Vec::new();
    while lines(&body).len() < 3 {
        let piece = answer.piece().await.expect("not yet").expect("not yet");
        body.extend_from_slice(&piece);
    }
    let third = Instant::now();
    let (rest, is_whole) = answer.rest().await;
    assert_waited(third.elapsed(), LIMIT);
    assert!(!is_whole, "nobody may take it for whole");
    body.extend_from_slice(&rest);
    let lines = lines(&body);
    assert_eq!(lines.len(), 4, "three pieces and the error");
    assert_eq!(lines[3]["code"], "timeout");
    assert_eq!(lines[3]["origin"], "upstream");
    let message = lines[3]["error"].as_str().expect("a sentence");
    assert!(
        message.contains("3s") && message.contains("gap"),
        "{message}"
    );
    let dropped = |counters: &c2l_demo::Counters| counters.requests_active == 0;
    upstream.wait_for("dropped request", dropped).await;
    relay.metric_becomes("c2l_requests_active", 0).await;
    assert_eq!(relay.metric("c2l_sessions_total").await, 1, "one session");
    drop(agent);
}

fn lines(body: &[u8]) -> Vec<Value> {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.len() > 1 && line.ends_with(b"\n"))
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect()
}

#[tokio::test]
async fn tim_04_an_upstream_behind_a_black_hole_is_a_502_that_names_the_limit() {
    const LIMIT: Duration = Duration::from_millis(600);
    // A listener that accepts nothing: once its queue is full, the system drops what knocks, like a firewall.
    let hole = TcpSocket::new_v4().expect("a socket");
    hole.bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let hole = hole.listen(1).expect("a listener");
    let address = hole.local_addr().expect("an address");
    let mut queued = Vec::new();
    // paced: an attempt that is still under way after this is one that the system dropped
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(connected.expect("a place in the queue"));
        assert!(queued.len() < 64, "the queue has an end");
    }

    let relay = TestRelay::start().await;
    let change = |config: &mut c2l_agent::Config| config.upstream_connect_timeout = LIMIT;
    let _agent = TestAgent::connect_with(&relay, "ada", address, change).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let began = Instant::now();
    let answer = caller.chat("tiny", "hello").await;
    assert_waited(began.elapsed(), LIMIT);
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let error = answer.json().await;
    assert_eq!(error["code"], "upstream_unreachable");
    assert_eq!(error["origin"], "upstream");
    assert_eq!(error["retry_safe"], true, "nothing was sent");
    let message = error["error"].as_str().expect("a sentence");
    assert!(
        message.contains("600ms") && message.contains("upstream connect"),
        "{message}"
    );
}

#[tokio::test]
async fn tim_06_an_answer_that_moves_has_no_deadline() {
    const LIMIT: Duration = Duration::from_millis(1500);
    let (_relay, _upstream, _agent, caller) = loop_with(|config| {
        config.first_byte_timeout = LIMIT;
        config.gap_timeout = LIMIT;
        config.head_timeout = LIMIT;
        config.idle_timeout = LIMIT;
        config.greeting_timeout = LIMIT;
    })
    .await;
    // A third of the limit between two pieces, and four limits in all.
    let began = Instant::now();
    let mut answer = caller.chat("tiny+lines=13+gap=500ms", "hello").await;
    let (body, is_whole) = answer.rest().await;
    assert!(is_whole);
    let lines = lines(&body);
    assert_eq!(lines.len(), 14);
    assert_eq!(lines[13]["done"], true);
    assert!(began.elapsed() > 4 * LIMIT, "took {:?}", began.elapsed());
}
