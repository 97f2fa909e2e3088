//! How the bridge behaves toward those who keep to the rules: handshake, pings, goodbyes, and what lies in between.

use std::time::Duration;

use c2l_agent::{Transport, Way};
use c2l_testkit::{
    Caller, RawConnection, TestAgent, TestRelay, TestTransport, TestUpstream,
    websocket::{FIN, RawWebSocket, Reframer, frame, opcode, upgrade_head},
};
use tokio::time::Instant;

use super::way_of;

#[tokio::test]
async fn tun_16_messages_split_and_merged_on_the_way_carry_the_same_bytes() {
    let why = "the thing on the way reads WebSocket frames in clear";
    let relay = TestRelay::start_plain(why, |_| {}).await;
    let upstream = TestUpstream::start().await;
    let on_the_way = Reframer::start(relay.address()).await;
    let url = format!("http://{}", on_the_way.address());
    let token = relay.agent_token("ada");
    let mut agent = TestAgent::start(&url, token, upstream.address(), |config| {
        config.transport = Transport::WebSocket;
    });
    agent.connected().await;
    assert_eq!(way_of(&agent), Some(Way::WebSocket));
    let through = Caller::new(relay.address(), relay.api_token("ada"));

    let plain = TestRelay::start_plain("the same without anything in between", |_| {}).await;
    let _direct = TestAgent::connect_with(&plain, "ada", upstream.address(), |config| {
        config.transport = Transport::Grpc;
    })
    .await;
    let direct = Caller::new(plain.address(), plain.api_token("ada"));
    for model in ["tiny+bytes=5000000", "tiny+lines=500"] {
        let (there, is_whole) = through.chat(model, "hello").await.rest().await;
        assert!(is_whole, "{model} was torn");
        let (here, _) = direct.chat(model, "hello").await.rest().await;
        assert_eq!(there.len(), here.len(), "{model}");
        if model.contains("bytes") {
            assert!(there == here, "{model}: other bytes");
        }
    }
}

#[tokio::test]
async fn tim_07_a_handshake_that_never_ends_is_hung_up_on() {
    const LIMIT: Duration = Duration::from_millis(500);
    let relay = TestRelay::start_with(|config| config.head_timeout = LIMIT).await;
    let whole = upgrade_head(relay.address(), "");
    let mut stranger = RawConnection::open(relay.address()).await;
    let began = Instant::now();
    stranger.send(&whole[..whole.len() - 2]).await;
    assert!(stranger.rest().await.is_empty(), "nothing was asked yet");
    assert!(began.elapsed() < LIMIT * 2 + Duration::from_secs(5));
}

#[tokio::test]
async fn tim_07_a_bridge_on_which_nothing_is_said_is_hung_up_on() {
    let limit = Duration::from_millis(500);
    let relay = TestRelay::start_with(|config| config.greeting_timeout = limit).await;
    let mut socket = RawWebSocket::open(&relay, "ada").await;
    let began = Instant::now();
    while socket.frame().await.is_some() {}
    assert!(began.elapsed() < limit + Duration::from_secs(5));
    relay.metric_becomes("c2l_connections", 0).await;
}

#[tokio::test]
async fn a_ping_is_answered_with_what_it_holds() {
    let relay = TestRelay::start().await;
    let mut socket = RawWebSocket::open(&relay, "ada").await;
    for said in [b"".as_slice(), b"hello", &[7; 125]] {
        socket.send(frame(FIN | opcode::PING, said, true)).await;
        let pong = socket.frame_of(opcode::PONG).await;
        assert_eq!(pong.payload, said);
        assert!(!pong.is_masked, "a server masks nothing (RFC 6455 §5.1)");
    }
}

#[tokio::test]
async fn a_goodbye_is_answered_and_a_refused_text_says_why() {
    let relay = TestRelay::start().await;
    let mut socket = RawWebSocket::open(&relay, "ada").await;
    let code = 1000_u16.to_be_bytes();
    socket.send(frame(FIN | opcode::CLOSE, &code, true)).await;
    let (said, _) = socket.closed_with().await.expect("a goodbye");
    assert_eq!(said, 1000);

    let mut socket = RawWebSocket::open(&relay, "ada").await;
    socket.send(frame(FIN | opcode::TEXT, b"x", true)).await;
    let (said, reason) = socket.closed_with().await.expect("a goodbye");
    assert_eq!((said, reason.as_str()), (1003, "binary messages only"));
}

#[tokio::test]
async fn compression_is_never_agreed_on() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let fields = format!(
        "authorization: Bearer {token}\r\nsec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n"
    );
    let (_, answer) = RawWebSocket::ask(relay.address(), &fields).await;
    assert_eq!(answer.status, 101, "{}", answer.head);
    let head = answer.head.to_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
}

#[tokio::test]
async fn a_relay_that_leaves_refuses_the_upgrade_and_says_when_to_come_back() {
    let mut relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let mut running = caller.chat("tiny+lines=100+gap=50ms", "hello").await;
    running.piece().await.expect("not torn").expect("a line");
    // Open before the relay leaves, as a proxy's connection would be.
    let mut late = RawConnection::open(relay.address()).await;
    relay.begin_shutdown();
    let ready = format!("http://{}", relay.ops_address());
    c2l_testkit::eventually(c2l_testkit::PATIENCE, &ready, || async {
        let answer = Caller::anonymous(relay.ops_address()).get("/readyz").await;
        (answer.status() == 503).then_some(())
    })
    .await;
    let token = relay.agent_token("ada");
    let fields = format!("authorization: Bearer {token}\r\n");
    late.send(upgrade_head(relay.address(), &fields)).await;
    let answer = late.head(true).await;
    assert_eq!(answer.status, 503, "{}", answer.head);
    let head = answer.head.to_lowercase();
    assert!(head.contains("\r\nretry-after: "), "{head}");
    drop(running);
    relay.stopped().await;
}

#[tokio::test]
async fn bridged_connections_count_among_those_that_are_allowed_at_once() {
    let relay = TestRelay::start_with(|config| config.max_connections = 2).await;
    let first = RawWebSocket::open(&relay, "ada").await;
    let _second = RawWebSocket::open(&relay, "ada").await;
    let (asked, mut answered) = tokio::sync::oneshot::channel();
    let address = relay.address();
    let third = tokio::spawn(async move {
        let mut raw = RawConnection::open(address).await;
        raw.send("GET /nothing HTTP/1.1\r\nhost: relay\r\n\r\n")
            .await;
        asked.send(raw.head(true).await.status).expect("asked for");
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut answered).await;
    assert!(early.is_err(), "a third connection was served");
    drop(first);
    let status = c2l_testkit::within(c2l_testkit::PATIENCE, "its turn", answered).await;
    assert!(status.expect("an answer") >= 400);
    third.await.expect("no panic");
}

#[tokio::test]
async fn the_way_of_this_run_is_the_way_that_is_taken() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let transport = TestTransport::of_this_run();
    let wanted = match transport {
        TestTransport::Grpc | TestTransport::Tls => Way::Grpc,
        TestTransport::WebSocket | TestTransport::TlsWebSocket => Way::WebSocket,
    };
    assert_eq!(way_of(&agent), Some(wanted));
    assert_eq!(relay.url().starts_with("https:"), transport.is_tls());
}
