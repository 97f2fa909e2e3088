//! A model that takes longer to load than a caller may wait: the load goes on without them, and for a caller who left
//! by themselves it does not.

use std::time::Duration;

use c2l_demo::Counters;
use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};
use http::StatusCode;
use tokio::time::Instant;

use super::{assert_waited, loop_with};

const LIMIT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn the_first_byte_limit_answers_at_once_and_the_load_goes_on_for_the_next_try() {
    let (relay, upstream, _agent, caller) =
        loop_with(|config| config.first_byte_timeout = LIMIT).await;
    let model = "tiny+lines=3+gap=300ms+load=1500ms";
    let began = Instant::now();
    let answer = caller.chat(model, "hello").await;
    assert_waited(began.elapsed(), LIMIT);
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let error = answer.json().await;
    assert_eq!(error["code"], "timeout");
    let counters = upstream.demo.counters();
    assert_eq!(
        (counters.loads_started, counters.requests_active),
        (1, 1),
        "the answer did not wait for the load, and the load did not end with the answer"
    );
    // At the relay nothing is left of it.
    relay.metric_becomes("c2l_requests_active", 0).await;

    let loaded = |counters: &Counters| counters.loads_finished == 1;
    upstream.wait_for("finished load", loaded).await;
    let released = |counters: &Counters| counters.requests_active == 0;
    let counters = upstream.wait_for("released request", released).await;
    assert_eq!(counters.loads_aborted, 0);
    assert_eq!(counters.generations_stopped, 1, "nobody reads its answer");

    let mut answer = caller.chat(model, "again").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.rest().await.1, "whole");
    let counters = upstream.demo.counters();
    assert_eq!(counters.loads_started, 1, "it was warm");
}

#[tokio::test]
async fn a_caller_who_leaves_aborts_the_load_at_once() {
    let (relay, upstream, _agent, caller) = loop_with(|_| {}).await;
    let chat = caller.chat("tiny+load=10m", "hello");
    let loading = |counters: &Counters| counters.loads_started == 1;
    tokio::select! {
        _answer = chat => panic!("nothing answers before the load"),
        _loading = upstream.wait_for("load", loading) => {} // and the caller hangs up
    }
    let left = Instant::now();
    let aborted = |counters: &Counters| counters.loads_aborted == 1;
    upstream.wait_for("aborted load", aborted).await;
    let took = left.elapsed();
    println!("a load was aborted {took:?} after its caller left");
    assert!(took < Duration::from_secs(1), "{took:?}");
    relay.metric_becomes("c2l_requests_active", 0).await;
    assert_eq!(upstream.demo.counters().requests_active, 0);
}

#[tokio::test]
async fn a_load_that_goes_on_alone_ends_with_its_grace() {
    const GRACE: Duration = Duration::from_millis(700);
    let relay = TestRelay::start_with(|config| config.first_byte_timeout = LIMIT).await;
    let upstream = TestUpstream::start().await;
    let change = |config: &mut c2l_agent::Config| config.load_grace = GRACE;
    let _agent = TestAgent::connect_with(&relay, "ada", upstream.address(), change).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let answer = caller.chat("tiny+load=10m", "hello").await;
    let told = Instant::now();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let aborted = |counters: &Counters| counters.loads_aborted == 1;
    let counters = upstream.wait_for("aborted load", aborted).await;
    assert_waited(told.elapsed(), GRACE);
    assert_eq!(counters.loads_finished, 0);
}
