//! Promise: what operators need is on their own port, and no secret, prompt or answer is in anything they read.

#[cfg(unix)]
#[path = "ops/audit.rs"]
mod audit;
#[cfg(target_os = "linux")]
#[path = "ops/cores.rs"]
mod cores;
#[cfg(unix)]
#[path = "ops/dev.rs"]
mod dev;
#[path = "ops/faults.rs"]
mod faults;
#[cfg(unix)]
#[path = "ops/files.rs"]
mod files;
#[path = "ops/needles.rs"]
mod needles;
#[cfg(unix)]
#[path = "ops/program.rs"]
mod program;
#[cfg(unix)]
#[path = "ops/secrets.rs"]
mod secrets;

use std::net::SocketAddr;

use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};

/// The value of a counter or gauge, labels and all.
async fn metric(ops: SocketAddr, name: &str) -> u64 {
    let page = Caller::anonymous(ops).get("/metrics").await.text().await;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in\n{page}"));
    value.parse().expect("a number")
}

/// A relay and the machine of `ada`.
async fn loop_of() -> (TestRelay, TestAgent, TestUpstream, Caller) {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    (relay, agent, upstream, caller)
}
