//! Promise: where HTTP/2 is blocked, the same tunnel goes through a WebSocket, and nobody above notices. Ids as in the
//! list of cases.

#[path = "websocket/hostile.rs"]
mod hostile;
#[path = "websocket/manners.rs"]
mod manners;

use c2l_agent::{Status, Transport, Way};
use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream, blocker, websocket::RawWebSocket};

fn way_of(agent: &TestAgent) -> Option<Way> {
    match *agent.status().borrow() {
        Status::Open { way, .. } => Some(way),
        _ => None,
    }
}

#[tokio::test]
async fn a_chat_streams_through_the_bridge() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect_with(&relay, "ada", upstream.address(), |config| {
        config.transport = Transport::WebSocket;
    })
    .await;
    assert_eq!(way_of(&agent), Some(Way::WebSocket));
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let answer = caller.chat("tiny+lines=200", "hello").await;
    assert_eq!(answer.text().await.lines().count(), 201);
    let mut answer = caller.chat("tiny+bytes=20000000", "hello").await;
    assert_eq!(answer.rest().await.0.len(), 20_000_000);
}

#[tokio::test]
async fn tun_14_a_path_that_blocks_http2_is_left_for_the_bridge_without_any_option() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    for kind in blocker::Kind::ALL {
        let blocker = blocker::start(relay.address(), kind).await;
        let mut agent = TestAgent::start(
            &format!("http://{}", blocker.address()),
            relay.agent_token("ada"),
            upstream.address(),
            |config| {
                config.device_name = format!("behind-{kind:?}");
                config.transport = Transport::Auto;
            },
        );
        agent.connected().await;
        assert_eq!(way_of(&agent), Some(Way::WebSocket), "{kind:?}");
        let caller = Caller::new(relay.address(), relay.api_token("ada"));
        let path = format!("/d/behind-{kind:?}/api/version");
        assert_eq!(caller.get(&path).await.status(), 200, "{kind:?}");
        agent.shut_down().await;
    }
}

#[tokio::test]
async fn who_asks_is_verified_before_the_upgrade_in_plain_http() {
    let relay = TestRelay::start().await;
    let api = relay.api_token("ada");
    for authorization in [
        String::new(),
        "authorization: Bearer nonsense\r\n".to_owned(),
        format!("authorization: Bearer {api}\r\n"),
    ] {
        let (_, answer) = RawWebSocket::ask(relay.address(), &authorization).await;
        assert_eq!(answer.status, 401, "{authorization}: {}", answer.head);
        assert!(answer.head.contains("www-authenticate"), "{}", answer.head);
    }
    let agent = relay.agent_token("ada");
    let fields = format!("authorization: Bearer {agent}\r\n");
    let (_, answer) = RawWebSocket::ask(relay.address(), &fields).await;
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert!(
        answer.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn a_refused_token_ends_the_agent_through_the_bridge_too() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let wrong_kind = relay.api_token("ada");
    let mut agent = TestAgent::start(&relay.url(), wrong_kind, upstream.address(), |config| {
        config.transport = Transport::WebSocket;
    });
    let error = agent.ended().await.expect_err("a refusal");
    assert!(matches!(error, c2l_agent::Error::Refused { .. }), "{error}");
}
