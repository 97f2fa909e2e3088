//! Promise: whoever asks for too much costs a bounded time, bounded memory and nobody else's patience.

use std::time::Duration;

use c2l_testkit::{Caller, TestAgent, TestRelay, TestUpstream, within};
use http::StatusCode;
use tokio::sync::{Mutex, MutexGuard};

#[path = "overload/connections.rs"]
mod connections;
#[path = "overload/crowds.rs"]
mod crowds;
#[cfg(target_os = "linux")]
#[path = "overload/flapping.rs"]
mod flapping;
#[path = "overload/frames.rs"]
mod frames;
#[path = "overload/process.rs"]
mod process;
#[path = "overload/readers.rs"]
mod readers;
#[path = "overload/uploads.rs"]
mod uploads;

/// How long a neighbour may wait while somebody floods, on a machine with two cores that plays every part.
const CALM: Duration = Duration::from_secs(3);

/// One crowd at a time: each of them opens hundreds of sockets, and a process has only so many.
async fn crowd() -> MutexGuard<'static, ()> {
    static PLACE: Mutex<()> = Mutex::const_new(());
    PLACE.lock().await
}

/// Another user of the same relay, with a device and an upstream of their own.
struct Neighbour {
    caller: Caller,
    _agent: TestAgent,
    _upstream: TestUpstream,
}

impl Neighbour {
    async fn of(relay: &TestRelay) -> Self {
        let upstream = TestUpstream::named("neighbour").await;
        Self {
            _agent: TestAgent::connect(relay, "bob", upstream.address()).await,
            caller: Caller::new(relay.address(), relay.api_token("bob")),
            _upstream: upstream,
        }
    }

    /// Asserts that nothing of what goes on is felt here, nor by those who watch over the relay.
    async fn is_calm(&self, relay: &TestRelay) {
        let mut answer = within(CALM, "the neighbour is answered", async {
            self.caller.chat("tiny+echo+lines=3", "hello").await
        })
        .await;
        assert_eq!(answer.status(), StatusCode::OK);
        let (body, is_whole) = within(CALM, "a whole answer", answer.rest()).await;
        assert!(is_whole);
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("neighbour"), "{text}");
        let health = Caller::anonymous(relay.ops_address());
        let health = within(CALM, "the health check", health.get("/livez")).await;
        assert_eq!(health.status(), StatusCode::OK);
        assert_eq!(relay.metric("c2l_panics_total").await, 0);
    }
}

/// A relay, the flooder's agent and demonstration model, and their neighbour.
struct Place {
    relay: TestRelay,
    upstream: TestUpstream,
    agent: TestAgent,
    neighbour: Neighbour,
}

/// The user who asks for too much.
const USER: &str = "mallory";

impl Place {
    async fn with(change: impl FnOnce(&mut c2l_relay::Config)) -> Self {
        let why = "floods, halves and counts of connections are about the port itself";
        let relay = TestRelay::start_plain(why, change).await;
        let upstream = TestUpstream::start().await;
        Self {
            agent: TestAgent::connect_unjudging(&relay, USER, upstream.address()).await,
            neighbour: Neighbour::of(&relay).await,
            relay,
            upstream,
        }
    }

    fn token(&self) -> String {
        self.relay.api_token(USER)
    }

    fn caller(&self) -> Caller {
        Caller::new(self.relay.address(), self.token())
    }

    async fn is_calm(&self) {
        self.neighbour.is_calm(&self.relay).await;
    }

    /// Asserts that nothing is left of what was going on: at the relay, in the session, at the upstream.
    async fn is_flat(&self) {
        self.relay.metric_becomes("c2l_requests_active", 0).await;
        // The two agents' own connections.
        self.relay.metric_becomes("c2l_connections", 2).await;
        let idle = |counters: &c2l_demo::Counters| counters.requests_active == 0;
        self.upstream.wait_for("end of every request", idle).await;
        let devices = self.caller().get("/relay/v1/devices").await.json().await;
        assert_eq!(devices["devices"][0]["active_streams"], 0, "{devices}");
        assert_eq!(self.relay.metric("c2l_sessions_total").await, 2);
        assert_eq!(self.relay.metric("c2l_panics_total").await, 0);
    }
}
