//! Frames that no WebSocket may send, and messages without an end: a close with the right code, and nothing held.

use c2l_testkit::{
    Caller, TestAgent, TestRelay, TestUpstream,
    program::resident_bytes,
    websocket::{FIN, RawWebSocket, frame, head, opcode},
};

/// What the process may grow by: other tests run in it at the same time.
const FLAT: u64 = 100 * 1024 * 1024;

/// A relay that serves somebody else meanwhile.
struct Place {
    relay: TestRelay,
    bob: Caller,
    _agent: TestAgent,
    _upstream: TestUpstream,
}

impl Place {
    async fn start() -> Self {
        let relay = TestRelay::start().await;
        let upstream = TestUpstream::start().await;
        let agent = TestAgent::connect(&relay, "bob", upstream.address()).await;
        Self {
            bob: Caller::new(relay.address(), relay.api_token("bob")),
            relay,
            _agent: agent,
            _upstream: upstream,
        }
    }

    async fn is_calm(&self) {
        assert_eq!(self.bob.get("/api/version").await.status(), 200);
        assert_eq!(self.relay.metric("c2l_panics_total").await, 0);
    }
}

#[tokio::test]
async fn res_13_a_frame_against_the_rules_is_closed_with_its_code() {
    let place = Place::start().await;
    let long = [b'x'; 126];
    let cases = [
        ("unmasked", frame(FIN | opcode::BINARY, b"x", false), 1002),
        ("RSV1", frame(FIN | 0x40 | opcode::BINARY, b"x", true), 1002),
        ("RSV2", frame(FIN | 0x20 | opcode::BINARY, b"x", true), 1002),
        ("RSV3", frame(FIN | 0x10 | opcode::BINARY, b"x", true), 1002),
        ("opcode 3", frame(FIN | 3, b"x", true), 1002),
        ("a fragmented ping", frame(opcode::PING, b"x", true), 1002),
        ("a long ping", frame(FIN | opcode::PING, &long, true), 1002),
        ("text", frame(FIN | opcode::TEXT, b"x", true), 1003),
        (
            "a fragment of nothing",
            frame(FIN | opcode::CONTINUATION, b"x", true),
            1002,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut socket = RawWebSocket::open(&place.relay, "ada").await;
        socket.send(bytes).await;
        let said = socket.closed_with().await.map(|(code, _reason)| code);
        assert_eq!(said, Some(code), "{what}");
        assert!(socket.frame().await.is_none(), "{what}: it goes on");
    }
    place.is_calm().await;
}

#[tokio::test]
async fn res_14_a_message_without_an_end_is_closed_with_1009_at_the_limit() {
    let place = Place::start().await;
    let before = resident_bytes("self");

    let mut socket = RawWebSocket::open(&place.relay, "ada").await;
    let declared = u64::MAX >> 1;
    socket
        .send(head(FIN | opcode::BINARY, declared, true))
        .await;
    let said = socket.closed_with().await.map(|(code, _reason)| code);
    assert_eq!(said, Some(1009), "2^63-1 bytes, announced");

    let mut socket = RawWebSocket::open(&place.relay, "ada").await;
    socket.send(head(FIN | opcode::BINARY, 1 << 30, true)).await;
    let said = socket.closed_with().await.map(|(code, _reason)| code);
    assert_eq!(said, Some(1009), "1 GiB, announced");

    let mut socket = RawWebSocket::open(&place.relay, "ada").await;
    socket.send(frame(opcode::BINARY, b"x", true)).await;
    let thousand = frame(opcode::CONTINUATION, b"x", true).repeat(1000);
    let mut sent = 0;
    while sent < 1_000_000 && socket.send(&thousand).await {
        sent += 1000;
    }
    assert!(sent < 1_000_000, "a million fragments were taken");

    let grown = resident_bytes("self").saturating_sub(before);
    assert!(grown < FLAT, "{grown} bytes more");
    place.is_calm().await;
}
