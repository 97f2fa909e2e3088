//! The public side of c2l: takes plain HTTP from callers and hands it to the agent of that very user.
//!
//! Life of a request:
//!
//! 1. `gateway::listener` accepts the connection, with a limit on every wait of a stranger.
//! 2. `gateway` gives the request its id; `headers::check` refuses what two programs could read differently.
//! 3. `gateway::route` reads the path: whose credential, which device, which of the upstream's paths.
//! 4. `identity` turns the credential into a caller (`providers` verifies tokens, with keys that are fetched where an
//!    issuer publishes its own); `admission` lets them in, or not.
//! 5. `registry` finds a live session of this very user. None: 503 at once, except in the first moments after another
//!    relay has left its port to this one, when the agents are on their way.
//! 6. `gateway::headers` builds the head toward upstream; the session opens a stream.
//! 7. `gateway::exchange` moves the upload and the answer at the same time, each under credit, until both have ended.
//! 8. Whatever ends it, one event is logged, and every resource is released on both sides.
//!
//! Life of a session: `tunnel::service` verifies the agent's token, `tunnel::session` greets, registers, moves its
//! messages and clock, and removes exactly itself at the end.
//!
//! From one relay to the next: `port` takes connections in when it is this relay's turn (`handover`), `phase` says where it
//! stands, `leaving` ends it.
//!
//! Invariant: this crate binds nothing, reads no environment and catches no signals; it never imports the agent. It reaches
//! out to configured identity providers and to nobody else.

pub mod audit;
mod bridge;
mod config;
pub mod control;
mod error;
mod gateway;
mod handover;
mod identity;
mod leaving;
mod limits;
mod login;
#[doc(hidden)] // for benches/ and tests/ alone
pub mod measured;
mod metrics;
mod ops;
mod phase;
mod port;
mod providers;
mod recent;
mod registry;
mod status;
mod tunnel;
mod web;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use c2l_auth::UserId;
use c2l_tunnel::{Fault, Kind, Origin};
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::CredentialName,
    gateway::{
        admission::{Admission, Bytes, Full, Permit},
        grpc::Grpc,
        idleness::LONGEST,
        listener::Life,
    },
    identity::{Caller, Identities},
    limits::{Asker, Guard, Limit, Payer},
    login::Logins,
    metrics::Metrics,
    phase::{Phase, Stage},
    port::OpenPort,
    providers::Providers,
    recent::Recent,
    registry::Registry,
    tunnel::{health::Health, service::TunnelServer},
};
pub use crate::{
    config::{Config, Listeners},
    error::{Codes, Dialect, Error, codes},
    handover::Handover,
    identity::Accounts,
    limits::{
        RateLimits,
        address::{ForwardedBy, InvalidNetwork, Network},
        bucket::Rate,
    },
    login::LoginConfig,
    port::PublicPort,
    providers::{Provider, ProviderUrl, REFETCH_INTERVAL, SignInClient, Source, UrlError},
    web::{NotAnOrigin, PublicUrl, SignInLinks, WebConfig},
};

/// Most requests under way at once, of all users.
const MAX_REQUESTS: usize = 32_768;
/// How often the audit log is brought up to date.
const FLUSH_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to notice that the relay is closing.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// What every part of a running relay shares.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) identities: Arc<Identities>,
    /// Devices that wait to be let in; `None` where none may ask.
    pub(crate) logins: Option<Arc<Logins>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) recent: Arc<Recent>,
    pub(crate) request_ids: RequestIds,
    pub(crate) grpc: Grpc,
    pub(crate) life: Life,
    pub(crate) guard: Arc<Guard>,
    admission: Arc<Admission<UserId>>,
    by_credential: Option<Arc<Admission<(UserId, CredentialName)>>>,
    /// Until when agents of the relay before this one may still be on their way here.
    agents_due: OnceLock<Instant>,
}

impl Relay {
    /// Lets a request in, unless the relay is leaving or full.
    pub(crate) fn admit(&self, asker: &Asker, caller: &Caller) -> Result<Permit, Fault> {
        if self.life.stage.phase() == Phase::Draining {
            let message = "the relay is leaving; try again";
            return Err(Fault::new(Kind::Draining, Origin::Relay, message).retry_safe());
        }
        let payer = Payer::of(caller);
        let refuse = |limit| {
            let payer = &payer;
            move |full| match full {
                Full::OfThisKey => self.guard.too_many_streams(limit, asker, payer),
                Full::OfAll => {
                    let message = "the relay has as many requests under way as it takes";
                    Fault::new(Kind::Overloaded, Origin::Relay, message).retry_safe()
                }
            }
        };
        let of_credential = self
            .by_credential
            .as_ref()
            .map(|admission| admission.admit(&payer.key()))
            .transpose()
            .map_err(refuse(Limit::CredentialStreams))?;
        let of_user = self.admission.admit(&caller.user);
        let of_user = of_user.map_err(refuse(Limit::UserStreams))?;
        let bytes = || Bytes::new(Arc::clone(&self.guard), payer);
        let bytes = self.guard.counts_bytes().then(bytes);
        Ok(Permit::new(of_user, of_credential, bytes))
    }

