//! Performs the relay's requests against the one upstream.
//!
//! Invariant: every request is judged here again, whatever the relay thought of it, and at most so many run at once.
//! What runs belongs to the [`Forwarder`], which waits for it; sessions come and go above.
//!
//! Read next: `exchange`, one request from its head to the end of its answer, and `answer`, the body of that; `policy`,
//! what may pass at all; `owner`, what the owner allows of that.

mod answer;
mod body;
mod exchange;
pub(crate) mod headers;
mod look;
mod ollama;
pub(crate) mod owner;
mod policy;
mod pool;
mod quiet;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use c2l_tunnel::{Fault, Kind, Origin, RequestHead, StreamHandle};
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{Instrument as _, debug_span, warn};

use self::{owner::Owner, pool::Pool};
use crate::{
    config::Config,
    error::Error,
    status::{Activity, Underway},
};

/// Takes requests of any session and carries them to the upstream.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pool: Pool,
    owner: Owner,
    load_grace: Duration,
    /// Most requests at the upstream, with those that only finish their load.
    most_requests: usize,
    activity: watch::Sender<Activity>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Forwarder {
    /// Opens nothing yet.
    pub(crate) fn new(config: &Config, activity: watch::Sender<Activity>) -> Result<Self, Error> {
        Ok(Self {
            pool: Pool::new(config)?,
            owner: Owner::new(config).map_err(|problems| Error::Config { problems })?,
            load_grace: config.load_grace,
            most_requests: config.max_concurrent_requests,
            activity,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Begins an exchange. It ends by itself when its stream does; nobody has to wait for it.
    pub(crate) fn accept(self: &Arc<Self>, head: Box<RequestHead>, stream: StreamHandle) {
        let Some(underway) = Underway::new(&self.activity, self.most_requests) else {
            let request_id = head.request_id.as_str();
            warn!(
                request_id,
                "request refused: as many as may run are running"
            );
            let why = "the agent has as many requests under way as its owner allows";
            stream.reset(Fault::new(Kind::Overloaded, Origin::Agent, why).retry_safe());
            return;
        };
        // Of the level of what is said inside; the one warning there names the request itself.
        let span = debug_span!("exchange", request_id = %head.request_id);
        let forwarder = Arc::clone(self);
        let exchange = async move {
            let exchange = pin!(forwarder.carry_out(head, stream));
            // Dropped at the stop: the stream is released and the connection to the upstream closed.
            forwarder.stop.run_until_cancelled(exchange).await;
            drop(underway);
        };
        // In a box: what is spawned is moved several times, and would be with all its state.
        self.tasks.spawn(Box::pin(exchange.instrument(span)));
    }

    /// Closes connections to the upstream that nobody uses; runs as long as the agent does.
    pub(crate) async fn expire_idle(&self) -> Infallible {
        self.pool.expire_idle().await
    }

    /// Cuts whatever still runs and waits for its end.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.pool.close_idle();
    }

    /// Cuts whatever runs when the guard is dropped.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}
