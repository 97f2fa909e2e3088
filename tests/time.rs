//! Promise: every wait has a limit that ends in a definite answer, and nothing that moves ever runs into one.

use std::time::Duration;

use c2l_relay::Config;
use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};

#[path = "time/answers.rs"]
mod answers;
#[path = "time/connections.rs"]
mod connections;
#[path = "time/loads.rs"]
mod loads;

/// How much later than its limit something may be seen on a machine that does other things, too.
const SLACK: Duration = Duration::from_secs(3);
/// How much sooner a limit may seem to fire to someone who saw its beginning late.
const SEEN_LATE: Duration = Duration::from_millis(100);

/// Asserts that what had to wait for `limit` has waited for that, and not much longer.
#[track_caller]
fn assert_waited(waited: Duration, limit: Duration) {
    assert!(
        waited + SEEN_LATE >= limit && waited <= limit + SLACK,
        "waited {waited:?} where the limit is {limit:?}"
    );
}

/// A relay with these limits, a demonstration model, and an agent of `ada` between them.
async fn loop_with(
    change: impl FnOnce(&mut Config),
) -> (TestRelay, TestUpstream, TestAgent, Caller) {
    let relay = TestRelay::start_with(change).await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    (relay, upstream, agent, caller)
}
