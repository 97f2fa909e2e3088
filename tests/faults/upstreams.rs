//! Upstreams that are not there, die, or say nothing: definite answers in time, and the session goes on.

use std::time::Duration;

use c2l_agent::Status;
use c2l_testkit::{Caller, Nowhere, PlayedUpstream, RawUpstream, TestAgent, TestRelay, within};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::{begun_chat, refused, simple_chat, torn};

fn session(agent: &TestAgent) -> String {
    match &*agent.status().borrow() {
        Status::Open { session_id, .. } => session_id.clone(),
        other => panic!("no open session: {other:?}"),
    }
}

#[tokio::test]
async fn tun_09_an_upstream_killed_in_mid_answer_tears_that_answer_and_leaves_the_session() {
    let upstream = PlayedUpstream::start().await;
    let relay = TestRelay::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let before = session(&agent);
    let (connection, mut answer) = begun_chat(&caller, &upstream, 10).await;

    // What the system does with the sockets of a killed process.
    drop(upstream);
    let began = Instant::now();
    connection.reset();
    let record = within(Duration::from_secs(1), "the tear", torn(&mut answer)).await;
    let told_after = began.elapsed();
    assert_eq!(record["code"], "upstream_failed", "{record}");
    assert_eq!(record["origin"], "upstream", "{record}");

    let began = Instant::now();
    let body = refused(simple_chat(&caller).await, 502).await;
    println!(
        "upstream killed: torn after {told_after:?}, next refused after {:?}",
        began.elapsed()
    );
    assert_eq!(body["code"], "upstream_unreachable", "{body}");
    assert_eq!(body["origin"], "upstream", "{body}");
    let hint = body["error"].as_str().expect("a message");
    assert!(hint.contains("ollama serve"), "{hint}");
    assert_eq!(session(&agent), before, "the session went on");
}

#[tokio::test]
async fn tun_10_an_upstream_that_is_not_running_is_a_502_at_once() {
    let nobody = Nowhere::new();
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", nobody.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let began = Instant::now();
    let asking = simple_chat(&caller);
    let answer = within(Duration::from_secs(1), "an answer at once", asking).await;
    let took = began.elapsed();
    let body = refused(answer, 502).await;
    println!("upstream not running: told after {took:?}");
    assert_eq!(body["code"], "upstream_unreachable", "{body}");
}

#[tokio::test]
async fn tun_10_an_upstream_whose_host_drops_packets_is_a_502_within_the_connect_limit() {
    const LIMIT: Duration = Duration::from_millis(700);
    // A listener whose queue is full drops what else wants to connect: to the other end a host that is not there.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queued.push(connected.expect("a place in the queue"));
        assert!(queued.len() < 100, "the queue does not fill");
    }

    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect_with(&relay, "ada", address, |config| {
        config.upstream_connect_timeout = LIMIT;
    })
    .await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let began = Instant::now();
    let asking = simple_chat(&caller);
    let answer = within(LIMIT + Duration::from_secs(1), "an answer in time", asking).await;
    let took = began.elapsed();
    let body = refused(answer, 502).await;
    println!("upstream drops packets, limit {LIMIT:?}: told after {took:?}");
    assert!(took >= LIMIT, "{took:?}");
    assert_eq!(body["code"], "upstream_unreachable", "{body}");
    let message = body["error"].as_str().expect("a message");
    assert!(
        message.contains("upstream connect"),
        "names the limit: {message}"
    );
}

#[tokio::test]
async fn tun_10_an_upstream_that_accepts_and_says_nothing_is_a_504_at_the_first_byte_limit() {
    const LIMIT: Duration = Duration::from_millis(700);
    let upstream = PlayedUpstream::start().await;
    let relay = TestRelay::start_with(|config| config.first_byte_timeout = LIMIT).await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let began = Instant::now();
    let asking = simple_chat(&caller);
    let (answer, (_head, _connection)) = tokio::join!(asking, upstream.request());
    let took = began.elapsed();
    let body = refused(answer, 504).await;
    println!("upstream says nothing, limit {LIMIT:?}: told after {took:?}");
    assert!(
        (LIMIT..LIMIT + Duration::from_secs(1)).contains(&took),
        "{took:?}"
    );
    assert_eq!(body["code"], "timeout", "{body}");
    assert_eq!(body["origin"], "upstream", "{body}");
    let message = body["error"].as_str().expect("a message");
    assert!(message.contains("first byte"), "names the limit: {message}");
}

#[tokio::test]
async fn tun_10_an_upstream_that_closes_at_once_is_a_502() {
    let upstream = RawUpstream::start(|stream| async move { drop(stream) }).await;
    let relay = TestRelay::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let before = session(&agent);
    for _ in 0..5 {
        let began = Instant::now();
        let body = refused(simple_chat(&caller).await, 502).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(body["origin"], "upstream", "{body}");
    }
    assert_eq!(session(&agent), before, "the session went on");
}
