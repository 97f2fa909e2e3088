//! Who is at the other end of a connection, and its place among those that are allowed at once.
//!
//! Invariant: a place is counted once, and free when its last holder is gone.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
};

use c2l_bridge::Pulse;
use http::Extensions;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit},
    time::Instant,
};

use crate::metrics::Metrics;

/// A connection's place among those that are allowed at once. It is free when the last holder is gone: the
/// connection's task, or the bridge that took it over.
#[derive(Clone, Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held, never read")] Arc<PlaceGuard>);

#[derive(Debug)]
struct PlaceGuard {
    _permit: Result<OwnedSemaphorePermit, AcquireError>,
    metrics: Arc<Metrics>,
}

impl Place {
    pub(super) fn taken(
        permit: Result<OwnedSemaphorePermit, AcquireError>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        metrics.connections_total.fetch_add(1, Ordering::Relaxed);
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(PlaceGuard {
            _permit: permit,
            metrics: Arc::clone(metrics),
        }))
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        self.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who is at the other end of a connection. Each of its requests has it among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its own, as the system says.
    pub(crate) address: SocketAddr,
    /// Where the request came from that became this connection, if one did: what comes inside says nothing of that.
    pub(crate) client: Option<IpAddr>,
    /// True when a certificate was shown that the TLS settings accept.
    pub(crate) is_certified: bool,
    /// That the connection is in TLS, and what was asked for there.
    pub(crate) tls: Option<TlsPeer>,
    /// When bytes last came, below TLS and the bridge.
    pub(crate) pulse: Pulse,
    /// Its address has opened too many connections: until then every request is refused.
    pub(crate) refused_until: Option<Instant>,
    /// Where a request may become a connection of its own: the place that goes with it.
    pub(crate) place: Option<Place>,
}

impl Peer {
    /// Who sent the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get::<Arc<Self>>().map(|peer| &**peer)
    }

    /// Whoever speaks inside of this connection, which came from `client`.
    pub(crate) fn inside(&self, client: IpAddr) -> Self {
        Self {
            client: Some(client),
            ..self.clone()
        }
    }

    /// How an agent's session reaches this relay.
    pub(crate) fn transport(&self) -> &'static str {
        match self.client {
            Some(_) => "websocket",
            None => "grpc",
        }
    }
}

/// What a client in TLS has asked for.
#[derive(Clone, Debug)]
pub(crate) struct TlsPeer {
    /// The name for which it took our certificate; none where it came by an address.
    pub(crate) server_name: Option<Arc<str>>,
}
