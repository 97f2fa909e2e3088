//! The limits on those who connect: to say who they are, to send what they announced, and to be of use.

use std::time::Duration;

use c2l_testkit::{
    Caller, FakeAgent, RawConnection, RawUpstream, TestAgent, TestRelay,
    http2::{END_HEADERS, END_STREAM, Http2Connection, code, frame, kind},
    within,
};
use http::StatusCode;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::Instant};
use tonic::Code;

use super::{assert_waited, loop_with};

#[tokio::test]
async fn tim_05_an_upload_that_stops_is_a_504_and_the_upstream_is_let_go() {
    const LIMIT: Duration = Duration::from_millis(700);
    let (relay, upstream, _agent, _caller) =
        loop_with(|config| config.first_byte_timeout = LIMIT).await;
    let mut raw = RawConnection::open(relay.address()).await;
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\ncontent-length: 1000000\r\n\r\n",
        relay.api_token("ada")
    );
    raw.send(head).await;
    raw.send("{\"a\":\"bcde").await;
    let began = Instant::now();
    let answer = raw.head(true).await;
    assert_waited(began.elapsed(), LIMIT);
    assert_eq!(answer.status, 504, "{}", answer.head);
    // The connection is in the middle of a body that nobody wants: it is of no further use.
    let rest = raw.rest().await;
    let error: serde_json::Value = serde_json::from_slice(&rest).expect("a whole error");
    assert_eq!(error["code"], "timeout");
    assert_eq!(error["origin"], "caller", "it is the caller who stopped");
    let message = error["error"].as_str().expect("a sentence");
    assert!(
        message.contains("700ms") && message.contains("first byte"),
        "{message}"
    );
    let aborted = |counters: &c2l_demo::Counters| {
        counters.uploads_aborted == 1 && counters.requests_active == 0
    };
    let counters = upstream.wait_for("aborted upload", aborted).await;
    assert_eq!(counters.bytes_received, 10);
    relay.metric_becomes("c2l_requests_active", 0).await;
    relay.metric_becomes("c2l_connections", 1).await; // the agent's
}

#[tokio::test]
async fn tim_07_an_agent_that_never_greets_is_hung_up_on() {
    const LIMIT: Duration = Duration::from_millis(500);
    const IDLE: Duration = Duration::from_millis(600);
    let relay = TestRelay::start_with(|config| {
        config.greeting_timeout = LIMIT;
        config.idle_timeout = IDLE;
    })
    .await;
    let began = Instant::now();
    let mut agent = FakeAgent::dial(relay.address(), &relay.agent_token("ada"))
        .await
        .expect("a call");
    let status = agent.end().await;
    assert_waited(began.elapsed(), LIMIT);
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    // The call is over. The connection could carry another, and falls under the limit of those who ask nothing.
    relay.metric_becomes("c2l_connections", 0).await;
    assert_eq!(relay.metric("c2l_sessions_total").await, 0, "never one");
}

#[tokio::test]
async fn tim_07_a_relay_that_never_welcomes_is_given_up_by_the_agent() {
    const LIMIT: Duration = Duration::from_millis(500);
    let (left, mut leaving) = tokio::sync::mpsc::channel(1);
    let mute = RawUpstream::start(move |mut stream: TcpStream| {
        let left = left.clone();
        async move {
            let began = Instant::now();
            stream.read_to_end(&mut Vec::new()).await.ok();
            left.send(began.elapsed()).await.ok();
        }
    })
    .await;
    let relay = TestRelay::start().await; // for its token alone
    let url = format!("http://{}", mute.address());
    let _agent = TestAgent::start(&url, relay.agent_token("ada"), mute.address(), |config| {
        config.dial_timeout = LIMIT;
    });
    let held = within(Duration::from_secs(10), "the agent gives up", async {
        leaving.recv().await.expect("the listener runs")
    })
    .await;
    assert_waited(held, LIMIT);
}

const IDLE_LIMIT: Duration = Duration::from_millis(1600);

async fn idle_loop() -> (TestRelay, c2l_testkit::TestUpstream, TestAgent, Caller) {
    loop_with(|config| {
        config.idle_timeout = IDLE_LIMIT;
        // Shorter, so that the one is not taken for the other.
        config.head_timeout = IDLE_LIMIT / 4;
    })
    .await
}

