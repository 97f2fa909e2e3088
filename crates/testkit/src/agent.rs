//! A real agent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use c2l_agent::{Agent, Config, Policy, Status, Transport, Way};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{PATIENCE, TestRelay, TestTransport, certificates::Authority, within};

/// Each test agent is a machine of its own.
fn installation() -> [u8; 16] {
    static MADE: AtomicU64 = AtomicU64::new(1);
    u128::from(MADE.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
}

/// A running agent. Dropping it cuts everything; [`TestAgent::shut_down`] drains it.
#[derive(Debug)]
pub struct TestAgent {
    status: watch::Receiver<Status>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), c2l_agent::Error>>>,
    transport: Transport,
    _guard: DropGuard,
}

impl TestAgent {
    /// An agent of this user, called `laptop`, connected.
    pub async fn connect(relay: &TestRelay, user: &str, upstream: SocketAddr) -> Self {
        Self::connect_with(relay, user, upstream, |_| {}).await
    }

    /// An agent that looks into no body: for tests in which bodies stand for any. It allows every model.
    pub async fn connect_unjudging(relay: &TestRelay, user: &str, upstream: SocketAddr) -> Self {
        Self::connect_with(relay, user, upstream, |config| {
            config.policy.allow_cloud_models = true;
        })
        .await
    }

    /// An agent with a changed configuration, connected.
    pub async fn connect_with(
        relay: &TestRelay,
        user: &str,
        upstream: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut agent = Self::start(&relay.url(), relay.agent_token(user), upstream, change);
        agent.connected().await;
        agent.has_not_fallen_back();
        agent
    }

    /// An agent that may not be connected yet, by the transport of this run unless `change` says another.
    ///
    /// # Panics
    /// When the addresses are not valid.
    pub fn start(
        relay_url: &str,
        token: String,
        upstream: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let token = Arc::new(token);
        // Read when the agent is made; it need not last longer.
        let authority = Authority::of_this_process();
        let ca_file = relay_url.starts_with("https").then(|| authority.file());
        let mut config = Config {
            relay: relay_url.parse().expect("a URL"),
            allow_insecure: false,
            ca_file: ca_file.as_ref().map(|file| file.path().to_owned()),
            skip_verify: false,
            client_certificate: None,
            transport: TestTransport::of_this_run().for_agents(),
            proxy: None,
            token: Arc::new(move || {
                let token = Arc::clone(&token);
                Box::pin(async move { Ok(token.to_string()) })
            }),
            device_name: "laptop".to_owned(),
            device_id: installation(),
            build: "test".to_owned(),
            upstream: format!("http://{upstream}").parse().expect("a URL"),
            allow_manage: false,
            policy: Policy::default(),
            max_concurrent_requests: 256,
            upstream_connect_timeout: Duration::from_secs(5),
            load_grace: Duration::from_secs(300),
            dial_timeout: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(200),
            healthy_after: Duration::from_secs(60),
        };
        change(&mut config);
        let transport = config.transport;
        let shutdown = CancellationToken::new();
        let until = shutdown.clone().cancelled_owned();
        let (agent, status) = Agent::new(config).expect("a sound configuration");
        let task = tokio::spawn(agent.run(until));
        Self {
            status,
            _guard: shutdown.clone().drop_guard(),
            shutdown,
            task: Some(task),
            transport,
        }
    }

    /// With nothing in between, the way is the one that the run is about.
    fn has_not_fallen_back(&self) {
        let wanted = match self.transport {
            Transport::Auto | Transport::Grpc => Way::Grpc,
            Transport::WebSocket => Way::WebSocket,
        };
        if let Status::Open { way, .. } = &*self.status.borrow() {
            assert_eq!(*way, wanted, "the agent took another way");
        }
    }

    /// What it says of itself.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until a session is open.
    ///
    /// # Panics
    /// When none is in time.
    pub async fn connected(&mut self) {
        let open = self
            .status
            .wait_for(|status| matches!(status, Status::Open { .. }));
        let is_open = within(PATIENCE, "the agent connects", open).await.is_ok();
        assert!(is_open, "the agent ended instead of connecting");
    }

    /// Waits until it is over, and says how.
    ///
    /// # Panics
    /// When it takes too long, or panicked.
    pub async fn ended(&mut self) -> Result<(), c2l_agent::Error> {
        let task = self.task.take().expect("asked once");
        within(4 * PATIENCE, "the agent ends", task)
            .await
            .expect("an agent that did not panic")
    }

    /// Begins the shutdown without waiting for it.
    pub fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Drains it and waits for its end.
    ///
    /// # Panics
    /// When it fails.
    pub async fn shut_down(mut self) {
        self.begin_shutdown();
        self.ended().await.expect("a clean end");
    }

    /// Ends it as a crash would: its tasks are dropped where they stand.
    pub async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The abort is what was asked for.
            drop(task.await);
        }
    }
}
