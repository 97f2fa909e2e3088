//! Promise: what the upstream flushes, the caller sees: at once, in order, whole or plainly torn.

use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};
use serde_json::Value;

/// A relay, an agent of `ada` and a demonstration model.
async fn loop_of(upstream: &TestUpstream) -> (TestRelay, TestAgent, Caller) {
    let relay = TestRelay::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    (relay, agent, caller)
}

#[tokio::test]
async fn a_chat_streams_line_by_line() {
    let upstream = TestUpstream::start().await;
    let (_relay, _agent, caller) = loop_of(&upstream).await;
    let mut answer = caller.chat("tiny+lines=10", "hello").await;
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
