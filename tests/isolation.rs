//! Promise: one user never sees a byte of another, and never learns that another is there.

#[path = "isolation/crowd.rs"]
mod crowd;
#[path = "isolation/devices.rs"]
mod devices;
#[path = "isolation/intruders.rs"]
mod intruders;
#[path = "isolation/neighbours.rs"]
mod neighbours;

use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream};
use serde_json::{Value, json};

/// A user with an upstream that says their name, and an agent called `laptop`.
struct Household {
    upstream: TestUpstream,
    _agent: TestAgent,
    caller: Caller,
}

impl Household {
    async fn of(relay: &TestRelay, user: &str) -> Self {
        let upstream = TestUpstream::named(user).await;
        let agent = TestAgent::connect(relay, user, upstream.address()).await;
        Self {
            caller: caller(relay, user),
            upstream,
            _agent: agent,
        }
    }

    /// How many requests have come to its upstream.
    fn requests(&self) -> u64 {
        self.upstream.demo.counters().requests_started
    }
}

fn caller(relay: &TestRelay, user: &str) -> Caller {
    Caller::new(relay.address(), relay.api_token(user))
}

/// A chat whose answer says whose upstream gave it, and what was asked.
fn echo(prompt: &str) -> Value {
    json!({
        "model": "tiny+echo",
        "stream": false,
        "messages": [{ "role": "user", "content": prompt }],
    })
}

/// Asks this caller's upstream for its name.
async fn owner_of(caller: &Caller) -> String {
    let answer = caller.post("/api/chat", &echo("who are you")).await;
    assert_eq!(answer.status(), 200);
    owner(&answer.json().await)
}

/// The name in an answer to [`echo`].
fn owner(answer: &Value) -> String {
    let said = answer["message"]["content"].as_str().unwrap_or_default();
    let (owner, _) = said.split_once(" heard: ").unwrap_or_default();
    owner.to_owned()
}
