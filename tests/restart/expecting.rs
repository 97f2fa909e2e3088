//! A relay that has just taken a port over expects the agents: requests wait for theirs, and not for long.

use std::time::Duration;

use c2l_relay::Handover;
use c2l_testkit::{Caller, PATIENCE, TestAgent, TestRelay, TestUpstream, within};
use tokio::time::Instant;

/// A relay that expects agents for so long.
async fn relay_expecting(grace: Duration) -> TestRelay {
    let lock = tempfile::tempfile().expect("a file");
    TestRelay::start_with(|config| config.handover = Some(Handover::new(lock, grace))).await
}

#[tokio::test]
async fn a_request_waits_for_its_agent_and_is_served_as_soon_as_that_is_here() {
    let grace = 6 * PATIENCE;
    let relay = relay_expecting(grace).await;
    let upstream = TestUpstream::start().await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let asking = tokio::spawn(async move { caller.get("/api/version").await.status() });
    relay.metric_becomes("c2l_requests_active", 1).await;
    // Another user's agent is not the one that is waited for.
    let bob = TestAgent::connect(&relay, "bob", upstream.address()).await;
    assert!(!asking.is_finished());
    let ada = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let status = within(PATIENCE, "an answer long before the grace is over", asking);
    assert_eq!(status.await.expect("no panic"), 200);
    ada.shut_down().await;
    bob.shut_down().await;
}

#[tokio::test]
async fn a_request_whose_agent_does_not_come_is_refused_when_the_grace_is_over_and_the_next_at_once()
 {
    let grace = Duration::from_millis(500);
    let began = Instant::now();
    let relay = relay_expecting(grace).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let refused = caller.get("/api/version").await;
    assert_eq!(refused.status(), 503);
    assert!(began.elapsed() >= grace, "{:?}", began.elapsed());
    assert_eq!(refused.json().await["code"], "agent_offline");
    let began = Instant::now();
    assert_eq!(caller.get("/api/version").await.status(), 503);
    assert!(began.elapsed() < grace, "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_request_waits_for_its_agent_longer_than_for_its_first_byte() {
    let lock = tempfile::tempfile().expect("a file");
    let relay = TestRelay::start_with(|config| {
        config.handover = Some(Handover::new(lock, Duration::MAX));
        config.first_byte_timeout = Duration::from_millis(200);
    })
    .await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    assert_eq!(caller.get("/api/version").await.status(), 503);
}
