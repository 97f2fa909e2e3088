//! Promise: what the upstream flushes, the caller sees: at once, in order, whole or plainly torn.

#[path = "streaming/both_ways.rs"]
mod both_ways;
#[path = "streaming/immediate.rs"]
mod immediate;
#[path = "streaming/torn.rs"]
mod torn;
#[path = "streaming/uploads.rs"]
mod uploads;

use std::net::SocketAddr;

use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};
use serde_json::Value;

/// A relay with an agent of `ada`, and her as a caller over HTTP/1.1.
struct Loop {
    caller: Caller,
    relay: TestRelay,
    _agent: TestAgent,
}

impl Loop {
    async fn around(upstream: SocketAddr) -> Self {
        let relay = TestRelay::start().await;
        let agent = TestAgent::connect_unjudging(&relay, "ada", upstream).await;
        Self {
            caller: Caller::new(relay.address(), relay.api_token("ada")),
            relay,
            _agent: agent,
        }
    }

    /// Her over HTTP/1.1 and over HTTP/2.
    fn callers(&self) -> [(&'static str, Caller); 2] {
        [
            ("HTTP/1.1", self.caller.clone()),
            ("HTTP/2", self.caller.clone().over_http2()),
        ]
    }
}

#[tokio::test]
async fn a_chat_streams_line_by_line() {
    let upstream = TestUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let mut answer = ring.caller.chat("tiny+lines=10", "hello").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let (body, is_whole) = answer.rest().await;
    assert!(is_whole);
    let lines: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a JSON line"))
        .collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10]["done"], true);
}
