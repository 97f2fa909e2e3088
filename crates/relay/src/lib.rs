//! The public side of c2l: takes plain HTTP from callers and hands it to the agent of that very user.
//!
//! Life of a request:
//!
//! 1. `gateway::listener` accepts the connection, with a limit on every wait of a stranger.
//! 2. `gateway` gives the request its id; `headers::check` refuses what two programs could read differently.
//! 3. `gateway::route` reads the path: whose credential, which device, which of the upstream's paths.
//! 4. `gateway::identity` turns the credential into a caller; `admission` lets them in, or not.
//! 5. `registry` finds a live session of this very user. None: 503 at once.
//! 6. `gateway::headers` builds the head toward upstream; the session opens a stream.
//! 7. `gateway::exchange` moves the upload and the answer at the same time, each under credit, until both have ended.
//! 8. Whatever ends it, one event is logged, and every resource is released on both sides.
//!
//! Life of a session: `tunnel::service` verifies the agent's token, `tunnel::session` greets, registers, moves its
//! messages and clock, and removes exactly itself at the end.
//!
//! Invariant: this crate binds nothing, reads no environment and catches no signals; it never imports the agent.

mod bridge;
mod config;
mod error;
mod gateway;
mod metrics;
mod ops;
mod registry;
mod status;
mod tunnel;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use c2l_auth::UserId;
use c2l_tunnel::{Fault, Kind, Origin};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::{
    config::{Config, Listeners},
    error::{Codes, Dialect, Error, codes},
};
use crate::{
    gateway::{
        admission::{Admission, Permit},
        grpc::Grpc,
        identity::Identities,
        listener::Life,
    },
    metrics::Metrics,
    registry::Registry,
    tunnel::{health::Health, service::TunnelServer},
};

/// Most requests under way at once, of all users.
const MAX_REQUESTS: usize = 32_768;
/// How long connections may take to notice that the relay is closing.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// What every part of a running relay shares.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) identities: Identities,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) request_ids: RequestIds,
    pub(crate) grpc: Grpc,
    pub(crate) life: Life,
    admission: Arc<Admission>,
}

impl Relay {
    /// Lets a request in, unless the relay is leaving or full.
    pub(crate) fn admit(&self, user: &UserId) -> Result<Permit, Fault> {
        if self.is_draining() {
            let message = "the relay is leaving; try again";
            return Err(Fault::new(Kind::Draining, Origin::Relay, message).retry_safe());
        }
        self.admission.admit(user)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.life.draining.is_cancelled()
    }

    pub(crate) fn active_requests(&self) -> usize {
        self.admission.active()
    }
}

/// Serves until `shutdown` completes, then drains: not ready, go-away to every session, running answers end within the
/// drain timeout, the rest is cut. Dropping the future instead cuts everything at once.
///
/// # Errors
/// When a listener or the gRPC services cannot be set up; a running relay does not fail.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let tracker = TaskTracker::new();
    let closing = CancellationToken::new();
    let _cut_on_drop = closing.clone().drop_guard();
    let registry = Arc::new(Registry::new(config.max_sessions_per_user));
    let metrics = Arc::new(Metrics::default());
    let health = Health::new();
    let life = Life {
        draining: CancellationToken::new(),
        closing: closing.clone(),
        tracker: tracker.clone(),
        stall_limit: config.gap_timeout,
    };
    let server = TunnelServer::new(&config, &registry, &metrics, &life);
    let routes = tunnel::routes(&config, server, &registry, &health)?;
    let relay = Arc::new(Relay {
        identities: Identities::new(Arc::clone(&config.verifier)),
        admission: Admission::new(config.max_requests_per_user, MAX_REQUESTS),
        request_ids: RequestIds::new(),
        grpc: Grpc::new(routes),
        life,
        registry,
        metrics,
        config,
    });
    let address = listeners.public.local_addr().map_err(Error::Listener)?;
    tracker.spawn(gateway::listener::accept(
        Arc::clone(&relay),
        listeners.public,
    ));
    if let Some(listener) = listeners.ops {
        let ops = ops::accept(
            Arc::clone(&relay),
            listener,
            tracker.clone(),
            closing.clone(),
        );
        tracker.spawn(ops);
    }
    health.serving().await;
    tracing::info!(%address, tls = relay.config.tls.is_some(), "relay is ready");

    shutdown.await;
    drain(&relay, &health).await;
    closing.cancel();
    tracker.close();
    if timeout(CLOSING_GRACE, tracker.wait()).await.is_err() {
        tracing::warn!(tasks = tracker.len(), "connections were cut");
    }
    tracing::info!("relay has stopped");
    Ok(())
}

/// Not ready, no new streams, and time for the running ones.
async fn drain(relay: &Relay, health: &Health) {
    let grace = relay.config.drain_timeout;
    relay.life.draining.cancel();
    health.draining().await;
    for session in relay.registry.all() {
        session
            .link
            .go_away("the relay is leaving", grace, Instant::now().into_std());
    }
    relay.registry.changed();
    let running = relay.active_requests();
    tracing::info!(running, ?grace, "draining");
    if timeout(grace, relay.admission.wait_idle()).await.is_err() {
        tracing::warn!(
            running = relay.active_requests(),
            "the grace is over; what still runs is cut"
        );
    }
}

/// Mints ids for requests that bring none: unique in this process, and between processes by a random part.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self {
            process: getrandom::u64().unwrap_or_default(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn mint(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:x}", self.process)
    }
}
