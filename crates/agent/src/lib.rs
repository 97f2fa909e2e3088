//! The desktop side of c2l: keeps one session with a relay and performs its requests against the one local upstream.
//!
//! Invariant: the relay is trusted for delivery alone. Which upstream, which paths, how many at once and with which
//! token is this side's configuration, and nothing that arrives can change it.
//!
//! Life of a session:
//!
//! 1. `supervisor` fetches the token, asks for a session, and waits with jitter when one is lost.
//! 2. `dialer` reaches the relay: TCP, TLS, HTTP/2, and the gRPC stub on top.
//! 3. `session` greets, moves messages both ways, keeps time, and hands each new stream on.
//! 4. `forward` judges one request, sends it to the upstream and streams the answer back.
//! 5. [`status`] tells whoever watches where all this stands.
//!
//! [`probe`] tries the same steps one by one, for whoever looks for what is wrong; [`Errands`] ask the relay itself for
//! small things on the same way.
//!
//! Read next: [`Agent`], then `supervisor`.

mod attempts;
mod call;
pub mod config;
mod dialer;
mod errand;
pub mod error;
mod forward;
#[doc(hidden)] // for benches/ and tests/ alone
pub mod measured;
pub mod probe;
mod renewal;
mod session;
pub mod status;
mod supervisor;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, future::Future, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::{Config, Outlook, Policy, TokenError, TokenSource};
pub use dialer::{InvalidProxy, Proxy, ProxyKind, Transport, Way};
pub use errand::{Errands, Said};
pub use error::{Error, Refusal};
pub use status::{Activity, LastError, Status};

use crate::{attempts::Attempts, dialer::Dialer, forward::Forwarder};

/// An agent that is ready to run: its configuration is sound and its trusted roots are loaded.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) activity: watch::Sender<Activity>,
    pub(crate) attempts: Attempts,
}

impl Agent {
    /// Checks the configuration and loads the trusted roots; no socket is opened. The receiver shows the state at any
    /// time and keeps its last value, [`Status::Closed`], after the agent is gone.
    ///
    /// # Errors
    /// [`Error::Config`] with every mistake at once, or [`Error::Roots`].
    pub fn new(config: Config) -> Result<(Self, watch::Receiver<Status>), Error> {
        config.check()?;
        let dialer = Dialer::new(&config)?;
        let activity = watch::Sender::new(Activity::default());
        let forwarder = Arc::new(Forwarder::new(&config, activity.clone())?);
        let (status, watch) = watch::channel(Status::Connecting { attempt: 1 });
        let agent = Self {
            config,
            dialer,
            forwarder,
            status,
            activity,
            attempts: Attempts::default(),
        };
        Ok((agent, watch))
    }

    /// Counts its requests and keeps its last error. A change is told when there is an error, and when the agent begins to
    /// have requests or has none left; the count is true whenever it is looked at.
    #[must_use]
    pub fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    /// Keeps a session until `shutdown` completes, then lets running requests finish within the drain grace.
    ///
    /// Dropping the future ends everything at once: sessions, requests and connections to the upstream.
    ///
    /// # Errors
    /// What a retry cannot mend: [`Error::Token`], [`Error::Refused`] and [`Error::Replaced`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let agent = Arc::new(self);
        let leaving = CancellationToken::new();
        let _cut_on_drop = agent.forwarder.stop_on_drop();
        let watch_for_shutdown = async {
            shutdown.await;
            leaving.cancel();
            std::future::pending::<Infallible>().await
        };
        // Each arm may be dropped at any point: the supervisor's end is the end of all three.
        let result = tokio::select! {
            result = supervisor::supervise(&agent, &leaving) => result,
            never = watch_for_shutdown => match never {},
            never = agent.forwarder.expire_idle() => match never {},
        };
        agent.forwarder.stop().await;
        agent.status.send_replace(Status::Closed);
        result
    }
}

/// Runs an agent that nobody watches; see [`Agent::new`] and [`Agent::run`].
///
/// # Errors
/// Those of both.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let (agent, _) = Agent::new(config)?;
    agent.run(shutdown).await
}

/// The time in the form that the tunnel takes. tokio's clock, so that a test can pause it.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
