//! Promise: who asks for too much is told so at once and when to come back, and nobody else notices.

#[path = "limits/addresses.rs"]
mod addresses;
#[path = "limits/users.rs"]
mod users;

use std::time::Duration;

use c2l_relay::{Rate, RateLimits};
use c2l_testkit::{Answer, TestAgent, TestRelay, TestUpstream};

/// So many in so many seconds.
fn rate(count: u64, seconds: u64) -> Option<Rate> {
    Rate::new(count, Duration::from_secs(seconds))
}

/// A relay with these limits, and the machine of `ada`.
async fn stand(change: impl FnOnce(&mut RateLimits)) -> (TestRelay, TestAgent, TestUpstream) {
    let relay = TestRelay::start_with(|config| change(&mut config.rates)).await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    (relay, agent, upstream)
}

/// The seconds that a refusal says to wait.
fn told(answer: &Answer) -> u64 {
    assert_eq!(answer.status(), 429);
    let seconds = answer.header("retry-after").parse().expect("seconds");
    assert!(seconds >= 1);
    seconds
}

/// The same of a refusal over gRPC.
fn told_by(status: &tonic::Status) -> u64 {
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let seconds = status.metadata().get("retry-after").expect("a time");
    seconds.to_str().expect("text").parse().expect("seconds")
}

/// Waits as long as a refusal said.
async fn wait_as_told(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await; // paced: whether this time is true is what is tested
}

async fn hits(relay: &TestRelay, limit: &str) -> u64 {
    relay
        .metric(&format!("c2l_limited_total{{limit=\"{limit}\"}}"))
        .await
}