#[tokio::test]
async fn tim_08_an_idle_http1_connection_is_closed_at_its_limit_and_never_in_mid_request() {
    let (relay, _upstream, _agent, _caller) = idle_loop().await;
    let token = relay.api_token("ada");
    let mut raw = RawConnection::open(relay.address()).await;
    let chat = |model: &str| {
        let body = format!("{{\"model\":\"{model}\",\"prompt\":\"x\",\"stream\":false}}");
        format!(
            "POST /api/generate HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // Twice as long as the limit, and silent all the while.
    raw.send(chat("tiny+lines=1+first=3200ms")).await;
    let answer = raw.head(true).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    raw.read_until(b"}").await.expect("a body");
    // The next one comes when a part of the limit is over: it counts anew from there.
    // paced: how long the connection is idle is what is tested
    tokio::time::sleep(IDLE_LIMIT / 4).await;
    raw.send(chat("tiny+lines=1")).await;
    assert_eq!(raw.head(true).await.status, 200, "still open");
    let began = Instant::now();
    let rest = raw.rest().await;
    assert_waited(began.elapsed(), IDLE_LIMIT);
    assert!(rest.ends_with(b"}"), "nothing but the rest of the answer");
    relay.metric_becomes("c2l_connections", 1).await; // the agent's
}

#[tokio::test]
async fn tim_08_half_a_head_on_a_used_connection_has_the_time_of_a_head() {
    let (relay, _upstream, _agent, _caller) = idle_loop().await;
    let mut raw = RawConnection::open(relay.address()).await;
    raw.send("GET /relay/v1/version HTTP/1.1\r\nhost: relay\r\n\r\n")
        .await;
    assert_eq!(raw.head(true).await.status, 200);
    raw.read_until(b"}").await.expect("a body");
    raw.send("GET /relay/v1/version HT").await;
    let began = Instant::now();
    raw.rest().await;
    let waited = began.elapsed();
    assert!(waited < IDLE_LIMIT, "{waited:?}: that is the idle limit");
}

#[tokio::test]
async fn tim_08_an_idle_http2_connection_is_told_to_go_and_never_in_mid_request() {
    let (relay, _upstream, _agent, _caller) = idle_loop().await;
    let mut raw = Http2Connection::open(relay.address(), &[]).await;
    let mut block = raw.request("POST", "/api/generate", &relay.api_token("ada"));
    block.extend(c2l_testkit::http2::fields([(
        "content-type",
        "application/json",
    )]));
    let body = br#"{"model":"tiny+lines=1+first=3200ms","prompt":"x","stream":false}"#;
    raw.send(frame(kind::HEADERS, END_HEADERS, 1, &block)).await;
    raw.send(frame(kind::DATA, END_STREAM, 1, body)).await;
    let is_end = |frame: &c2l_testkit::http2::Http2Frame| {
        assert_ne!(frame.kind, kind::GOAWAY, "in mid-request");
        assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
        frame.kind == kind::DATA && frame.flags & END_STREAM != 0
    };
    raw.next_where(is_end).await.expect("a whole answer");
    let began = Instant::now();
    let farewell = raw.next_of(kind::GOAWAY).await.expect("a GOAWAY first");
    assert_waited(began.elapsed(), IDLE_LIMIT);
    assert_eq!(farewell.error_code(), code::NO_ERROR);
    // A client answers the PING that comes with it and closes; this one only waits.
    let ping = raw.next_of(kind::PING).await.expect("a PING behind it");
    raw.send(frame(kind::PING, 1, 0, &ping.payload)).await;
    assert!(
        raw.next_where(|frame| frame.kind != kind::GOAWAY)
            .await
            .is_none(),
        "closed"
    );
    relay.metric_becomes("c2l_connections", 1).await; // the agent's
}

#[tokio::test]
async fn tim_08_a_request_that_comes_with_the_goaway_is_still_answered() {
    let (relay, _upstream, _agent, caller) = idle_loop().await;
    let mut raw = Http2Connection::open(relay.address(), &[]).await;
    let block = raw.request("GET", "/api/tags", &relay.api_token("ada"));
    raw.next_of(kind::GOAWAY).await.expect("a GOAWAY");
    // The two cross on the way: until the connection is closed, what was sent before the GOAWAY was read counts.
    let request = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block);
    raw.send(request).await;
    let head = raw.next_of(kind::HEADERS).await.expect("an answer");
    assert_eq!(head.stream, 1);
    assert_eq!(caller.get("/api/tags").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn res_01_an_idle_http2_connection_that_never_answers_the_farewell_is_closed_all_the_same() {
    let relay = TestRelay::start_with(|config| {
        config.idle_timeout = Duration::from_millis(300);
        config.gap_timeout = Duration::from_millis(300);
    })
    .await;
    // The library goes on after its GOAWAY only when its PING is answered: this one answers nothing.
    let _silent = Http2Connection::open(relay.address(), &[]).await;
    relay.metric_becomes("c2l_connections", 1).await;
    relay.metric_becomes("c2l_connections", 0).await;
}