    /// From now on agents of the relay before this one come over, for so long at most.
    pub(crate) fn expect_agents(&self, grace: Duration) {
        // No request waits longer than for its first byte.
        let grace = grace.min(self.config.first_byte_timeout).min(LONGEST);
        self.agents_due.get_or_init(|| Instant::now() + grace);
    }

    /// Until when a request waits for its agent, if it does. To a relay that leaves none comes any more.
    pub(crate) fn agents_due(&self) -> Option<Instant> {
        let due = self.agents_due.get().copied();
        due.filter(|due| Instant::now() < *due && !self.life.stage.is_leaving())
    }

    pub(crate) fn active_requests(&self) -> usize {
        self.admission.active()
    }
}

/// Serves until `shutdown` completes, then drains: not ready, the port to the next relay if there is one, go-away to every
/// session; running answers end within the drain timeout, the rest is cut. Dropping the future instead cuts everything at
/// once.
///
/// # Errors
/// When a listener or the gRPC services cannot be set up, the accounts cannot be read, or the port cannot be taken over;
/// a running relay does not fail.
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
    let guard = Arc::new(Guard::new(config.rates.clone()));
    let health = Health::new();
    let life = Life {
        stage: Stage::new(),
        parting: Arc::default(),
        closing: closing.clone(),
        tracker: tracker.clone(),
        stall_limit: config.gap_timeout,
    };
    let providers = Arc::new(Providers::start(
        Arc::clone(&config.verifier),
        &config.providers,
        &metrics,
        &tracker,
        &closing,
    ));
    let accounts = match config.accounts.clone() {
        Some(accounts) => accounts,
        None => Accounts::in_memory()?,
    };
    let identities = Identities::load(providers, Arc::clone(&guard), accounts).await;
    let identities = identities.map_err(Error::Store)?;
    tracker.spawn(identity::upkeep(
        Arc::clone(&identities),
        Arc::clone(&registry),
        closing.clone(),
    ));
    let server = TunnelServer::new(&config, &identities, &registry, &metrics, &guard, &life);
    let routes = tunnel::routes(&config, &server, &identities, &registry, &health)?;
    let relay = Arc::new(Relay {
        identities,
        logins: config.login.clone().map(Logins::new).map(Arc::new),
        admission: Admission::new(config.max_requests_per_user, MAX_REQUESTS),
        by_credential: config
            .max_requests_per_credential
            .map(|most| Admission::new(most, MAX_REQUESTS)),
        guard,
        recent: Recent::new(),
        request_ids: RequestIds::new(),
        grpc: Grpc::new(routes, server),
        life,
        registry,
        metrics,
        config,
        agents_due: OnceLock::new(),
    });
    let address = listeners.public.local_addr().map_err(Error::Listener)?;
    if let Some(listener) = listeners.ops {
        let ops = ops::accept(
            Arc::clone(&relay),
            listener,
            tracker.clone(),
            closing.clone(),
        );
        tracker.spawn(ops);
    }
    tracker.spawn(flush(Arc::clone(&relay)));
    let mut shutdown = pin!(shutdown);
    // Dropped while it waits for its turn, the port is given up; once it is open, it is here.
    let port = tokio::select! {
        biased;
        port = OpenPort::take(&relay, listeners.public) => Some(port?),
        () = shutdown.as_mut() => None,
    };
    if let Some(port) = port {
        relay.life.stage.enter(Phase::Serving);
        #[cfg(unix)]
        if let Some(opened) = listeners.control.and_then(control::Opening::open) {
            tracker.spawn(control::accept(Arc::clone(&relay), opened));
        }
        health.serving().await;
        tracing::info!(%address, tls = relay.config.tls.is_some(), "relay is ready");
        shutdown.await;
        leaving::leave(&relay, &health, port).await;
    }
    closing.cancel();
    tracker.close();
    if timeout(CLOSING_GRACE, tracker.wait()).await.is_err() {
        tracing::warn!(tasks = tracker.len(), "connections were cut");
    }
    relay.guard.flush(true);
    tracing::info!("relay has stopped");
    Ok(())
}

/// Has what the audit log only counts written in time, and old requests forgotten.
async fn flush(relay: Arc<Relay>) {
    let flushing = async {
        loop {
            tokio::time::sleep(FLUSH_PAUSE).await;
            relay.guard.flush(false);
            relay.recent.forget_old();
        }
    };
    relay.life.closing.run_until_cancelled(flushing).await;
}

/// Mints ids for requests that bring none: unique in this process, and between processes by a random part.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

/// The process, a hyphen, and the request's number.
const MOST_ID_BYTES: usize = 16 + 1 + 16;

impl RequestIds {
    fn new() -> Self {
        Self {
            process: getrandom::u64().unwrap_or_default(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn mint(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let number_bytes = (number.checked_ilog2().unwrap_or(0) / 4 + 1) as usize;
        let mut id = [b'-'; MOST_ID_BYTES];
        put_hex(&mut id[..16], self.process);
        let end = 17 + number_bytes;
        put_hex(&mut id[17..end], number);
        std::str::from_utf8(&id[..end]).unwrap_or_default().into()
    }
}

/// Fills the place with the number's last digits.
fn put_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}
