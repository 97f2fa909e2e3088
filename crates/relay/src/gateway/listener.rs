//! The public port: an accept loop of our own. Each connection becomes a task of [`super::connection`].
//!
//! Invariant: connections are counted, and running out of descriptors stops the loop for a moment, never for good.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Poll, Waker},
    time::Duration,
};

use c2l_bridge::Pulse;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Relay,
    gateway::{
        connection::{carry, serve},
        idleness::{who_waits, will_wake},
        peer::{Peer, Place},
        stall,
        tls::Tls,
    },
    leaving::Parting,
    limits::Welcome,
    phase::Stage,
};

/// How long the last connections wait for a place in a relay that is full and leaves.
const LAST_PLACES: Duration = Duration::from_millis(200);
/// How long the loop rests when the system has no descriptor left.
const EXHAUSTED_REST: Duration = Duration::from_millis(50);

/// What ends a connection, and who waits for its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) stage: Stage,
    /// Set when the relay has told its agents that it leaves.
    pub(crate) parting: Arc<OnceLock<Parting>>,
    /// Cancelled when the grace is over: what is left is cut.
    pub(crate) closing: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) stall_limit: Duration,
}

impl Life {
    /// Waits until what is left is cut. While the same task asks again it costs a look, and no place in a list.
    pub(super) async fn cut(&self) {
        let mut waiting: Option<Waker> = None;
        let mut cancelled = pin!(self.closing.cancelled());
        poll_fn(|cx| {
            if will_wake(waiting.as_ref(), cx) && !self.closing.is_cancelled() {
                return Poll::Pending;
            }
            let cut = cancelled.as_mut().poll(cx);
            waiting = who_waits(cx);
            cut
        })
        .await;
    }
}

/// Gives the streams of an HTTP/2 connection to the tracker, so that somebody waits for them.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Life {
    fn execute(&self, future: F) {
        self.tracker.spawn(stall::bounded(future, self.stall_limit));
    }
}

/// Accepts until the port is `left` to another relay, or this one closes; each connection's task is its tracker's.
pub(crate) async fn accept(
    relay: Arc<Relay>,
    listener: TcpListener,
    left: CancellationToken,
    is_queue_shared: bool,
) {
    let closing = relay.life.closing.clone();
    let entrance = Entrance {
        places: Arc::new(Semaphore::new(relay.config.max_connections)),
        tls: relay.config.tls.as_ref().map(Tls::new),
        relay,
    };
    loop {
        let next = async { (entrance.place().await, listener.accept().await) };
        // Dropped while it waits, `accept` has taken no connection.
        let (place, accepted) = tokio::select! {
            () = closing.cancelled() => return,
            () = left.cancelled() => {
                if !is_queue_shared {
                    entrance.empty(listener).await;
                }
                return;
            }
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => entrance.take_in(stream, peer, place),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept; trying again shortly");
                sleep(EXHAUSTED_REST).await;
            }
        }
    }
}

/// What every connection needs to get in.
struct Entrance {
    relay: Arc<Relay>,
    places: Arc<Semaphore>,
    tls: Option<Tls>,
}

impl Entrance {
    async fn place(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    fn take_in(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Result<OwnedSemaphorePermit, AcquireError>,
    ) {
        let refused_until = match self.relay.guard.connection(peer.ip(), Instant::now()) {
            Welcome::Served => None,
            Welcome::Refused { until } => Some(until),
            Welcome::Closed => return,
        };
        let peer = Peer {
            address: peer,
            client: None,
            is_certified: false,
            tls: None,
            pulse: Pulse::default(),
            refused_until,
            place: None,
        };
        let place = Place::taken(place, &self.relay.metrics);
        let relay = Arc::clone(&self.relay);
        let beginning = serve(relay, stream, peer, self.tls.clone(), place.clone());
        let tracker = &self.relay.life.tracker;
        tracker.spawn(carry(Box::pin(beginning), place));
    }

    /// Takes in what waits in a queue that is about to be closed: nobody else will.
    async fn empty(&self, listener: TcpListener) {
        let listener = match listener.into_std() {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "what waited at the port is lost"),
        };
        let mut patience = LAST_PLACES;
        while let Ok((stream, peer)) = listener.accept() {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            match stream.and_then(TcpStream::from_std) {
                // A full relay is not waited for: the agents that fill it hear of its leaving only after this.
                Ok(stream) => match timeout(patience, self.place()).await {
                    Ok(place) => self.take_in(stream, peer, place),
                    Err(_) => {
                        patience = Duration::ZERO;
                        tracing::warn!(%peer, "no place for a connection; it is lost");
                    }
                },
                Err(error) => tracing::warn!(%peer, %error, "a connection is lost"),
            }
        }
    }
}

/// Errors of `accept` that concern the connection that was about to be, not the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
